//! Upgrades: what becomes of stranded VMs when all hosts of one capture become as those of another.
//!
//! No fleet is judged anew, and no pair of captures is tried. A step changes the targets of a group of VMs by what the two
//! captures take of it, so that
//!
//! * stranded VMs are freed where the new capture takes them: one count for each host class, over all stranded groups;
//! * VMs are newly stranded where all their targets are hosts of the old capture, which is one for each group at most, and
//!   the new one does not take them: one count for each host class and old capture, over the groups that lean on it.
//!
//! All is exact. Work grows with groups times host classes / 64, and with pairs of captures by one addition.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::bits::{Tally, Weights, has, ones};
use super::takers::{Takers, add};
use super::{AuditError, Residents, Watch};

/// Groups that one thread takes at a time.
const CHUNK: usize = 1 << 15;

/// The captures of a fleet, in the order of their names.
#[derive(Clone, Debug)]
pub struct Captures {
    /// How many hosts each has.
    pub hosts: Vec<u64>,
    /// The host class of its hosts.
    pub class: Vec<u32>,
    /// What CPU they have: hosts become only what hosts of the same CPU are.
    pub cpu: Vec<u32>,
    /// Their kernel, by age: hosts never get an older one.
    pub kernel: Vec<u32>,
}

/// One upgrade, with what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Upgrade {
    /// VMs that are stranded after it.
    pub stranded: u64,
    /// VMs that find no target any more.
    pub newly_stranded: u64,
    /// The capture whose hosts change.
    pub old: u32,
    /// The capture whose hosts they become like.
    pub new: u32,
}

/// VMs that are stranded by one old capture's hosts, or leaning on them.
#[derive(Clone, Debug, Default)]
struct Leaning {
    /// VMs all of whose targets are hosts of this capture.
    groups: Vec<(u32, u64)>,
    vms: u64,
    /// Stranded VMs that live on its only host: they are no nearer to a target when it changes.
    own: Vec<(u32, u64)>,
}

/// A fleet's captures on their way through upgrades.
#[derive(Debug)]
pub struct Upgrades {
    takers: Arc<Takers>,
    captures: Captures,
    vm_class: Vec<u32>,
    /// The capture of each group's home; negative where it is not known.
    home: Vec<i64>,
    vms: Vec<u64>,
    /// The capture that the hosts of each have become like.
    like: Vec<u32>,
}

impl Upgrades {
    /// A fleet as it is; `residents` names homes by capture instead of host class.
    ///
    /// # Errors
    ///
    /// When columns do not fit together.
    pub fn new(takers: Arc<Takers>, captures: Captures, residents: Residents<'_>) -> Result<Self, AuditError> {
        let count = captures.hosts.len();
        residents.check(takers.shape().0, count)?;
        let lengths = [captures.class.len(), captures.cpu.len(), captures.kernel.len()];
        if lengths.iter().any(|length| *length != count) {
            return Err(AuditError::Input("columns of captures differ in length".to_owned()));
        }
        let like = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
        let (vm_class, home) = (residents.vm_class.to_vec(), residents.home_class.to_vec());
        Ok(Self { takers, captures, vm_class, home, vms: residents.vms.to_vec(), like })
    }

    /// The capture that the hosts of each have become like.
    pub fn like(&self) -> &[u32] {
        &self.like
    }

    /// Makes an upgrade.
    pub fn take(&mut self, old: u32, new: u32) {
        self.like.get_mut(old as usize).into_iter().for_each(|like| *like = new);
    }

    /// The upgrades after which fewer VMs are stranded, the best first: `most` of them after the first `skipped`; and how
    /// many VMs are stranded without one.
    ///
    /// # Errors
    ///
    /// When the audit was stopped.
    pub fn best(&self, skipped: usize, most: usize, watch: &Watch) -> Result<(Vec<Upgrade>, u64), AuditError> {
        let residents = Residents { vm_class: &self.vm_class, home_class: &self.home, vms: &self.vms };
        let state: Vec<usize> = self.like.iter().map(|like| self.class_of(*like as usize)).collect();
        let count = state.len();
        let shares = residents.shares(CHUNK);
        watch.expect(shares.len() + count);
        let now = Now::of(self, &state);
        let look = |share: &Range<usize>| {
            watch.step()?;
            Ok(now.look(self, &residents, share.clone()))
        };
        let looks: Result<Vec<Look>, AuditError> = self.takers.pool.run(|| shares.par_iter().map(look).collect());
        let (mut leaning, mut stranded) = (vec![Leaning::default(); count], 0);
        let mut frees = vec![0; self.takers.shape().1];
        for look in looks? {
            stranded += look.stranded;
            frees = add(frees, look.frees);
            for (capture, class, vms, own) in look.leaning {
                let Some(one) = leaning.get_mut(capture) else { continue };
                if own {
                    one.own.push((class, vms));
                } else {
                    one.groups.push((class, vms));
                    one.vms += vms;
                }
            }
        }
        let wanted = skipped.saturating_add(most);
        let of_old = |(old, leaning): (usize, &Leaning)| {
            watch.step()?;
            Ok(self.from(old, leaning, &state, &frees, stranded, wanted))
        };
        let join = |mut all: Vec<Upgrade>, other: Vec<Upgrade>| {
            all.extend(other);
            keep(&mut all, wanted);
            Ok(all)
        };
        let olds = leaning.par_iter().enumerate();
        let mut best = self.takers.pool.run(|| olds.map(of_old).try_reduce(Vec::new, join))?;
        best.sort_unstable();
        Ok((best.into_iter().skip(skipped).collect(), stranded))
    }

    fn class_of(&self, capture: usize) -> usize {
        self.captures.class.get(capture).map_or(0, |class| *class as usize)
    }

    fn hosts(&self, capture: usize) -> u64 {
        self.captures.hosts.get(capture).copied().unwrap_or(0)
    }

    /// What becomes of the hosts of one capture, where that is better than nothing.
    fn from(
        &self,
        old: usize,
        leaning: &Leaning,
        state: &[usize],
        would_free: &[u64],
        stranded: u64,
        wanted: usize,
    ) -> Vec<Upgrade> {
        let kept = self.taken(&leaning.groups);
        let own = self.taken(&leaning.own);
        let captures = &self.captures;
        let like = self.like.get(old).map_or(old, |like| *like as usize);
        let (Some(cpu), Some(kernel)) = (captures.cpu.get(old), captures.kernel.get(like)) else { return Vec::new() };
        let mut found = Vec::new();
        for (new, (other_cpu, other_kernel)) in captures.cpu.iter().zip(&captures.kernel).enumerate() {
            let class = self.class_of(new);
            if cpu != other_cpu || kernel > other_kernel || state.get(old) == Some(&class) {
                continue;
            }
            let at = |counts: &[u64]| counts.get(class).copied().unwrap_or(0);
            let freed = at(would_free) - own.as_deref().map_or(0, at);
            let newly_stranded = leaning.vms - kept.as_deref().map_or(0, at);
            if newly_stranded < freed {
                let number = |capture| u32::try_from(capture).unwrap_or(u32::MAX);
                let stranded = stranded - freed + newly_stranded;
                found.push(Upgrade { stranded, newly_stranded, old: number(old), new: number(new) });
            }
        }
        keep(&mut found, wanted);
        found
    }

    /// How many VMs of these groups each host class takes; none where there are no groups.
    fn taken(&self, groups: &[(u32, u64)]) -> Option<Vec<u64>> {
        if groups.is_empty() {
            return None;
        }
        let (mut tally, mut counts) = (Tally::new(self.takers.words()), vec![0; self.takers.shape().1]);
        for (class, vms) in groups {
            tally.add(self.takers.row(*class), *vms);
        }
        tally.drain_into(&mut counts);
        Some(counts)
    }
}

fn keep(found: &mut Vec<Upgrade>, wanted: usize) {
    if found.len() > wanted {
        found.select_nth_unstable(wanted);
        found.truncate(wanted);
    }
}

/// What a share of the groups says.
struct Look {
    stranded: u64,
    /// For each host class the stranded VMs that it would take.
    frees: Vec<u64>,
    /// Capture, VM class, VMs; and whether they are stranded on its only host instead of leaning on it.
    leaning: Vec<(usize, u32, u64, bool)>,
}

/// The host classes as the captures are now.
struct Now<'a> {
    state: &'a [usize],
    /// How many hosts, and how many captures, each host class has.
    hosts: Weights,
    captures: Weights,
    /// The captures of each host class.
    of_class: Vec<Vec<usize>>,
}

impl<'a> Now<'a> {
    fn of(upgrades: &Upgrades, state: &'a [usize]) -> Self {
        let classes = upgrades.takers.shape().1;
        let (mut hosts, mut of_class) = (vec![0; classes], vec![Vec::new(); classes]);
        for (capture, class) in state.iter().enumerate() {
            hosts.get_mut(*class).into_iter().for_each(|hosts| *hosts += upgrades.hosts(capture));
            of_class.get_mut(*class).into_iter().for_each(|captures: &mut Vec<usize>| captures.push(capture));
        }
        let captures: Vec<u64> = of_class.iter().map(|captures| captures.len() as u64).collect();
        Self { state, hosts: Weights::new(&hosts), captures: Weights::new(&captures), of_class }
    }

    fn look(&self, upgrades: &Upgrades, residents: &Residents<'_>, share: Range<usize>) -> Look {
        let classes = upgrades.takers.shape().1;
        let mut tally = Tally::new(upgrades.takers.words());
        let mut look = Look { stranded: 0, frees: vec![0; classes], leaning: Vec::new() };
        for (class, rows) in residents.runs(share) {
            let row = upgrades.takers.row(class);
            let (hosts, captures) = (self.hosts.sum(row), self.captures.sum(row));
            // Whoever leans on one capture is taken by it, and at most by the only host of another: its home.
            let near: Vec<usize> = if captures > 2 { Vec::new() } else { self.captures_of(row).collect() };
            let mut stranded = 0;
            for group in residents.groups(rows) {
                let at_home = group.home.filter(|home| self.state.get(*home).is_some_and(|class| has(row, *class)));
                let only = group.home.filter(|home| upgrades.hosts(*home) == 1);
                let targets = hosts - u64::from(at_home.is_some());
                if targets == 0 {
                    stranded += group.vms;
                    look.leaning.extend(only.map(|home| (home, class, group.vms, true)));
                    continue;
                }
                // A home that takes its VM and is the only host of its capture is no target at all.
                let skipped = at_home.filter(|_| only.is_some());
                if captures - u64::from(skipped.is_some()) == 1 {
                    let one = near.iter().copied().find(|capture| Some(*capture) != skipped);
                    look.leaning.extend(one.map(|capture| (capture, class, group.vms, false)));
                }
            }
            if stranded > 0 {
                look.stranded += stranded;
                tally.add(row, stranded);
            }
        }
        tally.drain_into(&mut look.frees);
        look
    }

    /// The captures whose hosts take what has this row.
    fn captures_of(&self, row: &[u64]) -> impl Iterator<Item = usize> {
        ones(row).filter_map(|class| self.of_class.get(class)).flatten().copied()
    }
}
