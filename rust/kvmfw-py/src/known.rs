//! What the rules know of the ID registers of each kernel.

use kvmfw_core::rules;
use pyo3::prelude::*;

/// The releases that were read or run: first, second and third number, ascending.
#[pyfunction]
pub(crate) fn known_releases() -> Vec<(u32, u32, u32)> {
    rules::known_releases().into_iter().map(|one| (one.major, one.minor, one.patch)).collect()
}

type Field = (&'static str, u8, u8, bool, &'static str, Option<u8>);

/// The ID registers of one of them: register, writable mask, and fields: name, lowest bit, width, signed, what is safe, the
/// one number that is.
#[pyfunction]
pub(crate) fn known_registers(major: u32, minor: u32, patch: u32) -> Vec<(u64, u64, Vec<Field>)> {
    let found = rules::known_registers(rules::Release::new(major, minor, patch));
    let row = |one: rules::KnownRegister| {
        let field =
            |field: rules::KnownField| (field.name, field.shift, field.width, field.signed, field.safe, field.value);
        (one.register.raw(), one.mask, one.fields.into_iter().map(field).collect())
    };
    found.into_iter().map(row).collect()
}
