//! The one way from Python into work: the GIL is released, panics become exceptions, and whoever waits sees signals.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};

use kvmfw_core::audit::{AuditError, Watch};
use kvmfw_core::{MemoryError, Stopped, Threads};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;

use crate::errors::{audit_error, fork_error, internal_error, memory_error};

/// How many calls are at work without the GIL.
static AT_WORK: AtomicUsize = AtomicUsize::new(0);
/// How often this process, or one that it comes from, was forked while calls were at work.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Before which fork something was made. What others worked on when the process was forked stays as they left it in the child:
/// tables half made, locks locked. The child is told so and does not wait for threads that it has not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Born(u32);

impl Born {
    pub(crate) fn now() -> Self {
        Self(FORKS.load(SeqCst))
    }

    /// Whether this can be used in this process.
    pub(crate) fn check(self, py: Python<'_>) -> PyResult<()> {
        if self.0 == FORKS.load(SeqCst) { Ok(()) } else { Err(fork_error(py)) }
    }
}

/// Takes note in a child that it is one. Python calls it after a fork, with the GIL: who was at work is gone.
#[pyfunction]
pub(crate) fn forked() {
    if AT_WORK.swap(0, SeqCst) > 0 {
        FORKS.fetch_add(1, SeqCst);
    }
}

/// A call that is at work without the GIL.
struct AtWork(Born);

impl AtWork {
    fn begin() -> Self {
        AT_WORK.fetch_add(1, SeqCst);
        Self(Born::now())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        // In a child that was forked by this very call nobody is counted any more.
        if self.0.0 == FORKS.load(SeqCst) {
            AT_WORK.fetch_sub(1, SeqCst);
        }
    }
}

/// Runs short `work` on something without the GIL.
pub(crate) fn enter<T: Send>(py: Python<'_>, born: Born, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    born.check(py)?;
    let _at_work = AtWork::begin();
    py.detach(|| catch_unwind(AssertUnwindSafe(work))).map_err(|panic| unwound(py, panic.as_ref()))
}

/// Runs `work` that is over sooner than the GIL is let go and taken back.
pub(crate) fn step<T>(py: Python<'_>, born: Born, work: impl FnOnce() -> T) -> PyResult<T> {
    born.check(py)?;
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| unwound(py, panic.as_ref()))
}

/// Why work unwound. It leaves nothing half-made behind: it fills its own output, which is dropped with it.
fn unwound(py: Python<'_>, panic: &(dyn Any + Send)) -> PyErr {
    panic.downcast_ref::<MemoryError>().map_or_else(|| internal_error(py, &words(panic)), |error| memory_error(*error))
}

/// Runs long `work` without the GIL; it stops when Python is interrupted.
pub(crate) fn attend<T: Send>(
    py: Python<'_>,
    born: Born,
    threads: &Threads,
    work: impl FnOnce() -> T + Send,
) -> PyResult<T> {
    run(py, born, threads, |is_interrupted| !is_interrupted, work)
}

/// Runs `work` as [`attend`] does where it is long, else as [`enter`]: a thread to wait for takes a hundred microseconds.
pub(crate) fn attend_if<T: Send>(
    is_long: bool,
    py: Python<'_>,
    born: Born,
    threads: &Threads,
    work: impl FnOnce() -> T + Send,
) -> PyResult<T> {
    if is_long { attend(py, born, threads, work) } else { enter(py, born, work) }
}

/// Runs the long `work` of an audit: meanwhile `tell` is told how far it is, in thousandths; once at least.
pub(crate) fn attend_watched<T: Send>(
    py: Python<'_>,
    born: Born,
    threads: &Threads,
    tell: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Watch) -> Result<T, AuditError> + Send,
) -> PyResult<T> {
    let watch = Watch::default();
    let tell = tell.map(|tell| tell.clone().unbind());
    let (mut failed, mut is_told) = (None, false);
    let told = |is_interrupted: bool| {
        if let (false, Some(tell)) = (is_interrupted, &tell) {
            is_told = true;
            failed = Python::attach(|py| tell.call1(py, (watch.permille(),)).err());
        }
        let goes_on = !is_interrupted && failed.is_none();
        if !goes_on {
            watch.stop();
        }
        goes_on
    };
    let done = run(py, born, threads, told, || work(&watch));
    if let Some(error) = failed {
        return Err(error);
    }
    let done = done?.map_err(|error| audit_error(py, &error))?;
    if let (false, Some(tell)) = (is_told, &tell) {
        tell.call1(py, (watch.permille(),))?;
    }
    Ok(done)
}

/// Runs `work`, and looks at signals meanwhile; `goes_on` is told whether there was one.
fn run<T: Send>(
    py: Python<'_>,
    born: Born,
    threads: &Threads,
    mut goes_on: impl FnMut(bool) -> bool + Send,
    work: impl FnOnce() -> T + Send,
) -> PyResult<T> {
    born.check(py)?;
    let mut interrupt = None;
    let looked = || {
        interrupt = Python::attach(|py| -> PyResult<()> { py.check_signals() }).err();
        goes_on(interrupt.is_some())
    };
    let _at_work = AtWork::begin();
    let done = py.detach(|| catch_unwind(AssertUnwindSafe(|| threads.attend(work, looked))));
    if let Some(error) = interrupt {
        return Err(error);
    }
    match done {
        Ok(Err(Stopped::Memory(error))) => Err(memory_error(error)),
        Ok(done) => done.map_err(|_| PyKeyboardInterrupt::new_err(())),
        Err(panic) => Err(unwound(py, panic.as_ref())),
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic without words".to_owned())
}
