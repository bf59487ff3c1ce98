//! Compares what the rulebook derives with what kernels answered: `derive_check FOLDER [--full] [--hide WHAT]...`.
//!
//! Every answer of every capture (`*.json`) in the folder is judged with the answers hidden (list, fresh values, masks,
//! release, capabilities and sysfs only) and compared. The table has one row per kernel and register; `--full` shows
//! the rows without a disagreement or an unknown too. `--hide` takes facts away as well (`masks`, `release`, `point`, the
//! point release, `sysfs`, `capabilities`): more becomes unknown, nothing may become wrong. Exit code 1 if anything disagrees.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

use kvmfw_core::answers::{Answer, State};
use kvmfw_core::capture::Capture;
use kvmfw_core::catalog::{self, Kind};
use kvmfw_core::{Acceptor, Effect, Host, HostConfig, RegisterId, Scheme, Value};

/// How one derived judgement compares with the recorded answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Comparison {
    Agreed,
    Unknown,
    WrongAccept,
    WrongRefuse,
    WrongErrno,
    WrongReadBack,
}

impl Comparison {
    const ALL: [Self; 6] =
        [Self::Agreed, Self::Unknown, Self::WrongAccept, Self::WrongRefuse, Self::WrongErrno, Self::WrongReadBack];

    fn of(effect: &Effect, answer: &Answer, written: &Value) -> Self {
        match (effect, answer) {
            (Effect::Unknown(_), _) => Self::Unknown,
            (Effect::Refused(errno), Answer::Refused(recorded)) if *errno == Some(*recorded) => Self::Agreed,
            (Effect::Refused(_), Answer::Refused(_)) => Self::WrongErrno,
            (Effect::Refused(_), _) => Self::WrongRefuse,
            (_, Answer::Refused(_)) => Self::WrongAccept,
            (Effect::Kept, Answer::Kept) => Self::Agreed,
            (Effect::Kept, Answer::Changed(Some(read))) if read == written => Self::Agreed,
            (Effect::Kept, _) | (_, Answer::Kept) => Self::WrongReadBack,
            (changed, Answer::Changed(read)) => match (changed.reads(), read) {
                (Some(derived), Some(recorded)) if derived != recorded => Self::WrongReadBack,
                _ => Self::Agreed,
            },
        }
    }
}

/// Counts of one kernel and register, and the first example of every disagreement and unknown.
#[derive(Debug, Default)]
struct Row {
    counts: [u64; 6],
    examples: BTreeMap<(Comparison, &'static str), (u64, String)>,
}

type Table = BTreeMap<(String, String), Row>;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<bool> {
    let mut folder = None;
    let mut full = false;
    let mut hidden = Vec::new();
    let mut arguments = env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--full" {
            full = true;
        } else if argument == "--hide" {
            hidden.extend(arguments.next());
        } else {
            folder = Some(PathBuf::from(argument));
        }
    }
    let Some(folder) = folder else { return Err(io::Error::other("usage: derive_check FOLDER [--full]")) };
    let mut table = Table::new();
    let mut captures = 0;
    for path in captures_in(&folder)? {
        match Capture::from_json(&fs::read(&path)?) {
            Ok(mut capture) => {
                captures += 1;
                let kernel = capture.kernel.clone();
                for what in &hidden {
                    hide(&mut capture, &what.to_string_lossy());
                }
                compare_host(&Host::new(capture), &kernel, &mut table);
            }
            Err(error) => eprintln!("{}: left out: {error}", path.display()),
        }
    }
    Ok(print(&table, captures, full))
}

fn captures_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    Ok(paths)
}

fn hide(capture: &mut Capture, what: &str) {
    match what {
        "release" => "not told".clone_into(&mut capture.kernel),
        "point" => {
            let line: Vec<&str> = capture.kernel.split('.').take(2).collect();
            capture.kernel = line.join(".") + ".0";
        }
        "sysfs" => capture.spec_store_bypass = None,
        "capabilities" => capture.capabilities = None,
        "masks" => {
            for made in capture.vcpus.iter_mut().filter_map(|vcpu| vcpu.made.as_mut().ok()) {
                made.masks = None;
            }
        }
        other => eprintln!("nothing named {other} to hide"),
    }
}

fn compare_host(host: &Host, kernel: &str, table: &mut Table) {
    for (name, config) in host.made() {
        for state in State::ALL {
            for (register, fresh) in config.registers() {
                compare_register((host, kernel), name, &config, *register, state, fresh, table);
            }
        }
        for (register, errno) in config.absent() {
            let derived = config.acceptor(*register, Scheme::Kvm, State::Fresh, true);
            let row = row_of(kernel, "(not listed)".to_owned(), table);
            let zero = Value::from_word(0, *register).unwrap_or(Value::Word(0));
            count(row, host, name, *register, State::Fresh, &derived, &zero, &Answer::Refused(*errno));
        }
    }
}

fn compare_register(
    (host, kernel): (&Host, &str),
    name: &str,
    config: &HostConfig<'_>,
    register: RegisterId,
    state: State,
    fresh: &Value,
    table: &mut Table,
) {
    let Acceptor::Kvm(measured) = config.acceptor(register, Scheme::Kvm, state, false) else { return };
    let derived = config.acceptor(register, Scheme::Kvm, state, true);
    let row = match measured.kind {
        Kind::Plain => "(plain state)".to_owned(),
        Kind::Unlisted => "(EL2 and unknown)".to_owned(),
        Kind::CacheSize => "CCSIDR".to_owned(),
        _ => catalog::name_of(register),
    };
    let row = row_of(kernel, row, table);
    if let Some(answers) = &measured.answers {
        for (value, answer) in answers.asked() {
            count(row, host, name, register, state, &derived, &value, &answer);
        }
    } else if let Some(same) = measured.same.as_ref().filter(|_| state == State::Fresh) {
        count(row, host, name, register, state, &derived, fresh, same);
    }
}

fn row_of<'a>(kernel: &str, register: String, table: &'a mut Table) -> &'a mut Row {
    table.entry((kernel.to_owned(), register)).or_default()
}

#[expect(clippy::too_many_arguments, reason = "the place of one answer")]
fn count(
    row: &mut Row,
    host: &Host,
    vcpu: &str,
    register: RegisterId,
    state: State,
    derived: &Acceptor,
    value: &Value,
    answer: &Answer,
) {
    let effect = derived.judge(value, None).effect;
    let comparison = Comparison::of(&effect, answer, value);
    if let Some(count) = row.counts.get_mut(comparison as usize) {
        *count += 1;
    }
    if comparison != Comparison::Agreed {
        let group = if let Effect::Unknown(needs) = effect { needs } else { "" };
        let example = row.examples.entry((comparison, group)).or_insert_with(|| {
            let text = format!(
                "{register} = {value} on {} `{vcpu}`, {}: recorded {answer:?}, derived {effect:?}",
                host.name(),
                state.name()
            );
            (0, text)
        });
        example.0 += 1;
    }
}

fn print(table: &Table, captures: usize, full: bool) -> bool {
    println!(
        "| kernel | register | compared | agreed | unknown | wrong accept | wrong refuse | wrong errno | wrong read-back |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let line = |kernel: &str, register: &str, counts: &[u64]| {
        let cells: Vec<String> = counts.iter().map(u64::to_string).collect();
        println!("| {kernel} | {register} | {} | {} |", counts.iter().sum::<u64>(), cells.join(" | "));
    };
    let mut total = [0_u64; 6];
    let mut kernels: BTreeMap<&str, [u64; 6]> = BTreeMap::new();
    for ((kernel, register), row) in table {
        if full || !row.examples.is_empty() {
            line(kernel, register, &row.counts);
        }
        for sums in [&mut total, kernels.entry(kernel).or_default()] {
            for (sum, count) in sums.iter_mut().zip(row.counts) {
                *sum += count;
            }
        }
    }
    for (kernel, counts) in &kernels {
        line(kernel, "all", counts);
    }
    line("all", "all", &total);
    println!("\n{captures} captures");
    for ((kernel, register), row) in table {
        for ((comparison, group), (times, example)) in &row.examples {
            println!("- {kernel} {register}: {comparison:?} x {times} {group}\n  {example}");
        }
    }
    let wrong: u64 =
        Comparison::ALL.iter().zip(total).filter(|(kind, _)| **kind > Comparison::Unknown).map(|(_, n)| n).sum();
    wrong == 0
}
