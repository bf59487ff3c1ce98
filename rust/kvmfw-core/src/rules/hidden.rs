//! What is said where bits of the fresh value are not known, as of a host that nobody asked under this kernel, or whose cores differ.

use crate::errno::Errno;
use crate::judgement::Effect;
use crate::value::Value;

pub(crate) const NOT_LISTED: &str =
    "it is not known whether this kernel lists the register on this host, or on all of its cores; probe it there";
pub(crate) const NOT_KNOWN: &str =
    "what this host has there is not known, or depends on the core; probe it under this kernel, on the cores of the VM";

/// A register that takes its own value only, of which `bits` are not known.
pub(super) fn judge_partly(value: &Value, own: u64, bits: u64) -> Effect {
    match value.word() {
        Some(word) if (word ^ own) & !bits == 0 => Effect::Unknown(NOT_KNOWN),
        _ => Effect::Refused(Some(Errno::EINVAL)),
    }
}
