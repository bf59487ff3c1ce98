//! Recorded answers: what one KVM said to single writes of one register.

use std::sync::Arc;

use crate::errno::Errno;
use crate::value::Value;

/// What KVM said to one write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Accepted, and reads back as written.
    Kept,
    /// Accepted, but reads back otherwise; `None` where the read-back was not kept.
    Changed(Option<Value>),
    /// Refused.
    Refused(Errno),
}

/// When the answers were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum State {
    /// On a vCPU that never ran: what a restore meets.
    #[default]
    Fresh,
    /// After `KVM_RUN` with `immediate_exit`.
    Exited,
    /// After the guest executed.
    Ran,
}

impl State {
    /// All states, in the order of a vCPU's life.
    pub const ALL: [Self; 3] = [Self::Fresh, Self::Exited, Self::Ran];

    /// The word used in captures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Exited => "exited",
            Self::Ran => "ran",
        }
    }

    /// The state of this word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// One letter of a nibble sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// Accepted, reads back as written.
    Kept,
    /// Accepted, reads back otherwise.
    Changed,
    /// Refused with this error.
    Refused(Errno),
}

impl Code {
    /// The code of a letter of the capture format.
    pub fn from_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            b'.' => Self::Kept,
            b'!' => Self::Changed,
            b'i' => Self::Refused(Errno::EINVAL),
            b'n' => Self::Refused(Errno::ENOENT),
            b'b' => Self::Refused(Errno::EBUSY),
            b'p' => Self::Refused(Errno::EPERM),
            b'x' => Self::Refused(Errno::ENXIO),
            b'B' => Self::Refused(Errno::E2BIG),
            b'a' => Self::Refused(Errno::EACCES),
            b'f' => Self::Refused(Errno::EFAULT),
            b'o' => Self::Refused(Errno::EOPNOTSUPP),
            b'?' => Self::Refused(Errno::EOTHER),
            _ => return None,
        })
    }
}

/// The codes of the 16 digits of a nibble. Each takes 4 bits: hosts have dozens of sweeps with 256 codes, and fleets compare
/// all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Codes(u64);

const _: () = assert!(Errno::ALL.len() + 2 <= 16, "a code takes 4 bits");

impl Codes {
    /// The codes of the digits 0 to 15.
    pub fn new(codes: [Code; 16]) -> Self {
        let bits = |code: &Code| match code {
            Code::Kept => 0,
            Code::Changed => 1,
            Code::Refused(errno) => 2 + *errno as u64,
        };
        Self(codes.iter().rev().fold(0, |all, code| all << 4 | bits(code)))
    }

    /// The code of a digit: the lowest 4 bits of `digit`.
    pub fn get(self, digit: u64) -> Code {
        match self.0 >> (4 * (digit & 15)) & 15 {
            0 => Code::Kept,
            1 => Code::Changed,
            other => {
                let errno = usize::try_from(other - 2).ok().and_then(|at| Errno::ALL.get(at));
                Code::Refused(errno.copied().unwrap_or(Errno::EOTHER))
            }
        }
    }
}

/// The answers of a sweep over whole values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct ByValue {
    /// Accepted and kept, ascending.
    pub kept: Vec<Value>,
    /// Accepted, with what they read back; ascending by the value written.
    pub changed: Vec<(Value, Value)>,
    /// Refused, ascending by value.
    pub refused: Vec<(Value, Errno)>,
    /// Every other value of this sweep (ascending) got this error.
    pub otherwise: Option<(Arc<[Value]>, Errno)>,
}

/// The answers of a sweep over the nibbles of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ByNibble {
    /// The value that the other nibbles kept.
    pub value: u64,
    /// Codes of the nibbles that were answered one by one; `None`: only the own value, see `same` and `other`.
    pub nibbles: [Option<Codes>; 16],
    /// The code of writing `value` back.
    pub same: Code,
    /// The code of every other value of a nibble that is `None`.
    pub other: Code,
    /// The code of writing 0.
    pub zero: Code,
    /// The code of writing all ones.
    pub ones: Code,
    /// Read-backs of accepted values that were not kept, ascending.
    pub changed: Vec<(u64, u64)>,
}

/// Recorded answers of one register on one vCPU in one state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answers {
    /// Whole values.
    ByValue(ByValue),
    /// Nibbles of a value.
    ByNibble(Box<ByNibble>),
}

impl Answers {
    /// What KVM said to `value`, if it was asked.
    ///
    /// With nibble answers a value that differs in several nibbles was not written itself; KVM checks ID
    /// fields one by one (`arm64_check_features`; exact match and the CSV fields before 6.5), so its answer is the
    /// worst of its nibbles. `joint` registers, where fields are checked together, get no such answer.
    pub fn answer(&self, value: &Value, joint: bool) -> Option<Answer> {
        match self {
            Self::ByValue(answers) => answers.answer(value),
            Self::ByNibble(answers) => answers.answer(value.word()?, joint),
        }
    }
}

impl Answers {
    /// Every value that was written, with what KVM said. A value that was written twice comes once.
    pub fn asked(&self) -> Box<dyn Iterator<Item = (Value, Answer)> + '_> {
        match self {
            Self::ByValue(answers) => Box::new(answers.asked()),
            Self::ByNibble(answers) => Box::new(answers.asked()),
        }
    }
}

impl ByValue {
    fn asked(&self) -> impl Iterator<Item = (Value, Answer)> + '_ {
        let one_by_one = self
            .kept
            .iter()
            .chain(self.changed.iter().map(|(written, _)| written))
            .chain(self.refused.iter().map(|(written, _)| written));
        let otherwise = self.otherwise.iter().flat_map(|(sweep, _)| sweep.iter());
        let rest = otherwise.filter(|value| {
            self.kept.binary_search(value).is_err()
                && self.changed.binary_search_by(|(written, _)| written.cmp(value)).is_err()
                && self.refused.binary_search_by(|(written, _)| written.cmp(value)).is_err()
        });
        one_by_one.chain(rest).filter_map(|value| Some((value.clone(), self.answer(value)?)))
    }

    fn answer(&self, value: &Value) -> Option<Answer> {
        if self.kept.binary_search(value).is_ok() {
            return Some(Answer::Kept);
        }
        if let Ok(at) = self.changed.binary_search_by(|(written, _)| written.cmp(value)) {
            return self.changed.get(at).map(|(_, read)| Answer::Changed(Some(read.clone())));
        }
        if let Ok(at) = self.refused.binary_search_by(|(written, _)| written.cmp(value)) {
            return self.refused.get(at).map(|(_, errno)| Answer::Refused(*errno));
        }
        let (sweep, errno) = self.otherwise.as_ref()?;
        sweep.binary_search(value).is_ok().then_some(Answer::Refused(*errno))
    }
}

impl ByNibble {
    fn asked(&self) -> impl Iterator<Item = (Value, Answer)> + '_ {
        let nibbles = (0..16_u32).flat_map(move |nibble| {
            let rest = self.value & !(15 << (4 * nibble));
            (0..16_u64).map(move |digit| rest | digit << (4 * nibble)).filter(|word| *word != self.value)
        });
        [self.value, 0, u64::MAX]
            .into_iter()
            .enumerate()
            .filter(|(at, word)| *at == 0 || *word != self.value)
            .map(|(_, word)| word)
            .chain(nibbles.filter(|word| *word != 0 && *word != u64::MAX))
            .filter_map(|word| Some((Value::Word(word), self.answer(word, false)?)))
    }

    fn answer(&self, value: u64, joint: bool) -> Option<Answer> {
        let difference = value ^ self.value;
        let differing = (0..16).filter(|at| difference >> (4 * at) & 15 != 0).count();
        let code = match (value, differing) {
            (0, _) => self.zero,
            (u64::MAX, _) => self.ones,
            (_, 2..) if joint => return None,
            _ => self.worst(value, difference),
        };
        Some(match code {
            Code::Kept => Answer::Kept,
            Code::Refused(errno) => Answer::Refused(errno),
            Code::Changed => Answer::Changed(self.read_back(value, differing)),
        })
    }

    /// The code of a value that differs in some digits; of the own value where it differs in none. A setter looks at the shape of a
    /// value (EINVAL) before it looks whether the VM ran (EBUSY), so EINVAL wins.
    fn worst(&self, value: u64, difference: u64) -> Code {
        let rank = |code: &Code| match code {
            Code::Kept => 0,
            Code::Changed => 1,
            Code::Refused(Errno::EBUSY) => 2,
            Code::Refused(_) => 3,
        };
        (0..16_usize)
            .filter(|at| difference >> (4 * at) & 15 != 0)
            .map(|at| self.code(at, value >> (4 * at)))
            .max_by_key(rank)
            .unwrap_or(self.same)
    }

    /// The code of a digit (the lowest 4 bits of `digit`) in a nibble, beside the own value in the others.
    pub fn code(&self, nibble: usize, digit: u64) -> Code {
        self.nibbles.get(nibble).copied().flatten().map_or(self.other, |codes| codes.get(digit))
    }

    /// What `value` reads back: as recorded, or nibble by nibble when only those were recorded.
    fn read_back(&self, value: u64, differing: usize) -> Option<Value> {
        let recorded = |written: u64| {
            let at = self.changed.binary_search_by_key(&written, |(written, _)| *written).ok()?;
            self.changed.get(at).map(|(_, read)| *read)
        };
        if differing <= 1 || value == 0 || value == u64::MAX {
            return recorded(value).map(Value::Word);
        }
        let mut read = value;
        for at in 0..16_usize {
            let mask = 15_u64 << (4 * at);
            if (value ^ self.value) & mask != 0 && self.code(at, value >> (4 * at)) == Code::Changed {
                let alone = (self.value & !mask) | (value & mask);
                read = (read & !mask) | (recorded(alone)? & mask);
            }
        }
        Some(Value::Word(read))
    }
}

#[cfg(test)]
mod tests;
