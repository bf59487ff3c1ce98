//! NumPy arrays in and out.

use kvmfw_core::Texts;
use numpy::{Element, IntoPyArray, PyArray1, PyReadonlyArray1, PyReadwriteArray1};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::errors::argument_error;

/// The elements of a one-dimensional array that lie together in memory.
pub(crate) fn slice<'a, T: Element>(
    py: Python<'_>,
    array: &'a PyReadonlyArray1<'_, T>,
    name: &str,
) -> PyResult<&'a [T]> {
    array.as_slice().map_err(|_| argument_error(py, &format!("`{name}` is not contiguous; pass a contiguous array")))
}

/// The same of an array to write to.
pub(crate) fn slice_mut<'a, T: Element>(
    py: Python<'_>,
    array: &'a mut PyReadwriteArray1<'_, T>,
    name: &str,
) -> PyResult<&'a mut [T]> {
    array.as_slice_mut().map_err(|_| argument_error(py, &format!("`{name}` is not contiguous")))
}

/// Texts as Arrow has them: where each starts, with the end of the last one, and their bytes.
pub(crate) type Columns<'py> = (PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, u8>);

/// Texts of Python.
pub(crate) fn texts<'a>(py: Python<'_>, (starts, bytes): &'a Columns<'_>, name: &str) -> PyResult<Texts<'a>> {
    let text = std::str::from_utf8(slice(py, bytes, name)?);
    let text = text.map_err(|error| argument_error(py, &format!("`{name}` is not UTF-8: {error}")))?;
    Ok(Texts { starts: slice(py, starts, name)?, text })
}

/// Where each name starts, with the end of the last one, and their bytes.
pub(crate) type Names<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<u8>>);

/// Names for Python.
pub(crate) fn names_of(py: Python<'_>, (starts, text): (Vec<i64>, String)) -> Names<'_> {
    (starts.into_pyarray(py), text.into_bytes().into_pyarray(py))
}

/// After so many objects of Python, signals are seen and other threads have a turn.
const AT_ONCE: usize = 1 << 14;

/// A list of Python. Making millions of objects takes seconds, in which nobody else can do anything.
pub(crate) fn list<'py>(
    py: Python<'py>,
    items: impl Iterator<Item = impl IntoPyObject<'py>>,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for (at, item) in items.enumerate() {
        if at % AT_ONCE == AT_ONCE - 1 {
            py.check_signals()?;
            py.detach(|| ());
        }
        list.append(item)?;
    }
    Ok(list)
}
