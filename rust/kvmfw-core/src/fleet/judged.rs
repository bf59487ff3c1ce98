//! What all units say, ready to be asked about any pair of classes.

use rayon::prelude::*;

use super::groups::{Groups, outcome, part};
use super::hosts::{FIRST_REGISTER_UNIT, Hosts};
use super::limits::Limits;
use super::parts::{Part, value};
use super::pool::Pool;
use super::split::{Rest, split};
use super::vms::Vms;

/// Judged units.
#[derive(Clone, Debug, Default)]
pub(super) struct Judged {
    pub(super) parts: Vec<Part>,
    pub(super) rests: Vec<Rest>,
    pub(super) groups: Groups,
}

/// In place of a unit number: every unit accepts.
pub const NO_UNIT: u16 = u16::MAX;

impl Judged {
    /// Judges every unit value on every host class.
    pub(super) fn new(vms: &Vms, hosts: &Hosts, pool: &Pool, limits: Limits) -> Self {
        let units = FIRST_REGISTER_UNIT + vms.units.len();
        let judge = |unit: usize| {
            if Part::is_large(unit, vms, hosts, limits) {
                split(unit, vms, hosts)
            } else {
                (vec![Part::of_values(unit, vms, hosts)], None)
            }
        };
        let judged: Vec<(Vec<Part>, Option<Rest>)> = pool.run(|| (0..units).into_par_iter().map(judge).collect());
        let (parts, rests): (Vec<_>, Vec<_>) = judged.into_iter().unzip();
        let parts: Vec<Part> = parts.into_iter().flatten().collect();
        let groups = Groups::new(&parts, vms, hosts, pool, limits);
        Self { parts, rests: rests.into_iter().flatten().collect(), groups }
    }

    /// The outcome of a pair of classes, and the first unit that has it.
    pub(super) fn pair(&self, vms: &Vms, hosts: &Hosts, vm: u32, host: u32) -> (u8, u16) {
        let mut best = (0, NO_UNIT);
        let places = self.groups.rows_of(vm).iter().zip(self.groups.columns_of(host));
        for (group, (row, column)) in self.groups.all.iter().zip(places) {
            let cell = group.cell(*row, *column);
            if outcome(cell) > best.0 {
                let unit = self.parts.get(group.parts.start + part(cell)).map_or(0, |part| part.unit);
                best = (outcome(cell), u16::try_from(unit).unwrap_or(NO_UNIT));
                if best.0 == 3 {
                    break;
                }
            }
        }
        for rest in &self.rests {
            let unit = u16::try_from(rest.unit).unwrap_or(NO_UNIT);
            if best.0 < 3 || unit < best.1 {
                let found = rest_of(rest, vms, hosts, vm, host);
                if found > best.0 || (found == best.0 && found > 0 && unit < best.1) {
                    best = (found, unit);
                }
            }
        }
        best
    }

    /// The outcome of a pair of classes.
    pub(super) fn outcome(&self, vms: &Vms, hosts: &Hosts, vm: u32, host: u32) -> u8 {
        let places = self.groups.rows_of(vm).iter().zip(self.groups.columns_of(host));
        let mut best = 0;
        for (group, (row, column)) in self.groups.all.iter().zip(places) {
            best = best.max(group.cell(*row, *column));
            if outcome(best) == 3 {
                return 3;
            }
        }
        let rests = self.rests.iter().map(|rest| rest_of(rest, vms, hosts, vm, host));
        rests.max().unwrap_or(0).max(outcome(best))
    }

    /// The outcomes of a VM class on all host classes.
    pub(super) fn row(&self, vms: &Vms, hosts: &Hosts, vm: u32, out: &mut [u8]) {
        out.fill(0);
        for (group, row) in self.groups.all.iter().zip(self.groups.rows_of(vm)) {
            let cells = group.row(*row);
            for (out, column) in out.iter_mut().zip(&group.column_of) {
                *out = cells.get(*column as usize).map_or(*out, |cell| (*out).max(*cell));
            }
        }
        for out in out.iter_mut() {
            *out = outcome(*out);
        }
        for rest in &self.rests {
            for (host, out) in (0..).zip(out.iter_mut()) {
                *out = (*out).max(rest_of(rest, vms, hosts, vm, host));
            }
        }
    }

    /// The outcomes of all VM classes on one host class.
    pub(super) fn column(&self, vms: &Vms, hosts: &Hosts, host: u32) -> Vec<u8> {
        let columns = self.groups.columns_of(host);
        let classes = u32::try_from(vms.classes.len()).unwrap_or(u32::MAX);
        (0..classes)
            .zip(self.groups.rows.chunks(self.groups.len().max(1)))
            .map(|(vm, rows)| {
                let cells = self.groups.all.iter().zip(rows.iter().zip(columns));
                let cell = cells.map(|(group, (row, column))| group.cell(*row, *column)).max();
                let rests = self.rests.iter().map(|rest| rest_of(rest, vms, hosts, vm, host));
                rests.max().unwrap_or(0).max(outcome(cell.unwrap_or(0)))
            })
            .collect()
    }
}

/// What is left of a split unit says about a pair of classes.
pub(super) fn rest_of(rest: &Rest, vms: &Vms, hosts: &Hosts, vm: u32, host: u32) -> u8 {
    let saved = vms.classes.get(vm).and_then(|class| value(vms, rest.unit, class));
    let Some(saved) = saved else { return 0 };
    let acceptor = hosts.acceptor_number(host, saved.config, rest.unit);
    acceptor.map_or(0, |acceptor| rest.judge(hosts, saved, acceptor))
}
