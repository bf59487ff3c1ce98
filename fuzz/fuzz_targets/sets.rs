//! Any bytes as a register set: refused in a sentence, or judged alike by the judge and by fleets.
#![no_main]

use std::sync::LazyLock;

use kvmfw_core::{Host, RegisterSet};
use kvmfw_fuzz::{Ask, documents, judge_alone, told};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

static HOSTS: LazyLock<Vec<Host>> = LazyLock::new(|| {
    let texts: [&[u8]; 2] = [
        include_bytes!("../../examples/captures/6.1.0-56-arm64__neoverse-n1__default.json"),
        include_bytes!(
            "../../examples/captures/5.10.0-32-arm64__neoverse-v1__mitigations-off.json"
        ),
    ];
    texts
        .iter()
        .map(|text| Host::from_json(text).expect("an example"))
        .collect()
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    documents::mutate(data, size, max_size, seed)
});

fuzz_target!(|input: &[u8]| {
    let (text, rest) = documents::split(input);
    let (ask, host): (Ask, u8) = told(rest);
    if let Ok(set) = RegisterSet::from_json(text) {
        judge_alone(&set, &HOSTS[usize::from(host) % HOSTS.len()], ask);
    }
});
