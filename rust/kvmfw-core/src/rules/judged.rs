//! What decides of a value, on whatever host.

use super::facts::Context;
use super::{pmu_bits, state, surroundings};
use crate::catalog;
use crate::id::RegisterId;
use crate::value::Value;

/// What the rules look at in a value of `register`: values of which this is the same get the same outcome on every
/// host. The counters of a PMU run, so that no two VMs would be of one class if all their bits counted.
pub(crate) fn judged_value(register: RegisterId, value: &Value, context: Context) -> Value {
    let of_state = state::judged(register, value);
    let beside = |word: u64| surroundings::judged_beside(catalog::kind_of(register), word);
    of_state
        .or_else(|| value.word().map(beside).filter(|_| register.is_surrounding()))
        .or_else(|| value.word().map(|word| pmu_bits::judged_bits(register, word, context)))
        .map_or_else(|| value.clone(), Value::Word)
}
