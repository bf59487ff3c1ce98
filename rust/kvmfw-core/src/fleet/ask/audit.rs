//! Counts over all pairs of a fleet, done on classes.

use hashbrown::HashMap;
use rayon::prelude::*;

use crate::audit::{Residents, Trap, Watch};
use crate::error::RowError;
use crate::fleet::class::{HostClass, VmClass};
use crate::fleet::{Snapshot, Taken};
use crate::pool::checkpoint;
use crate::room;

/// VM classes that one thread takes at a time.
const CHUNK: usize = 64;

/// What is counted for a VM: its outcomes, its targets, whether its own host takes it.
const BYTES_OF_A_VM: usize = 4 * 8 + 8 + 1;
/// VMs of a class at home on hosts of a class: an entry of a table that is half full, and in lists.
const BYTES_OF_A_GROUP: usize = 3 * size_of::<((VmClass, HostClass), u64)>() + 2 * size_of::<(u32, i64, u64)>();

/// Where one unit stands in the way, in pairs of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Blocked {
    /// Pairs on which this unit says an outcome that does not count as taken.
    pub pairs: u64,
    /// Pairs on which only this unit does.
    pub sole: u64,
}

/// Counts over all pairs of a VM and a host that is not its own.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AuditCounts {
    /// Pairs by outcome.
    pub outcomes: [u64; 4],
    /// For each VM, how many other hosts take it.
    pub targets: Vec<u64>,
    /// The one-way traps.
    pub traps: Vec<Trap>,
    /// For each unit, where it stands in the way.
    pub blocked: Vec<Blocked>,
}

/// How many VMs of a class are at home on hosts of a class.
type AtHome = HashMap<(VmClass, HostClass), u64, foldhash::fast::FixedState>;

impl Snapshot {
    /// Counts over all pairs; `home` gives the host row of each VM, negative where it has none.
    ///
    /// # Errors
    ///
    /// When `home` has not one entry per VM, or names a host that there is not.
    pub fn audit(&self, home: &[i64], taken: Taken) -> Result<AuditCounts, RowError> {
        if home.len() != self.vm_count() {
            let problem =
                format!("`home` has {} entries, expected one for each of {} VMs", home.len(), self.vm_count());
            return Err(RowError { row: home.len().min(self.vm_count()), problem });
        }
        let classes = self.world().vms.classes.len().saturating_mul(self.world().hosts.classes.len());
        let groups = home.len().min(classes) + self.world().vms.classes.len();
        room::need(home.len() * BYTES_OF_A_VM + groups * BYTES_OF_A_GROUP);
        let mut at_home = AtHome::default();
        let mut taken_at_home = vec![false; home.len()];
        for (row, ((place, class), at_home_taken)) in
            home.iter().zip(self.vm_rows().iter()).zip(&mut taken_at_home).enumerate()
        {
            if *place < 0 {
                continue;
            }
            let host_class = usize::try_from(*place).ok().and_then(|host| self.host_rows().get(host));
            let (class, host_class) = (VmClass::of(class), host_class.map(HostClass::of));
            let host_class = host_class.ok_or_else(|| RowError {
                row,
                problem: format!("home {place} is out of range; there are {} hosts", self.host_count()),
            })?;
            *at_home.entry((class, host_class)).or_default() += 1;
            *at_home_taken = taken.takes(self.outcome(class, host_class));
        }
        let mut by_vm = vec![0; 4 * self.vm_count()];
        self.counts_by_vm(&mut by_vm);
        let (blocked, traps) = (self.blocked(&at_home, taken), self.traps(&at_home, taken)?);
        let mut counts = AuditCounts { traps, blocked, ..AuditCounts::default() };
        for row in by_vm.chunks(4) {
            for (count, more) in counts.outcomes.iter_mut().zip(row) {
                *count += more;
            }
        }
        for ((class, host_class), weight) in sorted(&at_home) {
            let outcome = usize::from(self.outcome(class, host_class));
            if let Some(count) = counts.outcomes.get_mut(outcome) {
                *count -= weight;
            }
        }
        let sum = |counts: &[u64]| {
            let taken = (0_u8..).zip(counts).filter(|(outcome, _)| taken.takes(*outcome));
            taken.map(|(_, count)| count).sum::<u64>()
        };
        let targets = by_vm.chunks(4).zip(&taken_at_home).map(|(counts, own)| sum(counts) - u64::from(*own));
        counts.targets = targets.collect();
        Ok(counts)
    }

    fn traps(&self, at_home: &AtHome, taken: Taken) -> Result<Vec<Trap>, RowError> {
        let mut homeless = self.0.vm_classes.histogram(self.world().vms.classes.len());
        let mut groups: Vec<(u32, i64, u64)> = Vec::with_capacity(at_home.len());
        for ((class, host_class), vms) in at_home {
            groups.push((class.number(), i64::from(host_class.number()), *vms));
            homeless.get_mut(class.place()).into_iter().for_each(|homeless| *homeless -= vms);
        }
        groups.extend((0..).zip(homeless).filter(|(_, vms)| *vms > 0).map(|(class, vms)| (class, -1, vms)));
        groups.sort_unstable();
        let (vm_class, homes): (Vec<u32>, Vec<i64>) = groups.iter().map(|(class, home, _)| (*class, *home)).unzip();
        let vms: Vec<u64> = groups.iter().map(|(.., vms)| *vms).collect();
        let hosts = self.0.host_classes.histogram(self.world().hosts.classes.len());
        let residents = Residents { vm_class: &vm_class, home_class: &homes, vms: &vms };
        let watch = Watch::default();
        let circles = self.all_takers(&hosts, taken, &watch).and_then(|(takers, _)| takers.circles(residents, &watch));
        // Groups and classes are the fleet's own: only memory can be short.
        Ok(circles.map_err(|error| RowError { row: 0, problem: error.to_string() })?.traps)
    }

    /// For each unit, on how many pairs it stands in the way, and on how many it alone.
    fn blocked(&self, at_home: &AtHome, taken: Taken) -> Vec<Blocked> {
        let vms = self.0.vm_classes.histogram(self.world().vms.classes.len());
        let hosts = self.0.host_classes.histogram(self.world().hosts.classes.len());
        let starts: Vec<usize> = (0..vms.len()).step_by(CHUNK).collect();
        let units = self.units().len();
        let groups = self.world().groups(self.settings());
        let chunk = |start: &usize| {
            checkpoint();
            let mut blocked = vec![Blocked::default(); units];
            for (class, vms) in vms.iter().enumerate().skip(*start).take(CHUNK) {
                let class = VmClass::at_place(class);
                for units in self.in_the_way(groups, class, taken).chunk_by(|(one, ..), (other, ..)| one == other) {
                    for (host, unit, _) in units {
                        let all = vms * hosts.get(host.place()).copied().unwrap_or(0);
                        let pairs = all - at_home.get(&(class, *host)).copied().unwrap_or(0);
                        if let Some(blocked) = blocked.get_mut(unit.at()) {
                            blocked.pairs += pairs;
                            blocked.sole += if units.len() == 1 { pairs } else { 0 };
                        }
                    }
                }
            }
            blocked
        };
        let add = |mut all: Vec<Blocked>, other: Vec<Blocked>| {
            for (all, other) in all.iter_mut().zip(other) {
                all.pairs += other.pairs;
                all.sole += other.sole;
            }
            all
        };
        let none = || vec![Blocked::default(); units];
        self.settings().pool.run(|| starts.par_iter().map(chunk).reduce(none, add))
    }
}

fn sorted(at_home: &AtHome) -> Vec<((VmClass, HostClass), u64)> {
    let mut sorted: Vec<((VmClass, HostClass), u64)> = at_home.iter().map(|(pair, weight)| (*pair, *weight)).collect();
    sorted.sort_unstable();
    sorted
}
