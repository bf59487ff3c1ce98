//! Audits: groups of VMs in, tables of numbers out.

use std::sync::{Arc, Mutex, PoisonError};

use kvmfw_core::Taken;
use kvmfw_core::audit as core;
use kvmfw_core::audit::Residents;
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::arrays::slice;
use crate::door::{Born, attend_watched, enter};
use crate::errors::{argument_error, audit_error};
use crate::snapshot::Snapshot;
use crate::traps::{TrapRow, trap_rows};

type Tell<'a, 'py> = Option<&'a Bound<'py, PyAny>>;
type Array<T> = Py<PyArray1<T>>;
/// VM class, class of the home, VMs: one column each.
type Groups<'py> = (PyReadonlyArray1<'py, u32>, PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, u64>);
/// Source, target, VMs, residents.
type PassageRow = (u32, u32, u64, u64);
/// Stranded after it, newly stranded, old, new.
type UpgradeRow = (u64, u64, u32, u32);
/// Units, VMs that are free.
type CureRow = (Vec<usize>, u64);
/// Unit, host class, outcome, first VM class, VMs, pairs, decisive pairs: one column each; pairs and sole pairs by unit.
type CensusRows =
    ((Array<u32>, Array<u32>, Array<u8>, Array<u32>, Array<u64>, Array<u64>, Array<u64>), (Array<u64>, Array<u64>));
/// Freed and shared VMs by unit; cures; plan; sets left out; VMs with more ways than were looked at.
type CureRows = (Vec<u64>, Vec<u64>, Vec<CureRow>, Vec<CureRow>, u64, u64);

fn residents<'a>(py: Python<'_>, groups: &'a Groups<'_>) -> PyResult<Residents<'a>> {
    Ok(Residents {
        vm_class: slice(py, &groups.0, "vm_class")?,
        home_class: slice(py, &groups.1, "home_class")?,
        vms: slice(py, &groups.2, "vms")?,
    })
}

/// Which host classes take each VM class: a copy that later changes of the fleet do not reach.
#[pyclass(frozen, module = "kvmfw._native")]
pub(crate) struct Takers(Arc<core::Takers>, Born);

/// The takers of a fleet whose host classes have this many hosts; and by VM class how many hosts have which outcome.
#[pyfunction]
#[pyo3(signature = (fleet, hosts, change, unknown, tell=None))]
pub(crate) fn takers<'py>(
    py: Python<'py>,
    fleet: &Bound<'py, Snapshot>,
    hosts: PyReadonlyArray1<'py, u64>,
    change: bool,
    unknown: bool,
    tell: Tell<'_, 'py>,
) -> PyResult<(Takers, Bound<'py, PyArray1<u64>>)> {
    let (fleet, hosts) = (fleet.get(), slice(py, &hosts, "hosts")?);
    let taken = Taken { change, unknown };
    let (takers, counts) =
        attend_watched(py, fleet.1, &fleet.0.threads(), tell, |watch| fleet.0.all_takers(hosts, taken, watch))?;
    Ok((Takers(Arc::new(takers), fleet.1), counts.into_flattened().into_pyarray(py)))
}

#[pymethods]
impl Takers {
    /// Whether the host class of each pair takes the VM class.
    fn has<'py>(
        &self,
        py: Python<'py>,
        vm_class: PyReadonlyArray1<'py, u32>,
        host_class: PyReadonlyArray1<'py, i64>,
    ) -> PyResult<Bound<'py, PyArray1<bool>>> {
        let (vm_class, host_class) = (slice(py, &vm_class, "vm_class")?, slice(py, &host_class, "host_class")?);
        Ok(enter(py, self.1, || self.0.has(vm_class, host_class))?.into_pyarray(py))
    }

    /// For each VM class the sum of the numbers of the host classes that take it.
    fn sums<'py>(&self, py: Python<'py>, numbers: PyReadonlyArray1<'py, u64>) -> PyResult<Bound<'py, PyArray1<u64>>> {
        let numbers = slice(py, &numbers, "numbers")?;
        let sums = enter(py, self.1, || self.0.sums(numbers))?.map_err(|error| audit_error(py, &error))?;
        Ok(sums.into_pyarray(py))
    }

    /// The same for rows of a VM class and a list of numbers.
    fn sums_of<'py>(
        &self,
        py: Python<'py>,
        vm_class: PyReadonlyArray1<'py, u32>,
        list_of: PyReadonlyArray1<'py, u32>,
        lists: PyReadonlyArray1<'py, u64>,
    ) -> PyResult<Bound<'py, PyArray1<u64>>> {
        let (vm_class, list_of) = (slice(py, &vm_class, "vm_class")?, slice(py, &list_of, "list_of")?);
        let lists = slice(py, &lists, "lists")?;
        let sums = enter(py, self.1, || self.0.sums_of(vm_class, list_of, lists))?;
        Ok(sums.map_err(|error| audit_error(py, &error))?.into_pyarray(py))
    }

    /// How many VMs each host class takes.
    fn taken<'py>(
        &self,
        py: Python<'py>,
        vm_class: PyReadonlyArray1<'py, u32>,
        vms: PyReadonlyArray1<'py, u64>,
    ) -> PyResult<Bound<'py, PyArray1<u64>>> {
        let (vm_class, vms) = (slice(py, &vm_class, "vm_class")?, slice(py, &vms, "vms")?);
        Ok(enter(py, self.1, || self.0.taken(vm_class, vms))?.into_pyarray(py))
    }

    /// How many of these VMs find no place at once, where each host class has this many.
    fn unplaced(
        &self,
        py: Python<'_>,
        vm_class: PyReadonlyArray1<'_, u32>,
        vms: PyReadonlyArray1<'_, u64>,
        places: PyReadonlyArray1<'_, u64>,
    ) -> PyResult<u64> {
        let (vm_class, vms) = (slice(py, &vm_class, "vm_class")?, slice(py, &vms, "vms")?);
        let places = slice(py, &places, "places")?;
        enter(py, self.1, || self.0.unplaced(vm_class, vms, places))?.map_err(|error| audit_error(py, &error))
    }

    /// The circle of each host class, the traps, and for each circle a row of bits: to which others its VMs can move.
    #[pyo3(signature = (groups, tell=None))]
    fn circles(
        &self,
        py: Python<'_>,
        groups: Groups<'_>,
        tell: Tell<'_, '_>,
    ) -> PyResult<(Array<u32>, Vec<TrapRow>, Array<u64>)> {
        let residents = residents(py, &groups)?;
        let found = attend_watched(py, self.1, &self.0.threads(), tell, |watch| self.0.circles(residents, watch))?;
        let (circle_of, moves) = (found.circle_of.into_pyarray(py), found.moves.into_pyarray(py));
        Ok((circle_of.unbind(), trap_rows(found.traps), moves.unbind()))
    }

    /// Moves that cannot be undone: source, target, VMs, residents; and how many there are in all.
    #[pyo3(signature = (groups, most, tell=None))]
    fn passages(
        &self,
        py: Python<'_>,
        groups: Groups<'_>,
        most: usize,
        tell: Tell<'_, '_>,
    ) -> PyResult<(Vec<PassageRow>, u64)> {
        let residents = residents(py, &groups)?;
        let found =
            attend_watched(py, self.1, &self.0.threads(), tell, |watch| self.0.passages(residents, most, watch))?;
        let rows = found.found.iter().map(|one| (one.source, one.target, one.vms, one.residents)).collect();
        Ok((rows, found.count))
    }
}

/// What units say, counted.
#[pyfunction]
#[pyo3(signature = (fleet, takers, groups, change, unknown, tell=None))]
pub(crate) fn census(
    py: Python<'_>,
    fleet: &Bound<'_, Snapshot>,
    takers: &Bound<'_, Takers>,
    groups: Groups<'_>,
    change: bool,
    unknown: bool,
    tell: Tell<'_, '_>,
) -> PyResult<CensusRows> {
    let (fleet, takers) = (fleet.get(), &takers.get().0);
    let (residents, taken) = (residents(py, &groups)?, Taken { change, unknown });
    let found = attend_watched(py, fleet.1, &fleet.0.threads(), tell, |watch| {
        core::Census::of(&fleet.0.unit_rows(), takers, residents, taken, watch)
    })?;
    let said = &found.said;
    let (unit, host_class): (Vec<u32>, Vec<u32>) = said.iter().map(|said| (said.unit, said.host_class)).unzip();
    let (outcome, first): (Vec<u8>, Vec<u32>) = said.iter().map(|said| (said.outcome, said.first)).unzip();
    let counts = |count: fn(&core::Said) -> u64| -> Array<u64> {
        said.iter().map(count).collect::<Vec<u64>>().into_pyarray(py).unbind()
    };
    let rows = (
        unit.into_pyarray(py).unbind(),
        host_class.into_pyarray(py).unbind(),
        outcome.into_pyarray(py).unbind(),
        first.into_pyarray(py).unbind(),
        counts(|said| said.vms),
        counts(|said| said.pairs),
        counts(|said| said.decisive),
    );
    Ok((rows, (found.pairs.into_pyarray(py).unbind(), found.sole.into_pyarray(py).unbind())))
}

/// What frees the VMs of these groups, which no host takes.
#[pyfunction]
#[pyo3(signature = (fleet, takers, stranded, change, unknown, most, tell=None))]
#[expect(clippy::too_many_arguments, reason = "a fleet, its groups and two flags, as Python has them")]
pub(crate) fn cures(
    py: Python<'_>,
    fleet: &Bound<'_, Snapshot>,
    takers: &Bound<'_, Takers>,
    stranded: Groups<'_>,
    change: bool,
    unknown: bool,
    most: (usize, usize),
    tell: Tell<'_, '_>,
) -> PyResult<CureRows> {
    let (fleet, takers) = (fleet.get(), &takers.get().0);
    let (residents, taken) = (residents(py, &stranded)?, Taken { change, unknown });
    let found = attend_watched(py, fleet.1, &fleet.0.threads(), tell, |watch| {
        core::Cures::of(&fleet.0.unit_rows(), takers, residents, taken, most, watch)
    })?;
    let cures = found.cures.into_iter().map(|cure| (cure.units, cure.freed)).collect();
    let plan = found.plan.into_iter().map(|step| (step.units, step.freed)).collect();
    Ok((found.freed, found.shared, cures, plan, found.left_out, found.cut))
}

/// For each unit and list of host classes, how many VMs meet an UNKNOWN of the unit there.
#[pyfunction]
#[pyo3(signature = (fleet, takers, groups, asked, tell=None))]
pub(crate) fn unknown_vms(
    py: Python<'_>,
    fleet: &Bound<'_, Snapshot>,
    takers: &Bound<'_, Takers>,
    groups: Groups<'_>,
    asked: Vec<(usize, Vec<usize>)>,
    tell: Tell<'_, '_>,
) -> PyResult<Vec<u64>> {
    let (fleet, takers) = (fleet.get(), &takers.get().0);
    let residents = residents(py, &groups)?;
    let classes = takers.shape().1;
    let asked = asked.into_iter().map(|(unit, hosts)| core::Asked::new(unit, &hosts, classes)).collect::<Vec<_>>();
    attend_watched(py, fleet.1, &fleet.0.threads(), tell, |watch| {
        core::unknown_vms(&fleet.0.unit_rows(), takers, residents, &asked, watch)
    })
}

/// For each unit and host class a number, the same where the unit judges alike.
#[pyfunction]
pub(crate) fn unit_kinds<'py>(py: Python<'py>, fleet: &Bound<'py, Snapshot>) -> PyResult<Bound<'py, PyArray1<u32>>> {
    let fleet = fleet.get();
    Ok(enter(py, fleet.1, || fleet.0.unit_kinds())?.into_pyarray(py))
}

/// A fleet's captures on their way through upgrades.
#[pyclass(frozen, module = "kvmfw._native")]
pub(crate) struct Upgrades(Mutex<core::Upgrades>, ::kvmfw_core::Threads, Born);

#[pymethods]
impl Upgrades {
    /// `captures` has by capture the hosts, the host class, the CPU and the kernel's rank; `groups` name homes by capture.
    #[new]
    fn new(
        py: Python<'_>,
        takers: &Bound<'_, Takers>,
        captures: (Vec<u64>, Vec<u32>, Vec<u32>, Vec<u32>),
        groups: Groups<'_>,
    ) -> PyResult<Self> {
        let (hosts, class, cpu, kernel) = captures;
        let captures = core::Captures { hosts, class, cpu, kernel };
        let upgrades = core::Upgrades::new(Arc::clone(&takers.get().0), captures, residents(py, &groups)?);
        let upgrades = upgrades.map_err(|error| audit_error(py, &error))?;
        Ok(Self(Mutex::new(upgrades), takers.get().0.threads(), takers.get().1))
    }

    /// The best upgrades: stranded after it, newly stranded, old, new; and how many VMs are stranded without.
    #[pyo3(signature = (skipped, most, tell=None))]
    fn best(
        &self,
        py: Python<'_>,
        skipped: usize,
        most: usize,
        tell: Tell<'_, '_>,
    ) -> PyResult<(Vec<UpgradeRow>, u64)> {
        let (found, stranded) = attend_watched(py, self.2, &self.1, tell, |watch| {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).best(skipped, most, watch)
        })?;
        let rows = found.iter().map(|one| (one.stranded, one.newly_stranded, one.old, one.new)).collect();
        Ok((rows, stranded))
    }

    /// Makes an upgrade.
    fn take(&self, py: Python<'_>, old: u32, new: u32) -> PyResult<()> {
        self.2.check(py)?;
        let mut upgrades = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let captures = upgrades.like().len();
        if [old, new].iter().any(|capture| *capture as usize >= captures) {
            return Err(argument_error(py, &format!("there are {captures} captures")));
        }
        upgrades.take(old, new);
        Ok(())
    }
}
