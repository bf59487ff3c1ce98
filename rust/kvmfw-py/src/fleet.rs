//! `Fleet`: bulk questions, fixed-width buffers in and out.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use kvmfw_core as core;
use kvmfw_core::{Limits, NO_UNIT, RowIndex, Runs, Taken, VcpuConfig};
use numpy::{Element, IntoPyArray, PyArray1, PyReadonlyArray1, PyReadwriteArray1};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::door::enter;
use crate::errors::{argument_error, row_error};
use crate::judge::{question, rows, unit_name};
use crate::sets::{Host, RegisterSet};

/// VMs and hosts, interned. Readers never see half a change: writers hold the lock for the whole of it.
#[pyclass(frozen, module = "kvmfw._native")]
pub(crate) struct Fleet(RwLock<core::Fleet>);

type Verdict<'py> = Bound<'py, PyAny>;
type Heads<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyAny>, bool);
type UnitRows = (Py<PyArray1<u32>>, Py<PyArray1<u32>>, Py<PyArray1<u32>>, Py<PyArray1<u8>>);
type AuditRows = ([u64; 4], Py<PyArray1<u64>>, Vec<TrapRow>, Vec<(u64, u64)>);
/// Host classes, hosts, entrants, residents.
pub(crate) type TrapRow = (Vec<u32>, u64, u64, u64);

pub(crate) fn trap_rows(traps: Vec<core::audit::Trap>) -> Vec<TrapRow> {
    traps.into_iter().map(|trap| (trap.host_classes, trap.hosts, trap.entrants, trap.residents)).collect()
}

impl Fleet {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, core::Fleet> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&mut core::Fleet) -> T + Send) -> PyResult<T> {
        enter(py, || work(&mut self.0.write().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The elements of a one-dimensional array that lie together in memory.
pub(crate) fn slice<'a, T: Element>(
    py: Python<'_>,
    array: &'a PyReadonlyArray1<'_, T>,
    name: &str,
) -> PyResult<&'a [T]> {
    array.as_slice().map_err(|_| argument_error(py, &format!("`{name}` is not contiguous; pass a contiguous array")))
}

/// The same of an array to write to.
fn slice_mut<'a, T: Element>(
    py: Python<'_>,
    array: &'a mut PyReadwriteArray1<'_, T>,
    name: &str,
) -> PyResult<&'a mut [T]> {
    array.as_slice_mut().map_err(|_| argument_error(py, &format!("`{name}` is not contiguous")))
}

#[pymethods]
impl Fleet {
    #[new]
    #[pyo3(signature = (vmm, scheme, threads, limits=None))]
    fn new(
        py: Python<'_>,
        vmm: &str,
        scheme: &str,
        threads: usize,
        limits: Option<(usize, usize, usize, usize)>,
    ) -> PyResult<Self> {
        let mut fleet = core::Fleet::new(question(py, vmm, scheme, "fresh", false)?, threads);
        if let Some((unit_cells, group_rows, class_cells, unpacked_cells)) = limits {
            let limits = Limits { unit_cells, group_rows, class_cells, unpacked_cells };
            fleet = fleet.with_limits(limits);
        }
        Ok(Self(RwLock::new(fleet)))
    }

    fn add_sets(&self, py: Python<'_>, sets: Vec<PyRef<'_, RegisterSet>>) -> PyResult<()> {
        let sets: Vec<&core::RegisterSet> = sets.iter().map(|set| &set.0).collect();
        self.change(py, |fleet| fleet.add_sets(sets))
    }

    fn add_runs(
        &self,
        py: Python<'_>,
        starts: PyReadonlyArray1<'_, i64>,
        register: PyReadonlyArray1<'_, u64>,
        value: PyReadonlyArray1<'_, u64>,
        configs: Vec<(u32, bool, u8)>,
        config_of: PyReadonlyArray1<'_, u32>,
    ) -> PyResult<Vec<(usize, String)>> {
        let (starts, register) = (slice(py, &starts, "starts")?, slice(py, &register, "register")?);
        let (value, config_of) = (slice(py, &value, "value")?, slice(py, &config_of, "config_of")?);
        let configs: Vec<VcpuConfig> =
            configs.iter().map(|&(features, vgic, enabled)| VcpuConfig { features, enabled, vgic }).collect();
        let rows = Runs { starts, register, value, configs: &configs, config_of };
        let errors = self.change(py, |fleet| fleet.add_runs(rows))?.map_err(|error| row_error(py, &error))?;
        Ok(errors.into_iter().map(|error| (error.row, error.problem)).collect())
    }

    fn remove_vms(&self, py: Python<'_>, rows: Vec<usize>) -> PyResult<()> {
        self.change(py, |fleet| fleet.remove_vms(&rows))?.map_err(|error| row_error(py, &error))
    }

    fn add_hosts(
        &self,
        py: Python<'_>,
        kinds: Vec<PyRef<'_, Host>>,
        kind_of: PyReadonlyArray1<'_, u32>,
    ) -> PyResult<()> {
        let kinds: Vec<core::Host> = kinds.iter().map(|host| host.0.clone()).collect();
        let kind_of = slice(py, &kind_of, "kind_of")?;
        self.change(py, |fleet| fleet.add_hosts(&kinds, kind_of))?.map_err(|error| row_error(py, &error))
    }

    fn update_hosts(&self, py: Python<'_>, rows: Vec<usize>, hosts: Vec<PyRef<'_, Host>>) -> PyResult<()> {
        let hosts: Vec<core::Host> = hosts.iter().map(|host| host.0.clone()).collect();
        let kind_of: Vec<u32> = (0..).take(hosts.len()).collect();
        self.change(py, |fleet| fleet.update_hosts(&rows, &hosts, &kind_of))?.map_err(|error| row_error(py, &error))
    }

    fn generation(&self) -> u64 {
        self.read().generation()
    }

    fn sizes(&self) -> (usize, usize, usize, usize) {
        let fleet = self.read();
        let (vm_classes, host_classes) = fleet.class_counts();
        (fleet.vm_count(), fleet.host_count(), vm_classes, host_classes)
    }

    /// The kind, register and name of each unit, by number.
    fn units(&self) -> Vec<(&'static str, Option<u64>, String)> {
        let words =
            |unit: &core::Unit| (unit.kind().name(), unit.register().map(core::RegisterId::raw), unit_name(*unit));
        self.read().units().iter().map(words).collect()
    }

    fn vm_classes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<u32>>> {
        Ok(enter(py, || self.read().vm_classes())?.into_pyarray(py))
    }

    /// All that tells a VM class from others, as bytes that are the same in every fleet.
    fn class_key<'py>(&self, py: Python<'py>, vm_class: u32) -> Option<Bound<'py, PyBytes>> {
        Some(PyBytes::new(py, &self.read().class_key(vm_class)?))
    }

    fn host_classes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<u32>>> {
        Ok(enter(py, || self.read().host_classes())?.into_pyarray(py))
    }

    /// The outcomes of the VM classes from `start` on, class by class, as many as `out` has room for.
    fn class_rows(&self, py: Python<'_>, start: u32, mut out: PyReadwriteArray1<'_, u8>) -> PyResult<()> {
        let out = slice_mut(py, &mut out, "out")?;
        enter(py, || {
            let fleet = self.read();
            let width = fleet.class_counts().1.max(1);
            for (class, row) in (start..).zip(out.chunks_mut(width)) {
                fleet.class_row_into(class, row);
            }
        })
    }

    /// The outcomes of the VM in row `vm` on all host classes.
    fn class_row<'py>(&self, py: Python<'py>, vm: usize) -> Option<Bound<'py, PyArray1<u8>>> {
        // A row is copied faster than the GIL is let go and taken back.
        let fleet = self.read();
        Some(fleet.class_row(fleet.vm_class(vm)?).into_pyarray(py))
    }

    /// Where the VMs of a long table start, with its length, their numbers, and whether those ascend.
    fn heads<'py>(&self, py: Python<'py>, column: &Bound<'py, PyAny>) -> PyResult<Heads<'py>> {
        if let Ok(column) = column.extract() {
            return self.heads_of::<u32>(py, &column);
        }
        if let Ok(column) = column.extract() {
            return self.heads_of::<i32>(py, &column);
        }
        if let Ok(column) = column.extract() {
            return self.heads_of::<i64>(py, &column);
        }
        if let Ok(column) = column.extract() {
            return self.heads_of::<u64>(py, &column);
        }
        Err(argument_error(py, "`vm` must be int64, uint32, int32 or uint64"))
    }

    fn pairs(
        &self,
        py: Python<'_>,
        vm: &Bound<'_, PyAny>,
        host: &Bound<'_, PyAny>,
        mut out: PyReadwriteArray1<'_, u8>,
        mut units: Option<PyReadwriteArray1<'_, u16>>,
    ) -> PyResult<()> {
        let out = slice_mut(py, &mut out, "out")?;
        let units = units.as_mut().map(|units| slice_mut(py, units, "units")).transpose()?;
        if let (Ok(vm), Ok(host)) = (vm.extract(), host.extract()) {
            return self.pairs_of::<i64>(py, &vm, &host, out, units);
        }
        if let (Ok(vm), Ok(host)) = (vm.extract(), host.extract()) {
            return self.pairs_of::<u32>(py, &vm, &host, out, units);
        }
        if let (Ok(vm), Ok(host)) = (vm.extract(), host.extract()) {
            return self.pairs_of::<i32>(py, &vm, &host, out, units);
        }
        if let (Ok(vm), Ok(host)) = (vm.extract(), host.extract()) {
            return self.pairs_of::<u64>(py, &vm, &host, out, units);
        }
        Err(argument_error(
            py,
            "VM and host rows must be one-dimensional arrays of one dtype: int64, uint32, int32 or uint64",
        ))
    }

    fn matrix(
        &self,
        py: Python<'_>,
        start: usize,
        stop: usize,
        change: bool,
        unknown: bool,
        mut out: PyReadwriteArray1<'_, u8>,
    ) -> PyResult<()> {
        let out = slice_mut(py, &mut out, "out")?;
        let taken = Taken { change, unknown };
        enter(py, || self.read().matrix(start..stop, taken, out))?.map_err(|error| row_error(py, &error))
    }

    fn takers<'py>(
        &self,
        py: Python<'py>,
        vm_class: u32,
        change: bool,
        unknown: bool,
    ) -> PyResult<Bound<'py, PyArray1<u8>>> {
        let takers = enter(py, || self.read().takers(vm_class, Taken { change, unknown }))?;
        Ok(takers.map_err(|error| argument_error(py, &error.problem))?.into_pyarray(py))
    }

    fn candidates<'py>(
        &self,
        py: Python<'py>,
        vm: usize,
        change: bool,
        unknown: bool,
    ) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let rows = enter(py, || self.read().candidates(vm, Taken { change, unknown }))?;
        Ok(rows.map_err(|error| row_error(py, &error))?.into_pyarray(py))
    }

    fn counts(&self, py: Python<'_>, by_host: bool, mut out: PyReadwriteArray1<'_, u64>) -> PyResult<()> {
        let out = slice_mut(py, &mut out, "out")?;
        enter(py, || {
            let fleet = self.read();
            let rows = if by_host { fleet.host_count() } else { fleet.vm_count() };
            if out.len() != 4 * rows {
                return Err(format!("`out` has {} numbers, expected 4 for each of {rows} rows", out.len()));
            }
            if by_host {
                fleet.counts_by_host(out);
            } else {
                fleet.counts_by_vm(out);
            }
            Ok(())
        })?
        .map_err(|problem| argument_error(py, &problem))
    }

    /// Outcomes of all pairs, targets per VM, traps, and (pairs, sole) per unit.
    fn audit(
        &self,
        py: Python<'_>,
        home: PyReadonlyArray1<'_, i64>,
        change: bool,
        unknown: bool,
    ) -> PyResult<AuditRows> {
        let home = slice(py, &home, "home")?;
        let counts = enter(py, || self.read().audit(home, Taken { change, unknown }))?;
        let counts = counts.map_err(|error| row_error(py, &error))?;
        let blocked = counts.blocked.iter().map(|blocked| (blocked.pairs, blocked.sole)).collect();
        Ok((counts.outcomes, counts.targets.into_pyarray(py).unbind(), trap_rows(counts.traps), blocked))
    }

    /// Units in the way of these VM classes: VM class, host class, unit, outcome.
    fn unit_outcomes(
        &self,
        py: Python<'_>,
        vm_classes: PyReadonlyArray1<'_, u32>,
        change: bool,
        unknown: bool,
    ) -> PyResult<UnitRows> {
        let classes = slice(py, &vm_classes, "vm_classes")?;
        let found = enter(py, || self.read().unit_outcomes(classes, Taken { change, unknown }))?;
        let (vm_class, host_class) = (found.vm_class.into_pyarray(py), found.host_class.into_pyarray(py));
        let (unit, outcome) = (found.unit.into_pyarray(py), found.outcome.into_pyarray(py));
        Ok((vm_class.unbind(), host_class.unbind(), unit.unbind(), outcome.unbind()))
    }

    fn explain<'py>(&self, py: Python<'py>, vm: usize, host: usize) -> PyResult<Verdict<'py>> {
        let verdict = enter(py, || self.read().explain(vm, host))?.map_err(|error| row_error(py, &error))?;
        Ok(rows(py, &verdict)?.into_pyobject(py)?.into_any())
    }

    fn explain_units<'py>(&self, py: Python<'py>, vm: usize, host: usize) -> PyResult<Verdict<'py>> {
        let verdict = enter(py, || self.read().explain_units(vm, host))?.map_err(|error| row_error(py, &error))?;
        Ok(rows(py, &verdict)?.into_pyobject(py)?.into_any())
    }

    #[classattr]
    const NO_UNIT: u16 = NO_UNIT;
    #[classattr]
    const INFERRED: u32 = Runs::INFERRED;
    #[classattr]
    const UNUSABLE: u32 = Runs::UNUSABLE;
}

impl Fleet {
    fn heads_of<'py, T: Element + core::Number>(
        &self,
        py: Python<'py>,
        column: &PyReadonlyArray1<'py, T>,
    ) -> PyResult<Heads<'py>> {
        let column = slice(py, column, "vm")?;
        let found = enter(py, || self.read().heads(column))?;
        Ok((found.starts.into_pyarray(py), found.numbers.into_pyarray(py).into_any(), found.ascending))
    }

    fn pairs_of<I: RowIndex + Element>(
        &self,
        py: Python<'_>,
        vm: &PyReadonlyArray1<'_, I>,
        host: &PyReadonlyArray1<'_, I>,
        out: &mut [u8],
        units: Option<&mut [u16]>,
    ) -> PyResult<()> {
        let (vm, host) = (slice(py, vm, "vm_rows")?, slice(py, host, "host_rows")?);
        let lengths = [vm.len(), host.len(), out.len(), units.as_ref().map_or(vm.len(), |units| units.len())];
        if lengths.iter().any(|length| *length != vm.len()) {
            let problem =
                format!("lengths differ: VM rows {}, host rows {}, output {}", vm.len(), host.len(), out.len());
            return Err(argument_error(py, &problem));
        }
        enter(py, || self.read().pairs(vm, host, out, units))?.map_err(|error| row_error(py, &error))
    }
}
