//! Bulk intake: columns of register ids and values become classes, without an allocation for each row.
//!
//! A VM whose ids are those of the VM before it (a comparison of memory) has its shape, and one whose values were seen
//! before ([`Memo`]) has its class, in this call or an earlier one of the same change. Only VMs that differ from all others are
//! looked at register by register.

use std::ops::{BitOr, BitXor, Range};

use rayon::prelude::*;

use super::different;
use super::memo::Memo;
use super::runs::Runs;
use super::shape::Shape;
use super::vms::Vms;
use crate::error::{MemoryError, RowError};
use crate::fleet::class::VmClass;
use crate::pool::{Pool, checkpoint};
use crate::room;
use crate::value::Value;
use crate::vcpu::{Inference, VcpuConfig};
use crate::wide::wide;

/// Of fewer VMs than this nobody asks whether they are different: they take less than a millisecond.
const WORTH_ASKING: usize = 1 << 12;

/// Fewer VMs than this are not worth a second thread: those that are alike take five milliseconds, and the other core is needed
/// by whoever makes the next of a stream (25,000 VMs of 40 registers: 3.9 ms by one thread, 3.2 by two with 0.5 more in all).
const WORTH_SHARING: usize = 1 << 15;

/// A thread that has its core to itself does more of them than one that has not.
const PIECES_OF_A_THREAD: usize = 2;

/// Whether VMs are worth comparing with those before them is decided after so many.
const WINDOW: usize = 1 << 12;
/// They are while at least one in so many has a class that was known.
const WORTH_COMPARING: usize = 8;

/// So many VMs tell whether those of a call are different.
const FIRST: usize = 1 << 8;

/// Lists are few, or else memory is asked for after so many.
const MOST_UNASKED_LISTS: usize = 1 << 9;

/// So many classes of a thread are worth keeping for the next call: they are copied where there is a new one.
const MOST_KEPT: usize = 1 << 12;

/// What is known from one call to the next of the same change.
#[derive(Debug, Default)]
pub(in crate::fleet) struct Known {
    /// Who was seen when one thread did it all.
    memo: Memo,
    parts: Vec<Part>,
}

/// What one of several threads knows.
#[derive(Debug, Default)]
struct Part {
    memo: Memo,
    /// The classes that it saw.
    vms: Vms,
    /// Their numbers among those of all threads.
    numbers: Vec<VmClass>,
}

/// Fills a [`Vms`] with runs.
struct Intake<'a> {
    rows: Runs<'a>,
    /// How many threads do the same at once, and share what memory there is.
    threads: usize,
    /// Lists that there were when memory was asked for.
    lists: usize,
    memo: &'a mut Memo,
    /// Whether VMs are compared with those seen before. Where every VM is different that is in vain, and a fifth of the time.
    compares: bool,
    inference: Inference,
    errors: Vec<RowError>,
}

/// Classes of VMs in their order, and rows that cannot be used.
type Classes = (Vec<VmClass>, Vec<RowError>);

/// The class of each VM of `rows`, and the rows that cannot be used. Their VMs are kept in place, unknown to every host.
///
/// # Errors
///
/// When there is no memory for them; classes that nobody is of may be left behind.
pub(in crate::fleet) fn classes(
    vms: &mut Vms,
    known: &mut Known,
    rows: Runs<'_>,
    pool: &Pool,
) -> Result<Classes, MemoryError> {
    room::ask(rows.len().saturating_mul(2 * size_of::<VmClass>()))?;
    let mut all: Classes = (Vec::with_capacity(rows.len()), Vec::new());
    if rows.len() >= WORTH_ASKING {
        first_classes(vms, known, rows, pool, &mut all)?;
    }
    let rest = all.0.len()..rows.len();
    if rest.len() < WORTH_SHARING || pool.threads() == 1 {
        Intake::new(rows, 1, &mut known.memo).classes(vms, rest, &mut all)?;
        return Ok(all);
    }
    let chunk = rest.len().div_ceil(PIECES_OF_A_THREAD * pool.threads());
    let starts: Vec<usize> = rest.clone().step_by(chunk).collect();
    known.parts.resize_with(starts.len().max(known.parts.len()), Part::default);
    // One hand-over for all of it: waking threads again and again would take longer than small parts.
    pool.run(|| {
        let classes = |(part, start): (&mut Part, &usize)| {
            let mut own = (Vec::with_capacity(chunk), Vec::new());
            let runs = *start..(start + chunk).min(rest.end);
            Intake::new(rows, starts.len(), &mut part.memo).classes(&mut part.vms, runs, &mut own).map(|()| own)
        };
        let found: Vec<Classes> = known.parts.par_iter_mut().zip(&starts).map(classes).collect::<Result<_, _>>()?;
        // Classes are numbered by first appearance, so parts that follow each other give the numbers of the whole.
        for ((classes, errors), part) in found.into_iter().zip(&mut known.parts) {
            part.join(vms)?;
            let none = VmClass::at_place(usize::MAX);
            all.0.extend(classes.iter().map(|class| part.numbers.get(class.place()).copied().unwrap_or(none)));
            all.1.extend(errors);
            if part.vms.classes.len() == 0 {
                *part = Part::default();
            }
        }
        Ok(all)
    })
}

/// The classes of the first VMs, as far as these are mostly different from all before them.
fn first_classes(
    vms: &mut Vms,
    known: &mut Known,
    rows: Runs<'_>,
    pool: &Pool,
    all: &mut Classes,
) -> Result<(), MemoryError> {
    let are_new = |seen: usize, new: usize| seen.saturating_sub(new) * WORTH_COMPARING < seen;
    let mut some = 0..FIRST;
    while !some.is_empty() {
        // Who has to be looked at by himself is, and who is near him.
        let (before, seen) = (vms.classes.len(), some.len());
        Intake::new(rows, 1, &mut known.memo).classes(vms, some, all)?;
        if !are_new(seen, vms.classes.len() - before) || !pool.run(|| different::add(vms, rows, are_new, &mut all.0))? {
            break;
        }
        some = all.0.len()..rows.len().min(all.0.len() + different::WINDOW);
    }
    Ok(())
}

impl Part {
    /// Adds its classes to those of all threads, and learns their numbers there. It begins anew where they are many.
    fn join(&mut self, all: &mut Vms) -> Result<(), MemoryError> {
        let count = self.vms.classes.len();
        if count > MOST_KEPT {
            self.numbers = all.absorb(std::mem::take(&mut self.vms))?;
        } else if count > self.numbers.len() {
            room::ask(self.vms.bytes())?;
            self.numbers = all.absorb(self.vms.clone())?;
        }
        Ok(())
    }
}

impl<'a> Intake<'a> {
    fn new(rows: Runs<'a>, threads: usize, memo: &'a mut Memo) -> Self {
        let (inference, errors) = (Inference::default(), Vec::new());
        Self { rows, threads, lists: 0, memo, compares: true, inference, errors }
    }

    fn classes(mut self, vms: &mut Vms, runs: Range<usize>, all: &mut Classes) -> Result<(), MemoryError> {
        let mut last: Option<(VcpuConfig, usize)> = None;
        let classes = &mut all.0;
        let mut known = vms.classes.len();
        let mut asked_for = None;
        let count = runs.len();
        for (at, run) in runs.enumerate() {
            // What nobody took since is there for the next ones.
            if at % WINDOW == 0 && asked_for != Some((vms.classes.len(), self.memo.size())) {
                let more = WINDOW.min(count - at);
                let bytes = vms.growth(more).saturating_add(self.memo.growth(more) * 2);
                room::ask(bytes.saturating_mul(self.threads))?;
                asked_for = Some((vms.classes.len(), self.memo.size()));
            }
            if vms.lists.len() > self.lists + MOST_UNASKED_LISTS {
                self.lists = vms.lists.len();
                room::ask(0)?;
            }
            if at > 0 && at % WINDOW == 0 {
                checkpoint();
                let new = vms.classes.len() - known;
                self.compares = WINDOW.saturating_sub(new) * WORTH_COMPARING >= WINDOW;
                known += new;
            }
            let Some((start, ids, values)) = self.rows.rows_of(run) else { continue };
            let is_new = last.is_none() || !vms.shapes.is_last(ids);
            if is_new {
                self.inference.look_at(ids);
            }
            let Some(config) = self.rows.config(run, values, &mut self.inference) else {
                classes.push(vms.unusable_class());
                last = last.filter(|_| !is_new);
                continue;
            };
            let shape = match last {
                Some((known, shape)) if known == config && !is_new => shape,
                _ => vms.shape(config, ids),
            };
            last = Some((config, shape));
            classes.push(self.class(vms, start, shape, values));
        }
        all.1.extend(self.errors);
        Ok(())
    }

    fn class(&mut self, vms: &mut Vms, start: usize, shape: usize, values: &[u64]) -> VmClass {
        let Some(own) = vms.shapes.get(shape) else { return vms.unusable_class() };
        if self.has_problems(own, start, values) {
            return vms.unusable_class();
        }
        if !self.compares || own.is_aarch32(|at| values.get(at).copied()) {
            return vms.class_of_words(shape, values);
        }
        self.memo.class(shape, own, values).unwrap_or_else(|| {
            let class = vms.class_of_words(shape, values);
            self.memo.learn(class);
            class
        })
    }

    fn has_problems(&mut self, shape: &Shape, start: usize, values: &[u64]) -> bool {
        let before = self.errors.len();
        for (at, problem) in &shape.problems {
            self.errors.push(RowError { row: start + at, problem: problem.clone() });
        }
        for (at, register, word) in shape.too_wide(values) {
            if let Err(problem) = Value::from_word(word, register) {
                self.errors.push(RowError { row: start + at, problem });
            }
        }
        self.errors.len() > before
    }
}

/// A number of a column: any integer.
pub trait Number: Copy + Default + PartialOrd + BitXor<Output = Self> + BitOr<Output = Self> + Send + Sync {}

impl<T: Copy + Default + PartialOrd + BitXor<Output = T> + BitOr<Output = T> + Send + Sync> Number for T {}

/// Columns shorter than this are not worth a second thread.
const WORTH_SPLITTING: usize = 1 << 20;

/// Runs of equal numbers in a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heads<T> {
    /// Where runs start, with the length of the column at the end.
    pub starts: Vec<i64>,
    /// The number of each run.
    pub numbers: Vec<T>,
    /// Whether the numbers ascend, so that no two runs have the same.
    pub ascending: bool,
}

/// Finds the runs of equal numbers in `column`.
pub(in crate::fleet) fn heads<T: Number>(column: &[T], pool: &Pool) -> Heads<T> {
    let chunk =
        if column.len() < WORTH_SPLITTING { column.len() } else { column.len().div_ceil(pool.threads()) }.max(1);
    let look = |(at, numbers): (usize, &[T])| {
        let before = (at * chunk).checked_sub(1).and_then(|before| column.get(before));
        wide(
            #[inline(always)]
            || chunk_heads(at * chunk, before.copied(), numbers),
        )
    };
    let found: Vec<Heads<T>> = if chunk >= column.len() {
        vec![look((0, column))]
    } else {
        pool.run(|| column.par_chunks(chunk).enumerate().map(look).collect())
    };
    let mut found = found.into_iter();
    let mut all = found.next().unwrap_or_default();
    for more in found {
        room::grow(&mut all.starts, more.starts.len());
        room::grow(&mut all.numbers, more.numbers.len());
        all.starts.extend_from_slice(&more.starts);
        all.numbers.extend_from_slice(&more.numbers);
        all.ascending &= more.ascending;
    }
    room::push(&mut all.starts, number(column.len()));
    all
}

/// The runs that start in one chunk, whose first row is `first`; `before` is the number of the row before it.
#[inline(always)]
fn chunk_heads<T: Number>(first: usize, before: Option<T>, numbers: &[T]) -> Heads<T> {
    let mut heads = Heads { starts: Vec::new(), numbers: Vec::new(), ascending: true };
    let Some(start) = numbers.first() else { return heads };
    heads.look(before, first, *start);
    let (mut left, mut row, mut length) = (numbers, first, 0);
    while let Some(own) = left.first() {
        // Mostly a run is as long as the one before it: whether it is needs no look at each row by itself.
        let is_one = |run: &[T]| run.iter().fold(T::default(), |all, one| all | *one ^ *own) == T::default();
        let next = left.get(length).filter(|next| *next != own);
        if next.is_none() || !left.get(..length).is_some_and(is_one) {
            length = left.iter().position(|one| one != own).unwrap_or(left.len());
        }
        left = left.get(length..).unwrap_or(&[]);
        row += length;
        if let Some(next) = left.first() {
            heads.look(Some(*own), row, *next);
        }
    }
    heads
}

impl<T: Number> Heads<T> {
    /// Adds a run where a number is not the one before it.
    fn look(&mut self, last: Option<T>, row: usize, next: T) {
        if last != Some(next) {
            room::push(&mut self.starts, number(row));
            room::push(&mut self.numbers, next);
            self.ascending &= last.is_none_or(|last| last < next);
        }
    }
}

fn number(row: usize) -> i64 {
    i64::try_from(row).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_a_long_column_do_not_depend_on_threads() {
        let ascending: Vec<i64> = (0..number(WORTH_SPLITTING + 77)).map(|row| row / 5).collect();
        let mut falling = ascending.clone();
        falling[WORTH_SPLITTING / 2] = -1;
        for (column, ascends) in [(ascending, true), (falling, false)] {
            let [one, three] = [1, 3].map(|threads| heads(&column, &Pool::new(threads)));
            assert_eq!(one, three);
            assert_eq!(one.ascending, ascends);
            let length = |at: usize| usize::try_from(one.starts[at + 1] - one.starts[at]).unwrap_or(0);
            let again = one.numbers.iter().enumerate().flat_map(|(at, number)| vec![*number; length(at)]);
            assert!(again.eq(column));
        }
    }
}
