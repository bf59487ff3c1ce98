//! Groups: neighbouring parts joined, so that a pair is decided by few look-ups.
//!
//! The VM classes that no part of a group can tell apart share a row of it, the host classes a column. A cell holds
//! the greatest outcome of the parts and, for explaining, the first of them that has it.

use std::ops::Range;

use rayon::prelude::*;

use super::hosts::Hosts;
use super::intern::RowInterner;
use super::limits::Limits;
use super::parts::Part;
use super::pool::Pool;
use super::vms::Vms;

/// Parts of one group, as many as a cell can tell apart.
const MOST_PARTS: usize = 63;
/// Groups are chosen by looking at this many VM classes.
const SAMPLE: usize = 1 << 15;

/// VM classes are placed in batches of this many.
const BATCH: usize = 1 << 14;

/// Joined parts.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) parts: Range<usize>,
    /// Rows of the parts by row of the group.
    rows: RowInterner,
    /// Columns of the parts by column of the group.
    columns: RowInterner,
    cells: Vec<u8>,
    room: usize,
    /// The column of each host class.
    pub(super) column_of: Vec<u32>,
}

/// All groups, and where every class stands in them.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    pub(super) all: Vec<Group>,
    /// The row of each VM class in each group, class by class.
    pub(super) rows: Vec<u32>,
    /// The column of each host class in each group, class by class.
    columns: Vec<u32>,
    scratch: Vec<u32>,
}

/// The outcome of a cell.
pub(super) const fn outcome(cell: u8) -> u8 {
    cell >> 6
}

/// The number of the part in its group that a cell tells of.
pub(super) const fn part(cell: u8) -> usize {
    MOST_PARTS - (cell & 63) as usize
}

impl Groups {
    /// Joins parts and places all classes.
    pub(super) fn new(parts: &[Part], vms: &Vms, hosts: &Hosts, pool: &Pool, limits: Limits) -> Self {
        let ranges = choose(parts, vms, hosts, limits.group_cells);
        let mut groups = Self { all: ranges.into_iter().map(Group::new).collect(), ..Self::default() };
        for class in 0..hosts.classes.len() {
            groups.add_host_class(parts, class);
        }
        // Threads look the rows of parts up; numbers are given in order.
        let count = vms.classes.len();
        for start in (0..count).step_by(BATCH) {
            let classes = start..count.min(start + BATCH);
            let row = |class: usize| {
                let class = u32::try_from(class).ok().and_then(|class| vms.classes.get(class)).unwrap_or(&[]);
                parts.iter().map(move |part| part.row(vms, class))
            };
            let rows: Vec<u32> = if classes.len() < BATCH {
                classes.flat_map(row).collect()
            } else {
                pool.run(|| classes.into_par_iter().with_min_len(1 << 8).flat_map_iter(row).collect())
            };
            rows.chunks(parts.len().max(1)).for_each(|rows| groups.place(parts, rows));
        }
        groups
    }

    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many VM classes have their place.
    pub(super) fn placed(&self) -> usize {
        self.rows.len() / self.len().max(1)
    }

    /// Places the next VM class.
    pub(super) fn add_vm_class(&mut self, parts: &[Part], vms: &Vms, class: &[u32]) {
        let mut rows = std::mem::take(&mut self.scratch);
        rows.clear();
        rows.extend(parts.iter().map(|part| part.row(vms, class)));
        self.place(parts, &rows);
        self.scratch = rows;
    }

    /// Places the next VM class by its rows in all parts.
    fn place(&mut self, parts: &[Part], rows: &[u32]) {
        for group in &mut self.all {
            let own = rows.get(group.parts.clone()).unwrap_or(&[]);
            let row = group.rows.intern(own);
            if row as usize + 1 == group.rows.len() {
                group.judge_row(parts.get(group.parts.clone()).unwrap_or(&[]), row);
            }
            self.rows.push(row);
        }
    }

    /// Places the next host class.
    pub(super) fn add_host_class(&mut self, parts: &[Part], class: usize) {
        for group in &mut self.all {
            self.scratch.clear();
            let own = parts.get(group.parts.clone()).unwrap_or(&[]);
            self.scratch.extend(own.iter().map(|part| part.column_of.get(class).copied().unwrap_or(0)));
            let known = group.columns.len();
            let column = group.columns.intern(&self.scratch);
            if group.columns.len() > known {
                group.judge_column(own, column);
            }
            group.column_of.push(column);
            self.columns.push(column);
        }
    }

    /// A row by its place: the number of the VM class times the number of groups, and the number of the group.
    pub(super) fn row_at(&self, place: usize) -> u32 {
        self.rows.get(place).copied().unwrap_or(0)
    }

    /// The same for a column.
    pub(super) fn column_at(&self, place: usize) -> u32 {
        self.columns.get(place).copied().unwrap_or(0)
    }

    /// The rows of a VM class.
    pub(super) fn rows_of(&self, class: u32) -> &[u32] {
        let start = class as usize * self.len();
        self.rows.get(start..start + self.len()).unwrap_or(&[])
    }

    /// The columns of a host class.
    pub(super) fn columns_of(&self, class: u32) -> &[u32] {
        let start = class as usize * self.len();
        self.columns.get(start..start + self.len()).unwrap_or(&[])
    }
}

impl Group {
    fn new(parts: Range<usize>) -> Self {
        let (rows, columns) = (RowInterner::default(), RowInterner::default());
        Self { parts, rows, columns, cells: Vec::new(), room: 0, column_of: Vec::new() }
    }

    /// How many distinct rows there are.
    pub(super) fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// One row of cells, a cell for each column.
    pub(super) fn row(&self, row: u32) -> &[u8] {
        let start = row as usize * self.room;
        self.cells.get(start..start + self.columns.len()).unwrap_or(&[])
    }

    /// One cell.
    pub(super) fn cell(&self, row: u32, column: u32) -> u8 {
        self.cells.get(row as usize * self.room + column as usize).copied().unwrap_or(0)
    }

    fn judge_row(&mut self, parts: &[Part], row: u32) {
        let start = row as usize * self.room;
        if start < self.cells.len() {
            return;
        }
        self.cells.resize(start + self.room, 0);
        let cells = self.cells.get_mut(start..).unwrap_or_default();
        let rows = self.rows.get(row).unwrap_or(&[]);
        for (cell, columns) in cells.iter_mut().zip(self.columns.rows()) {
            *cell = join(parts, rows, columns);
        }
    }

    fn judge_column(&mut self, parts: &[Part], column: u32) {
        if self.columns.len() > self.room {
            let room = self.columns.len().next_power_of_two();
            let mut cells = vec![0; self.rows.len() * room];
            for (to, from) in cells.chunks_mut(room).zip(self.cells.chunks(self.room.max(1))) {
                if let Some(to) = to.get_mut(..from.len()) {
                    to.copy_from_slice(from);
                }
            }
            (self.cells, self.room) = (cells, room);
        }
        let columns = self.columns.get(column).unwrap_or(&[]);
        let cells = self.cells.iter_mut().skip(column as usize).step_by(self.room);
        for (cell, rows) in cells.zip(self.rows.rows()) {
            *cell = join(parts, rows, columns);
        }
    }
}

/// The greatest outcome of some parts, and the first part that has it.
fn join(parts: &[Part], rows: &[u32], columns: &[u32]) -> u8 {
    let cells = (0_u8..63).zip(parts).zip(rows.iter().zip(columns)).map(|((number, part), (row, column))| {
        match part.cell(*row, *column) {
            0 => 0,
            outcome => outcome << 6 | (63 - number),
        }
    });
    cells.max().unwrap_or(0)
}

/// Neighbours are joined while their table stays small.
fn choose(parts: &[Part], vms: &Vms, hosts: &Hosts, most: usize) -> Vec<Range<usize>> {
    let step = vms.classes.len().div_ceil(SAMPLE).max(1);
    let sample: Vec<&[u32]> = vms.classes.rows().step_by(step).collect();
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let (mut rows, mut columns) = (vec![0; sample.len()], vec![0; hosts.classes.len()]);
    for (at, part) in parts.iter().enumerate() {
        let start = ranges.last().map_or(0, |range| range.start);
        let own = || sample.iter().map(|class| part.row(vms, class));
        let joined = ranges.last().filter(|_| at - start < MOST_PARTS).and_then(|_| {
            let rows = pair(&rows, own(), most / distinct(&columns))?;
            let columns = pair(&columns, part.column_of.iter().copied(), most / distinct(&rows))?;
            Some((rows, columns))
        });
        if let (Some(joined), Some(last)) = (joined, ranges.last_mut()) {
            (rows, columns) = joined;
            last.end = at + 1;
        } else {
            rows = pair(&vec![0; sample.len()], own(), usize::MAX).unwrap_or_default();
            let own = part.column_of.iter().copied();
            columns = pair(&vec![0; hosts.classes.len()], own, usize::MAX).unwrap_or_default();
            ranges.push(at..at + 1);
        }
    }
    ranges
}

/// Numbers for pairs of numbers; `None` if there are more than `most` distinct ones.
fn pair(numbers: &[u32], others: impl Iterator<Item = u32>, most: usize) -> Option<Vec<u32>> {
    let mut pairs = RowInterner::default();
    let mut joined = Vec::with_capacity(numbers.len());
    for (number, other) in numbers.iter().zip(others) {
        joined.push(pairs.intern(&[*number, other]));
        if pairs.len() > most {
            return None;
        }
    }
    Some(joined)
}

/// How many numbers there are: they are dense.
fn distinct(numbers: &[u32]) -> usize {
    numbers.iter().max().map_or(1, |most| *most as usize + 1)
}
