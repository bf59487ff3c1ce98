//! Counts over all pairs of a fleet, done on classes.

use hashbrown::HashMap;
use rayon::prelude::*;

use crate::error::RowError;
use crate::fleet::tables::groups::Groups;
use crate::fleet::{Fleet, Taken};
use crate::judgement::Outcome;

/// VM classes that one thread takes at a time.
const CHUNK: usize = 64;

/// What one unit refuses, in pairs of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Blocked {
    /// Pairs that this unit refuses.
    pub pairs: u64,
    /// Pairs that only this unit refuses.
    pub sole: u64,
}

/// Counts over all pairs of a VM and a host that is not its own.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AuditCounts {
    /// Pairs by outcome.
    pub outcomes: [u64; 4],
    /// For each VM, how many other hosts take it.
    pub targets: Vec<u64>,
    /// For each host, how many VMs of other hosts it takes.
    pub entrants: Vec<u64>,
    /// For each unit, what it refuses.
    pub blocked: Vec<Blocked>,
}

/// How many VMs of a class are at home on hosts of a class.
type AtHome = HashMap<(u32, u32), u64, foldhash::fast::FixedState>;

impl Fleet {
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
        let mut at_home = AtHome::default();
        let mut taken_at_home = vec![false; home.len()];
        let mut own_entrants = vec![0_u64; self.host_count()];
        for (row, ((place, class), at_home_taken)) in
            home.iter().zip(self.vms.class_of.iter()).zip(&mut taken_at_home).enumerate()
        {
            if *place < 0 {
                continue;
            }
            let host = usize::try_from(*place).ok().and_then(|host| Some((host, self.hosts.class_of.get(host)?)));
            let (host, host_class) = host.ok_or_else(|| RowError {
                row,
                problem: format!("home {place} is out of range; there are {} hosts", self.host_count()),
            })?;
            *at_home.entry((class, host_class)).or_default() += 1;
            *at_home_taken = taken.takes(self.outcome(class, host_class));
            if let Some(own) = own_entrants.get_mut(host) {
                *own += u64::from(*at_home_taken);
            }
        }
        let (mut by_vm, mut by_host) = (vec![0; 4 * self.vm_count()], vec![0; 4 * self.host_count()]);
        self.counts_by_vm(&mut by_vm);
        self.counts_by_host(&mut by_host);
        let mut counts = AuditCounts { blocked: self.blocked(&at_home), ..AuditCounts::default() };
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
        counts.entrants = by_host.chunks(4).zip(&own_entrants).map(|(counts, own)| sum(counts) - own).collect();
        Ok(counts)
    }

    /// For each unit, in how many pairs it refuses, and in how many it alone.
    fn blocked(&self, at_home: &AtHome) -> Vec<Blocked> {
        let vms = self.vms.class_of.histogram(self.vms.classes.len());
        let hosts = self.hosts.class_of.histogram(self.hosts.classes.len());
        let starts: Vec<usize> = (0..vms.len()).step_by(CHUNK).collect();
        let units = self.units().len();
        let groups = self.groups();
        let chunk = |start: &usize| {
            let mut blocked = vec![Blocked::default(); units];
            let mut refusals: Vec<Vec<u32>> = vec![Vec::new(); units];
            for (class, vms) in vms.iter().enumerate().skip(*start).take(CHUNK) {
                let class = u32::try_from(class).unwrap_or(u32::MAX);
                self.refusals(groups, class, &mut refusals);
                let mut count_of = vec![0_u32; hosts.len()];
                for host in refusals.iter().flatten() {
                    if let Some(count) = count_of.get_mut(*host as usize) {
                        *count += 1;
                    }
                }
                for (blocked, refusals) in blocked.iter_mut().zip(&refusals) {
                    for host in refusals {
                        let all = vms * hosts.get(*host as usize).copied().unwrap_or(0);
                        let pairs = all - at_home.get(&(class, *host)).copied().unwrap_or(0);
                        blocked.pairs += pairs;
                        blocked.sole += if count_of.get(*host as usize) == Some(&1) { pairs } else { 0 };
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
        self.pool.run(|| starts.par_iter().map(chunk).reduce(none, add))
    }

    /// For each unit the host classes on which it refuses a VM class.
    fn refusals(&self, groups: &Groups, vm: u32, refusals: &mut [Vec<u32>]) {
        refusals.iter_mut().for_each(Vec::clear);
        self.each_saying(groups, vm, Outcome::Refuse as u8, |unit, host, _| {
            if let Some(own) = refusals.get_mut(unit) {
                own.push(host);
            }
        });
        // Several parts of one unit may refuse the same host.
        for own in refusals {
            own.sort_unstable();
            own.dedup();
        }
    }
}

fn sorted(at_home: &AtHome) -> Vec<((u32, u32), u64)> {
    let mut sorted: Vec<((u32, u32), u64)> = at_home.iter().map(|(pair, weight)| (*pair, *weight)).collect();
    sorted.sort_unstable();
    sorted
}
