//! What each unit says about each pair of classes: the rows behind blockers and cures.

use rayon::prelude::*;

use crate::error::MissingError;
use crate::fleet::class::{HostClass, VmClass};
use crate::fleet::tables::groups::Groups;
use crate::fleet::tables::judged::rest_of;
use crate::fleet::unit::UnitNumber;
use crate::fleet::{Snapshot, Taken};
use crate::judgement::Outcome;
use crate::pool::checkpoint;
use crate::room;

/// VM classes that one thread takes at a time.
const CHUNK: usize = 16;

/// Units that stand in the way of pairs of classes, one entry for each pair and unit, in the order asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitOutcomes {
    /// The VM class of each entry.
    pub vm_class: Vec<u32>,
    /// The host class of each entry.
    pub host_class: Vec<u32>,
    /// The number of the unit of each entry.
    pub unit: Vec<u32>,
    /// What the unit says: never an outcome that counts as taken.
    pub outcome: Vec<u8>,
}

impl UnitOutcomes {
    /// Makes room for more entries.
    fn reserve(&mut self, more: usize) {
        room::grow(&mut self.vm_class, more);
        room::grow(&mut self.host_class, more);
        room::grow(&mut self.unit, more);
        room::grow(&mut self.outcome, more);
    }
}

impl Snapshot {
    /// All units in the way of these VM classes on any host class.
    ///
    /// # Errors
    ///
    /// When there is no such class.
    pub fn unit_outcomes(&self, vm_classes: &[u32], taken: Taken) -> Result<UnitOutcomes, MissingError> {
        let classes = self.world().vms.classes.len();
        if let Some(class) = vm_classes.iter().find(|class| **class as usize >= classes) {
            let problem = format!("VM class {class} is out of range; there are {classes}");
            return Err(MissingError { problem, row: None });
        }
        let groups = self.world().groups(self.settings());
        let chunk = |classes: &[u32]| {
            checkpoint();
            let mut found = UnitOutcomes::default();
            for class in classes {
                self.units_in_the_way(groups, VmClass::of(*class), taken, &mut found);
            }
            found
        };
        let parts: Vec<UnitOutcomes> = self.settings().pool.run(|| vm_classes.par_chunks(CHUNK).map(chunk).collect());
        Ok(parts.into_iter().fold(UnitOutcomes::default(), |mut all, part| {
            all.reserve(part.outcome.len());
            all.vm_class.extend(part.vm_class);
            all.host_class.extend(part.host_class);
            all.unit.extend(part.unit);
            all.outcome.extend(part.outcome);
            all
        }))
    }

    fn units_in_the_way(&self, groups: &Groups, vm: VmClass, taken: Taken, found: &mut UnitOutcomes) {
        let entries = self.in_the_way(groups, vm, taken);
        found.reserve(entries.len());
        for (host, unit, outcome) in entries {
            found.vm_class.push(vm.number());
            found.host_class.push(host.number());
            found.unit.push(u32::from(unit.told()));
            found.outcome.push(outcome);
        }
    }

    /// What stands in the way of a VM class: host class, unit, outcome, in this order.
    pub(super) fn in_the_way(&self, groups: &Groups, vm: VmClass, taken: Taken) -> Vec<(HostClass, UnitNumber, u8)> {
        let least = taken.least().first().copied().unwrap_or(Outcome::Refuse as u8);
        let mut entries: Vec<(HostClass, UnitNumber, u8)> = Vec::new();
        self.each_saying(groups, vm, least, |unit, host, outcome| {
            if !taken.takes(outcome) {
                room::push(&mut entries, (host, unit, outcome));
            }
        });
        // Several parts of one unit may speak: the greatest outcome counts.
        entries.sort_unstable_by_key(|(host, unit, outcome)| (*host, *unit, u8::MAX - outcome));
        entries.dedup_by_key(|(host, unit, _)| (*host, *unit));
        entries
    }

    /// Tells what units say about a VM class on each host class, where that is at least some outcome: unit, host class,
    /// outcome. Several parts of one unit may speak about the same host class.
    fn each_saying(&self, groups: &Groups, vm: VmClass, least: u8, mut tell: impl FnMut(UnitNumber, HostClass, u8)) {
        let Some(class) = self.world().vms.classes.get(vm) else { return };
        for (group, row) in groups.rows_of(vm) {
            if group.row(row).iter().all(|cell| *cell < least) {
                continue;
            }
            for part in self.world().judged.parts.get(group.parts.clone()).unwrap_or(&[]) {
                let row = part.row(&self.world().vms, class);
                let said = HostClass::first(part.column_of.len())
                    .zip(&part.column_of)
                    .map(|(host, column)| (host, part.cell(row, *column)));
                said.filter(|(_, said)| *said >= least).for_each(|(host, said)| tell(part.unit, host, said));
            }
        }
        for rest in &self.world().judged.rests {
            let said = HostClass::first(self.world().hosts.classes.len())
                .map(|host| (host, rest_of(rest, &self.world().vms, &self.world().hosts, vm, host)));
            said.filter(|(_, said)| *said >= least).for_each(|(host, said)| tell(rest.unit, host, said));
        }
    }
}
