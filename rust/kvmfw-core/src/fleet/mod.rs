//! Fleets: many VMs, many hosts, decided by look-up.
//!
//! Both sides are interned to [`classes`]. What every unit says about every value is judged once, in [`tables`]; where classes
//! are not too many every pair of them has its cell, and a pair of rows is three gathers. Questions go to [`ask`]. Same
//! input, same bytes out, for any number of threads.

mod ask;
mod changes;
mod classes;
mod grid;
mod limits;
mod strip;
mod tables;
mod unit;

use std::sync::OnceLock;

pub use self::ask::audit::{AuditCounts, Blocked};
pub use self::ask::gather::RowIndex;
pub use self::ask::in_the_way::UnitOutcomes;
use self::classes::hosts::Hosts;
pub use self::classes::intake::{Heads, Number, Runs};
use self::classes::vms::Vms;
pub use self::limits::Limits;
use self::tables::bit_rows::HostBits;
use self::tables::blocking::Blocking;
use self::tables::class_table::Dense;
use self::tables::groups::Groups;
use self::tables::judged::Judged;
pub use self::unit::NO_UNIT;
use crate::error::RowError;
use crate::explain::{forget_value, unusable_finding};
use crate::host::Host;
use crate::judgement::Unit;
use crate::policy::{is_judged_by_value, is_reduced};
use crate::pool::Pool;
use crate::question::Question;
use crate::set::RegisterSet;
pub(crate) use crate::taken::Taken;
use crate::verdict::{Verdict, by_unit, validate};

/// VMs and hosts, ready to be asked about any pair.
#[derive(Debug)]
pub struct Fleet {
    question: Question,
    vms: Vms,
    hosts: Hosts,
    judged: Judged,
    /// How many vCPU configurations and register units `judged` knows.
    judged_size: (usize, usize),
    /// How many VM classes there were when units were judged last.
    grouped: usize,
    /// The class table; filled when first needed.
    dense: OnceLock<Dense>,
    /// For every pair of classes the first unit with the pair's outcome.
    blocking: OnceLock<Blocking>,
    /// Joined units, for rows over many hosts; made when first needed.
    groups: OnceLock<Groups>,
    /// Rows over hosts.
    bits: HostBits,
    pool: Pool,
    limits: Limits,
    generation: u64,
}

impl Fleet {
    /// An empty fleet that works with `threads` threads; 0 means one for each core.
    pub fn new(question: Question, threads: usize) -> Self {
        Self {
            question,
            vms: Vms::default(),
            hosts: Hosts::default(),
            judged: Judged::default(),
            judged_size: (0, 0),
            grouped: 0,
            dense: OnceLock::new(),
            blocking: OnceLock::new(),
            groups: OnceLock::new(),
            bits: HostBits::default(),
            pool: Pool::new(threads),
            limits: Limits::default(),
            generation: 0,
        }
    }

    /// The same fleet with other limits: slower or larger, with the same answers.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How the fleet is judged.
    pub fn question(&self) -> Question {
        self.question
    }

    /// How often the fleet was changed.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many VMs there are.
    pub fn vm_count(&self) -> usize {
        self.vms.class_of.len()
    }

    /// How many hosts there are.
    pub fn host_count(&self) -> usize {
        self.hosts.class_of.len()
    }

    /// The class of a VM.
    pub fn vm_class(&self, vm: usize) -> Option<u32> {
        self.vms.class_of.get(vm)
    }

    /// All that tells a VM class from others, as bytes that are the same in every fleet; none for VMs whose rows could not
    /// be used.
    pub fn class_key(&self, vm_class: u32) -> Option<Vec<u8>> {
        self.vms.class_key(vm_class)
    }

    /// The class of each VM.
    pub fn vm_classes(&self) -> Vec<u32> {
        let mut classes = vec![0; self.vm_count()];
        self.vms.class_of.write(0, &mut classes);
        classes
    }

    /// The class of each host.
    pub fn host_classes(&self) -> Vec<u32> {
        let mut classes = vec![0; self.host_count()];
        self.hosts.class_of.write(0, &mut classes);
        classes
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

    fn has_class_table(&self) -> bool {
        Dense::fits(&self.vms, &self.hosts, self.limits)
    }

    fn dense(&self) -> Option<&Dense> {
        if !self.has_class_table() {
            return None;
        }
        Some(self.dense.get_or_init(|| Dense::new(&self.judged, &self.vms, &self.hosts, &self.pool, self.limits)))
    }

    /// Joined units. To be asked for before threads go about their work: they would wait for each other.
    fn groups(&self) -> &Groups {
        let new = || Groups::new(&self.judged.parts, &self.vms, &self.hosts, &self.pool, self.limits);
        self.groups.get_or_init(new)
    }

    fn outcome(&self, vm_class: u32, host_class: u32) -> u8 {
        self.judged.outcome(&self.vms, &self.hosts, vm_class, host_class)
    }

    /// The verdict of one pair, with every finding. Values that no unit looks at are not kept, and not shown.
    ///
    /// # Errors
    ///
    /// When there is no such row.
    pub fn explain(&self, vm: usize, host: usize) -> Result<Verdict, RowError> {
        self.told(vm, host, validate)
    }

    /// What each unit says of one pair by itself, as if the host took all others: the findings behind
    /// [`Fleet::unit_outcomes`]. A saved ID register that the host refuses hides and shows here as if it were taken.
    ///
    /// # Errors
    ///
    /// When there is no such row.
    pub fn explain_units(&self, vm: usize, host: usize) -> Result<Verdict, RowError> {
        self.told(vm, host, by_unit)
    }

    fn told(
        &self,
        vm: usize,
        host: usize,
        judge: impl Fn(&RegisterSet, &Host, Question) -> Verdict,
    ) -> Result<Verdict, RowError> {
        let class = self.vms.class_of.get(vm).ok_or_else(|| self.no_vm(vm))?;
        let kind = self.hosts.kind_of.get(host).and_then(|kind| self.hosts.kinds.get(*kind as usize));
        let kind = kind.ok_or_else(|| self.no_host(host))?;
        let Some(Ok(set)) = self.vms.registers_of(class) else { return Ok(Verdict::new(vec![unusable_finding()])) };
        let mut verdict = judge(&set, kind, self.question);
        for finding in &mut verdict.findings {
            if finding.register.is_some_and(|register| is_reduced(register, finding.saved.as_ref())) {
                forget_value(finding, self.question.policy.row());
            } else if finding.register.is_some_and(|register| !is_judged_by_value(register)) {
                finding.saved = None;
            }
        }
        Ok(verdict)
    }

    fn no_vm(&self, vm: usize) -> RowError {
        RowError { row: vm, problem: format!("VM row {vm} is out of range; there are {} VMs", self.vm_count()) }
    }

    fn no_host(&self, host: usize) -> RowError {
        let problem = format!("host row {host} is out of range; there are {} hosts", self.host_count());
        RowError { row: host, problem }
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::grid::{UNKNOWN, found};

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "a look-up outside of its table"))]
    fn a_look_up_outside_of_its_table_is_never_accept() {
        assert_eq!(found(Some(0)), 0);
        assert_eq!(found(None), UNKNOWN);
    }

    #[test]
    fn a_class_that_there_is_not_is_unknown_to_every_host() {
        let fleet = Fleet::new(Question::default(), 1);
        let mut row = [0; 3];
        fleet.class_row_into(9, &mut row);
        assert_eq!(row, [UNKNOWN; 3]);
        assert!(fleet.takers(9, Taken { change: true, unknown: true }).is_err());
    }
}
