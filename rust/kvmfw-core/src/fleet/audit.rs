//! Counts over all pairs of a fleet, done on classes.

use super::{Fleet, Taken, histogram};
use crate::error::RowError;
use crate::judgement::Outcome;

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
        let hosts = self.hosts.classes.len();
        let table = self.table();
        let mut weights = self.class_weights();
        let mut at_home = vec![false; home.len()];
        let mut own_entrants = vec![0_u64; self.host_count()];
        for (row, ((place, class), at_home)) in home.iter().zip(&self.vms.class_of).zip(&mut at_home).enumerate() {
            if *place < 0 {
                continue;
            }
            let host = usize::try_from(*place).ok().and_then(|host| Some((host, *self.hosts.class_of.get(host)?)));
            let (host, host_class) = host.ok_or_else(|| RowError {
                row,
                problem: format!("home {place} is out of range; there are {} hosts", self.host_count()),
            })?;
            let pair = *class as usize * hosts + host_class as usize;
            if let Some(weight) = weights.get_mut(pair) {
                *weight -= 1;
            }
            *at_home = table.get(pair).is_some_and(|outcome| taken.takes(*outcome));
            if let Some(own) = own_entrants.get_mut(host) {
                *own += u64::from(*at_home);
            }
        }
        let mut counts =
            AuditCounts { blocked: vec![Blocked::default(); self.units().len()], ..AuditCounts::default() };
        for (outcome, weight) in table.iter().zip(&weights) {
            if let Some(count) = counts.outcomes.get_mut(usize::from(*outcome)) {
                *count += weight;
            }
        }
        let sum = |counts: [u64; 4]| {
            (0_u8..).zip(counts).filter(|(outcome, _)| taken.takes(*outcome)).map(|(_, count)| count).sum::<u64>()
        };
        counts.targets = self
            .counts_by_vm()
            .into_iter()
            .zip(&at_home)
            .map(|(counts, at_home)| sum(counts) - u64::from(*at_home))
            .collect();
        counts.entrants =
            self.counts_by_host().into_iter().zip(&own_entrants).map(|(counts, own)| sum(counts) - own).collect();
        self.count_blocked(&weights, &mut counts.blocked);
        Ok(counts)
    }

    /// How many pairs of rows each pair of classes stands for.
    fn class_weights(&self) -> Vec<u64> {
        let vms = histogram(&self.vms.class_of, self.vms.classes.len());
        let hosts = histogram(&self.hosts.class_of, self.hosts.classes.len());
        vms.iter().flat_map(|vms| hosts.iter().map(move |hosts| vms * hosts)).collect()
    }

    fn count_blocked(&self, weights: &[u64], blocked: &mut [Blocked]) {
        let hosts = self.hosts.classes.len();
        let words = self.rows.words;
        for (class, weights) in self.vms.classes.items().iter().zip(weights.chunks(hosts.max(1))) {
            let mut refusing = vec![(0_u32, 0_usize); hosts];
            self.rows.each_row(&self.vms, class, |unit, row| {
                let refused = row.get((Outcome::Refuse as usize - 1) * words..).unwrap_or(&[]);
                for (host, (slot, weight)) in refusing.iter_mut().zip(weights).enumerate() {
                    let bit = refused.get(host / 64).map_or(0, |word| word >> (host % 64) & 1);
                    if bit == 1 {
                        *slot = (slot.0 + 1, unit);
                        if let Some(blocked) = blocked.get_mut(unit) {
                            blocked.pairs += weight;
                        }
                    }
                }
            });
            for ((count, unit), weight) in refusing.iter().zip(weights) {
                if let (1, Some(blocked)) = (count, blocked.get_mut(*unit)) {
                    blocked.sole += weight;
                }
            }
        }
    }
}
