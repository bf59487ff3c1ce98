//! What is judged once: what units say about values, joined to tables over classes.

pub(in crate::fleet) mod bit_rows;
pub(in crate::fleet) mod blocking;
pub(in crate::fleet) mod class_table;
pub(in crate::fleet) mod cover;
pub(in crate::fleet) mod digits;
pub(in crate::fleet) mod fresh;
pub(in crate::fleet) mod groups;
pub(in crate::fleet) mod joined;
pub(in crate::fleet) mod judged;
pub(in crate::fleet) mod masks;
pub(in crate::fleet) mod objectors;
pub(in crate::fleet) mod part_row;
pub(in crate::fleet) mod parts;
pub(in crate::fleet) mod split;
pub(in crate::fleet) mod world;
