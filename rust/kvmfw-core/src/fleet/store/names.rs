//! Who bears a name: handles by the hash of the name, in a trie that versions share.
//!
//! Hashes are spread evenly, so that their first digits lead to the place: a node is one look, where one of a tree is a search.

use std::sync::Arc;

/// A hash, and the handle of one whose name has it; hashes of different names may be equal.
type Row = (u64, u64);

/// Bits of a digit, and digits of a hash.
const BITS: u32 = 4;
const DIGITS: u32 = u64::BITS / BITS;
const WAYS: usize = 1 << BITS;
/// Rows of a leaf at most, where hashes differ.
const MOST: usize = 64;

/// Handles by the hash of a name.
#[derive(Clone, Debug, Default)]
pub(super) struct Index(Node);

#[derive(Clone, Debug)]
enum Node {
    /// Rows, ascending.
    Leaf(Arc<Vec<Row>>),
    Inner(Arc<Inner>),
}

#[derive(Clone, Debug)]
struct Inner {
    /// How many rows are below.
    rows: usize,
    /// By the next digit.
    children: [Node; WAYS],
}

impl Index {
    /// The index of rows that ascend.
    pub(super) fn of(rows: &[Row]) -> Self {
        Self(Node::of(rows, 0))
    }

    /// The handles of those whose names have this hash, ascending.
    pub(super) fn alike(&self, hash: u64) -> impl Iterator<Item = u64> {
        let (mut node, mut level) = (&self.0, 0);
        let rows = loop {
            match node {
                Node::Leaf(rows) => break rows.as_slice(),
                Node::Inner(inner) => match inner.children.get(digit(hash, level)) {
                    Some(child) => node = child,
                    None => break &[],
                },
            }
            level += 1;
        };
        let alike = rows.get(rows.partition_point(|row| row.0 < hash)..).unwrap_or(&[]);
        alike.iter().take_while(move |row| row.0 == hash).map(|row| row.1)
    }

    /// Somebody has a name with this hash.
    pub(super) fn insert(&mut self, hash: u64, handle: u64) {
        self.0.insert((hash, handle), 0);
    }

    /// Somebody has it no more.
    pub(super) fn remove(&mut self, hash: u64, handle: u64) {
        self.0.remove((hash, handle), 0);
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::Leaf(Arc::default())
    }
}

/// A digit of a hash.
fn digit(hash: u64, level: u32) -> usize {
    usize::try_from(hash << (BITS * level) >> (u64::BITS - BITS)).unwrap_or(0)
}

impl Node {
    /// The node of rows that are alike up to a level.
    fn of(rows: &[Row], level: u32) -> Self {
        if rows.len() <= MOST || level == DIGITS {
            return Self::Leaf(Arc::new(rows.to_vec()));
        }
        let mut left = rows;
        let children = std::array::from_fn(|way| {
            let (own, others) = left.split_at(left.partition_point(|row| digit(row.0, level) <= way));
            left = others;
            Self::of(own, level + 1)
        });
        Self::Inner(Arc::new(Inner { rows: rows.len(), children }))
    }

    fn insert(&mut self, row: Row, level: u32) {
        match self {
            Self::Leaf(rows) => {
                let rows = Arc::make_mut(rows);
                rows.insert(rows.partition_point(|known| *known < row), row);
                if rows.len() > MOST && level < DIGITS {
                    *self = Self::of(rows, level);
                }
            }
            Self::Inner(inner) => {
                let inner = Arc::make_mut(inner);
                inner.rows += 1;
                inner.children.get_mut(digit(row.0, level)).into_iter().for_each(|child| child.insert(row, level + 1));
            }
        }
    }

    fn remove(&mut self, row: Row, level: u32) {
        match self {
            Self::Leaf(rows) => {
                if let Ok(at) = rows.binary_search(&row) {
                    Arc::make_mut(rows).remove(at);
                }
            }
            Self::Inner(inner) => {
                let inner = Arc::make_mut(inner);
                inner.rows = inner.rows.saturating_sub(1);
                inner.children.get_mut(digit(row.0, level)).into_iter().for_each(|child| child.remove(row, level + 1));
                if inner.rows < MOST / 4 {
                    let mut rows = Vec::new();
                    inner.children.iter().for_each(|child| child.gather(&mut rows));
                    *self = Self::Leaf(Arc::new(rows));
                }
            }
        }
    }

    fn gather(&self, all: &mut Vec<Row>) {
        match self {
            Self::Leaf(rows) => all.extend_from_slice(rows),
            Self::Inner(inner) => inner.children.iter().for_each(|child| child.gather(all)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Hashes that are spread, and such as begin alike or are equal.
    fn hash_of(number: u64, kind: u8) -> u64 {
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        match kind {
            0 => spread,
            1 => spread >> 40,
            _ => 7,
        }
    }

    proptest! {
        #[test]
        fn versions_of_an_index_are_sets_of_rows(
            first in 0..2_000_u64,
            steps in proptest::collection::vec((any::<bool>(), 0..3_000_u64, 1..400_u64, 0..3_u8), 1..20),
        ) {
            let mut model: BTreeSet<Row> = (0..first).map(|number| (hash_of(number, 0), number)).collect();
            let mut index = Index::of(&model.iter().copied().collect::<Vec<_>>());
            let mut versions = vec![(index.clone(), model.clone())];
            for (adds, start, count, kind) in steps {
                for number in start..start + count {
                    let row = (hash_of(number, kind), number);
                    if adds && model.insert(row) {
                        index.insert(row.0, row.1);
                    } else if !adds && model.remove(&row) {
                        index.remove(row.0, row.1);
                    }
                }
                versions.push((index.clone(), model.clone()));
            }
            for (index, model) in versions {
                let mut rows = Vec::new();
                index.0.gather(&mut rows);
                prop_assert!(rows.iter().eq(model.iter()));
                for hash in model.iter().map(|row| row.0).chain([0, 1, u64::MAX]) {
                    let alike = model.range((hash, 0)..=(hash, u64::MAX)).map(|row| row.1);
                    prop_assert!(index.alike(hash).eq(alike));
                }
            }
        }
    }
}
