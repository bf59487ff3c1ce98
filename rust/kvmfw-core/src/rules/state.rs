//! Core and SVE state, which KVM stores, but not every mode and not every bit (specification, section 4).

use std::sync::Arc;

use super::facts::{Context, PROBE};
use super::pmu::taken;
use crate::catalog::{self, Kind};
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::judgement::Effect;
use crate::value::Value;

const MODE: u64 = 0x1f;
/// The bit of the AArch32 modes.
const AARCH32: u64 = 0x10;
pub(super) const USER_MODE: u8 = 0x10;
pub(super) const SUPERVISOR: u8 = 0x13;
pub(super) const SYSTEM_MODE: u8 = 0x1f;
/// The modes that PSTATE can be written with, a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Modes {
    pub(super) taken: u32,
    /// Modes of which it is not known.
    pub(super) untold: u32,
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
        if self.untold & mode != 0 {
            Effect::Unknown(PROBE)
        } else {
            Effect::kept_if(self.taken & mode != 0, Errno::EINVAL)
        }
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
    pub(super) own: u64,
    /// The number of the register; `None` for the PC.
    pub(super) number: Option<u64>,
    /// The mode of a fresh vCPU.
    pub(super) fresh: u8,
    /// Which registers a mode cuts.
    pub(super) cut: Cut,
}

/// Which general registers an AArch32 mode cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cut {
    /// User and System those below X15, the others all.
    Seen,
    /// Each mode the 16 that it sees.
    Banked,
    /// Every mode all.
    All,
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
            _ if self.cut == Cut::All => true,
            USER_MODE | SYSTEM_MODE => number < 15,
            _ if self.cut == Cut::Seen => true,
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
    pub(super) own: Value,
    /// How many quadwords the longest vector of the host has.
    pub(super) longest: Option<u8>,
    /// How many bytes of this register belong to each.
    pub(super) bytes: usize,
    /// Whether the VM's own vector lengths are not restored.
    pub(super) lengths_are_own: bool,
}

/// How many bytes of an SVE register belong to a quadword of a vector: Z has all, P and FFR a bit for each byte.
pub(super) const fn bytes_of_quadword(register: RegisterId) -> usize {
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
    pub(super) own: u64,
    /// Whether reads give what is stored; `None` where that is not known.
    pub(super) stored: Option<bool>,
}

pub(super) const EXPIRED: u64 = 1 << 2;

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

/// 4: at least one length, and for every length up to the greatest one asked for, exactly what the host has.
pub(super) fn judge_vector_lengths(value: &Value, available: &Value) -> Effect {
    let greatest = (0..512).rev().find(|bit| value.bit(*bit));
    let same = |greatest: usize| (0..=greatest).all(|bit| value.bit(bit) == available.bit(bit));
    match greatest {
        Some(greatest) if same(greatest) => Effect::Kept,
        _ => Effect::Refused(Some(Errno::EINVAL)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(text: &str) -> Value {
        Value::parse(text, RegisterId::SVE_VLS).unwrap()
    }

    #[test]
    fn vector_lengths_are_the_hosts_up_to_the_greatest() {
        let host = lengths("0xb");
        assert_eq!(judge_vector_lengths(&lengths("0xb"), &host), Effect::Kept);
        assert_eq!(judge_vector_lengths(&lengths("0x3"), &host), Effect::Kept);
        assert_eq!(judge_vector_lengths(&lengths("0x1"), &host), Effect::Kept);
        for refused in ["0x0", "0x2", "0x7", "0xf", "0x9", "0x10b", "0x1000000000000000000b"] {
            assert_eq!(
                judge_vector_lengths(&lengths(refused), &host),
                Effect::Refused(Some(Errno::EINVAL)),
                "{refused}"
            );
        }
    }
}
