//! Who is alike: rows of VMs and hosts become classes that no unit can tell apart.

pub(in crate::fleet) mod class_map;
pub(in crate::fleet) mod class_row;
pub(in crate::fleet) mod class_rows;
mod different;
pub(in crate::fleet) mod hosts;
pub(in crate::fleet) mod intake;
pub(in crate::fleet) mod intern;
pub(in crate::fleet) mod joining;
pub(in crate::fleet) mod kinds;
pub(in crate::fleet) mod layers;
mod memo;
pub(in crate::fleet) mod runs;
pub(in crate::fleet) mod saved;
pub(in crate::fleet) mod shape;
pub(in crate::fleet) mod vms;
