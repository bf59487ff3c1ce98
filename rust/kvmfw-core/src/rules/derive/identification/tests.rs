use super::*;
use crate::answers::State;
use crate::errno::Errno;
use crate::judgement::Effect;
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
    assert!(matches!(judge(&rule("6.1.0", None, Some(true))), Effect::Unknown(_)), "masks are there, but not recorded");
}

#[test]
fn registers_without_lowered_fields_share_one_rule() {
    let registers = [(ID_PFR0, Value::Word(0x131))];
    let facts = Facts { release: Release::parse("5.10.0"), registers: &registers, ..Facts::default() };
    assert_eq!(derive(ID_PFR0, &facts), Rule::Equal(Value::Word(0x131)));
}
