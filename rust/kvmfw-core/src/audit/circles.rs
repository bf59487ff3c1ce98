//! One-way traps: circles of host classes that VMs can enter and never leave.
//!
//! The graph of host classes has an edge from one class to another where the other takes a VM that lives on the first.
//! Classes between which VMs can go round are one circle (a strongly connected component).

use std::cmp::Reverse;
use std::ops::Range;

use rayon::prelude::*;

use super::bits::{Bits, has, ones, set};
use super::takers::{Takers, add};
use super::{AuditError, Residents, Watch};

/// Groups that one thread takes at a time.
const CHUNK: usize = 1 << 15;

/// A circle with residents that others can enter and no resident can leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trap {
    /// Its host classes, ascending.
    pub host_classes: Vec<u32>,
    /// How many hosts these have.
    pub hosts: u64,
    /// VMs that live elsewhere, or nobody knows where, and that one of its hosts takes.
    pub entrants: u64,
    /// VMs that live there.
    pub residents: u64,
}

/// The circles of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circles {
    /// The circle of each host class, numbered by their first class.
    pub circle_of: Vec<u32>,
    /// Those that are traps, most residents and entrants first.
    pub traps: Vec<Trap>,
    /// For each circle a row of bits: to which others its VMs can move.
    pub moves: Vec<u64>,
}

impl Takers {
    /// The circles of host classes, and which of them are traps.
    ///
    /// # Errors
    ///
    /// When groups do not fit the classes, memory is short, or the audit was stopped.
    pub fn circles(&self, residents: Residents<'_>, watch: &Watch) -> Result<Circles, AuditError> {
        let graph = self.graph(residents, watch)?;
        let circle_of = graph.circles();
        let circle = |class: usize| circle_of.get(class).copied().unwrap_or(0);
        let count = circle_of.iter().max().map_or(0, |last| *last as usize + 1);
        let living = residents.living(circle_of.len());
        let mut traps = vec![Some(Trap { host_classes: Vec::new(), hosts: 0, entrants: 0, residents: 0 }); count];
        let mut moves = Bits::new(count, count)?;
        for (class, number) in circle_of.iter().enumerate() {
            let Some(slot) = traps.get_mut(*number as usize) else { continue };
            let row = moves.row_mut(*number as usize);
            for other in ones(graph.row(class)).map(circle).filter(|other| other != number) {
                set(row, other as usize);
                *slot = None;
            }
            if let Some(trap) = slot {
                let hosts = self.hosts().get(class).copied().unwrap_or(0);
                trap.hosts += hosts;
                trap.residents += living.get(class).copied().unwrap_or(0);
                trap.host_classes.extend(u32::try_from(class).ok().filter(|_| hosts > 0));
            }
        }
        if traps.iter().any(Option::is_some) {
            let entrants = self.entrants(residents, &circle_of, count, watch)?;
            for (trap, entrants) in traps.iter_mut().zip(entrants) {
                if let Some(trap) = trap {
                    trap.entrants += entrants;
                }
            }
        }
        let is_trap = |trap: &Trap| trap.hosts > 0 && trap.residents > 0 && trap.entrants > 0;
        let mut traps: Vec<Trap> = traps.into_iter().flatten().filter(is_trap).collect();
        traps.sort_by(|one, other| {
            let rank = |trap: &Trap| (Reverse(trap.residents), Reverse(trap.entrants));
            rank(one).cmp(&rank(other)).then_with(|| one.host_classes.cmp(&other.host_classes))
        });
        Ok(Circles { circle_of, traps, moves: moves.into_cells() })
    }

    /// Which host classes take a VM that lives on each host class.
    pub(super) fn graph(&self, residents: Residents<'_>, watch: &Watch) -> Result<Graph, AuditError> {
        let (vm_classes, classes) = self.shape();
        residents.check(vm_classes, classes)?;
        let shares = residents.shares(residents.vm_class.len().div_ceil(self.pool.threads()).max(CHUNK));
        watch.expect(shares.len());
        let links = |share: &Range<usize>| {
            let mut graph = Graph::new(classes)?;
            for (class, rows) in residents.runs(share.clone()) {
                let row = self.row(class);
                for home in residents.groups(rows).filter_map(|group| group.home) {
                    graph.add(home, row);
                }
            }
            watch.step()?;
            Ok(graph)
        };
        let graphs: Result<Vec<Graph>, AuditError> = self.pool.run(|| shares.par_iter().map(links).collect());
        graphs?.into_iter().try_fold(Graph::new(classes)?, |all, graph| Ok(all.join(graph)))
    }

    /// For each circle, how many VMs that do not live in it one of its hosts takes.
    fn entrants(
        &self,
        residents: Residents<'_>,
        circle_of: &[u32],
        count: usize,
        watch: &Watch,
    ) -> Result<Vec<u64>, AuditError> {
        let shares = residents.shares(CHUNK);
        watch.expect(shares.len());
        let circle = |class: usize| circle_of.get(class).map_or(0, |circle| *circle as usize);
        let enter = |share: &Range<usize>| {
            let (mut entrants, mut row) = (vec![0; count], vec![0; count.div_ceil(64)]);
            for (class, rows) in residents.runs(share.clone()) {
                row.fill(0);
                ones(self.row(class)).for_each(|host| set(&mut row, circle(host)));
                let mut all = 0;
                for group in residents.groups(rows) {
                    all += group.vms;
                    if let Some(home) = group.home.map(circle).filter(|home| has(&row, *home)) {
                        // Who lives there does not enter; taken back below, where all VMs of the class are added.
                        entrants
                            .get_mut(home)
                            .into_iter()
                            .for_each(|count: &mut u64| *count = count.wrapping_sub(group.vms));
                    }
                }
                for circle in ones(&row) {
                    entrants.get_mut(circle).into_iter().for_each(|count| *count = count.wrapping_add(all));
                }
            }
            watch.step()?;
            Ok(entrants)
        };
        let join = |all: Vec<u64>, other: Vec<u64>| Ok(add(all, other));
        self.pool.run(|| shares.par_iter().map(enter).try_reduce(|| vec![0; count], join))
    }
}

/// Edges between classes, a row of bits for each.
#[derive(Debug)]
pub(super) struct Graph {
    classes: usize,
    bits: Bits,
}

impl Graph {
    fn new(classes: usize) -> Result<Self, AuditError> {
        Ok(Self { classes, bits: Bits::new(classes, classes)? })
    }

    fn add(&mut self, from: usize, to: &[u64]) {
        self.bits.row_mut(from).iter_mut().zip(to).for_each(|(own, to)| *own |= to);
    }

    /// The edges of both.
    fn join(mut self, mut other: Self) -> Self {
        self.bits.cells_mut().iter_mut().zip(other.bits.cells_mut()).for_each(|(own, other)| *own |= *other);
        self
    }

    /// The edges of a class, as bits.
    pub(super) fn row(&self, from: usize) -> &[u64] {
        self.bits.row(from)
    }

    /// The first edge of a class to another one from `start` on.
    fn next(&self, from: usize, start: usize) -> Option<usize> {
        let mut kept = u64::MAX << (start % 64);
        for (at, word) in self.row(from).iter().enumerate().skip(start / 64) {
            if word & kept != 0 {
                return Some(at * 64 + (word & kept).trailing_zeros() as usize);
            }
            kept = u64::MAX;
        }
        None
    }
    /// The strongly connected component of each class (Tarjan, without recursion), numbered by their first class.
    fn circles(&self) -> Vec<u32> {
        const NONE: usize = usize::MAX;
        let mut index = vec![NONE; self.classes];
        let mut low = vec![NONE; self.classes];
        let mut root_of = vec![NONE; self.classes];
        let (mut open, mut next) = (Vec::new(), 0);
        for first in 0..self.classes {
            let mut way: Vec<(usize, usize)> = Vec::new();
            if index[first] == NONE {
                way.push((first, 0));
            }
            while let Some((class, start)) = way.pop() {
                if start == 0 && index[class] == NONE {
                    (index[class], low[class]) = (next, next);
                    next += 1;
                    open.push(class);
                }
                if let Some(other) = self.next(class, start) {
                    way.push((class, other + 1));
                    if index[other] == NONE {
                        way.push((other, 0));
                    } else if root_of[other] == NONE {
                        low[class] = low[class].min(index[other]);
                    }
                    continue;
                }
                if low[class] == index[class] {
                    while let Some(member) = open.pop() {
                        root_of[member] = class;
                        if member == class {
                            break;
                        }
                    }
                }
                if let Some((before, _)) = way.last() {
                    low[*before] = low[*before].min(low[class]);
                }
            }
        }
        let mut number = vec![u32::MAX; self.classes];
        let mut count = 0;
        root_of
            .into_iter()
            .map(|root| {
                if number[root] == u32::MAX {
                    number[root] = count;
                    count += 1;
                }
                number[root]
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_between_which_one_can_go_round_are_one_circle() {
        let mut graph = Graph::new(70).unwrap_or_else(|error| panic!("{error}"));
        let edges = [(0, 1), (1, 69), (69, 0), (69, 2), (2, 3), (3, 2), (4, 4)];
        for (from, to) in edges {
            let mut row = [0; 2];
            set(&mut row, to);
            graph.add(from, &row);
        }
        let circles = graph.circles();
        assert_eq!([circles[0], circles[1], circles[69]], [0; 3]);
        assert_eq!([circles[2], circles[3], circles[4], circles[5]], [1, 1, 2, 3]);
        assert_eq!(ones(graph.row(69)).collect::<Vec<_>>(), [0, 2]);
    }
}
