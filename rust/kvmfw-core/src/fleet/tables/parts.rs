//! Parts: what one unit says about every value and every kind of acceptor.
//!
//! A part is a table of outcomes: a row for each value saved in a VM, a column for each way in which host classes judge the
//! unit. Units with too many of both are split ([`super::split`]).

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::digits::{Kinds, Split};
use super::part_row::PartRow;
use crate::fleet::class::{HostClass, VmClass};
use crate::fleet::classes::class_row::ClassRow;
use crate::fleet::classes::hosts::Hosts;
use crate::fleet::classes::intern::{Interner, RowInterner};
use crate::fleet::classes::saved::SavedValue;
use crate::fleet::classes::vms::Vms;
use crate::fleet::grid::{Grid, UNKNOWN, found};
use crate::fleet::limits::Limits;
use crate::fleet::unit::UnitNumber;
use crate::judgement::Outcome;
use crate::pool::{Pool, checkpoint};
use crate::room;

/// The outcomes of one unit, or of one part of it.
#[derive(Clone, Debug)]
pub(in crate::fleet) struct Part {
    pub(in crate::fleet) unit: UnitNumber,
    pub(in crate::fleet) source: Source,
    /// The column of each host class.
    pub(in crate::fleet) column_of: Vec<u32>,
    /// For each column what tells it from the others: its acceptor for each vCPU configuration.
    pub(in crate::fleet) columns: RowInterner,
    /// How many values of a split unit were looked at.
    pub(in crate::fleet) looked_at: usize,
    /// Shared by versions until one adds to it.
    grid: Arc<Grid>,
}

/// What the rows of a part stand for.
#[derive(Clone, Debug)]
pub(in crate::fleet) enum Source {
    /// Every value of the unit has a row.
    Values,
    /// The values of a split unit that are not judged digit by digit; and how many acceptors were looked at.
    Special(Split, usize),
    /// One hexadecimal digit of the values of a split unit.
    Digit(Split, u32, Kinds),
}

impl Part {
    /// The part of a unit with a row for each of its values.
    pub(in crate::fleet) fn of_values(unit: UnitNumber, vms: &Vms, hosts: &Hosts, pool: &Pool) -> Self {
        let mut part = Self::empty(unit, Source::Values);
        part.set_columns(HostClass::first(hosts.classes.len()).map(|class| key(hosts, class, unit)));
        part.judge_new_rows(vms, hosts, pool);
        part
    }

    /// A part without columns.
    pub(in crate::fleet) fn empty(unit: UnitNumber, source: Source) -> Self {
        Self {
            unit,
            source,
            column_of: Vec::new(),
            columns: RowInterner::default(),
            looked_at: 0,
            grid: Arc::default(),
        }
    }

    /// How many bytes of memory a copy takes.
    pub(in crate::fleet) fn bytes(&self) -> usize {
        self.grid.bytes() + self.column_of.len() * BYTES_OF_A_COLUMN
    }

    /// Gives each host class its column.
    pub(in crate::fleet) fn set_columns(&mut self, keys: impl Iterator<Item = Vec<u32>>) {
        for key in keys {
            room::need(BYTES_OF_A_COLUMN);
            self.column_of.push(self.columns.intern(&key));
        }
        self.grid = Arc::new(Grid::with_columns(self.columns.len()));
    }

    /// Whether a unit is better split.
    pub(in crate::fleet) fn is_large(unit: UnitNumber, vms: &Vms, hosts: &Hosts, limits: Limits) -> bool {
        let values = unit.register().and_then(|at| vms.units.get(at));
        let acceptors = hosts.acceptors.get(unit.at()).map_or(0, Interner::len);
        values.is_some_and(|unit| unit.values.len().saturating_mul(acceptors) > limits.unit_cells)
    }

    /// The outcome in a row and a column.
    pub(in crate::fleet) fn cell(&self, row: PartRow, column: u32) -> u8 {
        self.grid.cell(row.place(), column)
    }

    /// How many rows there are.
    pub(in crate::fleet) fn row_count(&self) -> usize {
        self.grid.row_count()
    }

    /// Whether no VM is anything but accepted.
    pub(in crate::fleet) fn is_silent(&self) -> bool {
        self.grid.is_silent()
    }

    /// The row of a VM class.
    pub(in crate::fleet) fn row(&self, vms: &Vms, class: ClassRow<'_>) -> PartRow {
        match (self.unit, &self.source) {
            (UnitNumber::VCPU, _) => class.list().map_or(PartRow::SILENT, |list| {
                vms.lists.get(list).map_or(PartRow::NONE, |list| PartRow::of_config(list.config))
            }),
            (UnitNumber::LIST, _) => class.list().map_or(PartRow::UNUSABLE, PartRow::of_list),
            (unit, Source::Values) => row_of_value(unit, class),
            (unit, Source::Special(split, _)) => {
                value(vms, unit, class).map_or(PartRow::SILENT, |value| split.special_row(value))
            }
            (unit, Source::Digit(split, digit, _)) => {
                let digits = value(vms, unit, class).and_then(|value| split.digits(value));
                digits.map_or(PartRow::SILENT, |digits| digits.row(*digit))
            }
        }
    }

    /// Judges the values that appeared since the last time. `false` where a split unit has a new value that is not judged
    /// digit by digit.
    pub(in crate::fleet) fn judge_new_rows(&mut self, vms: &Vms, hosts: &Hosts, pool: &Pool) -> bool {
        if let Source::Special(split, _) = &self.source {
            let Some(unit) = vms.unit_of(self.unit) else { return false };
            let covered = unit.values.items_from(self.looked_at).all(|value| !split.is_special(value));
            self.looked_at = unit.values.len();
            return covered;
        }
        if !matches!(self.source, Source::Values) {
            return true;
        }
        let rows = match self.unit {
            UnitNumber::VCPU => PartRow::for_configs(vms.configs.len()),
            UnitNumber::LIST => PartRow::for_lists(vms.lists.len()),
            unit => PartRow::for_values(vms.unit_of(unit).map_or(0, |unit| unit.values.len())),
        };
        let new: Vec<usize> = (self.grid.row_count()..rows).collect();
        let width = self.columns.len();
        // Lists are one unit, which may have as many rows as all others: threads share those too.
        for some in new.chunks(CHUNK * CHUNK) {
            room::need(some.len() * width);
            let cells: Vec<Vec<u8>> = if some.len() <= CHUNK {
                vec![self.cells(some, vms, hosts)]
            } else {
                pool.run(|| some.par_chunks(CHUNK).map(|some| self.cells(some, vms, hosts)).collect())
            };
            for (some, cells) in some.chunks(CHUNK).zip(&cells) {
                for at in 0..some.len() {
                    self.push_row(cells.get(at * width..(at + 1) * width).unwrap_or(&[]));
                }
            }
        }
        true
    }

    /// The cells of rows of values, row by row.
    fn cells(&self, rows: &[usize], vms: &Vms, hosts: &Hosts) -> Vec<u8> {
        let (mut known, mut cells) = (Vec::new(), Vec::with_capacity(rows.len() * self.columns.len()));
        for row in rows.iter().copied().map(PartRow::at_place) {
            checkpoint();
            known.clear();
            known.resize(hosts.acceptors.get(self.unit.at()).map_or(0, Interner::len), None);
            let mut outcome = |acceptor: u32| match known.get_mut(acceptor as usize) {
                Some(Some(outcome)) => *outcome,
                Some(slot) => *slot.insert(outcome(vms, hosts, self.unit, row, acceptor)),
                None => found(None),
            };
            let row = RowOf::new(vms, self.unit, row);
            cells.extend(self.columns.rows().map(|key| row.cell(key, &mut outcome)));
        }
        cells
    }

    /// Appends a row.
    pub(in crate::fleet) fn push_row(&mut self, cells: &[u8]) {
        Arc::make_mut(&mut self.grid).push_row(cells.iter().copied());
    }

    /// Adds a host class, with a new column if it judges like no other. A split unit has learnt its acceptors before.
    pub(in crate::fleet) fn add_host_class(&mut self, vms: &Vms, hosts: &Hosts, class: HostClass) {
        let acceptors = key(hosts, class, self.unit);
        let key = match &self.source {
            Source::Values | Source::Special(..) => acceptors,
            Source::Digit(_, _, kinds) => kinds.key(&acceptors),
        };
        let known = self.columns.len();
        let column = self.columns.intern(&key);
        self.column_of.push(column);
        if self.columns.len() == known {
            return;
        }
        room::need(self.grid.row_count());
        let mut cells = vec![0; self.grid.row_count()];
        match &self.source {
            Source::Values => {
                for (row, cell) in cells.iter_mut().enumerate() {
                    let row = PartRow::at_place(row);
                    let judge = |acceptor| outcome(vms, hosts, self.unit, row, acceptor);
                    *cell = RowOf::new(vms, self.unit, row).cell(&key, judge);
                }
            }
            Source::Special(split, _) => {
                for (value, row) in split.rows() {
                    let number = key.get(value.config as usize);
                    let acceptor = number.and_then(|number| hosts.acceptors.get(self.unit.at())?.get(*number));
                    if let Some(cell) = cells.get_mut(row.place()) {
                        *cell = found(acceptor.map(|acceptor| acceptor.judge_value(value) as u8));
                    }
                }
            }
            Source::Digit(_, _, kinds) => {
                for (row, cell) in cells.iter_mut().enumerate() {
                    *cell = kinds.cell(&key, PartRow::at_place(row));
                }
            }
        }
        Arc::make_mut(&mut self.grid).push_column(cells);
    }
}

/// The number of a column, and its acceptors, which most columns share.
const BYTES_OF_A_COLUMN: usize = 64;

/// VM classes that one thread takes at a time.
pub(in crate::fleet) const CHUNK: usize = 1 << 8;

/// The rows of some VM classes in all parts, class by class.
pub(in crate::fleet) fn rows_of_classes(parts: &[Part], vms: &Vms, classes: Range<usize>, pool: &Pool) -> Vec<PartRow> {
    let width = parts.len();
    let rows_of_chunk = |(chunk, rows): (usize, &mut [PartRow])| {
        checkpoint();
        for (class, rows) in (classes.start + chunk * CHUNK..).zip(rows.chunks_mut(width)) {
            rows_of(parts, vms, vms.row(VmClass::at_place(class)), rows);
        }
    };
    room::need(classes.len() * width * size_of::<PartRow>());
    let mut rows = vec![PartRow::SILENT; classes.len() * width];
    if classes.len() <= CHUNK {
        rows_of_chunk((0, &mut rows));
    } else {
        pool.run(|| rows.par_chunks_mut(CHUNK * width).enumerate().for_each(rows_of_chunk));
    }
    rows
}

/// The rows of a VM class in all parts, into `rows`.
pub(in crate::fleet) fn rows_of(parts: &[Part], vms: &Vms, class: ClassRow<'_>, rows: &mut [PartRow]) {
    // The digits of a split unit follow each other: whether its value has any is found out once.
    let mut last = (UnitNumber::VCPU, None);
    for (part, row) in parts.iter().zip(rows) {
        *row = match &part.source {
            Source::Digit(split, digit, _) => {
                if last.0 != part.unit {
                    last = (part.unit, value(vms, part.unit, class).and_then(|value| split.digits(value)));
                }
                last.1.map_or(PartRow::SILENT, |digits| digits.row(*digit))
            }
            // Most parts are of this kind: a call for each of them takes longer than the look-up.
            Source::Values if part.unit > UnitNumber::LIST => row_of_value(part.unit, class),
            Source::Values | Source::Special(..) => part.row(vms, class),
        };
    }
}

#[inline]
fn row_of_value(unit: UnitNumber, class: ClassRow<'_>) -> PartRow {
    class.value(unit).map_or(PartRow::SILENT, PartRow::of_value)
}

/// The acceptors of a host class for a unit, by vCPU configuration.
pub(in crate::fleet) fn key(hosts: &Hosts, class: HostClass, unit: UnitNumber) -> Vec<u32> {
    (0..).map_while(|config| hosts.acceptor_number(class, config, unit)).collect()
}

/// The value of a register unit in a VM class.
pub(in crate::fleet) fn value<'a>(vms: &'a Vms, unit: UnitNumber, class: ClassRow<'_>) -> Option<&'a SavedValue> {
    vms.unit_of(unit)?.values.get(class.value(unit)?)
}

/// What a row of values stands for.
#[derive(Clone, Copy)]
enum RowOf {
    /// VMs that the unit has nothing to say about.
    Silent,
    /// VMs whose rows could not be used.
    Unusable,
    /// VMs made with this configuration; `None` is no row of the unit.
    Config(Option<u32>),
}

impl RowOf {
    fn new(vms: &Vms, unit: UnitNumber, row: PartRow) -> Self {
        match (unit, row) {
            (_, PartRow::SILENT) => Self::Silent,
            (UnitNumber::VCPU, _) => Self::Config(row.config()),
            (UnitNumber::LIST, PartRow::UNUSABLE) => Self::Unusable,
            (UnitNumber::LIST, _) => {
                Self::Config(row.list().and_then(|list| vms.lists.get(list)).map(|list| list.config))
            }
            (unit, _) => {
                let values = vms.unit_of(unit);
                Self::Config(values.and_then(|unit| unit.values.get(row.value()?)).map(|value| value.config))
            }
        }
    }

    /// The cell of a column with these acceptors.
    fn cell(self, key: &[u32], mut judge: impl FnMut(u32) -> u8) -> u8 {
        match self {
            Self::Silent => Outcome::Accept as u8,
            Self::Unusable => UNKNOWN,
            Self::Config(config) => {
                found(config.and_then(|config| key.get(config as usize)).map(|acceptor| judge(*acceptor)))
            }
        }
    }
}

/// What an acceptor says to the value of a row.
fn outcome(vms: &Vms, hosts: &Hosts, unit: UnitNumber, row: PartRow, acceptor: u32) -> u8 {
    let acceptor = hosts.acceptors.get(unit.at()).and_then(|interner| interner.get(acceptor));
    let outcome = match (unit, acceptor) {
        (_, None) => None,
        (UnitNumber::VCPU, Some(acceptor)) => Some(acceptor.judge_vcpu()),
        (UnitNumber::LIST, Some(acceptor)) => {
            row.list().and_then(|list| vms.lists.get(list)).map(|saved| acceptor.judge_list(saved))
        }
        (unit, Some(acceptor)) => {
            let values = vms.unit_of(unit);
            let saved = values.and_then(|unit| unit.values.get(row.value()?));
            saved.map(|saved| acceptor.judge_value(saved))
        }
    };
    found(outcome.map(|outcome| outcome as u8))
}
