//! Whom a question is about: a row, a name or a handle of Python.

use kvmfw_core as core;
use kvmfw_core::{Handle, MissingError, Who};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString};

use crate::errors::missing_error;
use crate::values::whole;

macro_rules! handle {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[pyclass(frozen, eq, ord, hash, module = "kvmfw._native")]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name(pub(crate) core::$name);

        #[pymethods]
        impl $name {
            #[new]
            fn new(asked: &Bound<'_, PyAny>) -> PyResult<Self> {
                let side = <core::$name as Handle>::SIDE;
                Ok(Self(core::$name(number(asked, &format!("handle of a {side}"))?)))
            }

            /// Which arrival it is.
            #[getter]
            fn number(&self) -> u64 {
                self.0.0
            }

            fn __repr__(&self) -> String {
                format!(concat!(stringify!($name), "({})"), self.0.0)
            }

            fn __getnewargs__(&self) -> (u64,) {
                (self.0.0,)
            }
        }

        impl Named for core::$name {
            fn of_python(asked: &Bound<'_, PyAny>) -> Option<Self> {
                asked.cast::<$name>().ok().map(|handle| handle.get().0)
            }
        }
    };
}
handle!(VmHandle, "A VM for as long as it is in its fleet; it never means another one.");
handle!(HostHandle, "A host for as long as it is in its fleet; it never means another one.");

/// A number from outside of something that there is not, where it is no whole number.
pub(crate) fn number(asked: &Bound<'_, PyAny>, what: &str) -> PyResult<u64> {
    whole(asked, what)?.map_err(|problem| missing_error(asked.py(), &MissingError { problem, row: None }))
}

/// Whether somebody is asked for by name, so that names have to be looked at.
pub(crate) fn is_named<H>(asked: &Who<'_, H>) -> bool {
    matches!(asked, Who::Name(_))
}

/// A side of a fleet.
pub(crate) trait Named: Handle {
    fn of_python(asked: &Bound<'_, PyAny>) -> Option<Self>;
}

/// Whom Python asks for.
pub(crate) fn who<'a, H: Named>(asked: &'a Bound<'_, PyAny>) -> PyResult<Who<'a, H>> {
    if let Some(handle) = H::of_python(asked) {
        return Ok(Who::Handle(handle));
    }
    if let Ok(name) = asked.cast::<PyString>() {
        // Half of a surrogate pair is no text, so nobody has that name.
        return name.to_str().map(Who::Name).or_else(|_| nobody(asked));
    }
    let is_number = !asked.is_instance_of::<PyBool>();
    match asked.extract::<i64>() {
        // Where a row is negative, no fleet has it.
        Ok(row) if is_number && row >= 0 => Ok(Who::Row(usize::try_from(row).unwrap_or(usize::MAX))),
        Ok(row) if is_number => {
            let problem = format!("{} row {row} is out of range", H::SIDE);
            Err(missing_error(asked.py(), &MissingError { problem, row: None }))
        }
        _ => nobody(asked),
    }
}

fn nobody<'a, H: Named>(asked: &Bound<'_, PyAny>) -> PyResult<Who<'a, H>> {
    let problem = format!("{} is no {}; expected a row (a whole number), a name or a handle", asked.repr()?, H::SIDE);
    Err(missing_error(asked.py(), &MissingError { problem, row: None }))
}
