//! ID registers, `CTR_EL0` among them (specification, 3.2 to 3.8).

use std::sync::Arc;

use super::check::{Check, ID_DFR0, NOT_VERSIONED, PERF_MON, PMU_VERSION};
use super::trees::{self, Tree};
use super::{Facts, Rule, fields, keep_if, only_fresh};
use crate::catalog::{self, CTR, ID_AA64DFR0, ID_AA64PFR0};
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::judgement::Effect;
use crate::value::Value;

const ID_AFR0: RegisterId = RegisterId::system(3, 0, 0, 1, 3);
const ID_DFR1: RegisterId = RegisterId::system(3, 0, 0, 3, 5);

const CSV3: u32 = 60;
const CSV2: u32 = 56;

/// `KVM_CAP_ARM_SUPPORTED_REG_MASK_RANGES`.
pub(crate) const MASKS_CAPABILITY: u32 = 230;

const YOUNGER: &str = "this kernel is younger than the rules of kvmfw, which end with 7.3; probe this host";
const BACKPORTED: &str =
    "this host lists registers like kernels from 6.3 on, but its release is older; probe this host";
const BETWEEN: &str = "known kernels before and after this one differ; probe this host, or capture its writable masks";
const NO_MASKS: &str = "the writable masks of this kernel are not known; capture them, or probe this host";

/// How a kernel decides ID registers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Era {
    /// Up to 6.4: equal but for a few fields.
    Exact,
    /// 6.5 and later, with the masks that decide: field by field.
    Fields(Vec<(Tree, Option<u64>)>),
    /// A vendor's kernel, of whose writable masks nothing is known: equal, or field by field.
    Vendors(Vec<Tree>),
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
        return if reports { with(trees::all()) } else { Era::Unknown(facts.untold()) };
    };
    if trees::is_younger(release) {
        return Era::Unknown(YOUNGER);
    }
    if facts.is_vendors {
        let trees = trees::plausible(facts);
        return match observed {
            Some(_) => Era::Fields(trees.into_iter().map(|tree| (tree, observed)).collect()),
            None => Era::Vendors(trees),
        };
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
    let decided = || match era(register, facts) {
        Era::Exact => exact(register, fresh, facts),
        Era::Fields(variants) => by_fields(register, fresh, facts, &variants),
        Era::Vendors(trees) => {
            let variants: Vec<_> = trees.into_iter().map(|tree| (tree, None)).collect();
            let fields = by_fields(register, fresh, facts, &variants);
            // From 6.5 on it is fields, whichever.
            let equal = (facts.at_least(6, 5) != Some(true)).then(|| Rule::Equal(Value::Word(fresh)));
            Rule::AnyOf(std::iter::once(fields).chain(equal).collect(), facts.untold())
        }
        Era::Unknown(needs) => only_fresh(Value::Word(fresh), needs, facts),
    };
    match ignores_writes(register, facts) {
        Some(true) => Rule::Ignored(fresh),
        Some(false) => decided(),
        None => Rule::AnyOf([Rule::Ignored(fresh), decided()].into(), facts.untold()),
    }
}

/// `CTR_EL0`: equal up to 6.11, then field by field. Its writable mask tells; without masks the release does.
pub(super) fn cache_type(fresh: u64, facts: &Facts<'_>) -> Rule {
    let own = Value::Word(fresh);
    let equal = Rule::Equal(own.clone());
    match (facts.mask(CTR), facts.release) {
        _ if facts.is_vendors => identification(CTR, fresh, facts),
        (Some(0), Some(release)) if !trees::is_younger(release) => equal,
        (Some(0), _) => only_fresh(own, YOUNGER, facts),
        (Some(_), _) => identification(CTR, fresh, facts),
        (None, Some(release)) if release.at_least(6, 12) => identification(CTR, fresh, facts),
        (None, Some(release)) if facts.reports_masks == Some(true) && !release.at_least(6, 7) => {
            only_fresh(own, NO_MASKS, facts)
        }
        (None, Some(release)) if facts.lists_all_caches() && !release.at_least(6, 3) => {
            only_fresh(own, BACKPORTED, facts)
        }
        (None, Some(_)) => equal,
        (None, None) => only_fresh(own, facts.untold(), facts),
    }
}

/// 3.8: on hosts without AArch32 at EL0 the AArch32 ID registers take anything and drop it, from 6.1 on, whether or not the
/// VM has run; hidden ones are not among them. They read 0, but for the version of a PMU in `ID_DFR0_EL1` and, from 6.18 on,
/// the GIC in `ID_PFR1_EL1`. [R; run on 6.12.117]
fn ignores_writes(register: RegisterId, facts: &Facts<'_>) -> Option<bool> {
    let is_aarch32 = matches!(register.encoding(), [3, 0, 0, 1..=3, _])
        && !matches!(register, ID_AFR0 | ID_DFR1)
        && catalog::lookup(register).is_some();
    match facts.has_aarch32() {
        Some(false) if is_aarch32 && facts.masks.is_none() => facts.at_least(6, 1),
        Some(false) => Some(is_aarch32),
        _ => Some(false),
    }
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
        return only_fresh(Value::Word(own), super::PROBE, facts);
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
        let fits =
            if has_pmu { version >= least && version <= limit } else { version == 0 || version == NOT_VERSIONED };
        (word ^ own) & !(0xf << shift) == 0 && (word == own || fits)
    });
    keep_if(taken, Errno::EINVAL)
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
            let rule = Rule::Fields(Arc::new(Check::new(register, limit, mask, *tree, facts)));
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
        (None, _) => only_fresh(Value::Word(limit), BETWEEN, facts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::State;
    use crate::rules::{Release, derive, is_upstream};
    use crate::vcpu::VcpuConfig;

    const PFR0: u64 = 0x1100_0000_0111_0012;
    const ID_PFR0: RegisterId = RegisterId::system(3, 0, 0, 1, 0);

    struct Given {
        registers: Vec<(RegisterId, Value)>,
        masks: Option<Vec<(RegisterId, u64)>>,
        release: &'static str,
        features: u32,
        state: State,
    }

    fn given(release: &'static str, registers: &[(RegisterId, u64)]) -> Given {
        let mut registers: Vec<_> = registers.iter().map(|(id, word)| (*id, Value::Word(*word))).collect();
        registers.sort();
        Given { registers, masks: None, release, features: 0, state: State::Fresh }
    }

    impl Given {
        fn judge(&self, register: RegisterId, word: u64) -> Effect {
            let facts = Facts {
                release: Release::parse(self.release),
                is_vendors: !is_upstream(self.release) && self.release != "custom",
                config: VcpuConfig { features: self.features, ..VcpuConfig::default() },
                registers: &self.registers,
                masks: self.masks.as_deref(),
                state: self.state,
                ..Facts::default()
            };
            derive(register, &facts).judge(&Value::Word(word), None)
        }
    }

    fn refused() -> Effect {
        Effect::Refused(Some(Errno::EINVAL))
    }

    const fn is_unknown(effect: &Effect) -> bool {
        matches!(effect, Effect::Unknown(_))
    }

    #[test]
    fn up_to_5_9_every_id_register_must_be_equal() {
        let host = given("5.4.200", &[(ID_AA64PFR0, PFR0)]);
        assert_eq!(host.judge(ID_AA64PFR0, PFR0), Effect::Kept);
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 & !(1 << 56)), refused());
    }

    #[test]
    fn csv2_may_be_lowered_from_5_10_and_csv3_from_5_11() {
        let host = given("5.10.0-32-arm64", &[(ID_AA64PFR0, PFR0)]);
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 & !(1 << 56)), Effect::Kept);
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 & !(1 << 60)), refused());
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 ^ (3 << 56)), refused());
        let host = given("6.1.0-56-arm64", &[(ID_AA64PFR0, PFR0)]);
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 & !(0x11 << 56)), Effect::Kept);
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 ^ 1), refused());
        let affected = given("6.1.0-56-arm64", &[(ID_AA64PFR0, 0x12)]);
        assert_eq!(affected.judge(ID_AA64PFR0, 0x12 | 1 << 56), refused());
        // Nothing is checked against the run.
        let host = Given { state: State::Ran, ..given("6.1.0-56-arm64", &[(ID_AA64PFR0, PFR0)]) };
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 & !(0x11 << 56)), Effect::Kept);
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 ^ 1), refused());
    }

    #[test]
    fn a_csv2_that_these_kernels_do_not_show_is_unknown() {
        let host = given("6.1.0", &[(ID_AA64PFR0, PFR0 | 2 << 56)]);
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 | 2 << 56), Effect::Kept);
        assert!(is_unknown(&host.judge(ID_AA64PFR0, PFR0)));
    }

    #[test]
    fn pmu_versions_may_be_lowered_from_6_2() {
        let without = given("6.3.1", &[(ID_AA64DFR0, 0x1006), (ID_DFR0, 0x6)]);
        assert_eq!(without.judge(ID_AA64DFR0, 0x1f06), Effect::Kept);
        assert_eq!(without.judge(ID_AA64DFR0, 0x1406), refused());
        let with = Given { features: 1 << 3, ..given("6.3.1", &[(ID_AA64DFR0, 0x1606), (ID_DFR0, 0x0600_0006)]) };
        assert_eq!(with.judge(ID_AA64DFR0, 0x1406), Effect::Kept);
        assert_eq!(with.judge(ID_AA64DFR0, 0x1706), refused());
        assert_eq!(with.judge(ID_AA64DFR0, 0x1006), refused());
        assert_eq!(with.judge(ID_AA64DFR0, 0x0406), refused());
        assert_eq!(with.judge(ID_DFR0, 0x0300_0006), Effect::Kept);
        assert_eq!(with.judge(ID_DFR0, 0x0200_0006), refused());
        let before = Given { release: "6.1.0", ..with };
        assert_eq!(before.judge(ID_AA64DFR0, 0x1406), refused());
    }

    #[test]
    fn in_6_5_and_6_6_few_fields_are_writable() {
        let host = given("6.5.3", &[(ID_AA64PFR0, PFR0), (ID_AA64DFR0, 0x1006)]);
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 & !(0x11 << 56)), Effect::Kept);
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 & !0xf | 1), refused());
        assert_eq!(host.judge(ID_AA64DFR0, 0x1806), Effect::Kept);
        let host = Given { release: "6.6.60", ..host };
        assert!(is_unknown(&host.judge(ID_AA64DFR0, 0x1806)));
        assert_eq!(host.judge(ID_AA64DFR0, 0x1106), refused());
        let ran = Given { state: State::Ran, ..host };
        assert_eq!(ran.judge(ID_AA64PFR0, PFR0 & !(0x11 << 56)), Effect::Refused(Some(Errno::EBUSY)));
    }

    #[test]
    fn without_masks_6_7_to_6_11_are_known_where_any_mask_gives_the_same() {
        let host = given("6.9.1", &[(ID_AA64PFR0, PFR0)]);
        assert_eq!(host.judge(ID_AA64PFR0, PFR0), Effect::Kept);
        assert!(is_unknown(&host.judge(ID_AA64PFR0, PFR0 & !(1 << 56))));
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 | 2 << 56), refused());
        let host = Given { masks: Some(vec![(ID_AA64PFR0, 0xf << 56)]), ..host };
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 & !(1 << 56)), Effect::Kept);
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 & !(1 << 60)), refused());
    }

    #[test]
    fn reported_masks_go_before_the_release() {
        let masks = Some(vec![(ID_AA64PFR0, 0xff00_0000_0000_00ff)]);
        let host = Given { masks, ..given("5.14.0-503.el9", &[(ID_AA64PFR0, PFR0)]) };
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 & !(1 << 60)), Effect::Kept);
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 & !0xf | 1), Effect::Kept);
        assert!(is_unknown(&host.judge(ID_AA64PFR0, PFR0 & !0xf)));
        let untold = Given { release: "custom", ..host };
        assert_eq!(untold.judge(ID_AA64PFR0, PFR0 & !(1 << 60)), Effect::Kept);
        let nothing = Given { masks: None, ..untold };
        assert_eq!(nothing.judge(ID_AA64PFR0, PFR0), Effect::Kept);
        assert!(is_unknown(&nothing.judge(ID_AA64PFR0, PFR0 & !(1 << 60))));
        let ran = Given { state: State::Ran, ..nothing };
        assert!(is_unknown(&ran.judge(ID_AA64PFR0, PFR0)));
    }

    #[test]
    fn of_a_vendors_kernel_only_what_all_rules_agree_on_is_known() {
        for release in ["6.1.172-199.amzn2023.aarch64", "6.6.0-72.oe2403.aarch64", "5.14.0-503.el9.aarch64"] {
            let host = given(release, &[(ID_AA64PFR0, PFR0), (CTR, 0x8444_c004), (ID_AA64DFR0, 0x1006)]);
            assert_eq!(host.judge(ID_AA64PFR0, PFR0), Effect::Kept, "{release}");
            assert!(is_unknown(&host.judge(ID_AA64PFR0, PFR0 & !(1 << 60))), "{release}: lower");
            assert_eq!(host.judge(ID_AA64PFR0, PFR0 | 2 << 60), refused(), "{release}: above the limit");
            assert!(is_unknown(&host.judge(CTR, 0x8444_c003)), "{release}: lower");
            assert_eq!(host.judge(CTR, 0x8444_c005), refused(), "{release}: above the limit");
            match release {
                "6.6.0-72.oe2403.aarch64" => {
                    assert_eq!(host.judge(ID_AA64DFR0, 0x1f06), Effect::Dropped(Some(Value::Word(0x1006))));
                }
                _ => assert!(is_unknown(&host.judge(ID_AA64DFR0, 0x1f06)), "{release}"),
            }
            let ran = Given { state: State::Ran, ..host };
            assert_eq!(ran.judge(ID_AA64DFR0, 0x1006), Effect::Kept, "{release}");
            let lowered = ran.judge(ID_AA64PFR0, PFR0 & !(1 << 60));
            match release {
                "6.6.0-72.oe2403.aarch64" => assert_eq!(lowered, Effect::Refused(Some(Errno::EBUSY))),
                _ => assert!(is_unknown(&lowered), "{release}: taken, EINVAL or EBUSY"),
            }
        }
        let masks = Some(vec![(ID_AA64PFR0, 0xf << 60)]);
        let host = Given { masks, ..given("6.18.30-61.amzn2023.aarch64", &[(ID_AA64PFR0, PFR0)]) };
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 & !(1 << 60)), Effect::Kept);
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 & !(1 << 56)), refused());
    }

    #[test]
    fn younger_kernels_and_back_ports_are_unknown() {
        let host = given("7.4.1", &[(ID_AA64PFR0, PFR0), (CTR, 0x8444_c004)]);
        assert_eq!(host.judge(ID_AA64PFR0, PFR0), Effect::Kept);
        assert!(is_unknown(&host.judge(ID_AA64PFR0, PFR0 & !(1 << 60))));
        assert!(is_unknown(&host.judge(CTR, 0x8444_8004)));
        let mut registers: Vec<_> = (0..14).map(|index| (RegisterId::ccsidr(index), 0)).collect();
        registers.extend([(ID_AA64PFR0, PFR0), (CTR, 0x8444_c004)]);
        let ported = given("5.14.0", &registers);
        assert!(is_unknown(&ported.judge(ID_AA64PFR0, PFR0 & !(1 << 60))));
        assert!(is_unknown(&ported.judge(CTR, 0x8444_8004)));
    }

    #[test]
    fn between_two_trees_only_what_differs_is_unknown() {
        let host = given("6.12.60", &[(ID_PFR0, 0x131), (ID_AA64PFR0, PFR0)]);
        assert!(is_unknown(&host.judge(ID_PFR0, 0x31)));
        assert_eq!(host.judge(ID_PFR0, 0x231), refused());
        assert_eq!(host.judge(ID_AA64PFR0, PFR0 & !(1 << 60)), Effect::Kept);
        assert_eq!(Given { release: "6.12.117", ..host }.judge(ID_PFR0, 0x31), Effect::Kept);
    }

    #[test]
    fn hosts_without_aarch32_ignore_writes_from_6_1() {
        let zero = [(ID_AA64PFR0, 0x11), (ID_PFR0, 0), (ID_AFR0, 0), (ID_DFR0, 0)];
        let host = given("6.1.0-56-arm64", &zero);
        assert_eq!(host.judge(ID_PFR0, 0x131), Effect::Dropped(Some(Value::Word(0))));
        assert_eq!(host.judge(ID_PFR0, 0), Effect::Kept);
        assert_eq!(host.judge(ID_AFR0, 1), refused());
        let ran = Given { state: State::Ran, ..given("6.12.117", &zero) };
        assert_eq!(ran.judge(ID_DFR0, 0x131), Effect::Dropped(Some(Value::Word(0))));
        assert_eq!(given("5.10.0", &zero).judge(ID_PFR0, 0x131), refused());
        // Linux shows a PMU in ID_DFR0_EL1, and drops writes to it all the same.
        let pmu = [(ID_AA64PFR0, 0x11), (ID_PFR0, 0), (ID_DFR0, 0x0400_0000)];
        for state in State::ALL {
            let host = Given { state, ..given("6.12.117", &pmu) };
            assert_eq!(host.judge(ID_DFR0, 0x0400_0000), Effect::Kept, "{state:?}");
            assert_eq!(host.judge(ID_DFR0, 0x66), Effect::Dropped(Some(Value::Word(0x0400_0000))), "{state:?}");
            assert_eq!(host.judge(ID_PFR0, 0x131), Effect::Dropped(Some(Value::Word(0))), "{state:?}");
        }
        assert!(is_unknown(&given("5.10.0-136.oe2203.aarch64", &zero).judge(ID_PFR0, 0x131)), "perhaps ported back");
        let nested = given("6.16.12", &[(ID_AA64PFR0, 0x11), (ID_PFR0, 0x131), (ID_DFR0, 0)]);
        assert_eq!(nested.judge(ID_DFR0, 0x131), refused());
        let with_aarch32 = given("6.12.117", &[(ID_AA64PFR0, 0x12), (ID_PFR0, 0)]);
        assert_eq!(with_aarch32.judge(ID_PFR0, 0x131), refused());
    }

    #[test]
    fn unallocated_registers_take_zero_only() {
        let unallocated = RegisterId::system(3, 0, 0, 4, 3);
        for release in ["5.10.0", "6.1.0", "6.12.117", "7.3.4"] {
            let host = given(release, &[(unallocated, 0)]);
            assert_eq!(host.judge(unallocated, 0), Effect::Kept, "{release}");
            assert_eq!(host.judge(unallocated, 1), refused(), "{release}");
        }
        let ran = Given { state: State::Ran, ..given("6.12.117", &[(unallocated, 0)]) };
        assert_eq!(ran.judge(unallocated, 1), Effect::Refused(Some(Errno::EBUSY)));
    }

    #[test]
    fn the_cache_type_must_be_equal_up_to_6_11() {
        for release in ["5.10.0", "6.1.0", "6.9.3"] {
            let host = given(release, &[(CTR, 0x8444_c004)]);
            assert_eq!(host.judge(CTR, 0x8444_c004), Effect::Kept, "{release}");
            assert_eq!(host.judge(CTR, 0x8444_c003), refused(), "{release}");
        }
        let host = given("6.12.8", &[(CTR, 0x8444_c004)]);
        assert_eq!(host.judge(CTR, 0x8444_c003), Effect::Kept);
        assert_eq!(host.judge(CTR, 0x8444_c005), refused());
        let without = Given { masks: Some(vec![]), ..given("6.9.3", &[(CTR, 0x8444_c004)]) };
        assert_eq!(without.judge(CTR, 0x8444_c003), refused());
        assert!(is_unknown(&given("custom", &[(CTR, 0x8444_c004)]).judge(CTR, 0x8444_c003)));
    }

    #[test]
    fn cache_type_is_known_to_be_equal_only_where_the_kernel_is_known() {
        let own = 0x8444_c004;
        let rule = |release: &str, mask: Option<u64>, reports_masks| {
            let masks = mask.map(|mask| vec![(CTR, mask)]);
            let registers = [(CTR, Value::Word(own))];
            let facts = Facts {
                release: Release::parse(release),
                registers: &registers,
                masks: masks.as_deref(),
                reports_masks,
                ..Facts::default()
            };
            derive(CTR, &facts)
        };
        let judge = |rule: &Rule| rule.judge(&Value::Word(own - 1), None);
        assert_eq!(judge(&rule("6.9.1", Some(0), None)), refused());
        assert!(matches!(judge(&rule("7.9.1", Some(0), None)), Effect::Unknown(_)), "younger than what is known");
        assert_eq!(judge(&rule("6.1.0", None, None)), refused());
        assert!(
            matches!(judge(&rule("6.1.0", None, Some(true))), Effect::Unknown(_)),
            "masks are there, but not recorded"
        );
    }

    #[test]
    fn registers_without_lowered_fields_share_one_rule() {
        let registers = [(ID_PFR0, Value::Word(0x131))];
        let facts = Facts { release: Release::parse("5.10.0"), registers: &registers, ..Facts::default() };
        assert_eq!(derive(ID_PFR0, &facts), Rule::Equal(Value::Word(0x131)));
    }
}
