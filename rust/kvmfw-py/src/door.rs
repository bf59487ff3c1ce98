//! The one way from Python into work: the GIL is released, panics become exceptions.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;

use crate::errors::internal_error;

/// Runs `work` without the GIL.
pub(crate) fn enter<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    // A panic leaves nothing half-made behind: work fills its own output, which is dropped here.
    py.detach(|| catch_unwind(AssertUnwindSafe(work))).map_err(|panic| internal_error(py, &words(panic.as_ref())))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic without words".to_owned())
}
