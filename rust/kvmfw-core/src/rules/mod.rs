//! The rulebook: how kernels decide a register, where the host was not asked.
//!
//! [`derive()`] looks at what was observed on a host and gives the [`Rule`] by which its KVM decides one
//! register. A rule is data: two hosts with the same rule for a register are one to kvmfw.
//! Section numbers in comments are those of the specification (`docs/semantics.md` sums it up).

pub(crate) mod aftermath;
mod cache;
mod check;
mod derive;
mod facts;
mod fields;
mod firmware;
mod foretold;
mod guests;
mod hidden;
mod identification;
mod implementation;
mod judged;
mod known;
mod pmu;
mod pmu_bits;
mod proved;
mod psci;
mod release;
mod rule;
mod smt;
mod state;
mod surroundings;
mod tables;
mod terms;
mod trees;

pub use aftermath::Mask;
pub(crate) use derive::beside::derive_beside;
pub use derive::derive;
pub(crate) use derive::listing::hides;
pub use facts::{Context, Facts};
pub use fields::{FieldDifference, check_features, field_differences, named_fields};
pub(crate) use firmware::reads;
pub use foretold::{Kernel, Surface, Told, foretell, foretell_list, foretell_made};
pub use guests::{is_guests, left_by_guest};
pub(crate) use hidden::{NOT_KNOWN, NOT_LISTED};
pub(crate) use identification::MASKS_CAPABILITY;
pub(crate) use judged::judged_value;
pub use known::{KnownField, KnownRegister, known_registers, known_releases};
pub(crate) use pmu_bits::{
    Names as PmuNames, context as pmu_context, judged_bits as judged_pmu_bits, other_name, torn as torn_pmu_pair,
};
pub(crate) use proved::is_proved;
pub use psci::VERSIONS as PSCI_VERSIONS;
pub(crate) use release::{LATE_FEATURES, has_change};
pub use release::{Release, is_upstream};
pub use rule::Rule;
pub use smt::{Formulas, Fresh};
pub(crate) use state::{is_aarch32, judged as judged_state, longest_vector, mode, quadwords};

#[cfg(test)]
mod tests;
