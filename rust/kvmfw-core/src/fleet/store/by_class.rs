//! Rows by class, and what was worked out from them: both are kept while members stay in their rows.

use std::sync::{Arc, RwLock};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::fleet::class::VmClass;
use crate::fleet::classes::class_map::{ClassMap, count};
use crate::room;
use crate::taken::Taken;

/// For each class its rows as bits, lowest first; none for classes without members, of which there may have been many.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct ByClass {
    words: usize,
    rows: Vec<Arc<[u64]>>,
}

impl ByClass {
    /// The rows of each class.
    pub(super) fn of(classes: &ClassMap) -> Self {
        let (words, mut bits): (usize, Vec<Vec<u64>>) = (classes.len().div_ceil(64), Vec::new());
        for (row, class) in classes.iter().enumerate() {
            let class = class as usize;
            if bits.len() <= class {
                bits.resize_with(class + 1, Vec::new);
            }
            let Some(bits) = bits.get_mut(class) else { continue };
            if bits.is_empty() {
                room::need(2 * words * size_of::<u64>());
                bits.resize(words, 0);
            }
            bits.get_mut(row / 64).into_iter().for_each(|word| *word |= 1 << (row % 64));
        }
        Self { words, rows: bits.into_iter().map(Arc::from).collect() }
    }

    /// The rows of each class.
    pub(in crate::fleet) fn iter(&self) -> impl Iterator<Item = &[u64]> {
        self.rows.iter().map(AsRef::as_ref)
    }

    /// The member in a row is of another class now, or of none. Only the rows of these two are copied.
    pub(super) fn change(&mut self, row: usize, from: Option<u32>, to: Option<u32>) {
        let classes = to.map_or(0, |to| to as usize + 1);
        if self.rows.len() < classes {
            self.rows.resize(classes, Arc::default());
        }
        for class in from.into_iter().chain(to) {
            let Some(bits) = self.rows.get_mut(class as usize) else { continue };
            if bits.is_empty() {
                *bits = vec![0; self.words].into();
            }
            Arc::make_mut(bits).get_mut(row / 64).into_iter().for_each(|word| *word ^= 1 << (row % 64));
            if bits.iter().all(|word| *word == 0) {
                *bits = Arc::default();
            }
        }
    }
}

/// Which rows take a VM class, since when the class means what it means.
type Question = (VmClass, u64, Taken);

/// Answers that were given, up to some memory; then they are collected anew. Versions share them while members stay in their
/// rows: an answer is brought up to date by the rows that got another class since it was given.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct Answers {
    given: Arc<RwLock<Given>>,
    /// Rows that got another class, in the order of versions.
    touched: Vec<usize>,
}

#[derive(Debug, Default)]
struct Given {
    /// Each with how many rows were touched by then.
    rows: HashMap<Question, (usize, Arc<[u32]>), FixedState>,
    bytes: usize,
}

/// How many bytes answers take at most.
const MOST_BYTES: usize = 1 << 26;
/// What an answer takes besides its rows.
const OVERHEAD: usize = 64;
/// After so many touched rows answers are collected anew.
const MOST_TOUCHED: usize = 1 << 8;

impl Answers {
    /// Lets go of all, as rows are others now.
    pub(super) fn forget(&mut self) {
        // Nobody else may see that they are gone; where there are none, nobody does.
        let is_empty =
            Arc::get_mut(&mut self.given).is_some_and(|given| given.get_mut().is_ok_and(|given| given.rows.is_empty()));
        if !is_empty {
            self.given = Arc::default();
        }
        self.touched.clear();
    }

    /// A row got another class.
    pub(super) fn touch(&mut self, row: usize) {
        if self.touched.len() == MOST_TOUCHED {
            *self = Self::default();
        }
        self.touched.push(row);
    }

    /// The answer to a question, worked out where it was not given before. `takes` tells of one row whether it belongs to it.
    pub(in crate::fleet) fn get(
        &self,
        question: Question,
        work_out: impl FnOnce() -> Arc<[u32]>,
        takes: impl Fn(usize) -> bool,
    ) -> Arc<[u32]> {
        // Nobody waits for the lock, as after a fork there may be nobody who lets it go: an answer is soon worked out.
        let known = self.given.try_read().ok().and_then(|given| given.rows.get(&question).cloned());
        let rows = match known {
            Some((touched, rows)) if touched == self.touched.len() => return rows,
            // Answers of later versions are not those of this one.
            Some((touched, rows)) => self.touched.get(touched..).map(|touched| brought_up(rows, touched, takes)),
            None => None,
        };
        let rows = rows.unwrap_or_else(work_out);
        if let Ok(mut given) = self.given.try_write() {
            given.put(question, self.touched.len(), Arc::clone(&rows));
        }
        rows
    }
}

impl Given {
    /// Keeps an answer, if it is not older than the one that there is.
    fn put(&mut self, question: Question, touched: usize, rows: Arc<[u32]>) {
        let bytes = size_of_val::<[u32]>(&rows) + OVERHEAD;
        let before = self.rows.get(&question).map(|(touched, rows)| (*touched, size_of_val::<[u32]>(rows) + OVERHEAD));
        if before.is_some_and(|(known, _)| known > touched) || (before.is_none() && self.rows.try_reserve(1).is_err()) {
            return;
        }
        self.bytes = self.bytes + bytes - before.map_or(0, |(_, bytes)| bytes);
        if self.bytes > MOST_BYTES {
            *self = Self { bytes, ..Self::default() };
        }
        self.rows.insert(question, (touched, rows));
    }
}

/// An answer after some rows were touched.
fn brought_up(mut rows: Arc<[u32]>, touched: &[usize], takes: impl Fn(usize) -> bool) -> Arc<[u32]> {
    for row in touched {
        let number = count(*row);
        rows = match (rows.binary_search(&number), takes(*row)) {
            (Ok(at), false) => rows.iter().take(at).chain(rows.iter().skip(at + 1)).copied().collect(),
            (Err(at), true) => rows.iter().take(at).chain([&number]).chain(rows.iter().skip(at)).copied().collect(),
            _ => rows,
        };
    }
    rows
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
            let anew = ByClass::of(&map(&classes));
            // Classes without members take no memory.
            assert!(anew.iter().eq(rows.iter().take(anew.rows.len())));
            assert!(rows.iter().skip(anew.rows.len()).all(<[u64]>::is_empty));
        }
        assert_eq!(before.iter().next().map(|bits| bits[0] & 0b1111_1111), Some(0b0010_0001));
    }

    #[test]
    fn answers_are_given_again_until_they_take_too_much() {
        let (answers, taken) = (Answers::default(), Taken { change: true, unknown: false });
        let ask = |class: u32, since: u64, rows: &[u32]| {
            answers.get((VmClass::of(class), since, taken), || rows.into(), |_| false)
        };
        assert_eq!(ask(1, 1, &[1, 2])[..], [1, 2]);
        assert_eq!(ask(1, 1, &[3])[..], [1, 2]);
        assert_eq!(ask(1, 2, &[3])[..], [3]);
        let many = vec![0; MOST_BYTES / 4];
        assert_eq!(ask(2, 1, &many).len(), many.len());
        assert_eq!(ask(1, 1, &[5])[..], [5]);
    }

    #[test]
    fn answers_are_those_of_the_version_that_is_asked() {
        let question = (VmClass::of(1), 1, Taken { change: true, unknown: false });
        let mut versions = vec![(Answers::default(), vec![false; 40])];
        for turn in 0..2 * MOST_TOUCHED {
            let (mut answers, mut takes) = versions[versions.len() - 1].clone();
            let row = turn * 7 % takes.len();
            takes[row] = turn % 3 > 0;
            answers.touch(row);
            versions.push((answers, takes));
        }
        // In an order in which answers are too old, too new, and brought up over several versions.
        for at in (0..versions.len()).map(|at| at * 31 % versions.len()).chain(0..versions.len()) {
            let (answers, takes) = &versions[at];
            let wanted: Vec<u32> = (0..).zip(takes).filter(|(_, takes)| **takes).map(|(row, _)| row).collect();
            assert_eq!(answers.get(question, || wanted.clone().into(), |row| takes[row])[..], wanted);
        }
    }
}
