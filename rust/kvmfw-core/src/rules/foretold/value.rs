//! The value of any register under another kernel.

use super::kernel::{Kernel, Surface, Told};
use super::{fields, levels, state};
use crate::catalog::{self, Kind};
use crate::id::RegisterId;
use crate::rules::facts::Facts;
use crate::value::Value;

/// What a fresh vCPU reads in `register` under the kernel `will`, if that lists it; `facts` are those of the host under `was`.
pub fn foretell(register: RegisterId, facts: &Facts<'_>, surface: Surface<'_>, was: &Kernel, will: &Kernel) -> Told {
    let now = facts.value(register);
    if let Some(wide @ Value::Wide(_)) = now {
        return Told { value: wide.clone(), hidden: 0, hardware: None };
    }
    let now = now.and_then(Value::word);
    let all = if register.size() >= 8 { u64::MAX } else { (1 << (8 * register.size())) - 1 };
    if was.is(will) {
        return now.map_or_else(|| Told::but(0, all), Told::word);
    }
    match catalog::kind_of(register) {
        Kind::Identification | Kind::CacheType => fields::told(register, now, facts, surface, was, will),
        Kind::Level | Kind::Workaround2 | Kind::PsciVersion | Kind::Bitmap(_) => {
            levels::told(register, now, facts, surface, was, will)
        }
        _ => state::told(register, now, facts, was, will).unwrap_or_else(|| Told::but(0, all)),
    }
}
