//! Rows by class, and what was worked out from them: both are kept while members stay in their rows.

use std::sync::{Arc, RwLock};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::fleet::class::VmClass;
use crate::fleet::classes::class_map::ClassMap;
use crate::taken::Taken;

/// For each class up to the last that has members, its rows as bits, lowest first.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct ByClass(Vec<Arc<[u64]>>);

impl ByClass {
    /// The rows of each class.
    pub(super) fn of(classes: &ClassMap) -> Self {
        let (words, mut bits): (usize, Vec<Vec<u64>>) = (classes.len().div_ceil(64), Vec::new());
        for (row, class) in classes.iter().enumerate() {
            let class = class as usize;
            if bits.len() <= class {
                bits.resize_with(class + 1, || vec![0; words]);
            }
            let bits = bits.get_mut(class).and_then(|bits| bits.get_mut(row / 64));
            if let Some(word) = bits {
                *word |= 1 << (row % 64);
            }
        }
        Self(bits.into_iter().map(Arc::from).collect())
    }

    /// The rows of each class.
    pub(in crate::fleet) fn iter(&self) -> impl Iterator<Item = &[u64]> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// The member in a row is of another class now, or of none. Only the rows of these two are copied.
    pub(super) fn change(&mut self, row: usize, from: Option<u32>, to: Option<u32>) {
        let words = self.0.first().map_or(0, |bits| bits.len());
        let classes = to.map_or(0, |to| to as usize + 1);
        if self.0.len() < classes {
            self.0.resize(classes, vec![0; words].into());
        }
        for class in from.into_iter().chain(to) {
            let bits = self.0.get_mut(class as usize).and_then(|bits| Arc::make_mut(bits).get_mut(row / 64));
            if let Some(word) = bits {
                *word ^= 1 << (row % 64);
            }
        }
    }
}

/// Which rows take a VM class, since when the class means what it means.
type Question = (VmClass, u64, Taken);

/// Answers that were given, up to some memory; then they are collected anew.
#[derive(Debug, Default)]
pub(in crate::fleet) struct Answers(RwLock<Given>);

#[derive(Debug, Default)]
struct Given {
    rows: HashMap<Question, Arc<[u32]>, FixedState>,
    bytes: usize,
}

/// How many bytes answers take at most.
const MOST_BYTES: usize = 1 << 26;
/// What an answer takes besides its rows.
const OVERHEAD: usize = 64;

impl Clone for Answers {
    /// Who copies members changes them: other answers.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Answers {
    /// The answer to a question, worked out where it was not given before.
    pub(in crate::fleet) fn get(&self, question: Question, work_out: impl FnOnce() -> Arc<[u32]>) -> Arc<[u32]> {
        // Nobody waits for the lock, as after a fork there may be nobody who lets it go: an answer is soon worked out.
        let given = self.0.try_read().ok().and_then(|given| given.rows.get(&question).cloned());
        given.unwrap_or_else(|| {
            let rows = work_out();
            if let Ok(mut given) = self.0.try_write() {
                given.bytes += size_of_val::<[u32]>(&rows) + OVERHEAD;
                if given.bytes > MOST_BYTES {
                    *given = Given::default();
                }
                given.rows.insert(question, Arc::clone(&rows));
            }
            rows
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_by_class_follow_a_change_as_if_made_anew() {
        let map = |classes: &[u32]| ClassMap::of(classes.len(), 9, std::iter::once(classes), |class| *class);
        let mut classes: Vec<u32> = (0..200).map(|row| row % 5).collect();
        let mut rows = ByClass::of(&map(&classes));
        let before = rows.clone();
        for (row, to) in [(7, 0), (64, 9), (199, 2), (7, 3), (64, 4)] {
            rows.change(row, Some(classes[row]), None);
            rows.change(row, None, Some(to));
            classes[row] = to;
        }
        let anew = ByClass::of(&map(&classes));
        assert!(anew.iter().eq(rows.iter().take(5)) && rows.iter().skip(5).all(|bits| bits == [0; 4]));
        assert_eq!(before.iter().next().map(|bits| bits[0] & 0b1111_1111), Some(0b0010_0001));
    }

    #[test]
    fn answers_are_given_again_until_they_take_too_much() {
        let (answers, taken) = (Answers::default(), Taken { change: true, unknown: false });
        let ask = |class: u32, rows: &[u32]| answers.get((VmClass::of(class), 1, taken), || rows.into());
        assert_eq!(ask(1, &[1, 2])[..], [1, 2]);
        assert_eq!(ask(1, &[3])[..], [1, 2]);
        assert_eq!(answers.get((VmClass::of(1), 2, taken), || [3].into())[..], [3]);
        assert_eq!(answers.clone().get((VmClass::of(1), 1, taken), || [4].into())[..], [4]);
        let many = vec![0; MOST_BYTES / 4];
        assert_eq!(ask(2, &many).len(), many.len());
        assert_eq!(ask(1, &[5])[..], [5]);
    }
}
