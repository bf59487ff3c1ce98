//! The rulebook: how kernels decide a register, where the host was not asked.
//!
//! [`derive()`] looks at what was observed on a host and gives the [`Rule`] by which its KVM decides one
//! register. A rule is data: two hosts with the same rule for a register are one to kvmfw.
//! Section numbers in comments are those of the specification (`docs/semantics.md` sums it up).

pub(crate) mod aftermath;
mod cache;
mod check;
mod facts;
mod fields;
mod firmware;
mod identification;
mod implementation;
mod other;
mod pmu;
mod pmu_bits;
mod release;
mod state;
mod tables;
mod trees;

use std::sync::Arc;

use crate::answers::State;
use crate::catalog::{self, Kind};
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::judgement::Effect;
use crate::value::Value;

pub use aftermath::Mask;
pub use facts::{Context, Facts};
pub use fields::{FieldDifference, check_features, field_differences, named_fields};
pub(crate) use firmware::reads;
pub(crate) use identification::MASKS_CAPABILITY;
pub(crate) use pmu::judged_bits as judged_pmu_bits;
pub(crate) use pmu_bits::{Names as PmuNames, context as pmu_context, other_name, torn as torn_pmu_pair};
pub use release::{Release, is_upstream};
pub(crate) use state::{is_aarch32, judged as judged_state, longest_vector, mode, quadwords};

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
    /// One of these, it is not known which: where they agree that is the answer, else the sentence says what settles it.
    AnyOf(Arc<[Rule]>, &'static str),
    /// One of these, which all take the value: what reads back is known where they agree.
    AnyTaken(Arc<[Rule]>),
    /// This value is taken; of others nothing is known but what would settle it.
    OnlyFresh {
        /// The host's own value.
        own: Value,
        /// What would settle it.
        needs: &'static str,
    },
    /// Not known; what would settle it.
    Unknown(&'static str),
}

/// What an operator can do about most unknowns.
pub(crate) const PROBE: &str = "probe this host with this vCPU configuration";

impl Rule {
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
            Self::Equal(own) => keep_if(value == own, Errno::EINVAL),
            Self::OneOf(values) => keep_if(value.word().is_some_and(|word| values.contains(&word)), Errno::EINVAL),
            Self::Level(level) => firmware::judge_level(value, *level),
            Self::Workaround2(rule) => rule.judge(value, context),
            Self::Workaround2Flag(level) => firmware::judge_workaround_2_flag(value, *level),
            Self::Bits { mask, current } => firmware::judge_bits(value, *mask, *current),
            Self::ProcessorState(modes) => modes.judge(value),
            Self::Narrowed(rule) => rule.judge(value, context),
            Self::SveState(rule) => rule.judge(value, context),
            Self::TimerControl(rule) => rule.judge(value),
            Self::VectorLengths(available) => other::judge_vector_lengths(value, available),
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
            Self::AnyOf(rules, needs) => agreed(value, context, rules).unwrap_or(Effect::Unknown(needs)),
            Self::AnyTaken(rules) => agreed(value, context, rules).unwrap_or(Effect::Rewritten(None)),
            Self::OnlyFresh { own, .. } if value == own => Effect::Kept,
            Self::OnlyFresh { needs, .. } | Self::Unknown(needs) => Effect::Unknown(needs),
        }
    }
}

/// What a write does, if all rules say the same.
fn agreed(value: &Value, context: Context, rules: &[Rule]) -> Option<Effect> {
    let mut effects = rules.iter().map(|rule| rule.judge(value, context));
    let first = effects.next()?;
    effects.all(|effect| effect == first).then_some(first)
}

fn keep_if(kept: bool, errno: Errno) -> Effect {
    if kept { Effect::Kept } else { Effect::Refused(Some(errno)) }
}

/// The rule by which a KVM with these facts decides `register`.
pub fn derive(register: RegisterId, facts: &Facts<'_>) -> Rule {
    let Some(fresh) = facts.value(register) else {
        return other::absent(register, facts);
    };
    let word = |rule: &dyn Fn(u64) -> Rule| fresh.word().map_or(Rule::Unknown(PROBE), rule);
    let kind = catalog::kind_of(register);
    if facts.release.is_some_and(trees::is_younger) && has_changed(kind) {
        return only_fresh(fresh.clone(), trees::YOUNGER, facts);
    }
    match kind {
        Kind::Plain | Kind::Masked => aftermath::stored(register, facts),
        Kind::ProcessorState => state::processor_state(facts),
        Kind::General => word(&|own| state::general(register, own, facts)),
        Kind::SveState => state::sve_state(register, fresh, facts),
        Kind::TimerControl => word(&|own| state::timer_control(register, own, facts)),
        Kind::PsciVersion => firmware::psci_version(facts),
        Kind::Level => word(&Rule::Level),
        Kind::Workaround2 => firmware::workaround_2(facts),
        Kind::Bitmap(mask) => firmware::bitmap(mask, fresh, facts),
        Kind::Gated(gate) => other::gated(register, gate, facts),
        // 4: after the vCPU is finalised, and so after it ran, the lengths are fixed.
        Kind::VectorLengths if facts.state != State::Fresh => Rule::Refused(Errno::EPERM),
        Kind::VectorLengths => Rule::VectorLengths(fresh.clone()),
        Kind::Identification => word(&|own| identification::identification(register, own, facts)),
        Kind::Implementation(mask) => word(&|own| implementation::implementation(own, mask, facts)),
        Kind::CacheType => word(&|own| identification::cache_type(own, facts)),
        Kind::CacheLevels => word(&|own| cache::cache_levels(own, facts)),
        Kind::CacheSize => word(&|own| cache::cache_size(register, own, facts)),
        Kind::OsLockStatus => word(&Rule::OsLock),
        Kind::PmuControl => word(&|own| pmu::control(own, facts)),
        Kind::PmuMachine => word(&|own| pmu::machine(own, facts)),
        Kind::PmuIncrement => pmu::increment(facts),
        Kind::PmuCounter => word(&|own| pmu::counter(own, facts)),
        Kind::PmuBits => word(&|own| pmu_bits::bits(register, own, facts)),
        Kind::Unlisted => only_fresh(fresh.clone(), PROBE, facts),
    }
}

/// Whether known kernels have decided such registers differently; a younger one may again. (Those of identification and
/// bitmaps know it by themselves.)
const fn has_changed(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Masked
            | Kind::Gated(_)
            | Kind::TimerControl
            | Kind::Workaround2
            | Kind::CacheLevels
            | Kind::CacheSize
            | Kind::PmuControl
            | Kind::PmuMachine
            | Kind::PmuIncrement
            | Kind::PmuCounter
            | Kind::PmuBits
    )
}

/// A register of which only this is known: every listed register takes its own fresh value on a fresh VM (the kernel's
/// selftest `get-reg-list`). The run of a VM can change what it reads.
fn only_fresh(own: Value, needs: &'static str, facts: &Facts<'_>) -> Rule {
    if facts.state == State::Fresh { Rule::OnlyFresh { own, needs } } else { Rule::Unknown(needs) }
}

#[cfg(test)]
mod tests;
