use super::*;
use crate::answers::State;
use crate::vcpu::VcpuConfig;

const PFR0: u64 = 0x1100_0000_0111_0222;

fn facts(state: State, vgic: bool, features: &[&str]) -> Facts<'static> {
    let features = VcpuConfig::parse_features(features.iter().copied()).unwrap();
    Facts { config: VcpuConfig { features, vgic, ..VcpuConfig::default() }, state, ..Facts::default() }
}

fn check(register: RegisterId, limit: u64, tree: Tree) -> Check {
    Check::new(register, limit, fields::mask_in(register, tree), tree, &facts(State::Fresh, false, &[]))
}

fn kept() -> Effect {
    Effect::Kept
}

fn refused() -> Effect {
    Effect::Refused(Some(Errno::EINVAL))
}

fn busy() -> Effect {
    Effect::Refused(Some(Errno::EBUSY))
}

fn dropped(value: u64) -> Effect {
    Effect::Dropped(Some(Value::Word(value)))
}

fn judge(check: &Check, word: u64) -> Effect {
    check.judge(&Value::Word(word))
}

#[test]
fn fields_may_be_lowered_where_the_mask_says_so() {
    let pfr0 = check(ID_AA64PFR0, PFR0, trees::T6_12_8);
    assert_eq!(judge(&pfr0, PFR0), kept());
    assert_eq!(judge(&pfr0, PFR0 & !(0xf << 60)), kept());
    assert_eq!(judge(&pfr0, PFR0 | 1 << 57), refused());
    // RAS joins the mask with 6.17.
    assert_eq!(judge(&pfr0, PFR0 | 1 << 28), refused());
}

#[test]
fn exception_levels_may_be_zero_up_to_6_12() {
    assert_eq!(judge(&check(ID_AA64PFR0, PFR0, trees::T6_12_117), PFR0 & !0xf), kept());
    for tree in [trees::T6_16_12, trees::T7_3] {
        let later = check(ID_AA64PFR0, PFR0, tree);
        assert_eq!(judge(&later, PFR0 & !0xf), refused());
        assert_eq!(judge(&later, PFR0 & !0xf0), refused());
        assert_eq!(judge(&later, PFR0 & !0xf00), kept());
        assert_eq!(judge(&later, PFR0 & !0xff | 0x11), kept());
    }
    let nested = facts(State::Fresh, true, &["has_el2"]);
    let nested = Check::new(ID_AA64PFR0, PFR0, fields::mask_in(ID_AA64PFR0, trees::T7_3), trees::T7_3, &nested);
    assert_eq!(judge(&nested, PFR0 & !0xf00), refused());
}

#[test]
fn what_the_hardware_hides_is_unknown_for_numbers_that_hardware_can_have() {
    let pfr0 = check(ID_AA64PFR0, PFR0, trees::T6_12_8);
    assert_eq!(judge(&pfr0, PFR0 | 1 << 40), Effect::Unknown(HARDWARE));
    assert_eq!(judge(&pfr0, PFR0 | 2 << 40), refused());
    assert_eq!(judge(&pfr0, PFR0 | 1 << 40 | 1 << 57), refused());
    let pfr1 = check(ID_AA64PFR1, 0x21, trees::T7_3);
    assert_eq!(judge(&pfr1, 0x1_0021), Effect::Unknown(HARDWARE));
    assert_eq!(judge(&pfr1, 0x2_0021), refused());
    let mmfr2 = check(ID_AA64MMFR2, 0x11, trees::T6_16_12);
    assert_eq!(judge(&mmfr2, 0x0100_0011), Effect::Unknown(HARDWARE));
    assert_eq!(judge(&mmfr2, 0x0200_0011), Effect::Unknown(HARDWARE));
    assert_eq!(judge(&mmfr2, 0x0300_0011), refused());
    assert_eq!(judge(&check(ID_AA64MMFR2, 0x11, trees::T6_12_117), 0x0200_0011), refused());
}

#[test]
fn mte_frac_0_stands_for_0xf_from_6_16() {
    let own = 0xf << 40 | 0x221;
    assert_eq!(judge(&check(ID_AA64PFR1, own, trees::T6_17_8), 0x221), dropped(own));
    assert_eq!(judge(&check(ID_AA64PFR1, own, trees::T6_16_12), 0x221), dropped(own));
    assert_eq!(judge(&check(ID_AA64PFR1, own, trees::T6_12_117), 0x221), refused());
    let without = 0xf << 40 | 0x321;
    assert_eq!(judge(&check(ID_AA64PFR1, without, trees::T6_17_8), 0x321), refused());
    // MPAM_frac as the hardware has it goes with it: found by a proof, which gave a value with both.
    let mut both = check(ID_AA64PFR1, own, trees::T6_17_8);
    assert_eq!(judge(&both, 0x221 | 1 << 16), Effect::Unknown(HARDWARE));
    both.hardware = Some(own | 1 << 16);
    assert_eq!(judge(&both, 0x221 | 1 << 16), dropped(own));
}

#[test]
fn a_pmu_that_is_not_versioned_becomes_none() {
    let dfr0 = check(ID_AA64DFR0, 0x1030_5006, trees::T6_12_117);
    assert_eq!(judge(&dfr0, 0x1030_5f06), dropped(0x1030_5006));
    assert_eq!(judge(&dfr0, 0x1030_5806), refused());
    assert_eq!(judge(&check(ID_AA64DFR0, 0x1030_5006, trees::T6_12_8), 0x1030_5806), kept());
    let with_pmu = check(ID_AA64DFR0, 0x1030_5606, trees::T6_12_117);
    assert_eq!(judge(&with_pmu, 0x1030_5f06), Effect::Rewritten(Some(Value::Word(0x1030_5006))));
    let dfr0 = check(ID_DFR0, 0x0300_0006, trees::T6_12_117);
    assert_eq!(judge(&dfr0, 0x0f00_0006), Effect::Rewritten(Some(Value::Word(6))));
    assert_eq!(judge(&dfr0, 0x0100_0006), refused());
    assert_eq!(judge(&dfr0, 0x0200_0006), refused());
    assert_eq!(judge(&dfr0, 0x6), kept());
}

#[test]
fn debug_before_armv8_is_refused() {
    let dfr0 = check(ID_AA64DFR0, 0x8, trees::T7_3);
    assert_eq!(judge(&dfr0, 0x6), kept());
    assert_eq!(judge(&dfr0, 0x5), refused());
    assert_eq!(judge(&dfr0, 0x9), refused());
    let dfr0 = check(ID_DFR0, 0x8, trees::T7_3);
    assert_eq!(judge(&dfr0, 0x6), kept());
    assert_eq!(judge(&dfr0, 0x5), refused());
}

#[test]
fn the_cache_type_keeps_to_what_the_architecture_has() {
    let ctr = check(CTR, 0x9444_c004, trees::T6_17_8);
    assert_eq!(judge(&ctr, 0x9444_8004), kept());
    assert_eq!(judge(&ctr, 0x9444_4004), refused());
    assert_eq!(judge(&ctr, 0x9444_0004), refused());
    assert_eq!(judge(&ctr, 0x8444_c004), kept());
    assert_eq!(judge(&check(CTR, 0x9444_c004, trees::T6_12_117), 0x9444_8004), refused());
}

#[test]
fn nested_vms_have_their_own_wrappers() {
    let nested = |tree| {
        let facts = facts(State::Fresh, true, &["has_el2"]);
        move |register, limit| Check::new(register, limit, fields::mask_in(register, tree), tree, &facts)
    };
    let dfr0 = nested(trees::T6_18_15)(ID_AA64DFR0, 0x00f0_0000_0006);
    assert_eq!(judge(&dfr0, 0x6), dropped(0x00f0_0000_0006));
    assert_eq!(judge(&nested(trees::T6_17_8)(ID_AA64DFR0, 0x00f0_0000_0006), 0x6), refused());
    assert_eq!(judge(&check(ID_AA64DFR0, 0x00f0_0000_0006, trees::T6_18_15), 0x6), refused());
    let mmfr0 = nested(trees::T7_3)(ID_AA64MMFR0, 0x0222_0000_0005);
    assert_eq!(judge(&mmfr0, 0x0222_0000_0004), kept());
    assert_eq!(judge(&mmfr0, 0x0322_0000_0005), refused());
    let hiding = |tree| judge(&nested(tree)(ID_AA64MMFR0, 0x0222_0000_0005), 0x0122_0000_0005);
    assert_eq!(hiding(trees::T7_3), kept());
    assert_eq!(hiding(trees::T6_16_12), refused());
    assert_eq!(hiding(trees::T6_18_15), Effect::Unknown(NESTED_GRANULES));
    let mmfr2 = nested(trees::T7_3)(ID_AA64MMFR2, 0x11);
    assert_eq!(judge(&mmfr2, 0x0200_0011), dropped(0x11));
    assert_eq!(judge(&mmfr2, 0x0100_0011), refused());
    assert_eq!(judge(&check(ID_AA64MMFR0, 0x0222_0000_0005, trees::T7_3), 0x0122_0000_0005), kept());
}

#[test]
fn the_cache_policy_is_looked_at_only_where_it_is_writable() {
    let own = 0x8444_0004;
    assert_eq!(judge(&check(CTR, own, trees::T6_12_117), own), kept());
    assert_eq!(judge(&check(CTR, own, trees::T6_16_12), own), refused());
}

#[test]
fn the_gic_field_stays_where_no_vm_can_write_it() {
    let facts = facts(State::Ran, false, &[]);
    let fixed = Check::new(ID_AA64PFR0, PFR0, 0, trees::T6_12_117, &facts);
    assert_eq!(judge(&fixed, PFR0), kept());
    assert_eq!(judge(&fixed, PFR0 & !GIC.0), busy());
}

#[test]
fn mte_frac_is_left_alone_without_mte() {
    let plain = check(ID_AA64PFR1, 0x21, trees::T6_18_15);
    assert_eq!(judge(&plain, 0x21), kept());
    assert_eq!(judge(&plain, 0x21 | 0xf << 40), refused());
    assert_eq!(judge(&check(ID_AA64PFR1, 0x21, trees::T6_16_12), 0x21), kept());
}

#[test]
fn after_the_run_only_the_current_value_is_taken() {
    let ran = |register, limit, vgic| {
        let mask = fields::mask_in(register, trees::T6_12_117);
        Check::new(register, limit, mask, trees::T6_12_117, &facts(State::Ran, vgic, &[]))
    };
    let with_gic = ran(ID_AA64PFR0, PFR0, true);
    assert_eq!(judge(&with_gic, PFR0), kept());
    assert_eq!(judge(&with_gic, PFR0 & !(0xf << 60)), busy());
    let without = ran(ID_AA64PFR0, PFR0 | 1 << 24, false);
    assert_eq!(judge(&without, PFR0 & !(0xf << 24)), kept());
    assert_eq!(judge(&without, PFR0 | 1 << 24), busy());
    assert_eq!(judge(&ran(ID_PFR1, 0x1001_1011, false), 0x1_1011), kept());
    assert_eq!(judge(&ran(ID_PFR1, 0x1001_1011, true), 0x1_1011), busy());
    // The wrapper comes first.
    assert_eq!(judge(&ran(ID_AA64DFR0, 0x1030_5006, true), 0), refused());
    assert_eq!(judge(&ran(ID_AA64DFR0, 0x1030_5006, true), 0x1030_5f06), dropped(0x1030_5006));
}

#[test]
fn a_field_that_no_tree_knows_is_unknown() {
    let mask = fields::mask_in(ID_AA64PFR1, trees::T7_3) | 0xf << 60;
    let check = Check::new(ID_AA64PFR1, 0x1000_0000_0000_0021, mask, trees::T7_3, &facts(State::Fresh, true, &[]));
    assert_eq!(judge(&check, 0x1000_0000_0000_0021), kept());
    assert_eq!(judge(&check, 0x21), Effect::Unknown(NEW_FIELD));
    assert_eq!(judge(&check, 0x31), refused());
    assert_eq!(check.judge(&Value::parse("0x1", RegisterId::SVE_VLS).unwrap()), refused());
}
