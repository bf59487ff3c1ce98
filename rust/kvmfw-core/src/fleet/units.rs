//! What each unit says about each pair of classes: the rows behind blockers and cures.

use rayon::prelude::*;

use super::judged::rest_of;
use super::{Fleet, Taken};

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

impl Fleet {
    /// All units in the way of these VM classes on any host class.
    pub fn unit_outcomes(&self, vm_classes: &[u32], taken: Taken) -> UnitOutcomes {
        let chunk = |classes: &[u32]| {
            let mut found = UnitOutcomes::default();
            for class in classes {
                self.units_in_the_way(*class, taken, &mut found);
            }
            found
        };
        let parts: Vec<UnitOutcomes> = self.pool.run(|| vm_classes.par_chunks(CHUNK).map(chunk).collect());
        parts.into_iter().fold(UnitOutcomes::default(), |mut all, part| {
            all.vm_class.extend(part.vm_class);
            all.host_class.extend(part.host_class);
            all.unit.extend(part.unit);
            all.outcome.extend(part.outcome);
            all
        })
    }

    fn units_in_the_way(&self, vm: u32, taken: Taken, found: &mut UnitOutcomes) {
        let Some(class) = self.vms.classes.get(vm) else { return };
        let mut entries: Vec<(u32, u32, u8)> = Vec::new();
        for (group, row) in self.judged.groups.rows_of(vm) {
            if group.row(row).iter().all(|cell| *cell == 0) {
                continue;
            }
            for part in self.judged.parts.get(group.parts.clone()).unwrap_or(&[]) {
                let row = part.row(&self.vms, class);
                let unit = u32::try_from(part.unit).unwrap_or(u32::MAX);
                let said = (0..).zip(&part.column_of).map(|(host, column)| (host, unit, part.cell(row, *column)));
                entries.extend(said.filter(|(.., outcome)| !taken.takes(*outcome)));
            }
        }
        let hosts = u32::try_from(self.hosts.classes.len()).unwrap_or(u32::MAX);
        for rest in &self.judged.rests {
            let unit = u32::try_from(rest.unit).unwrap_or(u32::MAX);
            let said = (0..hosts).map(|host| (host, unit, rest_of(rest, &self.vms, &self.hosts, vm, host)));
            entries.extend(said.filter(|(.., outcome)| !taken.takes(*outcome)));
        }
        // Several parts of one unit may speak: the greatest outcome counts.
        entries.sort_unstable_by_key(|(host, unit, outcome)| (*host, *unit, u8::MAX - outcome));
        entries.dedup_by_key(|(host, unit, _)| (*host, *unit));
        for (host, unit, outcome) in entries {
            found.vm_class.push(vm);
            found.host_class.push(host);
            found.unit.push(unit);
            found.outcome.push(outcome);
        }
    }
}
