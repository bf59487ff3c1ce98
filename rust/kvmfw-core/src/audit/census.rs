//! What units say about a fleet, counted: by unit and host class, and which of them stand in the way alone.

use std::ops::Range;

use rayon::prelude::*;

use super::bits::{Tally, has, ones};
use super::{AuditError, Group, Residents, Takers, UnitRoom, UnitRows, Watch};
use crate::taken::Taken;

const UNKNOWN: usize = 1;
const REFUSE: usize = 2;

/// What a unit says of one host class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// The unit's number.
    pub unit: u32,
    /// The host class.
    pub host_class: u32,
    /// What the unit says.
    pub outcome: u8,
    /// The first VM class that it says it of.
    pub first: u32,
    /// VMs that it says it of.
    pub vms: u64,
    /// Pairs of such a VM and a host that is not its own.
    pub pairs: u64,
    /// Of these, pairs that have the outcome themselves; counted for UNKNOWN only.
    pub decisive: u64,
}

/// What units say, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// What does not count as taken, and what is UNKNOWN: by unit, host class and outcome.
    pub said: Vec<Said>,
    /// By unit: pairs of a VM and another host on which it stands in the way.
    pub pairs: Vec<u64>,
    /// By unit: of these, pairs on which nothing else does.
    pub sole: Vec<u64>,
}

impl Census {
    /// Counts what units say of these groups.
    ///
    /// # Errors
    ///
    /// When groups do not fit the classes, or the audit was stopped.
    pub fn of(
        rows: &dyn UnitRows,
        takers: &Takers,
        residents: Residents<'_>,
        taken: Taken,
        watch: &Watch,
    ) -> Result<Self, AuditError> {
        let (vm_classes, host_classes) = takers.shape();
        residents.check(vm_classes, host_classes)?;
        let shares = residents.shares(residents.vm_class.len().div_ceil(takers.pool.threads()));
        watch.expect(residents.runs(0..residents.vm_class.len()).count());
        let count = |share: &Range<usize>| {
            let mut counts = Counts::new(rows.units(), host_classes, taken);
            let mut room = UnitRoom::default();
            for (class, groups) in residents.runs(share.clone()) {
                watch.step()?;
                counts.told.clear();
                rows.each(class, &mut room, &mut |unit, room| counts.told.push(unit, room));
                counts.add(class, || residents.groups(groups.clone()));
            }
            Ok(counts.finished())
        };
        let parts: Result<Vec<Vec<Option<Unit>>>, AuditError> =
            takers.pool.run(|| shares.par_iter().map(count).collect());
        let mut all: Vec<Option<Unit>> = Vec::new();
        all.resize_with(rows.units(), || None);
        for (unit, part) in parts?.into_iter().flat_map(|part| part.into_iter().enumerate()) {
            match (all.get_mut(unit), part) {
                (Some(Some(unit)), Some(part)) => unit.join(part),
                (Some(slot), part @ Some(_)) => *slot = part,
                _ => {}
            }
        }
        let mut census = Self::default();
        for (number, unit) in (0..).zip(all) {
            let (pairs, sole) = unit.map_or((0, 0), |unit| unit.tell(number, takers.hosts(), taken, &mut census.said));
            census.pairs.push(pairs);
            census.sole.push(sole);
        }
        Ok(census)
    }
}

/// The rows of the units that speak about one VM class.
#[derive(Default)]
struct Told {
    units: Vec<usize>,
    rows: Vec<u64>,
}

impl Told {
    fn clear(&mut self) {
        self.units.clear();
        self.rows.clear();
    }

    fn push(&mut self, unit: usize, room: &UnitRoom) {
        self.units.push(unit);
        room.said.iter().for_each(|row| self.rows.extend_from_slice(row));
    }
}

/// Counts while VM classes pass by.
struct Counts {
    words: usize,
    classes: usize,
    taken: Taken,
    told: Told,
    units: Vec<Option<Box<Counting>>>,
}

/// The counts of one unit: CHANGE, UNKNOWN, REFUSE.
struct Counting {
    said: [Tally; 3],
    seen: [Vec<u64>; 3],
    decisive: Tally,
    sole: Tally,
    unit: Unit,
}

/// The same, finished.
struct Unit {
    first: [Vec<u32>; 3],
    vms: [Vec<u64>; 3],
    at_home: [Vec<u64>; 3],
    decisive: Vec<u64>,
    decisive_at_home: Vec<u64>,
    sole: Vec<u64>,
    sole_at_home: u64,
}

impl Counts {
    fn new(units: usize, classes: usize, taken: Taken) -> Self {
        let mut none = Vec::new();
        none.resize_with(units, || None);
        Self { words: classes.div_ceil(64), classes, taken, told: Told::default(), units: none }
    }

    /// Counts a VM class of which `told` has the rows.
    fn add<G: Iterator<Item = Group>>(&mut self, class: u32, groups: impl Fn() -> G) {
        let vms = groups().map(|group| group.vms).sum();
        let words = self.words;
        let blocks: [bool; 3] = [1, 2, 3].map(|outcome| !self.taken.takes(outcome));
        let (mut once, mut twice, mut refused) = (vec![0; words], vec![0; words], vec![0; words]);
        let mut any = vec![0; words];
        for rows in self.told.rows.chunks(3 * words) {
            for at in 0..words {
                let row = |outcome: usize| rows.get(outcome * words + at).copied().unwrap_or(0);
                let blocking = (0..3).filter(|outcome| blocks[*outcome]).fold(0, |sum, outcome| sum | row(outcome));
                twice[at] |= once[at] & blocking;
                once[at] |= blocking;
                refused[at] |= row(REFUSE);
                any[at] |= row(0) | row(UNKNOWN) | row(REFUSE);
            }
        }
        once.iter_mut().zip(&twice).for_each(|(once, twice)| *once &= !twice);
        let homes: Vec<(usize, u64)> =
            groups().filter_map(|group| Some((group.home.filter(|home| has(&any, *home))?, group.vms))).collect();
        let mut row = vec![0; words];
        for (unit, rows) in self.told.units.iter().zip(self.told.rows.chunks(3 * words)) {
            let Some(slot) = self.units.get_mut(*unit) else { continue };
            let counting = slot.get_or_insert_with(|| Box::new(Counting::new(words, self.classes)));
            let mut blocking = vec![0; words];
            for (outcome, said) in rows.chunks(words).enumerate() {
                if said.iter().all(|word| *word == 0) {
                    continue;
                }
                counting.count(outcome, class, said, vms, &homes);
                if blocks.get(outcome) == Some(&true) {
                    blocking.iter_mut().zip(said).for_each(|(blocking, said)| *blocking |= said);
                }
                if outcome == UNKNOWN {
                    row.iter_mut().zip(said).zip(&refused).for_each(|((row, said), refused)| *row = said & !refused);
                    counting.decisive.add(&row, vms);
                    for (home, vms) in homes.iter().filter(|(home, _)| has(&row, *home)) {
                        add_at(&mut counting.unit.decisive_at_home, *home, *vms);
                    }
                }
            }
            row.iter_mut().zip(&blocking).zip(&once).for_each(|((row, blocking), once)| *row = blocking & once);
            if row.iter().any(|word| *word != 0) {
                counting.sole.add(&row, vms);
                counting.unit.sole_at_home +=
                    homes.iter().filter(|(home, _)| has(&row, *home)).map(|(_, vms)| vms).sum::<u64>();
            }
        }
    }

    fn finished(self) -> Vec<Option<Unit>> {
        self.units.into_iter().map(|unit| unit.map(Counting::finished)).collect()
    }
}

fn add_at(counts: &mut [u64], at: usize, more: u64) {
    counts.get_mut(at).into_iter().for_each(|count| *count += more);
}

impl Counting {
    fn new(words: usize, classes: usize) -> Self {
        let zeros = || vec![0; classes];
        let unit = Unit {
            first: [(); 3].map(|()| vec![u32::MAX; classes]),
            vms: [zeros(), zeros(), zeros()],
            at_home: [zeros(), zeros(), zeros()],
            decisive: zeros(),
            decisive_at_home: zeros(),
            sole: zeros(),
            sole_at_home: 0,
        };
        let tally = || Tally::new(words);
        let seen = [(); 3].map(|()| vec![0; words]);
        Self { said: [tally(), tally(), tally()], seen, decisive: tally(), sole: tally(), unit }
    }

    /// Counts one outcome of one VM class.
    fn count(&mut self, outcome: usize, class: u32, said: &[u64], vms: u64, homes: &[(usize, u64)]) {
        let (Some(tally), Some(seen), Some(first), Some(at_home)) = (
            self.said.get_mut(outcome),
            self.seen.get_mut(outcome),
            self.unit.first.get_mut(outcome),
            self.unit.at_home.get_mut(outcome),
        ) else {
            return;
        };
        tally.add(said, vms);
        for (at, (seen, said)) in seen.iter_mut().zip(said).enumerate() {
            if said & !*seen != 0 {
                for host in ones(&[said & !*seen]) {
                    first.get_mut(at * 64 + host).into_iter().for_each(|first| *first = class);
                }
                *seen |= said;
            }
        }
        for (home, vms) in homes.iter().filter(|(home, _)| has(said, *home)) {
            add_at(at_home, *home, *vms);
        }
    }

    fn finished(mut self: Box<Self>) -> Unit {
        self.said.iter_mut().zip(&mut self.unit.vms).for_each(|(tally, vms)| tally.drain_into(vms));
        self.decisive.drain_into(&mut self.unit.decisive);
        self.sole.drain_into(&mut self.unit.sole);
        self.unit
    }
}

impl Unit {
    fn join(&mut self, other: Self) {
        for (own, other) in self.first.iter_mut().flatten().zip(other.first.into_iter().flatten()) {
            *own = (*own).min(other);
        }
        let add = |own: &mut [u64], other: &[u64]| own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
        self.vms.iter_mut().zip(&other.vms).for_each(|(own, other)| add(own, other));
        self.at_home.iter_mut().zip(&other.at_home).for_each(|(own, other)| add(own, other));
        add(&mut self.decisive, &other.decisive);
        add(&mut self.decisive_at_home, &other.decisive_at_home);
        add(&mut self.sole, &other.sole);
        self.sole_at_home += other.sole_at_home;
    }

    /// Lists what the unit says; gives the pairs on which it stands in the way, and those on which nothing else does.
    fn tell(self, unit: u32, hosts: &[u64], taken: Taken, said: &mut Vec<Said>) -> (u64, u64) {
        let (mut blocked, mut sole) = (0, 0);
        for (at, hosts) in hosts.iter().enumerate().filter(|(_, hosts)| **hosts > 0) {
            let number = |numbers: &[u64]| numbers.get(at).copied().unwrap_or(0);
            sole += number(&self.sole) * hosts;
            for (outcome, ((vms, first), home)) in (1_u8..).zip(self.vms.iter().zip(&self.first).zip(&self.at_home)) {
                let (vms, is_unknown) = (number(vms), usize::from(outcome) == UNKNOWN + 1);
                let pairs = vms * hosts - number(home);
                blocked += if taken.takes(outcome) { 0 } else { pairs };
                if vms == 0 || (taken.takes(outcome) && !is_unknown) {
                    continue;
                }
                let decisive = number(&self.decisive) * hosts - number(&self.decisive_at_home);
                said.push(Said {
                    unit,
                    host_class: u32::try_from(at).unwrap_or(u32::MAX),
                    outcome,
                    first: first.get(at).copied().unwrap_or(u32::MAX),
                    vms,
                    pairs,
                    decisive: if is_unknown { decisive } else { 0 },
                });
            }
        }
        (blocked, sole - self.sole_at_home)
    }
}
