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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{ID_AA64DFR0, ID_AA64PFR0};
    use crate::rules::pmu::{PMCNTENSET, PMINTENCLR};
    use crate::rules::{Release, is_upstream};

    const TIMER: RegisterId = RegisterId::system(3, 3, 14, 3, 1);
    const COUNTER: RegisterId = RegisterId::system(3, 3, 14, 8, 4);
    const SWINC: RegisterId = RegisterId::system(3, 3, 9, 12, 4);

    /// What is left of a value on a vCPU of this kernel with 6 counters and this PMU version.
    fn left(release: &str, version: u64, pmu: bool, register: RegisterId, value: u64) -> u64 {
        let is_vendors = !is_upstream(release);
        let kernel = Facts { release: Release::parse(release), is_vendors, ..Facts::default() };
        left_by_guest(register, value, pmu, &kernel, |id| match id {
            PMCR => Some(6 << 11),
            ID_AA64DFR0 => Some(version << catalog::PMU_VERSION.shift),
            _ => None,
        })
    }

    #[test]
    fn a_guest_writes_its_timers_and_its_pmu() {
        for register in [TIMER, COUNTER, SWINC, PMCNTENSET, PMINTENCLR, PMCR, PMCCNTR] {
            assert!(is_guests(register), "{register}");
        }
        for register in [ID_AA64PFR0, RegisterId::PC, RegisterId::system(3, 3, 14, 3, 2)] {
            assert!(!is_guests(register), "{register}");
        }
    }

    #[test]
    fn a_timer_may_be_enabled_masked_and_expired() {
        for pmu in [false, true] {
            assert_eq!([0, 0x17].map(|value| left("7.3.4", 1, pmu, TIMER, value)), [0b111, 0x17]);
        }
    }

    #[test]
    fn every_counter_that_there_is_may_count() {
        for (value, expected) in [(0, 0x8000_003f), (0x100, 0x8000_013f), (0x8000_0003, 0x8000_003f)] {
            assert_eq!(left("7.3.4", 1, true, PMCNTENSET, value), expected);
            assert_eq!(left("7.3.4", 1, false, PMCNTENSET, value), value);
        }
        let unknown = Facts::default();
        assert_eq!(left_by_guest(PMINTENCLR, 2, true, &unknown, |_| None), 0x8000_0002);
    }

    #[test]
    fn a_counter_is_long_from_pmuv3p5_on_and_where_a_kernel_may_keep_all_of_it() {
        for (release, version, expected) in [
            ("6.12.8", 6, u64::MAX),
            ("6.12.8", 5, 0xffff_ffff),
            ("6.12.8", 0xf, 0xffff_ffff),
            ("6.1.22", 5, u64::MAX),
            ("6.2.9", 5, u64::MAX),
            ("linux", 5, u64::MAX),
        ] {
            assert_eq!(left(release, version, true, COUNTER, 0), expected, "{release}, {version}");
        }
        assert_eq!(left("6.12.8", 1, true, COUNTER, 1 << 40 | 5), 1 << 40 | 0xffff_ffff);
        assert_eq!(left("6.12.8", 6, false, COUNTER, 7), 7);
        assert_eq!([left("6.12.8", 1, true, PMCCNTR, 0), left("6.12.8", 1, false, PMCCNTR, 5)], [u64::MAX, 5]);
        assert_eq!(left("6.12.8", 1, true, RegisterId::PC, 5), 5);
    }

    /// f6da81f650fa came with 6.3 and 6.1.24; from 6.15 on the first run does not write `PMCR_EL0` again.
    #[test]
    fn a_guest_leaves_its_resets_where_the_kernel_keeps_them() {
        for (release, expected) in [
            ("5.10.223", [0x3006, 0x3007]),
            ("6.1.23", [0x3006, 0x3007]),
            ("6.1.24", [0x3000, 0x3001]),
            ("6.12.8", [0x3000, 0x3001]),
            ("6.13.1", [0x3006, 0x3007]),
            ("7.3.4", [0x3000, 0x3003]),
            ("6.12.8-mine", [0x3006, 0x3007]),
        ] {
            assert_eq!([0x3000, 0x3003].map(|value| left(release, 1, true, PMCR, value)), expected, "{release}");
        }
        assert_eq!(left("6.12.8", 1, false, PMCR, 0x3003), 0x3003);
    }
}
