//! Laws of fleets: whichever way a fleet takes, it says what the direct judge says.

#![expect(clippy::expect_used, reason = "a law that cannot be set up has failed")]

mod saved;

use kvmfw_core::audit::{UnitRoom, UnitRows};
use kvmfw_core::{Fleet, Host, Limits, Named, Question, RegisterId, RegisterSet, Runs, Scheme, Taken, Value, validate};
use proptest::prelude::*;
use saved::{ISAR0, LEVEL, Saved, capture, config, hosts_of, saved};

const WAYS: [Limits; 5] = [
    Limits { unit_cells: 1 << 22, group_rows: 64, class_cells: 1 << 28, unpacked_cells: 1 << 19 },
    Limits { unit_cells: 1 << 22, group_rows: 2, class_cells: 1 << 28, unpacked_cells: 0 },
    Limits { unit_cells: 1 << 22, group_rows: 1 << 16, class_cells: 0, unpacked_cells: 0 },
    Limits { unit_cells: 0, group_rows: 8, class_cells: 0, unpacked_cells: 0 },
    Limits { unit_cells: 0, group_rows: 64, class_cells: 1 << 28, unpacked_cells: 1 << 19 },
];

fn set(saved: &Saved) -> RegisterSet {
    let registers = saved.iter().map(|(id, value)| (RegisterId::new(*id), Value::Word(*value))).collect();
    RegisterSet::new("", None, config(), registers).expect("a set")
}

fn add(fleet: &Fleet, vms: &[Saved]) {
    let mut starts = vec![0_i64];
    let (mut register, mut value) = (Vec::new(), Vec::new());
    for vm in vms {
        register.extend(vm.iter().map(|(id, _)| *id));
        value.extend(vm.iter().map(|(_, value)| *value));
        starts.push(i64::try_from(value.len()).expect("few rows"));
    }
    let configs = [config()];
    let rows =
        Runs { starts: &starts, register: &register, value: &value, configs: &configs, config_of: &[], vmm_of: &[] };
    let mut change = fleet.change();
    assert_eq!(change.add_runs(rows, Named::default()), Ok(Vec::new()));
    change.commit();
}

fn fleet(vms: &[Saved], hosts: &[Host], threads: usize, limits: Limits) -> Fleet {
    fleet_by(Question::default(), vms, hosts, threads, limits)
}

fn fleet_by(question: Question, vms: &[Saved], hosts: &[Host], threads: usize, limits: Limits) -> Fleet {
    let fleet = Fleet::with_limits(question, threads, limits);
    add(&fleet, vms);
    hosts_of(&fleet, hosts);
    fleet
}

fn all_pairs(fleet: &Fleet) -> (Vec<u8>, Vec<u16>) {
    let fleet = fleet.snapshot();
    let hosts = fleet.host_count() as u64;
    let pairs = 0..fleet.vm_count() as u64 * hosts;
    let (vm, host): (Vec<u64>, Vec<u64>) = pairs.map(|pair| (pair / hosts, pair % hosts)).unzip();
    let (mut out, mut plain, mut units) = (vec![9; vm.len()], vec![9; vm.len()], vec![0; vm.len()]);
    assert_eq!(fleet.pairs(&vm, &host, &mut out, Some(&mut units)), Ok(()));
    assert_eq!(fleet.pairs(&vm, &host, &mut plain, None), Ok(()));
    assert_eq!(out, plain);
    (out, units)
}

/// Counts by VM and by host, as they are told and as outcomes give them.
fn assert_counts(fleet: &Fleet, outcomes: &[u8]) {
    let fleet = fleet.snapshot();
    let (vms, hosts) = (fleet.vm_count(), fleet.host_count());
    let (mut by_vm, mut by_host) = (vec![0; 4 * vms], vec![0; 4 * hosts]);
    for (pair, outcome) in outcomes.iter().enumerate() {
        by_vm[pair / hosts * 4 + usize::from(*outcome)] += 1;
        by_host[pair % hosts * 4 + usize::from(*outcome)] += 1;
    }
    let (mut of_vms, mut of_hosts) = (vec![9; 4 * vms], vec![9; 4 * hosts]);
    fleet.counts_by_vm(&mut of_vms);
    fleet.counts_by_host(&mut of_hosts);
    assert_eq!((of_vms, of_hosts), (by_vm, by_host));
}

/// Every question about all pairs has these answers.
fn assert_all_ways(fleet: &Fleet, outcomes: &[u8]) {
    assert_counts(fleet, outcomes);
    let fleet = fleet.snapshot();
    let hosts = fleet.host_count();
    let of_host: Vec<usize> = fleet.host_classes().iter().map(|class| *class as usize).collect();
    let (units, mut room) = (fleet.unit_rows(), UnitRoom::default());
    for (row, class) in fleet.vm_classes().iter().enumerate() {
        let mut worst = vec![0_u8; units.host_classes()];
        units.each(*class, &mut room, &mut |_, room| {
            for (outcome, said) in (1..).zip(&room.said) {
                let is_said = |host: usize| said[host / 64] >> (host % 64) & 1 == 1;
                (0..worst.len()).filter(|host| is_said(*host)).for_each(|host| worst[host] = worst[host].max(outcome));
            }
        });
        assert_eq!(worst, fleet.row_of(row).expect("a VM"), "what units say of VM {row}");
    }
    for (change, unknown) in [(true, true), (true, false), (false, false)] {
        let taken = Taken { change, unknown };
        let is_taken = |outcome: u8| match outcome {
            0 => true,
            1 => change,
            2 => unknown,
            _ => false,
        };
        let width = hosts.div_ceil(8);
        let mut bits = vec![0; fleet.vm_count() * width];
        assert_eq!(fleet.matrix(0..fleet.vm_count(), taken, &mut bits), Ok(()));
        for (vm, row) in outcomes.chunks(hosts).enumerate() {
            let takers: Vec<u32> =
                (0..).zip(row).filter(|(_, outcome)| is_taken(**outcome)).map(|(host, _)| host).collect();
            assert_eq!(fleet.candidates(vm, taken).expect("a VM")[..], takers);
            let of_matrix = |host: usize| bits[vm * width + host / 8] >> (host % 8) & 1 == 1;
            assert!((0..hosts).all(|host| of_matrix(host) == is_taken(row[host])), "matrix, VM {vm}");
            let classes = fleet.row_of(vm).expect("a VM");
            assert!((0..hosts).all(|host| classes[of_host[host]] == row[host]), "row, VM {vm}");
        }
    }
}

fn direct(vms: &[Saved], hosts: &[Host]) -> Vec<u8> {
    direct_by(Question::default(), vms, hosts)
}

fn direct_by(question: Question, vms: &[Saved], hosts: &[Host]) -> Vec<u8> {
    let sets: Vec<RegisterSet> = vms.iter().map(set).collect();
    let outcome = |set, host| validate(set, host, question).outcome as u8;
    sets.iter().flat_map(|set| hosts.iter().map(move |host| outcome(set, host))).collect()
}

/// A host that has one register; `answers` is the end of a sweep of it, if it was swept.
fn host_with(own: u64, kernel: &str, answers: Option<&str>) -> Host {
    let asked = r#""asked_on":[{"vcpus":["vm"],"states":["fresh"]}]"#;
    let sweep = |end: &str| format!(r#"{{"register":"{ISAR0:#x}",{asked},"value":"{own:#x}",{end}}}"#);
    let text = format!(
        r#"{{"format":"kvmfw-capture","version":1,"host":{{"name":"h","kernel":"{kernel}","midr":"0x1"}},
        "registers":["{ISAR0:#x}"],"vcpus":[{{"name":"vm","features":["psci_0_2"],"vgic":true,"values":["{own:#x}"]}}],
        "answers":[{}]}}"#,
        answers.map_or_else(String::new, sweep)
    );
    Host::from_json(text.as_bytes()).expect("a capture")
}

#[test]
fn a_host_added_to_split_units_is_judged_like_the_first() {
    let nibble = |at: u32| {
        let end = r#""same":".","other":".","zero":".","ones":".""#;
        format!(r#""nibbles":{{"{at}":".ii............."}},{end}"#)
    };
    let (low, high) = (nibble(0), nibble(20));
    let pairs = [
        // Compared with the own value only, digit by digit in other digits, asked about other values.
        (host_with(0x11, "5.10.13", None), host_with(0x22, "5.10.13", None)),
        (host_with(0x10, "6.12.8", Some(&low)), host_with(0x20, "6.12.8", Some(&low))),
        (host_with(0x10, "6.12.8", Some(&low)), host_with(0x10, "6.12.8", Some(&high))),
        (
            host_with(0x11, "5.10.13", Some(r#""kept":["0x11"],"refused":{"EINVAL":["0x12"]}"#)),
            host_with(0x11, "5.10.13", Some(r#""kept":["0x99"],"refused":{"EINVAL":["0x10"]}"#)),
        ),
        (host_with(0x10, "6.12.8", Some(&low)), host_with(0x22, "5.10.13", None)),
    ];
    let values = [0, 0x10, 0x11, 0x12, 0x20, 0x21, 0x22, 0x99, 0x10_0010, 0x20_0021, u64::MAX];
    let vms: Vec<Saved> = values.map(|value| vec![(ISAR0, value)]).to_vec();
    for (first, second) in pairs {
        let fleet = fleet(&vms, std::slice::from_ref(&first), 1, WAYS[3]);
        all_pairs(&fleet);
        hosts_of(&fleet, std::slice::from_ref(&second));
        let wanted = direct(&vms, &[first.clone(), second.clone()]);
        assert_eq!(all_pairs(&fleet).0, wanted);
        assert_all_ways(&fleet, &wanted);
        // The same without a table of classes, and made at once.
        let at_once = Fleet::with_limits(Question::default(), 1, Limits { class_cells: 0, ..WAYS[3] });
        add(&at_once, &vms);
        hosts_of(&at_once, &[first, second]);
        assert_all_ways(&at_once, &wanted);
    }
}

#[test]
fn classes_do_not_depend_on_whether_vms_are_compared_with_those_before() {
    // So many that differ that comparing stops, then so many that are known that it begins again, then new ones.
    let values = (0..20_000).chain((0..20_000).rev()).chain(20_000..30_000);
    let vms: Vec<Saved> = values.clone().map(|value| vec![(LEVEL, value % 4), (ISAR0, value)]).collect();
    let wanted: Vec<u32> = values.map(|value| u32::try_from(value).expect("small")).collect();
    for threads in [1, 2, 3] {
        let fleet = Fleet::new(Question::default(), threads);
        add(&fleet, &vms);
        assert_eq!(fleet.snapshot().vm_classes(), wanted, "{threads} threads");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn table_and_direct_agree(
        vms in proptest::collection::vec(saved(), 1..20),
        hosts in proptest::collection::vec(capture(), 1..8),
    ) {
        let wanted = direct(&vms, &hosts);
        for limits in WAYS {
            let fleet = fleet(&vms, &hosts, 2, limits);
            let (outcomes, units) = all_pairs(&fleet);
            prop_assert_eq!(&outcomes, &wanted);
            assert_all_ways(&fleet, &wanted);
            prop_assert!(outcomes.iter().zip(&units).all(|(outcome, unit)| (*outcome == 0) == (*unit == u16::MAX)));
            let hosts = hosts.len();
            for (vm, row) in wanted.chunks(hosts).enumerate() {
                let classes = fleet.snapshot().row_of(vm).expect("a VM");
                let found: Vec<u8> = fleet.snapshot().host_classes().iter().map(|class| classes[*class as usize]).collect();
                prop_assert_eq!(&found, row);
            }
        }
    }

    #[test]
    fn every_scheme_judges_in_every_way_what_it_judges_directly(
        vms in proptest::collection::vec(saved(), 1..12),
        hosts in proptest::collection::vec(capture(), 1..8),
        more in proptest::collection::vec(saved(), 1..4),
    ) {
        for scheme in [Scheme::Signed4, Scheme::Equal] {
            let question = Question { scheme, ..Question::default() };
            let all = [vms.as_slice(), &more].concat();
            for limits in WAYS {
                let fleet = fleet_by(question, &vms, &hosts, 2, limits);
                assert_all_ways(&fleet, &direct_by(question, &vms, &hosts));
                add(&fleet, &more);
                assert_all_ways(&fleet, &direct_by(question, &all, &hosts));
            }
        }
    }

    #[test]
    fn incremental_equals_rebuilt(
        vms in proptest::collection::vec(saved(), 4..20),
        hosts in proptest::collection::vec(capture(), 2..8),
        cut in 1..3_usize,
        other in any::<prop::sample::Index>(),
    ) {
        for limits in WAYS {
            let fleet = fleet(&vms[..cut], &hosts[..cut], 1, limits);
            all_pairs(&fleet);
            add(&fleet, &vms[cut..]);
            all_pairs(&fleet);
            hosts_of(&fleet, &hosts[cut..]);
            prop_assert_eq!(all_pairs(&fleet).0, direct(&vms, &hosts));
            let mut changed = hosts.clone();
            changed[0] = hosts[other.index(hosts.len())].clone();
            let mut change = fleet.change();
            prop_assert_eq!(change.update_hosts([(0, &changed[0])]), Ok(()));
            prop_assert_eq!(change.remove_vms([1, 3]), Ok(()));
            change.commit();
            let left: Vec<Saved> =
                vms.iter().enumerate().filter(|(row, _)| ![1, 3].contains(row)).map(|(_, vm)| vm.clone()).collect();
            prop_assert_eq!(all_pairs(&fleet).0, direct(&left, &changed));
        }
    }

    #[test]
    fn splitting_a_batch_changes_nothing(
        vms in proptest::collection::vec(saved(), 1..20),
        hosts in proptest::collection::vec(capture(), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = fleet(&vms, &hosts, 1, WAYS[0]);
        let parts = Fleet::new(Question::default(), 1);
        let cut = cut.index(vms.len());
        add(&parts, &vms[..cut]);
        add(&parts, &vms[cut..]);
        hosts_of(&parts, &hosts);
        prop_assert_eq!(whole.snapshot().vm_classes(), parts.snapshot().vm_classes());
        prop_assert_eq!(all_pairs(&whole), all_pairs(&parts));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn class_ids_do_not_depend_on_threads(
        vms in proptest::collection::vec(saved(), 2..20),
        seed in any::<u64>(),
    ) {
        let at = |row: u64| (row.wrapping_mul(seed | 1) >> 7) % vms.len() as u64;
        let many: Vec<Saved> = (0..36_000).map(|row| vms[usize::try_from(at(row)).expect("small")].clone()).collect();
        let fleets = [1, 2, 5].map(|threads| Fleet::new(Question::default(), threads));
        for fleet in &fleets {
            add(fleet, &many);
        }
        let classes = fleets.map(|fleet| fleet.snapshot().vm_classes());
        prop_assert_eq!(&classes[0], &classes[1]);
        prop_assert_eq!(&classes[0], &classes[2]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn keys_of_classes_are_equal_where_classes_are_and_do_not_depend_on_other_vms(
        vms in proptest::collection::vec(saved(), 2..20),
    ) {
        let keys = |vms: &[Saved]| -> Vec<(u32, Option<Vec<u8>>)> {
            let fleet = Fleet::new(Question::default(), 1);
            add(&fleet, vms);
            fleet.snapshot().vm_classes().iter().map(|class| (*class, fleet.snapshot().class_key(*class))).collect()
        };
        let found = keys(&vms);
        let mut others = keys(&vms.iter().rev().cloned().collect::<Vec<_>>());
        others.reverse();
        for ((class, key), (_, other)) in found.iter().zip(&others) {
            prop_assert!(key.is_some());
            prop_assert_eq!(key, other);
            prop_assert!(found.iter().all(|(known, its)| (known == class) == (its == key)));
        }
    }
}

/// A host that takes only its own value of one register, as kernels before 6.5 do.
fn strict(own: u64) -> Host {
    let text = format!(
        r#"{{"format":"kvmfw-capture","version":1,"host":{{"name":"h","kernel":"6.1.10","midr":"0x1"}},
        "registers":["{ISAR0:#x}"],"vcpus":[{{"name":"vm","features":["psci_0_2"],"vgic":true,"values":["{own:#x}"]}}],
        "answers":[{{"register":"{ISAR0:#x}","asked_on":[{{"vcpus":["vm"],"states":["fresh"]}}],
        "value":"{own:#x}","kept":["{own:#x}"],"refused":{{"EINVAL":["{:#x}"]}}}}]}}"#,
        own + 1
    );
    Host::from_json(text.as_bytes()).expect("a capture")
}

/// More incomparable hosts than a part may have bits: it is left to its table; and some that come later.
#[test]
fn hosts_that_take_only_their_own_value_agree_too() {
    let values: Vec<u64> = (0..90).map(|number| 0x10 + (number << 8)).collect();
    let vms: Vec<Saved> = values.iter().map(|value| vec![(ISAR0, *value)]).collect();
    let hosts: Vec<Host> = values.iter().map(|value| strict(*value)).collect();
    let wanted = direct(&vms, &hosts);
    let own = |(pair, outcome): (usize, &u8)| (*outcome == 0) == (pair % (values.len() + 1) == 0);
    assert!(wanted.iter().enumerate().all(own));
    for limits in WAYS {
        let whole = fleet(&vms, &hosts, 2, limits);
        let (outcomes, units) = all_pairs(&whole);
        assert_eq!(outcomes, wanted);
        for known in [3, 30, 80] {
            let late = fleet(&vms[..known], &hosts[..known], 2, limits);
            add(&late, &vms[known..]);
            hosts_of(&late, &hosts[known..]);
            assert_eq!(all_pairs(&late), (wanted.clone(), units.clone()));
            assert_eq!(late.snapshot().class_row(0), whole.snapshot().class_row(0));
        }
    }
}

/// Who takes a VM is worked out from bits of each class where host classes are few, host by host where they are many.
#[test]
fn hosts_of_many_classes_are_candidates_like_those_of_few() {
    let values: Vec<u64> = (0..300).map(|number| 0x10 + (number << 8)).collect();
    let vms: Vec<Saved> = values.iter().step_by(40).map(|value| vec![(ISAR0, *value)]).collect();
    let hosts: Vec<Host> = values.iter().map(|value| strict(*value)).collect();
    for limits in [WAYS[0], WAYS[2], WAYS[3]] {
        assert_all_ways(&fleet(&vms, &hosts, 2, limits), &direct(&vms, &hosts));
    }
}

/// After a change the classes of all VMs are not written down for the sake of a few pairs.
#[test]
fn few_pairs_of_a_fleet_that_was_changed_are_those_of_all() {
    let vms: Vec<Saved> = (0..64).map(|number| vec![(LEVEL, number % 4), (ISAR0, 0x10 + number)]).collect();
    let hosts = [strict(0x10), strict(0x11), host_with(0x12, "6.12.8", None)];
    let wanted = direct(&vms, &hosts);
    let late = fleet(&vms[..63], &hosts, 1, WAYS[0]);
    all_pairs(&late);
    add(&late, &vms[63..]);
    let now = late.snapshot();
    let mut out = [9; 3];
    assert_eq!(now.pairs(&[63_u32, 0, 17], &[2, 0, 1], &mut out, None), Ok(()));
    assert_eq!(out, [wanted[63 * 3 + 2], wanted[0], wanted[17 * 3 + 1]]);
    let stray = now.pairs(&[1_u32, 64], &[0, 0], &mut out[..2], None).expect_err("a row that there is not");
    assert_eq!(stray.row, 1);
    assert_eq!(stray.problem, "pair (VM row 64, host row 0) is out of range; there are 64 VMs and 3 hosts");
    assert_all_ways(&late, &wanted);
}
