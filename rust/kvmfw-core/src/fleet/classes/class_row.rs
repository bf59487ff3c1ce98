//! The row of a VM class: what tells it from others, as numbers of one fleet.

use crate::fleet::unit::UnitNumber;

/// In place of a number: the VM does not hold the register, or its rows could not be used.
const ABSENT: u32 = u32::MAX;

/// The number of the list, then for each register unit that of the value; values of units after the last one that the VM
/// holds are left out. Only here is known what stands where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::fleet) struct ClassRow<'a>(&'a [u32]);

/// A row in the making.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct NewRow(Vec<u32>);

/// Where the value of a unit stands; `None` for the vCPU and the list, which have none.
#[inline]
const fn place_of(unit: UnitNumber) -> Option<usize> {
    match unit.register() {
        Some(at) => Some(at + 1),
        None => None,
    }
}

/// How long a row is that has the values of these units.
pub(in crate::fleet) fn width_for(units: impl Iterator<Item = UnitNumber>) -> usize {
    units.filter_map(place_of).max().map_or(1, |last| last + 1)
}

impl<'a> ClassRow<'a> {
    /// A row as it was interned.
    pub(in crate::fleet) const fn of(numbers: &'a [u32]) -> Self {
        Self(numbers)
    }

    /// The numbers, to be interned.
    pub(in crate::fleet) const fn numbers(self) -> &'a [u32] {
        self.0
    }

    /// The number of the list; `None` for VMs whose rows could not be used.
    #[inline]
    pub(in crate::fleet) fn list(self) -> Option<u32> {
        self.0.first().copied().filter(|list| *list != ABSENT)
    }

    /// The number of the value of a register unit; `None` where the VM does not hold the register.
    #[inline]
    pub(in crate::fleet) fn value(self, unit: UnitNumber) -> Option<u32> {
        self.0.get(place_of(unit)?).copied().filter(|value| *value != ABSENT)
    }

    /// The numbers of all values, each with its unit.
    pub(in crate::fleet) fn values(self) -> impl Iterator<Item = (UnitNumber, u32)> + 'a {
        let values = self.0.iter().skip(1).enumerate().filter(|(_, value)| **value != ABSENT);
        values.map(|(at, value)| (UnitNumber::of_register(at), *value))
    }
}

impl NewRow {
    /// Begins a row of this length, whose VM holds no register so far; without a list its rows could not be used.
    pub(in crate::fleet) fn begin(&mut self, list: Option<u32>, width: usize) {
        self.0.clear();
        self.0.push(list.unwrap_or(ABSENT));
        self.0.resize(width, ABSENT);
    }

    /// The VM has this value. The row gets as long as that.
    #[inline]
    pub(in crate::fleet) fn put(&mut self, unit: UnitNumber, value: Option<u32>) {
        let (Some(place), value) = (place_of(unit), value.unwrap_or(ABSENT)) else { return };
        match self.0.get_mut(place) {
            Some(slot) => *slot = value,
            None => self.lengthen(place, value),
        }
    }

    #[cold]
    fn lengthen(&mut self, place: usize, value: u32) {
        self.0.resize(place, ABSENT);
        self.0.push(value);
    }

    /// The row.
    pub(in crate::fleet) fn row(&self) -> ClassRow<'_> {
        ClassRow(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_list_first_and_no_more_values_than_it_needs() {
        let unit = UnitNumber::of_register;
        let mut new = NewRow::default();
        new.begin(Some(7), width_for([unit(1)].into_iter()));
        new.put(unit(1), Some(5));
        assert_eq!(new.row(), ClassRow::of(&[7, ABSENT, 5]));
        new.put(unit(3), Some(6));
        let row = new.row();
        assert_eq!(
            (row.list(), row.value(unit(0)), row.value(unit(1)), row.value(UnitNumber::LIST)),
            (Some(7), None, Some(5), None)
        );
        assert_eq!(row.values().collect::<Vec<_>>(), [(unit(1), 5), (unit(3), 6)]);
        new.begin(None, 1);
        assert_eq!((new.row(), new.row().list()), (ClassRow::of(&[ABSENT]), None));
    }
}
