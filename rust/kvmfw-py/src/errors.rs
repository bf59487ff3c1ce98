//! Core errors become the exception classes of `kvmfw.errors`: the only place where they meet.

use kvmfw_core::audit::AuditError;
use kvmfw_core::{FormatError, IntakeError, MemoryError, MissingError, RowError};
use pyo3::exceptions::{PyKeyboardInterrupt, PyMemoryError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

fn raise(py: Python<'_>, class: &str, arguments: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<Py<PyAny>>) -> PyErr {
    let made = ERRORS
        .get_or_try_init(py, || PyModule::import(py, "kvmfw.errors").map(Bound::unbind))
        .and_then(|module| module.bind(py).getattr(class))
        .and_then(|class| arguments(&class));
    match made {
        Ok(exception) => PyErr::from_value(exception.into_bound(py)),
        Err(error) => error,
    }
}

/// A document that cannot be used.
pub(crate) fn format_error(py: Python<'_>, error: &FormatError) -> PyErr {
    raise(py, "FormatError", |class| Ok(class.call1((error.problem.as_str(), error.place.as_str()))?.unbind()))
}

/// A row that cannot be used.
pub(crate) fn row_error(py: Python<'_>, error: &RowError) -> PyErr {
    raise(py, "RowError", |class| Ok(class.call1((error.problem.as_str(), error.row))?.unbind()))
}

/// VMs that were not added.
pub(crate) fn intake_error(py: Python<'_>, error: &IntakeError) -> PyErr {
    match error {
        IntakeError::Row(error) => row_error(py, error),
        IntakeError::Memory(error) => memory_error(*error),
    }
}

/// Memory that is not there.
pub(crate) fn memory_error(error: MemoryError) -> PyErr {
    PyMemoryError::new_err(error.to_string())
}

/// An argument that cannot be used.
pub(crate) fn argument_error(py: Python<'_>, problem: &str) -> PyErr {
    raise(py, "ArgumentError", |class| Ok(class.call1((problem,))?.unbind()))
}

/// An audit that was not finished.
pub(crate) fn audit_error(py: Python<'_>, error: &AuditError) -> PyErr {
    match error {
        AuditError::Input(problem) => argument_error(py, problem),
        AuditError::Memory { .. } => PyMemoryError::new_err(error.to_string()),
        AuditError::Stopped => PyKeyboardInterrupt::new_err(()),
    }
}

/// Something of a process that was forked while other threads worked on such things.
pub(crate) fn fork_error(py: Python<'_>) -> PyErr {
    let problem = "the process was forked while another thread was in a call of kvmfw; make fleets anew in the child";
    raise(py, "ForkError", |class| Ok(class.call1((problem,))?.unbind()))
}

/// A panic that was caught: a bug of kvmfw.
pub(crate) fn internal_error(py: Python<'_>, problem: &str) -> PyErr {
    raise(py, "InternalError", |class| Ok(class.call1((problem,))?.unbind()))
}

/// A VM, a host or a class that there is not.
pub(crate) fn missing_error(py: Python<'_>, error: &MissingError) -> PyErr {
    raise(py, "MissingError", |class| Ok(class.call1((error.problem.as_str(), error.row))?.unbind()))
}
