//! Groups: neighbouring parts joined, so that what a VM class gets on all hosts is made of few rows.
//!
//! The VM classes that no part of a group can tell apart share a row of it, the host classes a column. A cell holds
//! the greatest outcome of the parts. Rows over many hosts are made of few rows of groups ([`super::bits`]).

use std::ops::Range;

use rayon::prelude::*;

use super::hosts::Hosts;
use super::intern::RowInterner;
use super::judged::CHUNK;
use super::limits::Limits;
use super::parts::Part;
use super::pool::Pool;
use super::vms::Vms;

/// Groups are chosen by looking at this many VM classes.
const SAMPLE: usize = 1 << 12;

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
    /// The row of each VM class.
    pub(super) row_of: Vec<u32>,
    /// The column of each host class.
    pub(super) column_of: Vec<u32>,
}

/// All groups.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups(Vec<Group>);

impl Groups {
    /// Joins parts, and places the host classes.
    pub(super) fn new(parts: &[Part], vms: &Vms, hosts: &Hosts, limits: Limits) -> Self {
        let ranges = choose(parts, vms, limits.group_rows);
        let mut groups = Self(ranges.into_iter().map(Group::new).collect());
        for class in 0..hosts.classes.len() {
            groups.add_host_class(parts, class);
        }
        groups
    }

    /// The groups.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, Group> {
        self.0.iter()
    }

    /// How many VM classes have their place.
    pub(super) fn vm_classes(&self) -> usize {
        self.0.first().map_or(0, |group| group.row_of.len())
    }

    /// How many host classes have their place.
    pub(super) fn host_classes(&self) -> usize {
        self.0.first().map_or(0, |group| group.column_of.len())
    }

    /// Places the next VM classes by their rows in all parts.
    pub(super) fn add_vm_classes(&mut self, parts: &[Part], rows: &[u32], pool: &Pool) {
        let place = |group: &mut Group| rows.chunks(parts.len()).for_each(|rows| group.add_row(parts, rows));
        if rows.len() <= CHUNK * parts.len() {
            self.0.iter_mut().for_each(place);
        } else {
            pool.run(|| self.0.par_iter_mut().for_each(place));
        }
    }

    /// Places the next host class.
    pub(super) fn add_host_class(&mut self, parts: &[Part], class: usize) {
        self.0.iter_mut().for_each(|group| group.add_column(parts, class));
    }

    /// The groups, each with the row of a VM class.
    pub(super) fn rows_of(&self, class: u32) -> impl Iterator<Item = (&Group, u32)> {
        self.0.iter().map(move |group| (group, group.row_of.get(class as usize).copied().unwrap_or(0)))
    }
}

impl Group {
    fn new(parts: Range<usize>) -> Self {
        let (rows, columns) = (RowInterner::default(), RowInterner::default());
        let (row_of, column_of) = (Vec::new(), Vec::new());
        Self { parts, rows, columns, cells: Vec::new(), room: 0, row_of, column_of }
    }

    fn add_row(&mut self, parts: &[Part], rows: &[u32]) {
        let row = self.rows.intern(rows.get(self.parts.clone()).unwrap_or(&[]));
        if row as usize + 1 == self.rows.len() {
            self.judge_row(parts.get(self.parts.clone()).unwrap_or(&[]), row);
        }
        self.row_of.push(row);
    }

    fn add_column(&mut self, parts: &[Part], class: usize) {
        let own = parts.get(self.parts.clone()).unwrap_or(&[]);
        let key: Vec<u32> = own.iter().map(|part| part.column_of.get(class).copied().unwrap_or(0)).collect();
        let known = self.columns.len();
        let column = self.columns.intern(&key);
        if self.columns.len() > known {
            self.judge_column(own, column);
        }
        self.column_of.push(column);
    }

    /// How many distinct rows there are.
    pub(super) fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// How many distinct columns there are.
    pub(super) fn column_count(&self) -> usize {
        self.columns.len()
    }

    /// One row of cells, a cell for each column.
    pub(super) fn row(&self, row: u32) -> &[u8] {
        let start = row as usize * self.room;
        self.cells.get(start..start + self.columns.len()).unwrap_or(&[])
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

/// The greatest outcome of some parts.
fn join(parts: &[Part], rows: &[u32], columns: &[u32]) -> u8 {
    let cells = parts.iter().zip(rows.iter().zip(columns)).map(|(part, (row, column))| part.cell(*row, *column));
    cells.max().unwrap_or(0)
}

/// Neighbours are joined while they have few rows.
fn choose(parts: &[Part], vms: &Vms, most: usize) -> Vec<Range<usize>> {
    let step = vms.classes.len().div_ceil(SAMPLE).max(1);
    let sample: Vec<&[u32]> = vms.classes.rows().step_by(step).collect();
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut rows = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let own: Vec<u32> = sample.iter().map(|class| part.row(vms, class)).collect();
        if let (Some(joined), Some(last)) = (pair(&rows, &own, most), ranges.last_mut()) {
            rows = joined;
            last.end = at + 1;
        } else {
            rows = own;
            ranges.push(at..at + 1);
        }
    }
    ranges
}

/// Numbers for pairs of numbers; `None` if there are more than `most` distinct ones.
fn pair(numbers: &[u32], others: &[u32], most: usize) -> Option<Vec<u32>> {
    let mut pairs = RowInterner::default();
    let mut joined = Vec::with_capacity(numbers.len());
    for (number, other) in numbers.iter().zip(others) {
        joined.push(pairs.intern(&[*number, *other]));
        if pairs.len() > most {
            return None;
        }
    }
    Some(joined)
}
