//! Fleets that are saved, and that go on in another process: columns out and in.

use kvmfw_core as core;
use kvmfw_core::{Named, RegisterId, RowError, Value, VcpuConfig};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::arrays::slice;
use crate::door::{attend, enter};
use crate::errors::{intake_error, row_error};
use crate::fleet::{Change, NamesOf, named};
use crate::sets::Host;
use crate::snapshot::Snapshot;

/// How a vCPU is made, and whose VM it is of; none where the rows of a VM could not be used.
type Config = Option<(u32, bool, u8, Option<String>)>;
/// Where the ids of each set start, with the end of the last one, and all ids; the same of the bytes of their values.
type Columns<'py> =
    (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<u64>>, Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<u8>>);
type ColumnsIn<'py> =
    (PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, u64>, PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, u8>);
/// Names of things, and which of them each member has.
type Homes<'py> = (Vec<String>, Bound<'py, PyArray1<i32>>);
type Captures<'py> = (Vec<Host>, Bound<'py, PyArray1<u32>>);
/// The handles of one side, and how many there had been.
type Left<'py> = (PyReadonlyArray1<'py, u64>, u64);

/// A set of registers that no host can tell from those of each of some VM classes.
#[pyfunction]
pub(crate) fn class_sets<'py>(
    py: Python<'py>,
    fleet: &Snapshot,
    classes: PyReadonlyArray1<'py, u32>,
) -> PyResult<(Vec<Config>, Columns<'py>)> {
    let classes = slice(py, &classes, "classes")?;
    let (configs, starts, ids, ends, bytes) = attend(py, fleet.1, &fleet.0.threads(), || {
        let (mut configs, mut ids, mut bytes) = (Vec::with_capacity(classes.len()), Vec::new(), Vec::new());
        let (mut starts, mut ends) = (vec![0_i64], vec![0_i64]);
        for class in classes {
            let set = fleet.0.class_set(*class);
            for (id, value) in set.iter().flat_map(core::RegisterSet::registers) {
                ids.push(id.raw());
                match value {
                    Value::Word(word) => bytes.extend(word.to_le_bytes().get(..id.size()).unwrap_or(&[])),
                    Value::Wide(wide) => bytes.extend(wide.iter()),
                }
            }
            starts.push(i64::try_from(ids.len()).unwrap_or(i64::MAX));
            ends.push(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
            configs.push(
                set.map(|set| (set.vcpu.features, set.vcpu.vgic, set.vcpu.enabled, set.vmm().map(str::to_owned))),
            );
        }
        (configs, starts, ids, ends, bytes)
    })?;
    Ok((configs, (starts.into_pyarray(py), ids.into_pyarray(py), ends.into_pyarray(py), bytes.into_pyarray(py))))
}

/// How many VMs and hosts there have been; the names of homes, and which of them each VM has; the captures, and which each host has.
#[pyfunction]
pub(crate) fn members_left<'py>(
    py: Python<'py>,
    fleet: &Snapshot,
) -> PyResult<((u64, u64), Homes<'py>, Captures<'py>)> {
    let ((names, homes), (captures, of)) = enter(py, fleet.1, || (fleet.0.home_names(), fleet.0.captures()))?;
    let names = names.into_iter().map(str::to_owned).collect();
    let captures = captures.into_iter().map(|capture| Host(capture.clone())).collect();
    Ok((fleet.0.arrivals(), (names, homes.into_pyarray(py)), (captures, of.into_pyarray(py))))
}

/// Adds VMs that are each like one of some sets.
#[pyfunction]
pub(crate) fn add_like(
    py: Python<'_>,
    change: &Change,
    configs: Vec<Config>,
    columns: ColumnsIn<'_>,
    who: NamesOf<'_>,
) -> PyResult<()> {
    let (starts, ids) = (slice(py, &columns.0, "starts")?, slice(py, &columns.1, "register")?);
    let (ends, bytes) = (slice(py, &columns.2, "ends")?, slice(py, &columns.3, "value")?);
    let who: Named<'_> = named(py, &who)?;
    let read = |at: usize, config: Config| {
        let Some((features, vgic, enabled, vmm)) = config else { return Ok(None) };
        let vmm = vmm.map(|name| core::Policy::named(&name)).transpose();
        let vmm = vmm.map_err(|problem| RowError { row: at, problem })?.and_then(core::Policy::number);
        let of =
            |starts: &[i64]| Some(usize::try_from(*starts.get(at)?).ok()?..usize::try_from(*starts.get(at + 1)?).ok()?);
        let (ids, bytes) = (of(starts).and_then(|rows| ids.get(rows)), of(ends).and_then(|rows| bytes.get(rows)));
        registers(ids.unwrap_or(&[]), bytes.unwrap_or(&[]))
            .and_then(|registers| {
                let vcpu = VcpuConfig { features, enabled, vgic, vmm };
                core::RegisterSet::new("", None, vcpu, registers).map_err(|error| error.problem)
            })
            .map(Some)
            .map_err(|problem| RowError { row: at, problem })
    };
    let sets = attend(py, change.born, &change.threads, || {
        configs.into_iter().enumerate().map(|(at, config)| read(at, config)).collect::<Result<Vec<_>, _>>()
    })?;
    let sets = sets.map_err(|error| row_error(py, &error))?;
    change.long(py, |change| change.add_like(sets, who))?.map_err(|error| intake_error(py, &error))
}

/// Ids, and values of which each has as many bytes as its register.
fn registers(ids: &[u64], mut bytes: &[u8]) -> Result<Vec<(RegisterId, Value)>, String> {
    let mut registers = Vec::with_capacity(ids.len());
    for id in ids.iter().map(|id| RegisterId::new(*id)) {
        let Some((own, rest)) = bytes.split_at_checked(id.size()) else {
            return Err(format!("there is no value for register {id}"));
        };
        registers.push((id, Value::from_bytes(own, id)?));
        bytes = rest;
    }
    if bytes.is_empty() { Ok(registers) } else { Err(format!("{} bytes belong to no register", bytes.len())) }
}

/// Goes on where a fleet was left: handles by row, and how often it had been changed.
#[pyfunction]
pub(crate) fn go_on(py: Python<'_>, change: &Change, generation: u64, vms: Left<'_>, hosts: Left<'_>) -> PyResult<()> {
    let vms = core::Left { handles: slice(py, &vms.0, "vms")?, arrivals: vms.1 };
    let hosts = core::Left { handles: slice(py, &hosts.0, "hosts")?, arrivals: hosts.1 };
    change.long(py, |change| change.go_on(generation, vms, hosts))?.map_err(|error| row_error(py, &error))
}
