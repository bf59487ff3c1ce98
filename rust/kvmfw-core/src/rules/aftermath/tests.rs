use std::sync::Arc;

use super::*;
use crate::answers::{Answers, ByValue};
use crate::capture::Trial;
use crate::catalog::{HCR_EL2, ID_AA64DFR0, ID_AA64MMFR0, PMCR};
use crate::judgement::Effect;
use crate::vcpu::VcpuConfig;

const NESTED: u32 = 1 << 7;
const WITHOUT: Does = Does::No;
const SEEN: Does = Does::Yes(Evidence::Measured);
const DERIVED: Does = Does::Yes(Evidence::Derived);

fn of(release: &str) -> Facts<'static> {
    Facts { release: Release::parse(release), ..Facts::default() }
}

const fn with(runs: bool, recorded: bool) -> Controller {
    Controller { runs, late: false, recorded }
}

#[test]
fn an_interrupt_controller_that_is_made_late_sets_gic_from_6_18_on() {
    let registers = words(&[(ID_AA64PFR0, 1 << 24)]);
    let late = Controller { late: true, ..with(true, true) };
    for (release, expected) in [("6.17.8", WITHOUT), ("6.18.15", DERIVED), ("7.0.13", DERIVED), ("7.3.4", DERIVED)] {
        assert_eq!(gic(&Facts { registers: &registers, ..of(release) }, late), expected, "{release}");
    }
    assert_eq!(gic(&Facts { registers: &registers, ..of("7.0.13") }, with(true, true)), WITHOUT);
}

fn words(words: &[(RegisterId, u64)]) -> Vec<(RegisterId, Value)> {
    let mut values: Vec<_> = words.iter().map(|(id, word)| (*id, Value::Word(*word))).collect();
    values.sort();
    values
}

#[test]
fn reserved_bits_have_registers_of_el2_and_what_the_first_run_sanitises_of_el1() {
    let masked = |op1, crn, crm, op2| is_masked(RegisterId::system(3, op1, crn, crm, op2));
    // `kvm_init_nv_sysregs`, `arch/arm64/kvm/nested.c`, 7.3.4.
    assert!(masked(0, 1, 0, 0), "SCTLR_EL1");
    assert!(masked(0, 1, 0, 3), "SCTLR2_EL1");
    assert!(masked(4, 1, 1, 0), "HCR_EL2");
    assert!(masked(4, 1, 1, 4), "HFGRTR_EL2");
    assert!(masked(4, 2, 0, 3), "TCR2_EL2");
    assert!(!masked(0, 2, 0, 3), "TCR2_EL1");
    assert!(!masked(0, 10, 2, 3), "PIR_EL1");
    assert!(!masked(4, 10, 2, 3), "PIR_EL2");
    assert!(!masked(4, 10, 2, 4), "POR_EL2");
    assert!(!is_masked(RegisterId::PC));
}

#[test]
fn a_mask_is_what_a_vcpu_that_had_run_made_of_ones_and_zeros() {
    let answers = |register, state, ones: u64, zeros: u64| {
        let reads = [(0, zeros), (u64::MAX, ones)].map(|(word, read)| (Value::Word(word), Value::Word(read)));
        (register, state, Arc::new(Answers::ByValue(ByValue { changed: reads.to_vec(), ..ByValue::default() })))
    };
    let answers = [
        answers(HCR_EL2, State::Exited, 0xff0f, 0x1),
        answers(VMPIDR_EL2, State::Fresh, 0xff, 0),
        answers(RegisterId::PC, State::Exited, 0xff, 0),
        answers(SCTLR, State::Ran, 0xff, 0),
    ];
    let found = masks(&Facts { answers: Some(&answers), ..Facts::default() });
    let derived = Mask { zeros: 0xffff_ff00_7f00_0000, ones: 0x8000_0000 };
    let measured = Mask { zeros: !0xff0f, ones: 1 };
    assert_eq!(found, [(VMPIDR_EL2, derived, Evidence::Derived), (HCR_EL2, measured, Evidence::Measured)]);
}

#[test]
fn a_mask_is_that_of_vms_with_the_hosts_id_registers() {
    let registers = words(&[(HCR_EL2, 0), (ID_AA64MMFR0, 0x1), (VMPIDR_EL2, 0)]);
    let reads = [(0, 0), (u64::MAX, 0xff)].map(|(word, read)| (Value::Word(word), Value::Word(read)));
    let answers = Arc::new(Answers::ByValue(ByValue { changed: reads.to_vec(), ..ByValue::default() }));
    let answers = [(HCR_EL2, State::Exited, answers)];
    let config = VcpuConfig { features: NESTED, ..VcpuConfig::default() };
    let facts = Facts { registers: &registers, config, answers: Some(&answers), ..of("7.3.4") };
    let aftermath = Aftermath::derive(&facts, Controller { runs: true, late: false, recorded: true });
    let fates = |hcr, granules, vmpidr| -> Vec<_> {
        let mut saved = [(HCR_EL2, hcr), (ID_AA64MMFR0, granules), (VMPIDR_EL2, vmpidr)];
        saved.sort_unstable();
        let ids = saved.map(|(id, _)| id);
        aftermath.changes(&ids, &saved).into_iter().map(|change| (change.register, change.effect(Some(hcr)))).collect()
    };
    let cut = Effect::Rewritten(Some(Value::Word(0x1)));
    assert_eq!(fates(0x101, 0x1, 0), [(HCR_EL2, cut)]);
    assert_eq!(fates(0x11, 0x1, 0), []);
    assert_eq!(fates(0x101, 0x0, 0), [(HCR_EL2, Effect::Unknown(MASK_UNKNOWN))]);
    let changed: Vec<_> = fates(0, 0x0, 1 << 63).into_iter().map(|(id, effect)| (id, effect.needs())).collect();
    assert_eq!(changed, [(VMPIDR_EL2, None)], "its mask is the same in all VMs");
}

#[test]
fn a_change_is_known_up_to_the_last_without_and_from_the_first_with_it() {
    let does = |facts: &Facts<'_>| Does::between(facts, "ask", Release::new(7, 0, 13), Release::new(7, 2, 8));
    for (release, expected) in [
        ("7.0.13", WITHOUT),
        ("7.0.14", Does::Unknown("ask")),
        ("7.2.7", Does::Unknown("ask")),
        ("7.2.8", DERIVED),
        // Without a point release only whole lines are.
        ("6.19.0", WITHOUT),
        ("7.0.0", Does::Unknown("ask")),
        ("7.1.0", Does::Unknown("ask")),
        ("7.2.0", Does::Unknown("ask")),
        ("7.3.0", DERIVED),
        ("7.4.0", Does::Unknown("ask")),
        ("custom", Does::Unknown("ask")),
    ] {
        assert_eq!(does(&of(release)), expected, "{release}");
    }
    let vendors = |release| does(&Facts { is_vendors: true, ..of(release) });
    assert_eq!([vendors("6.18.30"), vendors("7.3.4")], [Does::NotToOwn("ask"), DERIVED]);
}

#[test]
fn a_fresh_vm_that_ran_tells_whether_gic_is_cleared() {
    let trial = |written: &[(RegisterId, u64)], changed: &[(RegisterId, Option<u64>)]| Trial {
        written: written.to_vec(),
        changed: changed.to_vec(),
    };
    let cleared = [trial(&[(ID_AA64MMFR3, 1)], &[]), trial(&[], &[(ID_AA64PFR0, Some(0x11))])];
    let left = [trial(&[(ID_AA64MMFR3, 1)], &[(ID_AA64PFR0, Some(0x11))]), trial(&[], &[])];
    let says = |own: u64, trials: &[Trial], vgic, recorded| {
        let registers = words(&[(ID_AA64PFR0, own)]);
        let masks = [(ID_AA64PFR0, 0xf << 24)];
        gic(
            &Facts { registers: &registers, masks: Some(&masks), trials: Some(trials), ..of("7.2.13") },
            with(vgic, recorded),
        )
    };
    let own = 1 << 24 | 0x11;
    assert_eq!([says(own, &cleared, false, false), says(own, &left, false, false)], [SEEN, WITHOUT]);
    assert_eq!(says(own, &left, false, true), DERIVED, "the recorded VM had an interrupt controller");
    assert_eq!(says(0x11, &left, false, false), DERIVED, "only GICv5: GIC was 0 before the run");
    assert_eq!([says(own, &left, true, true), says(0x11, &left, true, true)], [DERIVED, WITHOUT]);
}

#[test]
fn a_vendors_kernel_shows_gic_only_beside_an_interrupt_controller() {
    let registers = words(&[(ID_AA64PFR0, 1 << 24)]);
    let facts = Facts { is_vendors: true, registers: &registers, ..of("6.18.30") };
    assert_eq!(gic(&facts, with(true, true)), Does::NotToOwn(GIC_SET_UNKNOWN));
    assert_eq!(gic(&facts, with(true, false)), Does::Unknown(GIC_SET_UNKNOWN));
}

#[test]
fn a_gicv2_loses_gic_where_the_kernel_looks_for_a_gicv3() {
    let does = |facts: &Facts<'_>| gic_v2(facts, gic(facts, with(false, false)));
    let untold = Does::Unknown(GIC_V2_UNKNOWN);
    for (release, expected) in [
        ("6.1.192", WITHOUT),
        ("6.12.118", DERIVED),
        ("6.12.119", untold),
        ("6.12.0", untold),
        ("6.18.15", untold),
        ("7.2.12", DERIVED),
        ("7.3.4", DERIVED),
        ("7.4.0", untold),
    ] {
        assert_eq!(does(&of(release)), expected, "{release}");
    }
    assert_eq!(does(&Facts { is_vendors: true, ..of("6.12.118") }), untold);
    let masks = [(ID_AA64PFR0, 0)];
    assert_eq!(does(&Facts { masks: Some(&masks), ..of("6.12.118") }), untold, "GIC is not writable");
}

#[test]
fn permission_indirection_stays_up_to_7_2_12() {
    let expected = [("7.2.12", WITHOUT), ("7.2.13", Does::Unknown(DEPENDENT_UNKNOWN)), ("7.3.4", DERIVED)];
    for (release, does) in expected {
        assert_eq!(dependent(&of(release)), does, "{release}");
    }
}

#[test]
fn a_kernel_that_reports_masks_is_no_6_1_whatever_it_says() {
    let says = |reports_masks| gic(&Facts { reports_masks, ..of("6.1.192") }, with(false, false));
    assert_eq!([says(None), says(Some(false))], [WITHOUT, WITHOUT]);
    assert_eq!(says(Some(true)), Does::Unknown(GIC_UNKNOWN));
}

#[test]
fn a_trial_tells_of_permission_indirection_if_what_it_needs_was_not_there() {
    const ALL: u64 = 0x1_0101;
    let says = |own: [u64; 2], written: &[(RegisterId, u64)], changed| {
        let registers = words(&[(ID_AA64MMFR3, own[0]), (ID_AA64ISAR2, own[1])]);
        let changed = if changed { vec![(ID_AA64MMFR3, Some(0x1))] } else { Vec::new() };
        let trials = [Trial { written: written.to_vec(), changed }];
        dependent(&Facts { registers: &registers, trials: Some(&trials), ..of("7.2.13") })
    };
    let (with, without) = (1 << 60, 0xf << 56);
    let untold = Does::Unknown(DEPENDENT_UNKNOWN);
    assert_eq!([says([ALL, without], &[], true), says([ALL, without], &[], false)], [SEEN, WITHOUT]);
    assert_eq!([says([0x100, with], &[], true), says([0x100, with], &[], false)], [SEEN, WITHOUT], "no TCRX");
    assert_eq!([says([ALL, with], &[], true), says([ALL, with], &[], false)], [untold, untold], "nothing is missing");
    assert_eq!(says([0x1_0001, without], &[], false), untold, "there was nothing to take");
    // What was written before the run counts, not what the host has.
    assert_eq!(says([ALL, with], &[(ID_AA64ISAR2, without)], true), SEEN);
    assert_eq!(says([ALL, without], &[(ID_AA64ISAR2, with)], true), untold);
    assert_eq!(says([ALL, without], &[(ID_AA64MMFR3, 0x1_0001)], false), untold);
}

#[test]
fn what_the_first_run_takes_is_named() {
    let registers = words(&[(ID_AA64ISAR2, 1 << 60), (ID_AA64MMFR1, 0x1000), (ID_AA64MMFR3, 0x1_0101)]);
    let aftermath = Aftermath::derive(&Facts { registers: &registers, ..of("7.3.4") }, with(true, true));
    let why = |isar2, mmfr1, mmfr3| {
        let mut saved = [(ID_AA64ISAR2, isar2), (ID_AA64MMFR1, mmfr1), (ID_AA64MMFR3, mmfr3)];
        saved.sort_unstable();
        let changes = aftermath.changes(&saved.map(|(id, _)| id), &saved);
        changes.first().map(|change| change.why.split(',').next().unwrap_or_default())
    };
    assert_eq!(why(1 << 60, 0x1000, 0x1_0101), None);
    assert_eq!(why(0, 0x1000, 0x101), Some("the first run takes S1PIE away"));
    assert_eq!(why(1 << 60, 0, 0x1_0101), Some("the first run takes S1POE away"));
    assert_eq!(why(0, 0x1000, 0x1_0101), Some("the first run takes S1PIE and S1POE away"));
}

#[test]
fn a_vendors_kernel_leaves_to_vms_like_its_own_what_they_have() {
    // A GIC of the hardware, as kernels of before 5.16 show it.
    let registers = words(&[(ID_AA64PFR0, 3 << 24 | 0x11)]);
    let facts = Facts { is_vendors: true, registers: &registers, ..of("5.10.0") };
    let aftermath = Aftermath::derive(&facts, Controller { runs: true, late: false, recorded: true });
    let changes = |word: u64| aftermath.changes(&[ID_AA64PFR0], &[(ID_AA64PFR0, word)]);
    assert_eq!(changes(3 << 24), []);
    assert_eq!(changes(3 << 24 | 0x21), [], "a nested VM is looked at as a whole, and differs elsewhere");
    assert_eq!(changes(1 << 24), [], "that of the interrupt controller");
    assert_eq!(changes(2 << 24).len(), 1);
}

/// Classes of hosts are as many as hosts that judge otherwise: with own values of random ID registers in each, a fleet of a million
/// VMs and 10,000 hosts was built in 110 s in place of 1.
#[test]
fn hosts_are_alike_where_no_answer_depends_on_their_own_fields() {
    let host = |release: &str, word: u64| {
        let registers = words(&[(ID_AA64PFR0, word << 24), (ID_AA64MMFR3, word)]);
        Aftermath::derive(&Facts { registers: &registers, ..of(release) }, with(true, true))
    };
    assert_eq!(host("6.12.8", 1), host("6.12.8", 2));
    assert_ne!(host("7.0.13", 1), host("7.3.4", 1));
    assert_ne!(host("7.3.4", 1), host("7.3.4", 2));
    let counting = |features: &[&str], word: u64| {
        let registers = words(&[(ID_AA64DFR0, word), (ID_AA64PFR0, word), (PMCR, word << 11)]);
        let config = VcpuConfig {
            features: VcpuConfig::parse_features(features.iter().copied()).unwrap(),
            ..VcpuConfig::default()
        };
        Aftermath::derive(&Facts { registers: &registers, config, ..of("6.1.192") }, with(true, true))
    };
    assert_eq!(counting(&[], 0x101), counting(&[], 0x202), "without a PMU");
    assert_ne!(counting(&["pmu_v3"], 0x101), counting(&["pmu_v3"], 0x201), "another version of the PMU");
    let own = counting(&["pmu_v3"], 0x101).own;
    let ids: Vec<RegisterId> = own.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [ID_AA64DFR0, PMCR]);
}

#[test]
fn why_gic_is_cleared_names_the_interrupt_controller() {
    let registers = words(&[(ID_AA64PFR0, 1 << 24 | 0x11)]);
    let aftermath = Aftermath::derive(&Facts { registers: &registers, ..of("7.3.4") }, with(false, false));
    let why = |saved: &[(RegisterId, u64)]| {
        let ids: Vec<_> = saved.iter().map(|(id, _)| *id).collect();
        aftermath.changes(&ids, saved).first().map(|change| change.why.split("as ").last().unwrap_or_default())
    };
    let (gic, mut with_v2) = ((ID_AA64PFR0, 1 << 24 | 0x11), [(ID_AA64PFR0, 1 << 24 | 0x11), (RegisterId::VGIC_V2, 0)]);
    with_v2.sort_unstable();
    assert_eq!(why(&[gic]), Some("there is no interrupt controller in the kernel"));
    assert_eq!(why(&with_v2), Some("the interrupt controller is a GICv2"));
}
