//! Groups: neighbouring parts joined, so that what a VM class gets on all hosts is made of few rows.
//!
//! The VM classes that no part of a group can tell apart share a row of it, the host classes a column. A cell holds
//! the greatest outcome of the parts. Rows over many hosts are made of few rows of groups ([`super::bit_rows`]).

use std::ops::Range;

use rayon::prelude::*;

use super::part_row::PartRow;
use super::parts::{CHUNK, Part, rows_of_classes};
use crate::fleet::class::{HostClass, VmClass};
use crate::fleet::classes::class_row::ClassRow;
use crate::fleet::classes::hosts::Hosts;
use crate::fleet::classes::intern::RowInterner;
use crate::fleet::classes::vms::Vms;
use crate::fleet::grid::Grid;
use crate::fleet::limits::Limits;
use crate::pool::{Pool, checkpoint};
use crate::room;

/// Groups are chosen by looking at this many VM classes.
const SAMPLE: usize = 1 << 12;

/// VM classes are placed in batches of this many, whose rows in all parts take a few megabytes.
const BATCH: usize = 1 << 14;

/// Groups with at most this many combinations of rows find them by place, others by hash.
const MOST_PLACES: usize = 1 << 13;

/// Joined parts.
#[derive(Clone, Debug)]
pub(in crate::fleet) struct Group {
    pub(in crate::fleet) parts: Range<usize>,
    /// Rows of the parts by row of the group.
    rows: RowInterner,
    /// The row of the group, or [`NONE`], by the rows of the parts as one number; empty where there would be too many.
    places: Vec<u32>,
    /// Columns of the parts by column of the group.
    columns: RowInterner,
    grid: Grid,
    /// Memory for a row that may be new.
    key: Vec<u32>,
    /// The row of each VM class.
    pub(in crate::fleet) row_of: Vec<u32>,
    /// The column of each host class.
    pub(in crate::fleet) column_of: Vec<u32>,
}

/// What a row takes beside its cells.
const BYTES_OF_A_ROW: usize = 64;
/// In place of a row: this combination was not seen yet.
const NONE: u32 = u32::MAX;

/// All groups.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct Groups(Vec<Group>);

impl Groups {
    /// Joins parts, and places all classes.
    pub(in crate::fleet) fn new(parts: &[Part], vms: &Vms, hosts: &Hosts, pool: &Pool, limits: Limits) -> Self {
        let ranges = choose(parts, vms, limits.group_rows);
        let mut groups = Self(ranges.into_iter().map(Group::new).collect());
        groups.place(parts, vms, hosts, pool);
        groups
    }

    /// The groups.
    pub(in crate::fleet) fn iter(&self) -> std::slice::Iter<'_, Group> {
        self.0.iter()
    }

    /// The row of each VM class in a group.
    pub(in crate::fleet) fn rows(&self, group: usize) -> &[u32] {
        self.0.get(group).map_or(&[], |group| &group.row_of)
    }

    /// Places all classes.
    fn place(&mut self, parts: &[Part], vms: &Vms, hosts: &Hosts, pool: &Pool) {
        if self.0.is_empty() {
            return;
        }
        for class in HostClass::first(hosts.classes.len()) {
            self.0.iter_mut().for_each(|group| group.add_column(parts, class));
        }
        self.0.iter_mut().for_each(|group| group.make_places(parts));
        self.0.iter_mut().for_each(|group| room::grow(&mut group.row_of, vms.classes.len()));
        for start in (0..vms.classes.len()).step_by(BATCH) {
            let classes = start..vms.classes.len().min(start + BATCH);
            let rows = rows_of_classes(parts, vms, classes, pool);
            let place = |group: &mut Group| {
                checkpoint();
                rows.chunks(parts.len()).for_each(|rows| group.add_row(parts, rows));
            };
            if rows.len() <= CHUNK * parts.len() {
                self.0.iter_mut().for_each(place);
            } else {
                pool.run(|| self.0.par_iter_mut().for_each(place));
            }
        }
    }

    /// The groups, each with the row of a VM class.
    pub(in crate::fleet) fn rows_of(&self, class: VmClass) -> impl Iterator<Item = (&Group, u32)> {
        self.0.iter().map(move |group| (group, group.row_of.get(class.place()).copied().unwrap_or(0)))
    }
}

impl Group {
    fn new(parts: Range<usize>) -> Self {
        let (rows, columns) = (RowInterner::default(), RowInterner::default());
        let (row_of, column_of, places, key) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { parts, rows, places, columns, grid: Grid::default(), key, row_of, column_of }
    }

    /// Makes a place for every combination of rows that the parts have by now.
    fn make_places(&mut self, parts: &[Part]) {
        let own = parts.get(self.parts.clone()).unwrap_or(&[]);
        let wanted = own.iter().fold(1_usize, |places, part| places.saturating_mul(part.row_count()));
        // Parts only grow: with as many combinations as before they are the same.
        if wanted == self.places.len() {
            return;
        }
        self.places.clear();
        self.places.resize(if wanted > MOST_PLACES { 0 } else { wanted }, NONE);
        for (number, rows) in (0..).zip(self.rows.rows()) {
            let rows = rows.iter().copied().map(PartRow::of_number);
            if let Some(place) = self.places.get_mut(place(own, rows)) {
                *place = number;
            }
        }
    }

    fn add_row(&mut self, parts: &[Part], rows: &[PartRow]) {
        let parts = parts.get(self.parts.clone()).unwrap_or(&[]);
        let rows = rows.get(self.parts.clone()).unwrap_or(&[]);
        let place = place(parts, rows.iter().copied());
        let row = match self.places.get(place) {
            Some(&row) if row != NONE => row,
            _ => self.new_row(parts, rows, place),
        };
        self.row_of.push(row);
    }

    #[cold]
    fn new_row(&mut self, parts: &[Part], rows: &[PartRow], place: usize) -> u32 {
        let known = self.rows.len();
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        key.extend(rows.iter().map(|row| row.number()));
        let row = self.rows.intern(&key);
        self.key = key;
        if self.rows.len() > known {
            room::need(BYTES_OF_A_ROW);
            self.judge_row(parts, row);
        }
        if let Some(place) = self.places.get_mut(place) {
            *place = row;
        }
        row
    }

    fn add_column(&mut self, parts: &[Part], class: HostClass) {
        let own = parts.get(self.parts.clone()).unwrap_or(&[]);
        let key: Vec<u32> = own.iter().map(|part| part.column_of.get(class.place()).copied().unwrap_or(0)).collect();
        let known = self.columns.len();
        let column = self.columns.intern(&key);
        if self.columns.len() > known {
            self.judge_column(own, column);
        }
        self.column_of.push(column);
    }

    /// How many distinct rows there are.
    pub(in crate::fleet) fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// How many distinct columns there are.
    pub(in crate::fleet) fn column_count(&self) -> usize {
        self.columns.len()
    }

    /// One row of cells, a cell for each column.
    pub(in crate::fleet) fn row(&self, row: u32) -> &[u8] {
        self.grid.row(row as usize)
    }

    /// Whether any cell is at least this outcome.
    pub(in crate::fleet) fn reaches(&self, least: u8) -> bool {
        (0..self.grid.row_count()).any(|row| self.grid.row(row).iter().any(|cell| *cell >= least))
    }

    fn judge_row(&mut self, parts: &[Part], row: u32) {
        let rows = self.rows.get(row).unwrap_or(&[]);
        self.grid.push_row(self.columns.rows().map(|columns| join(parts, rows, columns)));
    }

    fn judge_column(&mut self, parts: &[Part], column: u32) {
        let columns = self.columns.get(column).unwrap_or(&[]);
        self.grid.push_column(self.rows.rows().map(|rows| join(parts, rows, columns)));
    }
}

/// The rows of some parts as one number.
fn place(parts: &[Part], rows: impl Iterator<Item = PartRow>) -> usize {
    let rows = parts.iter().zip(rows);
    rows.fold(0, |place: usize, (part, row)| place.wrapping_mul(part.row_count()).wrapping_add(row.place()))
}

/// The greatest outcome of some parts.
fn join(parts: &[Part], rows: &[u32], columns: &[u32]) -> u8 {
    let cells = parts
        .iter()
        .zip(rows.iter().zip(columns))
        .map(|(part, (row, column))| part.cell(PartRow::of_number(*row), *column));
    cells.max().unwrap_or(0)
}

/// Neighbours are joined while they have few rows.
fn choose(parts: &[Part], vms: &Vms, most: usize) -> Vec<Range<usize>> {
    let step = vms.classes.len().div_ceil(SAMPLE).max(1);
    let sample: Vec<ClassRow<'_>> = vms.classes.rows().step_by(step).collect();
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut rows = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let own: Vec<u32> = sample.iter().map(|class| part.row(vms, *class).number()).collect();
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
