//! Verdicts of single pairs.

use kvmfw_core as core;
use kvmfw_core::answers::State;
use pyo3::prelude::*;

use crate::door::enter;
use crate::errors::argument_error;
use crate::sets::{Host, RegisterSet};
use crate::values::to_python;

/// One finding as a tuple; `kvmfw.verdict.Finding` gives the fields their names.
type Row = (
    Option<u64>,
    String,
    Option<Py<PyAny>>,
    Option<Py<PyAny>>,
    u8,
    &'static str,
    Option<&'static str>,
    Option<Py<PyAny>>,
    &'static str,
    &'static str,
    String,
    String,
);

/// How to judge, from the words of the Python surface.
pub(crate) fn question(
    py: Python<'_>,
    vmm: &str,
    scheme: &str,
    state: &str,
    derive_only: bool,
) -> PyResult<core::Question> {
    let policy = core::Policy::from_name(vmm).ok_or_else(|| {
        let known: Vec<&str> = core::Policy::ALL.iter().map(|policy| policy.name()).collect();
        argument_error(py, &format!("vmm `{vmm}` is not known; expected one of {}", known.join(", ")))
    })?;
    let scheme = core::Scheme::from_name(scheme).ok_or_else(|| {
        let known: Vec<&str> = core::Scheme::ALL.iter().map(|scheme| scheme.name()).collect();
        argument_error(py, &format!("scheme `{scheme}` is not known; expected one of {}", known.join(", ")))
    })?;
    let state = State::from_name(state)
        .ok_or_else(|| argument_error(py, &format!("state `{state}` is not known; expected fresh, exited or ran")))?;
    Ok(core::Question { policy, scheme, state, derive_only })
}

/// A verdict as its outcome and rows.
pub(crate) fn rows(py: Python<'_>, verdict: &core::Verdict) -> PyResult<(u8, Vec<Row>)> {
    let value = |value: Option<&core::Value>| value.map(|value| to_python(py, value)).transpose();
    let rows = verdict.findings.iter().map(|finding| {
        let effect = &finding.judgement.effect;
        Ok((
            finding.register.map(core::RegisterId::raw),
            finding.register.map_or_else(|| "vCPU".to_owned(), core::catalog::name_of),
            value(finding.saved.as_ref())?,
            value(finding.own.as_ref())?,
            finding.judgement.outcome() as u8,
            effect.name(),
            effect.errno().map(core::Errno::name),
            value(effect.reads())?,
            finding.rule,
            finding.judgement.evidence.name(),
            finding.offers.clone(),
            finding.sentence.clone(),
        ))
    });
    Ok((verdict.outcome as u8, rows.collect::<PyResult<_>>()?))
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
) -> PyResult<(u8, Vec<Row>)> {
    let question = question(py, vmm, scheme, state, derive_only)?;
    let verdict = enter(py, || core::validate(&vm.0, &host.0, question))?;
    rows(py, &verdict)
}
