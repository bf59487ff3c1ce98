//! `Kinds`: who is alike among VMs that nobody keeps.

use std::sync::{Mutex, PoisonError};

use kvmfw_core as core;
use kvmfw_core::{Runs, VcpuConfig};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arrays::slice;
use crate::door::{Born, attend, enter};
use crate::errors::{intake_error, row_error};
use crate::sets::RegisterSet;

/// Kinds of VMs, by numbers.
#[pyclass(frozen, module = "kvmfw._native")]
pub(crate) struct Kinds(Mutex<core::Kinds>, core::Threads, Born);

type Numbers<'py> = Bound<'py, PyArray1<u32>>;
/// Where the registers of each VM start, their ids and values.
type Lists<'py> = (Bound<'py, PyArray1<i32>>, Bound<'py, PyArray1<u64>>, Bound<'py, PyArray1<u64>>);

#[pymethods]
impl Kinds {
    #[new]
    fn new(threads: usize) -> Self {
        let kinds = core::Kinds::new(threads);
        let threads = kinds.threads();
        Self(Mutex::new(kinds), threads, Born::now())
    }

    /// The kind of each VM given as columns, and the rows that cannot be used.
    fn of_runs<'py>(
        &self,
        py: Python<'py>,
        starts: PyReadonlyArray1<'_, i64>,
        register: PyReadonlyArray1<'_, u64>,
        value: PyReadonlyArray1<'_, u64>,
        configs: Vec<(u32, bool, u8)>,
        config_of: PyReadonlyArray1<'_, u32>,
    ) -> PyResult<(Numbers<'py>, Vec<(usize, String)>)> {
        let (starts, register) = (slice(py, &starts, "starts")?, slice(py, &register, "register")?);
        let (value, config_of) = (slice(py, &value, "value")?, slice(py, &config_of, "config_of")?);
        let configs = configs_of(&configs);
        let rows = Runs { starts, register, value, configs: &configs, config_of, vmm_of: &[] };
        let (kinds, errors) = self.long(py, |kinds| kinds.of_runs(rows))?.map_err(|error| intake_error(py, &error))?;
        Ok((kinds.into_pyarray(py), errors.into_iter().map(|error| (error.row, error.problem)).collect()))
    }

    /// The kind of each register set.
    fn of_sets<'py>(&self, py: Python<'py>, sets: Vec<PyRef<'_, RegisterSet>>) -> PyResult<Numbers<'py>> {
        let sets: Vec<&core::RegisterSet> = sets.iter().map(|set| &set.0).collect();
        Ok(self.long(py, |kinds| kinds.of_sets(sets))?.into_pyarray(py))
    }

    /// All that tells a kind from others.
    fn key<'py>(&self, py: Python<'py>, kind: u32) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let key = enter(py, self.2, || self.lock(|kinds| kinds.key(kind)))?;
        Ok(key.map(|key| PyBytes::new(py, &key)))
    }
}

impl Kinds {
    fn long<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&mut core::Kinds) -> T + Send) -> PyResult<T> {
        let done = attend(py, self.2, &self.1, || self.lock(work));
        if done.is_err() {
            self.lock(core::Kinds::forget);
        }
        done
    }

    fn lock<T>(&self, work: impl FnOnce(&mut core::Kinds) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How vCPUs are made, as Python says it.
pub(crate) fn configs_of(configs: &[(u32, bool, u8)]) -> Vec<VcpuConfig> {
    configs.iter().map(|&(features, vgic, enabled)| VcpuConfig { features, enabled, vgic, vmm: None }).collect()
}

/// What some VMs of columns have instead of those that they are like: where it starts, ids, values.
#[pyfunction]
#[expect(
    clippy::too_many_arguments,
    reason = "three columns of VMs and four of whom they are like, as Python has them"
)]
pub(crate) fn differing<'py>(
    py: Python<'py>,
    starts: PyReadonlyArray1<'_, i64>,
    register: PyReadonlyArray1<'_, u64>,
    value: PyReadonlyArray1<'_, u64>,
    vms: PyReadonlyArray1<'_, i64>,
    base_of: PyReadonlyArray1<'_, i64>,
    base_starts: PyReadonlyArray1<'_, i64>,
    bases: PyReadonlyArray1<'_, u64>,
) -> PyResult<Lists<'py>> {
    let (starts, register) = (slice(py, &starts, "starts")?, slice(py, &register, "register")?);
    let (value, vms) = (slice(py, &value, "value")?, slice(py, &vms, "vms")?);
    let (base_of, base_starts) = (slice(py, &base_of, "base_of")?, slice(py, &base_starts, "base_starts")?);
    let bases = slice(py, &bases, "bases")?;
    let rows = Runs { starts, register, value, configs: &[], config_of: &[], vmm_of: &[] };
    let found = enter(py, Born::now(), || rows.differing(vms, base_of, base_starts, bases))?;
    let found = found.map_err(|error| row_error(py, &error))?;
    Ok((found.starts.into_pyarray(py), found.register.into_pyarray(py), found.value.into_pyarray(py)))
}
