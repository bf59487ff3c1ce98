//! Versions: who there is, and how one version becomes the next. Readers keep a version as long as they like.

pub(in crate::fleet) mod by_class;
pub(in crate::fleet) mod change;
pub(in crate::fleet) mod classes;
mod column;
pub(in crate::fleet) mod commit;
pub(in crate::fleet) mod left;
pub(in crate::fleet) mod map;
pub(in crate::fleet) mod members;
pub(in crate::fleet) mod named;
mod names;
pub(in crate::fleet) mod neighbours;
pub(in crate::fleet) mod places;
mod rows;
pub(in crate::fleet) mod shared;
pub(in crate::fleet) mod snapshot;
pub(in crate::fleet) mod step;
pub(in crate::fleet) mod tree;
pub(in crate::fleet) mod turn;
mod waiting;
pub(in crate::fleet) mod who;
