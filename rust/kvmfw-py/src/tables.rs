//! What the core knows in tables, for the rooms of Python that would know it twice.

use kvmfw_core as core;
use pyo3::prelude::*;

use crate::errors::argument_error;

/// The capability that each vCPU feature and each capability of a VM needs, by its word.
#[pyfunction]
pub(crate) fn capabilities() -> Vec<(&'static str, u32)> {
    core::CAPABILITIES.to_vec()
}

/// The errors that a KVM can give, with their numbers on Linux.
#[pyfunction]
pub(crate) fn errnos() -> Vec<(&'static str, i32)> {
    let named = core::Errno::ALL.iter().filter(|errno| **errno != core::Errno::EOTHER);
    named.map(|errno| (errno.name(), errno.number())).collect()
}

/// Whether the upper half of an id is one that KVM on arm64 looks at.
#[pyfunction]
pub(crate) fn is_arm64(register: u64) -> bool {
    core::RegisterId::new(register).is_arm64()
}

/// Whether this id stands for something beside the registers of a vCPU.
#[pyfunction]
pub(crate) fn is_surrounding(register: u64) -> bool {
    core::RegisterId::new(register).is_surrounding()
}

/// A number of a field, as people write it.
#[pyfunction]
pub(crate) fn field_number(number: u64) -> String {
    core::field_number(number)
}

/// The numbers of a kernel release, which order it among others; `None` where its text tells none.
#[pyfunction]
pub(crate) fn release(kernel: &str) -> Option<(u32, u32, u32)> {
    core::rules::Release::parse(kernel).map(|release| (release.major, release.minor, release.patch))
}

/// The versions of PSCI of vCPUs with `psci_0_2`, with their values in the firmware register.
#[pyfunction]
pub(crate) fn psci_versions() -> Vec<(&'static str, u64)> {
    core::rules::PSCI_VERSIONS.to_vec()
}

/// The bits of a register that a VMM can be told for VMs to come.
#[pyfunction]
pub(crate) fn settable(py: Python<'_>, vmm: &str, register: u64) -> PyResult<u128> {
    let policy = core::Policy::asked(vmm).map_err(|problem| argument_error(py, &problem))?;
    Ok(policy.row().settable(core::RegisterId::new(register)))
}

/// Whether KVM looks at a register and the guest writes it.
#[pyfunction]
pub(crate) fn is_guests(register: u64) -> bool {
    core::rules::is_guests(core::RegisterId::new(register))
}

/// The registers that kernels up to 6.14 list before all other system registers, in their order.
#[pyfunction]
pub(crate) fn listed_first() -> Vec<u64> {
    core::LISTED_FIRST.map(core::RegisterId::raw).to_vec()
}
