//! Neighbours: some members that lie together, each in the same place of all columns.

use super::column::Column;
use super::tree::Leaf;

/// What is known of a member besides its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fleet) struct Member {
    pub(in crate::fleet) class: u32,
    /// Of a VM the place of its home, of a host the number of its kind.
    pub(in crate::fleet) tag: u32,
}

/// In place of a class: the host is judged at the end of the change.
pub(super) const UNJUDGED: u32 = u32::MAX;

impl Member {
    /// The class, where it is judged.
    pub(super) fn class(self) -> Option<u32> {
        Some(self.class).filter(|class| *class != UNJUDGED)
    }
}

/// A copied leaf has room for a name of so many bytes more.
const ROOM_FOR_A_NAME: usize = 64;
/// New leaves have room for so much of each name at first.
const ROOM_FOR_A_SHORT_NAME: usize = 16;
/// Neighbours at most.
pub(super) const MOST: usize = 128;

/// Some members in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    pub(super) handles: Column<u64>,
    pub(super) classes: Column<u32>,
    tags: Column<u32>,
    /// Where each name ends.
    ends: Column<u64>,
    pub(super) text: String,
}

impl Clone for Neighbours {
    /// A copy with room for one more: it is made to be changed.
    fn clone(&self) -> Self {
        let mut text = String::with_capacity(self.text.len() + ROOM_FOR_A_NAME);
        text.push_str(&self.text);
        Self {
            handles: self.handles.copied(),
            classes: self.classes.copied(),
            tags: self.tags.copied(),
            ends: self.ends.copied(),
            text,
        }
    }
}

impl Neighbours {
    /// Neighbours one after the other, whose handles follow each other.
    pub(super) fn of(first: u64, members: &[Member], name: impl Fn(usize, &mut String)) -> Self {
        let (classes, tags) = (members.iter().map(|member| member.class), members.iter().map(|member| member.tag));
        let mut text = String::with_capacity(members.len() * ROOM_FOR_A_SHORT_NAME);
        let mut ends = Vec::with_capacity(members.len());
        for at in 0..members.len() {
            name(at, &mut text);
            ends.push(text.len() as u64);
        }
        text.shrink_to_fit();
        Self {
            handles: Column::Even(members.len(), first, 1),
            classes: Column::of(classes),
            tags: Column::of(tags),
            ends: Column::of(ends.iter().copied()),
            text,
        }
    }

    /// The same members under other handles, which ascend.
    pub(super) fn under(&self, handles: &[u64]) -> Self {
        Self { handles: Column::of(handles.iter().copied()), ..self.clone() }
    }

    pub(super) fn member(&self, at: usize) -> Option<Member> {
        Some(Member { class: self.classes.get(at)?, tag: self.tags.get(at)? })
    }

    pub(super) fn change(&mut self, at: usize, member: Member) {
        self.classes.set(at, member.class);
        self.tags.set(at, member.tag);
    }

    /// Where a name ends.
    fn end(&self, at: usize) -> Option<usize> {
        usize::try_from(self.ends.get(at)?).ok()
    }

    fn name_range(&self, at: usize) -> Option<std::ops::Range<usize>> {
        let start = at.checked_sub(1).map_or(Some(0), |before| self.end(before))?;
        Some(start..self.end(at)?)
    }

    pub(super) fn name(&self, at: usize) -> &str {
        self.name_range(at).and_then(|range| self.text.get(range)).unwrap_or("")
    }

    pub(super) fn push(&mut self, handle: u64, member: Member, name: &str) {
        self.handles.push(handle);
        self.classes.push(member.class);
        self.tags.push(member.tag);
        self.text.push_str(name);
        self.ends.push(self.text.len() as u64);
    }
}

impl Leaf for Neighbours {
    type Key = u64;
    const MOST: usize = MOST;

    fn len(&self) -> usize {
        self.handles.len()
    }

    fn key(&self, at: usize) -> Option<u64> {
        self.handles.get(at)
    }

    fn find(&self, key: u64) -> Result<usize, usize> {
        self.handles.find(key)
    }

    fn remove(&mut self, at: usize) {
        let Some(name) = self.name_range(at) else { return };
        let length = name.len() as u64;
        self.text.drain(name);
        self.handles.remove(at, 0);
        self.classes.remove(at, 0);
        self.tags.remove(at, 0);
        self.ends.remove(at, length);
    }

    fn split_off(&mut self, at: usize) -> Self {
        let cut = at.checked_sub(1).and_then(|before| self.end(before)).unwrap_or(0);
        Self {
            handles: self.handles.split_off(at, 0),
            classes: self.classes.split_off(at, 0),
            tags: self.tags.split_off(at, 0),
            ends: self.ends.split_off(at, cut as u64),
            text: self.text.split_off(cut),
        }
    }

    fn append(&mut self, other: &Self) {
        self.handles.append(&other.handles, 0);
        self.classes.append(&other.classes, 0);
        self.tags.append(&other.tags, 0);
        self.ends.append(&other.ends, self.text.len() as u64);
        self.text.push_str(&other.text);
    }
}
