//! Runs the results of the kernels' own functions through the rulebook: `vector_check FOLDER`.
//!
//! The folder holds `fw-vectors.json` (firmware registers), `id-vectors.json` (`arm64_check_features`) and
//! `id-registers.json` (the writable masks). Exit code 1 if anything disagrees.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

use kvmfw_core::answers::State;
use kvmfw_core::catalog;
use kvmfw_core::rules::{self, Facts, Release};
use kvmfw_core::{Effect, RegisterId, Value, VcpuConfig};
use serde_json::Value as Json;

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1) else {
        eprintln!("usage: vector_check FOLDER");
        return ExitCode::FAILURE;
    };
    match run(Path::new(&folder)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path) -> io::Result<usize> {
    let read = |name: &str| -> io::Result<Json> { Ok(serde_json::from_slice(&fs::read(folder.join(name))?)?) };
    Ok(firmware(&read("fw-vectors.json")?) + fields(&read("id-vectors.json")?, &read("id-registers.json")?))
}

/// Counts what differs and tells it.
#[derive(Default)]
struct Tally {
    agreed: usize,
    differ: usize,
}

impl Tally {
    fn add(&mut self, agrees: bool, what: impl FnOnce() -> String) {
        if agrees {
            self.agreed += 1;
        } else {
            self.differ += 1;
            println!("differs: {}", what());
        }
    }

    fn print(self, name: &str) -> usize {
        println!("{name}: {} compared, {} agreed, {} differ", self.agreed + self.differ, self.agreed, self.differ);
        self.differ
    }
}

fn firmware(document: &Json) -> usize {
    let mut tally = Tally::default();
    for (kernel, rows) in members(&document["kernels"]) {
        for row in items(rows) {
            let judge = hand_made_host(kernel, row);
            for value in items(&row["accept"]).map(number) {
                let read =
                    row["get_after_accept"].get(format!("{value:#x}")).map_or_else(|| number(&row["get"]), number);
                let effect = judge(value);
                let agrees = match effect.reads().and_then(Value::word) {
                    Some(derived) => derived == read && read != value,
                    None => effect == Effect::Kept && read == value,
                };
                tally.add(agrees, || format!("{kernel} {row:.120} {value:#x}: {effect:?}"));
            }
            for (errno, values) in members(&row["reject"]) {
                for value in items(values).map(number) {
                    let effect = judge(value);
                    let agrees = matches!(&effect, Effect::Refused(Some(derived)) if derived.name() == errno.as_str());
                    tally.add(agrees, || format!("{kernel} {row:.120} {value:#x}: {effect:?}"));
                }
            }
        }
    }
    tally.print("fw-vectors.json")
}

/// Judges values of one row on a host made by hand: what it reads, its release, its features, whether it ran.
fn hand_made_host(kernel: &str, row: &Json) -> impl Fn(u64) -> Effect {
    let register = RegisterId::new(number(&row["id"]));
    let state = row["host"].as_str().unwrap_or("");
    let mut registers: Vec<(RegisterId, Value)> = Vec::new();
    if row["get"].as_str().is_some_and(|get| get.starts_with("0x")) {
        registers.push((register, Value::Word(number(&row["get"]))));
    }
    let ssbs = u64::from(state.ends_with(",SSBS"));
    registers.push((catalog::ID_AA64PFR1, Value::Word(ssbs << 4)));
    registers.sort();
    let features = if state == "psci02=0" { 0 } else { 1 << 2 };
    let facts = Facts {
        release: Release::parse(kernel),
        is_vendors: false,
        config: VcpuConfig { features, ..VcpuConfig::default() },
        registers: &registers,
        masks: None,
        reports_masks: None,
        spec_store_bypass_mitigated: None,
        pmu_initialised: None,
        state: if state == "ran=1" { State::Ran } else { State::Fresh },
        ..Facts::default()
    };
    let rule = rules::derive(register, &facts);
    move |value| rule.judge(&Value::Word(value), None)
}

fn fields(vectors: &Json, registers: &Json) -> usize {
    let mut tally = Tally::default();
    for row in items(&vectors["rows"]) {
        let text = |at: usize| row[at].as_str().unwrap_or("");
        let mask = items(&registers["kernels"][text(0)])
            .find(|entry| entry["name"].as_str() == Some(text(1)))
            .map_or(0, |entry| number(&entry["writable_mask"]));
        let (Some(release), Some(register)) = (Release::parse(text(0)), catalog::find(text(1))) else {
            tally.add(false, || format!("{row}: not known"));
            continue;
        };
        let taken = rules::check_features(release, register, number(&row[3]), number(&row[5]), mask);
        tally.add(taken == Some(text(6) == "OK"), || format!("{row}: {taken:?}"));
    }
    tally.print("id-vectors.json")
}

fn members(json: &Json) -> impl Iterator<Item = (&String, &Json)> {
    json.as_object().into_iter().flatten()
}

fn items(json: &Json) -> impl Iterator<Item = &Json> {
    json.as_array().into_iter().flatten()
}

fn number(json: &Json) -> u64 {
    let digits = json.as_str().and_then(|text| text.strip_prefix("0x"));
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}
