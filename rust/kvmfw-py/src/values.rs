//! Register values cross the boundary as Python integers.

use kvmfw_core::{RegisterId, Value};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyInt};

use crate::errors::argument_error;

/// A whole number from outside, as far as 64 bits go; else a sentence. Python takes `True` for 1.
pub(crate) fn whole(number: &Bound<'_, PyAny>, what: &str) -> PyResult<Result<u64, String>> {
    let found = if number.is_instance_of::<PyBool>() { None } else { number.extract().ok() };
    Ok(match found {
        Some(number) => Ok(number),
        None => Err(format!("{} is no {what}; expected a whole number from 0 to 2^64 - 1", number.repr()?)),
    })
}

/// The id of a register, from outside.
pub(crate) struct Id(pub(crate) RegisterId);

impl<'py> FromPyObject<'_, 'py> for Id {
    type Error = PyErr;

    fn extract(number: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let found = whole(&number, "register id")?.map_err(|problem| argument_error(number.py(), &problem));
        found.map(|id| Self(RegisterId::new(id)))
    }
}

/// The value as a Python integer.
pub(crate) fn to_python(py: Python<'_>, value: &Value) -> PyResult<Py<PyAny>> {
    match value {
        Value::Word(word) => Ok(word.into_pyobject(py)?.into_any().unbind()),
        Value::Wide(bytes) => {
            let bytes = PyBytes::new(py, bytes);
            Ok(py.get_type::<PyInt>().call_method1("from_bytes", (bytes, "little"))?.unbind())
        }
    }
}

/// A value of `register` from a Python integer; an error is a sentence.
pub(crate) fn from_python(value: &Bound<'_, PyAny>, register: RegisterId) -> Result<Value, String> {
    if value.is_instance_of::<PyBool>() {
        return Err(format!("the value of register {register} is not an integer"));
    }
    if let Ok(word) = value.extract::<u64>() {
        return Value::from_word(word, register);
    }
    let number = value.call_method0("__index__");
    let text = number.and_then(|number| number.call_method1("__format__", ("#x",))?.extract::<String>());
    let text = text.map_err(|_| format!("the value of register {register} is not an integer"))?;
    if text.starts_with('-') {
        return Err(format!("the value of register {register} is negative ({text})"));
    }
    Value::parse(&text, register)
}
