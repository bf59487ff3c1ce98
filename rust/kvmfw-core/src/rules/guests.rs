//! What a guest itself writes, of the registers that KVM looks at: those of its PMU and its timers. (PSTATE and general registers
//! are a guest's too, but a host without the mode of a guest refuses its ID registers already.)

use super::aftermath::{self, Resets};
use super::derive::pmu::reads_low;
use super::facts::Facts;
use super::pmu::{CYCLES, MOST, NOT_ARCHITECTED, V3P5};
use super::state::EXPIRED;
use crate::catalog::{self, Kind, PMCCNTR, PMCR};
use crate::id::RegisterId;

/// ENABLE and IMASK of a timer.
const ENABLED_MASKED: u64 = 0b11;

/// Whether KVM looks at the register and a guest writes it, so that nobody outside of the guest knows its value.
pub fn is_guests(register: RegisterId) -> bool {
    use Kind::{PmuBits, PmuControl, PmuCounter, PmuIncrement, TimerControl};
    let is_guests_kind =
        matches!(catalog::kind_of(register), PmuControl | PmuBits | PmuIncrement | PmuCounter | TimerControl);
    is_guests_kind || register == PMCCNTR
}

/// What asks most of a host, of all that a register of this value can hold once a guest has run: on a vCPU with these values, with
/// or without a PMU of its own, under this kernel.
pub fn left_by_guest(
    register: RegisterId,
    value: u64,
    pmu: bool,
    kernel: &Facts<'_>,
    word: impl Fn(RegisterId) -> Option<u64>,
) -> u64 {
    match catalog::kind_of(register) {
        Kind::TimerControl => value | ENABLED_MASKED | EXPIRED,
        Kind::PmuBits if pmu => {
            let counters = word(PMCR).unwrap_or(0) >> 11 & MOST;
            value | CYCLES | ((1 << counters) - 1)
        }
        Kind::PmuCounter if pmu => {
            let version = word(catalog::ID_AA64DFR0).and_then(|word| catalog::PMU_VERSION.of(word));
            let is_long = matches!(version, Some(V3P5..NOT_ARCHITECTED)) || reads_low(kernel) != Some(true);
            value | if is_long { u64::MAX } else { u64::from(u32::MAX) }
        }
        Kind::PmuControl if pmu => match aftermath::left_resets(kernel) {
            Resets::MayBeLeft(bits) => value | bits,
            Resets::Cleared(bits) => value & !bits,
            Resets::AsWritten => value,
        },
        _ if pmu && register == PMCCNTR => u64::MAX,
        _ => value,
    }
}
