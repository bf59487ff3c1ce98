//! How questions are asked: with the GIL, without, or on a thread that an interrupt can leave: by how long they may take.

use kvmfw_core as core;
use kvmfw_core::Who;
use pyo3::prelude::*;

use crate::door::{attend, attend_if, step};
use crate::snapshot::Snapshot;
use crate::who::is_named;

/// Fewer answers about one VM and one host each take less time than an interrupt may wait.
const MANY_ANSWERS: usize = 1 << 20;
/// Hosts up to which the hosts of one VM are told faster than the GIL is let go and taken back.
const FEW_HOSTS: usize = 1 << 15;

impl Snapshot {
    /// Runs a long question.
    pub(crate) fn long<T: Send>(&self, py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
        attend(py, self.1, &self.0.threads(), work)
    }

    /// Whether a VM is found at once: names that nobody asked for before are gathered first.
    pub(crate) fn finds(&self, vm: &Who<'_, core::VmHandle>) -> bool {
        !is_named(vm) || self.0.knows_vm_names()
    }

    /// Runs a short question with the GIL; where the VM is not found at once, without.
    pub(crate) fn short<T: Send>(
        &self,
        py: Python<'_>,
        vm: &Who<'_, core::VmHandle>,
        work: impl FnOnce() -> T + Send,
    ) -> PyResult<T> {
        let is_short = self.0.host_count() <= FEW_HOSTS && self.finds(vm);
        if is_short { step(py, self.1, work) } else { self.long(py, work) }
    }

    /// Runs a question about all classes, that is long where it has many answers or their tables are still to be made.
    pub(crate) fn over_all<T: Send>(
        &self,
        py: Python<'_>,
        answers: usize,
        work: impl FnOnce() -> T + Send,
    ) -> PyResult<T> {
        self.by_size(py, if self.0.has_tables() { answers } else { MANY_ANSWERS }, work)
    }

    /// Runs a question that is long where it has many answers.
    pub(crate) fn by_size<T: Send>(
        &self,
        py: Python<'_>,
        answers: usize,
        work: impl FnOnce() -> T + Send,
    ) -> PyResult<T> {
        attend_if(answers >= MANY_ANSWERS, py, self.1, &self.0.threads(), work)
    }
}
