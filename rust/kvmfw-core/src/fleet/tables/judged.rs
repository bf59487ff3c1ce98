//! What all units say, ready to be asked about any pair of classes.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use rayon::prelude::*;

use super::masks::Masks;
use super::part_row::PartRow;
use super::parts::{Part, rows_of, value};
use super::split::{Rest, learn, split};
use crate::fleet::class::{HostClass, VmClass};
use crate::fleet::classes::class_row::ClassRow;
use crate::fleet::classes::hosts::Hosts;
use crate::fleet::classes::vms::Vms;
use crate::fleet::grid::{UNKNOWN, found};
use crate::fleet::limits::Limits;
use crate::fleet::unit::UnitNumber;
use crate::judgement::Outcome;
use crate::pool::{Pool, checkpoint};

/// Judged units.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct Judged {
    pub(in crate::fleet) parts: Vec<Part>,
    pub(in crate::fleet) rests: Vec<Rest>,
    /// For pairs of classes.
    pub(in crate::fleet) masks: Masks,
}

impl Judged {
    /// Judges every unit value on every host class.
    pub(in crate::fleet) fn new(vms: &Vms, hosts: &Hosts, pool: &Pool, limits: Limits) -> Self {
        let units: Vec<UnitNumber> = UnitNumber::all(vms.units.len()).collect();
        let judge = |unit: &UnitNumber| {
            if Part::is_large(*unit, vms, hosts, limits) {
                split(*unit, vms, hosts)
            } else {
                (vec![Part::of_values(*unit, vms, hosts, pool)], None)
            }
        };
        let judged: Vec<(Vec<Part>, Option<Rest>)> = pool.run(|| units.par_iter().map(judge).collect());
        let (parts, rests): (Vec<_>, Vec<_>) = judged.into_iter().unzip();
        let parts: Vec<Part> = parts.into_iter().flatten().collect();
        let masks = Masks::new(&parts, hosts, pool);
        let mut judged = Self { parts, rests: rests.into_iter().flatten().collect(), masks };
        judged.masks.add_vm_classes(&judged.parts, vms, &[], pool);
        judged
    }

    /// How many bytes of memory a copy takes, with what it shares until something is added to it.
    pub(in crate::fleet) fn bytes(&self) -> usize {
        self.parts.iter().map(Part::bytes).sum::<usize>() + self.masks.bytes()
    }

    /// Judges what appeared since the last time, and the VM classes of `changed`, whose numbers others had before. `None` where
    /// everything must be judged anew.
    pub(in crate::fleet) fn catch_up(
        &mut self,
        vms: &Vms,
        hosts: &Hosts,
        changed: &[VmClass],
        pool: &Pool,
    ) -> Option<()> {
        let known = self.masks.host_classes();
        let new_hosts = HostClass::first(hosts.classes.len()).skip(known);
        if known < hosts.classes.len() && !learn(&mut self.parts, &mut self.rests, vms, hosts) {
            return None;
        }
        for class in new_hosts.clone() {
            for part in &mut self.parts {
                checkpoint();
                part.add_host_class(vms, hosts, class);
            }
        }
        if !self.parts.iter_mut().all(|part| part.judge_new_rows(vms, hosts, pool)) {
            return None;
        }
        let masks_fit = self.masks.learn(&self.parts);
        for class in new_hosts {
            self.masks.add_host_class(&self.parts, class);
        }
        if !masks_fit {
            self.masks = Masks::new(&self.parts, hosts, pool);
        }
        self.masks.add_vm_classes(&self.parts, vms, changed, pool);
        Some(())
    }

    /// The outcomes on all host classes of a VM class that came after everything was judged. `vms` has all that these tables
    /// were made of, and more.
    pub(in crate::fleet) fn row_of_new(&self, vms: &Vms, hosts: &Hosts, class: ClassRow<'_>) -> Vec<u8> {
        let mut rows = vec![PartRow::SILENT; self.parts.len()];
        rows_of(&self.parts, vms, class, &mut rows);
        let mut unseen = Vec::new();
        for (row, part) in rows.iter_mut().zip(&self.parts) {
            if row.place() >= part.row_count() {
                *row = PartRow::SILENT;
                unseen.push(part.unit);
            }
        }
        let mut out = vec![0; hosts.classes.len()];
        self.masks.row_of(&self.parts, &rows, &mut out);
        self.add_unmasked(vms, hosts, Some(class), |at| rows.get(at).copied(), &mut out);
        for unit in unseen {
            judge_unseen(vms, hosts, class, unit, &mut out);
        }
        out
    }

    /// The outcome of a pair of classes, and the first unit that has it.
    pub(in crate::fleet) fn pair(&self, vms: &Vms, hosts: &Hosts, vm: VmClass, host: HostClass) -> (u8, u16) {
        let outcome = self.masks.outcome(vm, host);
        self.with_unmasked(vms, hosts, vm, host, (outcome, self.masks.first_unit(vm, host, outcome)))
    }

    fn with_unmasked(&self, vms: &Vms, hosts: &Hosts, vm: VmClass, host: HostClass, masked: (u8, u16)) -> (u8, u16) {
        let mut best = masked;
        self.each_unmasked(vms, hosts, vm, host, |unit, outcome| {
            if outcome > best.0 || (outcome == best.0 && outcome > 0 && unit < best.1) {
                best = (outcome, unit);
            }
        });
        best
    }

    /// The outcome of a pair of classes.
    pub(in crate::fleet) fn outcome(&self, vms: &Vms, hosts: &Hosts, vm: VmClass, host: HostClass) -> u8 {
        let mut best = self.masks.outcome(vm, host);
        if best < 3 {
            self.each_unmasked(vms, hosts, vm, host, |_, outcome| best = best.max(outcome));
        }
        best
    }

    /// The outcomes of pairs of classes.
    pub(in crate::fleet) fn outcomes(&self, vms: &Vms, hosts: &Hosts, pairs: &[(VmClass, HostClass)], out: &mut [u8]) {
        self.masks.outcomes(pairs, out);
        if self.is_unmasked() {
            for ((vm, host), out) in pairs.iter().zip(out).filter(|(_, out)| **out < 3) {
                self.each_unmasked(vms, hosts, *vm, *host, |_, outcome| *out = (*out).max(outcome));
            }
        }
    }

    /// The same, each with the first unit that has it.
    pub(in crate::fleet) fn units(
        &self,
        vms: &Vms,
        hosts: &Hosts,
        pairs: &[(VmClass, HostClass)],
        out: &mut [u8],
        units: &mut [u16],
    ) {
        self.masks.outcomes(pairs, out);
        for (((vm, host), outcome), unit) in pairs.iter().zip(out.iter()).zip(units.iter_mut()) {
            *unit = self.masks.first_unit(*vm, *host, *outcome);
        }
        if self.is_unmasked() {
            for (((vm, host), outcome), unit) in pairs.iter().zip(out).zip(units) {
                (*outcome, *unit) = self.with_unmasked(vms, hosts, *vm, *host, (*outcome, *unit));
            }
        }
    }

    /// The outcomes of a VM class on all host classes.
    pub(in crate::fleet) fn row(&self, vms: &Vms, hosts: &Hosts, vm: VmClass, out: &mut [u8]) {
        self.masks.row(vm, out);
        if self.is_unmasked() {
            let class = vms.classes.get(vm);
            let row = |part: usize| class.zip(self.parts.get(part)).map(|(class, part)| part.row(vms, class));
            self.add_unmasked(vms, hosts, class, row, out);
        }
    }

    /// Adds to the outcomes of a VM class on all host classes what the masks do not say; `row` gives its row in a part.
    fn add_unmasked(
        &self,
        vms: &Vms,
        hosts: &Hosts,
        class: Option<ClassRow<'_>>,
        row: impl Fn(usize) -> Option<PartRow>,
        out: &mut [u8],
    ) {
        for at in &self.masks.left {
            let Some(part) = self.parts.get(*at) else { continue };
            let row = row(*at);
            for (out, column) in out.iter_mut().zip(&part.column_of) {
                *out = (*out).max(found(row.map(|row| part.cell(row, *column))));
            }
        }
        for rest in &self.rests {
            let Some(class) = class else { return out.fill(UNKNOWN) };
            let Some(saved) = rest.value(vms, class) else { continue };
            for (host, out) in HostClass::first(hosts.classes.len()).zip(out.iter_mut()) {
                *out = (*out).max(rest.judge(hosts, saved, host));
            }
        }
    }

    /// The outcomes of VM classes from `first` on, on one host class.
    pub(in crate::fleet) fn column(&self, vms: &Vms, hosts: &Hosts, first: VmClass, host: HostClass, out: &mut [u8]) {
        self.masks.column(first, host, out);
        if self.is_unmasked() {
            for (vm, out) in VmClass::first(vms.classes.len()).skip(first.place()).zip(out) {
                self.each_unmasked(vms, hosts, vm, host, |_, outcome| *out = (*out).max(outcome));
            }
        }
    }

    /// Whether the masks do not say all.
    fn is_unmasked(&self) -> bool {
        !self.masks.left.is_empty() || !self.rests.is_empty()
    }

    /// Tells what the masks do not: units and their outcomes.
    #[inline]
    fn each_unmasked(&self, vms: &Vms, hosts: &Hosts, vm: VmClass, host: HostClass, mut tell: impl FnMut(u16, u8)) {
        if !self.is_unmasked() {
            return;
        }
        let class = vms.classes.get(vm);
        for part in self.masks.left.iter().filter_map(|part| self.parts.get(*part)) {
            let column = part.column_of.get(host.place());
            let cell = class.zip(column).map(|(class, column)| part.cell(part.row(vms, class), *column));
            tell(part.unit.told(), found(cell));
        }
        for rest in &self.rests {
            tell(rest.unit.told(), rest_of(rest, vms, hosts, vm, host));
        }
    }
}

/// What is left of a split unit says about a pair of classes.
pub(in crate::fleet) fn rest_of(rest: &Rest, vms: &Vms, hosts: &Hosts, vm: VmClass, host: HostClass) -> u8 {
    let Some(class) = vms.classes.get(vm) else { return found(None) };
    rest.value(vms, class).map_or(Outcome::Accept as u8, |saved| rest.judge(hosts, saved, host))
}

/// What a unit says of a value that has no row: each acceptor is asked once.
fn judge_unseen(vms: &Vms, hosts: &Hosts, class: ClassRow<'_>, unit: UnitNumber, out: &mut [u8]) {
    let list = class.list().and_then(|list| vms.lists.get(list));
    let config = if unit == UnitNumber::LIST {
        list.map(|list| list.config)
    } else {
        value(vms, unit, class).map(|one| one.config)
    };
    let mut known: HashMap<u32, u8, FixedState> = HashMap::default();
    for (host, out) in HostClass::first(hosts.classes.len()).zip(out) {
        let number = config.and_then(|config| hosts.acceptor_number(host, config, unit));
        let judge = |number: u32| {
            let acceptor = hosts.acceptors.get(unit.at())?.get(number)?;
            let said = if unit == UnitNumber::LIST {
                acceptor.judge_list(list?)
            } else {
                acceptor.judge_value(value(vms, unit, class)?)
            };
            Some(said as u8)
        };
        let said = number.map(|number| *known.entry(number).or_insert_with(|| found(judge(number))));
        *out = (*out).max(found(said));
    }
}
