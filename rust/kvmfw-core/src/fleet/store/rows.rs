//! The class of each row, in step with a few changes: who asks beside a writer does not pay for all rows again.

use std::sync::{Arc, OnceLock};

use crate::fleet::classes::class_map::ClassMap;
use crate::room;

/// What became of the rows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Edit {
    /// Nothing.
    #[default]
    Nothing,
    /// One more, of this class.
    Push(u32),
    /// One less; those after it move up.
    Remove(usize),
    /// A row is of another class.
    Set(usize, u32),
}

/// Changes up to which rows are made of those before: each may move all rows in memory.
const MOST: usize = 8;

/// The class of each row, made when all are asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    known: OnceLock<Arc<ClassMap>>,
    /// Rows that were known, and what became of them since.
    before: Option<Arc<ClassMap>>,
    edits: [Edit; MOST],
    count: usize,
}

impl Rows {
    /// Rows that are known.
    pub(super) fn of(known: ClassMap) -> Self {
        Self { known: Arc::new(known).into(), ..Self::default() }
    }

    /// The rows, where they are known.
    pub(super) fn known(&self) -> Option<&ClassMap> {
        self.known.get().map(AsRef::as_ref)
    }

    /// The rows; `make` makes them of all members.
    pub(super) fn get(&self, make: impl FnOnce() -> ClassMap) -> &ClassMap {
        self.known.get_or_init(|| {
            let edits = self.edits.get(..self.count).unwrap_or(&[]);
            let edited = self.before.as_ref().and_then(|before| edited(before, edits));
            Arc::new(edited.unwrap_or_else(make))
        })
    }

    /// Takes note of a change; `edit` tells it, where that is of use.
    pub(super) fn note(&mut self, edit: impl FnOnce() -> Edit) {
        if let Some(known) = self.known.take() {
            (self.before, self.count) = (Some(known), 0);
        }
        match self.edits.get_mut(self.count) {
            Some(slot) if self.before.is_some() => {
                *slot = edit();
                self.count += 1;
            }
            _ => self.before = None,
        }
    }
}

/// Rows after some changes; `None` where their numbers get wider.
fn edited(before: &ClassMap, edits: &[Edit]) -> Option<ClassMap> {
    room::need(2 * before.len() * size_of::<u32>());
    let mut rows = before.clone();
    for edit in edits {
        match *edit {
            Edit::Nothing => {}
            Edit::Push(class) => rows.push(class)?,
            Edit::Remove(row) => rows.remove(row)?,
            Edit::Set(row, class) => rows.set(row, class)?,
        }
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(classes: &[u32]) -> ClassMap {
        let most = classes.iter().max().copied().unwrap_or(0);
        ClassMap::of(classes.len(), most, std::iter::once(classes), |class| *class)
    }

    proptest! {
        #[test]
        fn rows_after_changes_are_those_made_anew(
            first in proptest::collection::vec(0..400_u32, 0..40),
            steps in proptest::collection::vec((0..3_u8, any::<usize>(), 0..400_u32, any::<bool>()), 0..40),
        ) {
            let (mut classes, mut rows) = (first.clone(), Rows::of(map(&first)));
            for (kind, row, class, asks) in steps {
                match kind {
                    0 => {
                        classes.push(class);
                        rows.note(|| Edit::Push(class));
                    }
                    _ if classes.is_empty() => {}
                    1 => {
                        let row = row % classes.len();
                        classes.remove(row);
                        rows.note(|| Edit::Remove(row));
                    }
                    _ => {
                        let row = row % classes.len();
                        classes[row] = class;
                        rows.note(|| Edit::Set(row, class));
                    }
                }
                if asks {
                    prop_assert_eq!(rows.get(|| map(&classes)).iter().collect::<Vec<_>>(), classes.clone());
                }
            }
        }
    }
}
