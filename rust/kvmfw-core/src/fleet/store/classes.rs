//! How many members each class has, and since when it means what it means.

use super::map::Map;
use crate::room;

/// What is known of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entry {
    /// The generation in which the class got its first member, or lost its last one.
    since: u64,
    members: u64,
}

/// A class that means something else than it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangedClass {
    /// Its number.
    pub class: u32,
    /// Whether anybody is of it now.
    pub is_used: bool,
}

/// The classes of one side.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct Classes {
    entries: Map<u32, Entry>,
    used: usize,
}

impl Classes {
    /// Classes with so many members each, all of which are new.
    pub(in crate::fleet) fn of(members: &[u64], generation: u64) -> Self {
        let entry = |members: &u64| Entry { since: generation, members: *members };
        let used = members.iter().filter(|members| **members > 0).count();
        Self { entries: Map::of((0..).zip(members.iter().map(entry))), used }
    }

    /// The same classes with so many members each; all of them mean something else from a generation on, those too that have no
    /// members now.
    pub(in crate::fleet) fn renumbered(&self, members: &[u64], generation: u64) -> Self {
        let known = self.entries.rows().last().map_or(0, |(class, _)| *class as usize + 1);
        let mut all = members.to_vec();
        room::grow(&mut all, known.saturating_sub(members.len()));
        all.resize(known.max(members.len()), 0);
        Self::of(&all, generation)
    }

    /// How many members a class has.
    pub(in crate::fleet) fn members(&self, class: u32) -> u64 {
        self.entries.value(class).map_or(0, |entry| entry.members)
    }

    /// Since when a class means what it means.
    pub(in crate::fleet) fn since(&self, class: u32) -> u64 {
        self.entries.value(class).map_or(0, |entry| entry.since)
    }

    /// How many classes have members.
    pub(in crate::fleet) fn used(&self) -> usize {
        self.used
    }

    /// The classes that have members, ascending, and how many.
    pub(in crate::fleet) fn in_use(&self) -> impl Iterator<Item = (u32, u64)> {
        let used = self.entries.rows().filter(|(_, entry)| entry.members > 0);
        used.map(|(class, entry)| (*class, entry.members))
    }

    /// How many members each class up to a number has.
    pub(in crate::fleet) fn histogram(&self, classes: usize) -> Vec<u64> {
        room::need(classes * size_of::<u64>());
        let mut members = vec![0; classes];
        for (class, entry) in self.entries.rows() {
            members.get_mut(*class as usize).into_iter().for_each(|members| *members = entry.members);
        }
        members
    }

    /// A class has more members; `true` where it had none.
    pub(in crate::fleet) fn join(&mut self, class: u32, more: u64, generation: u64) -> bool {
        let mut is_first = false;
        self.entries.update(class, |entry| {
            let entry = entry.copied().unwrap_or_default();
            is_first = entry.members == 0;
            let since = if is_first { generation } else { entry.since };
            Entry { since, members: entry.members + more }
        });
        self.used += usize::from(is_first);
        is_first
    }

    /// A class has one member less; `true` where that was the last.
    pub(in crate::fleet) fn leave(&mut self, class: u32, generation: u64) -> bool {
        let mut is_last = false;
        self.entries.update(class, |entry| {
            let entry = entry.copied().unwrap_or_default();
            is_last = entry.members == 1;
            let since = if is_last { generation } else { entry.since };
            Entry { since, members: entry.members.saturating_sub(1) }
        });
        self.used -= usize::from(is_last);
        is_last
    }

    /// The classes that mean something else than they did in a generation, ascending.
    pub(in crate::fleet) fn changed_since(&self, generation: u64) -> Vec<ChangedClass> {
        let changed = self.entries.rows().filter(|(_, entry)| entry.since > generation);
        let mut classes = Vec::new();
        for (class, entry) in changed {
            room::push(&mut classes, ChangedClass { class: *class, is_used: entry.members > 0 });
        }
        classes
    }
}
