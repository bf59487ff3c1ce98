//! Where VMs run: names of hosts, of which there need not be one.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::map::Map;

/// In place of a place: nobody says where the VM runs.
pub(in crate::fleet) const NOWHERE: u32 = u32::MAX;

/// The names of all places at which somebody is.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct Places {
    names: Map<u32, Arc<str>>,
    /// How many VMs are at each place.
    guests: Map<u32, u64>,
    /// Places by the hash of their name.
    index: Map<(u64, u32), ()>,
    /// Numbers that are free below the greatest.
    free: Map<u32, ()>,
}

impl Places {
    /// The number of a place.
    pub(super) fn find(&self, name: &str) -> Result<u32, u64> {
        let hash = FixedState::default().hash_one(name);
        let alike = self
            .index
            .from((hash, 0))
            .filter_map(|(leaf, at)| leaf.get(at))
            .take_while(|((known, _), ())| *known == hash);
        let is = |place: &u32| self.names.value(*place).is_some_and(|known| known.as_ref() == name);
        alike.map(|((_, place), ())| *place).find(is).ok_or(hash)
    }

    /// More VMs are at a place; gives its number.
    pub(in crate::fleet) fn enter(&mut self, name: &str, guests: u64) -> u32 {
        let place = self.find(name).unwrap_or_else(|hash| {
            let last = self.names.len() + self.free.len();
            let free = self.free.rows().next().map(|(place, ())| *place);
            let place = free.unwrap_or_else(|| u32::try_from(last).unwrap_or(NOWHERE));
            self.free.forget(place);
            self.names.set(place, Arc::from(name));
            self.index.set((hash, place), ());
            place
        });
        self.guests.update(place, |before| before.copied().unwrap_or(0) + guests);
        place
    }

    /// A VM is no longer at a place.
    pub(in crate::fleet) fn leave(&mut self, place: u32) {
        let Some(guests) = self.guests.value(place).copied() else { return };
        if guests > 1 {
            self.guests.set(place, guests - 1);
            return;
        }
        if let Some(name) = self.names.value(place) {
            let hash = FixedState::default().hash_one(name.as_ref());
            self.index.forget((hash, place));
        }
        self.names.forget(place);
        self.guests.forget(place);
        self.free.set(place, ());
    }

    /// The name of a place.
    pub(in crate::fleet) fn name(&self, place: u32) -> Option<&str> {
        self.names.value(place).map(AsRef::as_ref)
    }

    /// All places: number, name, how many VMs are there.
    pub(in crate::fleet) fn iter(&self) -> impl Iterator<Item = (u32, &str, u64)> {
        let guests = |place: u32| self.guests.value(place).copied().unwrap_or(0);
        self.names.rows().map(move |(place, name)| (*place, name.as_ref(), guests(*place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_places_that_nobody_is_at_are_used_again() {
        let mut places = Places::default();
        assert_eq!(["a", "b", "a", "c"].map(|name| places.enter(name, 1)), [0, 1, 0, 2]);
        let before = places.clone();
        places.leave(1);
        places.leave(0);
        assert_eq!((places.name(0), places.name(1), before.name(1)), (Some("a"), None, Some("b")));
        assert_eq!([places.enter("d", 2), places.enter("e", 1), places.enter("a", 1)], [1, 3, 0]);
        assert_eq!(
            places.iter().map(|(_, name, guests)| (name, guests)).collect::<Vec<_>>(),
            [("a", 2), ("d", 2), ("c", 1), ("e", 1)]
        );
    }
}
