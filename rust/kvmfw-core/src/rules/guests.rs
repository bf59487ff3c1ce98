//! What a guest itself writes, of the registers that KVM looks at: those of its PMU and its timers. (PSTATE and general registers
//! are a guest's too, but a host without the mode of a guest refuses its ID registers already.)

use super::pmu::{CYCLES, MOST, NOT_ARCHITECTED, V3P5};
use super::state::EXPIRED;
use crate::catalog::{self, Kind};
use crate::id::RegisterId;

/// ENABLE and IMASK of a timer.
const ENABLED_MASKED: u64 = 0b11;

/// Whether KVM looks at the register and a guest writes it, so that nobody outside of the guest knows its value.
pub fn is_guests(register: RegisterId) -> bool {
    use Kind::{PmuBits, PmuControl, PmuCounter, PmuIncrement, TimerControl};
    matches!(catalog::kind_of(register), PmuControl | PmuBits | PmuIncrement | PmuCounter | TimerControl)
}

/// The bits that a guest can have set in a register, on a vCPU with these values and with or without a PMU of its own.
pub fn bits_of_guest(register: RegisterId, pmu: bool, word: impl Fn(RegisterId) -> Option<u64>) -> u64 {
    match catalog::kind_of(register) {
        Kind::TimerControl => ENABLED_MASKED | EXPIRED,
        Kind::PmuBits if pmu => {
            let counters = word(catalog::PMCR).unwrap_or(0) >> 11 & MOST;
            CYCLES | ((1 << counters) - 1)
        }
        Kind::PmuCounter if pmu => {
            let version = word(catalog::ID_AA64DFR0).and_then(|word| catalog::PMU_VERSION.of(word));
            if matches!(version, Some(V3P5..NOT_ARCHITECTED)) { u64::MAX } else { u64::from(u32::MAX) }
        }
        _ => 0,
    }
}
