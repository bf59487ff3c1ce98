//! Tables of outcomes: how they grow, and what a look-up outside of them says.

use crate::judgement::Outcome;
use crate::room;

/// What a look-up outside of its table says; classes and rows never reach one.
pub(in crate::fleet) const UNKNOWN: u8 = Outcome::Unknown as u8;

/// The outcome that a look-up found. None is a bug of kvmfw, which must not read as ACCEPT.
#[inline]
pub(in crate::fleet) fn found(outcome: Option<u8>) -> u8 {
    debug_assert!(outcome.is_some(), "a look-up outside of its table");
    outcome.unwrap_or(UNKNOWN)
}

/// A table of outcomes, row by row, which grows by rows and by columns: between rows there is room for more of these.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct Grid {
    cells: Vec<u8>,
    rows: usize,
    columns: usize,
    room: usize,
}

impl Grid {
    /// A table without rows.
    pub(in crate::fleet) fn with_columns(columns: usize) -> Self {
        Self { cells: Vec::new(), rows: 0, columns, room: columns.next_power_of_two() }
    }

    /// How many bytes of memory a copy takes.
    pub(in crate::fleet) fn bytes(&self) -> usize {
        self.cells.len()
    }

    /// How many rows there are.
    pub(in crate::fleet) fn row_count(&self) -> usize {
        self.rows
    }

    /// The outcome in a row and a column.
    #[inline]
    pub(in crate::fleet) fn cell(&self, row: usize, column: u32) -> u8 {
        found(self.cells.get(row * self.room + column as usize).copied())
    }

    /// One row of cells, a cell for each column.
    pub(in crate::fleet) fn row(&self, row: usize) -> &[u8] {
        let start = row * self.room;
        self.cells.get(start..start + self.columns).unwrap_or(&[])
    }

    /// Whether every cell is ACCEPT.
    pub(in crate::fleet) fn is_silent(&self) -> bool {
        self.cells.iter().all(|cell| *cell == 0)
    }

    /// Appends a row.
    pub(in crate::fleet) fn push_row(&mut self, cells: impl IntoIterator<Item = u8>) {
        room::grow(&mut self.cells, self.room);
        self.cells.extend(cells);
        self.rows += 1;
        self.cells.resize(self.rows * self.room, 0);
    }

    /// Appends a column.
    pub(in crate::fleet) fn push_column(&mut self, cells: impl IntoIterator<Item = u8>) {
        let column = self.columns;
        self.columns += 1;
        if self.columns > self.room {
            let room = self.columns.next_power_of_two();
            self.cells = widened(&self.cells, self.rows, self.room, room);
            self.room = room;
        }
        let slots = self.cells.iter_mut().skip(column).step_by(self.room);
        slots.zip(cells).for_each(|(slot, cell)| *slot = cell);
    }
}

/// A table of `rows` rows with more room in each of them.
fn widened(cells: &[u8], rows: usize, room: usize, wanted: usize) -> Vec<u8> {
    room::need(rows * wanted);
    let mut wide = vec![0; rows * wanted];
    for (to, from) in wide.chunks_mut(wanted).zip(cells.chunks(room.max(1))) {
        if let Some(to) = to.get_mut(..from.len()) {
            to.copy_from_slice(from);
        }
    }
    wide
}
