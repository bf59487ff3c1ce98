//! Which rules core, SVE and timer state has (specification, section 4).

use crate::catalog;
use crate::id::RegisterId;
use crate::rules::facts::{Facts, PROBE};
use crate::rules::rule::Rule;
use crate::rules::state::{
    Cut, EXPIRED, Modes, Narrowing, SUPERVISOR, SYSTEM_MODE, SveState, TimerControl, USER_MODE, bytes_of_quadword,
    is_aarch32, longest_vector, mode,
};
use crate::value::Value;

const USER: u32 = 1 << USER_MODE;
const SYSTEM: u32 = 1 << SYSTEM_MODE;
/// FIQ, IRQ, Supervisor, Abort, Undefined. Monitor (0x16) and Hyp (0x1a) are no guest's.
const PRIVILEGED: u32 = 1 << 0x11 | 1 << 0x12 | 1 << 0x13 | 1 << 0x17 | 1 << 0x1b;
/// `EL0t`, `EL1t`, `EL1h`.
const AARCH64: u32 = 1 | 1 << 4 | 1 << 5;
/// `EL2t`, `EL2h`.
const HYPERVISOR: u32 = 1 << 8 | 1 << 9;

/// PSTATE: only the low 5 bits are looked at, and the mode must be one that the vCPU has (`set_core_reg`,
/// `arch/arm64/kvm/guest.c`; read in 5.10.y and in a current tree, run on 6.1 and 6.12); all 64 bits are stored. AArch32
/// User needs it on the host, the other AArch32 modes a vCPU with `el1_32bit`, which has no AArch64 mode; EL2 needs `has_el2`.
pub(in crate::rules) fn processor_state(facts: &Facts<'_>) -> Rule {
    let (mut taken, mut untold) = (0, 0);
    if facts.config.has("el1_32bit") {
        taken |= PRIVILEGED;
        if facts.knows_aarch32_modes() { taken |= SYSTEM } else { untold |= SYSTEM }
    } else {
        taken |= AARCH64;
        if facts.config.has("has_el2") {
            taken |= HYPERVISOR;
        }
    }
    match facts.has_aarch32() {
        Some(true) => taken |= USER,
        Some(false) => {}
        None => untold |= USER,
    }
    Rule::ProcessorState(Modes { taken, untold })
}

/// X0 to X30 and the PC: every write to a core register of a vCPU that is in an AArch32 mode cuts general registers to 32
/// bits, those written before as well: PSTATE comes last. From 5.11 on X0 to X14 and the PC, in privileged modes up to
/// X30 (commit 6ac4a5ac50d1); in 5.10 the 16 that the mode sees (both read). Kernels that look at all of PSTATE cut all
/// ([`Facts::knows_aarch32_modes`]). A fresh vCPU with `el1_32bit` is in Supervisor, and so is one after the run of a guest that
/// does not change it.
pub(in crate::rules) fn general(register: RegisterId, own: u64, facts: &Facts<'_>) -> Rule {
    let begins = if facts.config.has("el1_32bit") { SUPERVISOR } else { 0 };
    let fresh = facts.word(RegisterId::PSTATE).and_then(mode).unwrap_or(begins);
    let number = register.general_number();
    let rule = |cut| Rule::Narrowed(Narrowing { own, number, fresh, cut });
    let knows_modes = facts.knows_aarch32_modes();
    if !is_aarch32(fresh) && number.is_some_and(|number| number >= 15) {
        // A vCPU of AArch64 can be in AArch32 User only.
        return if knows_modes { Rule::Kept } else { Rule::AnyOf([Rule::Kept, rule(Cut::All)].into(), PROBE) };
    }
    match (facts.at_least(5, 10), facts.at_least(5, 11)) {
        (_, Some(true)) if knows_modes => rule(Cut::Seen),
        (Some(true), Some(false)) if knows_modes => rule(Cut::Banked),
        (_, Some(true)) => Rule::AnyOf([rule(Cut::Seen), rule(Cut::All)].into(), PROBE),
        (Some(true), _) => Rule::AnyOf([rule(Cut::Seen), rule(Cut::Banked), rule(Cut::All)].into(), PROBE),
        // Of 5.3 to 5.9 no tree was read.
        _ => Rule::AnyOf([Rule::Kept, rule(Cut::Seen), rule(Cut::Banked), rule(Cut::All)].into(), PROBE),
    }
}

/// Z, P and FFR: bytes beyond the longest vector of the vCPU are not stored and read 0 (`sve_reg_to_region`,
/// `arch/arm64/kvm/guest.c`, the same in 5.10.y and a current tree).
pub(in crate::rules) fn sve_state(register: RegisterId, own: &Value, facts: &Facts<'_>) -> Rule {
    let longest = facts.value(RegisterId::SVE_VLS).and_then(longest_vector);
    Rule::SveState(SveState { own: own.clone(), longest, bytes: bytes_of_quadword(register), lengths_are_own: false })
}

/// `CNTV_CTL_EL0` and `CNTP_CTL_EL0`, never refused. ISTATUS, whether the timer has expired, is not stored. Up to 6.17
/// reads compute it, so that a fresh vCPU, whose timer is set to 0, shows it (5.10 to 6.16 run); from 6.18 on they give what is
/// stored, and a fresh vCPU shows 0 (6.18.15 to 7.3.4 run; restores of 6.16 on 6.18 read 0 for 4). What a guest reads comes
/// from the hardware. Earlier kernels store 32 bits (`timer_set_ctl`, `arch/arm64/kvm/arch_timer.c`).
///
/// `CNTHP_CTL_EL2` and `CNTHV_CTL_EL2` of nested VMs had no setter before (`EL2_REG`, a tree of 6.15 read, 6.16.12 run), and have
/// that of the others since (`TIMER_REG`, the same series read; 6.18.15 run).
pub(in crate::rules) fn timer_control(register: RegisterId, own: u64, facts: &Facts<'_>) -> Rule {
    let rule = |stored| Rule::TimerControl(TimerControl { own, stored });
    let either = |before| Rule::AnyOf([before, rule(Some(true))].into(), facts.untold());
    let is_nested = matches!(register, catalog::CNTHP_CTL_EL2 | catalog::CNTHV_CTL_EL2);
    match facts.at_least(6, 18) {
        Some(false) if is_nested => Rule::Kept,
        None if is_nested => either(Rule::Kept),
        Some(false) => rule(Some(false)),
        // It shows what was not stored.
        _ if own & EXPIRED != 0 => rule(None),
        Some(true) => rule(Some(true)),
        None => either(rule(Some(false))),
    }
}

#[cfg(test)]
mod tests;
