//! Members: VMs or hosts in the order of their arrival, with names, found by handle, by name and by row.
//!
//! A handle is the number of an arrival. It is given once: what it names stays what it names, and a handle of one that has
//! left finds nobody, for 2^64 arrivals; memory is that of the members there are. A row is a place in one version.

use std::hash::BuildHasher;
use std::sync::{Arc, OnceLock};

use foldhash::fast::FixedState;
use rayon::prelude::*;

use super::by_class::{Answers, ByClass};
use super::names::Index;
use super::neighbours::{MOST, Member, Neighbours, UNJUDGED};
use super::rows::{Edit, Rows};
use super::tree::{Leaf, Tree};
use crate::fleet::classes::class_map::ClassMap;
use crate::pool::{Pool, checkpoint};
use crate::room;

/// What a member takes in a leaf, with its name.
const BYTES_OF_A_ROW: usize = 128;
/// What a name takes in the index, while that is made.
const BYTES_OF_A_NAME: usize = 64;

/// Who bears a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fleet) enum Bearer {
    Nobody,
    One(u64, Member),
    Several,
}

/// All VMs, or all hosts.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct Roster {
    tree: Tree<Neighbours>,
    /// How many there have been: the next handle.
    arrivals: u64,
    /// Made when somebody asks by name, and kept from then on.
    index: OnceLock<Index>,
    rows: Rows,
    /// For each class the rows of its members, made when they are asked for.
    by_class: OnceLock<Arc<ByClass>>,
    /// What was worked out from them.
    answers: Answers,
}

/// Fewer than this are added one by one.
const FEW: usize = MOST / 8;
/// Fewer than this are not worth a second thread: their leaves take a millisecond, as long as to wake one that sleeps, and the
/// other core is needed by whoever makes the next of a stream.
const WORTH_SHARING: usize = 1 << 15;
/// So many leaves a thread makes one after the other.
const LEAVES_AT_ONCE: usize = 1 << 4;

impl Roster {
    /// How many there are.
    pub(in crate::fleet) fn len(&self) -> usize {
        self.tree.len()
    }

    /// How many there have been.
    pub(in crate::fleet) fn arrivals(&self) -> u64 {
        self.arrivals
    }

    /// What is known of a member.
    pub(in crate::fleet) fn member(&self, handle: u64) -> Option<Member> {
        self.tree.get(handle).and_then(|(leaf, at)| leaf.member(at))
    }

    /// The name of a member.
    pub(in crate::fleet) fn name(&self, handle: u64) -> Option<&str> {
        self.tree.get(handle).map(|(leaf, at)| leaf.name(at))
    }

    /// The row of a member.
    pub(in crate::fleet) fn row(&self, handle: u64) -> Option<usize> {
        self.tree.get(handle).map(|_| self.tree.rank(handle))
    }

    /// The member in a row: its handle, and what is known of it.
    pub(in crate::fleet) fn at(&self, row: usize) -> Option<(u64, Member)> {
        let (leaf, at) = self.tree.at(row)?;
        Some((leaf.handles.get(at)?, leaf.member(at)?))
    }

    /// Who bears a name. The empty one is nobody's.
    pub(in crate::fleet) fn bearer(&self, name: &str) -> Bearer {
        let mut bearers = self.bearers(name);
        match (bearers.next(), bearers.next()) {
            (None, _) => Bearer::Nobody,
            (Some((handle, member)), None) => Bearer::One(handle, member),
            (Some(_), Some(_)) => Bearer::Several,
        }
    }

    /// Whether who bears a name is known without looking at all.
    pub(in crate::fleet) fn knows_names(&self) -> bool {
        self.index.get().is_some()
    }

    fn bearers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (u64, Member)> + 'a {
        self.index().alike(hash(name)).filter_map(move |handle| {
            let (leaf, at) = self.tree.get(handle)?;
            let is_one = !name.is_empty() && leaf.name(at) == name;
            leaf.member(at).filter(|_| is_one).map(|member| (handle, member))
        })
    }

    /// The first of those who bear a name.
    pub(in crate::fleet) fn first_bearer(&self, name: &str) -> Option<u64> {
        self.bearers(name).next().map(|(handle, _)| handle)
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            room::need(self.len() * BYTES_OF_A_NAME);
            let mut entries: Vec<(u64, u64)> = Vec::with_capacity(self.len());
            for leaf in self.tree.leaves() {
                checkpoint();
                let names = (0..leaf.len()).filter_map(|at| Some((leaf.name(at), leaf.handles.get(at)?)));
                entries.extend(names.filter(|(name, _)| !name.is_empty()).map(|(name, handle)| (hash(name), handle)));
            }
            entries.sort_unstable();
            Index::of(&entries)
        })
    }

    /// The class of each row.
    pub(in crate::fleet) fn classes(&self) -> &ClassMap {
        self.rows.get(|| {
            let pieces = || self.tree.leaves().map(|leaf| leaf.classes.all());
            let most = pieces().filter_map(|classes| classes.iter().max().copied()).max().unwrap_or(0);
            ClassMap::of(self.len(), most, pieces(), |class| *class)
        })
    }

    /// The class of each row, where it was asked for before.
    pub(in crate::fleet) fn known_classes(&self) -> Option<&ClassMap> {
        self.rows.known()
    }

    /// The rows of each class.
    pub(in crate::fleet) fn by_class(&self) -> &ByClass {
        self.by_class.get_or_init(|| Arc::new(ByClass::of(self.classes())))
    }

    /// Answers about these rows that were given before.
    pub(in crate::fleet) fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Lets go of what rows were worked out to, as they are others now.
    fn forget_answers(&mut self) {
        self.by_class = OnceLock::new();
        self.answers.forget();
    }

    /// All members, by row: handle, what is known, name.
    pub(in crate::fleet) fn iter(&self) -> impl Iterator<Item = (u64, Member, &str)> {
        self.tree.leaves().flat_map(|leaf| {
            (0..leaf.len()).filter_map(|at| Some((leaf.handles.get(at)?, leaf.member(at)?, leaf.name(at))))
        })
    }

    /// The names of some rows, of those that there are.
    pub(in crate::fleet) fn names(&self, rows: impl Iterator<Item = usize>) -> (Vec<i64>, String) {
        let (mut starts, mut text) = (vec![0], String::new());
        room::need(2 * rows.size_hint().0.min(self.len()) * size_of::<i64>());
        let mut near: Option<(&Neighbours, usize)> = None;
        for row in rows {
            let here = near.filter(|(leaf, first)| (*first..*first + leaf.len()).contains(&row));
            near = here.or_else(|| self.tree.at(row).map(|(leaf, at)| (leaf, row - at)));
            let Some((leaf, first)) = near else { continue };
            let name = leaf.name(row - first);
            // A text that is full is moved to a larger place.
            if text.capacity() - text.len() < name.len() {
                room::need(2 * (text.len() + name.len()));
            }
            text.push_str(name);
            room::push(&mut starts, i64::try_from(text.len()).unwrap_or(i64::MAX));
        }
        (starts, text)
    }

    /// Adds members in order, whose names `name` writes; gives the handle of the first. Threads share the leaves of many.
    pub(in crate::fleet) fn add(
        &mut self,
        members: &[Member],
        name: impl Fn(usize, &mut String) + Sync,
        pool: &Pool,
    ) -> u64 {
        let first = self.arrivals;
        self.forget_answers();
        if self.len() == 0 {
            let most = members.iter().map(|member| member.class).max().unwrap_or(0);
            self.rows = Rows::of(ClassMap::of(members.len(), most, std::iter::once(members), |member| member.class));
        } else {
            for member in members {
                self.rows.note(|| Edit::Push(member.class));
            }
        }
        self.arrivals += members.len() as u64;
        let mut text = String::new();
        if let Some(index) = self.index.get_mut() {
            for (at, handle) in (first..).take(members.len()).enumerate() {
                text.clear();
                name(at, &mut text);
                if !text.is_empty() {
                    room::need(BYTES_OF_A_NAME);
                    index.insert(hash(&text), handle);
                }
            }
        }
        if members.len() <= FEW {
            for (at, (handle, member)) in (first..).zip(members).enumerate() {
                text.clear();
                name(at, &mut text);
                self.tree.insert(handle, |leaf, _| leaf.push(handle, *member, &text));
            }
        } else {
            let leaf = |(at, members): (usize, &[Member])| {
                room::need(MOST * BYTES_OF_A_ROW);
                let start = at * MOST;
                Neighbours::of(first + start as u64, members, |at, text| name(start + at, text))
            };
            if members.len() < WORTH_SHARING || pool.threads() == 1 {
                self.tree.append(members.chunks(MOST).enumerate().map(leaf));
            } else {
                let leaves: Vec<Neighbours> =
                    pool.run(|| members.par_chunks(MOST).with_min_len(LEAVES_AT_ONCE).enumerate().map(leaf).collect());
                self.tree.append(leaves);
            }
        }
        first
    }

    /// Gives members other handles, by row; they ascend, and are below `arrivals`.
    pub(in crate::fleet) fn renumber(&mut self, handles: &[u64], arrivals: u64) {
        room::need(handles.len() * BYTES_OF_A_ROW);
        let before = std::mem::take(&mut self.tree);
        let mut handles = handles.iter().copied();
        self.tree.append(before.leaves().map(|leaf| {
            let handles: Vec<u64> = handles.by_ref().take(leaf.len()).collect();
            leaf.under(&handles)
        }));
        (self.index, self.arrivals) = (OnceLock::new(), arrivals);
        self.forget_answers();
    }

    /// Takes a member away, and tells what was known of it.
    pub(in crate::fleet) fn remove(&mut self, handle: u64) -> Option<Member> {
        let (leaf, at) = self.tree.get(handle)?;
        let (member, name) = (leaf.member(at)?, leaf.name(at));
        if let (Some(index), false) = (self.index.get_mut(), name.is_empty()) {
            index.remove(hash(name), handle);
        }
        self.rows.note(|| Edit::Remove(self.tree.rank(handle)));
        self.tree.remove(handle);
        self.forget_answers();
        Some(member)
    }

    /// Changes what is known of a member; gives what was.
    pub(in crate::fleet) fn change(&mut self, handle: u64, change: impl FnOnce(&mut Member)) -> Option<Member> {
        let before = self.member(handle)?;
        let mut after = before;
        change(&mut after);
        if after == before {
            return Some(before);
        }
        self.tree.change(handle, |leaf, at| leaf.change(at, after));
        if after.class != before.class {
            let row = self.tree.rank(handle);
            if after.class != UNJUDGED {
                self.answers.touch(row);
            }
            self.rows.note(|| after.class().map_or(Edit::Nothing, |class| Edit::Set(row, class)));
            if let Some(rows) = self.by_class.get_mut() {
                Arc::make_mut(rows).change(row, before.class(), after.class());
            }
        }
        Some(before)
    }
}

fn hash(name: &str) -> u64 {
    FixedState::default().hash_one(name)
}
