//! Fixed workloads for counting instructions: `count NAME`; see `benches/instructions.py`. `count near TIMES`
//! and `count far TIMES` for counting misses of caches: see `benches/misses.py`.

use std::fmt::Write as _;
use std::process::ExitCode;

use kvmfw_core::audit::{Census, Residents, Watch};
use kvmfw_core::{
    Change, Fleet, Host, Limits, Named, Names, Question, RegisterId, RegisterSet, Runs, Snapshot, Taken, Texts, Value,
    VcpuConfig, Who,
};

const VMS: u64 = 20_000;
const REGISTERS: u64 = 24;
const HOSTS: u64 = 40;
const PAIRS: u64 = 400_000;
const CHANGES: u64 = 3_000;
/// VMs that are at hand, for changes of VMs that come and go.
const STEP: u64 = VMS / CHANGES;
/// VMs that come one by one, each of a class of its own.
const BIRTHS: u64 = 400;
/// How often a cheap question is asked: counts of one setup differ by 0.07 %, which must stay far below its own work.
const TIMES: u64 = 40;
/// VMs that come at once where they are streamed.
const BATCH: usize = 2_000;

/// The same numbers on every machine.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % below
    }
}

fn register(at: u64) -> u64 {
    0x6030_0000_0013_c020 + at
}

fn host(numbers: &mut Numbers) -> Result<Host, Box<dyn std::error::Error>> {
    let (mut ids, mut values, mut answers) = (String::new(), String::new(), String::new());
    for at in 0..REGISTERS {
        let comma = if at == 0 { "" } else { "," };
        let own = numbers.next(8);
        write!(ids, "{comma}\"{:#x}\"", register(at))?;
        write!(values, "{comma}\"{own:#x}\"")?;
        let codes: String = (0..16).map(|digit| if digit <= own { '.' } else { 'i' }).collect();
        let asked = r#""asked_on":[{"vcpus":["vm"],"states":["fresh"]}]"#;
        let codes = format!(r#""nibbles":{{"0":"{codes}"}},"same":".","other":"i","zero":".","ones":"i""#);
        write!(answers, r#"{comma}{{"register":"{:#x}",{asked},"value":"{own:#x}",{codes}}}"#, register(at))?;
    }
    let vcpu = format!(r#"{{"name":"vm","features":["psci_0_2"],"vgic":true,"values":[{values}]}}"#);
    let host = r#"{"name":"h","kernel":"6.12.8","midr":"0x1"}"#;
    let text = format!(
        r#"{{"format":"kvmfw-capture","version":1,"host":{host},"registers":[{ids}],"vcpus":[{vcpu}],"answers":[{answers}]}}"#
    );
    Ok(Host::from_json(text.as_bytes())?)
}

/// A fleet for pairs: how many VMs and hosts there are, how many of them differ, and whether units are told.
struct Shape {
    members: (u64, u64),
    classes: (u64, u64),
    units: bool,
}

/// `small` of the benches, with units.
const NEAR: Shape = Shape { members: (100_000, 10_000), classes: (500, 60), units: true };
/// `large` of the benches: caches do not hold its tables.
const FAR: Shape = Shape { members: (2_000_000, 20_000), classes: (20_000, 400), units: false };

/// Pairs of a fleet, so many times ten [`PAIRS`]; one time more shows what they take without what making them does.
fn shaped(shape: &Shape, times: u64) -> Result<u64, Box<dyn std::error::Error>> {
    let ((vms, hosts), classes) = (shape.members, shape.classes);
    let mut numbers = Numbers(7);
    let captures = (0..classes.1).map(|_| host(&mut numbers)).collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<u64> = (0..classes.0).flat_map(|_| (0..REGISTERS).map(register)).collect();
    let values: Vec<u64> = ids.iter().map(|_| numbers.next(3)).collect();
    let starts: Vec<i64> = (0..).step_by(usize::try_from(REGISTERS)?).take(usize::try_from(classes.0)? + 1).collect();
    let configs = [VcpuConfig { features: 1 << 2, vgic: true, ..VcpuConfig::default() }];
    let rows = Runs { starts: &starts, register: &ids, value: &values, configs: &configs, config_of: &[], vmm_of: &[] };
    let mut some = |count, below| (0..count).map(|_| u32::try_from(numbers.next(below))).collect::<Result<Vec<_>, _>>();
    let (like, kinds) = (some(vms, classes.0)?, some(hosts, classes.1)?);
    let (vm, host) = (some(10 * PAIRS, vms)?, some(10 * PAIRS, hosts)?);
    let mut change = Fleet::new(Question::default(), 1).change();
    change.add_runs(rows, Named { like: Some(&like), ..Named::default() })?;
    change.add_hosts(&captures, &kinds, None)?;
    let fleet = change.commit();
    // The table of all classes is there before the pairs are.
    let mut out = vec![0; vm.len().max(fleet.vm_count())];
    let (all, first) = ((0..u32::try_from(vms)?).collect::<Vec<_>>(), vec![0; fleet.vm_count()]);
    fleet.pairs(&all, &first, &mut out, None)?;
    let mut units = vec![0; vm.len()];
    for _ in 0..times {
        fleet.pairs(&vm, &host, &mut out[..vm.len()], shape.units.then_some(&mut units[..]))?;
    }
    Ok(out.iter().map(|byte| u64::from(*byte)).sum())
}

/// Runs a workload; the sum keeps it from being optimised away.
fn run(name: &str) -> Result<u64, Box<dyn std::error::Error>> {
    let mut numbers = Numbers(7);
    let hosts = (0..HOSTS).map(|_| host(&mut numbers)).collect::<Result<Vec<_>, _>>()?;
    let mut classes: Vec<Vec<u64>> = Vec::new();
    classes.resize_with(300, || (0..REGISTERS).map(|_| numbers.next(3)).collect());
    let differ = matches!(name, "different" | "bits" | "class_row" | "births");
    let (mut ids, mut values, mut starts) = (Vec::new(), Vec::new(), vec![0_i64]);
    for number in 0..VMS {
        let class = usize::try_from(numbers.next(300))?;
        ids.extend((0..REGISTERS).map(register));
        values.extend(classes.get(class).into_iter().flatten());
        if let Some(last) = values.last_mut().filter(|_| differ) {
            *last = number << 8;
        }
        starts.push(i64::try_from(ids.len())?);
    }
    let configs = [VcpuConfig { features: 1 << 2, vgic: true, ..VcpuConfig::default() }];
    let rows = Runs { starts: &starts, register: &ids, value: &values, configs: &configs, config_of: &[], vmm_of: &[] };
    // As where there are many more: a register of which all values differ is split, and there is no class table.
    let few = Limits { unit_cells: 1 << 16, class_cells: 0, ..Limits::default() };
    let fleet = Fleet::with_limits(Question::default(), 1, if differ { few } else { Limits::default() });
    let mut change = fleet.change();
    let (text, ends) = numbered("vm", VMS)?;
    let names = Texts { starts: &ends, text: &text };
    if name == "stream" {
        return streamed(change, rows, names);
    }
    change.add_runs(rows, Named { names: Some(Names::Texts(names)), ..Named::default() })?;
    change.commit();
    match name {
        "build" => return Ok(fleet.snapshot().class_counts().0 as u64),
        "opened" => return opened(&fleet.snapshot(), names),
        _ => {}
    }
    let kinds: Vec<u32> = (0..1_000).map(|row| row % 40).collect();
    let mut change = fleet.change();
    let (text, ends) = numbered("host", 1_000)?;
    change.add_hosts(&hosts, &kinds, Some(Texts { starts: &ends, text: &text }))?;
    let living = fleet;
    let fleet = change.commit();
    let taken = Taken { change: true, unknown: false };
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum();
    Ok(match name {
        "judge" | "different" => sum(&fleet.class_row(0)?),
        "pairs" => {
            let vm: Vec<u32> = (0..PAIRS).map(|_| u32::try_from(numbers.next(VMS))).collect::<Result<_, _>>()?;
            let host: Vec<u32> = (0..PAIRS).map(|_| u32::try_from(numbers.next(1_000))).collect::<Result<_, _>>()?;
            let mut out = vec![0; vm.len()];
            fleet.pairs(&vm, &host, &mut out, None)?;
            sum(&out)
        }
        "matrix" => {
            let mut out = vec![0; fleet.vm_count() * 125];
            fleet.matrix(0..fleet.vm_count(), taken, &mut out)?;
            sum(&out)
        }
        "counts" => {
            let mut out = vec![0; fleet.vm_count() * 4];
            for _ in 0..TIMES {
                fleet.counts_by_vm(&mut out);
            }
            out.iter().step_by(4).sum()
        }
        "bits" => {
            let (mut by_vm, mut by_host) = (vec![0; fleet.vm_count() * 4], vec![0; fleet.host_count() * 4]);
            for _ in 0..10 {
                fleet.counts_by_vm(&mut by_vm);
                fleet.counts_by_host(&mut by_host);
            }
            by_vm.iter().chain(&by_host).sum()
        }
        "class_row" => {
            let mut all = 0;
            for class in 0..20_000 {
                all += sum(&fleet.class_row(class)?);
            }
            all
        }
        "births" => {
            drop(fleet);
            births(&living, &mut numbers)?
        }
        "audit" => audit(&fleet, taken)?,
        "candidates" => {
            let mut all = 0;
            for vm in 0..500 * usize::try_from(TIMES)? {
                all += fleet.candidates(vm, taken)?.len() as u64;
            }
            all
        }
        "names" => {
            let mut all = 0;
            for vm in 0..500 {
                all += fleet.candidates(format!("vm{}", vm * 37).as_str(), taken)?.len() as u64;
            }
            all
        }
        _ => return live(name, &living, &hosts, &classes),
    })
}

/// So many names.
fn numbered(word: &str, count: u64) -> Result<(String, Vec<i64>), Box<dyn std::error::Error>> {
    let (mut text, mut ends) = (String::new(), vec![0]);
    for number in 0..count {
        write!(text, "{word}{number}")?;
        ends.push(i64::try_from(text.len())?);
    }
    Ok((text, ends))
}

/// VMs that come in batches of one change.
fn streamed(mut change: Change, rows: Runs<'_>, names: Texts<'_>) -> Result<u64, Box<dyn std::error::Error>> {
    for part in (0..rows.len()).step_by(BATCH) {
        let starts = rows.starts.get(part..=part + BATCH).ok_or("no rows")?;
        let starts_of_names = names.starts.get(part..=part + BATCH).ok_or("no names")?;
        let names = Some(Names::Texts(Texts { starts: starts_of_names, ..names }));
        change.add_runs(Runs { starts, ..rows }, Named { names, ..Named::default() })?;
    }
    Ok(change.commit().class_counts().0 as u64)
}

/// A fleet that is made of what another one knows of its VMs.
fn opened(built: &Snapshot, names: Texts<'_>) -> Result<u64, Box<dyn std::error::Error>> {
    let sets = (0..u32::try_from(built.class_counts().0)?).map(|class| built.class_set(class));
    let like: Vec<u32> = (0..built.vm_count()).filter_map(|row| built.vm_class(row)).collect();
    let mut change = Fleet::new(Question::default(), 1).change();
    change.add_like(sets, Named { names: Some(Names::Texts(names)), like: Some(&like), ..Named::default() })?;
    Ok(change.commit().vm_count() as u64)
}

/// Takers, what units say, circles and passages of VMs at home on every host class that there is.
fn audit(fleet: &Snapshot, taken: Taken) -> Result<u64, Box<dyn std::error::Error>> {
    let (vm_classes, host_classes) = fleet.class_counts();
    let (vms, homes) = (u32::try_from(vm_classes)?, i64::try_from(host_classes)?);
    let vm_class: Vec<u32> = (0..vms).flat_map(|class| std::iter::repeat_n(class, host_classes)).collect();
    let home_class: Vec<i64> = (0..vms).flat_map(|_| 0..homes).collect();
    let weights = vec![3; vm_class.len()];
    let residents = Residents { vm_class: &vm_class, home_class: &home_class, vms: &weights };
    let watch = Watch::default();
    let (takers, _) = fleet.all_takers(&vec![25; host_classes], taken, &watch)?;
    let census = Census::of(&fleet.unit_rows(), &takers, residents, taken, &watch)?;
    let (circles, passages) = (takers.circles(residents, &watch)?, takers.passages(residents, 100, &watch)?);
    Ok(census.said.len() as u64 + circles.moves.len() as u64 + passages.count)
}

/// VMs that are like nobody, and captures that no host had: what there is of the others is not copied for them.
fn births(fleet: &Fleet, numbers: &mut Numbers) -> Result<u64, Box<dyn std::error::Error>> {
    let vcpu = VcpuConfig { features: 1 << 2, vgic: true, ..VcpuConfig::default() };
    let mut sum = fleet.snapshot().vm("vm0")?.0 + 1;
    for number in 0..BIRTHS {
        let values = (0..REGISTERS).map(|at| if at + 1 < REGISTERS { numbers.next(3) } else { (VMS + number) << 8 });
        let registers = (0..).map(register).map(RegisterId::new).zip(values.map(Value::Word)).collect();
        let set = RegisterSet::new(format!("new{number}"), None, vcpu, registers)?;
        let mut turn = fleet.turn();
        let step = turn.adding([&set]);
        sum += turn.make(&step);
        if number % 20 == 19 {
            let mut change = fleet.change();
            change.update_hosts([(usize::try_from(number)?, &host(numbers)?)])?;
            sum += change.commit().generation();
        }
    }
    Ok(sum)
}

/// Changes of one VM each: of known classes, names included.
fn live(name: &str, fleet: &Fleet, hosts: &[Host], classes: &[Vec<u64>]) -> Result<u64, Box<dyn std::error::Error>> {
    let vcpu = VcpuConfig { features: 1 << 2, vgic: true, ..VcpuConfig::default() };
    let set = |number: u64| {
        let values = classes.get(usize::try_from(number % 300)?).into_iter().flatten();
        let registers =
            (0..REGISTERS).zip(values).map(|(at, value)| (RegisterId::new(register(at)), Value::Word(*value)));
        Ok::<_, Box<dyn std::error::Error>>(RegisterSet::new(format!("new{number}"), None, vcpu, registers.collect())?)
    };
    let sets = (0..CHANGES).map(set).collect::<Result<Vec<_>, _>>()?;
    // Names are looked at once.
    let mut sum = fleet.snapshot().vm("vm0")?.0 + 1;
    for number in 0..CHANGES {
        match name {
            "known" => {}
            "add" => {
                let mut turn = fleet.turn();
                let step = turn.adding(sets.get(usize::try_from(number)?));
                sum += turn.make(&step);
            }
            "remove" => {
                let turn = fleet.turn();
                let step = turn.removing([format!("vm{}", number * STEP).as_str()])?;
                sum += turn.make(&step);
            }
            // As above, while somebody keeps the version before: what changes is copied.
            "copied" => {
                let kept = fleet.snapshot();
                let turn = fleet.turn();
                let step = turn.removing([format!("vm{}", number * STEP).as_str()])?;
                sum += turn.make(&step) + kept.generation();
            }
            "event" => sum += event(fleet, number, hosts, &sets)?,
            "reboot" => {
                for time in 0..3 {
                    let mut change = fleet.change();
                    let host = hosts.get(usize::try_from((number + time) % HOSTS)?).ok_or("no host")?;
                    change.update_hosts([(usize::try_from(number)? % 1_000, host)])?;
                    sum += change.commit().generation();
                }
            }
            // Many, as two builds of the same code differ by more than what a thousand take.
            "snapshot" => sum += (0..100).map(|_| fleet.snapshot().vm_count() as u64).sum::<u64>(),
            _ => return Err(format!("there is no workload `{name}`").into()),
        }
    }
    Ok(sum)
}

/// What a planner lives through, each time with a question by name: 40 % come, 40 % go, 19.5 % move, 0.5 % of the times a host
/// reboots into another kernel.
fn event(fleet: &Fleet, number: u64, hosts: &[Host], sets: &[RegisterSet]) -> Result<u64, Box<dyn std::error::Error>> {
    let taken = Taken { change: true, unknown: false };
    let (set, old) = (sets.get(usize::try_from(number)?).ok_or("no set")?, format!("vm{}", number * STEP));
    let mut turn = fleet.turn();
    let (step, name) = match number % 5 {
        0 | 1 => (turn.adding([set]), set.name.as_str()),
        2 | 3 => (turn.removing([old.as_str()])?, "vm1"),
        _ if number % 200 == 199 => {
            let host = hosts.get(usize::try_from(number % HOSTS)?).ok_or("no host")?;
            let mut change = turn.change();
            change.update_hosts([(usize::try_from(number)? % 1_000, host)])?;
            change.commit();
            return Ok(fleet.snapshot().candidates("vm1", taken)?.len() as u64);
        }
        _ => (turn.moving(old.as_str(), Some(Who::Row(usize::try_from(number)? % 1_000)))?, old.as_str()),
    };
    turn.make(&step);
    Ok(fleet.snapshot().candidates(name, taken)?.len() as u64)
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let shape = [("near", NEAR), ("far", FAR)].into_iter().find(|(one, _)| *one == name);
    let times = arguments.next().and_then(|times| times.parse().ok());
    // The result is the exit code's business only where there is none.
    match shape.zip(times).map_or_else(|| run(&name), |((_, shape), times)| shaped(&shape, times)) {
        Ok(sum) if std::hint::black_box(sum) > 0 => ExitCode::SUCCESS,
        Ok(_) | Err(_) => ExitCode::FAILURE,
    }
}
