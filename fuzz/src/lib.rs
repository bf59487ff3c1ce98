//! What the targets share: documents that can be judged, and the laws that every pair keeps.

pub mod documents;

use arbitrary::{Arbitrary, Unstructured};
use kvmfw_core::{
    Fleet, Host, Limits, Policy, Question, RegisterId, RegisterSet, Snapshot, Taken, Value,
    VcpuConfig, validate,
};

/// Registers whose values KVM looks at, each in another way, and one that it does not know.
pub const REGISTERS: [u64; 10] = [
    0x6030_0000_0014_0000, // PSCI_VERSION
    0x6030_0000_0014_0001, // WORKAROUND_1
    0x6030_0000_0014_0002, // WORKAROUND_2
    0x6030_0000_0014_0003, // WORKAROUND_3
    0x6030_0000_0016_0000, // STD_BMAP
    0x6030_0000_0013_c030, // ID_AA64ISAR0_EL1
    0x6030_0000_0013_c020, // ID_AA64PFR0_EL1
    0x6030_0000_0013_c028, // ID_AA64DFR0_EL1
    0x6030_0000_0013_dce0, // PMCR_EL0
    0x6030_0000_0013_ffff,
];
const KERNELS: [&str; 6] = [
    "5.10.0",
    "6.1.0-56-arm64",
    "6.6.30",
    "6.12.8",
    "6.16.12",
    "7.3.4",
];

/// All ways in which a fleet decides.
const WAYS: [Limits; 4] = [
    Limits {
        unit_cells: 1 << 22,
        group_rows: 64,
        class_cells: 1 << 28,
        unpacked_cells: 1 << 19,
    },
    Limits {
        unit_cells: 1 << 22,
        group_rows: 2,
        class_cells: 1 << 28,
        unpacked_cells: 0,
    },
    Limits {
        unit_cells: 1 << 22,
        group_rows: 64,
        class_cells: 0,
        unpacked_cells: 0,
    },
    Limits {
        unit_cells: 0,
        group_rows: 8,
        class_cells: 0,
        unpacked_cells: 0,
    },
];

/// What bytes say; where they end they say nothing but zeros.
pub fn told<'a, T: Arbitrary<'a> + Default>(bytes: &'a [u8]) -> T {
    T::arbitrary(&mut Unstructured::new(bytes)).unwrap_or_default()
}

/// How to judge.
#[derive(Arbitrary, Clone, Copy, Debug, Default)]
pub struct Ask {
    policy: u8,
    way: u8,
    threads: u8,
}

impl Ask {
    /// The question that is asked.
    pub fn question(self) -> Question {
        let policies: Vec<Policy> = Policy::all().collect();
        Question {
            policy: policies[usize::from(self.policy) % policies.len()],
            ..Question::default()
        }
    }

    /// An empty fleet.
    pub fn fleet(self) -> Fleet {
        Fleet::with_limits(
            self.question(),
            // Two threads wait for each other most of the time.
            1 + usize::from(self.threads % 16 == 1),
            WAYS[usize::from(self.way) % WAYS.len()],
        )
    }
}

/// A VM that may be.
#[derive(Arbitrary, Clone, Debug, Default)]
pub struct Vm {
    /// Bits of `REGISTERS`.
    has: u16,
    values: [Number; 10],
    features: u8,
    vgic: bool,
}

/// Small numbers and nibbles more often than words.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Number {
    Small(u8),
    Nibble(u8, u8),
    Word(u64),
}

impl Default for Number {
    fn default() -> Self {
        Self::Small(0)
    }
}

impl Number {
    fn word(self) -> u64 {
        match self {
            Self::Small(value) => u64::from(value % 4),
            Self::Nibble(at, value) => u64::from(value % 16) << (u32::from(at) % 16 * 4),
            Self::Word(value) => value,
        }
    }
}

fn features(bits: u8) -> u32 {
    1 << 2 | u32::from(bits & 1) << 3 | u32::from(bits >> 1 & 1) << 4
}

impl Vm {
    /// Ids and values.
    pub fn registers(&self) -> Vec<(u64, u64)> {
        let had = |at: &usize| self.has >> at & 1 == 1;
        let mut all: Vec<(u64, u64)> = (0..REGISTERS.len())
            .filter(had)
            .map(|at| (REGISTERS[at], self.values[at].word()))
            .collect();
        all.sort_unstable();
        all
    }

    /// How its vCPU is made.
    pub fn config(&self) -> VcpuConfig {
        VcpuConfig {
            features: features(self.features),
            vgic: self.vgic,
            ..VcpuConfig::default()
        }
    }

    /// Its register set.
    pub fn set(&self, name: &str) -> RegisterSet {
        let registers = self
            .registers()
            .into_iter()
            .map(|(id, value)| (RegisterId::new(id), Value::Word(value)));
        RegisterSet::new(name, None, self.config(), registers.collect())
            .expect("words fit into these registers")
    }
}

/// A host that may be: with answers for some registers.
#[derive(Arbitrary, Clone, Debug)]
pub struct Kvm {
    kernel: u8,
    vm: Vm,
    answered: u16,
    refused: [Number; 10],
}

impl Kvm {
    /// Its capture.
    pub fn host(&self, name: &str) -> Host {
        let registers = self.vm.registers();
        let list = |of: fn(&(u64, u64)) -> u64| {
            registers
                .iter()
                .map(|one| format!("\"{:#x}\"", of(one)))
                .collect::<Vec<_>>()
                .join(",")
        };
        let mut answers = Vec::new();
        for (at, (id, own)) in registers.iter().enumerate() {
            let other = self.refused[at].word();
            // ID registers are asked nibble by nibble.
            if self.answered >> at & 1 == 1 && other != *own && id & 0xffff < 0xc000 {
                answers.push(format!(
                    r#"{{"register":"{id:#x}","asked_on":[{{"vcpus":["vm"],"states":["fresh"]}}],"value":"{own:#x}",
                    "kept":["{own:#x}"],"refused":{{"EINVAL":["{other:#x}"]}}}}"#
                ));
            }
        }
        let words: Vec<String> = self
            .vm
            .config()
            .feature_names()
            .iter()
            .map(|word| format!("\"{word}\""))
            .collect();
        let text = format!(
            r#"{{"format":"kvmfw-capture","version":1,"host":{{"name":"{name}","kernel":"{}","midr":"0x410fd4f1"}},
            "registers":[{}],"vcpus":[{{"name":"vm","features":[{}],"vgic":{},"values":[{}]}}],"answers":[{}]}}"#,
            KERNELS[usize::from(self.kernel) % KERNELS.len()],
            list(|one| one.0),
            words.join(","),
            self.vm.vgic,
            list(|one| one.1),
            answers.join(",")
        );
        Host::from_json(text.as_bytes()).expect("a capture that was made to fit")
    }
}

/// A fleet of one pair says what the judge says, in every way, and a verdict is its worst finding.
pub fn judge_alone(set: &RegisterSet, host: &Host, ask: Ask) {
    let verdict = validate(set, host, ask.question());
    let worst = verdict
        .findings
        .iter()
        .map(|one| one.judgement.outcome() as u8)
        .max()
        .unwrap_or(0);
    assert_eq!(worst, verdict.outcome as u8);
    let fleet = ask.fleet();
    let mut change = fleet.change();
    change.add_sets([set]);
    change
        .add_hosts(std::slice::from_ref(host), &[0], None)
        .expect("one host");
    let now = change.commit();
    check(&now, &[vec![verdict.outcome as u8]]);
}

/// Every answer of a fleet is that of the direct judge.
pub fn check(fleet: &Snapshot, wanted: &[Vec<u8>]) {
    let hosts = wanted.first().map_or(0, Vec::len);
    let pairs: Vec<(i64, i64)> = (0_i64..)
        .zip(wanted)
        .flat_map(|(vm, row)| (0_i64..).zip(row).map(move |(h, _)| (vm, h)))
        .collect();
    let (vms, on): (Vec<i64>, Vec<i64>) = pairs.iter().copied().unzip();
    let mut out = vec![9; pairs.len()];
    fleet
        .pairs(&vms, &on, &mut out, None)
        .expect("rows that there are");
    let flat: Vec<u8> = wanted.iter().flatten().copied().collect();
    assert_eq!(out, flat, "pairs");
    let mut units = vec![0; pairs.len()];
    let mut again = vec![9; pairs.len()];
    fleet
        .pairs(&vms, &on, &mut again, Some(&mut units))
        .expect("rows that there are");
    assert_eq!(again, flat, "pairs with units");
    let taken = Taken {
        change: true,
        unknown: false,
    };
    let width = hosts.div_ceil(8);
    let mut bits = vec![0; wanted.len() * width];
    fleet
        .matrix(0..wanted.len(), taken, &mut bits)
        .expect("all rows");
    let mut counts = vec![0; 4 * wanted.len()];
    fleet.counts_by_vm(&mut counts);
    for (vm, row) in wanted.iter().enumerate() {
        let takers: Vec<u32> = (0..)
            .zip(row)
            .filter(|(_, outcome)| **outcome < 2)
            .map(|(host, _)| host)
            .collect();
        assert_eq!(
            fleet.candidates(vm, taken).expect("a VM")[..],
            takers,
            "candidates"
        );
        let of_matrix: Vec<u32> = (0..hosts as u32)
            .filter(|host| bits[vm * width + *host as usize / 8] >> (host % 8) & 1 == 1)
            .collect();
        assert_eq!(of_matrix, takers, "matrix");
        let mut own = [0_u64; 4];
        row.iter()
            .for_each(|outcome| own[usize::from(*outcome)] += 1);
        assert_eq!(counts[4 * vm..4 * vm + 4], own, "counts");
    }
}
