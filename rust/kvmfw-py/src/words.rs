//! Words of Python that say what counts: the only place that knows them.

use kvmfw_core::Taken;
use pyo3::prelude::*;

use crate::errors::argument_error;

fn either(py: Python<'_>, name: &str, word: &str, [yes, no]: [&str; 2]) -> PyResult<bool> {
    match word {
        _ if word == yes => Ok(true),
        _ if word == no => Ok(false),
        _ => Err(argument_error(py, &format!("`{name}` is `{word}`; expected `{yes}` or `{no}`"))),
    }
}

/// Whether CHANGE and UNKNOWN count as taken.
pub(crate) fn taken(py: Python<'_>, change: &str, unknown: &str) -> PyResult<Taken> {
    let words = ["accept", "refuse"];
    Ok(Taken { change: either(py, "change", change, words)?, unknown: either(py, "unknown", unknown, words)? })
}

/// Whether the host that a VM runs on counts.
pub(crate) fn with_home(py: Python<'_>, home: &str) -> PyResult<bool> {
    either(py, "home", home, ["include", "exclude"])
}

/// Whether CHANGE and UNKNOWN count as taken, for who keeps it.
#[pyfunction]
pub(crate) fn taken_as(py: Python<'_>, change: &str, unknown: &str) -> PyResult<(bool, bool)> {
    taken(py, change, unknown).map(|taken| (taken.change, taken.unknown))
}
