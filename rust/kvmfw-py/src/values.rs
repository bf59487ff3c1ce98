//! Register values cross the boundary as Python integers.

use kvmfw_core::{RegisterId, Value};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt};

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
    if let Ok(word) = value.extract::<u64>() {
        return Value::from_word(word, register);
    }
    let text = value.call_method1("__format__", ("#x",)).and_then(|text| text.extract::<String>());
    let text = text.map_err(|_| format!("the value of register {register} is not an integer"))?;
    if text.starts_with('-') {
        return Err(format!("the value of register {register} is negative ({text})"));
    }
    Value::parse(&text, register)
}
