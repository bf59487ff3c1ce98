//! `Fleet` and `Change`: how versions come about.

use std::num::NonZeroU8;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kvmfw_core as core;
use kvmfw_core::{Limits, NO_UNIT, Named, Names, Runs};
use numpy::{Element, IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::arrays::{Columns, slice, texts};
use crate::door::{Born, attend, attend_if, enter, step};
use crate::errors::{argument_error, intake_error, missing_error, row_error};
use crate::judge::question;
use crate::kinds::configs_of;
use crate::sets::{Host, RegisterSet};
use crate::snapshot::Snapshot;
use crate::who::{is_named, who};

/// VMs and hosts that come and go.
#[pyclass(frozen, module = "kvmfw._native")]
pub(crate) struct Fleet(core::Fleet, Born);

/// Some steps, of which readers see all or none.
#[pyclass(frozen, module = "kvmfw._native")]
pub(crate) struct Change {
    begun: Mutex<Option<core::Change>>,
    pub(crate) threads: core::Threads,
    pub(crate) born: Born,
    /// Whether one of its steps may have taken long, so that its end may too.
    is_long: AtomicBool,
}

type Heads<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyAny>, bool);
/// The name of each VM, names of places, and for each VM which of these; and which run each VM is like, where many are.
pub(crate) type NamesOf<'py> =
    (NameColumn<'py>, Option<(Columns<'py>, PyReadonlyArray1<'py, i32>)>, Option<PyReadonlyArray1<'py, u32>>);

/// Names of VMs.
#[derive(FromPyObject)]
pub(crate) enum NameColumn<'py> {
    Numbers(PyReadonlyArray1<'py, i64>),
    Texts(Columns<'py>),
}

/// A change of more VMs than this may take longer than the GIL can be kept.
const FEW_AT_ONCE: usize = 16;
/// More VMs than this are read as a source.
const FEW: usize = 256;
/// Fewer rows take a tenth of a second at most: no thread is made for them, whose end interrupts all other cores.
const MANY_ROWS: usize = 1 << 20;
/// How long a signal may wait for one who waits.
const BETWEEN_SIGNALS: Duration = Duration::from_millis(50);

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
        let question = question(py, vmm, scheme, "fresh", false)?;
        let limits = limits.map(|(unit_cells, group_rows, class_cells, unpacked_cells)| Limits {
            unit_cells,
            group_rows,
            class_cells,
            unpacked_cells,
        });
        Ok(Self(core::Fleet::with_limits(question, threads, limits.unwrap_or_default()), Born::now()))
    }

    /// The fleet as it is now.
    fn snapshot(&self, py: Python<'_>) -> PyResult<Snapshot> {
        self.1.check(py)?;
        Ok(Snapshot(self.0.snapshot(), self.1))
    }

    /// As [`Snapshot::class_row`] of now, which takes as long as to make an object of Python for that.
    fn class_row<'py>(&self, py: Python<'py>, vm: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<u8>>> {
        self.snapshot(py)?.class_row(py, vm)
    }

    /// Begins a change; waits while others change the fleet.
    fn change(&self, py: Python<'_>) -> PyResult<Change> {
        let (threads, born, begun) = (self.0.threads(), self.1, self.turn(py)?.change());
        Ok(Change { begun: Mutex::new(Some(begun)), threads, born, is_long: AtomicBool::default() })
    }

    /// The way of those who come one by one: adds a few register sets of Python in one change; `false` where these are
    /// something else, or names are there already.
    fn add_few(&self, py: Python<'_>, vms: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(listed) = vms.cast::<PyList>() else { return Ok(false) };
        if listed.len() > FEW {
            return Ok(false);
        }
        let Some(sets) = listed.iter().map(native).collect::<Option<Vec<_>>>() else { return Ok(false) };
        let sets: Vec<&core::RegisterSet> = sets.iter().map(|set| &set.get().0).collect();
        let is_prompt = |turn: &core::Turn| turn.knows_vm_names() && turn.takes_in_promptly();
        let done = self.make(py, sets.len(), is_prompt, |turn| {
            let is_new = turn.repeated(sets.iter().map(|set| set.name.as_str())).is_empty();
            is_new.then(|| turn.adding(sets)).ok_or(())
        })?;
        Ok(done.is_ok())
    }

    /// Takes VMs away in one change.
    fn remove_vms(&self, py: Python<'_>, vms: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
        let vms = vms.iter().map(who::<core::VmHandle>).collect::<PyResult<Vec<_>>>()?;
        let has_names = vms.iter().any(is_named);
        let is_prompt = |turn: &core::Turn| !has_names || turn.knows_vm_names();
        self.make(py, vms.len(), is_prompt, |turn| turn.removing(vms))?.map_err(|error| missing_error(py, &error))
    }

    /// Takes note in one change that a VM runs on another host; nobody knows where without one.
    fn move_vm(&self, py: Python<'_>, vm: &Bound<'_, PyAny>, host: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let vm = who::<core::VmHandle>(vm)?;
        let host = host.as_ref().map(who::<core::HostHandle>).transpose()?;
        let has_name = is_named(&vm);
        let is_prompt = |turn: &core::Turn| !has_name || turn.knows_vm_names();
        self.make(py, 1, is_prompt, |turn| turn.moving(vm, host))?.map_err(|error| missing_error(py, &error))
    }

    /// Where the VMs of a long table start, with its length, their numbers, and whether those ascend.
    fn heads<'py>(&self, py: Python<'py>, column: &Bound<'py, PyAny>) -> PyResult<Heads<'py>> {
        macro_rules! heads {
            ($($number:ty)*) => {
                $(if let Ok(column) = column.extract() {
                    return self.heads_of::<$number>(py, &column);
                })*
            };
        }
        heads!(u32 i32 i64 u64 i8 i16 u8 u16);
        Err(argument_error(py, "`vm` must be integers"))
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
        let is_long = column.len() >= MANY_ROWS;
        let found = attend_if(is_long, py, self.1, &self.0.threads(), || self.0.heads(column))?;
        Ok((found.starts.into_pyarray(py), found.numbers.into_pyarray(py).into_any(), found.ascending))
    }
}

/// The number of the VMM of each VM, by names and which of them each has.
fn numbers_of(py: Python<'_>, names: &[String], of: &[i32]) -> PyResult<Vec<u8>> {
    let number = |name: &String| {
        let policy = core::Policy::named(name).map_err(|problem| argument_error(py, &problem))?;
        Ok(policy.number().map_or(0, NonZeroU8::get))
    };
    let numbers = names.iter().map(number).collect::<PyResult<Vec<u8>>>()?;
    Ok(of.iter().map(|at| usize::try_from(*at).ok().and_then(|at| numbers.get(at).copied()).unwrap_or(0)).collect())
}

/// Names and homes of VMs, of Python.
pub(crate) fn named<'a>(py: Python<'_>, (names, homes, like): &'a NamesOf<'_>) -> PyResult<Named<'a>> {
    let names = match names {
        NameColumn::Numbers(numbers) => Names::Numbers(slice(py, numbers, "names")?),
        NameColumn::Texts(names) => Names::Texts(texts(py, names, "names")?),
    };
    let mut who = Named { names: Some(names), ..Named::default() };
    who.like = like.as_ref().map(|like| slice(py, like, "like")).transpose()?;
    if let Some((homes, home_of)) = homes {
        (who.homes, who.home_of) = (Some(texts(py, homes, "homes")?), slice(py, home_of, "home_of")?);
    }
    Ok(who)
}

/// The register set that one of Python's has.
fn native(vm: Bound<'_, PyAny>) -> Option<Bound<'_, RegisterSet>> {
    vm.getattr(intern!(vm.py(), "_native")).ok()?.cast_into().ok()
}

impl Fleet {
    /// The turn to change the fleet, as soon as nobody else has it; signals are seen meanwhile.
    fn turn(&self, py: Python<'_>) -> PyResult<core::Turn> {
        // Mostly nobody has: that is known sooner than the GIL is let go and taken back.
        if let Some(turn) = step(py, self.1, || self.0.try_turn(Duration::ZERO))? {
            return Ok(turn);
        }
        loop {
            if let Some(turn) = enter(py, self.1, || self.0.try_turn(BETWEEN_SIGNALS))? {
                return Ok(turn);
            }
            py.check_signals()?;
        }
    }

    /// Makes a change of one step with so many VMs. What takes microseconds keeps the GIL: nobody who has it can wait for a
    /// version that is changed in place.
    fn make<'a, E: Send>(
        &self,
        py: Python<'_>,
        vms: usize,
        is_prompt: impl FnOnce(&core::Turn) -> bool,
        plan: impl FnOnce(&mut core::Turn) -> Result<core::Step<'a>, E> + Send,
    ) -> PyResult<Result<(), E>> {
        let mut turn = self.turn(py)?;
        let threads = self.0.threads();
        let is_prompt = is_prompt(&turn);
        let planned = if vms <= FEW_AT_ONCE && is_prompt {
            step(py, self.1, || plan(&mut turn))?
        } else {
            attend_if(vms > FEW || !is_prompt, py, self.1, &threads, || plan(&mut turn))?
        };
        let planned = match planned {
            Ok(planned) => planned,
            Err(error) => return Ok(Err(error)),
        };
        if turn.is_prompt(&planned) {
            step(py, self.1, || turn.make(&planned))?;
        } else {
            let is_long = vms > FEW || !turn.ends_promptly(&planned);
            attend_if(is_long, py, self.1, &threads, || turn.make(&planned))?;
        }
        Ok(Ok(()))
    }
}

impl Change {
    /// Makes a step that may be long.
    fn long_if<T: Send>(
        &self,
        is_long: bool,
        py: Python<'_>,
        step: impl FnOnce(&mut core::Change) -> T + Send,
    ) -> PyResult<T> {
        if is_long { self.long(py, step) } else { self.step(py, step) }
    }

    /// Whether all names are still to be looked at before a VM is found by its own.
    fn gathers_names(&self, py: Python<'_>) -> PyResult<bool> {
        self.step(py, |change| !change.knows_vm_names())
    }

    /// Makes a short step.
    fn step<T: Send>(&self, py: Python<'_>, step: impl FnOnce(&mut core::Change) -> T + Send) -> PyResult<T> {
        let done = enter(py, self.born, || self.lock().as_mut().map(step))?;
        done.ok_or_else(|| argument_error(py, "the change is over"))
    }

    /// Makes a long step.
    pub(crate) fn long<T: Send>(
        &self,
        py: Python<'_>,
        step: impl FnOnce(&mut core::Change) -> T + Send,
    ) -> PyResult<T> {
        self.whole_if(true, py, step)
    }

    /// Makes a step of many members, which may itself be long.
    fn whole_if<T: Send>(
        &self,
        is_long: bool,
        py: Python<'_>,
        step: impl FnOnce(&mut core::Change) -> T + Send,
    ) -> PyResult<T> {
        self.is_long.store(true, Relaxed);
        let done = attend_if(is_long, py, self.born, &self.threads, || self.lock().as_mut().map(step));
        if done.is_err() {
            // What was stopped half way is no part of any change.
            self.abandon(py)?;
        }
        done?.ok_or_else(|| argument_error(py, "the change is over"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<core::Change>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Change {
    fn vm_count(&self, py: Python<'_>) -> PyResult<usize> {
        self.step(py, |change| change.vm_count())
    }

    /// Whether each name is one of a VM by now.
    fn has_vms(&self, py: Python<'_>, names: Vec<String>) -> PyResult<Vec<bool>> {
        let is_long = !names.is_empty() && self.gathers_names(py)?;
        self.long_if(is_long, py, |change| names.iter().map(|name| change.has_vm(name)).collect())
    }

    /// The places of names that VMs have by now, or that stand earlier among these.
    fn repeated(&self, py: Python<'_>, names: Columns<'_>) -> PyResult<Vec<usize>> {
        let names = texts(py, &names, "names")?;
        let is_long = names.len() > FEW || !names.is_empty() && self.gathers_names(py)?;
        self.long_if(is_long, py, |change| change.repeated(names.iter()))
    }

    /// Adds VMs with their names and homes; gives the number of the first handle.
    fn add_sets(&self, py: Python<'_>, sets: Vec<PyRef<'_, RegisterSet>>) -> PyResult<u64> {
        let sets: Vec<&core::RegisterSet> = sets.iter().map(|set| &set.0).collect();
        self.long(py, |change| change.add_sets(sets).0)
    }

    /// Adds VMs given as columns; gives the rows that cannot be used.
    #[pyo3(signature = (starts, register, value, configs, config_of, who=None, vmms=None))]
    #[expect(clippy::too_many_arguments, reason = "five columns, their names and VMMs, as Python has them")]
    fn add_runs(
        &self,
        py: Python<'_>,
        starts: PyReadonlyArray1<'_, i64>,
        register: PyReadonlyArray1<'_, u64>,
        value: PyReadonlyArray1<'_, u64>,
        configs: Vec<(u32, bool, u8)>,
        config_of: PyReadonlyArray1<'_, u32>,
        who: Option<NamesOf<'_>>,
        vmms: Option<(Vec<String>, PyReadonlyArray1<'_, i32>)>,
    ) -> PyResult<Vec<(usize, String)>> {
        let (starts, register) = (slice(py, &starts, "starts")?, slice(py, &register, "register")?);
        let (value, config_of) = (slice(py, &value, "value")?, slice(py, &config_of, "config_of")?);
        let configs = configs_of(&configs);
        let vmm_of = vmms.map(|(names, of)| numbers_of(py, &names, slice(py, &of, "vmms")?)).transpose()?;
        let vmm_of = vmm_of.as_deref().unwrap_or(&[]);
        let rows = Runs { starts, register, value, configs: &configs, config_of, vmm_of };
        let who = who.as_ref().map(|who| named(py, who)).transpose()?.unwrap_or_default();
        let is_long = rows.value.len() >= MANY_ROWS;
        let errors = self
            .whole_if(is_long, py, |change| change.add_runs(rows, who))?
            .map_err(|error| intake_error(py, &error))?;
        Ok(errors.into_iter().map(|error| (error.row, error.problem)).collect())
    }

    fn update_vm(&self, py: Python<'_>, vm: &Bound<'_, PyAny>, registers: PyRef<'_, RegisterSet>) -> PyResult<()> {
        let (vm, set) = (who::<core::VmHandle>(vm)?, &registers.0);
        let is_long = is_named(&vm) && self.gathers_names(py)?;
        self.long_if(is_long, py, |change| change.update_vm(vm, set))?.map_err(|error| missing_error(py, &error))
    }

    /// Adds hosts; gives the number of the first handle.
    fn add_hosts(
        &self,
        py: Python<'_>,
        kinds: Vec<PyRef<'_, Host>>,
        kind_of: PyReadonlyArray1<'_, u32>,
        names: Columns<'_>,
    ) -> PyResult<u64> {
        let kinds: Vec<core::Host> = kinds.iter().map(|host| host.0.clone()).collect();
        let (kind_of, names) = (slice(py, &kind_of, "kind_of")?, texts(py, &names, "names")?);
        let first = self.long(py, |change| change.add_hosts(&kinds, kind_of, Some(names)))?;
        first.map(|first| first.0).map_err(|error| row_error(py, &error))
    }

    fn update_hosts(&self, py: Python<'_>, hosts: Vec<Bound<'_, PyAny>>, kinds: Vec<PyRef<'_, Host>>) -> PyResult<()> {
        let hosts = hosts.iter().map(who::<core::HostHandle>).collect::<PyResult<Vec<_>>>()?;
        let kinds: Vec<core::Host> = kinds.iter().map(|host| host.0.clone()).collect();
        let updated =
            self.long_if(hosts.len() > FEW, py, |change| change.update_hosts(hosts.into_iter().zip(&kinds)))?;
        updated.map_err(|error| missing_error(py, &error))
    }

    fn remove_hosts(&self, py: Python<'_>, hosts: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
        let hosts = hosts.iter().map(who::<core::HostHandle>).collect::<PyResult<Vec<_>>>()?;
        self.long_if(hosts.len() > FEW, py, |change| change.remove_hosts(hosts))?
            .map_err(|error| missing_error(py, &error))
    }

    /// Lets readers see the change; gives the version that it made.
    fn commit(&self, py: Python<'_>) -> PyResult<Snapshot> {
        // A thread to wait for takes a hundred times as long as what ends in microseconds.
        let promptly = || {
            let mut begun = self.lock();
            let is_long = self.is_long.load(Relaxed);
            let is_prompt =
                begun.as_mut().is_none_or(|change| !is_long && !change.is_large() || change.ends_promptly());
            is_prompt.then(|| begun.take().map(core::Change::commit))
        };
        let made = match enter(py, self.born, promptly)? {
            Some(made) => made,
            None => attend(py, self.born, &self.threads, || self.lock().take().map(core::Change::commit))?,
        };
        made.map(|made| Snapshot(made, self.born)).ok_or_else(|| argument_error(py, "the change is over"))
    }

    /// Ends the change as if it had not begun, if it is not over.
    fn abandon(&self, py: Python<'_>) -> PyResult<()> {
        enter(py, self.born, || drop(self.lock().take()))
    }
}
