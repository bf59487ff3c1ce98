use super::facts::PROBE;
use super::*;
use crate::answers::State;
use crate::catalog;
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::judgement::Effect;
use crate::value::Value;
use crate::vcpu::VcpuConfig;

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
    let said =
        |state| derive(RegisterId::SVE_VLS, &Facts { registers: &registers, state, ..of("6.12.8") }).judge(&own, None);
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
    // ICH_VTR_EL2, which no known kernel lists.
    const UNHEARD_OF: RegisterId = RegisterId::system(3, 4, 12, 11, 1);
    let registers = [(UNHEARD_OF, Value::Word(8))];
    let facts = Facts { registers: &registers, ..of("6.16.12") };
    let judge = |facts: &Facts<'_>, word| derive(UNHEARD_OF, facts).judge(&Value::Word(word), None);
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

#[test]
fn what_known_kernels_decide_differently_is_not_known_of_younger_ones() {
    let timer = RegisterId::system(3, 3, 14, 3, 1);
    let registers = [(RegisterId::PC, 1), (catalog::PMCR, 0x3000), (timer, 0), (catalog::WORKAROUND_2, 0)];
    let mut registers = registers.map(|(id, word)| (id, Value::Word(word)));
    registers.sort();
    let judge = |release, state, register, word| {
        let config = VcpuConfig { features: 1 << 3, ..VcpuConfig::default() };
        let facts = Facts { registers: &registers, config, state, ..of(release) };
        derive(register, &facts).judge(&Value::Word(word), None)
    };
    for (register, own, other) in [(catalog::PMCR, 0x3000, 0x2000), (timer, 0, 5), (catalog::WORKAROUND_2, 0, 1)] {
        assert_eq!(judge("7.4.0", State::Fresh, register, own), Effect::Kept);
        assert_eq!(judge("7.4.0", State::Fresh, register, other), Effect::Unknown(trees::YOUNGER));
        assert_eq!(judge("7.4.0", State::Ran, register, own), Effect::Unknown(trees::YOUNGER));
        assert_eq!(judge("7.3.99", State::Fresh, register, own), Effect::Kept);
        assert!(judge("7.3.99", State::Fresh, register, other).needs().is_none());
    }
    assert_eq!(judge("7.4.0", State::Ran, RegisterId::PC, 7), Effect::Kept, "state is what it always was");
}

#[test]
fn of_a_set_only_what_the_first_run_depends_on_is_looked_at() {
    let sve = RegisterId::new(0x6080_0000_0015_0000);
    let sp_el2 = RegisterId::system(3, 6, 4, 1, 0);
    let ids = |nested: bool| {
        let mut ids = vec![RegisterId::PC, sve, sp_el2, catalog::SCTLR, catalog::ID_AA64PFR0, catalog::ID_AA64DFR0];
        ids.extend(nested.then_some(catalog::HCR_EL2));
        ids.sort();
        ids
    };
    let looked_at = |nested| aftermath::looked_at(&ids(nested), nested);
    assert_eq!(looked_at(false), [(catalog::ID_AA64PFR0, 0xf << 24), (catalog::ID_AA64DFR0, 0xf << 8)]);
    let whole = [catalog::ID_AA64PFR0, catalog::ID_AA64DFR0, catalog::SCTLR, catalog::HCR_EL2].map(|id| (id, u64::MAX));
    let mut whole = whole.to_vec();
    whole.sort_unstable();
    assert_eq!(looked_at(true), whole);
}

#[test]
fn a_nested_vm_without_its_aarch32_registers_does_not_tell_of_aarch32() {
    let registers = [(catalog::ID_AA64PFR0, Value::Word(0x11))];
    let has = |features| {
        let config = VcpuConfig { features, ..VcpuConfig::default() };
        Facts { registers: &registers, config, ..of("7.3.4") }.has_aarch32()
    };
    assert_eq!([has(0), has(1 << 7)], [Some(false), None]);
}

#[test]
fn why_a_release_does_not_tell_is_said() {
    assert!(of("custom").untold().contains("release of this host is not known"));
    assert!(Facts { is_vendors: true, ..of("6.1.172") }.untold().contains("vendor's kernel"));
    assert!(of("6.12.0").untold().contains("point releases of this series"));
}
