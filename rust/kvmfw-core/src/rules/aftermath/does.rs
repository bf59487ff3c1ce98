//! Whether a kernel does something at the first run.

use crate::judgement::Evidence;
use crate::rules::facts::Facts;
use crate::rules::release::{Release, has_change};
use crate::rules::trees;

/// Whether a kernel does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Does {
    Yes(Evidence),
    No,
    /// A vendor's kernel under a number of before the change: a value of its own VMs stays (specification, 5); of others it
    /// is not known.
    NotToOwn(&'static str),
    Unknown(&'static str),
}

impl Does {
    pub(super) fn seen(does: bool) -> Self {
        if does { Self::Yes(Evidence::Measured) } else { Self::No }
    }

    /// A change last seen absent in one release and first seen in another.
    pub(super) fn between(facts: &Facts<'_>, needs: &'static str, absent: Release, present: Release) -> Self {
        let Some(release) = facts.release.filter(|release| !trees::is_younger(*release)) else {
            return Self::Unknown(needs);
        };
        match has_change(release, absent, present) {
            Some(false) if facts.is_vendors => Self::NotToOwn(needs),
            Some(false) => Self::No,
            Some(true) => Self::Yes(Evidence::Derived),
            None => Self::Unknown(needs),
        }
    }
}
