//! Laws of fleets that live: after any change a fleet is what one built from scratch would be, and what was read before stays.

use std::collections::BTreeMap;

mod living;

use kvmfw_core::{Fleet, Host, Question, RegisterId, RegisterSet, Snapshot, Value, VcpuConfig, VmHandle};
use living::{ISAR0, LEVEL, Model, Step, TAKEN, WAYS, host, set, step};
use proptest::prelude::*;

/// What is known of a class by its number.
fn known(fleet: &Snapshot) -> (BTreeMap<u32, Option<Vec<u8>>>, u64) {
    let keys = fleet.vm_classes().into_iter().map(|class| (class, fleet.class_key(class)));
    (keys.collect(), fleet.generation())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_changed_fleet_is_one_built_from_scratch_and_what_was_read_stays(
        first in 0..30_usize,
        changes in proptest::collection::vec(proptest::collection::vec(step(), 1..4), 1..25),
        way in 0..WAYS.len(),
    ) {
        let fleet = Fleet::with_limits(Question::default(), 2, WAYS[way]);
        let mut model = Model::default();
        let mut change = fleet.change();
        model.begin(first, &mut change);
        let mut kept = vec![(change.commit(), model.clone())];
        for (number, steps) in changes.iter().enumerate() {
            let before = fleet.snapshot();
            let mut change = fleet.change();
            let mut tried = model.clone();
            for (at, step) in steps.iter().enumerate() {
                tried.take(step, &mut change, 100 * number + at + 3);
            }
            if let Some(Step::Abandon { kind }) = steps.last() {
                tried.take(&Step::Add { kind: *kind, count: 3 }, &mut change, 100 * number + 90);
                drop(change);
                prop_assert_eq!(fleet.snapshot().generation(), before.generation());
                continue;
            }
            let now = change.commit();
            model = tried;
            prop_assert_eq!(now.generation(), before.generation() + 1);
            if steps.iter().any(|step| matches!(step, Step::Ask)) {
                model.check_all(&now)?;
            }
            model.check(&now)?;
            kept.push((now, model.clone()));
        }
        // What was read stays, and numbers of classes mean what they meant, save those that are told.
        let (last, _) = kept.last().expect("the first one").clone();
        for (snapshot, model) in &kept {
            model.check(snapshot)?;
            let (meant, generation) = known(snapshot);
            let changed: Vec<u32> = last.changes_since(generation).unwrap().vm_classes.iter().map(|one| one.class).collect();
            let (means, _) = known(&last);
            for (class, key) in meant {
                prop_assert!(changed.contains(&class) || means.get(&class) == Some(&key));
            }
            for class in means.keys() {
                prop_assert!(changed.contains(class) || last.vm_classes().contains(class));
            }
        }
        model.check_all(&last)?;
        for (snapshot, model) in &kept {
            model.check_all(snapshot)?;
        }
    }
}

/// So many VMs come and go, each with registers of its own, that numbers of classes are used again, tables are made anew and
/// memory is let go of.
#[test]
fn what_came_and_went_leaves_nothing() {
    let fleet = Fleet::new(Question::default(), 1);
    let mut change = fleet.change();
    let mut model = Model::default();
    for kind in 0..4 {
        model.take(&Step::AddHost { kind: kind * 5 }, &mut change, usize::try_from(kind).expect("small"));
    }
    change.commit();
    let own = |number: u64| {
        let registers =
            vec![(RegisterId::new(LEVEL), Value::Word(number % 3)), (RegisterId::new(ISAR0), Value::Word(number))];
        let vcpu = VcpuConfig { features: 1 << 2, vgic: true, ..VcpuConfig::default() };
        RegisterSet::new(format!("vm{number}"), None, vcpu, registers).expect("a set")
    };
    let mut most = 0;
    for number in 0..12_000_u64 {
        let mut change = fleet.change();
        let added = own(number);
        model.vms.push((change.add_sets([&added]), added));
        if model.vms.len() > 100 {
            let (handle, _) = model.vms.remove(usize::try_from(number * 31 % 101).expect("small"));
            change.remove_vms([handle]).expect("a VM");
        }
        let now = change.commit();
        most = most.max(now.class_counts().0);
        if number % 1_000 == 999 {
            model.check(&now).expect("as from scratch");
            model.check_all(&now).expect("as from scratch");
        }
    }
    let now = fleet.snapshot();
    assert_eq!(now.used_classes().0, 100);
    assert!(most <= 102, "{most} numbers of classes for 101 VMs");
}

#[test]
fn who_is_not_there_is_told_in_one_way() {
    let fleet = Fleet::new(Question::default(), 1);
    let mut change = fleet.change();
    let twice = [set(0, "twice", None), set(1, "twice", None), set(2, "one", None)];
    change.add_sets(&twice);
    let now = change.commit();
    let gone = now.vm("one").expect("a VM");
    let mut change = fleet.change();
    change.remove_vms(["one"]).expect("a VM");
    let now = change.commit();
    for missing in [now.vm(2), now.vm("nobody"), now.vm(""), now.vm(gone), now.vm(VmHandle(99)), now.vm("twice")] {
        assert!(missing.is_err(), "{missing:?}");
    }
    assert!(now.candidates(2, TAKEN).is_err() && now.explain("nobody", 0).is_err() && now.class_row(99).is_err());
    assert_eq!(now.vm(1), Ok(VmHandle(1)));
    let mut change = fleet.change();
    let failed = change.remove_vms([0, 7]);
    assert_eq!(failed.map_err(|error| error.row), Err(Some(7)));
    assert_eq!(change.vm_count(), 2);
}

/// Whoever is no different from others needs no judging: the end of such a change waits for no thread.
#[test]
fn a_change_ends_promptly_where_all_in_it_is_known() {
    type Begin = fn(&mut kvmfw_core::Change, &[Host]);

    let fleet = Fleet::new(Question::default(), 1);
    let kinds: Vec<Host> = (0..3).map(|kind| host(kind * 4, &format!("h{kind}"))).collect();
    let mut change = fleet.change();
    assert!(!change.ends_promptly(), "there are no hosts to be judged for");
    change.add_hosts(&kinds, &[0, 1, 1], None).expect("hosts");
    change.add_sets(&[set(0, "a", None), set(1, "b", None)]);
    assert!(!change.ends_promptly(), "all of it is new");
    change.commit();
    let mut change = fleet.change();
    change.add_sets(&[set(0, "c", None)]);
    change.move_vm("a", None).expect("a VM");
    change.update_hosts([(2, &kinds[0])]).expect("a host");
    change.remove_vms(["b"]).expect("a VM");
    assert!(change.ends_promptly());
    let before = fleet.snapshot().class_counts();
    assert_eq!(change.commit().class_counts(), before);
    let others: [Begin; 2] = [
        |change, kinds| change.update_hosts([(0, &kinds[2])]).expect("a host"),
        |change, _| {
            change.add_sets(&[set(2, "d", None)]);
        },
    ];
    for begin in others {
        let mut change = fleet.change();
        begin(&mut change, &kinds);
        assert!(!change.ends_promptly());
    }
}

/// Readers ask while writers change: every answer is that of the generation that it says.
#[test]
fn readers_beside_writers_see_whole_versions() {
    let fleet = Fleet::new(Question::default(), 2);
    let hosts: Vec<Host> = (0..6).map(|kind| host(kind * 4, &format!("h{kind}"))).collect();
    let mut change = fleet.change();
    change.add_hosts(&hosts, &[0, 1, 2, 3, 4, 5], None).expect("hosts");
    change.commit();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2_u64)
            .map(|writer| {
                let (fleet, hosts) = (fleet.clone(), &hosts);
                scope.spawn(move || {
                    for turn in 0..300_u64 {
                        let mut change = fleet.change();
                        // A pair of VMs comes together: no version has one without the other.
                        let kind = turn * 7 + writer * 3;
                        let pair = ["a", "b"].map(|end| set(kind, &format!("{writer}.{turn}.{end}"), None));
                        change.add_sets(&pair);
                        if turn > 20 {
                            let old = turn - 20;
                            let names = ["a", "b"].map(|end| format!("{writer}.{old}.{end}"));
                            change.remove_vms(names.iter().map(String::as_str)).expect("a pair");
                        }
                        if turn % 10 == 0 {
                            let row = usize::try_from(turn / 10 % 6).expect("small");
                            change
                                .update_hosts([(row, &hosts[usize::try_from(turn % 6).expect("small")])])
                                .expect("a host");
                        }
                        change.commit();
                    }
                })
            })
            .collect();
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let fleet = fleet.clone();
                scope.spawn(move || {
                    let mut last = 0;
                    while last < 600 {
                        let now = fleet.snapshot();
                        assert!(now.generation() >= last);
                        last = now.generation();
                        assert_eq!(now.vm_count() % 2, 0);
                        for row in (0..now.vm_count()).step_by(2) {
                            let (one, other) = (now.vm(row).expect("a VM"), now.vm(row + 1).expect("a VM"));
                            let name = now.vm_name(one).expect("a name").trim_end_matches('a');
                            assert_eq!(now.vm_name(other).expect("a name").trim_end_matches('b'), name);
                            assert_eq!(now.row_of(one), now.row_of(other));
                            assert_eq!(now.candidates(one, TAKEN), now.candidates(row + 1, TAKEN));
                        }
                    }
                })
            })
            .collect();
        for thread in writers.into_iter().chain(readers) {
            thread.join().expect("no panic");
        }
    });
    assert_eq!(fleet.snapshot().generation(), 601);
}
