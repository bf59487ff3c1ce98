use super::*;
use crate::errno::Errno;
use crate::judgement::Effect;
use crate::rules::state::{judged, quadwords};
use crate::rules::{Release, derive};
use crate::vcpu::VcpuConfig;

const ID_PFR0: RegisterId = RegisterId::system(3, 0, 0, 1, 0);
const WIDE: u64 = 0x1234_5678_9abc_def0;

fn host(release: &str, features: &[&str], pfr0: u64, id_pfr0: u64, judge: impl FnOnce(&Facts<'_>)) {
    let features = VcpuConfig::parse_features(features.iter().copied()).unwrap();
    let registers = [(ID_PFR0, Value::Word(id_pfr0)), (catalog::ID_AA64PFR0, Value::Word(pfr0))];
    let config = VcpuConfig { features, ..VcpuConfig::default() };
    judge(&Facts { release: Release::parse(release), config, registers: &registers, ..Facts::default() });
}

fn vendors<'a>(facts: &Facts<'a>) -> Facts<'a> {
    Facts { is_vendors: true, ..*facts }
}

fn taken_modes(facts: &Facts<'_>) -> Vec<u64> {
    let rule = derive(RegisterId::PSTATE, facts);
    (0..32).filter(|mode| rule.judge(&Value::Word(mode | 0xf_0000_03c0), None) == Effect::Kept).collect()
}

#[test]
fn a_vcpu_takes_the_modes_that_it_has() {
    host("6.12.8", &[], 0x12, 0x131, |facts| assert_eq!(taken_modes(facts), [0, 4, 5, 0x10]));
    host("6.12.8", &[], 0x11, 0, |facts| assert_eq!(taken_modes(facts), [0, 4, 5]));
    host("7.3.4", &["has_el2"], 0x11, 0x131, |facts| assert_eq!(taken_modes(facts), [0, 4, 5, 8, 9, 0x10]));
    host("7.3.4", &["has_el2"], 0x11, 0, |facts| assert_eq!(taken_modes(facts), [0, 4, 5, 8, 9]));
    host("6.1.94", &["el1_32bit"], 0x22, 0x131, |facts| {
        assert_eq!(taken_modes(facts), [0x10, 0x11, 0x12, 0x13, 0x17, 0x1b, 0x1f]);
    });
    for unread in ["5.4.0", "5.10.200", "5.15.120", "6.1.93", "6.6.10", "6.9.9", "6.1.79-99.164.amzn2023.aarch64"] {
        host(unread, &["el1_32bit"], 0x22, 0x131, |facts| {
            let system = derive(RegisterId::PSTATE, facts).judge(&Value::Word(0x1f), None);
            assert_eq!(system, Effect::Unknown(PROBE), "{unread}");
        });
    }
    let refused = derive(RegisterId::PSTATE, &Facts::default()).judge(&Value::Word(8), None);
    assert_eq!(refused, Effect::Refused(Some(Errno::EINVAL)));
}

#[test]
fn without_id_registers_aarch32_user_is_unknown() {
    let user = derive(RegisterId::PSTATE, &Facts::default()).judge(&Value::Word(0x10), None);
    assert_eq!(user, Effect::Unknown(PROBE));
}

#[test]
fn aarch32_modes_lose_the_upper_halves() {
    let low = Effect::Rewritten(Some(Value::Word(WIDE & 0xffff_ffff)));
    let judge = |facts: &Facts<'_>, register, context| derive(register, facts).judge(&Value::Word(WIDE), context);
    host("7.1.13", &["el1_32bit"], 0x22, 0x131, |facts| {
        for number in 0..31 {
            assert_eq!(judge(facts, RegisterId::general(number), None), low);
        }
        assert_eq!(judge(facts, RegisterId::PC, Some(0x12)), low);
        assert_eq!(judge(facts, RegisterId::new(0x6030_0000_0010_003e), None), Effect::Kept, "SP");
    });
    host("7.1.13", &[], 0x12, 0x131, |facts| {
        for (number, context, read) in
            [(0, None, false), (0, Some(5), false), (14, Some(0x10), true), (15, Some(0x10), false)]
        {
            let read = if read { &low } else { &Effect::Kept };
            assert_eq!(judge(facts, RegisterId::general(number), context), *read, "X{number} {context:?}");
        }
        assert_eq!(judge(facts, RegisterId::PC, Some(0x10)), low);
    });
    host("5.10.0", &["el1_32bit"], 0x22, 0x131, |facts| {
        let cut = |mode| -> Vec<u64> {
            let is_cut = |number: &u64| judge(facts, RegisterId::general(*number), mode) == low;
            (13..31).filter(is_cut).collect()
        };
        assert_eq!(judge(facts, RegisterId::general(12), None), low);
        assert_eq!(cut(None), [18, 19]);
        assert_eq!(cut(Some(0x13)), [18, 19]);
        assert_eq!(cut(Some(0x12)), [16, 17, 18, 19]);
        assert_eq!(cut(Some(0x10)), [13, 14, 18, 19]);
        assert_eq!(cut(Some(0x17)), [18, 19, 20, 21]);
        assert_eq!(cut(Some(0x1b)), [18, 19, 22, 23]);
        assert_eq!(cut(Some(0x11)), [18, 19, 24, 25, 26, 27, 28, 29, 30]);
        assert_eq!(cut(Some(0x1a)), [18, 19], "no mode of a guest");
    });
    host("5.10.0", &["el1_32bit"], 0x22, 0x131, |facts| {
        assert_eq!(judge(&vendors(facts), RegisterId::general(0), None), low);
        assert!(matches!(judge(&vendors(facts), RegisterId::general(20), None), Effect::Unknown(_)));
    });
    host("5.4.0", &["el1_32bit"], 0x22, 0x131, |facts| {
        assert_eq!(judge(facts, RegisterId::general(0), None), Effect::Unknown(PROBE));
    });
}

#[test]
fn vectors_are_cut_to_the_longest_of_the_vcpu() {
    let z = RegisterId::new(0x6080_0000_0015_0020);
    let p = RegisterId::new(0x6050_0000_0015_0400);
    let lengths = Value::parse("0x3", RegisterId::SVE_VLS).unwrap();
    let registers =
        [(p, Value::from_word(0, p).unwrap()), (RegisterId::SVE_VLS, lengths), (z, Value::from_word(0, z).unwrap())];
    let facts = Facts { registers: &registers, ..Facts::default() };
    let judge =
        |register, text: &str, context| derive(register, &facts).judge(&Value::parse(text, register).unwrap(), context);
    let long = "0x100000000000000000000000000000000";
    assert_eq!(judge(z, long, None), Effect::Kept, "129 bits of 256");
    assert_eq!(judge(z, long, Some(2)), Effect::Kept);
    assert_eq!(judge(z, long, Some(1)), Effect::Dropped(Some(Value::from_word(0, z).unwrap())));
    let one_more = format!("0x1{}7", "0".repeat(64));
    assert_eq!(judge(z, &one_more, None), Effect::Rewritten(Some(Value::from_word(7, z).unwrap())));
    assert_eq!(judge(p, "0xffffffff", None), Effect::Kept);
    assert_eq!(judge(p, "0x1ffffffff", None), Effect::Rewritten(Some(Value::from_word(0xffff_ffff, p).unwrap())));
    let untold = derive(z, &Facts { registers: &registers[2..], ..facts }).judge(&Value::parse(long, z).unwrap(), None);
    assert_eq!(untold, Effect::Unknown(PROBE));
    assert_eq!([quadwords(p, &Value::from_word(0x1_0000, p).unwrap()), quadwords(p, &Value::Word(0xffff))], [2, 1]);
    assert_eq!(quadwords(z, &Value::Word(u64::MAX)), 1);
    assert_eq!([0, 0xff, 0x100, 0x1_0000].map(|word| quadwords(p, &Value::Word(word))), [0, 1, 1, 2]);
    let untold = derive(p, &Facts { registers: &registers[..1], ..facts });
    assert_eq!(untold.judge(&Value::from_word(0xffff, p).unwrap(), None), Effect::Kept, "every vector has a quadword");
    let Rule::SveState(mut state) = derive(z, &facts) else { panic!("Z is SVE state") };
    state.ignore_saved_lengths();
    assert_eq!(state.judge(&Value::parse(long, z).unwrap(), Some(1)), Effect::Kept, "the vCPU has the host's lengths");
}

const CNTV_CTL: RegisterId = RegisterId::system(3, 3, 14, 3, 1);

#[test]
fn whether_a_timer_has_expired_is_not_stored() {
    let judge = |own, word| {
        let release = Release::parse(if own == 0 { "6.18.15" } else { "6.12.8" });
        timer_control(CNTV_CTL, own, &Facts { release, ..Facts::default() }).judge(&Value::Word(word), None)
    };
    let untold = timer_control(CNTV_CTL, 0, &Facts::default());
    for word in [4, 1 << 32] {
        assert!(untold.judge(&Value::Word(word), None).needs().is_some(), "of either kind: {word:#x}");
    }
    assert_eq!(untold.judge(&Value::Word(3), None), Effect::Kept);
    assert_eq!(untold.judge(&Value::Word(1 << 32 | 4), None), Effect::Rewritten(None));
    let shown = timer_control(CNTV_CTL, 4, &Facts::default());
    assert_eq!(shown.judge(&Value::Word(4), None), Effect::Kept);
    assert_eq!(shown.judge(&Value::Word(1 << 32), None), Effect::Unknown(PROBE));
    assert_eq!([judge(4, 4), judge(4, 1), judge(4, 0)], [Effect::Kept, Effect::Kept, Effect::Kept]);
    assert_eq!(judge(4, 1 << 32), Effect::Rewritten(None));
    assert_eq!([judge(0, 0), judge(0, 1)], [Effect::Kept, Effect::Kept]);
    assert_eq!(judge(0, 4), Effect::Dropped(Some(Value::Word(0))));
    assert_eq!(judge(0, 5), Effect::Rewritten(Some(Value::Word(1))));
}

#[test]
fn timers_of_a_nested_hypervisor_are_stored_as_written_before_6_18() {
    let judge = |release: &str, is_vendors, word| {
        let facts = Facts { release: Release::parse(release), is_vendors, ..Facts::default() };
        let [physical, virtual_] = [catalog::CNTHP_CTL_EL2, catalog::CNTHV_CTL_EL2]
            .map(|register| timer_control(register, 0, &facts).judge(&Value::Word(word), None));
        assert_eq!(physical, virtual_);
        physical
    };
    for word in [0, 4, 5, 1 << 32] {
        assert_eq!(judge("6.17.13", false, word), Effect::Kept, "{word:#x}");
    }
    assert_eq!(judge("6.18.15", false, 4), Effect::Dropped(Some(Value::Word(0))));
    assert_eq!(judge("6.18.15", false, 1 << 32), Effect::Kept);
    assert!(judge("6.16.12", true, 4).needs().is_some());
    assert_eq!(judge("6.16.12", true, 3), Effect::Kept);
    assert_eq!(judge("6.16.12", true, 1 << 32), Effect::Kept, "either kind stores all bits");
}

#[test]
fn flags_and_low_halves_do_not_make_vms_differ() {
    let of = |register, word| judged(register, &Value::Word(word));
    assert_eq!(of(RegisterId::PSTATE, 0x6000_03c5), of(RegisterId::PSTATE, 5));
    assert_eq!([of(RegisterId::PC, 7), of(RegisterId::PC, WIDE)], [Some(0), None]);
    assert_eq!(of(catalog::PSCI_VERSION, 7), None);
}

#[test]
fn of_state_only_what_decides_is_looked_at() {
    let z = RegisterId::new(0x6080_0000_0015_0020);
    let word = |register, word: u64| judged(register, &Value::Word(word));
    assert_eq!(word(RegisterId::PSTATE, 0x6000_03c5), Some(5));
    assert_eq!([word(RegisterId::PC, 0xffff_ffff), word(RegisterId::PC, 1 << 32)], [Some(0), None]);
    assert_eq!([0, 1, 3].map(|value| word(CNTV_CTL, value)), [Some(0); 3]);
    assert_eq!([4, 5, 1 << 32, 1 << 32 | 4].map(|value| word(CNTV_CTL, value)), [None; 4]);
    assert_eq!(judged(z, &Value::from_word(u64::MAX, z).unwrap()), Some(0));
    assert_eq!(judged(z, &Value::parse("0x100000000000000000000000000000000", z).unwrap()), None);
    assert_eq!(word(catalog::SCTLR, 5), None);
    assert_eq!([0x6000_03c5, 0x10, 0x1f].map(crate::rules::mode), [Some(5), Some(0x10), Some(0x1f)]);
}

#[test]
fn modes_have_the_names_of_the_architecture() {
    let modes = |taken| Modes { taken, untold: 0 }.names();
    assert_eq!(modes(0), [""; 0]);
    assert_eq!(modes(1 << 5 | 1 << 0x10), ["EL1h", "AArch32 User"]);
}
