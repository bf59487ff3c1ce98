//! Questions: pairs, candidates, matrices, counts, the audit and what is in the way.

pub(in crate::fleet) mod arcs;
pub(in crate::fleet) mod audit;
pub(in crate::fleet) mod candidates;
mod counter;
pub(in crate::fleet) mod counts;
pub(in crate::fleet) mod emptying;
pub(in crate::fleet) mod gather;
pub(in crate::fleet) mod in_the_way;
pub(in crate::fleet) mod matrix;
pub(in crate::fleet) mod pairs;
pub(in crate::fleet) mod unit_rows;
