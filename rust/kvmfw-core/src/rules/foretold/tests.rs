use super::*;
use crate::catalog::{
    CLIDR, CNTPCT, CTR, ID_AA64DFR0, ID_AA64ISAR2, ID_AA64MMFR3, ID_AA64PFR0, ID_AA64PFR1, ID_DFR0, ID_PFR1, PMCR,
    PMOVSSET, PSCI_VERSION, WORKAROUND_1, WORKAROUND_2, WORKAROUND_3,
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

#[test]
fn without_aarch32_its_id_registers_read_zero_but_for_what_kvm_puts_there() {
    // EL0 and EL1 run AArch64 alone.
    let told = |register, features, aarch64: u64| {
        let shown = [(ID_AA64PFR0, aarch64), (register, 0)];
        tell(register, &shown, features, Surface::default(), ("6.1.192", "6.12.117"))
    };
    assert_eq!(told(ID_PFR1, 0x4, 0x11), (0, 0xf << 28), "with an interrupt controller of its own");
    assert_eq!(told(ID_DFR0, 0xc, 0x11), (0, 0xf << 24), "with a PMU");
    assert_eq!(told(ID_DFR0, 0x4, 0x11), (0, 0));
    assert_eq!(told(RegisterId::system(3, 0, 0, 2, 0), 0x4, 0x11), (0, 0));
    assert_ne!(told(ID_PFR1, 0x4, 0x22).1, told(ID_PFR1, 0x4, 0x11).1, "with AArch32 more is not known");
}

#[test]
fn what_is_not_shown_today_or_is_of_a_nested_vm_is_not_known() {
    let kernels = ("6.12.117", "6.16.12");
    assert_eq!(tell(ID_AA64ISAR2, &[], 0x4, Surface::default(), kernels), (0, u64::MAX));
    // `has_el2`: limits of nested VMs follow from no release.
    let nested = tell(ID_AA64ISAR2, &[(ID_AA64ISAR2, 0x12)], 1 << 7 | 0x4, Surface::default(), kernels);
    assert_eq!(nested.0, 0);
    assert_eq!(nested.1 & 0xff, 0xff);
    assert_eq!(field(ID_AA64ISAR2, 0x12, 0, "no release", "6.12.117"), None);
    assert_eq!(field(ID_AA64ISAR2, 0x12, 0, "6.12.117", "no release"), None);
}

#[test]
fn a_release_without_its_patch_is_every_one_of_its_line() {
    // 6.12.8 has the field NV, 6.12.117 too: what lies between two known kernels of a line follows only where both agree.
    assert_eq!(field(ID_AA64ISAR2, 0x12, 0, "6.1", "6.12"), Some(2));
    assert_eq!(field(ID_AA64ISAR2, 0x0001_0012, 16, "6.12", "6.1"), None);
    assert_eq!(field(ID_AA64ISAR2, 0x12, 0, "6.1.192", "6.6.30"), Some(2));
}

#[test]
fn kernels_with_tables_of_their_own_show_the_fields_that_these_have() {
    let told = |fields: u64| {
        let registers = [(ID_AA64ISAR2, Value::Word(0x2_0012))];
        let config = VcpuConfig { features: 0x4, ..VcpuConfig::default() };
        let facts = Facts { registers: &registers, config, release: Release::parse("6.12.117"), ..Facts::default() };
        let will = Kernel::new("6.12.90", Some(vec![(ID_AA64ISAR2, fields)]));
        let told = foretell(ID_AA64ISAR2, &facts, Surface::default(), &Kernel::new("6.12.117", None), &will);
        (told.value.word().unwrap(), told.hidden)
    };
    assert_eq!(told(0xf_00ff), (0x2_0012, 0));
    assert_eq!(told(0xff), (0x12, 0), "without the field MOPS");
    assert_eq!(told(0), (0, 0));
}

#[test]
fn spectre_v2_and_v3_stay_only_where_no_list_can_change() {
    let csv2 = |level: Option<u64>, word: u64, kernels| {
        let mut shown = vec![(ID_AA64PFR0, word << 56)];
        shown.extend(level.map(|level| (WORKAROUND_1, level)));
        let (value, hidden) = tell(ID_AA64PFR0, &shown, 0x4, Surface::default(), kernels);
        (hidden & 0xf << 56 == 0).then_some(value >> 56 & 0xf)
    };
    let later = ("6.1.192", "6.12.117");
    assert_eq!(csv2(Some(1), 0, later), Some(0), "who is affected stays so");
    assert_eq!(csv2(Some(2), 0, later), None);
    assert_eq!(csv2(None, 0, later), None);
    assert_eq!(csv2(None, 2, later), Some(2));
    let csv3 = |word: u64, kernels| {
        let (value, hidden) = tell(ID_AA64PFR0, &[(ID_AA64PFR0, word << 60)], 0x4, Surface::default(), kernels);
        (hidden >> 60 == 0).then_some(value >> 60)
    };
    assert_eq!(csv3(0, later), None, "who was affected may be in the list of a younger kernel");
    assert_eq!(csv3(1, later), Some(1));
    assert_eq!(csv3(2, ("5.10.223", "6.12.117")), Some(2), "the hardware's");
    assert_eq!(csv3(2, ("6.12.117", "5.10.223")), Some(2));
    assert_eq!(csv3(1, ("6.12.117", "5.10.223")), None, "1 may be KVM's own");
}

#[test]
fn levels_of_kernels_that_make_them_otherwise_are_not_known() {
    let told = |register, level, surface, kernels| {
        tell(register, &[(register, level), (WORKAROUND_1, 0)], 0x4, surface, kernels)
    };
    let plain = Surface::default();
    assert_eq!(told(WORKAROUND_2, 1, plain, ("5.4.0", "5.10.223")), (0, 0x13));
    assert_eq!(told(WORKAROUND_2, 1, plain, ("5.10.223", "6.12.117")), (1, 0));
    assert_eq!(told(WORKAROUND_2, 1, plain, ("6.12.117", "7.4.1")), (0, 0x13), "a younger kernel");
    assert_eq!(told(WORKAROUND_3, 0, plain, ("5.10.223", "6.12.117")), (0, 0), "no mitigation of Spectre v2");
    let (a55, thunder) = (Surface { midr: 0x412f_d050, ..plain }, Surface { midr: 0x431f_0af1, ..plain });
    assert_eq!(told(WORKAROUND_3, 2, a55, ("6.12.117", "5.10.223")), (2, 0));
    assert_eq!(told(WORKAROUND_3, 2, thunder, ("6.12.117", "5.10.223")), (0, 3));
    assert_eq!(told(WORKAROUND_3, 3, a55, ("6.12.117", "5.10.223")), (0, 3), "no level");
    assert_eq!(
        told(WORKAROUND_3, 1, thunder, ("6.1.172-216.329.amzn2023.aarch64", "6.12.117")),
        (0, 3),
        "a vendor's list"
    );
    let bitmap = |number, kernels| tell(RegisterId::firmware_bitmap(number), &[], 0x4, plain, kernels);
    assert_eq!([0, 1, 2, 3].map(|number| bitmap(number, ("5.10.223", "6.18.15")).0), [1, 1, 3, 0]);
    assert_eq!(bitmap(4, ("5.10.223", "6.18.15")).1, u64::MAX, "nobody knows it");
    assert_eq!(tell(PSCI_VERSION, &[], 0, plain, ("5.10.223", "6.18.15")), (1, 0), "PSCI 0.1");
}

#[test]
fn what_else_a_fresh_vcpu_reads() {
    let told = |register, shown: &[(RegisterId, u64)], features, kernels| {
        tell(register, shown, features, Surface::default(), kernels)
    };
    let (old, new) = (("5.10.223", "6.1.192"), ("6.12.117", "6.18.15"));
    // The virtual timer's control.
    let control = RegisterId::system(3, 3, 14, 3, 1);
    assert_eq!(told(control, &[], 0x4, new), (0, 0));
    assert_eq!(told(control, &[], 0x4, old), (0x4, 0));
    assert_eq!(told(control, &[], 0x4, ("6.1.192", "7.4.1")).1 & !0x4, 0);
    assert_eq!(told(RegisterId::system(2, 0, 1, 1, 4), &[], 0x4, new), (0x8, 0), "the OS lock");
    assert_eq!(told(CNTPCT, &[], 0x4, new), (0, 0));
    assert_eq!(told(RegisterId::system(3, 0, 10, 2, 2), &[], 0x4, new), (0x1de7_ec7e_dbad_c0de, 0));
    assert_eq!(told(RegisterId::system(3, 0, 15, 15, 7), &[], 0x4, new).1, u64::MAX, "nobody knows it");
    // A PMU: unknown numbers as they are, then masked, then by version.
    let pmu = |register, kernels| told(register, &[(register, 0x4102_3040), (ID_AA64PFR0, 0x11)], 0xc, kernels);
    assert_eq!(pmu(PMCR, ("6.1.192", "6.1.193")), (0x4102_3040, 0));
    assert_eq!(pmu(PMCR, ("6.1.192", "6.12.117")), (0x3040, 0));
    assert_eq!(pmu(PMCR, ("6.12.117", "6.16.12")), (0x4102_3040, 0));
    assert_eq!(pmu(PMOVSSET, ("6.12.117", "6.16.12")).1, u64::MAX);
    assert_eq!(pmu(PMCR, ("6.12.117", "6.1.192")).1, u64::MAX);
    let with_aarch32 = |zero: &[(RegisterId, u64)]| {
        let shown = [&[(PMCR, 0x3000)], zero].concat();
        told(PMCR, &shown, 0xc, ("6.1.192", "6.12.117"))
    };
    assert_eq!(with_aarch32(&[(ID_AA64PFR0, 0x22)]), (0x3000, 0));
    assert_eq!(with_aarch32(&[]), (0x3000, 0x40));
    // Caches: their lines before and since 6.3.
    let size = |number, kernels| {
        let register = RegisterId::ccsidr(number);
        told(register, &[(register, 0x701f_e01a), (CTR, 0x8444_c004)], 0x4, kernels)
    };
    assert_eq!([0, 1].map(|number| size(number, ("6.1.192", "6.12.117"))), [(2, 0), (2, 0)]);
    assert_eq!(size(0, old), (0x701f_e01a, 0));
    assert_eq!(size(0, ("6.12.117", "6.1.192")).1, u64::from(u32::MAX));
    assert_eq!(told(CLIDR, &[(CLIDR, 0x0a20_0023)], 0x4, old), (0x0a20_0023, 0));
}
