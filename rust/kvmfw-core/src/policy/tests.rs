use super::*;
use crate::rules::judged_value;

const X0: RegisterId = RegisterId::general(0);
const Z0: RegisterId = RegisterId::new(0x6080_0000_0015_0000);
const PSCI: RegisterId = RegisterId::firmware(0);
const BITMAP: RegisterId = RegisterId::firmware_bitmap(0);
const CNTV_CTL: RegisterId = RegisterId::system(3, 3, 14, 3, 1);
const CNTVCT: RegisterId = RegisterId::system(3, 3, 14, 0, 1);
const CCSIDR: RegisterId = RegisterId::ccsidr(0);

fn policy(name: &str) -> Policy {
    Policy::from_name(name).unwrap()
}

fn set(registers: &[RegisterId]) -> RegisterSet {
    let values = registers.iter().map(|id| (*id, Value::from_word(0, *id).unwrap())).collect();
    RegisterSet::new("", None, VcpuConfig::default(), values).unwrap()
}

/// All kinds of registers, ascending by id.
fn ascending(more: &[RegisterId]) -> Vec<RegisterId> {
    let mut all = vec![
        X0,
        RegisterId::PC,
        CCSIDR,
        catalog::SCTLR,
        catalog::MIDR,
        catalog::CTR,
        catalog::ID_AA64PFR0,
        CNTV_CTL,
        TIMER_CNT,
        TIMER_CVAL,
        CNTVCT,
        PSCI,
        Z0,
        RegisterId::SVE_VLS,
        BITMAP,
    ];
    all.extend(more);
    all.sort_unstable();
    all
}

#[test]
fn an_unknown_release_names_the_nearest() {
    let nearest = |name: &str| Policy::named(name).unwrap_err().rsplit(' ').next().unwrap_or_default().to_owned();
    for (name, near) in [
        ("qemu-9.1", "qemu-9.2"),
        ("qemu-10.3", "qemu-10.2"),
        ("qemu-10.9", "qemu-10.2"),
        ("qemu-1.0", "qemu-7.2"),
        ("qemu-9.99999999", "qemu-10.0"),
        ("qemu-99999999999.4", "qemu-11.1"),
        ("firecracker-1.18", "firecracker-1.17"),
        ("firecracker-1.11", "firecracker-1.12"),
        ("firecracker-2.0", "firecracker-1.17"),
        ("cloud-hypervisor-60.1", "cloud-hypervisor-53"),
    ] {
        assert_eq!(nearest(name), near, "{name}");
    }
    let all = Policy::named("xen-4.19").unwrap_err();
    assert!(all.contains("expected one of kvm, qemu,") && all.ends_with("crosvm"), "{all}");
    assert_eq!(Policy::named("kvm"), Ok(Policy::default()));
    assert_eq!(format!("{:?}", policy("qemu-9.2")), "qemu-9.2");
}

#[test]
fn kernels_up_to_6_14_list_timers_and_invariant_registers_first() {
    let system = [CNTV_CTL, TIMER_CNT, TIMER_CVAL, CNTVCT, catalog::MIDR, catalog::CTR];
    let others = [catalog::ID_AA64PFR0, catalog::SCTLR];
    let mut wanted = vec![RegisterId::SVE_VLS, X0, RegisterId::PC, Z0, PSCI, BITMAP];
    wanted.extend(system);
    wanted.extend(others);
    wanted.push(CCSIDR);
    assert_eq!(policy("firecracker-1.16").writes(&set(&ascending(&[]))), wanted);
    // cloud-hypervisor has the same, but core registers and V registers or SVE state come before.
    assert_eq!(policy("cloud-hypervisor-53").writes(&set(&ascending(&[]))), wanted);
}

#[test]
fn kernels_that_list_the_second_bitmap_have_timers_where_the_architecture_has_them() {
    let set = set(&ascending(&[TOLERATED_ZERO]));
    let writes = policy("firecracker-1.16").writes(&set);
    let at = |register: RegisterId| writes.iter().position(|one| *one == register);
    let system =
        [catalog::MIDR, catalog::ID_AA64PFR0, catalog::SCTLR, catalog::CTR, CNTVCT, TIMER_CNT, CNTV_CTL, TIMER_CVAL];
    let mut found = system.to_vec();
    found.sort_by_key(|register| at(*register));
    assert_eq!(found, system);
}

#[test]
fn the_order_of_a_file_is_the_order_of_its_writes() {
    let mut saved = ascending(&[]);
    saved.reverse();
    let set = set(&saved);
    let first = |name: &str, count: usize| policy(name).writes(&set)[..count].to_vec();
    assert_eq!(first("firecracker-1.16", 3), [RegisterId::SVE_VLS, Z0, BITMAP]);
    assert_eq!(first("cloud-hypervisor-53", 6), [RegisterId::SVE_VLS, X0, RegisterId::PC, Z0, BITMAP, PSCI]);
    assert_eq!(first("kvm", 3), [RegisterId::SVE_VLS, CCSIDR, X0]);
    assert_eq!(first("qemu-10.2", 2), [CCSIDR, catalog::MIDR]);
    assert_eq!(first("crosvm", 4), [X0, RegisterId::PC, catalog::MIDR, catalog::ID_AA64PFR0]);
    assert_eq!(policy("crosvm").writes(&set).iter().rev().take(2).collect::<Vec<_>>(), [&PSCI, &CCSIDR]);
}

#[test]
fn core_registers_are_written_by_place_not_by_size() {
    const FPSR: RegisterId = RegisterId::new(0x6020_0000_0010_00d4);
    let set = set(&[FPSR, X0, RegisterId::PC, RegisterId::V0]);
    assert_eq!(policy("firecracker-1.16").writes(&set), [X0, RegisterId::PC, RegisterId::V0, FPSR]);
    let set = self::set(&[BITMAP, Z0, FPSR, RegisterId::PC, X0]);
    assert_eq!(policy("cloud-hypervisor-53").writes(&set), [X0, RegisterId::PC, FPSR, Z0, BITMAP]);
}

#[test]
fn qemu_writes_what_is_not_in_its_list_after_it() {
    let set = set(&[RegisterId::PSTATE, catalog::MIDR]);
    let order = |register| policy("qemu-10.2").row().rule.write_order(register, &set);
    assert!(RegisterId::PSTATE < catalog::MIDR && order(catalog::MIDR) < order(RegisterId::PSTATE));
}

#[test]
fn what_is_looked_at_of_a_set() {
    let tcr2 = RegisterId::system(3, 0, 2, 0, 3);
    assert_eq!(gate_of(tcr2).map(|gate| gate.field), Some("TCRX"));
    assert_eq!(gate_of(catalog::SCTLR), None);
    for (register, by_value, mostly_kept) in [
        (catalog::ID_AA64PFR0, true, false),
        (RegisterId::PSTATE, true, false),
        (X0, false, true),
        (Z0, false, true),
        (catalog::SCTLR, false, false),
    ] {
        let found = (is_judged_by_value(register), is_mostly_kept(register), is_looked_at(register));
        assert_eq!(found, (by_value, mostly_kept, by_value || mostly_kept), "{register}");
    }
}

#[test]
fn state_without_an_upper_half_is_kept_anywhere() {
    let kept =
        |register, text: &str, context| is_kept_anywhere(register, &Value::parse(text, register).unwrap(), context);
    assert!(kept(X0, "0xffffffff", None) && !kept(X0, "0x100000000", None));
    let (quadword, two) = (format!("0x{}", "f".repeat(32)), format!("0x1{}", "0".repeat(32)));
    assert!(kept(Z0, &quadword, None) && kept(Z0, &quadword, Some(1)) && !kept(Z0, &two, None));
    assert!(kept(Z0, &two, Some(2)) && !kept(Z0, &two, Some(1)));
}

#[test]
fn of_some_values_a_fleet_knows_a_part() {
    let reduced = |register, word| is_reduced(register, Some(&Value::Word(word)));
    let counters = RegisterId::system(3, 3, 9, 12, 1);
    assert!(reduced(RegisterId::PSTATE, 0x3c5) && reduced(X0, 1) && reduced(counters, 1));
    assert!(!reduced(X0, 1 << 32) && !reduced(catalog::ID_AA64PFR0, 1));
    assert!(!is_reduced(X0, None) && is_reduced(counters, None));
    assert_eq!(judged_value(RegisterId::PSTATE, &Value::Word(0x6000_03c5), None), Value::Word(5));
    assert_eq!(judged_value(catalog::ID_AA64PFR0, &Value::Word(0x11), None), Value::Word(0x11));
}

#[test]
fn one_name_speaks_for_vms_of_all_these() {
    let of_all = |names: &[&str]| Policy::of_all(names).unwrap().map(|policy| policy.row().name);
    assert_eq!(of_all(&["qemu-8.2", "qemu-7.2", "qemu-8.2"]), Some("qemu-7.2"));
    assert_eq!(of_all(&["qemu-7.2", "qemu-11.1"]), Some("qemu"));
    assert_eq!(of_all(&["qemu-7.2", "qemu"]), Some("qemu"));
    assert_eq!(of_all(&["firecracker-1.16", "firecracker-1.12"]), Some("firecracker-1.12"));
    assert_eq!(of_all(&["firecracker-1.16", "firecracker-1.17"]), Some("firecracker"));
    assert_eq!(of_all(&["cloud-hypervisor-53", "cloud-hypervisor-52"]), Some("cloud-hypervisor"));
    for names in [&["qemu-7.2", "crosvm"][..], &["firecracker", "qemu"], &[]] {
        assert_eq!(of_all(names), None);
    }
    assert!(Policy::of_all(&["qemu-7.2", "qemu-9.9"]).unwrap_err().contains("the nearest is qemu-9.2"));
}

#[test]
fn a_name_without_a_release_promises_what_all_its_releases_do() {
    for family in VMMS.iter().filter(|row| !row.releases.is_empty()) {
        let first = VMMS.iter().find(|row| row.name == family.releases[0]).unwrap();
        assert_eq!(family.rule, first.rule, "{}", family.name);
        for release in family.each() {
            let is_told = |word| family.not_judged().iter().any(|beside| beside.word == word);
            assert!(release.not_judged().iter().all(|beside| is_told(beside.word)), "{}", family.name);
            for register in ascending(&[]) {
                assert_eq!(family.settable(register) & !release.settable(register), 0, "{} {register}", release.name);
            }
        }
    }
    let words = policy("qemu").row().words();
    let differing: Vec<&str> = words.iter().filter(|(_, said)| said.contains(" | ")).map(|(what, _)| *what).collect();
    assert_eq!(differing, ["registers that one side lacks", "cannot"]);
}

#[test]
fn the_vmm_of_the_host_decides_where_pairs_are_judged_by_their_own() {
    let number = |name: Option<&str>| name.and_then(Policy::from_name).and_then(Policy::number);
    let judged = |vm, host| Policy::OWN.of_pair(number(vm), number(host)).map(|policy| policy.row().name).ok();
    for (vm, host, expected) in [
        (Some("qemu-7.2"), Some("qemu-11.1"), Some("qemu-11.1")),
        (Some("qemu-7.2"), Some("qemu"), Some("qemu")),
        (Some("qemu-7.2"), None, Some("qemu-7.2")),
        (None, Some("crosvm"), Some("crosvm")),
        (Some("crosvm"), Some("kvm"), Some("crosvm")),
        (Some("kvm"), Some("crosvm"), Some("crosvm")),
        (Some("kvm"), None, Some("kvm")),
        (None, Some("kvm"), Some("kvm")),
        (Some("kvm"), Some("kvm"), Some("kvm")),
        (Some("crosvm"), Some("qemu-9.2"), None),
        (Some("firecracker-1.16"), Some("cloud-hypervisor-53"), None),
        (None, None, None),
    ] {
        assert_eq!(judged(vm, host), expected, "{vm:?} on {host:?}");
    }
    let crosvm = Policy::from_name("crosvm").unwrap();
    let of_pair = |vm, host| crosvm.of_pair(number(vm), number(host)).ok();
    assert_eq!(of_pair(Some("qemu-9.2"), Some("kvm")), Some(crosvm), "who names one has all judged by it");
    assert_eq!((Policy::asked("own"), Policy::from_name("own"), Policy::OWN.number()), (Ok(Policy::OWN), None, None));
    assert!(!Policy::OWN.row().not_judged().is_empty());
}
