//! What less than a capture tells of a host.

use kvmfw_core as core;
use pyo3::prelude::*;

use crate::sets::RegisterSet;

/// The error with which a host that lists these registers on one of its vCPUs refuses each; `None` where it may take it.
#[pyfunction]
pub(crate) fn list_refuses(listed: Vec<u64>, registers: Vec<u64>) -> Vec<Option<&'static str>> {
    let told = core::ToldList::new(listed.into_iter().map(core::RegisterId::new).collect());
    let refused = registers.into_iter().map(|register| told.refuses(core::RegisterId::new(register)));
    refused.map(|errno| errno.map(core::Errno::name)).collect()
}

/// Whether a host that offers this range of a field (lowest bit, width, least and greatest number) refuses the VM's register.
#[pyfunction]
pub(crate) fn range_refuses(vm: &RegisterSet, register: u64, field: (u32, u32), offers: (u64, u64)) -> bool {
    let register = core::RegisterId::new(register);
    let (shift, width, lowest, highest) = (field.0, field.1, offers.0, offers.1);
    let told = core::ToldRange { register, shift, width, lowest, highest };
    vm.0.get(register).and_then(core::Value::word).is_some_and(|saved| told.refuses(saved, vm.0.vcpu))
}
