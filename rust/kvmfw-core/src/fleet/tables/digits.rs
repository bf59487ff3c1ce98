//! Digits: how the values of a split unit are told apart, and the acceptors that judge one digit.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::part_row::PartRow;
use crate::fleet::classes::intern::RowInterner;
use crate::fleet::classes::saved::SavedValue;
use crate::fleet::grid::found;

/// The values of a split unit that are judged one by one.
#[derive(Clone, Debug)]
pub(in crate::fleet) struct Split {
    rows: Arc<HashMap<SavedValue, PartRow, FixedState>>,
    /// Their words, ascending.
    words: Arc<[u64]>,
}

impl Split {
    /// These words are judged one by one; rows are numbered in the order of `values`.
    pub(in crate::fleet) fn new(values: &[SavedValue], words: Arc<[u64]>) -> Self {
        Self { rows: Arc::new(values.iter().cloned().zip((0..).map(PartRow::of_value)).collect()), words }
    }

    /// The row of a value in the part of special values.
    pub(in crate::fleet) fn special_row(&self, value: &SavedValue) -> PartRow {
        let other = || if self.is_special(value) { PartRow::NONE } else { PartRow::SILENT };
        self.rows.get(value).copied().unwrap_or_else(other)
    }

    /// The digits of a value; `None` where it is judged on its own.
    pub(in crate::fleet) fn digits(&self, value: &SavedValue) -> Option<Digits> {
        let word = value.value.word().filter(|_| !self.is_special(value))?;
        Some(Digits { word, config: value.config })
    }

    /// The values that are judged on their own, each with its row.
    pub(in crate::fleet) fn rows(&self) -> impl Iterator<Item = (&SavedValue, PartRow)> {
        self.rows.iter().map(|(value, row)| (value, *row))
    }

    /// Whether a word is one of those.
    pub(in crate::fleet) fn has_word(&self, word: u64) -> bool {
        self.words.binary_search(&word).is_ok()
    }

    /// Whether a value is judged on its own.
    pub(in crate::fleet) fn is_special(&self, value: &SavedValue) -> bool {
        value.value.word().is_none_or(|word| self.has_word(word))
    }
}

/// A value that is judged digit by digit.
#[derive(Clone, Copy, Debug)]
pub(in crate::fleet) struct Digits {
    word: u64,
    config: u32,
}

impl Digits {
    /// The row in the part of one digit.
    pub(in crate::fleet) fn row(self, digit: u32) -> PartRow {
        let digit = u32::try_from(self.word >> (4 * digit) & 15).unwrap_or(0);
        PartRow::of_digit(self.config, digit)
    }
}

/// A kind that no acceptor is of: its cells are UNKNOWN.
const NO_KIND: u32 = u32::MAX;

/// How acceptors judge one digit: those that do it alike are of one kind.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct Kinds {
    /// By acceptor number.
    kind_of: Vec<u32>,
    cells: RowInterner,
}

impl Kinds {
    /// Adds the next acceptor, by what it says to each digit.
    pub(in crate::fleet) fn add(&mut self, cells: [u8; 16]) {
        self.kind_of.push(self.cells.intern(&cells.map(u32::from)));
    }

    /// What tells the column of a host class from others: the kinds of its acceptors.
    pub(in crate::fleet) fn key(&self, acceptors: &[u32]) -> Vec<u32> {
        acceptors.iter().map(|acceptor| self.kind_of.get(*acceptor as usize).copied().unwrap_or(NO_KIND)).collect()
    }

    /// The outcome in a row of a column with this key.
    pub(in crate::fleet) fn cell(&self, key: &[u32], row: PartRow) -> u8 {
        let Some((config, digit)) = row.digit() else { return 0 };
        let cells = key.get(config as usize).and_then(|kind| self.cells.get(*kind));
        found(cells.and_then(|cells| u8::try_from(*cells.get(digit as usize)?).ok()))
    }
}
