//! Masks: a pair of classes is decided by an AND.
//!
//! Each bit stands for a set of values of one part. A VM class holds the bit when its value is in the set, a host class
//! objects to it when the part has the outcome of the bit for all of the set: a bit that both have is an outcome of the
//! pair. The bits say all that the tables of the parts say ([`super::cover`]). So a pair costs one or two lines of memory
//! on either side, however many units there are and wherever the first refusal is.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::cover::Cover;
use super::objectors::{Objectors, QUAD};
use super::part_row::PartRow;
use super::parts::{CHUNK, Part, rows_of};
use crate::fleet::class::{HostClass, VmClass};
use crate::fleet::classes::hosts::Hosts;
use crate::fleet::classes::vms::Vms;
use crate::fleet::grid::UNKNOWN;
use crate::fleet::unit::NO_UNIT;
use crate::pool::{Pool, checkpoint};
use crate::room;
use crate::wide::wide;

/// Bits that lie in one line of the cache: half of one, which is mostly enough and takes half the memory.
#[repr(align(32))]
#[derive(Clone, Copy, Debug, Default)]
struct Line([u64; WORDS]);

impl Line {
    #[inline]
    fn or(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
    }
}

const WORDS: usize = 4;
const BITS: usize = 64 * WORDS;
/// When more parts than this were left since bits were chosen, they are chosen anew.
const MOST_LATE: usize = 4;
/// Outcomes that bits stand for, the greatest first.
const OUTCOMES: [u8; 3] = [3, 2, 1];

/// The bits of all classes.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct Masks {
    /// Lines of a class.
    width: usize,
    /// Shared by versions that differ in hosts only.
    vms: Arc<Vec<Line>>,
    hosts: Vec<Line>,
    /// The bits of host classes once more, for rows over all of them.
    objectors: Objectors,
    /// For each line the bits that mean REFUSE, and those that mean UNKNOWN; the others mean CHANGE.
    planes: Vec<[Line; 2]>,
    /// The bits of each of [`OUTCOMES`].
    bits_of: [Range<usize>; 3],
    /// The unit of each bit; ascending within an outcome. Each outcome begins at a multiple of [`QUAD`]: bits before that are of no unit.
    unit_of: Vec<u16>,
    placed: Vec<Placed>,
    /// For each part the lines of its rows: a VM class holds all bits of its rows. Empty for parts without bits. Shared by versions
    /// until there are more rows.
    held: Vec<Arc<Vec<Line>>>,
    /// Parts of which the bits do not say all: their tables are asked as well.
    pub(in crate::fleet) left: Vec<usize>,
    /// How many parts were left when bits were chosen, since they would take too many.
    chosen_left: usize,
}

/// The bits of one part and outcome.
#[derive(Clone, Debug)]
struct Placed {
    part: usize,
    /// The first of its bits.
    start: usize,
    cover: Cover,
}

/// The bits that a pair has in common, with a word for each outcome.
#[derive(Clone, Copy, Default)]
struct Hits {
    refuse: u64,
    unknown: u64,
    any: u64,
}

impl Hits {
    #[inline(always)]
    fn and(mut self, vm: &Line, host: &Line, [refusing, unknowing]: &[Line; 2]) -> Self {
        for at in 0..WORDS {
            let both = vm.0[at] & host.0[at];
            self.refuse |= both & refusing.0[at];
            self.unknown |= both & unknowing.0[at];
            self.any |= both;
        }
        self
    }

    #[inline(always)]
    fn outcome(self) -> u8 {
        (u8::from(self.refuse != 0) * 3).max(u8::from(self.unknown != 0) * 2).max(u8::from(self.any != 0))
    }
}

impl Masks {
    /// How many bytes of memory a copy takes, with the bits of VM classes, which it shares until there are more.
    pub(in crate::fleet) fn bytes(&self) -> usize {
        let held = self.held.iter().map(|lines| lines.len()).sum::<usize>();
        (self.vms.len() + self.hosts.len() + held) * size_of::<Line>() + self.objectors.bytes()
    }

    /// Chooses bits, and masks the host classes.
    pub(in crate::fleet) fn new(parts: &[Part], hosts: &Hosts, pool: &Pool) -> Self {
        let covers = |part: &Part| {
            checkpoint();
            OUTCOMES.iter().map(|outcome| Cover::of(part, *outcome)).collect()
        };
        let covers: Vec<Option<Vec<Cover>>> = pool.run(|| parts.par_iter().map(covers).collect());
        let mut masks = Self::default();
        masks.left.extend((0..).zip(&covers).filter(|(_, covers)| covers.is_none()).map(|(part, _)| part));
        masks.chosen_left = masks.left.len();
        for (outcome, range) in masks.bits_of.iter_mut().enumerate() {
            masks.unit_of.resize(masks.unit_of.len().next_multiple_of(QUAD), NO_UNIT);
            range.start = masks.unit_of.len();
            for (at, (part, covers)) in parts.iter().zip(&covers).enumerate() {
                let Some(cover) = covers.as_ref().and_then(|covers| covers.get(outcome)) else { continue };
                masks.placed.push(Placed { part: at, start: masks.unit_of.len(), cover: cover.clone() });
                masks.unit_of.extend(std::iter::repeat_n(part.unit.told(), cover.bits()));
            }
            range.end = masks.unit_of.len();
        }
        masks.width = masks.unit_of.len().div_ceil(BITS).max(1);
        let plane = |line: usize, bits: &Range<usize>| {
            let mut plane = Line::default();
            for bit in bits.clone().filter(|bit| bit / BITS == line) {
                set(std::slice::from_mut(&mut plane), bit % BITS, 1);
            }
            plane
        };
        let [refuse, unknown, _] = masks.bits_of.clone();
        masks.planes = (0..masks.width).map(|line| [plane(line, &refuse), plane(line, &unknown)]).collect();
        masks.objectors = Objectors::new(masks.unit_of.len());
        masks.held.resize(parts.len(), Arc::default());
        masks.hold_rows(parts);
        for class in HostClass::first(hosts.classes.len()) {
            masks.add_host_class(parts, class);
        }
        masks
    }

    /// Gives the rows of parts that have no lines yet their bits.
    fn hold_rows(&mut self, parts: &[Part]) {
        let width = self.width;
        let known: Vec<usize> = self.held.iter().map(|lines| lines.len() / width).collect();
        for placed in self.placed.iter().filter(|placed| placed.cover.bits() > 0) {
            let (Some(lines), Some(part)) = (self.held.get_mut(placed.part), parts.get(placed.part)) else { continue };
            let known = known.get(placed.part).copied().unwrap_or(0);
            if known == part.row_count() {
                continue;
            }
            let wanted = part.row_count() * width;
            let lines = Arc::make_mut(lines);
            room::grow(lines, wanted.saturating_sub(lines.len()));
            lines.resize(wanted, Line::default());
            for (row, lines) in (0..).zip(lines.chunks_mut(width)).skip(known) {
                set(lines, placed.start, placed.cover.held(PartRow::of_number(row)));
            }
        }
    }

    /// How many VM classes have their bits.
    pub(in crate::fleet) fn vm_classes(&self) -> usize {
        self.vms.len() / self.width.max(1)
    }

    /// How many host classes have their bits.
    pub(in crate::fleet) fn host_classes(&self) -> usize {
        self.hosts.len() / self.width.max(1)
    }

    /// Gives bits to the values and judges that are new in the parts; parts of which the bits do not say all are left.
    /// `false` where those become many: bits should be chosen anew.
    pub(in crate::fleet) fn learn(&mut self, parts: &[Part]) -> bool {
        for placed in &mut self.placed {
            let says_all = parts.get(placed.part).is_none_or(|part| placed.cover.learn(part));
            if !says_all && !self.left.contains(&placed.part) {
                self.left.push(placed.part);
            }
        }
        self.hold_rows(parts);
        self.left.len() <= self.chosen_left + MOST_LATE
    }

    /// Masks the VM classes that have no bits yet, and those of `changed`, whose numbers others had before.
    pub(in crate::fleet) fn add_vm_classes(&mut self, parts: &[Part], vms: &Vms, changed: &[VmClass], pool: &Pool) {
        let (first, classes) = (self.vm_classes(), vms.classes.len());
        if first == classes && changed.is_empty() {
            return;
        }
        let wanted = (classes + classes / 32 + 64) * self.width;
        room::need((self.vms.len() + wanted) * size_of::<Line>());
        let mut lines = Arc::unwrap_or_clone(std::mem::take(&mut self.vms));
        if lines.capacity() < classes * self.width {
            // With room for classes to come: the first of them should not have to move all others.
            lines.reserve_exact(wanted - lines.len());
        }
        lines.resize(classes * self.width, Line::default());
        for class in changed.iter().copied().filter(|class| class.place() < first) {
            let start = class.place() * self.width;
            let lines = lines.get_mut(start..start + self.width).unwrap_or_default();
            lines.fill(Line::default());
            let mut rows = vec![PartRow::SILENT; parts.len()];
            rows_of(parts, vms, vms.row(class), &mut rows);
            self.hold(parts, &rows, lines);
        }
        let new = lines.get_mut(first * self.width..).unwrap_or_default();
        let hold = |(chunk, lines): (usize, &mut [Line])| {
            checkpoint();
            let mut rows = vec![PartRow::SILENT; parts.len()];
            for (class, lines) in (first + chunk * CHUNK..).zip(lines.chunks_mut(self.width)) {
                rows_of(parts, vms, vms.row(VmClass::at_place(class)), &mut rows);
                self.hold(parts, &rows, lines);
            }
        };
        if classes - first <= CHUNK {
            hold((0, new));
        } else {
            pool.run(|| new.par_chunks_mut(CHUNK * self.width).enumerate().for_each(hold));
        }
        self.vms = Arc::new(lines);
    }

    /// The bits of a VM class with these rows in the parts.
    #[inline]
    fn hold(&self, parts: &[Part], rows: &[PartRow], lines: &mut [Line]) {
        let is_row = |(row, part): (&PartRow, &Part)| row.place() < part.row_count();
        debug_assert!(rows.iter().zip(parts).all(is_row), "a row that its part has not");
        for (held, row) in self.held.iter().zip(rows) {
            let start = row.place() * self.width;
            let held = held.get(start..start + self.width).unwrap_or(&[]);
            lines.iter_mut().zip(held).for_each(|(line, held)| line.or(held));
        }
    }

    /// Masks the next host class.
    pub(in crate::fleet) fn add_host_class(&mut self, parts: &[Part], class: HostClass) {
        let mut lines = vec![Line::default(); self.width];
        for placed in &self.placed {
            let column = parts.get(placed.part).and_then(|part| part.column_of.get(class.place())).copied();
            set(&mut lines, placed.start, column.map_or(0, |column| placed.cover.objected(column)));
        }
        self.objectors.add_host_class(words_of(&lines));
        room::grow(&mut self.hosts, lines.len());
        self.hosts.append(&mut lines);
    }

    fn lines(lines: &[Line], width: usize, class: usize) -> &[Line] {
        let start = class * width;
        lines.get(start..start + width).unwrap_or(&[])
    }

    /// Reads the bits of the VMs of some pairs, all at once: a core waits for them once, not once for each pair.
    #[inline(never)]
    pub(in crate::fleet) fn fetch(&self, pairs: &[(VmClass, HostClass)]) {
        let read =
            |vm: VmClass| Self::lines(&self.vms, self.width, vm.place()).iter().fold(0, |sum, line| sum ^ line.0[0]);
        black_box(pairs.iter().fold(0, |sum, (vm, _)| sum ^ read(*vm)));
    }

    /// The outcome of a pair of classes.
    pub(in crate::fleet) fn outcome(&self, vm: VmClass, host: HostClass) -> u8 {
        let vm = Self::lines(&self.vms, self.width, vm.place());
        self.judge(vm, Self::lines(&self.hosts, self.width, host.place()))
    }

    /// The outcomes of pairs of classes.
    pub(in crate::fleet) fn outcomes(&self, pairs: &[(VmClass, HostClass)], out: &mut [u8]) {
        // Most fleets have one line: without a loop over lines the core has more pairs under way.
        if let [planes] = self.planes.as_slice() {
            wide(
                #[inline(always)]
                || outcomes_of_lines(&self.vms, &self.hosts, planes, pairs, out),
            );
        } else {
            for ((vm, host), out) in pairs.iter().zip(out) {
                *out = self.outcome(*vm, *host);
            }
        }
    }

    fn judge(&self, vm: &[Line], host: &[Line]) -> u8 {
        if vm.len() != self.width || host.len() != self.width {
            return UNKNOWN;
        }
        let lines = vm.iter().zip(host).zip(&self.planes);
        lines.fold(Hits::default(), |hits, ((vm, host), planes)| hits.and(vm, host, planes)).outcome()
    }

    /// The first unit of a pair that has the outcome of the pair.
    #[inline]
    pub(in crate::fleet) fn first_unit(&self, vm: VmClass, host: HostClass, outcome: u8) -> u16 {
        let lines = Self::lines(&self.vms, self.width, vm.place());
        let lines = lines.iter().zip(Self::lines(&self.hosts, self.width, host.place()));
        for (number, ((vm, host), [refusing, unknowing])) in lines.zip(&self.planes).enumerate() {
            for at in 0..WORDS {
                let both = vm.0[at] & host.0[at];
                let bits = match outcome {
                    0 => 0,
                    1 => both,
                    2 => both & unknowing.0[at],
                    _ => both & refusing.0[at],
                };
                if bits != 0 {
                    let bit = (number * WORDS + at) * 64 + bits.trailing_zeros() as usize;
                    return self.unit_of.get(bit).copied().unwrap_or(NO_UNIT);
                }
            }
        }
        NO_UNIT
    }

    /// The outcomes of VM classes from `first` on, on one host class.
    pub(in crate::fleet) fn column(&self, first: VmClass, host: HostClass, out: &mut [u8]) {
        let host = Self::lines(&self.hosts, self.width, host.place());
        let vms = self.vms.get(first.place() * self.width..).unwrap_or(&[]);
        if let ([host], [planes]) = (host, self.planes.as_slice()) {
            wide(
                #[inline(always)]
                || column_of_lines(vms, host, planes, out),
            );
        } else {
            for (out, vm) in out.iter_mut().zip(vms.chunks(self.width.max(1))) {
                *out = self.judge(vm, host);
            }
        }
    }

    /// The outcomes of a VM class on all host classes.
    pub(in crate::fleet) fn row(&self, vm: VmClass, out: &mut [u8]) {
        let lines = Self::lines(&self.vms, self.width, vm.place());
        if lines.len() != self.width {
            out.fill(UNKNOWN);
            return;
        }
        self.row_of_lines(lines, out);
    }

    /// The outcomes on all host classes of a VM class that is not here, by its rows in the parts.
    pub(in crate::fleet) fn row_of(&self, parts: &[Part], rows: &[PartRow], out: &mut [u8]) {
        let mut lines = vec![Line::default(); self.width];
        self.hold(parts, rows, &mut lines);
        self.row_of_lines(&lines, out);
    }

    fn row_of_lines(&self, lines: &[Line], out: &mut [u8]) {
        let [_, unknown, change] = &self.bits_of;
        self.objectors.outcomes(words_of(lines), [unknown.start, change.start], out);
    }
}

fn words_of(lines: &[Line]) -> impl Iterator<Item = u64> {
    lines.iter().flat_map(|line| line.0)
}

#[inline(always)]
fn outcomes_of_lines(vms: &[Line], hosts: &[Line], planes: &[Line; 2], pairs: &[(VmClass, HostClass)], out: &mut [u8]) {
    let planes = *planes;
    for ((vm, host), out) in pairs.iter().zip(out) {
        *out = match (vms.get(vm.place()), hosts.get(host.place())) {
            (Some(vm), Some(host)) => Hits::default().and(vm, host, &planes).outcome(),
            _ => UNKNOWN,
        };
    }
}

#[inline(always)]
fn column_of_lines(vms: &[Line], host: &Line, planes: &[Line; 2], out: &mut [u8]) {
    let (host, planes) = (*host, *planes);
    for (out, vm) in out.iter_mut().zip(vms) {
        *out = Hits::default().and(vm, &host, &planes).outcome();
    }
}

/// Sets up to 64 bits from `start` on.
fn set(lines: &mut [Line], start: usize, bits: u64) {
    let mut or = |word: usize, bits: u64| {
        if let Some(word) = lines.get_mut(word / WORDS).and_then(|line| line.0.get_mut(word % WORDS)) {
            *word |= bits;
        }
    };
    or(start / 64, bits << (start % 64));
    if !start.is_multiple_of(64) {
        or(start / 64 + 1, bits >> (64 - start % 64));
    }
}
