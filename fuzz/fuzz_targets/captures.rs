//! Any bytes as a capture: refused in a sentence, or it judges its own fresh VM and others, alike in every way.
#![no_main]

use kvmfw_core::{Host, RegisterSet};
use kvmfw_fuzz::{Ask, Vm, judge_alone};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Ask, Vm, &[u8])| {
    let (ask, vm, text) = input;
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
