//! Firmware registers: what their levels are under another kernel (specification, 1.4 to 1.7, 8.1, 12.9).

use super::kernel::{Kernel, Surface, Told};
use crate::catalog::{self, ID_AA64PFR0, WORKAROUND_1, WORKAROUND_2, WORKAROUND_3};
use crate::id::RegisterId;
use crate::rules::facts::Facts;
use crate::rules::psci;

/// Part numbers of Arm's CPUs that no kernel takes for affected by Spectre BHB: A35, A53, A55, A510, A520.
const SAFE: [u64; 5] = [0xd04, 0xd03, 0xd05, 0xd46, 0xd80];
/// Those of Arm's CPUs that every kernel with the register mitigates in a loop: the lists that came with it in March 2022 (A57, A72,
/// A76, A77, N1, A78, A78C, X1, A710, X2, N2, V1).
const LOOPED: [u64; 12] = [0xd07, 0xd08, 0xd0b, 0xd0d, 0xd0c, 0xd41, 0xd4b, 0xd44, 0xd47, 0xd48, 0xd49, 0xd40];
const ARM: u64 = 0x41;
/// Levels are 0, 1 and 2.
const LEVEL: u64 = 0x3;

pub(super) fn told(
    register: RegisterId,
    now: Option<u64>,
    facts: &Facts<'_>,
    surface: Surface<'_>,
    was: &Kernel,
    will: &Kernel,
) -> Told {
    // Levels of 5.3 to 5.9 are made otherwise.
    let both = was.at_least(5, 10) == Some(true) && will.at_least(5, 10) == Some(true) && !will.is_younger();
    let known = match register {
        catalog::PSCI_VERSION => return psci(facts, will),
        WORKAROUND_1 | WORKAROUND_2 => now.filter(|_| both),
        WORKAROUND_3 => now.filter(|now| both && keeps_bhb(*now, facts, surface, was, will)),
        _ => bitmap(register).filter(|_| !will.is_vendors && !will.is_younger()),
    };
    let levels = if register == WORKAROUND_2 { 0x13 } else { LEVEL };
    known.map_or_else(|| Told::but(0, levels), Told::word)
}

fn psci(facts: &Facts<'_>, will: &Kernel) -> Told {
    let newest = match facts.config.has("psci_0_2") {
        false => Some(psci::WITHOUT),
        true if will.is_younger() => None,
        true => psci::newest(|major, minor| will.at_least(major, minor)),
    };
    newest.map_or_else(|| Told::but(0x1_0000, 0x3), Told::word)
}

/// The services that a fresh VM has.
const fn bitmap(register: RegisterId) -> Option<u64> {
    match register.raw() & 0xffff {
        0 | 1 => Some(0x1),
        2 => Some(0x3),
        3 => Some(0),
        _ => None,
    }
}

/// Whether the level of Spectre BHB stays: it depends on lists of CPUs, which grow, and on whether CPUs in no list count as affected.
fn keeps_bhb(now: u64, facts: &Facts<'_>, surface: Surface<'_>, was: &Kernel, will: &Kernel) -> bool {
    let csv2 = facts.bits(ID_AA64PFR0, 0xf << 56).unwrap_or(0) >> 56;
    let is_arms = surface.midr >> 24 & 0xff == ARM;
    let part = surface.midr >> 4 & 0xfff;
    // 5.10.223 does not know this option.
    if surface.option("nospectre_bhb") {
        return false;
    }
    match now {
        2 => csv2 >= 3 || (is_arms && SAFE.contains(&part)),
        1 => {
            (is_arms && LOOPED.contains(&part)) || (!was.is_vendors && !will.is_vendors && was.release <= will.release)
        }
        // Without a mitigation of Spectre v2 there is none of this.
        0 => facts.word(WORKAROUND_1) == Some(0) || surface.option("mitigations=off"),
        _ => false,
    }
}
