//! Bulk intake: columns of register ids and values become classes, without an allocation for each row.
//!
//! A VM whose ids are those of the VM before it (a comparison of memory) has its shape, and one whose values were seen
//! before (a hash, then a comparison with the rows of the first such VM) has its class. Only VMs that differ from all
//! others are looked at register by register.

use std::hash::BuildHasher;
use std::ops::{BitOr, BitXor};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use rayon::prelude::*;

use super::intern::{short, spread};
use super::pool::Pool;
use super::shape::Shape;
use super::vms::Vms;
use crate::error::RowError;
use crate::id::RegisterId;
use crate::value::Value;
use crate::vcpu::VcpuConfig;

/// Registers of many VMs: the rows of each are together.
#[derive(Clone, Copy, Debug)]
pub struct Runs<'a> {
    /// Where the rows of each VM start, and where those of the last one end.
    pub starts: &'a [i64],
    /// The register id of each row.
    pub register: &'a [u64],
    /// The value; for registers wider than 8 bytes the lowest 8, the rest is 0.
    pub value: &'a [u64],
    /// How vCPUs are made.
    pub configs: &'a [VcpuConfig],
    /// For each VM, which of `configs`; empty where all are the first.
    pub config_of: &'a [u32],
}

/// Fewer VMs than this are not worth a second thread: they take less than a millisecond.
const WORTH_SHARING: usize = 1 << 12;

/// One class that was seen, and the first run that had it.
struct Seen {
    hash: u32,
    shape: u32,
    class: u32,
    run: u32,
}

/// Fills a [`Vms`] with runs.
struct Intake<'a> {
    rows: Runs<'a>,
    seen: HashTable<Seen>,
    state: FixedState,
    words: Vec<u64>,
    errors: Vec<RowError>,
}

impl<'a> Runs<'a> {
    /// How many VMs there are.
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks what the rest relies on: starts ascend within the rows, columns are equally long, configurations exist.
    ///
    /// # Errors
    ///
    /// The first VM that does not fit.
    pub fn check(&self) -> Result<(), RowError> {
        let problem = |row: usize, problem: &str| Err(RowError { row, problem: problem.to_owned() });
        if self.register.len() != self.value.len() {
            return problem(self.register.len().min(self.value.len()), "the columns differ in length");
        }
        let mut before = 0;
        for (row, start) in self.starts.iter().enumerate() {
            match usize::try_from(*start) {
                Ok(start) if start >= before && start <= self.value.len() => before = start,
                _ => return problem(row, "the start of a VM's rows is out of order or out of range"),
            }
        }
        if self.config_of.is_empty() {
            return if self.configs.is_empty() { problem(0, "there is no vCPU configuration") } else { Ok(()) };
        }
        let known = |config: &u32| (*config as usize) < self.configs.len();
        match self.config_of.iter().position(|config| !known(config)) {
            _ if self.config_of.len() != self.len() => problem(0, "`config_of` needs one entry for each VM"),
            Some(row) => problem(row, "a VM names a vCPU configuration that there is not"),
            None => Ok(()),
        }
    }

    fn rows_of(&self, run: usize) -> Option<(usize, &'a [u64], &'a [u64])> {
        let start = usize::try_from(*self.starts.get(run)?).ok()?;
        let end = usize::try_from(*self.starts.get(run + 1)?).ok()?;
        Some((start, self.register.get(start..end)?, self.value.get(start..end)?))
    }

    fn config(&self, run: usize) -> Option<VcpuConfig> {
        let at = self.config_of.get(run).map_or(0, |at| *at as usize);
        self.configs.get(at).copied()
    }
}

/// Appends the VMs of `rows`; gives the rows that cannot be used. Their VMs are kept in place, unknown to every host.
pub(super) fn add(vms: &mut Vms, rows: Runs<'_>, pool: &Pool) -> Vec<RowError> {
    if rows.len() < WORTH_SHARING || pool.threads() == 1 {
        return Intake::new(rows).add(vms, 0..rows.len());
    }
    let chunk = rows.len().div_ceil(pool.threads());
    let starts: Vec<usize> = (0..rows.len()).step_by(chunk).collect();
    let parts: Vec<(Vms, Vec<RowError>)> = pool.run(|| {
        let parts = starts.par_iter().map(|start| {
            let mut part = Vms::default();
            let errors = Intake::new(rows).add(&mut part, *start..(start + chunk).min(rows.len()));
            (part, errors)
        });
        parts.collect()
    });
    // Classes are numbered by first appearance, so parts that follow each other give the numbers of the whole.
    let mut all = Vec::new();
    for (part, errors) in parts {
        vms.absorb(part, pool);
        all.extend(errors);
    }
    all
}

impl<'a> Intake<'a> {
    fn new(rows: Runs<'a>) -> Self {
        let (words, errors) = (Vec::new(), Vec::new());
        Self { rows, seen: HashTable::new(), state: FixedState::default(), words, errors }
    }

    fn add(mut self, vms: &mut Vms, runs: std::ops::Range<usize>) -> Vec<RowError> {
        let mut last: Option<(VcpuConfig, u32)> = None;
        let mut classes = Vec::with_capacity(runs.len());
        for run in runs {
            let (Some((start, ids, values)), Some(config)) = (self.rows.rows_of(run), self.rows.config(run)) else {
                continue;
            };
            let number = match last {
                Some((known, number)) if known == config => number,
                _ => vms.configs.intern(config),
            };
            last = Some((config, number));
            let shape = vms.shapes.is_last(number, ids).unwrap_or_else(|| {
                let mut shapes = std::mem::take(&mut vms.shapes);
                let found = shapes.find(number, ids);
                let shape = found.unwrap_or_else(|| shapes.add(number, ids.to_vec(), vms));
                vms.shapes = shapes;
                shape
            });
            classes.push(self.class(vms, run, start, shape, values));
        }
        vms.class_of.extend(classes.into_iter());
        self.errors
    }

    fn class(&mut self, vms: &mut Vms, run: usize, start: usize, shape: usize, values: &[u64]) -> u32 {
        let Some(own) = vms.shapes.get(shape) else { return vms.unusable_class() };
        if self.has_problems(own, start, values) {
            return vms.unusable_class();
        }
        let hash = if own.looked_at.len() == values.len() {
            self.state.hash_one(values)
        } else {
            self.words.clear();
            self.words.extend(own.looked_at.iter().filter_map(|at| values.get(*at)));
            self.state.hash_one(self.words.as_slice())
        };
        let hash = short(hash);
        let number = u32::try_from(shape).unwrap_or(u32::MAX);
        let rows = self.rows;
        let same = |seen: &Seen| {
            seen.hash == hash && seen.shape == number && {
                let others = rows.rows_of(seen.run as usize).map_or(&[][..], |(_, _, values)| values);
                if own.looked_at.len() == values.len() {
                    others == values
                } else {
                    own.looked_at.iter().all(|at| others.get(*at) == values.get(*at))
                }
            }
        };
        if let Some(seen) = self.seen.find(spread(hash), same) {
            return seen.class;
        }
        let mut shapes = std::mem::take(&mut vms.shapes);
        let class = shapes.get_mut(shape).map(|shape| {
            let ids = std::mem::take(&mut shape.ids);
            let value = |at: usize| Value::from_word(*values.get(at)?, RegisterId::new(*ids.get(at)?)).ok();
            let class = vms.class(shape, &ids, value);
            shape.ids = ids;
            class
        });
        vms.shapes = shapes;
        let class = class.unwrap_or_else(|| vms.unusable_class());
        // There are fewer than 2^32 VMs in one call: their rows would not fit into memory.
        let run = u32::try_from(run).unwrap_or(u32::MAX);
        self.seen.insert_unique(spread(hash), Seen { hash, shape: number, class, run }, |seen| spread(seen.hash));
        class
    }

    fn has_problems(&mut self, shape: &Shape, start: usize, values: &[u64]) -> bool {
        let before = self.errors.len();
        for (at, problem) in &shape.problems {
            self.errors.push(RowError { row: start + at, problem: problem.clone() });
        }
        for (at, bits) in &shape.narrow {
            let word = values.get(*at).copied().unwrap_or(0);
            if word >> bits != 0 {
                let register = RegisterId::new(shape.ids.get(*at).copied().unwrap_or(0));
                if let Err(problem) = Value::from_word(word, register) {
                    self.errors.push(RowError { row: start + at, problem });
                }
            }
        }
        self.errors.len() > before
    }
}

/// A number of a column: any integer.
pub trait Number: Copy + Default + PartialOrd + Sync + BitOr<Output = Self> + BitXor<Output = Self> {}

impl<T: Copy + Default + PartialOrd + Sync + BitOr<Output = T> + BitXor<Output = T>> Number for T {}

/// Columns shorter than this are not worth a second thread.
const WORTH_SPLITTING: usize = 1 << 20;

/// Where runs of equal numbers start in `column`, with its length at the end; and whether the numbers of the runs
/// ascend, so that no two runs have the same. Works with `threads` threads; 0 means one for each core.
pub fn run_starts<T: Number>(column: &[T], threads: usize) -> (Vec<i64>, bool) {
    let pool = Pool::new(threads);
    let chunk =
        if column.len() < WORTH_SPLITTING { column.len() } else { column.len().div_ceil(pool.threads()) }.max(1);
    let look = |(at, numbers): (usize, &[T])| {
        let before = (at * chunk).checked_sub(1).and_then(|before| column.get(before));
        chunk_starts(at * chunk, before.copied(), numbers)
    };
    let found: Vec<(Vec<i64>, bool)> = if chunk == column.len() {
        vec![look((0, column))]
    } else {
        pool.run(|| column.par_chunks(chunk).enumerate().map(look).collect())
    };
    let ascending = found.iter().all(|(_, ascending)| *ascending);
    let mut all = found.into_iter().map(|(starts, _)| starts);
    let mut starts = all.next().unwrap_or_default();
    all.for_each(|more| starts.extend_from_slice(&more));
    starts.push(number(column.len()));
    (starts, ascending)
}

/// The starts in one chunk, whose first row is `first`; `before` is the number of the row before it.
fn chunk_starts<T: Number>(first: usize, before: Option<T>, numbers: &[T]) -> (Vec<i64>, bool) {
    let mut starts = Vec::new();
    let Some(mut last) = before.or(numbers.first().copied()) else { return (starts, true) };
    if before.is_none() {
        starts.push(number(first));
    }
    let mut ascending = true;
    let (eights, left) = numbers.as_chunks::<8>();
    for (at, eight) in (first..).step_by(8).zip(eights) {
        // Runs are long: most of eight rows are one comparison of vectors.
        if eight.iter().fold(T::default(), |differ, number| differ | (*number ^ last)) != T::default() {
            last = look(at, eight, last, &mut starts, &mut ascending);
        }
    }
    look(first + 8 * eights.len(), left, last, &mut starts, &mut ascending);
    (starts, ascending)
}

/// Adds the starts in a few rows; gives the last number.
fn look<T: Number>(first: usize, numbers: &[T], mut last: T, starts: &mut Vec<i64>, ascending: &mut bool) -> T {
    for (row, next) in (first..).zip(numbers) {
        if last != *next {
            starts.push(number(row));
            *ascending &= last < *next;
            last = *next;
        }
    }
    last
}

fn number(row: usize) -> i64 {
    i64::try_from(row).unwrap_or(i64::MAX)
}
