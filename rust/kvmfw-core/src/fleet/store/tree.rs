//! Ordered rows that versions share: a tree of leaves, of which a change copies one and the way to it.
//!
//! A version is a pointer to its root. Who changes a row copies its leaf and the nodes above; everything else belongs to both
//! versions, and is freed with the last of them. Nodes know how many rows are below them, so that the row with a key has a
//! place and the row at a place is found as fast as one by its key.

use std::fmt::Debug;
use std::sync::Arc;

/// Rows that lie together, ascending by key.
pub(in crate::fleet) trait Leaf: Clone + Debug {
    /// What rows are ordered by; no two are equal.
    type Key: Ord + Copy + Debug;
    /// Rows at most: a change copies so many.
    const MOST: usize;

    /// How many rows there are.
    fn len(&self) -> usize;
    /// The key of a row; `None` past the end.
    fn key(&self, at: usize) -> Option<Self::Key>;
    /// Where the row with this key is, or where it belongs.
    fn find(&self, key: Self::Key) -> Result<usize, usize>;
    /// Takes a row away.
    fn remove(&mut self, at: usize);
    /// Takes the rows from `at` on away, and gives them.
    fn split_off(&mut self, at: usize) -> Self;
    /// Appends rows.
    fn append(&mut self, other: &Self);
}

/// Children of a node at most. To copy a node is to count another holder of each of its children, and to forget it again when
/// the version before goes: for every change, and mostly of memory that no cache has. With half as many there is a level more.
const MOST_CHILDREN: usize = 8;

/// Rows in the order of their keys.
#[derive(Clone, Debug)]
pub(in crate::fleet) struct Tree<L: Leaf>(Option<Node<L>>);

/// A leaf, or the nodes below: each is one piece of memory.
#[derive(Debug)]
enum Node<L: Leaf> {
    Leaf(Arc<L>),
    Inner(Arc<[Child<L>]>),
}

impl<L: Leaf> Clone for Node<L> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(leaf) => Self::Leaf(Arc::clone(leaf)),
            Self::Inner(children) => Self::Inner(Arc::clone(children)),
        }
    }
}

#[derive(Clone, Debug)]
struct Child<L: Leaf> {
    /// No key below is less, save those that were taken away.
    first: L::Key,
    rows: usize,
    node: Node<L>,
}

impl<L: Leaf> Default for Tree<L> {
    fn default() -> Self {
        Self(None)
    }
}

impl<L: Leaf> Tree<L> {
    /// How many rows there are.
    pub(in crate::fleet) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, Node::rows)
    }

    /// The row with this key: its leaf, and its place there.
    pub(in crate::fleet) fn get(&self, key: L::Key) -> Option<(&L, usize)> {
        let mut node = self.0.as_ref()?;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.find(key).ok().map(|at| (leaf.as_ref(), at)),
                Node::Inner(children) => node = &children.get(below(children, key))?.node,
            }
        }
    }

    /// How many rows have lesser keys.
    pub(in crate::fleet) fn rank(&self, key: L::Key) -> usize {
        self.leaf_of(key).map_or(0, |(leaf, at, end)| end - leaf.len() + at)
    }

    /// The row at a place.
    pub(in crate::fleet) fn at(&self, mut rank: usize) -> Option<(&L, usize)> {
        let mut node = self.0.as_ref()?;
        'down: loop {
            match node {
                Node::Leaf(leaf) => return (rank < leaf.len()).then_some((leaf.as_ref(), rank)),
                Node::Inner(children) => {
                    for child in children.iter() {
                        if rank < child.rows {
                            node = &child.node;
                            continue 'down;
                        }
                        rank -= child.rows;
                    }
                    return None;
                }
            }
        }
    }

    /// The leaves, in order.
    pub(in crate::fleet) fn leaves(&self) -> impl Iterator<Item = &L> {
        let mut open: Vec<&Node<L>> = self.0.iter().collect();
        std::iter::from_fn(move || {
            loop {
                match open.pop()? {
                    Node::Leaf(leaf) => return Some(leaf.as_ref()),
                    Node::Inner(children) => open.extend(children.iter().rev().map(|child| &child.node)),
                }
            }
        })
    }

    /// The rows from the first one on that has no lesser key.
    pub(in crate::fleet) fn from(&self, key: L::Key) -> impl Iterator<Item = (&L, usize)> {
        let mut next = self.leaf_of(key);
        std::iter::from_fn(move || {
            let (leaf, at, end) = next?;
            // The rows of a leaf follow each other; only from one leaf to the next the way is looked for again.
            let row = if at < leaf.len() {
                Some((leaf, at, end))
            } else {
                self.at(end).map(|(leaf, at)| (leaf, at, end + leaf.len()))
            };
            next = row.map(|(leaf, at, end)| (leaf, at + 1, end));
            row.map(|(leaf, at, _)| (leaf, at))
        })
    }

    /// The leaf that a key is in, or belongs to; its place there, and how many rows there are up to the end of the leaf.
    fn leaf_of(&self, key: L::Key) -> Option<(&L, usize, usize)> {
        let (mut node, mut before) = (self.0.as_ref()?, 0);
        loop {
            match node {
                Node::Leaf(leaf) => return Some((leaf, leaf.find(key).unwrap_or_else(|at| at), before + leaf.len())),
                Node::Inner(children) => {
                    let at = below(children, key);
                    before += children.iter().take(at).map(|child| child.rows).sum::<usize>();
                    node = &children.get(at)?.node;
                }
            }
        }
    }

    /// Changes the row with this key; its key stays.
    pub(in crate::fleet) fn change<R>(&mut self, key: L::Key, change: impl FnOnce(&mut L, usize) -> R) -> Option<R> {
        let mut node = self.0.as_mut()?;
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let leaf = Arc::make_mut(leaf);
                    return leaf.find(key).ok().map(|at| change(leaf, at));
                }
                Node::Inner(children) => {
                    let at = below(children, key);
                    node = &mut Arc::make_mut(children).get_mut(at)?.node;
                }
            }
        }
    }

    /// Adds a row: `put` puts it into a leaf, at a place.
    pub(in crate::fleet) fn insert(&mut self, key: L::Key, put: impl FnOnce(&mut L, usize))
    where
        L: Default,
    {
        let root = self.0.get_or_insert_with(|| Node::Leaf(Arc::default()));
        if let Some(right) = root.insert(key, put) {
            self.grow(right);
        }
    }

    /// Takes the row with this key away. Who does not know that there is one looks first: a way that leads nowhere would be
    /// copied for nothing.
    pub(in crate::fleet) fn remove(&mut self, key: L::Key) {
        if let Some(root) = &mut self.0 {
            root.remove(key);
        }
        self.shrink();
    }

    /// Appends leaves, whose keys are greater than all others.
    pub(in crate::fleet) fn append(&mut self, leaves: impl IntoIterator<Item = L>) {
        for leaf in leaves {
            let Some(first) = leaf.key(0) else { continue };
            let child = Child { first, rows: leaf.len(), node: Node::Leaf(Arc::new(leaf)) };
            let Some(root) = &mut self.0 else {
                self.0 = Some(child.node);
                continue;
            };
            if let Some(right) = root.push(child) {
                self.grow(right);
            }
        }
    }

    fn grow(&mut self, right: Child<L>) {
        let Some(root) = self.0.take() else { return };
        let first = root.first().unwrap_or(right.first);
        let left = Child { first, rows: root.rows(), node: root };
        self.0 = Some(Node::Inner([left, right].into()));
    }

    fn shrink(&mut self) {
        while let Some(root) = &self.0 {
            let only = match root {
                Node::Leaf(leaf) if leaf.len() == 0 => None,
                Node::Inner(children) if children.len() < 2 => children.first().map(|child| child.node.clone()),
                _ => return,
            };
            self.0 = only;
        }
    }
}

/// The child below which a key is.
fn below<L: Leaf>(children: &[Child<L>], key: L::Key) -> usize {
    children.partition_point(|child| child.first <= key).saturating_sub(1)
}

/// Children with some of them in place of others; the right half where they became too many.
fn spliced<L: Leaf>(
    children: &mut Arc<[Child<L>]>,
    range: std::ops::Range<usize>,
    new: impl IntoIterator<Item = Child<L>>,
) -> Option<Child<L>> {
    let mut all = children.to_vec();
    all.splice(range, new);
    let right = if all.len() > MOST_CHILDREN { all.split_off(MOST_CHILDREN * 3 / 4) } else { Vec::new() };
    *children = all.into();
    let (first, rows) = (right.first()?.first, right.iter().map(|child| child.rows).sum());
    Some(Child { first, rows, node: Node::Inner(right.into()) })
}

impl<L: Leaf> Node<L> {
    fn rows(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len(),
            Self::Inner(children) => children.iter().map(|child| child.rows).sum(),
        }
    }

    fn first(&self) -> Option<L::Key> {
        match self {
            Self::Leaf(leaf) => leaf.key(0),
            Self::Inner(children) => children.first().map(|child| child.first),
        }
    }

    /// Adds a row; gives the right half of a node that became too large.
    fn insert(&mut self, key: L::Key, put: impl FnOnce(&mut L, usize)) -> Option<Child<L>> {
        match self {
            Self::Leaf(leaf) => {
                let leaf = Arc::make_mut(leaf);
                let at = leaf.find(key).unwrap_or_else(|at| at);
                put(leaf, at);
                if leaf.len() <= L::MOST {
                    return None;
                }
                // Rows that come at the end are followed by others: a full leaf stays full.
                let cut = if at + 1 == leaf.len() { at } else { leaf.len() / 2 };
                let right = leaf.split_off(cut);
                Some(Child { first: right.key(0)?, rows: right.len(), node: Self::Leaf(Arc::new(right)) })
            }
            Self::Inner(children) => {
                let at = below(children, key);
                let child = Arc::make_mut(children).get_mut(at)?;
                child.first = child.first.min(key);
                child.rows += 1;
                let right = child.node.insert(key, put)?;
                child.rows -= right.rows;
                spliced(children, at + 1..at + 1, [right])
            }
        }
    }

    /// Appends a leaf; gives the right half of a node that became too large.
    fn push(&mut self, leaf: Child<L>) -> Option<Child<L>> {
        let Self::Inner(children) = self else { return Some(leaf) };
        let end = children.len();
        let right = match Arc::make_mut(children).last_mut() {
            Some(last) if matches!(last.node, Self::Inner(_)) => {
                last.rows += leaf.rows;
                let right = last.node.push(leaf)?;
                last.rows -= right.rows;
                right
            }
            _ => leaf,
        };
        spliced(children, end..end, [right])
    }

    /// Takes a row away that is there.
    fn remove(&mut self, key: L::Key) {
        match self {
            Self::Leaf(leaf) => {
                let leaf = Arc::make_mut(leaf);
                if let Ok(at) = leaf.find(key) {
                    leaf.remove(at);
                }
            }
            Self::Inner(children) => {
                let at = below(children, key);
                let Some(child) = Arc::make_mut(children).get_mut(at) else { return };
                child.rows -= 1;
                child.node.remove(key);
                if child.node.is_small() {
                    join(children, at);
                }
            }
        }
    }

    fn is_small(&self) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.len() < L::MOST / 4,
            Self::Inner(children) => children.len() < MOST_CHILDREN / 4,
        }
    }
}

/// Joins a small child with a neighbour, where both fit into one; one that is empty goes.
fn join<L: Leaf>(children: &mut Arc<[Child<L>]>, at: usize) {
    if children.get(at).is_some_and(|child| child.rows == 0) {
        spliced(children, at..at + 1, []);
        return;
    }
    let left = at.saturating_sub(1);
    let Some([one, other]) = children.get(left..left + 2) else { return };
    let node = match (&one.node, &other.node) {
        (Node::Leaf(one), Node::Leaf(other)) if one.len() + other.len() <= L::MOST / 2 => {
            let mut joined = L::clone(one);
            joined.append(other);
            Node::Leaf(Arc::new(joined))
        }
        (Node::Inner(one), Node::Inner(other)) if one.len() + other.len() <= MOST_CHILDREN / 2 => {
            Node::Inner(one.iter().chain(other.iter()).cloned().collect())
        }
        _ => return,
    };
    let joined = Child { first: one.first, rows: one.rows + other.rows, node };
    spliced(children, left..left + 2, [joined]);
}

#[cfg(test)]
impl<L: Leaf> Tree<L> {
    /// Whether leaves are equally deep, and nodes know what is below them.
    pub(super) fn is_whole(&self) -> bool {
        fn is_whole<L: Leaf>(node: &Node<L>, depth: &mut Option<usize>, level: usize) -> bool {
            match node {
                Node::Leaf(leaf) => *depth.get_or_insert(level) == level && leaf.len() <= L::MOST,
                Node::Inner(children) => children.iter().all(|child| {
                    child.rows == child.node.rows()
                        && child.rows > 0
                        && child.node.first() >= Some(child.first)
                        && is_whole(&child.node, depth, level + 1)
                }),
            }
        }
        self.0.as_ref().is_none_or(|root| is_whole(root, &mut None, 0))
    }
}
