//! Rows of parts by number: what stands in which row of a unit's table.

/// Hexadecimal digits of a configuration in the part of a digit.
const DIGITS: u32 = 16;

/// The row of a part. Only here is known how many rows come before those of configurations, lists, values and digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fleet) struct PartRow(u32);

impl PartRow {
    /// The row of VMs that a part has nothing to say about.
    pub(in crate::fleet) const SILENT: Self = Self(0);
    /// The row of the list unit for VMs whose rows could not be used.
    pub(in crate::fleet) const UNUSABLE: Self = Self(1);
    /// A row that no part has: its cells are UNKNOWN.
    pub(in crate::fleet) const NONE: Self = Self(u32::MAX);

    /// The row of VMs made with a configuration, in the part of the vCPU.
    pub(in crate::fleet) const fn of_config(config: u32) -> Self {
        Self(config + 1)
    }

    /// The row of a list.
    pub(in crate::fleet) const fn of_list(list: u32) -> Self {
        Self(list + 2)
    }

    /// The row of a value, in the part of a register; or of a special value, by its place among these.
    #[inline]
    pub(in crate::fleet) const fn of_value(value: u32) -> Self {
        Self(value + 1)
    }

    /// The row of a digit that VMs made with a configuration hold.
    pub(in crate::fleet) const fn of_digit(config: u32, digit: u32) -> Self {
        Self(1 + config * DIGITS + digit)
    }

    /// A row by its place.
    pub(in crate::fleet) fn at_place(place: usize) -> Self {
        u32::try_from(place).map_or(Self::NONE, Self)
    }

    /// Its place in the table.
    #[inline]
    pub(in crate::fleet) const fn place(self) -> usize {
        self.0 as usize
    }

    /// As a number, to be interned.
    #[inline]
    pub(in crate::fleet) const fn number(self) -> u32 {
        self.0
    }

    /// A row that was interned.
    #[inline]
    pub(in crate::fleet) const fn of_number(number: u32) -> Self {
        Self(number)
    }

    /// Whose row of the vCPU's part it is.
    pub(in crate::fleet) const fn config(self) -> Option<u32> {
        self.0.checked_sub(1)
    }

    /// Whose row of the list's part it is.
    pub(in crate::fleet) const fn list(self) -> Option<u32> {
        self.0.checked_sub(2)
    }

    /// Whose row of a register's part it is.
    pub(in crate::fleet) const fn value(self) -> Option<u32> {
        self.0.checked_sub(1)
    }

    /// Whose row of the part of a digit it is: configuration and digit.
    pub(in crate::fleet) const fn digit(self) -> Option<(u32, u32)> {
        match self.0.checked_sub(1) {
            Some(row) => Some((row / DIGITS, row % DIGITS)),
            None => None,
        }
    }

    /// How many rows a part has for so many configurations.
    pub(in crate::fleet) const fn for_configs(configs: usize) -> usize {
        configs + 1
    }

    /// The same for so many lists.
    pub(in crate::fleet) const fn for_lists(lists: usize) -> usize {
        lists + 2
    }

    /// The same for so many values.
    pub(in crate::fleet) const fn for_values(values: usize) -> usize {
        values + 1
    }

    /// The same for the digits of so many configurations.
    pub(in crate::fleet) const fn for_digits(configs: usize) -> usize {
        configs * DIGITS as usize + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_and_read_by_one_numbering() {
        for number in [0, 1, 5, 200] {
            assert_eq!(PartRow::of_config(number).config(), Some(number));
            assert_eq!(PartRow::of_list(number).list(), Some(number));
            assert_eq!(PartRow::of_value(number).value(), Some(number));
            assert_eq!(PartRow::of_digit(number, 7).digit(), Some((number, 7)));
            let count = number as usize + 1;
            assert_eq!(PartRow::of_config(number).place() + 1, PartRow::for_configs(count));
            assert_eq!(PartRow::of_list(number).place() + 1, PartRow::for_lists(count));
            assert_eq!(PartRow::of_value(number).place() + 1, PartRow::for_values(count));
            assert_eq!(PartRow::of_digit(number, 15).place() + 1, PartRow::for_digits(count));
        }
        let silent = PartRow::SILENT;
        assert_eq!((silent.config(), silent.list(), silent.value(), silent.digit()), (None, None, None, None));
        assert_eq!(PartRow::UNUSABLE.list(), None);
    }
}
