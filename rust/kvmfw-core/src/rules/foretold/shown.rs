//! What KVM makes of the fields of ID registers before it shows them to a VM (specification, 3.4): data, by kernel.

use super::kernel::Kernel;
use crate::catalog::{
    ID_AA64DFR0, ID_AA64ISAR1, ID_AA64ISAR2, ID_AA64MMFR3, ID_AA64MMFR4, ID_AA64PFR0, ID_AA64PFR1, ID_AA64PFR2,
    ID_AA64ZFR0, ID_DFR0,
};
use crate::id::RegisterId;
use crate::rules::facts::Facts;
use crate::rules::release::Release;

const ID_MMFR4: RegisterId = RegisterId::system(3, 0, 0, 2, 6);
const ID_PFR1: RegisterId = RegisterId::system(3, 0, 0, 1, 1);
const ID_AA64SMFR0: RegisterId = RegisterId::system(3, 0, 0, 4, 5);
const ID_AA64FPFR0: RegisterId = RegisterId::system(3, 0, 0, 4, 7);
const ID_AA64ISAR3: RegisterId = RegisterId::system(3, 0, 0, 6, 3);
const ID_AA64MMFR2: RegisterId = RegisterId::system(3, 0, 0, 7, 2);

/// What a 4-bit field of a fresh vCPU shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// What the hardware has.
    Hardware,
    /// What the hardware has, but no more than this.
    AtMost(u64),
    /// This, whatever the hardware has.
    Fixed(u64),
    /// 1 where the host has a `GICv3`.
    Gic,
    /// What the hardware has; with an interrupt controller it may be that one's.
    Gic32,
    /// What the hardware has, or 1 where the host is not affected by Spectre v2.
    Csv2,
    /// What the hardware has, or 1 where the host is not affected by Meltdown.
    Csv3,
    /// Not known.
    Unknown,
}

const ZERO: Show = Show::Fixed(0);

const fn release(major: u32, minor: u32, patch: u32) -> Release {
    Release::new(major, minor, patch)
}

/// The first one, before a change, the other after it.
fn change(has: Option<bool>, before: Show, after: Show) -> Show {
    match has {
        Some(true) => after,
        Some(false) => before,
        None if before == after => before,
        None => Show::Unknown,
    }
}

/// What `kernel` makes of the field at `shift` of `register`, for a vCPU that is made as `facts` say.
///
/// Trees 5.10.262, 6.1.192, 6.12.8, 6.12.117, 6.16.12 to 7.3.4 read, 5.10.223 to 7.3.4 run; dumps of Amazon's 5.10, 6.1 and 6.18 on
/// Graviton 2 and 4 show the same. Where a change went in between two of them, what is between is not known.
pub(super) fn shown(register: RegisterId, shift: u32, facts: &Facts<'_>, kernel: &Kernel) -> Show {
    let config = facts.config;
    let if_made = |made: bool| if made { Show::Hardware } else { ZERO };
    let has_pointer_keys = config.has("ptrauth_address") && config.has("ptrauth_generic");
    // The registers that came with 6.12 read as zero in 5.10 and 6.1 (`raz_visibility`, images of both).
    let since_6_12 = |after| change(kernel.has(release(6, 1, 192), release(6, 12, 8)), ZERO, after);
    let has_debug_limit = kernel.has(release(5, 10, 262), release(6, 1, 4));
    match (register, shift) {
        (ID_AA64PFR0, 32) | (ID_AA64ZFR0, _) => if_made(config.has("sve")),
        (ID_AA64PFR0, 44)
        | (ID_AA64PFR1, 24 | 28 | 36 | 44 | 48 | 52 | 60)
        | (ID_AA64SMFR0, _)
        | (ID_AA64MMFR3, 12 | 20..)
        | (ID_AA64MMFR4, ..=16 | 28..) => ZERO,
        (ID_AA64PFR0, 40) | (ID_AA64PFR1, 16) => {
            change(kernel.has(release(6, 11, u32::MAX), release(6, 12, 8)), Show::Hardware, ZERO)
        }
        (ID_AA64PFR0, 24) => change(has_debug_limit, Show::Hardware, Show::Gic),
        (ID_AA64PFR0, 56) => change(kernel.at_least(5, 10), Show::Unknown, Show::Csv2),
        (ID_AA64PFR0, 60) => change(kernel.at_least(5, 11), Show::Hardware, Show::Csv3),
        (ID_AA64PFR1, 8 | 40) => if_made(config.is_enabled("mte")),
        (ID_AA64PFR2, 4 | 8) => since_6_12(if_made(config.is_enabled("mte"))),
        // GICv5: 0 before 7.1, which makes none.
        (ID_AA64PFR2, 12) => change(kernel.has(release(7, 0, 13), release(7, 1, 8)), ZERO, Show::Unknown),
        (ID_AA64PFR2 | ID_AA64FPFR0, _) | (ID_AA64MMFR3, 0 | 4 | 8) | (ID_AA64MMFR4, 24) => since_6_12(Show::Hardware),
        (ID_AA64ISAR1, 4 | 8 | 24 | 28) | (ID_AA64ISAR2, 8 | 12) => if_made(has_pointer_keys),
        // LS64 is shown where KVM supports it, which came with the field.
        (ID_AA64ISAR1, 60) => Show::Unknown,
        (ID_AA64ISAR3, _) | (ID_AA64MMFR4, 20) => {
            change(kernel.has(release(6, 12, 118), release(6, 16, 3)), ZERO, Show::Hardware)
        }
        (ID_AA64DFR0, 0) => match (has_debug_limit, kernel.has(release(6, 1, 192), release(6, 12, 8))) {
            (_, Some(true)) => Show::AtMost(0xa),
            (Some(false), _) => Show::Hardware,
            (Some(true), Some(false)) => Show::Fixed(6),
            _ => Show::Unknown,
        },
        (ID_AA64DFR0, 8) | (ID_DFR0, 24) => {
            match (has_debug_limit, kernel.has(release(6, 1, 192), release(6, 12, 8))) {
                // 5.10 shows a PMU to VMs without one (PMUv3 of 8.1 at most).
                (Some(false), _) => Show::AtMost(4),
                (Some(true), _) if !config.has("pmu_v3") => ZERO,
                (_, Some(true)) => Show::AtMost(6),
                (Some(true), Some(false)) => Show::AtMost(5),
                _ => Show::Unknown,
            }
        }
        (ID_AA64DFR0, 32) => change(has_debug_limit, Show::Hardware, ZERO),
        (ID_DFR0, 0) => change(kernel.has(release(6, 1, 192), release(6, 12, 8)), Show::Hardware, Show::AtMost(0xa)),
        // Commit 7af0c2534f4c of 6.3.
        (ID_AA64MMFR2, 20) | (ID_MMFR4, 24) => change(kernel.at_least(6, 3), Show::Hardware, ZERO),
        (ID_AA64MMFR2, 24) => change(kernel.has(release(6, 12, 118), release(6, 16, 3)), Show::Hardware, ZERO),
        // Where the kernel does not support it 6.12.117 and 7.1.8 show 0, 6.17.8 to 6.19.14 what the hardware has.
        (ID_AA64MMFR3, 16) => match (
            kernel.has(release(6, 1, 192), release(6, 12, 8)),
            kernel.has(release(6, 15, u32::MAX), release(6, 17, 8)),
            kernel.has(release(6, 19, 14), release(6, 19, 15)),
        ) {
            (Some(false), ..) => ZERO,
            (_, Some(true), Some(false)) => Show::Hardware,
            _ => Show::Unknown,
        },
        (ID_PFR1, 28) => change(kernel.has(release(6, 17, 13), release(6, 18, 15)), Show::Hardware, Show::Gic32),
        _ => Show::Hardware,
    }
}
