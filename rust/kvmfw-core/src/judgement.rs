//! Words of a verdict: unit, outcome, effect, evidence.

use crate::errno::Errno;
use crate::id::RegisterId;
use crate::value::Value;

/// The outcome of a unit or of a pair; a pair's is the greatest of its units'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Taken, and the guest sees what was saved.
    Accept = 0,
    /// Taken, but the guest does not see exactly what was saved.
    Change = 1,
    /// Not known; never a guess.
    Unknown = 2,
    /// The restore fails.
    Refuse = 3,
}

impl Outcome {
    /// All outcomes, ascending.
    pub const ALL: [Self; 4] = [Self::Accept, Self::Change, Self::Unknown, Self::Refuse];

    /// The word used everywhere.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "ACCEPT",
            Self::Change => "CHANGE",
            Self::Unknown => "UNKNOWN",
            Self::Refuse => "REFUSE",
        }
    }
}

/// What is judged together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// The vCPU as a whole.
    Vcpu,
    /// The list of registers, with the registers whose values nobody looks at.
    List,
    /// One register.
    Register(RegisterId),
}

impl Unit {
    /// One word for the kind of unit.
    pub const fn kind(self) -> UnitKind {
        match self {
            Self::Vcpu => UnitKind::Vcpu,
            Self::List => UnitKind::List,
            Self::Register(_) => UnitKind::Register,
        }
    }

    /// The register, where the unit is one.
    pub const fn register(self) -> Option<RegisterId> {
        match self {
            Self::Register(register) => Some(register),
            Self::Vcpu | Self::List => None,
        }
    }
}

/// The kinds of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnitKind {
    /// See [`Unit::Vcpu`].
    Vcpu,
    /// See [`Unit::List`].
    List,
    /// See [`Unit::Register`].
    Register,
}

impl UnitKind {
    /// The word used everywhere.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vcpu => "vcpu",
            Self::List => "list",
            Self::Register => "register",
        }
    }
}

/// Where a judgement comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// The host's KVM was asked.
    Measured,
    /// A rule of its kernel, applied to what was observed on the host.
    Derived,
    /// The same, and for all values the code of the very image that the host runs does as the rule says.
    Proved,
    /// Nothing.
    None,
}

impl Evidence {
    /// The word used everywhere.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Derived => "derived",
            Self::Proved => "proved",
            Self::None => "none",
        }
    }
}

/// What happens to one saved value on the target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Stored as written.
    Kept,
    /// Accepted, but the guest sees the host's higher level.
    Raised(Value),
    /// Accepted and dropped: reads as the value given, where known.
    Dropped(Option<Value>),
    /// Accepted, but stored as the value given, where known.
    Rewritten(Option<Value>),
    /// Not saved: the guest sees the target's default.
    Defaulted(Option<Value>),
    /// Refused with this error; `None` where a restore policy refuses before KVM is asked.
    Refused(Option<Errno>),
    /// Not known; the sentence says what would settle it.
    Unknown(&'static str),
}

impl Effect {
    /// Kept, or refused with this error.
    pub(crate) fn kept_if(kept: bool, errno: Errno) -> Self {
        if kept { Self::Kept } else { Self::Refused(Some(errno)) }
    }

    /// The outcome that this effect stands for.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Kept => Outcome::Accept,
            Self::Raised(_) | Self::Dropped(_) | Self::Rewritten(_) | Self::Defaulted(_) => Outcome::Change,
            Self::Unknown(_) => Outcome::Unknown,
            Self::Refused(_) => Outcome::Refuse,
        }
    }

    /// One word for the kind of effect.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Raised(_) => "raised",
            Self::Dropped(_) => "dropped",
            Self::Rewritten(_) => "rewritten",
            Self::Defaulted(_) => "defaulted",
            Self::Refused(_) => "refused",
            Self::Unknown(_) => "unknown",
        }
    }

    /// What the register reads after the restore, where that is known and differs from what was saved.
    pub const fn reads(&self) -> Option<&Value> {
        match self {
            Self::Raised(value) => Some(value),
            Self::Dropped(value) | Self::Rewritten(value) | Self::Defaulted(value) => value.as_ref(),
            Self::Kept | Self::Refused(_) | Self::Unknown(_) => None,
        }
    }

    /// What would tell, where the effect is not known.
    pub const fn needs(&self) -> Option<&'static str> {
        match self {
            Self::Unknown(needs) => Some(needs),
            _ => None,
        }
    }

    /// The error with which KVM refuses.
    pub const fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused(errno) => *errno,
            _ => None,
        }
    }
}

/// The judgement of one unit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Judgement {
    /// What happens.
    pub effect: Effect,
    /// Where that is known from.
    pub evidence: Evidence,
}

impl Judgement {
    /// The outcome of this judgement.
    pub const fn outcome(&self) -> Outcome {
        self.effect.outcome()
    }
}
