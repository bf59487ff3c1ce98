//! Core and SVE state, which KVM stores, but not every mode and not every bit (specification, section 4).

use std::sync::Arc;

use super::pmu::taken;
use super::{Context, Facts, PROBE, Rule, keep_if};
use crate::catalog::{self, Kind};
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::judgement::Effect;
use crate::value::Value;

const MODE: u64 = 0x1f;
/// The bit of the AArch32 modes.
const AARCH32: u64 = 0x10;
const USER_MODE: u8 = 0x10;
const SUPERVISOR: u8 = 0x13;
const SYSTEM_MODE: u8 = 0x1f;
const USER: u32 = 1 << USER_MODE;
const SYSTEM: u32 = 1 << SYSTEM_MODE;
/// FIQ, IRQ, Supervisor, Abort, Undefined. Monitor (0x16) and Hyp (0x1a) are no guest's.
const PRIVILEGED: u32 = 1 << 0x11 | 1 << 0x12 | 1 << 0x13 | 1 << 0x17 | 1 << 0x1b;
/// `EL0t`, `EL1t`, `EL1h`.
const AARCH64: u32 = 1 | 1 << 4 | 1 << 5;
/// `EL2t`, `EL2h`.
const HYPERVISOR: u32 = 1 << 8 | 1 << 9;

/// The modes that PSTATE can be written with, a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Modes {
    taken: u32,
    /// Modes of which it is not known.
    untold: u32,
}

/// PSTATE: only the low 5 bits are looked at, and the mode must be one that the vCPU has (`set_core_reg`,
/// `arch/arm64/kvm/guest.c`; read in 5.10.y and in a current tree, run on 6.1 and 6.12); all 64 bits are stored. AArch32
/// User needs it on the host, the other AArch32 modes a vCPU with `el1_32bit`, which has no AArch64 mode; EL2 needs `has_el2`.
pub(super) fn processor_state(facts: &Facts<'_>) -> Rule {
    let (mut taken, mut untold) = (0, 0);
    if facts.config.has("el1_32bit") {
        taken |= PRIVILEGED;
        // The trees that were read have it; of 5.3 to 5.9 none was.
        if facts.at_least(5, 10) == Some(true) { taken |= SYSTEM } else { untold |= SYSTEM }
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

/// What the architecture calls the modes.
const NAMES: [(u32, &str); 12] = [
    (0x00, "EL0t"),
    (0x04, "EL1t"),
    (0x05, "EL1h"),
    (0x08, "EL2t"),
    (0x09, "EL2h"),
    (0x10, "AArch32 User"),
    (0x11, "AArch32 FIQ"),
    (0x12, "AArch32 IRQ"),
    (0x13, "AArch32 Supervisor"),
    (0x17, "AArch32 Abort"),
    (0x1b, "AArch32 Undefined"),
    (0x1f, "AArch32 System"),
];

impl Modes {
    /// The names of the modes that are taken.
    pub(crate) fn names(self) -> Vec<&'static str> {
        NAMES.iter().filter(|(mode, _)| self.taken >> mode & 1 == 1).map(|(_, name)| *name).collect()
    }

    pub(super) fn judge(self, value: &Value) -> Effect {
        let Some(word) = value.word() else { return Effect::Refused(Some(Errno::EINVAL)) };
        let mode = 1 << (word & MODE);
        if self.untold & mode != 0 { Effect::Unknown(PROBE) } else { keep_if(self.taken & mode != 0, Errno::EINVAL) }
    }
}

/// The mode in a value of PSTATE.
pub(crate) fn mode(pstate: u64) -> Context {
    u8::try_from(pstate & MODE).ok()
}

/// Whether a vCPU in this mode is in AArch32.
pub(crate) fn is_aarch32(mode: u8) -> bool {
    u64::from(mode) & AARCH32 != 0
}

/// When one general register loses its upper half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Narrowing {
    /// The fresh value.
    own: u64,
    /// The number of the register; `None` for the PC.
    number: Option<u64>,
    /// The mode of a fresh vCPU.
    fresh: u8,
    /// Whether privileged modes cut the registers that they see, not all.
    banked: bool,
}

/// X0 to X30 and the PC: every write to a core register of a vCPU that is in an AArch32 mode cuts general registers to 32
/// bits, those written before as well: PSTATE comes last. From 5.11 on X0 to X14 and the PC, in privileged modes up to
/// X30 (commit 6ac4a5ac50d1); in 5.10 the 16 that the mode sees (both read). A fresh vCPU with `el1_32bit` is in Supervisor,
/// and so is one after the run of a guest that does not change it.
pub(super) fn general(register: RegisterId, own: u64, facts: &Facts<'_>) -> Rule {
    let begins = if facts.config.has("el1_32bit") { SUPERVISOR } else { 0 };
    let fresh = facts.word(RegisterId::PSTATE).and_then(mode).unwrap_or(begins);
    let number = register.general_number();
    if !is_aarch32(fresh) && number.is_some_and(|number| number >= 15) {
        // A vCPU of AArch64 can be in AArch32 User only.
        return Rule::Kept;
    }
    let rule = |banked| Rule::Narrowed(Narrowing { own, number, fresh, banked });
    match (facts.at_least(5, 10), facts.at_least(5, 11)) {
        (_, Some(true)) => rule(false),
        (Some(true), Some(false)) => rule(true),
        (Some(true), None) => Rule::AnyOf([rule(false), rule(true)].into(), facts.untold()),
        // Of 5.3 to 5.9 no tree was read.
        _ => Rule::AnyOf([Rule::Kept, rule(false), rule(true)].into(), PROBE),
    }
}

impl Narrowing {
    /// `context` is the mode of the VM.
    pub(super) fn judge(self, value: &Value, context: Context) -> Effect {
        match value.word() {
            Some(word)
                if word >> 32 != 0
                    && (self.is_cut_in(self.fresh) || context.is_some_and(|mode| self.is_cut_in(mode))) =>
            {
                taken(word, word & 0xffff_ffff, self.own)
            }
            _ => Effect::Kept,
        }
    }

    fn is_cut_in(self, mode: u8) -> bool {
        if !is_aarch32(mode) {
            return false;
        }
        let Some(number) = self.number else { return true };
        match mode {
            USER_MODE | SYSTEM_MODE => number < 15,
            _ if !self.banked => true,
            // R0 to R14 as each mode sees them (`vcpu_reg_offsets`, `arch/arm64/kvm/regmap.c`, up to 5.10).
            0x11 => matches!(number, 0..=7 | 24..=30),
            0x12 => matches!(number, 0..=12 | 16 | 17),
            SUPERVISOR => matches!(number, 0..=12 | 18 | 19),
            0x17 => matches!(number, 0..=12 | 20 | 21),
            0x1b => matches!(number, 0..=12 | 22 | 23),
            _ => false,
        }
    }
}

/// One SVE register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SveState {
    /// The fresh value.
    own: Value,
    /// How many quadwords the longest vector of the host has.
    longest: Option<u8>,
    /// How many bytes of this register belong to each.
    bytes: usize,
    /// Whether the VM's own vector lengths are not restored.
    lengths_are_own: bool,
}

/// Z, P and FFR: bytes beyond the longest vector of the vCPU are not stored and read 0 (`sve_reg_to_region`,
/// `arch/arm64/kvm/guest.c`, the same in 5.10.y and a current tree).
pub(super) fn sve_state(register: RegisterId, own: &Value, facts: &Facts<'_>) -> Rule {
    let longest = facts.value(RegisterId::SVE_VLS).and_then(longest_vector);
    Rule::SveState(SveState { own: own.clone(), longest, bytes: bytes_of_quadword(register), lengths_are_own: false })
}

/// How many bytes of an SVE register belong to a quadword of a vector: Z has all, P and FFR a bit for each byte.
const fn bytes_of_quadword(register: RegisterId) -> usize {
    if register.size() == 256 { 16 } else { 2 }
}

/// The greatest vector length of a set, in quadwords.
pub(crate) fn longest_vector(lengths: &Value) -> Option<u8> {
    (0..512).rev().find(|bit| lengths.bit(*bit)).and_then(|bit| u8::try_from(bit + 1).ok())
}

/// How many quadwords a vector needs to have for this value of an SVE register.
pub(crate) fn quadwords(register: RegisterId, value: &Value) -> usize {
    let top = match value {
        Value::Word(word) => (word.checked_ilog2().map_or(0, |bit| bit as usize + 1)).div_ceil(8),
        Value::Wide(bytes) => bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1),
    };
    top.div_ceil(bytes_of_quadword(register))
}

impl SveState {
    /// The VMM makes the vCPU with the host's vector lengths, whatever was saved.
    pub(crate) const fn ignore_saved_lengths(&mut self) {
        self.lengths_are_own = true;
    }

    /// `context` is the longest vector of the VM.
    pub(super) fn judge(&self, value: &Value, context: Context) -> Effect {
        // Fleets leave out values that every host keeps, and show 0 for them.
        let Value::Wide(bytes) = value else { return Effect::Kept };
        let there = |longest: u8| usize::from(longest) * self.bytes;
        let lost = |longest: u8| bytes.iter().skip(there(longest)).any(|byte| *byte != 0);
        match context.filter(|_| !self.lengths_are_own).or(self.longest) {
            // Every vector has a quadword.
            _ if !lost(1) => Effect::Kept,
            None => Effect::Unknown(PROBE),
            Some(longest) if !lost(longest) => Effect::Kept,
            Some(longest) => {
                let kept = bytes.iter().enumerate().map(|(at, byte)| if at < there(longest) { *byte } else { 0 });
                let read = Value::Wide(kept.collect::<Arc<[u8]>>());
                if read == self.own { Effect::Dropped(Some(read)) } else { Effect::Rewritten(Some(read)) }
            }
        }
    }
}

/// How a timer's control register is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerControl {
    /// The fresh value.
    own: u64,
    /// Whether reads give what is stored; `None` where that is not known.
    stored: Option<bool>,
}

const EXPIRED: u64 = 1 << 2;

/// `CNTV_CTL_EL0` and `CNTP_CTL_EL0`, never refused. ISTATUS, whether the timer has expired, is not stored. Up to 6.17
/// reads compute it, so that a fresh vCPU, whose timer is set to 0, shows it (5.10 to 6.16 run); from 6.18 on they give what is
/// stored, and a fresh vCPU shows 0 (6.18.15 to 7.3.4 run; restores of 6.16 on 6.18 read 0 for 4). What a guest reads comes
/// from the hardware. Earlier kernels store 32 bits (`timer_set_ctl`, `arch/arm64/kvm/arch_timer.c`).
///
/// `CNTHP_CTL_EL2` and `CNTHV_CTL_EL2` of nested VMs had no setter before (`EL2_REG`, a tree of 6.15 read, 6.16.12 run), and have
/// that of the others since (`TIMER_REG`, the same series read; 6.18.15 run).
pub(super) fn timer_control(register: RegisterId, own: u64, facts: &Facts<'_>) -> Rule {
    let like_others = facts.at_least(6, 18);
    let stored = like_others.filter(|stored| !stored || own & EXPIRED == 0);
    let rule = Rule::TimerControl(TimerControl { own, stored });
    match like_others {
        _ if !matches!(register, catalog::CNTHP_CTL_EL2 | catalog::CNTHV_CTL_EL2) => rule,
        Some(true) => rule,
        Some(false) => Rule::Kept,
        None => {
            let later = Rule::TimerControl(TimerControl { own, stored: Some(true) });
            Rule::AnyTaken([Rule::Kept, later].into())
        }
    }
}

impl TimerControl {
    pub(super) fn judge(self, value: &Value) -> Effect {
        match value.word() {
            Some(word) if self.stored == Some(true) => taken(word, word & !EXPIRED, self.own),
            Some(word) if word >> 32 == 0 => Effect::Kept,
            _ if self.stored == Some(false) => Effect::Rewritten(None),
            _ => Effect::Unknown(PROBE),
        }
    }
}

/// What of a value of core, SVE or timer state decides: the mode of PSTATE; nothing of general registers without an upper half,
/// of vectors that end with the first quadword, of timers without ISTATUS. `None` for values of which all does.
pub(crate) fn judged(register: RegisterId, value: &Value) -> Option<u64> {
    match (catalog::kind_of(register), value.word()) {
        (Kind::ProcessorState, Some(word)) => Some(word & MODE),
        (Kind::General, Some(word)) => (word >> 32 == 0).then_some(0),
        (Kind::TimerControl, Some(word)) => (word >> 32 == 0 && word & EXPIRED == 0).then_some(0),
        (Kind::SveState, _) => (quadwords(register, value) <= 1).then_some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
