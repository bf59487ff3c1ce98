//! What becomes of one register.

use crate::id::RegisterId;
use crate::judgement::{Effect, Evidence};
use crate::rules::facts::PROBE;
use crate::value::Value;

/// The reserved bits of a register of a nested VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mask {
    /// Bits that read 0.
    pub zeros: u64,
    /// Bits that read 1.
    pub ones: u64,
}

impl Mask {
    /// What is left of a value.
    pub const fn of(self, word: u64) -> u64 {
        word & !self.zeros | self.ones
    }

    pub(in crate::rules) fn judge(self, value: &Value) -> Effect {
        match value.word() {
            Some(word) if self.of(word) == word => Effect::Kept,
            Some(word) => Effect::Rewritten(Some(Value::Word(self.of(word)))),
            None => Effect::Unknown(PROBE),
        }
    }
}

/// What becomes of one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It loses and gains bits.
    Bits(Mask),
    /// It is not there any more.
    Gone,
    /// It reads otherwise; what is not known.
    Moved,
    /// Not known; what would settle it.
    Unknown(&'static str),
}

/// One register that the guest does not see as it was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) register: RegisterId,
    pub(crate) fate: Fate,
    pub(crate) evidence: Evidence,
    pub(crate) why: &'static str,
}

impl Change {
    /// What the register's last value becomes.
    pub(crate) fn effect(&self, last: Option<u64>) -> Effect {
        match self.fate {
            Fate::Bits(mask) => Effect::Rewritten(last.map(|word| Value::Word(mask.of(word)))),
            Fate::Gone => Effect::Dropped(None),
            Fate::Moved => Effect::Rewritten(None),
            Fate::Unknown(needs) => Effect::Unknown(needs),
        }
    }
}

/// The value of a register in a short list.
pub(super) fn find<T: Copy>(rows: &[(RegisterId, T)], register: RegisterId) -> Option<T> {
    rows.iter().find(|(id, _)| *id == register).map(|(_, value)| *value)
}
