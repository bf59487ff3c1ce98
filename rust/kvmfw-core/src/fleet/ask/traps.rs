//! One-way traps: circles of host classes that VMs can enter and never leave.
//!
//! The graph of host classes has an edge from one class to another where the other takes a VM that lives on the first.
//! Classes between which VMs can go round are one circle (a strongly connected component).

use std::cmp::Reverse;

use rayon::prelude::*;

use crate::error::RowError;
use crate::fleet::{Fleet, Taken};

/// Whom an audit looks at: VMs by their class and the class of their home, and hosts by class.
#[derive(Clone, Copy, Debug)]
pub struct Residents<'a> {
    /// The VM class of each group.
    pub vm_class: &'a [u32],
    /// The host class that the VMs of the group live on; negative where it is not known.
    pub home_class: &'a [i64],
    /// How many VMs the group has.
    pub vms: &'a [u64],
    /// How many hosts each host class has.
    pub hosts: &'a [u64],
}

impl<'a> Residents<'a> {
    /// Shares of the groups, about as large as each other.
    fn shares(self, count: usize) -> Vec<Self> {
        let size = self.vm_class.len().div_ceil(count.max(1)).max(1);
        let columns = self.vm_class.chunks(size).zip(self.home_class.chunks(size)).zip(self.vms.chunks(size));
        let share = |((vm_class, home_class), vms): ((&'a [u32], &'a [i64]), &'a [u64])| Self {
            vm_class,
            home_class,
            vms,
            ..self
        };
        columns.map(share).collect()
    }
}

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
}

/// A group of [`Residents`].
struct Group<'a> {
    home: Option<usize>,
    vms: u64,
    /// Which host classes take it.
    takers: &'a [bool],
}

impl Fleet {
    /// The circles of host classes, and which of them are traps.
    ///
    /// # Errors
    ///
    /// When lengths differ, or a group names a class that there is not.
    pub fn circles(&self, residents: Residents<'_>, taken: Taken) -> Result<Circles, RowError> {
        self.check(residents)?;
        let classes = residents.hosts.len();
        let links = |share: &Residents<'_>| {
            let mut graph = Graph::new(classes);
            self.each_group(*share, taken, |group| {
                group.home.into_iter().for_each(|home| graph.add(home, group.takers));
            });
            graph
        };
        let shares = residents.shares(self.pool.threads());
        let graphs: Vec<Graph> = self.pool.run(|| shares.par_iter().map(links).collect());
        let graph = graphs.into_iter().fold(Graph::new(classes), Graph::join);
        let mut living = vec![0; classes];
        for (home, vms) in residents.home_class.iter().zip(residents.vms) {
            let living = usize::try_from(*home).ok().and_then(|home| living.get_mut(home));
            if let Some(living) = living {
                *living += vms;
            }
        }
        let circle_of = graph.circles();
        let count = circle_of.iter().max().map_or(0, |last| *last as usize + 1);
        let circle = |class: usize| circle_of.get(class).copied().unwrap_or(u32::MAX);
        let mut traps = vec![Some(Trap { host_classes: Vec::new(), hosts: 0, entrants: 0, residents: 0 }); count];
        for (class, number) in circle_of.iter().enumerate() {
            let Some(slot) = traps.get_mut(*number as usize) else { continue };
            let leaves = graph.edges(class).any(|other| circle(other) != *number);
            if leaves {
                *slot = None;
            }
            if let Some(trap) = slot {
                let hosts = residents.hosts.get(class).copied().unwrap_or(0);
                trap.hosts += hosts;
                trap.residents += living.get(class).copied().unwrap_or(0);
                trap.host_classes.extend(u32::try_from(class).ok().filter(|_| hosts > 0));
            }
        }
        let enter = |share: &Residents<'_>| {
            let (mut seen, mut entrants, mut number) = (vec![usize::MAX; count], vec![0; count], 0);
            self.each_group(*share, taken, |group| {
                number += 1;
                let home = group.home.map(circle);
                for (class, _) in group.takers.iter().enumerate().filter(|(_, takes)| **takes) {
                    let at = circle(class);
                    if let (Some(entrants), Some(seen)) = (entrants.get_mut(at as usize), seen.get_mut(at as usize))
                        && home != Some(at)
                        && *seen != number
                    {
                        *seen = number;
                        *entrants += group.vms;
                    }
                }
            });
            entrants
        };
        let entered: Vec<Vec<u64>> = self.pool.run(|| shares.par_iter().map(enter).collect());
        for entrants in &entered {
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
        Ok(Circles { circle_of, traps })
    }

    fn check(&self, residents: Residents<'_>) -> Result<(), RowError> {
        let (vm_classes, host_classes) = self.class_counts();
        let groups = residents.vm_class.len();
        if residents.home_class.len() != groups || residents.vms.len() != groups {
            return Err(RowError { row: groups, problem: "groups differ in length".to_owned() });
        }
        if residents.hosts.len() != host_classes {
            let problem = format!("`hosts` has {} entries, expected {host_classes}", residents.hosts.len());
            return Err(RowError { row: residents.hosts.len(), problem });
        }
        let stray = |(vm, home): (&u32, &i64)| {
            *vm as usize >= vm_classes || usize::try_from(*home).is_ok_and(|home| home >= host_classes)
        };
        match residents.vm_class.iter().zip(residents.home_class).position(stray) {
            Some(row) => Err(RowError { row, problem: format!("group {row} names a class that there is not") }),
            None => Ok(()),
        }
    }

    fn each_group(&self, residents: Residents<'_>, taken: Taken, mut tell: impl FnMut(&Group<'_>)) {
        let mut row = vec![0; residents.hosts.len()];
        let mut takers = vec![false; row.len()];
        let mut last = None;
        let groups = residents.vm_class.iter().zip(residents.home_class).zip(residents.vms);
        for ((class, home), vms) in groups {
            if last != Some(*class) {
                self.class_row_into(*class, &mut row);
                for ((takes, outcome), hosts) in takers.iter_mut().zip(&row).zip(residents.hosts) {
                    *takes = *hosts > 0 && taken.takes(*outcome);
                }
                last = Some(*class);
            }
            tell(&Group { home: usize::try_from(*home).ok(), vms: *vms, takers: &takers });
        }
    }
}

/// Edges between classes, a row of bits for each.
struct Graph {
    classes: usize,
    words: usize,
    bits: Vec<u64>,
}

impl Graph {
    fn new(classes: usize) -> Self {
        let words = classes.div_ceil(64);
        Self { classes, words, bits: vec![0; classes * words] }
    }

    fn add(&mut self, from: usize, to: &[bool]) {
        let start = from * self.words;
        let row = self.bits.get_mut(start..start + self.words).unwrap_or_default();
        for (word, to) in row.iter_mut().zip(to.chunks(64)) {
            *word |= to.iter().enumerate().fold(0, |word, (bit, takes)| word | u64::from(*takes) << bit);
        }
    }

    /// The edges of both.
    fn join(mut self, other: Self) -> Self {
        self.bits.iter_mut().zip(other.bits).for_each(|(own, other)| *own |= other);
        self
    }

    /// The first edge of a class to another one from `start` on.
    fn next(&self, from: usize, start: usize) -> Option<usize> {
        let row = self.bits.get(from * self.words..(from + 1) * self.words)?;
        let mut kept = u64::MAX << (start % 64);
        for (at, word) in row.iter().enumerate().skip(start / 64) {
            if word & kept != 0 {
                return Some(at * 64 + (word & kept).trailing_zeros() as usize);
            }
            kept = u64::MAX;
        }
        None
    }

    fn edges(&self, from: usize) -> impl Iterator<Item = usize> {
        let mut start = 0;
        std::iter::from_fn(move || {
            let found = self.next(from, start)?;
            start = found + 1;
            Some(found)
        })
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
        let mut graph = Graph::new(70);
        let edges = [(0, 1), (1, 69), (69, 0), (69, 2), (2, 3), (3, 2), (4, 4)];
        for (from, to) in edges {
            let row: Vec<bool> = (0..70).map(|class| class == to).collect();
            graph.add(from, &row);
        }
        let circles = graph.circles();
        assert_eq!([circles[0], circles[1], circles[69]], [0; 3]);
        assert_eq!([circles[2], circles[3], circles[4], circles[5]], [1, 1, 2, 3]);
        assert_eq!(graph.edges(69).collect::<Vec<_>>(), [0, 2]);
    }
}
