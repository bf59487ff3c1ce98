//! Moves between two host classes that cannot be undone.

use std::cmp::Reverse;

use rayon::prelude::*;

use super::bits::{Bits, Tally, has, set};
use super::circles::Graph;
use super::takers::Takers;
use super::{AuditError, Residents, Watch};

/// A move that cannot be undone: VMs that live at its end cannot come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// The host class where it starts.
    pub source: u32,
    /// The host class where it ends.
    pub target: u32,
    /// VMs of the source that the target takes.
    pub vms: u64,
    /// VMs that live on the target; the source takes none of them.
    pub residents: u64,
}

impl Passage {
    fn rank(&self) -> (Reverse<u64>, Reverse<u64>, u32, u32) {
        (Reverse(self.vms), Reverse(self.residents), self.source, self.target)
    }
}

/// The moves that cannot be undone, most VMs first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passages {
    /// Those with most VMs.
    pub found: Vec<Passage>,
    /// How many there are in all.
    pub count: u64,
}

impl Passages {
    fn join(mut self, other: Self, most: usize) -> Self {
        self.found.extend(other.found);
        self.count += other.count;
        self.keep(most);
        self
    }

    /// Keeps those with most VMs.
    fn keep(&mut self, most: usize) {
        if self.found.len() > most {
            self.found.select_nth_unstable_by_key(most, Passage::rank);
            self.found.truncate(most);
        }
    }
}

impl Takers {
    /// The moves between two host classes that cannot be undone; of many, the `most` with most VMs.
    ///
    /// # Errors
    ///
    /// When groups do not fit the classes, memory is short, or the audit was stopped.
    pub fn passages(&self, residents: Residents<'_>, most: usize, watch: &Watch) -> Result<Passages, AuditError> {
        let graph = self.graph(residents, watch)?;
        let classes = self.shape().1;
        let living = residents.living(classes);
        let back = transposed(&graph, classes)?;
        let mut inhabited = vec![0; self.words()];
        living.iter().enumerate().filter(|(_, vms)| **vms > 0).for_each(|(class, _)| set(&mut inhabited, class));
        let starts = by_home(residents, classes);
        watch.expect(classes);
        let from = |(source, groups): (usize, &[(u32, u64)])| {
            watch.step()?;
            let mut one_way = graph.row(source).to_vec();
            for ((word, back), inhabited) in one_way.iter_mut().zip(back.row(source)).zip(&inhabited) {
                *word &= !back & inhabited;
            }
            let mut passages = Passages::default();
            if one_way.iter().all(|word| *word == 0) {
                return Ok(passages);
            }
            let (mut tally, mut vms) = (Tally::new(self.words()), vec![0; classes]);
            for (class, vms) in groups {
                tally.add(self.row(*class), *vms);
            }
            tally.drain_into(&mut vms);
            for (target, (vms, residents)) in vms.iter().zip(&living).enumerate() {
                if has(&one_way, target) {
                    let number = |class| u32::try_from(class).unwrap_or(u32::MAX);
                    let (source, target) = (number(source), number(target));
                    passages.found.push(Passage { source, target, vms: *vms, residents: *residents });
                }
            }
            passages.count = passages.found.len() as u64;
            passages.keep(most);
            Ok(passages)
        };
        let join = |all: Passages, other: Passages| Ok(all.join(other, most));
        let sources = starts.par_iter().enumerate().map(|(source, groups)| from((source, groups)));
        let mut passages = self.pool.run(|| sources.try_reduce(Passages::default, join))?;
        passages.found.sort_by_key(Passage::rank);
        Ok(passages)
    }
}

/// The VM class and the VMs of each group, by home.
fn by_home(residents: Residents<'_>, classes: usize) -> Vec<Vec<(u32, u64)>> {
    let mut homes = vec![Vec::new(); classes];
    let groups = residents.groups(0..residents.vm_class.len());
    for (class, group) in residents.vm_class.iter().zip(groups) {
        if let Some(home) = group.home.and_then(|home| homes.get_mut(home)) {
            home.push((*class, group.vms));
        }
    }
    homes
}

fn transposed(graph: &Graph, classes: usize) -> Result<Bits, AuditError> {
    let mut back = Bits::new(classes, classes)?;
    for from in 0..classes {
        for to in super::bits::ones(graph.row(from)) {
            set(back.row_mut(to), from);
        }
    }
    Ok(back)
}
