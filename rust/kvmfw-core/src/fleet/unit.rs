//! Units by number: the vCPU, the list, then one for each register whose value is looked at.

/// The number of a unit in one fleet. Only here is known that register units come after two others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::fleet) struct UnitNumber(usize);

/// Units before those of registers.
const OTHERS: usize = 2;

/// In place of a unit number: every unit accepts.
pub const NO_UNIT: u16 = u16::MAX;

impl UnitNumber {
    /// The unit that judges the vCPU as a whole.
    pub(in crate::fleet) const VCPU: Self = Self(0);
    /// The unit that judges the register list.
    pub(in crate::fleet) const LIST: Self = Self(1);

    /// The unit of a register, by its place among register units.
    pub(in crate::fleet) const fn of_register(at: usize) -> Self {
        Self(OTHERS + at)
    }

    /// Its place among register units; `None` for the vCPU and the list.
    pub(in crate::fleet) const fn register(self) -> Option<usize> {
        self.0.checked_sub(OTHERS)
    }

    /// How many units there are beside so many of registers.
    pub(in crate::fleet) const fn count(registers: usize) -> usize {
        OTHERS + registers
    }

    /// All units, where so many are of registers.
    pub(in crate::fleet) fn all(registers: usize) -> impl Iterator<Item = Self> {
        (0..Self::count(registers)).map(Self)
    }

    /// Its place among all units.
    pub(in crate::fleet) const fn at(self) -> usize {
        self.0
    }

    /// As answers tell it.
    pub(in crate::fleet) fn told(self) -> u16 {
        u16::try_from(self.0).unwrap_or(NO_UNIT)
    }
}
