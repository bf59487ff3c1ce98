//! Which rules registers have that KVM does not look at.

use crate::answers::State;
use crate::id::RegisterId;
use crate::rules::aftermath::{is_masked, masks};
use crate::rules::facts::{Facts, PROBE};
use crate::rules::rule::Rule;

/// How KVM stores a register that it does not look at. The masks of nested VMs are made at the first run: before it a value
/// is stored as written, later it loses its reserved bits (`__vcpu_assign_sys_reg`; run on 6.16.12, 7.0.13, 7.3.4).
pub(in crate::rules) fn stored(register: RegisterId, facts: &Facts<'_>) -> Rule {
    if facts.state == State::Fresh || !facts.config.has("has_el2") || !is_masked(register) {
        return Rule::Kept;
    }
    masks(facts)
        .into_iter()
        .find(|(id, ..)| *id == register)
        .map_or(Rule::Unknown(PROBE), |(_, mask, _)| Rule::Masked(mask))
}
