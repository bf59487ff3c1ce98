//! What VMs are told apart by: values of the units, equal where no host can tell two apart.

use std::hash::{Hash, Hasher};

use crate::list::SavedList;
use crate::rules::Context;
use crate::value::Value;

/// A list unit value: how the vCPU was made, and the list of saved registers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Saved {
    pub(crate) config: u32,
    pub(crate) list: SavedList,
}

/// What a register unit looks at; equal where no host can tell the two apart.
#[derive(Clone, Debug)]
pub(crate) struct SavedValue {
    pub(crate) config: u32,
    /// The value that was saved first, of all that are judged alike.
    pub(crate) value: Value,
    /// What is looked at in it.
    pub(crate) judged: Value,
    pub(crate) context: Context,
}

impl SavedValue {
    pub(super) fn looked_at(&self) -> (u32, &Value, Context) {
        (self.config, &self.judged, self.context)
    }
}

impl PartialEq for SavedValue {
    fn eq(&self, other: &Self) -> bool {
        self.looked_at() == other.looked_at()
    }
}

impl Eq for SavedValue {}

impl Hash for SavedValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.looked_at().hash(state);
    }
}
