//! Units by number: the vCPU, the list, then one for each register whose value is looked at.

/// The unit that judges the vCPU as a whole.
pub(in crate::fleet) const VCPU_UNIT: usize = 0;
/// The unit that judges the register list.
pub(in crate::fleet) const LIST_UNIT: usize = 1;
/// The first register unit.
pub(in crate::fleet) const FIRST_REGISTER_UNIT: usize = 2;

/// In place of a unit number: every unit accepts.
pub const NO_UNIT: u16 = u16::MAX;
