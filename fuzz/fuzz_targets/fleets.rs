//! Random changes of a fleet beside a plain model: after each of them every answer is that of the direct judge.
#![no_main]

use arbitrary::Arbitrary;
use kvmfw_core::{Host, RegisterSet, validate};
use kvmfw_fuzz::{Ask, Kvm, Vm, check};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step {
    AddVm(Vm),
    RemoveVm(u8),
    UpdateVm(u8, Vm),
    MoveVm(u8, u8),
    AddHost(Kvm),
    RemoveHost(u8),
    UpdateHost(u8, Kvm),
    /// A change that is dropped has not been.
    Drop(Vm),
    Check,
}

fuzz_target!(|input: (Ask, Vec<Step>)| {
    let (ask, steps) = input;
    let fleet = ask.fleet();
    let (mut vms, mut hosts): (Vec<RegisterSet>, Vec<Host>) = Default::default();
    for (number, step) in steps.into_iter().take(32).enumerate() {
        let mut change = fleet.change();
        match step {
            Step::AddVm(vm) => {
                vms.push(vm.set(&format!("vm{number}")));
                change.add_sets([vms.last().expect("one")]);
            }
            Step::RemoveVm(at) if !vms.is_empty() => {
                let row = usize::from(at) % vms.len();
                vms.remove(row);
                change.remove_vms([row]).expect("a VM");
            }
            Step::UpdateVm(at, vm) if !vms.is_empty() => {
                let row = usize::from(at) % vms.len();
                vms[row] = vm.set(&vms[row].name.clone());
                change.update_vm(row, &vms[row]).expect("a VM");
            }
            Step::MoveVm(at, host) if !vms.is_empty() && !hosts.is_empty() => {
                let host = usize::from(host) % hosts.len();
                change
                    .move_vm(usize::from(at) % vms.len(), Some(host.into()))
                    .expect("a VM and a host");
            }
            Step::AddHost(kvm) if hosts.len() < 12 => {
                hosts.push(kvm.host(&format!("h{number}")));
                change
                    .add_hosts(&hosts[hosts.len() - 1..], &[0], None)
                    .expect("a host");
            }
            Step::RemoveHost(at) if !hosts.is_empty() => {
                let row = usize::from(at) % hosts.len();
                hosts.remove(row);
                change.remove_hosts([row]).expect("a host");
            }
            Step::UpdateHost(at, kvm) if !hosts.is_empty() => {
                let row = usize::from(at) % hosts.len();
                hosts[row] = kvm.host(hosts[row].name());
                change.update_hosts([(row, &hosts[row])]).expect("a host");
            }
            Step::Drop(vm) => {
                change.add_sets([&vm.set("nobody")]);
                drop(change);
                assert_eq!(fleet.snapshot().vm_count(), vms.len());
                continue;
            }
            _ => {}
        }
        let now = change.commit();
        let judge = |vm: &RegisterSet| {
            hosts
                .iter()
                .map(|host| validate(vm, host, ask.question()).outcome as u8)
                .collect()
        };
        let wanted: Vec<Vec<u8>> = vms.iter().map(judge).collect();
        check(&now, &wanted);
    }
});
