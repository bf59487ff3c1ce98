//! The rulebook: how kernels decide a register, where the host was not asked.
//!
//! [`derive()`] looks at what was observed on a host and gives the [`Rule`] by which its KVM decides one
//! register. A rule is data: two hosts with the same rule for a register are one to kvmfw.
//! Section numbers in comments are those of the specification (`docs/semantics.md` sums it up).

pub(crate) mod aftermath;
mod cache;
mod check;
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

use crate::answers::{Answers, State};
use crate::capture::Trial;
use crate::catalog::{self, Kind};
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::judgement::Effect;
use crate::value::Value;
use crate::vcpu::VcpuConfig;

pub use aftermath::Mask;
pub use fields::{FieldDifference, check_features, field_differences, named_fields};
pub(crate) use firmware::reads;
pub(crate) use identification::MASKS_CAPABILITY;
pub(crate) use pmu::judged_bits as judged_pmu_bits;
pub(crate) use pmu_bits::{context as pmu_context, other_name};
pub use release::{Release, is_upstream};
pub(crate) use state::{is_aarch32, judged as judged_state, longest_vector, mode, quadwords};

/// What was observed of one vCPU configuration of a host; the input of every rule.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The kernel's release; `None` when its text could not be read.
    pub release: Option<Release>,
    /// Whether the release names a vendor's kernel, see [`is_upstream`].
    pub is_vendors: bool,
    /// How the vCPU is made.
    pub config: VcpuConfig,
    /// The listed registers with their fresh values, ascending by id.
    pub registers: &'a [(RegisterId, Value)],
    /// The writable masks that the kernel reports, ascending by id; `None` where they were not recorded.
    pub masks: Option<&'a [(RegisterId, u64)]>,
    /// Whether the kernel can report writable masks (capability 230); `None` where that was not recorded.
    pub reports_masks: Option<bool>,
    /// What the host says of Spectre v4 in sysfs: whether it is mitigated; `None` where that was not recorded.
    pub spec_store_bypass_mitigated: Option<bool>,
    /// Whether the PMU's device attributes were set; `None` where that was not recorded.
    pub pmu_initialised: Option<bool>,
    /// Answers to single writes; `None` where they do not count.
    pub answers: Option<&'a [(RegisterId, State, Arc<Answers>)]>,
    /// What registers read after the first run; `None` where that was not recorded.
    pub trials: Option<&'a [Trial]>,
    /// Whether the VM has run.
    pub state: State,
}

impl Facts<'_> {
    /// The fresh value of a listed register.
    pub fn value(&self, register: RegisterId) -> Option<&Value> {
        let at = self.registers.binary_search_by_key(&register, |(id, _)| *id).ok()?;
        self.registers.get(at).map(|(_, value)| value)
    }

    /// The fresh value of a listed register of at most 8 bytes.
    pub fn word(&self, register: RegisterId) -> Option<u64> {
        self.value(register)?.word()
    }

    /// The writable mask that the kernel reports for a register; registers that it leaves out have 0.
    pub fn mask(&self, register: RegisterId) -> Option<u64> {
        let masks = self.masks?;
        let at = masks.binary_search_by_key(&register, |(id, _)| *id).ok();
        Some(at.and_then(|at| masks.get(at)).map_or(0, |(_, mask)| *mask))
    }

    /// Whether all 14 CCSIDR are listed, as kernels from 6.3 on do.
    pub fn lists_all_caches(&self) -> bool {
        (0..14).all(|index| self.value(RegisterId::ccsidr(index)).is_some())
    }

    /// Whether the VM counts as having run. A `KVM_RUN` that is refused for a PMU that was not initialised does not
    /// count (12.11).
    pub fn has_run(&self) -> bool {
        let refused = self.config.has("pmu_v3") && self.pmu_initialised == Some(false);
        self.state != State::Fresh && !refused
    }

    /// Whether a guest can run AArch32 at EL0. The AArch32 ID registers read 0 where none can, but for `ID_DFR0_EL1`, which
    /// shows the PMU; a nested VM shows EL0 = 1 on other hosts too, but then `ID_PFR0_EL1.State0` is not 0 (3.8).
    pub fn has_aarch32(&self) -> Option<bool> {
        const ID_PFR0: RegisterId = RegisterId::system(3, 0, 0, 1, 0);
        match (self.word(catalog::ID_AA64PFR0).map(|word| word & 0xf), self.word(ID_PFR0)) {
            (_, Some(1..)) | (Some(2), _) => Some(true),
            (Some(1), Some(0)) => Some(false),
            (Some(1), None) if !self.config.has("has_el2") => Some(false),
            _ => None,
        }
    }

    /// Whether the kernel has what came with this line; `None` where that is not known: a vendor ports changes back, but
    /// leaves out none.
    pub fn at_least(&self, major: u32, minor: u32) -> Option<bool> {
        let reached = self.release?.at_least(major, minor);
        (reached || !self.is_vendors).then_some(reached)
    }

    /// Why [`Facts::at_least`] does not tell.
    pub const fn untold(&self) -> &'static str {
        if self.is_vendors { VENDORS } else { UNKNOWN_RELEASE }
    }
}

/// A field of the VM's own ID registers that a rule depends on, as it is when the register is written.
///
/// `None`: the set does not hold the ID register, or the restore writes it later; the host's own value counts.
pub type Context = Option<u8>;

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

const UNKNOWN_RELEASE: &str = "the kernel release of this host is not known; probe this host";
const VENDORS: &str =
    "this is a vendor's kernel, which may carry changes of younger ones, and it was not asked; probe this host";

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
    match catalog::kind_of(register) {
        Kind::Plain | Kind::Masked => aftermath::stored(register, facts),
        Kind::ProcessorState => state::processor_state(facts),
        Kind::General => word(&|own| state::general(register, own, facts)),
        Kind::SveState => state::sve_state(register, fresh, facts),
        Kind::TimerControl => word(&|own| state::timer_control(own, facts)),
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

/// A register of which only this is known: every listed register takes its own fresh value on a fresh VM (the kernel's
/// selftest `get-reg-list`). The run of a VM can change what it reads.
fn only_fresh(own: Value, needs: &'static str, facts: &Facts<'_>) -> Rule {
    if facts.state == State::Fresh { Rule::OnlyFresh { own, needs } } else { Rule::Unknown(needs) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(register: u64, facts: &Facts<'_>) -> Effect {
        derive(RegisterId::new(register), facts).judge(&Value::Word(0), None)
    }

    fn of(release: &str) -> Facts<'static> {
        Facts { release: Release::parse(release), ..Facts::default() }
    }

    fn refused(errno: Errno) -> Effect {
        Effect::Refused(Some(errno))
    }

    #[test]
    fn ids_that_are_not_listed_are_refused_as_the_kernel_finds_them() {
        for (register, errno) in [
            (0x4030_0000_0014_0000, Errno::EINVAL),
            (0x7030_0000_0014_0000, Errno::EINVAL),
            (0x6020_0000_0010_0000, Errno::EINVAL),
            (0x6030_0000_0010_ffff, Errno::ENOENT),
            (0x6030_0000_0010_0054, Errno::EINVAL),
            (0x6030_0000_0011_0000, Errno::ENOENT),
            (0x6030_0000_0013_c103, Errno::ENOENT),
            (0x6030_0000_0014_0004, Errno::ENOENT),
            (0x6080_0000_0015_0000, Errno::ENOENT),
            (0x6030_0000_0015_0000, Errno::EINVAL),
            (0x6060_0000_0015_ffff, Errno::ENOENT),
            (0x6030_0000_0016_0003, Errno::ENOENT),
            (0x6030_0000_0017_0000, Errno::ENOENT),
        ] {
            assert_eq!(judge(register, &of("6.12.8")), refused(errno), "{register:#x}");
        }
    }

    #[test]
    fn vector_lengths_are_fixed_once_the_vcpu_is_finalised() {
        let own = Value::parse("0x3", RegisterId::SVE_VLS).unwrap();
        let registers = [(RegisterId::SVE_VLS, own.clone())];
        let said = |state| {
            derive(RegisterId::SVE_VLS, &Facts { registers: &registers, state, ..of("6.12.8") }).judge(&own, None)
        };
        assert_eq!(said(State::Fresh), Effect::Kept);
        assert_eq!(said(State::Exited), refused(Errno::EPERM));
        assert_eq!(said(State::Ran), refused(Errno::EPERM));
    }

    #[test]
    fn core_registers_are_there_without_being_listed_but_v_registers_not_with_sve() {
        const V0: u64 = 0x6040_0000_0010_0054;
        let sve = VcpuConfig { features: VcpuConfig::parse_features(["sve"]).unwrap(), ..VcpuConfig::default() };
        assert_eq!(judge(0x6030_0000_0010_0040, &of("6.12.8")), Effect::Kept);
        assert_eq!(judge(V0, &of("6.12.8")), Effect::Kept);
        assert_eq!(judge(V0, &Facts { config: sve, ..of("6.12.8") }), refused(Errno::EINVAL));
    }

    #[test]
    fn firmware_registers_that_are_not_listed_were_einval_before_5_3() {
        assert_eq!(judge(0x6030_0000_0014_0004, &of("5.2.0")), refused(Errno::EINVAL));
        assert_eq!(judge(0x6030_0000_0016_0000, &of("5.2.0")), refused(Errno::EINVAL));
        assert_eq!(judge(0x6030_0000_0014_0004, &of("5.3.0")), refused(Errno::ENOENT));
        assert_eq!(judge(0x6030_0000_0014_0004, &of("custom")), refused(Errno::ENOENT));
        assert_eq!(judge(0x6030_0000_0013_c103, &of("5.2.0")), refused(Errno::ENOENT));
    }

    #[test]
    fn a_register_without_a_rule_takes_its_fresh_value_on_a_fresh_vm() {
        let registers = [(catalog::ICH_HCR_EL2, Value::Word(8))];
        let facts = Facts { registers: &registers, ..of("6.16.12") };
        let judge = |facts: &Facts<'_>, word| derive(catalog::ICH_HCR_EL2, facts).judge(&Value::Word(word), None);
        assert_eq!(judge(&facts, 8), Effect::Kept);
        assert_eq!(judge(&facts, 9), Effect::Unknown(PROBE));
        assert_eq!(judge(&Facts { state: State::Ran, ..facts }, 8), Effect::Unknown(PROBE));
    }

    #[test]
    fn a_run_that_was_refused_does_not_count() {
        let config = VcpuConfig { features: 1 << 3, ..VcpuConfig::default() };
        let facts = Facts { config, state: State::Exited, pmu_initialised: Some(false), ..Facts::default() };
        assert!(!facts.has_run());
        assert!(Facts { pmu_initialised: Some(true), ..facts }.has_run());
        assert!(Facts { pmu_initialised: None, ..facts }.has_run());
        assert!(Facts { config: VcpuConfig::default(), ..facts }.has_run());
        assert!(!Facts { state: State::Fresh, pmu_initialised: None, ..facts }.has_run());
    }

    #[test]
    fn rules_that_disagree_are_unknown() {
        let rules = Rule::AnyOf(vec![Rule::OneOf(&[1, 2]), Rule::OneOf(&[2, 3])].into(), "ask");
        let judge = |word| rules.judge(&Value::Word(word), None);
        assert_eq!([judge(2), judge(4)], [Effect::Kept, refused(Errno::EINVAL)]);
        assert_eq!([judge(1), judge(3)], [Effect::Unknown("ask"), Effect::Unknown("ask")]);
        assert_eq!(Rule::AnyOf(vec![].into(), "ask").judge(&Value::Word(0), None), Effect::Unknown("ask"));
    }
}
