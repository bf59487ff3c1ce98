//! Any bytes as a capture: refused in a sentence, or it judges its own fresh VM and others, alike in every way.
#![no_main]

use kvmfw_core::{Host, RegisterSet};
use kvmfw_fuzz::{Ask, Vm, documents, judge_alone, told};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    documents::mutate(data, size, max_size, seed)
});

fuzz_target!(|input: &[u8]| {
    let (text, rest) = documents::split(input);
    let (ask, vm): (Ask, Vm) = told(rest);
    let Ok(host) = Host::from_json(text) else {
        return;
    };
    judge_alone(&vm.set("vm"), &host, ask);
    for (_, config) in host.vcpus() {
        if let kvmfw_core::Choice::Made(made) = host.choose(config) {
            let own = made.in_list_order().to_vec();
            if let Ok(set) = RegisterSet::new("own", None, config, own) {
                judge_alone(&set, &host, ask);
            }
        }
    }
});
