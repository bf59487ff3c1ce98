//! VMs and hosts that may be.

use std::fmt::Write as _;

use kvmfw_core::{Fleet, Host, VcpuConfig};
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) const LEVEL: u64 = 0x6030_0000_0014_0001;
pub(crate) const WORKAROUND_2: u64 = 0x6030_0000_0014_0002;
pub(crate) const BITMAP: u64 = 0x6030_0000_0016_0000;
pub(crate) const PFR0: u64 = 0x6030_0000_0013_c020;
pub(crate) const PFR1: u64 = 0x6030_0000_0013_c021;
pub(crate) const ISAR0: u64 = 0x6030_0000_0013_c030;
pub(crate) const REGISTERS: [u64; 6] = [LEVEL, WORKAROUND_2, PFR0, PFR1, ISAR0, BITMAP];

pub(crate) type Saved = Vec<(u64, u64)>;

fn word(register: u64) -> BoxedStrategy<u64> {
    match register {
        LEVEL | WORKAROUND_2 | BITMAP => (0..4_u64).boxed(),
        _ => prop_oneof![
            Just(0),
            Just(u64::MAX),
            Just(0x10),
            proptest::collection::vec(0..3_u64, 16)
                .prop_map(|digits| { digits.iter().fold(0, |word, digit| word << 4 | digit) })
        ]
        .boxed(),
    }
}

pub(crate) fn saved() -> impl Strategy<Value = Saved> {
    let registers = REGISTERS.map(|register| (Just(register), word(register), any::<bool>(), any::<bool>()));
    registers.to_vec().prop_map(|registers| {
        let kept = registers.into_iter().filter(|(.., a, b)| *a || *b);
        kept.map(|(register, value, ..)| (register, value)).collect()
    })
}

pub(crate) fn capture() -> impl Strategy<Value = Host> {
    let codes = proptest::collection::vec(proptest::string::string_regex("[.!i]{16}").expect("a regex"), 16);
    let kernels = select(vec!["5.10.13", "6.6.30", "6.12.8", "7.3.4"]);
    (saved(), codes, any::<[bool; 6]>(), "[.!i]{4}", kernels).prop_map(|(registers, codes, measured, four, kernel)| {
        let texts = |part: fn(&(u64, u64)) -> u64| {
            registers.iter().map(|row| format!("\"{:#x}\"", part(row))).collect::<Vec<_>>().join(",")
        };
        let mut answers = Vec::new();
        for ((register, own), _) in registers.iter().zip(measured).filter(|(_, measured)| *measured) {
            let mut text = format!(
                r#"{{"register":"{register:#x}","asked_on":[{{"vcpus":["vm"],"states":["fresh"]}}],"value":"{own:#x}","#
            );
            if [PFR0, PFR1, ISAR0].contains(register) {
                let nibbles = (0..8).map(|at| format!("\"{}\":\"{}\"", 8 * at, codes[at])).collect::<Vec<_>>();
                let [same, other, zero, ones] = [0, 1, 2, 3].map(|at| &four[at..=at]);
                write!(text, r#""nibbles":{{{}}},"same":"{same}","other":"{other}","zero":"{zero}","ones":"{ones}"}}"#, nibbles.join(","))
                    .expect("a string");
            } else {
                write!(text, r#""kept":["{own:#x}"],"refused":{{"EINVAL":["{:#x}"]}}}}"#, own + 1).expect("a string");
            }
            answers.push(text);
        }
        let text = format!(
            r#"{{"format":"kvmfw-capture","version":1,"host":{{"name":"h","kernel":"{kernel}","midr":"0x1"}},
            "registers":[{}],"vcpus":[{{"name":"vm","features":["psci_0_2"],"vgic":true,"values":[{}]}}],"answers":[{}]}}"#,
            texts(|row| row.0),
            texts(|row| row.1),
            answers.join(",")
        );
        Host::from_json(text.as_bytes()).expect("a capture")
    })
}

pub(crate) fn config() -> VcpuConfig {
    VcpuConfig { features: 1 << 2, vgic: true, ..VcpuConfig::default() }
}

pub(crate) fn hosts_of(fleet: &Fleet, hosts: &[Host]) {
    let numbers: Vec<u32> = (0..).take(hosts.len()).collect();
    let mut change = fleet.change();
    assert!(change.add_hosts(hosts, &numbers, None).is_ok());
    change.commit();
}
