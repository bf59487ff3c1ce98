//! Verdicts of single pairs.

use kvmfw_core as core;
use kvmfw_core::answers::State;
use pyo3::prelude::*;

use crate::door::{Born, enter};
use crate::errors::argument_error;
use crate::sets::{Host, RegisterSet};
use crate::values::{from_python, to_python};

/// What is not judged: word, what, why, and the name of what tells it, where it is judged as soon as both sides have that.
type Open = (&'static str, &'static str, &'static str, Option<String>);

/// A VMM as its name, the name without a release, releases, source, whether it was measured, what is not judged, and its rule in words.
type Vmm = (&'static str, &'static str, Vec<&'static str>, &'static str, bool, Vec<Open>, Vec<(&'static str, String)>);

/// The table of VMMs, and behind it what a fleet says of itself whose pairs are each judged by their own.
#[pyfunction]
pub(crate) fn vmms() -> Vec<Vmm> {
    let rows = core::Policy::all().chain([core::Policy::OWN]).map(core::Policy::row);
    let open = |one: core::Surrounding| (one.word, one.what, one.why, one.judged_by.map(core::catalog::name_of));
    let beside = |row: &core::VmmRow| row.not_judged().into_iter().map(open).collect();
    rows.map(|row| (row.name, row.family(), row.releases.to_vec(), row.source, row.measured, beside(row), row.words()))
        .collect()
}

/// What is wrong with a name to judge by; `None` where it is in the table, or `own`.
#[pyfunction]
pub(crate) fn vmm_problem(name: &str) -> Option<String> {
    core::Policy::asked(name).err()
}

/// The name that speaks for all these; `None` where there is none, a sentence where one of them is not known.
#[pyfunction]
pub(crate) fn vmm_of_all(py: Python<'_>, names: Vec<String>) -> PyResult<Option<&'static str>> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = core::Policy::of_all(&names).map_err(|problem| argument_error(py, &problem))?;
    Ok(found.map(|policy| policy.row().name))
}

/// One finding: whom it is about, what happens, why; `kvmfw.verdict.Finding` gives the fields their names.
type Row = (Who, What, Why);
type Who = (Option<u64>, String, &'static str);
type What = (
    Option<Py<PyAny>>,
    Option<Py<PyAny>>,
    u8,
    &'static str,
    Option<&'static str>,
    Option<Py<PyAny>>,
    Option<&'static str>,
);
type Why = (&'static str, &'static str, Vec<Field>, String, String);
/// Name (empty for bits without one), highest bit, lowest bit, saved number, own number.
type Field = (&'static str, u32, u32, u64, u64);

/// How to judge, from the words of the Python surface.
pub(crate) fn question(
    py: Python<'_>,
    vmm: &str,
    scheme: &str,
    state: &str,
    derive_only: bool,
) -> PyResult<core::Question> {
    let policy = core::Policy::asked(vmm).map_err(|problem| argument_error(py, &problem))?;
    let scheme = core::Scheme::from_name(scheme).ok_or_else(|| {
        let known: Vec<&str> = core::Scheme::ALL.iter().map(|scheme| scheme.name()).collect();
        argument_error(py, &format!("scheme `{scheme}` is not known; expected one of {}", known.join(", ")))
    })?;
    let state = State::from_name(state)
        .ok_or_else(|| argument_error(py, &format!("state `{state}` is not known; expected fresh, exited or ran")))?;
    Ok(core::Question { policy, scheme, state, derive_only })
}

/// What people call a unit.
pub(crate) fn unit_name(unit: core::Unit) -> String {
    match unit {
        core::Unit::Vcpu => "vCPU".to_owned(),
        core::Unit::List => "register list".to_owned(),
        core::Unit::Register(register) => core::catalog::name_of(register),
    }
}

/// A verdict as its outcome, its rows, the words of what it does not judge, and the VMM that it was judged by.
pub(crate) type Told = (u8, Vec<Row>, Vec<&'static str>, &'static str);

/// A verdict as Python has it.
pub(crate) fn rows(py: Python<'_>, verdict: &core::Verdict) -> PyResult<Told> {
    let value = |value: Option<&core::Value>| value.map(|value| to_python(py, value)).transpose();
    let rows = verdict.findings.iter().map(|finding| {
        let effect = &finding.judgement.effect;
        let name = finding.register.map_or_else(|| unit_name(finding.unit), core::catalog::name_of);
        let fields = finding.fields.iter().map(|field| (field.name, field.high, field.low, field.saved, field.own));
        Ok((
            (finding.register.map(core::RegisterId::raw), name, finding.unit.kind().name()),
            (
                value(finding.saved.as_ref())?,
                value(finding.own.as_ref())?,
                finding.judgement.outcome() as u8,
                effect.name(),
                effect.errno().map(core::Errno::name),
                value(effect.reads())?,
                effect.needs(),
            ),
            (
                finding.rule.name(),
                finding.judgement.evidence.name(),
                fields.collect(),
                finding.offers.clone(),
                finding.sentence.clone(),
            ),
        ))
    });
    let not_judged = verdict.not_judged.iter().map(|beside| beside.word).collect();
    Ok((verdict.outcome as u8, rows.collect::<PyResult<_>>()?, not_judged, verdict.policy.row().name))
}

/// Judges one pair.
#[pyfunction]
pub(crate) fn validate(
    py: Python<'_>,
    vm: &RegisterSet,
    host: &Host,
    vmm: &str,
    scheme: &str,
    state: &str,
    derive_only: bool,
) -> PyResult<Told> {
    let question = question(py, vmm, scheme, state, derive_only)?;
    let verdict = enter(py, Born::now(), || core::validate(&vm.0, &host.0, question))?;
    rows(py, &verdict)
}

/// The effect, error and read-back of one write.
type Said = (&'static str, Option<&'static str>, Option<Py<PyAny>>);

/// What a host says to single writes of one register, on the vCPU of this name; `None` where there is no such vCPU.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "a question in words, as Python has them")]
pub(crate) fn ask(
    py: Python<'_>,
    host: &Host,
    vcpu: &str,
    register: u64,
    values: Vec<Bound<'_, PyAny>>,
    scheme: &str,
    state: &str,
    derive_only: bool,
) -> PyResult<Option<Vec<Said>>> {
    let question = question(py, "kvm", scheme, state, derive_only)?;
    let register = core::RegisterId::new(register);
    let Some((_, config)) = host.0.made().find(|(name, _)| *name == vcpu) else { return Ok(None) };
    let acceptor = config.acceptor(register, question.scheme, question.state, question.derive_only);
    let said = values.iter().map(|value| {
        let value = from_python(value, register).map_err(|problem| argument_error(py, &problem))?;
        let effect = acceptor.judge(&value, None).effect;
        let reads = effect.reads().map(|value| to_python(py, value)).transpose()?;
        Ok((effect.name(), effect.errno().map(core::Errno::name), reads))
    });
    said.collect::<PyResult<_>>().map(Some)
}

/// What `arm64_check_features` of a kernel says to a value under a limit and a writable mask; `None` where not known.
#[pyfunction]
pub(crate) fn check_features(
    py: Python<'_>,
    release: &str,
    register: u64,
    limit: u64,
    value: u64,
    mask: u64,
) -> PyResult<Option<bool>> {
    let release = core::rules::Release::parse(release)
        .ok_or_else(|| argument_error(py, &format!("`{release}` is not a kernel release")))?;
    Ok(core::rules::check_features(release, core::RegisterId::new(register), limit, value, mask))
}
