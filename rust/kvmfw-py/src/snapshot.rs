//! `Snapshot`: bulk questions about one version, fixed-width buffers in and out.

use kvmfw_core as core;
use kvmfw_core::{MissingError, RowError, RowIndex, Taken};
use numpy::{Element, IntoPyArray, PyArray1, PyReadonlyArray1, PyReadwriteArray1};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::arrays::{Names, list, names_of, slice, slice_mut};
use crate::door::{Born, enter};
use crate::errors::{argument_error, missing_error, row_error};
use crate::judge::{rows, unit_name};
use crate::traps::{TrapRow, trap_rows};
use crate::who::{HostHandle, VmHandle, number, who};
use crate::words::{taken, with_home};

/// A fleet as it was at one moment.
#[pyclass(frozen, module = "kvmfw._native")]
pub(crate) struct Snapshot(pub(crate) core::Snapshot, pub(crate) Born);

type UnitRows = (Py<PyArray1<u32>>, Py<PyArray1<u32>>, Py<PyArray1<u32>>, Py<PyArray1<u8>>);
type AuditRows = ([u64; 4], Py<PyArray1<u64>>, Vec<TrapRow>, Vec<(u64, u64)>);
/// Where the entries of each row start, with the end of the last one, and all of them.
type Sparse<'py> = (Bound<'py, PyArray1<u64>>, Bound<'py, PyArray1<u32>>);
/// Numbers of classes, and how many members each has.
type Members<'py> = (Bound<'py, PyArray1<u32>>, Bound<'py, PyArray1<u64>>);
/// Members of VM classes and of host classes; where the targets of each VM class start, all targets, their outcomes.
type Arcs<'py> =
    ((Members<'py>, Members<'py>), (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<u32>>, Bound<'py, PyArray1<u8>>));

impl Snapshot {
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
        let is_each = self.0.looks_up_each(vm.len(), units.is_some());
        let ask = || self.0.pairs(vm, host, out, units);
        let done = if is_each { self.by_size(py, vm.len(), ask) } else { self.over_all(py, vm.len(), ask) };
        done?.map_err(|RowError { row, problem }| missing_error(py, &MissingError { problem, row: Some(row) }))
    }
}

#[pymethods]
impl Snapshot {
    fn generation(&self) -> u64 {
        self.0.generation()
    }

    fn sizes(&self) -> (usize, usize, usize, usize) {
        let (vm_classes, host_classes) = self.0.class_counts();
        (self.0.vm_count(), self.0.host_count(), vm_classes, host_classes)
    }

    /// How many VM classes and host classes have members.
    fn used_classes(&self) -> (usize, usize) {
        self.0.used_classes()
    }

    /// The VM classes, or host classes, that have members, and how many.
    fn members<'py>(&self, py: Python<'py>, of_hosts: bool) -> PyResult<Members<'py>> {
        let (classes, members) = enter(py, self.1, || {
            if of_hosts { self.0.host_class_members() } else { self.0.vm_class_members() }.into_iter().unzip()
        })?;
        let (classes, members): (Vec<u32>, Vec<u64>) = (classes, members);
        Ok((classes.into_pyarray(py), members.into_pyarray(py)))
    }

    /// The kind, register and name of each unit, by number.
    fn units(&self) -> Vec<(&'static str, Option<u64>, String)> {
        let words =
            |unit: &core::Unit| (unit.kind().name(), unit.register().map(core::RegisterId::raw), unit_name(*unit));
        self.0.units().iter().map(words).collect()
    }

    /// The names of what stands beside registers and is told by a VM and by a host.
    fn told_beside(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let told = self.over_all(py, 0, || self.0.told_beside())?;
        Ok(told.into_iter().map(|id| unit_name(core::Unit::Register(id))).collect())
    }

    fn vm_classes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<u32>>> {
        Ok(enter(py, self.1, || self.0.vm_classes())?.into_pyarray(py))
    }

    /// All that tells a VM class from others, as bytes that are the same in every fleet.
    fn class_key<'py>(&self, py: Python<'py>, vm_class: u32) -> Option<Bound<'py, PyBytes>> {
        Some(PyBytes::new(py, &self.0.class_key(vm_class)?))
    }

    fn host_classes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<u32>>> {
        Ok(enter(py, self.1, || self.0.host_classes())?.into_pyarray(py))
    }

    /// The outcomes of the VM classes from `start` on, class by class, as many as `out` has room for.
    fn class_rows(&self, py: Python<'_>, start: u32, mut out: PyReadwriteArray1<'_, u8>) -> PyResult<()> {
        let out = slice_mut(py, &mut out, "out")?;
        self.long(py, || self.0.class_rows(start, out))
    }

    /// The outcomes of a VM on all host classes.
    pub(crate) fn class_row<'py>(&self, py: Python<'py>, vm: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<u8>>> {
        let vm = who(vm)?;
        let row = self.short(py, &vm, || self.0.row_of(vm))?;
        Ok(row.map_err(|error| missing_error(py, &error))?.into_pyarray(py))
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
        self.long(py, || self.0.matrix(start..stop, taken, out))?.map_err(|error| row_error(py, &error))
    }

    fn takers<'py>(
        &self,
        py: Python<'py>,
        vm_class: u32,
        change: bool,
        unknown: bool,
    ) -> PyResult<Bound<'py, PyArray1<u8>>> {
        self.1.check(py)?;
        let takers = self.0.takers(vm_class, Taken { change, unknown });
        Ok(takers.map_err(|error| missing_error(py, &error))?.into_pyarray(py))
    }

    /// The rows of the hosts that take a VM; without `home`, its own is left out.
    fn candidates<'py>(
        &self,
        py: Python<'py>,
        vm: &Bound<'py, PyAny>,
        change: &str,
        unknown: &str,
        home: &str,
    ) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let (vm, taken, home) = (who(vm)?, taken(py, change, unknown)?, with_home(py, home)?);
        let rows = self
            .short(py, &vm, || if home { self.0.candidates(vm, taken) } else { self.0.other_candidates(vm, taken) })?;
        Ok(PyArray1::from_slice(py, &rows.map_err(|error| missing_error(py, &error))?))
    }

    /// The same of the VMs in some rows: where those of each start, with the end of the last one, and all of them.
    fn candidates_of<'py>(
        &self,
        py: Python<'py>,
        vms: PyReadonlyArray1<'py, i64>,
        change: &str,
        unknown: &str,
        home: &str,
    ) -> PyResult<Sparse<'py>> {
        let (taken, home) = (taken(py, change, unknown)?, with_home(py, home)?);
        let rows = slice(py, &vms, "vms")?.iter().map(|row| usize::try_from(*row).unwrap_or(usize::MAX));
        let rows: Vec<usize> = rows.collect();
        let answers = rows.len().saturating_mul(self.0.host_count());
        let found = self.by_size(py, answers, || self.0.candidates_of(rows, taken, home))?;
        let (starts, all) = found.map_err(|error| missing_error(py, &error))?;
        Ok((starts.into_pyarray(py), all.into_pyarray(py)))
    }

    /// Classes with members and how many, of VMs and of hosts; which may go where: starts, targets, outcomes.
    fn arcs<'py>(&self, py: Python<'py>, change: &str, unknown: &str) -> PyResult<Arcs<'py>> {
        let taken = taken(py, change, unknown)?;
        let arcs = self.long(py, || self.0.arcs(taken))?;
        let sides = (arcs.vm_classes.into_pyarray(py), arcs.vms.into_pyarray(py));
        let sides = (sides, (arcs.host_classes.into_pyarray(py), arcs.hosts.into_pyarray(py)));
        let (starts, targets) = (arcs.starts.into_pyarray(py), arcs.targets.into_pyarray(py));
        Ok((sides, (starts, targets, arcs.outcomes.into_pyarray(py))))
    }

    /// How many VMs run on a host, how many of these no other host takes, and how many besides find no room elsewhere.
    fn can_empty(
        &self,
        py: Python<'_>,
        host: &Bound<'_, PyAny>,
        free: Option<PyReadonlyArray1<'_, u64>>,
        change: &str,
        unknown: &str,
    ) -> PyResult<(u64, u64, u64)> {
        let (host, taken) = (who(host)?, taken(py, change, unknown)?);
        let free = free.as_ref().map(|free| slice(py, free, "free")).transpose()?;
        let found =
            self.long(py, || self.0.can_empty(host, free, taken))?.map_err(|error| missing_error(py, &error))?;
        Ok((found.residents, found.stranded, found.unplaced))
    }

    fn counts(&self, py: Python<'_>, by_host: bool, mut out: PyReadwriteArray1<'_, u64>) -> PyResult<()> {
        let out = slice_mut(py, &mut out, "out")?;
        self.long(py, || {
            let rows = if by_host { self.0.host_count() } else { self.0.vm_count() };
            if out.len() != 4 * rows {
                return Err(format!("`out` has {} numbers, expected 4 for each of {rows} rows", out.len()));
            }
            if by_host {
                self.0.counts_by_host(out);
            } else {
                self.0.counts_by_vm(out);
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
        let counts = self.long(py, || self.0.audit(home, Taken { change, unknown }))?;
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
        // Where groups of units are still to be made, that is as much as to answer for all classes.
        let (vms, hosts) = self.0.class_counts();
        let found =
            self.over_all(py, vms.saturating_mul(hosts), || self.0.unit_outcomes(classes, Taken { change, unknown }))?;
        let found = found.map_err(|error| missing_error(py, &error))?;
        let (vm_class, host_class) = (found.vm_class.into_pyarray(py), found.host_class.into_pyarray(py));
        let (unit, outcome) = (found.unit.into_pyarray(py), found.outcome.into_pyarray(py));
        Ok((vm_class.unbind(), host_class.unbind(), unit.unbind(), outcome.unbind()))
    }

    fn explain<'py>(
        &self,
        py: Python<'py>,
        vm: &Bound<'py, PyAny>,
        host: &Bound<'py, PyAny>,
        by_unit: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (vm, host) = (who(vm)?, who(host)?);
        let answers = if self.finds(&vm) { 1 } else { self.0.vm_count() };
        let verdict = self
            .by_size(py, answers, || if by_unit { self.0.explain_units(vm, host) } else { self.0.explain(vm, host) })?;
        let verdict = verdict.map_err(|error| missing_error(py, &error))?;
        Ok(rows(py, &verdict)?.into_pyobject(py)?.into_any())
    }

    /// The handle of a VM.
    fn vm(&self, py: Python<'_>, vm: &Bound<'_, PyAny>) -> PyResult<VmHandle> {
        let vm = who(vm)?;
        self.short(py, &vm, || self.0.vm(vm))?.map(VmHandle).map_err(|error| missing_error(py, &error))
    }

    /// The handle of a host.
    fn host(&self, py: Python<'_>, host: &Bound<'_, PyAny>) -> PyResult<HostHandle> {
        let host = who(host)?;
        let found = enter(py, self.1, || self.0.host(host))?;
        found.map(HostHandle).map_err(|error| missing_error(py, &error))
    }

    /// The row of a VM.
    fn vm_row(&self, py: Python<'_>, vm: &Bound<'_, PyAny>) -> PyResult<usize> {
        Ok(self.0.vm_row(self.vm(py, vm)?.0).unwrap_or_default())
    }

    /// The row of a host.
    fn host_row(&self, py: Python<'_>, host: &Bound<'_, PyAny>) -> PyResult<usize> {
        Ok(self.0.host_row(self.host(py, host)?.0).unwrap_or_default())
    }

    /// The name of a VM or of a host, by row; `None` where there is no such row.
    fn name(&self, of_host: bool, row: usize) -> Option<&str> {
        if of_host { self.0.host_name(self.0.host(row).ok()?) } else { self.0.vm_name(self.0.vm(row).ok()?) }
    }

    /// The names of VMs or hosts in some rows: where each starts, with the end of the last one, and their bytes.
    fn names<'py>(&self, py: Python<'py>, of_hosts: bool, start: usize, stop: usize) -> PyResult<Names<'py>> {
        let names = || if of_hosts { self.0.host_names(start..stop) } else { self.0.vm_names(start..stop) };
        Ok(names_of(py, enter(py, self.1, names)?))
    }

    /// The same in rows that need not follow each other. Rows that there are not are left out.
    fn names_at<'py>(&self, py: Python<'py>, of_hosts: bool, rows: PyReadonlyArray1<'py, u64>) -> PyResult<Names<'py>> {
        let rows = slice(py, &rows, "rows")?.iter().map(|row| usize::try_from(*row).unwrap_or(usize::MAX));
        let names = || if of_hosts { self.0.host_names(rows) } else { self.0.vm_names(rows) };
        Ok(names_of(py, enter(py, self.1, names)?))
    }

    /// The numbers of the handles of all VMs, or of all hosts.
    fn handles<'py>(&self, py: Python<'py>, of_hosts: bool) -> PyResult<Bound<'py, PyArray1<u64>>> {
        let handles: Vec<u64> = enter(py, self.1, || {
            if of_hosts {
                self.0.host_handles().into_iter().map(|host| host.0).collect()
            } else {
                self.0.vm_handles().into_iter().map(|vm| vm.0).collect()
            }
        })?;
        Ok(handles.into_pyarray(py))
    }

    /// For each VM the row of its host; -1 where that is not known.
    fn homes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let row = |home: Option<usize>| home.and_then(|row| i64::try_from(row).ok()).unwrap_or(-1);
        let homes: Vec<i64> = enter(py, self.1, || self.0.homes().into_iter().map(row).collect())?;
        Ok(homes.into_pyarray(py))
    }

    /// Where VMs are said to run and no host has the name, and how many.
    fn unmatched_homes(&self, py: Python<'_>) -> PyResult<Vec<(String, u64)>> {
        enter(py, self.1, || self.0.unmatched_homes())
    }

    /// Where a VM is said to run.
    fn home_name(&self, py: Python<'_>, vm: &Bound<'_, PyAny>) -> PyResult<Option<&str>> {
        Ok(self.0.home_name(self.vm(py, vm)?.0))
    }

    /// VM classes and host classes that mean something else than in a generation: number, and whether they have members.
    fn changes_since<'py>(
        &self,
        py: Python<'py>,
        generation: &Bound<'_, PyAny>,
    ) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>)> {
        let generation = number(generation, "generation")?;
        let changes = enter(py, self.1, || self.0.changes_since(generation))?;
        let changes = changes.map_err(|error| missing_error(py, &error))?;
        let rows = |classes: &[core::ChangedClass]| list(py, classes.iter().map(|one| (one.class, one.is_used)));
        Ok((rows(&changes.vm_classes)?, rows(&changes.host_classes)?))
    }
}
