//! Values by key, in versions that share: a tree with plain leaves.

use std::fmt::Debug;

use super::tree::{Leaf, Tree};
use crate::room;

/// Rows of a leaf at most.
const MOST: usize = 64;
/// What a row takes in the nodes above its leaf.
const BYTES_OF_A_ROW: usize = 2;

/// Rows with one value each.
impl<K: Ord + Copy + Debug, V: Clone + Debug> Leaf for Vec<(K, V)> {
    type Key = K;
    const MOST: usize = MOST;

    fn len(&self) -> usize {
        Self::len(self)
    }

    fn key(&self, at: usize) -> Option<K> {
        self.get(at).map(|(key, _)| *key)
    }

    fn find(&self, key: K) -> Result<usize, usize> {
        self.binary_search_by_key(&key, |(key, _)| *key)
    }

    fn remove(&mut self, at: usize) {
        Self::remove(self, at);
    }

    fn split_off(&mut self, at: usize) -> Self {
        Self::split_off(self, at)
    }

    fn append(&mut self, other: &Self) {
        self.extend_from_slice(other);
    }
}

/// Rows by key, each with a value.
pub(in crate::fleet) type Map<K, V> = Tree<Vec<(K, V)>>;

impl<K: Ord + Copy + Debug, V: Clone + Debug> Map<K, V> {
    /// Rows that ascend by key.
    pub(in crate::fleet) fn of(rows: impl IntoIterator<Item = (K, V)>) -> Self {
        let (mut map, mut rows) = (Self::default(), rows.into_iter());
        map.append(std::iter::from_fn(|| {
            room::need(MOST * (size_of::<(K, V)>() + BYTES_OF_A_ROW));
            let leaf: Vec<(K, V)> = rows.by_ref().take(MOST / 4 * 3).collect();
            (!leaf.is_empty()).then_some(leaf)
        }));
        map
    }

    /// The value of a key.
    pub(in crate::fleet) fn value(&self, key: K) -> Option<&V> {
        self.get(key).and_then(|(leaf, at)| leaf.get(at)).map(|(_, value)| value)
    }

    /// Gives a key another value, made of the one that it has.
    pub(in crate::fleet) fn update(&mut self, key: K, value: impl FnOnce(Option<&V>) -> V) {
        let mut value = Some(value);
        let mut put = |known: Option<&V>| value.take().map(|value| value(known));
        let known =
            self.change(key, |leaf, at| leaf.get_mut(at).map(|row| put(Some(&row.1)).map(|value| row.1 = value)));
        if known.is_none() {
            room::need(2 * size_of::<(K, V)>());
            self.insert(key, |leaf, at| put(None).into_iter().for_each(|value| leaf.insert(at, (key, value))));
        }
    }

    /// Gives a key another value.
    pub(in crate::fleet) fn set(&mut self, key: K, value: V) {
        self.update(key, |_| value);
    }

    /// Takes a key away; `false` where it is not there.
    pub(in crate::fleet) fn forget(&mut self, key: K) -> bool {
        let is_there = self.value(key).is_some();
        if is_there {
            self.remove(key);
        }
        is_there
    }

    /// The rows, in order.
    pub(in crate::fleet) fn rows(&self) -> impl Iterator<Item = &(K, V)> {
        self.leaves().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn versions_are_maps_that_know_their_places(
            steps in proptest::collection::vec((any::<bool>(), 0..4_000_u16, 1..300_u16), 1..60),
        ) {
            let (mut tree, mut model) = (Map::<u16, u8>::default(), BTreeMap::new());
            let mut versions = vec![(tree.clone(), model.clone())];
            for (adds, start, count) in steps {
                for (turn, key) in (start..start + count).enumerate() {
                    let value = u8::try_from(turn % 251).unwrap_or(0);
                    if adds {
                        tree.set(key, value);
                        model.insert(key, value);
                    } else {
                        prop_assert_eq!(tree.forget(key), model.remove(&key).is_some());
                    }
                }
                versions.push((tree.clone(), model.clone()));
            }
            for (tree, model) in versions {
                prop_assert!(tree.rows().map(|(key, value)| (key, value)).eq(model.iter()));
                prop_assert_eq!(tree.len(), model.len());
                prop_assert!(tree.is_whole());
                for (place, (key, value)) in model.iter().enumerate() {
                    prop_assert_eq!(tree.value(*key), Some(value));
                    prop_assert_eq!(tree.rank(*key), place);
                    prop_assert_eq!(tree.at(place).and_then(|(leaf, at)| leaf.get(at)), Some(&(*key, *value)));
                }
                for start in [0, 1, 100, 1_999, 3_998, 4_000] {
                    let rows = tree.from(start).filter_map(|(leaf, at)| leaf.get(at));
                    prop_assert!(rows.map(|(key, value)| (key, value)).eq(model.range(start..)));
                }
                prop_assert!(tree.value(9_999).is_none() && tree.at(model.len()).is_none());
            }
        }

        #[test]
        fn a_map_made_at_once_is_the_map_made_row_by_row(rows in 0..20_000_u16) {
            let tree = Map::of((0..rows).map(|key| (key, 0_u8)));
            prop_assert!(tree.rows().map(|(key, _)| *key).eq(0..rows));
            prop_assert!(tree.is_whole());
            prop_assert_eq!((tree.len(), tree.from(rows / 2).count()), (usize::from(rows), usize::from(rows - rows / 2)));
        }
    }
}
