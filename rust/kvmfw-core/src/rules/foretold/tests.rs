use super::*;
use crate::catalog::{
    CLIDR, CTR, ID_AA64DFR0, ID_AA64ISAR2, ID_AA64MMFR3, ID_AA64PFR0, ID_AA64PFR1, PSCI_VERSION, WORKAROUND_1,
    WORKAROUND_3,
};
use crate::id::RegisterId;
use crate::rules::facts::Facts;
use crate::rules::release::Release;
use crate::value::Value;
use crate::vcpu::VcpuConfig;

const ID_AA64MMFR2: RegisterId = RegisterId::system(3, 0, 0, 7, 2);

fn tell(
    register: RegisterId,
    shown: &[(RegisterId, u64)],
    features: u32,
    surface: Surface<'_>,
    (was, will): (&str, &str),
) -> (u64, u64) {
    let mut registers: Vec<_> = shown.iter().map(|(id, word)| (*id, Value::Word(*word))).collect();
    registers.sort();
    let config = VcpuConfig { features, ..VcpuConfig::default() };
    let facts = Facts { registers: &registers, config, release: Release::parse(was), ..Facts::default() };
    let told = foretell(register, &facts, surface, &Kernel::new(was, None), &Kernel::new(will, None));
    (told.value.word().unwrap(), told.hidden)
}

fn field(register: RegisterId, word: u64, shift: u32, was: &str, will: &str) -> Option<u64> {
    let (value, hidden) = tell(register, &[(register, word)], 0x4, Surface::default(), (was, will));
    (hidden & 0xf << shift == 0).then_some(value >> shift & 0xf)
}

#[test]
fn what_both_kernels_show_stays_and_what_the_old_one_has_no_field_for_is_not_known() {
    assert_eq!(field(ID_AA64ISAR2, 0x12, 0, "6.1.192", "6.12.117"), Some(2));
    assert_eq!(field(ID_AA64ISAR2, 0x12, 16, "6.1.192", "6.12.117"), None, "6.1 has no field MOPS");
    assert_eq!(field(ID_AA64ISAR2, 0x0001_0012, 16, "6.12.117", "6.1.192"), Some(0));
    assert_eq!(field(ID_AA64MMFR3, 0, 8, "5.10.223", "6.12.117"), None);
    assert_eq!(field(ID_AA64PFR1, 0, 44, "5.10.223", "7.3.4"), Some(0), "KVM hides GCS");
}

#[test]
fn what_a_kernel_hides_is_known_on_the_way_there_alone() {
    assert_eq!(field(ID_AA64MMFR2, 0x0210_0000, 20, "6.1.192", "6.12.117"), Some(0), "CCIDX");
    assert_eq!(field(ID_AA64MMFR2, 0, 20, "6.12.117", "6.1.192"), None);
    assert_eq!(field(ID_AA64MMFR2, 0x0200_0000, 24, "6.12.117", "6.16.12"), Some(0), "NV");
    assert_eq!(field(ID_AA64MMFR2, 0x0200_0000, 24, "6.12.117", "6.14.2"), None, "between two known kernels");
}

#[test]
fn a_limit_leaves_a_least_number() {
    let shown = [(ID_AA64DFR0, 0x506)];
    let told = |kernels| tell(ID_AA64DFR0, &shown, 0xc, Surface::default(), kernels);
    // 6.1 shows 6 for any debug architecture, and PMUv3p4 for any later one.
    assert_eq!(told(("6.1.192", "6.12.117")), (0x500, 0xf0f));
    assert_eq!(
        tell(ID_AA64DFR0, &[(ID_AA64DFR0, 0x509)], 0xc, Surface::default(), ("6.12.117", "6.1.192")),
        (0x506, 0)
    );
}

#[test]
fn vendors_and_younger_kernels_may_do_otherwise() {
    let ccidx = |was, will| field(ID_AA64MMFR2, 0x0010_0000, 20, was, will);
    assert_eq!(ccidx("6.1.192", "6.1.172-216.329.amzn2023.aarch64"), None);
    assert_eq!(ccidx("6.1.192", "6.18.30-61.116.amzn2023.aarch64"), Some(0));
    assert_eq!(ccidx("6.1.192", "7.4.1"), None);
}

#[test]
fn options_of_the_kernel_count() {
    let told = |surface| {
        tell(
            crate::catalog::ID_AA64MMFR1,
            &[(crate::catalog::ID_AA64MMFR1, 0x100)],
            0x4,
            surface,
            ("6.1.192", "6.12.117"),
        )
    };
    assert_eq!(told(Surface::default()).1 & 0xf00, 0);
    let boot_options = &["quiet".to_owned(), "kvm_arm.mode=protected".to_owned()];
    assert_eq!(told(Surface { boot_options, ..Surface::default() }).1 & 0xf00, 0xf00);
    let boot_options = &["arm64.nosve".to_owned()];
    assert_ne!(told(Surface { boot_options, ..Surface::default() }).1 & 0xff, 0);
}

#[test]
fn meltdown_and_the_interrupt_controller_are_told_by_the_host() {
    let told = |surface| tell(ID_AA64PFR0, &[(ID_AA64PFR0, 0x0300_0022)], 0x4, surface, ("5.10.223", "6.12.117"));
    let known = Surface { meltdown: Some("Not affected"), makes_vgic: true, ..Surface::default() };
    assert_eq!((told(known).0 >> 60, told(known).0 >> 24 & 0xf), (1, 1));
    assert_eq!(told(Surface::default()).1 & 0xf000_0000_0f00_0000, 0xf000_0000_0f00_0000);
}

#[test]
fn levels_stay_where_no_list_of_cpus_decides() {
    let told = |register, level, midr, option, kernels| {
        let options: Vec<String> = Option::<&str>::into_iter(option).map(str::to_owned).collect();
        let surface = Surface { boot_options: &options, midr, ..Surface::default() };
        tell(register, &[(register, level), (WORKAROUND_1, 2)], 0x4, surface, kernels)
    };
    let (n1, v2) = (0x413f_d0c1, 0x410f_d4f1);
    assert_eq!(told(WORKAROUND_3, 1, n1, None, ("6.12.117", "5.10.223")), (1, 0));
    assert_eq!(told(WORKAROUND_3, 1, v2, None, ("6.12.117", "5.10.223")).1, 3, "a younger list");
    assert_eq!(told(WORKAROUND_3, 1, v2, None, ("6.12.117", "7.3.4")), (1, 0));
    assert_eq!(told(WORKAROUND_3, 2, v2, None, ("6.12.8", "6.12.117")).1, 3, "the trap of June 2025");
    assert_eq!(told(WORKAROUND_3, 0, n1, Some("nospectre_bhb"), ("6.12.117", "5.10.223")).1, 3);
    assert_eq!(told(WORKAROUND_3, 0, n1, Some("mitigations=off"), ("6.12.117", "5.10.223")), (0, 0));
    assert_eq!(told(PSCI_VERSION, 0x1_0000, n1, None, ("5.10.223", "6.18.15")), (0x1_0003, 0));
    assert_eq!(told(PSCI_VERSION, 0x1_0001, n1, None, ("6.12.117", "7.4.0")).1, 3);
}

#[test]
fn caches_are_made_up_from_6_3_on() {
    let shown = |ctr: u64| [(CLIDR, 0x0a20_0023), (CTR, ctr)];
    let told = |ctr: u64| tell(CLIDR, &shown(ctr), 0x4, Surface::default(), ("6.1.192", "6.12.117"));
    assert_eq!(
        [0x8444_c004, 0x9444_c004, 0xb444_c004].map(told),
        [(0x0920_0003, 0), (0x0200_0021, 0), (0x0100_0004, 0)]
    );
    let back = tell(CLIDR, &shown(0x8444_c004), 0x4, Surface::default(), ("6.12.117", "6.1.192"));
    assert_eq!(back.1, u64::MAX);
}

#[test]
fn lists_follow_from_the_release() {
    const TCR2: RegisterId = RegisterId::system(3, 0, 2, 0, 3);
    let listed = |mmfr3: u64, (was, will): (&str, &str)| {
        let registers = [(TCR2, Value::Word(0)), (ID_AA64MMFR3, Value::Word(mmfr3))];
        let facts = Facts { registers: &registers, release: Release::parse(was), ..Facts::default() };
        let told = foretell_list(&facts, Surface::default(), &Kernel::new(was, None), &Kernel::new(will, None));
        told.into_iter().find(|(id, _)| *id == TCR2).unwrap().1
    };
    assert_eq!(listed(0, ("6.12.117", "6.18.15")), Some(false));
    assert_eq!(listed(1, ("6.12.117", "6.18.15")), Some(true));
    assert_eq!(listed(0, ("6.1.192", "6.18.15")), None, "6.1 hides the field");
    assert_eq!(listed(0, ("6.1.192", "6.12.117")), Some(true));
    assert_eq!(listed(0, ("6.12.117", "6.1.192")), Some(false));
}
