//! VMs in columns: any numbers are refused in a sentence or taken as VMs one by one are taken.
#![no_main]

use arbitrary::Arbitrary;
use kvmfw_core::{Named, Runs, VcpuConfig, validate};
use kvmfw_fuzz::{Ask, Kvm, Vm, check};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Raw {
    starts: Vec<i64>,
    register: Vec<u64>,
    value: Vec<u64>,
    config_of: Vec<u32>,
    vmm_of: Vec<u8>,
}

fuzz_target!(|input: (Ask, Vec<Vm>, Vec<Kvm>, Option<Raw>)| {
    let (ask, vms, kvms, raw) = input;
    let (vms, kvms) = (&vms[..vms.len().min(24)], &kvms[..kvms.len().min(8)]);
    let fleet = ask.fleet();
    let mut change = fleet.change();
    if let Some(raw) = raw {
        // Whatever stands there, it is no panic, and what cannot be used changes nothing.
        let configs = [VcpuConfig {
            features: 1 << 2,
            vgic: true,
            ..VcpuConfig::default()
        }];
        let rows = Runs {
            starts: &raw.starts,
            register: &raw.register,
            value: &raw.value,
            configs: &configs,
            config_of: &raw.config_of,
            vmm_of: &raw.vmm_of,
        };
        let before = change.vm_count();
        if change.add_runs(rows, Named::default()).is_err() {
            assert_eq!(change.vm_count(), before);
        }
        drop(change);
        change = fleet.change();
    }
    let (mut starts, mut register, mut value) = (vec![0], Vec::new(), Vec::new());
    for vm in vms {
        for (id, word) in vm.registers() {
            register.push(id);
            value.push(word);
        }
        starts.push(register.len() as i64);
    }
    let configs: Vec<VcpuConfig> = vms.iter().map(Vm::config).collect();
    let config_of: Vec<u32> = (0..vms.len() as u32).collect();
    let rows = Runs {
        starts: &starts,
        register: &register,
        value: &value,
        configs: &configs,
        config_of: &config_of,
        vmm_of: &[],
    };
    let errors = change
        .add_runs(rows, Named::default())
        .expect("columns that fit");
    assert!(errors.is_empty(), "{errors:?}");
    let hosts: Vec<_> = kvms
        .iter()
        .enumerate()
        .map(|(at, kvm)| kvm.host(&format!("h{at}")))
        .collect();
    let kind_of: Vec<u32> = (0..hosts.len() as u32).collect();
    change.add_hosts(&hosts, &kind_of, None).expect("hosts");
    let now = change.commit();
    let judge = |vm: &Vm| {
        let set = vm.set("vm");
        hosts
            .iter()
            .map(|host| validate(&set, host, ask.question()).outcome as u8)
            .collect()
    };
    let wanted: Vec<Vec<u8>> = vms.iter().map(judge).collect();
    check(&now, &wanted);
});
