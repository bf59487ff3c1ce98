//! Fleets: many VMs, many hosts, decided by look-up.
//!
//! Both sides are interned to classes; every pair of classes is judged once and kept in a table, and
//! a pair of rows is two gathers. Same input, same bytes out, for any number of threads.

mod audit;
mod hosts;
mod intern;
mod planes;
mod vms;

use std::sync::OnceLock;

use rayon::ThreadPool;
use rayon::prelude::*;

pub use self::audit::{AuditCounts, Blocked};
use self::hosts::Hosts;
use self::planes::{PLANES, UnitRows, outcome_at};
use self::vms::Vms;
use crate::error::RowError;
use crate::host::Host;
use crate::id::RegisterId;
use crate::judgement::Outcome;
use crate::set::RegisterSet;
use crate::value::Value;
use crate::vcpu::VcpuConfig;
use crate::verdict::{Question, Verdict, validate};

/// VMs and hosts, ready to be asked about any pair.
#[derive(Debug)]
pub struct Fleet {
    question: Question,
    vms: Vms,
    hosts: Hosts,
    rows: UnitRows,
    /// Outcome of every pair of classes, VM class by VM class; filled when first needed.
    table: OnceLock<Vec<u8>>,
    /// For every pair of classes the first unit with the pair's outcome.
    units_table: OnceLock<Vec<u16>>,
    pool: ThreadPool,
}

/// What a unit judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The vCPU as a whole.
    Vcpu,
    /// The list of registers.
    List,
    /// One register.
    Register(RegisterId),
}

/// In place of a unit number: every unit accepts.
pub const NO_UNIT: u16 = u16::MAX;

/// Which outcomes count as taken where an answer has only two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// CHANGE counts as taken.
    pub change: bool,
    /// UNKNOWN counts as taken.
    pub unknown: bool,
}

impl Taken {
    const fn takes(self, outcome: u8) -> bool {
        match outcome {
            0 => true,
            1 => self.change,
            2 => self.unknown,
            _ => false,
        }
    }
}

/// Registers of many VMs in long form: row by row a VM, a register and a value; rows of a VM need not be together.
#[derive(Clone, Copy, Debug)]
pub struct LongRows<'a> {
    /// The VM's number, below `configs.len()`.
    pub vm: &'a [u32],
    /// The register id.
    pub register: &'a [u64],
    /// The value; for registers wider than 8 bytes the lowest 8, the rest is 0.
    pub value: &'a [u64],
    /// How the vCPU of each VM is made.
    pub configs: &'a [VcpuConfig],
}

/// Pairs are worked on in chunks of this many rows: large enough to hide the hand-over, small enough to share evenly.
const CHUNK: usize = 1 << 16;

impl Fleet {
    /// An empty fleet that works with `threads` threads; 0 means one for each core.
    ///
    /// # Errors
    ///
    /// When the threads cannot be started.
    pub fn new(question: Question, threads: usize) -> Result<Self, String> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|at| format!("kvmfw-{at}"))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            question,
            vms: Vms::default(),
            hosts: Hosts::default(),
            rows: UnitRows::default(),
            table: OnceLock::new(),
            units_table: OnceLock::new(),
            pool,
        })
    }

    /// Adds VMs in order. Call [`Fleet::compile`] before asking.
    pub fn add_sets<'a>(&mut self, sets: impl IntoIterator<Item = &'a RegisterSet>) {
        for set in sets {
            self.vms.add(set.vcpu, set.registers());
        }
    }

    /// Adds VMs given in long form, in the order of their numbers. Rows that cannot be used are returned;
    /// a VM with such a row is kept in its place, and is unknown to every host.
    pub fn add_long(&mut self, rows: LongRows<'_>) -> Vec<RowError> {
        let (order, mut errors) = group_by_vm(rows);
        let chunk = rows.configs.len().div_ceil(self.pool.current_num_threads().max(1) * 4).max(1 << 10);
        let starts: Vec<usize> = (0..rows.configs.len()).step_by(chunk).collect();
        let parts: Vec<(Vms, Vec<RowError>)> = self.pool.install(|| {
            starts
                .par_iter()
                .map(|&start| {
                    let mut part = Vms::default();
                    let mut errors = Vec::new();
                    let end = (start + chunk).min(rows.configs.len());
                    for vm in start..end {
                        add_one(&mut part, rows, &order, vm, &mut errors);
                    }
                    (part, errors)
                })
                .collect()
        });
        for (part, bad) in parts {
            self.vms.absorb(&part);
            errors.extend(bad);
        }
        errors.sort_by_key(|error| error.row);
        errors
    }

    /// Adds hosts in order: each is one of `kinds`. Call [`Fleet::compile`] before asking.
    ///
    /// # Errors
    ///
    /// When a row names a kind that there is not.
    pub fn add_hosts(&mut self, kinds: &[Host], kind_of: &[u32]) -> Result<(), RowError> {
        let numbers: Vec<u32> = kinds.iter().map(|kind| self.hosts.kind(kind)).collect();
        for (row, kind) in kind_of.iter().enumerate() {
            let number = numbers.get(*kind as usize).ok_or_else(|| RowError {
                row,
                problem: format!("host kind {kind} is out of range; there are {}", numbers.len()),
            })?;
            self.hosts.kind_of.push(*number);
        }
        Ok(())
    }

    /// Judges all classes, after VMs or hosts were added.
    pub fn compile(&mut self) {
        self.hosts.compile(&self.vms, self.question);
        self.rows = UnitRows::judge(&self.vms, &self.hosts);
        self.table = OnceLock::new();
        self.units_table = OnceLock::new();
    }

    /// How the fleet is judged.
    pub fn question(&self) -> Question {
        self.question
    }

    /// How many VMs there are.
    pub fn vm_count(&self) -> usize {
        self.vms.class_of.len()
    }

    /// How many hosts there are.
    pub fn host_count(&self) -> usize {
        self.hosts.class_of.len()
    }

    /// The class of each VM.
    pub fn vm_classes(&self) -> &[u32] {
        &self.vms.class_of
    }

    /// The class of each host.
    pub fn host_classes(&self) -> &[u32] {
        &self.hosts.class_of
    }

    /// How many VM classes and host classes there are.
    pub fn class_counts(&self) -> (usize, usize) {
        (self.vms.classes.len(), self.hosts.classes.len())
    }

    /// What the units judge, by number.
    pub fn units(&self) -> Vec<Unit> {
        let registers = self.vms.units.iter().map(|unit| Unit::Register(unit.register));
        [Unit::Vcpu, Unit::List].into_iter().chain(registers).collect()
    }

    /// The outcome of every pair of classes: row `v`, column `h` at `v * host_classes + h`.
    pub fn table(&self) -> &[u8] {
        self.table.get_or_init(|| {
            let hosts = self.hosts.classes.len();
            let classes = self.vms.classes.items();
            let mut table = vec![0; classes.len() * hosts];
            self.pool.install(|| {
                table.par_chunks_mut(hosts.max(1)).zip(classes).for_each(|(row, class)| {
                    let mut planes = vec![0; PLANES * self.rows.words];
                    self.rows.join(&self.vms, class, &mut planes);
                    for (at, outcome) in row.iter_mut().enumerate() {
                        *outcome = outcome_at(&planes, self.rows.words, at);
                    }
                });
            });
            table
        })
    }

    /// For every pair of classes the number of the first unit with the pair's outcome; [`NO_UNIT`] where all accept.
    pub fn blocking_table(&self) -> &[u16] {
        self.units_table.get_or_init(|| {
            let hosts = self.hosts.classes.len();
            let classes = self.vms.classes.items();
            let table = self.table();
            let mut units = vec![NO_UNIT; classes.len() * hosts];
            let rows = units.par_chunks_mut(hosts.max(1)).zip(table.par_chunks(hosts.max(1))).zip(classes);
            self.pool.install(|| {
                rows.for_each(|((units, outcomes), class)| {
                    self.rows.each_row(&self.vms, class, |number, row| {
                        for (at, (unit, outcome)) in units.iter_mut().zip(outcomes).enumerate() {
                            if *unit == NO_UNIT && *outcome > 0 && outcome_at(row, self.rows.words, at) == *outcome {
                                *unit = u16::try_from(number).unwrap_or(NO_UNIT);
                            }
                        }
                    });
                });
            });
            units
        })
    }

    /// The outcome of each pair of rows, into `out`; with `units`, also the number of the unit that decides.
    ///
    /// # Errors
    ///
    /// The first pair whose VM or host row is out of range; `out` is then not to be used.
    pub fn pairs<I: RowIndex>(
        &self,
        vm: &[I],
        host: &[I],
        out: &mut [u8],
        units: Option<&mut [u16]>,
    ) -> Result<(), RowError> {
        let table = self.table();
        let blocking = units.as_ref().map(|_| self.blocking_table());
        let stride = self.hosts.classes.len();
        let failed = |row: usize| {
            let of = |rows: &[I]| rows.get(row).map_or_else(String::new, |index| format!("{index:?}"));
            RowError {
                row,
                problem: format!(
                    "pair (VM row {}, host row {}) is out of range; there are {} VMs and {} hosts",
                    of(vm),
                    of(host),
                    self.vm_count(),
                    self.host_count()
                ),
            }
        };
        let at = |vm: I, host: I| -> Option<usize> {
            let class = *self.vms.class_of.get(vm.row()?)? as usize;
            let host = *self.hosts.class_of.get(host.row()?)? as usize;
            Some(class * stride + host)
        };
        let work = |number: usize, vm: &[I], host: &[I], out: &mut [u8], mut units: Option<&mut [u16]>| {
            for (row, ((vm, host), out)) in vm.iter().zip(host).zip(out).enumerate() {
                let place = at(*vm, *host).ok_or_else(|| failed(number * CHUNK + row))?;
                *out = table.get(place).copied().unwrap_or(Outcome::Unknown as u8);
                if let (Some(units), Some(blocking)) = (units.as_deref_mut(), blocking)
                    && let (Some(unit), Some(found)) = (units.get_mut(row), blocking.get(place))
                {
                    *unit = *found;
                }
            }
            Ok(())
        };
        let chunks = vm.par_chunks(CHUNK).zip(host.par_chunks(CHUNK)).zip(out.par_chunks_mut(CHUNK)).enumerate();
        self.pool.install(|| match units {
            None => chunks.try_for_each(|(number, ((vm, host), out))| work(number, vm, host, out, None)),
            Some(units) => chunks
                .zip(units.par_chunks_mut(CHUNK))
                .try_for_each(|((number, ((vm, host), out)), units)| work(number, vm, host, out, Some(units))),
        })
    }

    /// Which host classes take a VM class: one byte each, 1 for taken.
    pub fn takers(&self, vm_class: u32, taken: Taken) -> Vec<u8> {
        let hosts = self.hosts.classes.len();
        let start = vm_class as usize * hosts;
        let row = self.table().get(start..start + hosts).unwrap_or(&[]);
        row.iter().map(|outcome| u8::from(taken.takes(*outcome))).collect()
    }

    /// The rows of the hosts that take the VM in row `vm`, ascending.
    ///
    /// # Errors
    ///
    /// When there is no such VM.
    pub fn candidates(&self, vm: usize, taken: Taken) -> Result<Vec<u32>, RowError> {
        let class = *self.vms.class_of.get(vm).ok_or_else(|| self.no_vm(vm))?;
        let takers = self.takers(class, taken);
        let rows = self.hosts.class_of.iter().enumerate();
        Ok(rows
            .filter(|(_, class)| takers.get(**class as usize) == Some(&1))
            .filter_map(|(row, _)| u32::try_from(row).ok())
            .collect())
    }

    /// Which hosts take which VMs: for each VM of `vms`, a row of bits over hosts, lowest bit first, padded to bytes.
    ///
    /// # Errors
    ///
    /// When the rows are out of range, or `out` has not exactly `vms × ceil(hosts / 8)` bytes.
    pub fn matrix(&self, vms: std::ops::Range<usize>, taken: Taken, out: &mut [u8]) -> Result<(), RowError> {
        let width = self.host_count().div_ceil(8);
        let classes = self.vms.class_of.get(vms.clone()).ok_or_else(|| self.no_vm(vms.end.saturating_sub(1)))?;
        if out.len() != classes.len() * width {
            let problem = format!("the output has {} bytes, expected {}", out.len(), classes.len() * width);
            return Err(RowError { row: vms.start, problem });
        }
        let expanded: Vec<OnceLock<Vec<u8>>> = (0..self.vms.classes.len()).map(|_| OnceLock::new()).collect();
        self.table();
        self.pool.install(|| {
            out.par_chunks_mut(width.max(1)).zip(classes).for_each(|(row, class)| {
                if let Some(slot) = expanded.get(*class as usize) {
                    row.copy_from_slice(slot.get_or_init(|| self.host_bits(*class, taken, width)));
                }
            });
        });
        Ok(())
    }

    fn host_bits(&self, class: u32, taken: Taken, width: usize) -> Vec<u8> {
        let takers = self.takers(class, taken);
        let mut bits = vec![0; width];
        for (eight, byte) in self.hosts.class_of.chunks(8).zip(bits.iter_mut()) {
            for (bit, class) in eight.iter().enumerate() {
                *byte |= takers.get(*class as usize).copied().unwrap_or(0) << bit;
            }
        }
        bits
    }

    /// For each VM, how many hosts have each outcome: `[accept, change, unknown, refuse]`.
    pub fn counts_by_vm(&self) -> Vec<[u64; 4]> {
        let weights = histogram(&self.hosts.class_of, self.hosts.classes.len());
        let hosts = self.hosts.classes.len().max(1);
        let by_class: Vec<[u64; 4]> = self.table().chunks(hosts).map(|row| weigh(row.iter().zip(&weights))).collect();
        self.vms.class_of.iter().map(|class| by_class.get(*class as usize).copied().unwrap_or_default()).collect()
    }

    /// For each host, how many VMs have each outcome.
    pub fn counts_by_host(&self) -> Vec<[u64; 4]> {
        let weights = histogram(&self.vms.class_of, self.vms.classes.len());
        let hosts = self.hosts.classes.len();
        let mut by_class = vec![[0_u64; 4]; hosts];
        for (row, weight) in self.table().chunks(hosts.max(1)).zip(&weights) {
            for (counts, outcome) in by_class.iter_mut().zip(row) {
                if let Some(count) = counts.get_mut(usize::from(*outcome)) {
                    *count += weight;
                }
            }
        }
        self.hosts.class_of.iter().map(|class| by_class.get(*class as usize).copied().unwrap_or_default()).collect()
    }

    /// The verdict of one pair, with every finding. Values that no unit looks at are not kept, and not shown.
    ///
    /// # Errors
    ///
    /// When there is no such row, or the rows of the VM could not be used.
    pub fn explain(&self, vm: usize, host: usize) -> Result<Verdict, RowError> {
        let class = *self.vms.class_of.get(vm).ok_or_else(|| self.no_vm(vm))?;
        let kind = self.hosts.kind_of.get(host).and_then(|kind| self.hosts.kinds.get(*kind as usize));
        let kind = kind.ok_or_else(|| RowError {
            row: host,
            problem: format!("host row {host} is out of range; there are {} hosts", self.host_count()),
        })?;
        let set = self.vms.registers_of(class).and_then(Result::ok);
        let set =
            set.ok_or_else(|| RowError { row: vm, problem: "the rows of this VM could not be used".to_owned() })?;
        let mut verdict = validate(&set, kind, self.question);
        for finding in &mut verdict.findings {
            if finding.register.is_some_and(|register| !crate::policy::is_judged_by_value(register)) {
                finding.saved = None;
            }
        }
        Ok(verdict)
    }

    fn no_vm(&self, vm: usize) -> RowError {
        RowError { row: vm, problem: format!("VM row {vm} is out of range; there are {} VMs", self.vm_count()) }
    }
}

/// An index of a row, of any integer type that Python hands over.
pub trait RowIndex: Copy + Send + Sync + std::fmt::Debug {
    /// The row, if it can be one.
    fn row(self) -> Option<usize>;
}

macro_rules! row_index {
    ($($integer:ty),*) => {
        $(impl RowIndex for $integer {
            fn row(self) -> Option<usize> {
                usize::try_from(self).ok()
            }
        })*
    };
}
row_index!(u32, i32, u64, i64);

fn histogram(class_of: &[u32], classes: usize) -> Vec<u64> {
    let mut counts = vec![0; classes];
    for class in class_of {
        if let Some(count) = counts.get_mut(*class as usize) {
            *count += 1;
        }
    }
    counts
}

fn weigh<'a>(row: impl Iterator<Item = (&'a u8, &'a u64)>) -> [u64; 4] {
    let mut counts = [0; 4];
    for (outcome, weight) in row {
        if let Some(count) = counts.get_mut(usize::from(*outcome)) {
            *count += weight;
        }
    }
    counts
}

/// The rows of each VM, by counting: `order[starts[vm]..starts[vm + 1]]` are the rows of `vm`, in input order.
struct Grouped {
    starts: Vec<usize>,
    order: Vec<u32>,
}

fn group_by_vm(rows: LongRows<'_>) -> (Grouped, Vec<RowError>) {
    let count = rows.configs.len();
    let mut starts = vec![0_usize; count + 1];
    let mut errors = Vec::new();
    for (row, vm) in rows.vm.iter().enumerate() {
        match starts.get_mut(*vm as usize + 1) {
            Some(start) => *start += 1,
            None => {
                errors
                    .push(RowError { row, problem: format!("VM number {vm} is out of range; there are {count} VMs") });
            }
        }
    }
    for at in 1..starts.len() {
        let before = starts.get(at - 1).copied().unwrap_or(0);
        if let Some(start) = starts.get_mut(at) {
            *start += before;
        }
    }
    let mut next = starts.clone();
    let mut order = vec![0_u32; rows.vm.len() - errors.len()];
    for (row, vm) in rows.vm.iter().enumerate() {
        if (*vm as usize) < count
            && let Some(place) = next.get_mut(*vm as usize)
        {
            if let Some(slot) = order.get_mut(*place) {
                *slot = u32::try_from(row).unwrap_or(u32::MAX);
            }
            *place += 1;
        }
    }
    (Grouped { starts, order }, errors)
}

fn add_one(part: &mut Vms, rows: LongRows<'_>, grouped: &Grouped, vm: usize, errors: &mut Vec<RowError>) {
    let (Some(&start), Some(&end)) = (grouped.starts.get(vm), grouped.starts.get(vm + 1)) else { return };
    let own = grouped.order.get(start..end).unwrap_or(&[]);
    let before = errors.len();
    let mut registers: Vec<(RegisterId, Value, usize)> = Vec::with_capacity(own.len());
    for row in own {
        let row = *row as usize;
        let (Some(id), Some(word)) = (rows.register.get(row), rows.value.get(row)) else { continue };
        let register = RegisterId::new(*id);
        match crate::set::check_size(register).and_then(|()| Value::from_word(*word, register)) {
            Ok(value) => registers.push((register, value, row)),
            Err(problem) => errors.push(RowError { row, problem }),
        }
    }
    registers.sort_by_key(|(register, _, row)| (*register, *row));
    for pair in registers.windows(2) {
        if let [(first, ..), (second, _, row)] = pair
            && first == second
        {
            errors.push(RowError { row: *row, problem: format!("register {first} occurs twice in one VM") });
        }
    }
    match rows.configs.get(vm) {
        Some(config) if errors.len() == before => {
            let registers: Vec<(RegisterId, Value)> =
                registers.into_iter().map(|(register, value, _)| (register, value)).collect();
            part.add(*config, &registers);
        }
        _ => part.add_unusable(),
    }
}
