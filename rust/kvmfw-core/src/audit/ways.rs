//! Ways out: for VMs that no host takes, the smallest sets of units that stand between them and some host.

use std::ops::Range;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use rayon::prelude::*;

use super::bits::ones;
use super::{AuditError, Group, Residents, Takers, UnitRoom, UnitRows, Watch};
use crate::taken::Taken;

/// Of one VM class no more ways than this are kept, those with fewest units.
const MOST: usize = 256;

/// A set of units, a bit for each.
pub(super) type Set = Box<[u64]>;

/// VMs that have the same ways out.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) vms: u64,
    /// Numbers of the sets.
    pub(super) sets: Vec<u32>,
}

/// The ways out of all stranded VMs.
#[derive(Debug, Default)]
pub(super) struct Ways {
    /// Distinct sets, of which no way has a smaller one inside.
    pub(super) sets: Vec<Set>,
    pub(super) groups: Vec<Way>,
    /// By unit: VMs that its cure alone frees.
    pub(super) freed: Vec<u64>,
    /// By unit: VMs of which it is in a smallest set with others.
    pub(super) shared: Vec<u64>,
    /// VMs that have more ways than were kept.
    pub(super) cut: u64,
}

/// The ways of one VM class: distinct sets, each with its only host class or none where several have it.
type Own = Vec<(Set, Option<usize>)>;

impl Ways {
    /// The ways of these groups, which no host takes.
    pub(super) fn of(
        rows: &dyn UnitRows,
        takers: &Takers,
        stranded: Residents<'_>,
        taken: Taken,
        watch: &Watch,
    ) -> Result<Self, AuditError> {
        let shares = stranded.shares(CHUNK);
        watch.expect(shares.len());
        let find = |share: &Range<usize>| {
            watch.step()?;
            let mut ways = Found::new(rows.units());
            let mut room = UnitRoom::default();
            for (class, groups) in stranded.runs(share.clone()) {
                let own = ways_of(rows, class, taken, takers.hosts(), &mut room);
                ways.add(takers.hosts(), &own, stranded.groups(groups));
            }
            Ok(ways)
        };
        let found: Result<Vec<Found>, AuditError> = takers.pool.run(|| shares.par_iter().map(find).collect());
        let mut all = Self { freed: vec![0; rows.units()], shared: vec![0; rows.units()], ..Self::default() };
        let mut numbers: HashMap<Set, u32, FixedState> = HashMap::default();
        for part in found? {
            all.cut += part.cut;
            all.freed.iter_mut().zip(part.freed).for_each(|(all, part)| *all += part);
            all.shared.iter_mut().zip(part.shared).for_each(|(all, part)| *all += part);
            for (vms, sets) in part.groups {
                let number = |set: Set| {
                    let next = u32::try_from(all.sets.len()).unwrap_or(u32::MAX);
                    *numbers.entry(set).or_insert_with_key(|set| {
                        all.sets.push(set.clone());
                        next
                    })
                };
                let sets = sets.into_iter().map(number).collect();
                all.groups.push(Way { vms, sets });
            }
        }
        Ok(all)
    }
}

/// Groups that one thread takes at a time.
const CHUNK: usize = 64;

/// The ways that one thread found.
struct Found {
    groups: Vec<(u64, Vec<Set>)>,
    freed: Vec<u64>,
    shared: Vec<u64>,
    cut: u64,
}

impl Found {
    fn new(units: usize) -> Self {
        Self { groups: Vec::new(), freed: vec![0; units], shared: vec![0; units], cut: 0 }
    }

    /// Adds the groups of one VM class.
    fn add(&mut self, hosts: &[u64], own: &Own, groups: impl Iterator<Item = Group>) {
        let (mut others, mut alike) = (Vec::<(usize, u64)>::new(), 0);
        for group in groups {
            // The only host of a class is no target of its own VMs: they miss a way that leads to no other class.
            let lost = group.home.filter(|home| hosts.get(*home) == Some(&1));
            match lost.filter(|home| own.iter().any(|(_, only)| *only == Some(*home))) {
                Some(home) => others.push((home, group.vms)),
                None => alike += group.vms,
            }
        }
        if alike > 0 {
            self.add_ways(own.iter().map(|(set, _)| set).collect(), alike);
        }
        others.sort_unstable();
        for same in others.chunk_by(|one, other| one.0 == other.0) {
            let Some((home, _)) = same.first() else { continue };
            let kept = own.iter().filter(|(_, only)| *only != Some(*home)).map(|(set, _)| set).collect();
            self.add_ways(kept, same.iter().map(|(_, vms)| vms).sum());
        }
    }

    fn add_ways(&mut self, mut sets: Vec<&Set>, vms: u64) {
        sets.sort_unstable_by(|one, other| order(one, other));
        let least = sets.first().map_or(0, |set| size(set));
        let mut union = vec![0; sets.first().map_or(0, |set| set.len())];
        for set in sets.iter().take_while(|set| size(set) == least) {
            union.iter_mut().zip(set.iter()).for_each(|(union, word)| *union |= word);
        }
        let counts = if least == 1 { &mut self.freed } else { &mut self.shared };
        for unit in ones(&union) {
            counts.get_mut(unit).into_iter().for_each(|count| *count += vms);
        }
        let mut kept: Vec<&Set> = Vec::new();
        for set in sets {
            if kept.iter().any(|part| is_part(part, set)) {
                continue;
            }
            if kept.len() == MOST {
                self.cut += vms;
                break;
            }
            kept.push(set);
        }
        self.groups.push((vms, kept.into_iter().cloned().collect()));
    }
}

/// What stands between a VM class and each host class, each set once.
fn ways_of(rows: &dyn UnitRows, class: u32, taken: Taken, hosts: &[u64], room: &mut UnitRoom) -> Own {
    let words = rows.units().div_ceil(64);
    let mut sets = vec![0; hosts.len() * words];
    rows.each(class, room, &mut |unit, room| {
        for (outcome, said) in (1..).zip(&room.said) {
            if taken.takes(outcome) {
                continue;
            }
            for host in ones(said) {
                if let Some(word) = sets.get_mut(host * words + unit / 64) {
                    *word |= 1_u64 << (unit % 64);
                }
            }
        }
    });
    let mut found: Vec<(&[u64], usize)> = sets.chunks(words.max(1)).zip(0..).collect();
    let leads = |(set, host): &(&[u64], usize)| {
        hosts.get(*host).is_some_and(|hosts| *hosts > 0)
            && set.iter().any(|word| *word != 0)
            && !super::bits::has(set, rows.vcpu())
    };
    found.retain(leads);
    found.sort_unstable();
    let same = found.chunk_by(|one, other| one.0 == other.0);
    let own = same.filter_map(|same| same.first().map(|(set, host)| (*set, (same.len() == 1).then_some(*host))));
    own.map(|(set, only)| (Set::from(set), only)).collect()
}

/// How many units a set has.
pub(super) fn size(set: &[u64]) -> u32 {
    set.iter().map(|word| word.count_ones()).sum()
}

/// Whether all units of `part` are in `set`.
pub(super) fn is_part(part: &[u64], set: &[u64]) -> bool {
    part.iter().zip(set).all(|(part, word)| part & !word == 0)
}

/// Sets with fewer units first; of as many, the one whose first unit that the other lacks is lower.
pub(super) fn order(one: &[u64], other: &[u64]) -> std::cmp::Ordering {
    size(one).cmp(&size(other)).then_with(|| {
        let differ = one.iter().zip(other).find(|(one, other)| one != other);
        differ.map_or(std::cmp::Ordering::Equal, |(one, other)| {
            if (one ^ other) & (one ^ other).wrapping_neg() & one != 0 {
                std::cmp::Ordering::Less
            } else {
                std::cmp::Ordering::Greater
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_in_the_order_of_their_units() {
        let lists: [&[usize]; 5] = [&[3], &[70], &[1, 2], &[1, 70], &[2, 65]];
        let set = |units: &[usize]| {
            let mut set = [0; 2];
            for unit in units {
                super::super::set(&mut set, *unit);
            }
            set
        };
        assert!(lists.is_sorted_by(|one, other| order(&set(one), &set(other)).is_lt()));
        assert!(is_part(&set(&[70]), &set(&[1, 70])) && !is_part(&set(&[1, 2]), &set(&[1, 70])));
    }
}
