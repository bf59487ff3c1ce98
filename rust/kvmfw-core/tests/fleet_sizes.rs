//! Fleets at the sizes and in the order of changes at which they go another way: they say what pairs say.

#![expect(clippy::expect_used, reason = "a law that cannot be set up has failed")]

use std::collections::HashMap;
use std::hash::BuildHasher;

use kvmfw_core::{Fleet, Host, Limits, Named, Outcome, Question, RegisterId, RegisterSet, Taken, Unit, Value};
use kvmfw_core::{VcpuConfig, validate};

const LEVEL: u64 = 0x6030_0000_0014_0001;
const ISAR0: u64 = 0x6030_0000_0013_c030;

/// With a class table of bytes, packed, with masks, with nothing.
const WAYS: [Limits; 4] = [
    Limits { unit_cells: 1 << 22, group_rows: 64, class_cells: 1 << 28, unpacked_cells: 1 << 28 },
    Limits { unit_cells: 1 << 22, group_rows: 64, class_cells: 1 << 28, unpacked_cells: 0 },
    Limits { unit_cells: 1 << 22, group_rows: 64, class_cells: 0, unpacked_cells: 0 },
    Limits { unit_cells: 0, group_rows: 8, class_cells: 0, unpacked_cells: 0 },
];

type Saved = (u64, u64);

/// A host of a kernel with these values of `WORKAROUND_1` and `ID_AA64ISAR0_EL1`.
fn host(kernel: &str, (level, isar0): Saved) -> Host {
    let text = format!(
        r#"{{"format":"kvmfw-capture","version":1,"host":{{"name":"h","kernel":"{kernel}","midr":"0x1"}},
        "registers":["{ISAR0:#x}","{LEVEL:#x}"],"answers":[],
        "vcpus":[{{"name":"vm","features":["psci_0_2"],"vgic":true,"values":["{isar0:#x}","{level:#x}"]}}]}}"#
    );
    Host::from_json(text.as_bytes()).expect("a capture")
}

fn set((level, isar0): Saved) -> RegisterSet {
    let registers = [(ISAR0, isar0), (LEVEL, level)].map(|(id, word)| (RegisterId::new(id), Value::Word(word)));
    let config = VcpuConfig { features: 1 << 2, vgic: true, ..VcpuConfig::default() };
    RegisterSet::new("", None, config, registers.to_vec()).expect("a set")
}

fn add_vms(fleet: &Fleet, vms: &[Saved]) {
    let sets: Vec<RegisterSet> = vms.iter().map(|vm| set(*vm)).collect();
    let mut change = fleet.change();
    change.add_sets(&sets);
    change.commit();
}

fn add_hosts(fleet: &Fleet, hosts: &[Host], rows: &[u32]) {
    let mut change = fleet.change();
    assert!(change.add_hosts(hosts, rows, None).is_ok());
    change.commit();
}

/// Outcomes of all pairs, VM by VM, as single pairs tell them.
fn direct(vms: &[Saved], hosts: &[Host]) -> Vec<Outcome> {
    let sets: Vec<RegisterSet> = vms.iter().map(|vm| set(*vm)).collect();
    sets.iter().flat_map(|set| hosts.iter().map(|host| validate(set, host, Question::default()).outcome)).collect()
}

fn pairs(fleet: &Fleet) -> Vec<u8> {
    let fleet = fleet.snapshot();
    let hosts = fleet.host_count() as u64;
    let (vm, host): (Vec<u64>, Vec<u64>) =
        (0..fleet.vm_count() as u64 * hosts).map(|pair| (pair / hosts, pair % hosts)).unzip();
    let mut out = vec![9; vm.len()];
    assert_eq!(fleet.pairs(&vm, &host, &mut out, None), Ok(()));
    out
}

fn bytes(outcomes: &[Outcome]) -> Vec<u8> {
    outcomes.iter().map(|outcome| *outcome as u8).collect()
}

/// VMs and hosts of which all four outcomes come: a level can be raised (CHANGE) or too great, and of 6.9 nobody knows
/// whether it lets VMs write `ID_AA64ISAR0_EL1`.
fn mixed() -> (Vec<Saved>, Vec<Host>) {
    let hosts = [("6.1.192", (1, 0x1110)), ("6.1.192", (0, 0x1110)), ("6.9.2", (1, 0x1110)), ("6.9.2", (2, 0x1120))];
    (vec![(0, 0x1110), (1, 0x1110), (2, 0x1110), (1, 0x1120)], hosts.map(|(kernel, own)| host(kernel, own)).to_vec())
}

#[test]
fn kinds_of_hosts_beyond_one_batch_are_judged() {
    let hosts: Vec<Host> = (0..600).map(|own| host("6.1.192", (1, own << 4))).collect();
    let vms: Vec<Saved> = [0, 1, 255, 256, 257, 511, 512, 513, 599].map(|own| (1, own << 4)).to_vec();
    let rows: Vec<u32> = (0..600).collect();
    let wanted = direct(&vms, &hosts);
    assert_eq!(wanted.iter().filter(|outcome| **outcome == Outcome::Accept).count(), vms.len());
    for limits in WAYS {
        let fleet = Fleet::with_limits(Question::default(), 2, limits);
        add_vms(&fleet, &vms);
        add_hosts(&fleet, &hosts, &rows);
        assert_eq!(pairs(&fleet), bytes(&wanted));
    }
}

#[test]
fn classes_that_do_not_fit_into_a_table_make_it_grow() {
    let (_, hosts) = mixed();
    let vms: Vec<Saved> = (0..300).map(|own| (own % 3, 0x1110 + (own << 32))).collect();
    let wanted = direct(&vms, &hosts);
    for limits in WAYS {
        for known in [1, 62, 63, 64, 250] {
            let fleet = Fleet::with_limits(Question::default(), 1, limits);
            add_hosts(&fleet, &hosts, &[0, 1, 2, 3]);
            add_vms(&fleet, &vms[..known]);
            assert_eq!(pairs(&fleet), bytes(&wanted[..known * hosts.len()]));
            // One by one up to the end of the room, then all.
            for vm in &vms[known..vms.len().min(known + 4)] {
                add_vms(&fleet, std::slice::from_ref(vm));
                pairs(&fleet);
            }
            add_vms(&fleet, vms.get(known + 4..).unwrap_or_default());
            assert_eq!(pairs(&fleet), bytes(&wanted), "{known} of {}", vms.len());
        }
    }
}

/// What a kernel offers of firmware is a mask: a word that is judged digit by digit, save what the host itself has.
#[test]
fn firmware_of_bits_is_judged_as_in_pairs_however_units_are_split() {
    const BITMAP: u64 = 0x6030_0000_0016_0002;
    let own = [0_u64, 1, 2, 3, 0x13, 0x8000_0000_0000_0003, u64::MAX];
    let host = |kernel: &str, own: u64| {
        let text = format!(
            r#"{{"format":"kvmfw-capture","version":1,"host":{{"name":"h","kernel":"{kernel}","midr":"0x1"}},
            "registers":["{BITMAP:#x}"],"answers":[],
            "vcpus":[{{"name":"vm","features":["psci_0_2"],"vgic":true,"values":["{own:#x}"]}}]}}"#
        );
        Host::from_json(text.as_bytes()).expect("a capture")
    };
    let config = VcpuConfig { features: 1 << 2, vgic: true, ..VcpuConfig::default() };
    let set = |word| RegisterSet::new("", None, config, vec![(RegisterId::new(BITMAP), Value::Word(word))]);
    let words = (0..40).chain((0..16).map(|digit| 3 | digit << 60)).chain(own);
    let sets: Vec<RegisterSet> = words.map(|word| set(word).expect("a set")).collect();
    let hosts: Vec<Host> =
        ["5.18.0", "6.1.192", "6.9.2", "6.18.0"].iter().flat_map(|kernel| own.map(|own| host(kernel, own))).collect();
    let rows: Vec<u32> = (0..).take(hosts.len()).collect();
    let outcome = |set, host| validate(set, host, Question::default()).outcome;
    let wanted: Vec<Outcome> = sets.iter().flat_map(|set| hosts.iter().map(move |host| outcome(set, host))).collect();
    assert!([Outcome::Accept, Outcome::Refuse].iter().all(|outcome| wanted.contains(outcome)));
    for limits in WAYS {
        let fleet = Fleet::with_limits(Question::default(), 1, limits);
        let mut change = fleet.change();
        change.add_sets(&sets);
        change.commit();
        add_hosts(&fleet, &hosts, &rows);
        assert_eq!(pairs(&fleet), bytes(&wanted), "{limits:?}");
    }
}

/// A strip has 1,024 hosts: whose row has three has bits of his own in each, and counts of all.
#[test]
fn matrices_and_counts_of_several_strips_of_hosts_are_those_of_pairs() {
    let (vms, kinds) = mixed();
    let rows: Vec<u32> = (0..2_500).map(|row| row * row / 7 % 4).collect();
    for limits in WAYS {
        let fleet = Fleet::with_limits(Question::default(), 1, limits);
        add_hosts(&fleet, &kinds, &rows);
        add_vms(&fleet, &vms);
        let (outcomes, width) = (pairs(&fleet), rows.len().div_ceil(8));
        let taken = Taken { change: true, unknown: false };
        let (mut matrix, mut wanted) = (vec![0; vms.len() * width], vec![0; vms.len() * width]);
        let (mut by_vm, mut by_host) = (vec![0; vms.len() * 4], vec![0; rows.len() * 4]);
        let (mut of_vm, mut of_host) = (by_vm.clone(), by_host.clone());
        for (at, outcome) in outcomes.iter().enumerate() {
            let (vm, host) = (at / rows.len(), at % rows.len());
            wanted[vm * width + host / 8] |= u8::from(*outcome < 2) << (host % 8);
            of_vm[vm * 4 + usize::from(*outcome)] += 1;
            of_host[host * 4 + usize::from(*outcome)] += 1;
        }
        let fleet = fleet.snapshot();
        fleet.matrix(0..vms.len(), taken, &mut matrix).expect("rows that there are");
        fleet.counts_by_vm(&mut by_vm);
        fleet.counts_by_host(&mut by_host);
        assert!(matrix == wanted && by_vm == of_vm && by_host == of_host, "{limits:?}");
    }
}

/// Rows of bits are kept for each way to count, and thrown away when hosts come.
#[test]
fn matrices_of_every_way_to_count_are_those_of_pairs_before_and_after_hosts_come() {
    let (kinds, hosts) = mixed();
    let vms: Vec<Saved> = (0..64).map(|row| kinds[row % kinds.len()]).collect();
    for limits in WAYS {
        let fleet = Fleet::with_limits(Question::default(), 1, limits);
        add_vms(&fleet, &vms);
        for (more, rows) in [(&hosts[..2], &[0, 1, 0][..]), (&hosts[2..], &[0, 1]), (&hosts[..1], &[0, 0, 0, 0])] {
            add_hosts(&fleet, more, rows);
            let outcomes = pairs(&fleet);
            let hosts = fleet.snapshot().host_count();
            for (change, unknown) in [(false, false), (true, false), (false, true), (true, true)] {
                let taken = Taken { change, unknown };
                let counts = |outcome: u8| match outcome {
                    0 => true,
                    1 => change,
                    2 => unknown,
                    _ => false,
                };
                let mut wanted = vec![0; vms.len() * hosts.div_ceil(8)];
                for (at, _) in outcomes.iter().enumerate().filter(|(_, outcome)| counts(**outcome)) {
                    wanted[at / hosts * hosts.div_ceil(8) + at % hosts / 8] |= 1 << (at % hosts % 8);
                }
                let mut found = vec![0; wanted.len()];
                for _ in 0..2 {
                    assert_eq!(fleet.snapshot().matrix(0..vms.len(), taken, &mut found), Ok(()));
                    assert_eq!(found, wanted, "{taken:?}, {hosts} hosts");
                }
            }
        }
        assert_eq!([0, 1, 2, 3].map(|outcome| pairs(&fleet).contains(&outcome)), [true; 4]);
    }
}

#[test]
fn counts_of_rows_beyond_one_part_are_those_of_their_classes() {
    const ROWS: usize = 9_001;
    let (kinds, hosts) = mixed();
    let outcomes = direct(&kinds, &hosts);
    // No period that a part has as well.
    let kind_of = |row: usize| (row / 3 + row / 4_096) % kinds.len();
    let vms: Vec<Saved> = (0..ROWS).map(|row| kinds[kind_of(row)]).collect();
    let rows: Vec<u32> = (0..ROWS).map(|row| u32::try_from(kind_of(row)).expect("few kinds")).collect();
    let mut rows_of = [0_u64; 4];
    for kind in &rows {
        rows_of[*kind as usize] += 1;
    }
    let counted = |of: &dyn Fn(usize) -> Outcome| {
        let mut counts = [0; 4];
        (0..4).for_each(|kind| counts[of(kind) as usize] += rows_of[kind]);
        counts
    };
    let by_vm: Vec<[u64; 4]> = (0..4).map(|vm| counted(&|host| outcomes[vm * 4 + host])).collect();
    let by_host: Vec<[u64; 4]> = (0..4).map(|host| counted(&|vm| outcomes[vm * 4 + host])).collect();
    for limits in WAYS {
        let fleet = Fleet::with_limits(Question::default(), 2, limits);
        add_vms(&fleet, &vms);
        add_hosts(&fleet, &hosts, &rows);
        let fleet = fleet.snapshot();
        let mut found = vec![9; 4 * ROWS];
        for (side, wanted) in [(0, &by_vm), (1, &by_host)] {
            if side == 0 {
                fleet.counts_by_vm(&mut found);
            } else {
                fleet.counts_by_host(&mut found);
            }
            let differs = |(row, found): (usize, &[u64; 4])| (*found != wanted[kind_of(row)]).then_some(row);
            assert_eq!(found.as_chunks::<4>().0.iter().enumerate().find_map(differs), None, "side {side}");
        }
    }
}

/// Hosts are counted by strips of 1,024, VM classes by tiles of 8,192; VMs of a class count as often as there are such.
#[test]
fn counts_around_strips_and_tiles_are_those_of_single_pairs() {
    let (_, kinds) = mixed();
    let sizes =
        [(3, 1), (5, 63), (4, 64), (7, 65), (4, 1_023), (4, 1_024), (5, 1_025), (9, 2_049), (8_191, 3), (8_192, 2)];
    for (classes, hosts) in sizes.into_iter().chain([(8_193, 65)]) {
        let saved: Vec<Saved> = (0..classes).map(|own| (own % 3, 0x1110 + ((own / 3) << 32))).collect();
        let outcomes = direct(&saved, &kinds);
        let kind_of = |host: usize| (host / 7 + host / 64) % kinds.len();
        let vms: Vec<usize> = (0..saved.len()).flat_map(|class| std::iter::repeat_n(class, class % 4 + 1)).collect();
        let outcome = |class: usize, host: usize| outcomes[class * kinds.len() + kind_of(host)] as usize;
        let (mut of_class, mut by_host) = (vec![[0_u64; 4]; saved.len()], vec![[0_u64; 4]; hosts]);
        for (class, counts) in of_class.iter_mut().enumerate() {
            for (host, by_host) in by_host.iter_mut().enumerate() {
                counts[outcome(class, host)] += 1;
                by_host[outcome(class, host)] += class as u64 % 4 + 1;
            }
        }
        let rows: Vec<u32> = (0..hosts).map(|host| u32::try_from(kind_of(host)).expect("few kinds")).collect();
        for limits in &WAYS[2..] {
            let fleet = Fleet::with_limits(Question::default(), 2, *limits);
            add_vms(&fleet, &vms.iter().map(|class| saved[*class]).collect::<Vec<_>>());
            add_hosts(&fleet, &kinds, &rows);
            let fleet = fleet.snapshot();
            let (mut of_vms, mut of_hosts) = (vec![9; 4 * vms.len()], vec![9; 4 * hosts]);
            fleet.counts_by_vm(&mut of_vms);
            fleet.counts_by_host(&mut of_hosts);
            assert!(of_hosts.as_chunks::<4>().0 == by_host, "{classes} classes, {hosts} hosts: by host");
            let by_vm = vms.iter().map(|class| of_class[*class]);
            assert!(by_vm.eq(of_vms.as_chunks::<4>().0.iter().copied()), "{classes} classes, {hosts} hosts: by VM");
        }
    }
}

/// A matrix is written by blocks of hosts whose bits fit into the cache: more classes than 12,288 have several.
#[test]
fn matrices_of_several_blocks_of_hosts_are_those_of_single_pairs() {
    let (_, kinds) = mixed();
    let (classes, hosts) = (12_300, 1_051);
    let saved: Vec<Saved> = (0..classes).map(|own| (own % 3, 0x1110 + (own << 32))).collect();
    let outcomes = direct(&saved, &kinds);
    let kind_of = |host: usize| (host / 7 + host / 64) % kinds.len();
    let rows: Vec<u32> = (0..hosts).map(|host| u32::try_from(kind_of(host)).expect("few kinds")).collect();
    let taken = Taken { change: true, unknown: false };
    let width = hosts.div_ceil(8);
    for limits in WAYS {
        let fleet = Fleet::with_limits(Question::default(), 2, limits);
        add_vms(&fleet, &saved);
        add_hosts(&fleet, &kinds, &rows);
        let mut matrix = vec![9; saved.len() * width];
        fleet.snapshot().matrix(0..saved.len(), taken, &mut matrix).expect("rows that there are");
        for (class, row) in matrix.chunks(width).enumerate() {
            let mut wanted = vec![0; width];
            for host in 0..hosts {
                let outcome = outcomes[class * kinds.len() + kind_of(host)];
                wanted[host / 8] |= u8::from((outcome as u8) < 2) << (host % 8);
            }
            assert!(row == wanted, "VM {class}, {limits:?}");
        }
    }
}

#[test]
fn a_unit_stands_in_the_way_alone_where_no_other_does() {
    let own = (1, 0x1110);
    let vms = [own, (2, 0x1110), (1, 0x1120), (2, 0x1120)];
    for limits in WAYS {
        let fleet = Fleet::with_limits(Question::default(), 1, limits);
        add_vms(&fleet, &vms);
        add_hosts(&fleet, &[host("6.1.192", own), host("6.1.192", (2, 0x1120))], &[0, 0, 1]);
        let fleet = fleet.snapshot();
        let counts = fleet.audit(&[-1; 4], Taken { change: false, unknown: false }).expect("an audit");
        let of = |register: u64| {
            let is = |unit: &Unit| unit.register() == Some(RegisterId::new(register));
            let at = fleet.units().iter().position(is).expect("a unit");
            (counts.blocked[at].pairs, counts.blocked[at].sole)
        };
        // Two hosts refuse level 2, one changes level 1; two refuse 0x1120, one 0x1110.
        assert_eq!(of(LEVEL), (2 * 2 + 2, 2 + 1));
        assert_eq!(of(ISAR0), (2 * 2 + 2, 2 + 1));
    }
}

/// Classes are found by 32 bits of a hash with a fixed seed, of the values that count.
#[test]
fn vms_whose_hashes_are_equal_are_told_apart() {
    let short = |value: u64| foldhash::fast::FixedState::default().hash_one(&[value][..]) >> 32;
    let mut seen = HashMap::new();
    let found = (0..1 << 20).find_map(|value| seen.insert(short(value), value).map(|other| (other, value)));
    let (one, other) = found.expect("two of a million values");
    assert_eq!(short(one), short(other));
    let fleet = Fleet::new(Question::default(), 1);
    let values = [one, other, one, other];
    let configs = [VcpuConfig { features: 1 << 2, vgic: true, ..VcpuConfig::default() }];
    let rows = kvmfw_core::Runs {
        starts: &[0, 1, 2, 3, 4],
        register: &[ISAR0; 4],
        value: &values,
        configs: &configs,
        config_of: &[],
        vmm_of: &[],
    };
    let mut change = fleet.change();
    assert_eq!(change.add_runs(rows, Named::default()), Ok(Vec::new()));
    change.commit();
    assert_eq!(fleet.snapshot().vm_classes(), [0, 1, 0, 1]);
}
