//! Laws of fleets that live: after any change a fleet is what one built from scratch would be, and what was read before stays.

#![expect(clippy::expect_used, reason = "a law that cannot be set up has failed")]

use std::collections::BTreeMap;

use kvmfw_core::{
    Change, Fleet, Host, HostHandle, Limits, Question, RegisterId, RegisterSet, Snapshot, Taken, Value, VcpuConfig,
    VmHandle, validate,
};
use proptest::prelude::*;

const LEVEL: u64 = 0x6030_0000_0014_0001;
const BITMAP: u64 = 0x6030_0000_0016_0000;
const ISAR0: u64 = 0x6030_0000_0013_c030;
const TAKEN: Taken = Taken { change: true, unknown: false };

const WAYS: [Limits; 4] = [
    Limits { unit_cells: 1 << 22, group_rows: 64, class_cells: 1 << 28, unpacked_cells: 1 << 19 },
    Limits { unit_cells: 1 << 22, group_rows: 2, class_cells: 1 << 28, unpacked_cells: 0 },
    Limits { unit_cells: 1 << 22, group_rows: 64, class_cells: 0, unpacked_cells: 0 },
    Limits { unit_cells: 0, group_rows: 8, class_cells: 0, unpacked_cells: 0 },
];

/// What a fleet should hold, the plain way.
#[derive(Clone, Default)]
struct Model {
    vms: Vec<(VmHandle, RegisterSet)>,
    hosts: Vec<(HostHandle, Host)>,
}

fn set(kind: u64, name: &str, home: Option<String>) -> RegisterSet {
    let mut registers = vec![(LEVEL, kind % 3), (ISAR0, (kind / 3 % 7) << 4)];
    if !kind.is_multiple_of(5) {
        registers.push((BITMAP, kind % 5 - 1));
    }
    let registers = registers.into_iter().map(|(id, value)| (RegisterId::new(id), Value::Word(value))).collect();
    // A feature more is a vCPU configuration more.
    let features = if kind % 11 == 10 { 1 << 2 | 1 << 3 } else { 1 << 2 };
    RegisterSet::new(name, home, VcpuConfig { features, enabled: 0, vgic: true }, registers).expect("a set")
}

fn host(kind: u64, name: &str) -> Host {
    let (level, isar0, bitmap) = (kind % 3, (kind / 3 % 7) << 4, kind % 4);
    let text = format!(
        r#"{{"format":"kvmfw-capture","version":1,"host":{{"name":"{name}","kernel":"6.12.8","midr":"0x1"}},
        "registers":["{LEVEL:#x}","{ISAR0:#x}","{BITMAP:#x}"],
        "vcpus":[{{"name":"vm","features":["psci_0_2"],"vgic":true,"values":["{level:#x}","{isar0:#x}","{bitmap:#x}"]}}],
        "answers":[{{"register":"{ISAR0:#x}","asked_on":[{{"vcpus":["vm"],"states":["fresh"]}}],"value":"{isar0:#x}",
        "kept":["{isar0:#x}"],"refused":{{"EINVAL":["{:#x}"]}}}}]}}"#,
        isar0 + 0x10
    );
    Host::from_json(text.as_bytes()).expect("a capture")
}

#[derive(Clone, Debug)]
enum Step {
    Add { kind: u64, count: usize },
    Remove { at: usize, by: u8 },
    Update { at: usize, kind: u64 },
    Move { at: usize, host: usize },
    AddHost { kind: u64 },
    Reboot { at: usize, kind: u64 },
    RemoveHost { at: usize },
    Abandon { kind: u64 },
    Ask,
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..1_000_usize;
    prop_oneof![
        4 => (0..400_u64, 1..4_usize).prop_map(|(kind, count)| Step::Add { kind, count }),
        4 => (at.clone(), 0..3_u8).prop_map(|(at, by)| Step::Remove { at, by }),
        2 => (at.clone(), 0..400_u64).prop_map(|(at, kind)| Step::Update { at, kind }),
        2 => (at.clone(), at.clone()).prop_map(|(at, host)| Step::Move { at, host }),
        1 => (0..80_u64).prop_map(|kind| Step::AddHost { kind }),
        2 => (at.clone(), 0..80_u64).prop_map(|(at, kind)| Step::Reboot { at, kind }),
        1 => at.prop_map(|at| Step::RemoveHost { at }),
        1 => (0..400_u64).prop_map(|kind| Step::Abandon { kind }),
        2 => Just(Step::Ask),
    ]
}

impl Model {
    /// Does a step to the model and to a change; `number` makes names that nobody had.
    fn take(&mut self, step: &Step, change: &mut Change, number: usize) {
        match *step {
            Step::Add { kind, count } => {
                for turn in 0..count {
                    let added = set(kind + turn as u64, &format!("vm{number}.{turn}"), Some("h0".to_owned()));
                    let handle = change.add_sets([&added]);
                    self.vms.push((handle, added));
                }
            }
            Step::Remove { at, by } if !self.vms.is_empty() => {
                let row = at % self.vms.len();
                let (handle, gone) = self.vms.remove(row);
                match by {
                    0 => change.remove_vms([row]),
                    1 => change.remove_vms([gone.name.as_str()]),
                    _ => change.remove_vms([handle]),
                }
                .expect("a VM");
            }
            Step::Update { at, kind } if !self.vms.is_empty() => {
                let row = at % self.vms.len();
                let (_, known) = &mut self.vms[row];
                *known = set(kind, &known.name, known.host.clone());
                change.update_vm(row, known).expect("a VM");
            }
            Step::Move { at, host } if !self.vms.is_empty() && !self.hosts.is_empty() => {
                let (row, host) = (at % self.vms.len(), host % self.hosts.len());
                self.vms[row].1.host = Some(self.hosts[host].1.name().to_owned());
                change.move_vm(row, Some(host.into())).expect("a VM and a host");
            }
            Step::AddHost { kind } => {
                let added = host(kind, &format!("h{number}"));
                let handle = change.add_hosts(std::slice::from_ref(&added), &[0], None).expect("a host");
                self.hosts.push((handle, added));
            }
            Step::Reboot { at, kind } if !self.hosts.is_empty() => {
                let row = at % self.hosts.len();
                let rebooted = host(kind, self.hosts[row].1.name());
                change.update_hosts([(row, &rebooted)]).expect("a host");
                self.hosts[row].1 = rebooted;
            }
            Step::RemoveHost { at } if self.hosts.len() > 1 => {
                let (handle, _) = self.hosts.remove(at % self.hosts.len());
                change.remove_hosts([handle]).expect("a host");
            }
            _ => {}
        }
    }

    /// Does a step in a turn of its own, where there is such a turn.
    fn take_turn(&mut self, step: &Step, fleet: &Fleet, number: usize) -> bool {
        let mut turn = fleet.turn();
        match *step {
            Step::Add { kind, count } => {
                let sets: Vec<RegisterSet> = (0..count as u64)
                    .map(|at| set(kind + at, &format!("vm{number}.{at}"), Some("h0".to_owned())))
                    .collect();
                let step = turn.adding(&sets);
                turn.make(&step);
                let now = fleet.snapshot();
                for set in sets {
                    self.vms.push((now.vm(set.name.as_str()).expect("a VM"), set));
                }
            }
            Step::Remove { at, by } if !self.vms.is_empty() => {
                let row = at % self.vms.len();
                let (handle, gone) = self.vms.remove(row);
                let step = match by {
                    0 => turn.removing([row]),
                    1 => turn.removing([gone.name.as_str()]),
                    _ => turn.removing([handle]),
                };
                turn.make(&step.expect("a VM"));
            }
            Step::Move { at, host } if !self.vms.is_empty() && !self.hosts.is_empty() => {
                let (row, host) = (at % self.vms.len(), host % self.hosts.len());
                self.vms[row].1.host = Some(self.hosts[host].1.name().to_owned());
                let step = turn.moving(row, Some(host.into())).expect("a VM and a host");
                turn.make(&step);
            }
            Step::Abandon { kind } => {
                let added = set(kind, "abandoned", None);
                assert_eq!(turn.adding([&added]).len(), 1);
                return false;
            }
            _ => return false,
        }
        true
    }

    fn check(&self, fleet: &Snapshot) -> Result<(), TestCaseError> {
        prop_assert_eq!((fleet.vm_count(), fleet.host_count()), (self.vms.len(), self.hosts.len()));
        let classes = fleet.vm_classes();
        let host_classes = fleet.host_classes();
        for (row, (handle, set)) in self.vms.iter().enumerate() {
            prop_assert_eq!(fleet.vm(row), Ok(*handle));
            prop_assert_eq!(fleet.vm(set.name.as_str()), Ok(*handle));
            prop_assert_eq!((fleet.vm_row(*handle), fleet.vm_name(*handle)), (Some(row), Some(set.name.as_str())));
            prop_assert_eq!(fleet.home_name(*handle), set.host.as_deref());
            prop_assert_eq!(fleet.vm_class(row), classes.get(row).copied());
            let said = fleet.row_of(*handle).expect("a VM");
            let candidates = fleet.candidates(set.name.as_str(), TAKEN).expect("a VM");
            for (at, (_, host)) in self.hosts.iter().enumerate() {
                let wanted = validate(set, host, Question::default());
                prop_assert_eq!(said[host_classes[at] as usize], wanted.outcome as u8);
                prop_assert_eq!(
                    candidates.binary_search(&u32::try_from(at).expect("few")).is_ok(),
                    (wanted.outcome as u8) < 2
                );
                let told = fleet.explain(*handle, at).expect("a pair");
                prop_assert_eq!(told.outcome, wanted.outcome);
            }
        }
        let home = |set: &RegisterSet| self.hosts.iter().position(|(_, host)| Some(host.name()) == set.host.as_deref());
        prop_assert_eq!(fleet.homes(), self.vms.iter().map(|(_, set)| home(set)).collect::<Vec<_>>());
        let used = |classes: &[u32]| classes.iter().collect::<std::collections::BTreeSet<_>>().len();
        prop_assert_eq!(fleet.used_classes(), (used(&classes), used(&host_classes)));
        Ok(())
    }

    /// Questions about all at once.
    fn check_all(&self, fleet: &Snapshot) -> Result<(), TestCaseError> {
        let hosts = self.hosts.len();
        let pairs = 0..(self.vms.len() * hosts) as u64;
        let (vm, host): (Vec<u64>, Vec<u64>) = pairs.map(|pair| (pair / hosts as u64, pair % hosts as u64)).unzip();
        let wanted: Vec<u8> = self
            .vms
            .iter()
            .flat_map(|(_, set)| {
                self.hosts.iter().map(move |(_, host)| validate(set, host, Question::default()).outcome as u8)
            })
            .collect();
        let (mut out, mut units) = (vec![9; vm.len()], vec![0; vm.len()]);
        prop_assert_eq!(fleet.pairs(&vm, &host, &mut out, Some(&mut units)), Ok(()));
        prop_assert_eq!(&out, &wanted);
        out.fill(9);
        prop_assert_eq!(fleet.pairs(&vm, &host, &mut out, None), Ok(()));
        prop_assert_eq!(&out, &wanted);
        let mut counts = vec![0; 4 * self.vms.len()];
        fleet.counts_by_vm(&mut counts);
        for (row, counts) in wanted.chunks(hosts.max(1)).zip(counts.chunks(4)) {
            let count = |outcome: u8| row.iter().map(|one| u64::from(*one == outcome)).sum::<u64>();
            prop_assert_eq!(counts, [count(0), count(1), count(2), count(3)]);
        }
        let width = hosts.div_ceil(8);
        let mut bits = vec![0; self.vms.len() * width];
        prop_assert_eq!(fleet.matrix(0..self.vms.len(), TAKEN, &mut bits), Ok(()));
        for (pair, outcome) in wanted.iter().enumerate() {
            let (row, host) = (pair / hosts, pair % hosts);
            prop_assert_eq!(bits[row * width + host / 8] >> (host % 8) & 1 == 1, *outcome < 2);
        }
        Ok(())
    }
}

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
        for number in 0..first {
            model.take(&Step::Add { kind: number as u64 * 7 % 50, count: 1 }, &mut change, 10_000 + number);
        }
        for kind in 0..3 {
            model.take(&Step::AddHost { kind: kind * 5 }, &mut change, usize::try_from(kind).expect("small"));
        }
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nobody keeps a version most of the time, so that changes are made in place; what is kept stays.
    #[test]
    fn a_fleet_that_is_changed_in_place_is_one_built_from_scratch(
        first in 0..30_usize,
        steps in proptest::collection::vec(step(), 1..80),
        way in 0..WAYS.len(),
    ) {
        let fleet = Fleet::with_limits(Question::default(), 1, WAYS[way]);
        let mut model = Model::default();
        let mut change = fleet.change();
        for number in 0..first {
            model.take(&Step::Add { kind: number as u64 * 7 % 50, count: 1 }, &mut change, 10_000 + number);
        }
        for kind in 0..3 {
            model.take(&Step::AddHost { kind: kind * 5 }, &mut change, usize::try_from(kind).expect("small"));
        }
        let mut generation = change.commit().generation();
        let mut kept = None;
        // Names are looked at once: from then on changes can be made in place.
        prop_assert!(fleet.snapshot().vm("nobody").is_err());
        for (number, step) in steps.iter().enumerate() {
            if matches!(step, Step::Update { .. } | Step::AddHost { .. } | Step::Reboot { .. } | Step::RemoveHost { .. }) {
                let mut change = fleet.change();
                model.take(step, &mut change, number + 3);
                change.commit();
                generation += 1;
            } else {
                generation += u64::from(model.take_turn(step, &fleet, number + 3));
            }
            prop_assert_eq!(fleet.snapshot().generation(), generation);
            match step {
                Step::Ask => model.check_all(&fleet.snapshot())?,
                Step::Abandon { .. } => kept = Some((fleet.snapshot(), model.clone())),
                Step::Update { .. } => kept = None,
                _ => {}
            }
            model.check(&fleet.snapshot())?;
        }
        model.check_all(&fleet.snapshot())?;
        if let Some((snapshot, model)) = kept {
            model.check(&snapshot)?;
            model.check_all(&snapshot)?;
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
        let vcpu = VcpuConfig { features: 1 << 2, enabled: 0, vgic: true };
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
