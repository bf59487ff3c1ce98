//! ID registers, `CTR_EL0` among them (specification, 3.2 to 3.8).

use std::sync::Arc;

use super::trees::{self, Tree};
use super::{Facts, Rule, fields, keep_if};
use crate::catalog::{self, CTR, ID_AA64DFR0, ID_AA64PFR0, ID_AA64PFR1};
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::judgement::Effect;
use crate::value::Value;

const ID_PFR1: RegisterId = RegisterId::system(3, 0, 0, 1, 1);
const ID_DFR0: RegisterId = RegisterId::system(3, 0, 0, 1, 2);
const ID_AFR0: RegisterId = RegisterId::system(3, 0, 0, 1, 3);
const ID_DFR1: RegisterId = RegisterId::system(3, 0, 0, 3, 5);
const ID_AA64MMFR0: RegisterId = RegisterId::system(3, 0, 0, 7, 0);
const ID_AA64MMFR2: RegisterId = RegisterId::system(3, 0, 0, 7, 2);

const CSV3: u32 = 60;
const CSV2: u32 = 56;
const PMU_VERSION: u32 = 8;
const PERF_MON: u32 = 24;
const NOT_VERSIONED: u64 = 0xf;
/// `ID_AA64PFR0_EL1.GIC` and `ID_PFR1_EL1.GIC`.
const GIC: (u64, u64) = (0x0f00_0000, 0xf000_0000);
const L1IP: u64 = 0xc000;
const STAGE_2_GRANULES: u64 = 0x0fff_0000_0000;

/// `KVM_CAP_ARM_SUPPORTED_REG_MASK_RANGES`.
pub(crate) const MASKS_CAPABILITY: u32 = 230;

const UNKNOWN_RELEASE: &str = "the kernel release of this host is not known; probe this host";
const YOUNGER: &str = "this kernel is younger than the rules of kvmfw, which end with 7.3; probe this host";
const BACKPORTED: &str = "this host lists registers like kernels from 6.3 on, but its release is older; probe this host";
const BETWEEN: &str = "known kernels before and after this one differ; probe this host, or capture its writable masks";
const NO_MASKS: &str = "the writable masks of this kernel are not known; capture them, or probe this host";
const HARDWARE: &str = "only this host's hardware tells whether the field is tolerated; probe this host";
const NEW_FIELD: &str = "this kernel can write a field that kvmfw does not know; probe this host";
const NESTED_GRANULES: &str = "nested VMs need stage-2 granules that fit together; probe this host";

/// How a kernel decides ID registers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Era {
    /// Up to 6.4: equal but for a few fields.
    Exact,
    /// 6.5 and later, with the masks that decide: field by field.
    Fields(Vec<(Tree, Option<u64>)>),
    /// Not known.
    Unknown(&'static str),
}

/// 3.2. What is observed goes before the release: a vendor's kernel that reports writable masks checks fields,
/// however old its release says it is.
fn era(register: RegisterId, facts: &Facts<'_>) -> Era {
    let observed = facts.mask(register);
    let reports = facts.masks.is_some() || facts.reports_masks == Some(true);
    let with = |trees: Vec<Tree>| {
        Era::Fields(trees.into_iter().map(|tree| (tree, observed.or(Some(fields::mask_in(register, tree))))).collect())
    };
    let Some(release) = facts.release else {
        return if reports { with(trees::all()) } else { Era::Unknown(UNKNOWN_RELEASE) };
    };
    if trees::is_younger(release) {
        return Era::Unknown(YOUNGER);
    }
    if release.at_least(6, 12) {
        return with(trees::around(release));
    }
    if release.at_least(6, 7) {
        let trees = trees::around(release).into_iter();
        return Era::Fields(trees.map(|tree| (tree, observed)).collect());
    }
    if reports {
        return with(trees::all());
    }
    if release.at_least(6, 5) {
        // 6.5 and 6.6 write four fields only [M]. The fix of the sign may have been ported back to 6.6.y.
        let tree = if release.at_least(6, 6) { vec![trees::T6_12_8, trees::T6_12_117] } else { vec![trees::T6_12_8] };
        let mask = match register {
            ID_AA64PFR0 => 0xff << CSV2,
            ID_AA64DFR0 => 0xf << PMU_VERSION,
            ID_DFR0 => 0xf << PERF_MON,
            _ => 0,
        };
        return Era::Fields(tree.into_iter().map(|tree| (tree, Some(mask))).collect());
    }
    if facts.lists_all_caches() && !release.at_least(6, 3) {
        return Era::Unknown(BACKPORTED);
    }
    Era::Exact
}

/// The rule of an ID register with this fresh value.
pub(super) fn identification(register: RegisterId, fresh: u64, facts: &Facts<'_>) -> Rule {
    if ignores_writes(register, fresh, facts) {
        return Rule::Ignored(fresh);
    }
    match era(register, facts) {
        Era::Exact => exact(register, fresh, facts),
        Era::Fields(variants) => by_fields(register, fresh, facts, &variants),
        Era::Unknown(needs) => Rule::OnlyFresh { own: Value::Word(fresh), needs },
    }
}

/// `CTR_EL0`: equal up to 6.11, then field by field. Its writable mask tells; without masks the release does.
pub(super) fn cache_type(fresh: u64, facts: &Facts<'_>) -> Rule {
    let own = Value::Word(fresh);
    let equal = Rule::Equal(own.clone());
    match (facts.mask(CTR), facts.release) {
        (Some(0), Some(release)) if !trees::is_younger(release) => equal,
        (Some(0), _) => Rule::OnlyFresh { own, needs: YOUNGER },
        (Some(_), _) => identification(CTR, fresh, facts),
        (None, Some(release)) if release.at_least(6, 12) => identification(CTR, fresh, facts),
        (None, Some(release)) if facts.reports_masks == Some(true) && !release.at_least(6, 7) => {
            Rule::OnlyFresh { own, needs: NO_MASKS }
        }
        (None, Some(release)) if facts.lists_all_caches() && !release.at_least(6, 3) => {
            Rule::OnlyFresh { own, needs: BACKPORTED }
        }
        (None, Some(_)) => equal,
        (None, None) => Rule::OnlyFresh { own, needs: UNKNOWN_RELEASE },
    }
}

/// 3.8: on hosts without AArch32 at EL0 the AArch32 ID registers read 0 and take anything, from 6.1 on. A nested VM
/// shows EL0 = 1 on other hosts too, but then its AArch32 registers are not 0. Hidden ones are not among them. [R]
fn ignores_writes(register: RegisterId, fresh: u64, facts: &Facts<'_>) -> bool {
    let is_aarch32 = |id: RegisterId| {
        matches!(id.encoding(), [3, 0, 0, 1..=3, _])
            && !matches!(id, ID_AFR0 | ID_DFR1)
            && catalog::lookup(id).is_some()
    };
    let aarch64_only = facts.word(ID_AA64PFR0).is_some_and(|word| word & 0xf == 1);
    let all_zero = facts.registers.iter().all(|(id, value)| !is_aarch32(*id) || value.word() == Some(0));
    let since = facts.at_least(6, 1) == Some(true) || facts.masks.is_some();
    since && fresh == 0 && is_aarch32(register) && aarch64_only && all_zero
}

/// Up to 6.4 a value must be the host's own (5.9: all of it), but for:
/// - 5.10 and later, `CSV2`: 0, or 1 where the host is not affected by Spectre v2, which is when a fresh VM reads 1;
/// - 5.11 and later, `CSV3`: the same with Meltdown;
/// - 6.2 to 6.4, `PMUVer` and `PerfMon` [M].
///
/// Up to 6.4 nothing is checked against the VM having run. Trees 5.10.13, 5.10.262, 6.1.4, 6.1.192 read, 5.10 and
/// 6.1 run. Sure, but for 6.2 to 6.4.
fn exact(register: RegisterId, own: u64, facts: &Facts<'_>) -> Rule {
    let since = |major, minor| facts.at_least(major, minor) == Some(true);
    let lowered: &[u32] = match register {
        ID_AA64PFR0 if since(5, 11) => &[CSV2, CSV3],
        ID_AA64PFR0 if since(5, 10) => &[CSV2],
        _ => &[],
    };
    if lowered.iter().any(|shift| own >> shift & 0xf > 1) {
        return Rule::OnlyFresh { own: Value::Word(own), needs: super::PROBE };
    }
    match register {
        ID_AA64DFR0 | ID_DFR0 if since(6, 2) => {
            let (shift, least) = if register == ID_AA64DFR0 { (PMU_VERSION, 1) } else { (PERF_MON, 3) };
            Rule::PmuVersion { own, shift, least, has_pmu: facts.config.has("pmu_v3") }
        }
        _ if lowered.is_empty() => Rule::Equal(Value::Word(own)),
        _ => Rule::Lowered { own, fields: lowered },
    }
}

/// Equal but for fields that take 0 and the host's own 1.
pub(super) fn judge_lowered(value: &Value, own: u64, fields: &[u32]) -> Effect {
    let free = fields.iter().fold(0, |bits, shift| bits | 0xf_u64 << shift);
    let taken = value.word().is_some_and(|word| {
        (word ^ own) & !free == 0 && fields.iter().all(|shift| word >> shift & 0xf <= own >> shift & 0xf)
    });
    keep_if(taken, Errno::EINVAL)
}

/// 6.2 to 6.4: with a PMU any version from `least` up to the host's, without one 0 or "not versioned".
pub(super) fn judge_pmu_version(value: &Value, own: u64, shift: u32, least: u64, has_pmu: bool) -> Effect {
    let taken = value.word().is_some_and(|word| {
        let (version, limit) = (word >> shift & 0xf, own >> shift & 0xf);
        let fits = if has_pmu { version >= least && version <= limit } else { version == 0 || version == NOT_VERSIONED };
        (word ^ own) & !(0xf << shift) == 0 && (word == own || fits)
    });
    keep_if(taken, Errno::EINVAL)
}

/// What a register's own setter does before the field check (specification, 3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wrapper {
    None,
    /// `set_id_aa64pfr0_el1`: MPAM as the hardware has it is dropped; fields that must not be 0.
    ProcessorFeatures0 { not_zero: u64 },
    /// `set_id_aa64pfr1_el1`: `MPAM_frac` as the hardware has it is dropped; `MTE_frac`, see [`trees::tolerates_mte_frac`].
    ProcessorFeatures1 { mte_frac: Option<bool> },
    /// `set_id_aa64dfr0_el1` (6.5 and later): `PMUVer` 0xf becomes 0; `DebugVer` below 6 is EINVAL.
    DebugFeatures { double_lock: bool },
    /// `set_id_dfr0_el1` (6.5 and later): `PerfMon` 0xf becomes 0, 1 and 2 are EINVAL; `CopDbg` below 6 is EINVAL.
    DebugFeatures32,
    /// `set_id_aa64mmfr0_el1` for nested VMs.
    NestedGranules,
    /// `set_id_aa64mmfr2_el1`: NV as the hardware has it is dropped.
    NestedVirtualization,
    /// `set_ctr_el0`: `L1Ip` 0 and 1 are EINVAL.
    CacheType,
}

/// What is known of a value after the wrapper.
enum Wrapped {
    Written(u64),
    Refused,
    /// Written as it is, or as the second number: the hardware decides.
    Either(u64, u64),
    Unknown(&'static str),
}

/// The check of one ID register on one host, from 6.5 on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    register: RegisterId,
    /// What a fresh VM of this configuration reads.
    limit: u64,
    mask: u64,
    pmu_is_signed: bool,
    wrapper: Wrapper,
    /// What the VM reads when it has run: then only this is taken.
    current: Option<u64>,
}

fn by_fields(register: RegisterId, limit: u64, facts: &Facts<'_>, variants: &[(Tree, Option<u64>)]) -> Rule {
    let mut rules: Vec<Rule> = Vec::new();
    let mut needs = BETWEEN;
    for (tree, mask) in variants {
        let masks = mask.map_or_else(
            || {
                needs = NO_MASKS;
                vec![0, fields::fields_of(register).iter().fold(0, |bits, field| bits | field.mask())]
            },
            |mask| vec![mask],
        );
        for mask in masks {
            let check = Check {
                register,
                limit,
                mask,
                pmu_is_signed: matches!(register, ID_AA64DFR0 | ID_DFR0) && trees::pmu_is_signed(*tree),
                wrapper: wrapper(register, *tree, mask, facts),
                current: facts.has_run().then(|| current(register, limit, mask, *tree, facts)),
            };
            let rule = Rule::Fields(Arc::new(check));
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    match (rules.pop(), rules.is_empty()) {
        (Some(only), true) => only,
        (Some(last), false) => {
            rules.push(last);
            Rule::AnyOf(rules.into(), needs)
        }
        (None, _) => Rule::OnlyFresh { own: Value::Word(limit), needs: BETWEEN },
    }
}

fn wrapper(register: RegisterId, tree: Tree, mask: u64, facts: &Facts<'_>) -> Wrapper {
    let nested = facts.config.has("has_el2");
    match register {
        ID_AA64PFR0 => Wrapper::ProcessorFeatures0 {
            not_zero: match (trees::needs_exception_levels(tree), nested) {
                (false, _) => 0,
                (true, false) => 0xff,
                (true, true) => 0xfff,
            },
        },
        ID_AA64PFR1 => Wrapper::ProcessorFeatures1 { mte_frac: trees::tolerates_mte_frac(tree) },
        ID_AA64DFR0 => Wrapper::DebugFeatures { double_lock: nested && trees::tolerates_double_lock(tree) },
        ID_DFR0 => Wrapper::DebugFeatures32,
        ID_AA64MMFR0 if nested => Wrapper::NestedGranules,
        ID_AA64MMFR2 if trees::tolerates_nv(tree) => Wrapper::NestedVirtualization,
        // The wrapper and the writable field came together (6.12.117: neither, 6.16.12: both).
        CTR if mask & L1IP != 0 => Wrapper::CacheType,
        _ => Wrapper::None,
    }
}

/// 12.10: the first run of a VM without a vGIC clears its GIC fields, where the kernel lets VMs write them (6.12+).
fn current(register: RegisterId, limit: u64, mask: u64, tree: Tree, facts: &Facts<'_>) -> u64 {
    let writable = match register {
        ID_AA64PFR0 => mask,
        _ => facts.mask(ID_AA64PFR0).unwrap_or_else(|| fields::mask_in(ID_AA64PFR0, tree)),
    };
    match register {
        _ if facts.config.vgic || writable & GIC.0 == 0 => limit,
        ID_AA64PFR0 => limit & !GIC.0,
        ID_PFR1 => limit & !GIC.1,
        _ => limit,
    }
}

const fn nibble(word: u64, shift: u32) -> u64 {
    word >> shift & 0xf
}

impl Check {
    pub(super) fn judge(&self, value: &Value) -> Effect {
        let Some(word) = value.word() else { return Effect::Refused(Some(Errno::EINVAL)) };
        match self.wrap(word) {
            Wrapped::Refused => Effect::Refused(Some(Errno::EINVAL)),
            Wrapped::Unknown(needs) => Effect::Unknown(needs),
            Wrapped::Written(written) => self.decide(word, written),
            Wrapped::Either(written, other) => {
                let (first, second) = (self.decide(word, written), self.decide(word, other));
                if first == second { first } else { Effect::Unknown(HARDWARE) }
            }
        }
    }

    /// What the wrapper makes of a value.
    fn wrap(&self, word: u64) -> Wrapped {
        let limit = self.limit;
        // A field that KVM hides: what the hardware has in it is taken and dropped. The architecture gives it the
        // numbers up to `greatest` only.
        let hidden = |shift: u32, greatest: u64| {
            let field = nibble(word, shift);
            if field != nibble(limit, shift) && field <= greatest {
                Wrapped::Either(word, word & !(0xf << shift))
            } else {
                Wrapped::Written(word)
            }
        };
        match self.wrapper {
            Wrapper::None => Wrapped::Written(word),
            Wrapper::ProcessorFeatures0 { not_zero } => {
                let zero = [0, 4, 8].into_iter().any(|shift| not_zero >> shift & 0xf != 0 && nibble(word, shift) == 0);
                if zero { Wrapped::Refused } else { hidden(40, 1) }
            }
            Wrapper::ProcessorFeatures1 { mte_frac } => {
                let asked = nibble(limit, 8) == 2 && nibble(limit, 40) == 0xf && nibble(word, 40) == 0;
                match mte_frac {
                    Some(true) if asked => Wrapped::Written(word | 0xf << 40),
                    None if asked => Wrapped::Unknown(BETWEEN),
                    _ => hidden(16, 1),
                }
            }
            Wrapper::DebugFeatures { double_lock } => {
                let mut written = word;
                if nibble(word, PMU_VERSION) == NOT_VERSIONED {
                    written &= !(0xf << PMU_VERSION);
                }
                if double_lock && nibble(limit, 36) == 0xf && nibble(word, 36) == 0 {
                    written |= 0xf << 36;
                }
                if nibble(word, 0) < 6 { Wrapped::Refused } else { Wrapped::Written(written) }
            }
            Wrapper::DebugFeatures32 => match nibble(word, PERF_MON) {
                1 | 2 => Wrapped::Refused,
                _ if nibble(word, 0) < 6 => Wrapped::Refused,
                NOT_VERSIONED => Wrapped::Written(word & !(0xf << PERF_MON)),
                _ => Wrapped::Written(word),
            },
            Wrapper::NestedGranules if (word ^ limit) & STAGE_2_GRANULES != 0 => match self.decide(word, word) {
                Effect::Refused(_) if self.current.is_none() => Wrapped::Refused,
                _ => Wrapped::Unknown(NESTED_GRANULES),
            },
            Wrapper::NestedGranules => Wrapped::Written(word),
            Wrapper::NestedVirtualization => hidden(24, 2),
            Wrapper::CacheType => {
                if word & L1IP <= 0x4000 { Wrapped::Refused } else { Wrapped::Written(word) }
            }
        }
    }

    /// `set_id_reg`: a VM that has run takes its current value only (3.5), else the fields are checked.
    fn decide(&self, word: u64, written: u64) -> Effect {
        let kept = || match written {
            _ if written == word => Effect::Kept,
            _ if written == self.limit => Effect::Dropped(Some(Value::Word(written))),
            _ => Effect::Rewritten(Some(Value::Word(written))),
        };
        if let Some(current) = self.current {
            return if written == current { kept() } else { Effect::Refused(Some(Errno::EBUSY)) };
        }
        let unknown = fields::unknown_bits(self.register, self.mask);
        let known = (written & !unknown) | (self.limit & unknown);
        if !fields::check(self.register, self.limit, known, self.mask, self.pmu_is_signed) {
            Effect::Refused(Some(Errno::EINVAL))
        } else if known != written {
            Effect::Unknown(NEW_FIELD)
        } else {
            kept()
        }
    }
}

/// The judgement on which all rules agree.
pub(super) fn judge_any_of(value: &Value, rules: &[Rule], needs: &'static str) -> Effect {
    let mut effects = rules.iter().map(|rule| rule.judge(value, None));
    let Some(first) = effects.next() else { return Effect::Unknown(needs) };
    let agreed = effects.all(|effect| effect == first);
    if agreed { first } else { Effect::Unknown(needs) }
}
