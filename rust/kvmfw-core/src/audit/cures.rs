//! Cures: which units, dealt with together, free stranded VMs.

use std::cmp::Ordering;

use rayon::prelude::*;

use super::bits::{Bits, Tally, ones, set};
use super::takers::add;
use super::ways::{Set, Ways, is_part, order, size};
use super::{AuditError, Residents, Takers, UnitRows, Watch};
use crate::taken::Taken;

/// Ways, and sets, that one thread takes at a time.
const CHUNK: usize = 1 << 10;

/// Units that together stand between stranded VMs and a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cure {
    /// Numbers of the units, ascending.
    pub units: Vec<usize>,
    /// Stranded VMs that some other host takes once all of them are cured.
    pub freed: u64,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Units that it adds, ascending.
    pub units: Vec<usize>,
    /// Stranded VMs that are free after it.
    pub freed: u64,
}

/// What frees stranded VMs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cures {
    /// By unit: VMs that its cure alone frees.
    pub freed: Vec<u64>,
    /// By unit: VMs of which it is in a smallest cure with others.
    pub shared: Vec<u64>,
    /// Sets of units of which no smaller part frees as many VMs, most VMs first.
    pub cures: Vec<Cure>,
    /// Cures one after another: each time the one that frees most VMs for each unit that it adds.
    pub plan: Vec<Step>,
    /// Sets that would free VMs and were not looked at as cures, since fewer VMs need them.
    pub left_out: u64,
    /// VMs that have more ways to be freed than were looked at.
    pub cut: u64,
}

impl Cures {
    /// The cures of these groups, which no host takes. At most `limit` sets are looked at, those that most VMs need, for a
    /// plan of at most `steps`.
    ///
    /// # Errors
    ///
    /// When groups do not fit the classes, memory is short, or the audit was stopped.
    pub fn of(
        rows: &dyn UnitRows,
        takers: &Takers,
        stranded: Residents<'_>,
        taken: Taken,
        (limit, steps): (usize, usize),
        watch: &Watch,
    ) -> Result<Self, AuditError> {
        let (vm_classes, host_classes) = takers.shape();
        stranded.check(vm_classes, host_classes)?;
        let ways = Ways::of(rows, takers, stranded, taken, watch)?;
        let mut needed = vec![0; ways.sets.len()];
        for way in &ways.groups {
            for number in &way.sets {
                needed.get_mut(*number as usize).into_iter().for_each(|needed: &mut u64| *needed += way.vms);
            }
        }
        let mut candidates: Vec<(u64, &Set)> = needed.into_iter().zip(&ways.sets).collect();
        candidates.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| order(one.1, other.1)));
        let left_out = candidates.len().saturating_sub(limit) as u64;
        let mut candidates: Vec<Set> = candidates.into_iter().take(limit).map(|(_, set)| set.clone()).collect();
        candidates.sort_by(|one, other| order(one, other));
        let frees = Frees { ways: &ways, takers, watch };
        let cures = smallest(&candidates, &frees.count(&candidates, &vec![false; ways.groups.len()])?);
        let plan = frees.plan(&candidates, steps)?;
        Ok(Self { cures, plan, left_out, cut: ways.cut, freed: ways.freed, shared: ways.shared })
    }
}

/// Leaves out the sets of which a part frees as many.
fn smallest(candidates: &[Set], counts: &[u64]) -> Vec<Cure> {
    let mut kept: Vec<(&Set, u64)> = Vec::new();
    for (set, vms) in candidates.iter().zip(counts) {
        if !kept.iter().any(|(part, freed)| freed >= vms && is_part(part, set)) {
            kept.push((set, *vms));
        }
    }
    kept.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| order(one.0, other.0)));
    kept.into_iter().map(|(set, freed)| Cure { units: ones(set).collect(), freed }).collect()
}

/// Who counts which VMs sets of units free.
struct Frees<'a> {
    ways: &'a Ways,
    takers: &'a Takers,
    watch: &'a Watch,
}

impl Frees<'_> {
    /// How many VMs each set frees: those with a way inside of it. Groups that are free already do not count.
    fn count(&self, cures: &[Set], free: &[bool]) -> Result<Vec<u64>, AuditError> {
        let mut wanted = vec![false; self.ways.sets.len()];
        let groups = || self.ways.groups.iter().zip(free).filter(|(_, free)| !**free).map(|(way, _)| way);
        for number in groups().flat_map(|way| &way.sets) {
            wanted.get_mut(*number as usize).into_iter().for_each(|wanted| *wanted = true);
        }
        let mut inside = Bits::new(self.ways.sets.len(), cures.len())?;
        let words = inside.words().max(1);
        self.watch.expect(wanted.len().div_ceil(CHUNK));
        let find = |((rows, sets), wanted): ((&mut [u64], &[Set]), &[bool])| {
            for ((row, part), _) in rows.chunks_mut(words).zip(sets).zip(wanted).filter(|(_, wanted)| **wanted) {
                let whole = cures.iter().enumerate().filter(|(_, cure)| is_part(part, cure));
                whole.for_each(|(at, _)| set(row, at));
            }
            self.watch.step()
        };
        let chunks = inside.cells_mut().par_chunks_mut(CHUNK * words);
        let chunks = chunks.zip(self.ways.sets.par_chunks(CHUNK)).zip(wanted.par_chunks(CHUNK));
        self.takers.pool.run(|| chunks.map(find).collect::<Result<(), _>>())?;
        let groups: Vec<_> = groups().collect();
        let count = |groups: &[&super::ways::Way]| {
            let (mut tally, mut counts, mut row) = (Tally::new(words), vec![0; cures.len()], vec![0; words]);
            for way in groups {
                row.fill(0);
                for number in &way.sets {
                    let inside = inside.row(*number as usize);
                    row.iter_mut().zip(inside).for_each(|(word, inside)| *word |= inside);
                }
                tally.add(&row, way.vms);
            }
            tally.drain_into(&mut counts);
            counts
        };
        let zero = || vec![0; cures.len()];
        Ok(self.takers.pool.run(|| groups.par_chunks(CHUNK).map(count).reduce(zero, add)))
    }

    /// Chooses cures one after another.
    fn plan(&self, candidates: &[Set], steps: usize) -> Result<Vec<Step>, AuditError> {
        let Some(units) = candidates.first().map(|set| set.len()) else { return Ok(Vec::new()) };
        let (mut chosen, mut plan) = (vec![0_u64; units], Vec::new());
        let mut free = vec![false; self.ways.groups.len()];
        let mut freed = 0;
        for _ in 0..steps {
            let with = |set: &Set| -> Set { set.iter().zip(&chosen).map(|(set, chosen)| set | chosen).collect() };
            let unions: Vec<Set> = candidates.iter().map(with).collect();
            let counts = self.count(&unions, &free)?;
            let added: Vec<Set> = candidates
                .iter()
                .map(|set| set.iter().zip(&chosen).map(|(set, chosen)| set & !chosen).collect())
                .collect();
            let useful = added.iter().zip(counts).filter(|(added, vms)| size(added) > 0 && *vms > 0);
            let Some((best, vms)) = useful.min_by(|one, other| rank(*one, *other)) else { break };
            freed += vms;
            chosen.iter_mut().zip(best.iter()).for_each(|(chosen, best)| *chosen |= best);
            for (way, free) in self.ways.groups.iter().zip(&mut free) {
                let is_inside =
                    |number: &u32| self.ways.sets.get(*number as usize).is_some_and(|set| is_part(set, &chosen));
                *free = *free || way.sets.iter().any(is_inside);
            }
            plan.push(Step { units: ones(best).collect(), freed });
        }
        Ok(plan)
    }
}

/// Most VMs for each unit first, then fewest units, then in the order of units.
fn rank((one, vms): (&Set, u64), (other, others): (&Set, u64)) -> Ordering {
    let share = |vms: u64, set: &Set| u128::from(vms) * u128::from(size(set));
    share(others, one).cmp(&share(vms, other)).then_with(|| order(one, other))
}
