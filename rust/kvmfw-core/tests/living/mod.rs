//! A fleet and what it should hold, the plain way; steps that change both.

#![expect(clippy::expect_used, reason = "a law that cannot be set up has failed")]

use kvmfw_core::{
    Change, Host, HostHandle, Limits, Question, RegisterId, RegisterSet, Snapshot, Taken, Value, VcpuConfig, VmHandle,
    validate,
};
use proptest::prelude::*;

pub(crate) const LEVEL: u64 = 0x6030_0000_0014_0001;
pub(crate) const BITMAP: u64 = 0x6030_0000_0016_0000;
pub(crate) const ISAR0: u64 = 0x6030_0000_0013_c030;
pub(crate) const TAKEN: Taken = Taken { change: true, unknown: false };

pub(crate) const WAYS: [Limits; 4] = [
    Limits { unit_cells: 1 << 22, group_rows: 64, class_cells: 1 << 28, unpacked_cells: 1 << 19 },
    Limits { unit_cells: 1 << 22, group_rows: 2, class_cells: 1 << 28, unpacked_cells: 0 },
    Limits { unit_cells: 1 << 22, group_rows: 64, class_cells: 0, unpacked_cells: 0 },
    Limits { unit_cells: 0, group_rows: 8, class_cells: 0, unpacked_cells: 0 },
];

/// What a fleet should hold, the plain way.
#[derive(Clone, Default)]
pub(crate) struct Model {
    pub(crate) vms: Vec<(VmHandle, RegisterSet)>,
    pub(crate) hosts: Vec<(HostHandle, Host)>,
}

impl Model {
    /// Gives a change its first VMs and three hosts.
    pub(crate) fn begin(&mut self, first: usize, change: &mut Change) {
        for number in 0..first {
            self.take(&Step::Add { kind: number as u64 * 7 % 50, count: 1 }, change, 10_000 + number);
        }
        for kind in 0..3 {
            self.take(&Step::AddHost { kind: kind * 5 }, change, usize::try_from(kind).expect("small"));
        }
    }
}

pub(crate) fn set(kind: u64, name: &str, home: Option<String>) -> RegisterSet {
    let mut registers = vec![(LEVEL, kind % 3), (ISAR0, (kind / 3 % 7) << 4)];
    if !kind.is_multiple_of(5) {
        registers.push((BITMAP, kind % 5 - 1));
    }
    let registers = registers.into_iter().map(|(id, value)| (RegisterId::new(id), Value::Word(value))).collect();
    // A feature more is a vCPU configuration more.
    let features = if kind % 11 == 10 { 1 << 2 | 1 << 3 } else { 1 << 2 };
    RegisterSet::new(name, home, VcpuConfig { features, vgic: true, ..VcpuConfig::default() }, registers)
        .expect("a set")
}

pub(crate) fn host(kind: u64, name: &str) -> Host {
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
pub(crate) enum Step {
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

pub(crate) fn step() -> impl Strategy<Value = Step> {
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
    pub(crate) fn take(&mut self, step: &Step, change: &mut Change, number: usize) {
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

    pub(crate) fn check(&self, fleet: &Snapshot) -> Result<(), TestCaseError> {
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
    pub(crate) fn check_all(&self, fleet: &Snapshot) -> Result<(), TestCaseError> {
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
