//! A planner that uses the core directly: VMs come and go, hosts reboot, and each is asked for its targets meanwhile.
//!
//! `cargo run --example planner`

use std::collections::HashMap;
use std::error::Error;
use std::io::Write as _;

use kvmfw_core::{Fleet, Host, Question, RegisterId, RegisterSet, Taken, Value, VcpuConfig};

/// `KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_3`: a guest must not lose a workaround.
const WORKAROUND_3: u64 = 0x6030_0000_0014_0003;

fn host(name: &str, level: u64) -> Result<Host, Box<dyn Error>> {
    let text = format!(
        r#"{{"format":"kvmfw-capture","version":1,"host":{{"name":"{name}","kernel":"6.12.8","midr":"0x1"}},
        "registers":["{WORKAROUND_3:#x}"],
        "vcpus":[{{"name":"vm","features":["psci_0_2"],"vgic":true,"values":["{level:#x}"]}}],"answers":[]}}"#
    );
    Ok(Host::from_json(text.as_bytes())?)
}

fn vm(name: &str, level: u64) -> Result<RegisterSet, Box<dyn Error>> {
    let vcpu = VcpuConfig { features: 1 << 2, vgic: true, ..VcpuConfig::default() };
    Ok(RegisterSet::new(name, None, vcpu, vec![(RegisterId::new(WORKAROUND_3), Value::Word(level))])?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    let taken = Taken { change: true, unknown: false };
    let fleet = Fleet::new(Question::default(), 0);

    // One change: readers see all of it or nothing.
    let mut change = fleet.change();
    change.add_hosts(&[host("old", 1)?, host("new", 2)?], &[0, 0, 1], None)?;
    change.add_sets(&[vm("web", 1)?, vm("db", 2)?]);
    change.move_vm("db", Some("new".into()))?;
    let first = change.commit();

    // A handle stays the same VM whoever comes and goes; a row is a place in one snapshot.
    let db = first.vm("db")?;
    writeln!(out, "generation {}: db may go to rows {:?}", first.generation(), first.candidates(db, taken)?)?;

    // Another thread has its own handle of the same fleet.
    let writer = fleet.clone();
    let thread = std::thread::spawn(move || -> Result<(), String> {
        let mut change = writer.change();
        change.remove_vms(["web"]).map_err(|error| error.problem)?;
        let patched = host("old", 2).map_err(|error| error.to_string())?;
        change.update_hosts([(0, &patched)]).map_err(|error| error.problem)?;
        change.commit();
        Ok(())
    });
    thread.join().map_err(|_| "the writer panicked")??;

    // What is known of a class can be kept until the fleet says that its number means something else.
    let mut known: HashMap<u32, Vec<u8>> = HashMap::new();
    let now = fleet.snapshot();
    let changes = now.changes_since(first.generation())?;
    for changed in &changes.vm_classes {
        known.remove(&changed.class);
    }
    for class in now.vm_classes() {
        known.entry(class).or_insert(now.class_row(class)?);
    }
    writeln!(out, "generation {}: db may go to rows {:?}", now.generation(), now.candidates(db, taken)?)?;
    writeln!(out, "the old snapshot still has {} VMs, the new one {}", first.vm_count(), now.vm_count())?;
    Ok(())
}
