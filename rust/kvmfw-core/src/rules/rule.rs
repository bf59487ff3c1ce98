//! A rule: how a KVM decides one register, as data.

use std::sync::Arc;

use super::aftermath::Mask;
use super::facts::{Context, Facts};
use super::judged::judged_value;
use super::{cache, check, firmware, hidden, identification, implementation, pmu, pmu_bits, state, surroundings};
use crate::answers::State;
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::judgement::{Effect, Outcome};
use crate::value::Value;

/// How a KVM decides one register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Any value is stored.
    Kept,
    /// The register is there while the gating field of the VM is great enough.
    Gated {
        /// The host's own value of the field.
        fresh: u8,
        /// The least value of the field that shows the register.
        least: u8,
        /// The error of a write while it is hidden.
        errno: Errno,
        /// What decides while it is there.
        shown: Box<Rule>,
    },
    /// Any value is taken and loses its reserved bits.
    Masked(Mask),
    /// Every value is refused.
    Refused(Errno),
    /// Only this value.
    Equal(Value),
    /// Only the host's own value, of which some bits are not known.
    Partly {
        /// The host's own value.
        own: u64,
        /// The bits that are not known.
        bits: u64,
    },
    /// Only these values, each kept.
    OneOf(&'static [u64]),
    /// Levels up to this one; the register goes on reading the host's level.
    Level(u64),
    /// `WORKAROUND_2` from 5.10 on.
    Workaround2(firmware::Workaround2),
    /// `WORKAROUND_2` of 5.3 to 5.9: the host's level.
    Workaround2Flag(u64),
    /// Any bits of the mask; with a current value, only that one (the VM has run).
    Bits {
        /// The bits that are defined.
        mask: u64,
        /// The only value left when the VM has run.
        current: Option<u64>,
    },
    /// PSTATE: the modes that the vCPU has.
    ProcessorState(state::Modes),
    /// Kept, but for the upper half in AArch32 modes.
    Narrowed(state::Narrowing),
    /// Kept as far as the longest vector goes.
    SveState(state::SveState),
    /// Kept, but for ISTATUS.
    TimerControl(state::TimerControl),
    /// The set must be the host's own up to its greatest vector length.
    VectorLengths(Value),
    /// Any value is taken and dropped; the register reads this one.
    Ignored(u64),
    /// Only this value, but fields take 0 and the 1 of this value.
    Lowered {
        /// The host's own value.
        own: u64,
        /// The lowest bits of the 4-bit fields.
        fields: &'static [u32],
    },
    /// Only this value, but another PMU version that fits the vCPU.
    PmuVersion {
        /// The host's own value.
        own: u64,
        /// The lowest bit of the version.
        shift: u32,
        /// The lowest version that a PMU has.
        least: u64,
        /// Whether the vCPU has a PMU.
        has_pmu: bool,
    },
    /// Field by field.
    Fields(Arc<check::Check>),
    /// This value; another one too while the VM has not run.
    Implementation {
        /// The host's own value.
        own: u64,
        /// The bits that exist.
        mask: u64,
        /// Whether the VM has run.
        has_run: bool,
    },
    /// `CLIDR_EL1` from 6.3 on.
    CacheLevels {
        /// Whether the host's caches need levels of coherency and unification.
        needs_levels: bool,
    },
    /// CCSIDR from 6.3 on.
    CacheSize {
        /// The shortest line, as CCSIDR counts it.
        shortest_line: u64,
    },
    /// This value, but for the lock itself.
    OsLock(u64),
    /// `PMCR_EL0` from 6.7 on.
    PmuControl(pmu::PmuControl),
    /// `PMEVCNTRn_EL0` from 6.1 on.
    PmuCounter(pmu::PmuCounter),
    /// One of the two names of a PMU register with a bit for each counter, from 6.7 on.
    PmuBits(pmu_bits::PmuBits),
    /// `PMMIR_EL1`.
    PmuMachine {
        /// The host's own value.
        own: u64,
        /// Whether the VM has run.
        has_run: bool,
    },
    /// Something beside registers.
    Beside(surroundings::Beside),
    /// One of these, it is not known which: where they agree that is the answer (changed, if each changes the value to another
    /// one), else the sentence says what settles it.
    AnyOf(Arc<[Rule]>, &'static str),
    /// This value is taken; of others nothing is known but what would settle it.
    OnlyFresh {
        /// The host's own value.
        own: Value,
        /// The register, where only a part of its values decides: one with the same part is taken as well.
        alike: Option<RegisterId>,
        /// What would settle it.
        needs: &'static str,
    },
    /// Not known; what would settle it.
    Unknown(&'static str),
}

impl Rule {
    /// A register of which only this is known: every listed register takes its own fresh value on a fresh VM (the kernel's
    /// selftest `get-reg-list`). The run of a VM can change what it reads.
    pub(super) fn only_fresh(own: Value, needs: &'static str, facts: &Facts<'_>) -> Self {
        if facts.state == State::Fresh { Self::OnlyFresh { own, alike: None, needs } } else { Self::Unknown(needs) }
    }

    /// The same of a register of which a part of each value decides.
    pub(super) fn only_alike(register: RegisterId, own: Value, needs: &'static str, facts: &Facts<'_>) -> Self {
        match Self::only_fresh(own, needs, facts) {
            Self::OnlyFresh { own, needs, .. } => Self::OnlyFresh { own, alike: Some(register), needs },
            other => other,
        }
    }

    /// What a write of `value` does.
    pub fn judge(&self, value: &Value, context: Context) -> Effect {
        match self {
            Self::Kept => Effect::Kept,
            Self::Gated { fresh, least, errno, .. } if context.unwrap_or(*fresh) < *least => {
                Effect::Refused(Some(*errno))
            }
            Self::Gated { shown, .. } => shown.judge(value, context),
            Self::Masked(mask) => mask.judge(value),
            Self::Refused(errno) => Effect::Refused(Some(*errno)),
            Self::Equal(own) => Effect::kept_if(value == own, Errno::EINVAL),
            Self::Partly { own, bits } => hidden::judge_partly(value, *own, *bits),
            Self::OneOf(values) => {
                Effect::kept_if(value.word().is_some_and(|word| values.contains(&word)), Errno::EINVAL)
            }
            Self::Level(level) => firmware::judge_level(value, *level),
            Self::Workaround2(rule) => rule.judge(value, context),
            Self::Workaround2Flag(level) => firmware::judge_workaround_2_flag(value, *level),
            Self::Bits { mask, current } => firmware::judge_bits(value, *mask, *current),
            Self::ProcessorState(modes) => modes.judge(value),
            Self::Narrowed(rule) => rule.judge(value, context),
            Self::SveState(rule) => rule.judge(value, context),
            Self::TimerControl(rule) => rule.judge(value),
            Self::VectorLengths(available) => state::judge_vector_lengths(value, available),
            Self::Ignored(own) if value.word() == Some(*own) => Effect::Kept,
            Self::Ignored(own) => Effect::Dropped(Some(Value::Word(*own))),
            Self::Lowered { own, fields } => identification::judge_lowered(value, *own, fields),
            Self::PmuVersion { own, shift, least, has_pmu } => {
                identification::judge_pmu_version(value, *own, *shift, *least, *has_pmu)
            }
            Self::Fields(check) => check.judge(value),
            Self::Implementation { own, mask, has_run } => {
                implementation::judge_implementation(value, *own, *mask, *has_run)
            }
            Self::CacheLevels { needs_levels } => cache::judge_cache_levels(value, *needs_levels),
            Self::CacheSize { shortest_line } => cache::judge_cache_size(value, *shortest_line),
            Self::OsLock(own) => implementation::judge_os_lock(value, *own),
            Self::PmuControl(rule) => rule.judge(value),
            Self::PmuCounter(rule) => rule.judge(value, context),
            Self::PmuBits(rule) => rule.judge(value, context),
            Self::PmuMachine { own, has_run } => pmu::judge_machine(value, *own, *has_run),
            Self::Beside(rule) => rule.judge(value),
            Self::AnyOf(rules, needs) => agreed(value, context, rules).unwrap_or(Effect::Unknown(needs)),
            Self::OnlyFresh { own, alike, .. } if is_alike(*alike, value, own, context) => Effect::Kept,
            Self::OnlyFresh { needs, .. } | Self::Unknown(needs) => Effect::Unknown(needs),
        }
    }
}

fn is_alike(register: Option<RegisterId>, one: &Value, other: &Value, context: Context) -> bool {
    let judged = |value: &Value| register.map(|register| judged_value(register, value, context));
    one == other || register.is_some() && judged(one) == judged(other)
}

/// What a write does, if all rules say the same.
fn agreed(value: &Value, context: Context, rules: &[Rule]) -> Option<Effect> {
    let mut effects = rules.iter().map(|rule| rule.judge(value, context));
    let first = effects.next()?;
    effects.try_fold(first, |one, other| match (one.outcome(), other.outcome()) {
        _ if one == other => Some(one),
        (Outcome::Change, Outcome::Change) => Some(Effect::Rewritten(None)),
        _ => None,
    })
}
