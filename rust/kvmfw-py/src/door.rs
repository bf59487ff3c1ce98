//! The one way from Python into work: the GIL is released, panics become exceptions.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use kvmfw_core::audit::{AuditError, Watch};
use pyo3::prelude::*;

use crate::errors::{audit_error, internal_error};

/// How often long work is looked at: whoever interrupts it waits no longer than this, and for the piece at hand.
const LOOK: Duration = Duration::from_millis(50);

/// Runs `work` without the GIL.
pub(crate) fn enter<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    // A panic leaves nothing half-made behind: work fills its own output, which is dropped here.
    py.detach(|| catch_unwind(AssertUnwindSafe(work))).map_err(|panic| internal_error(py, &words(panic.as_ref())))
}

/// Runs long `work` without the GIL, on a thread of its own: meanwhile this one tells `tell` how far it is, in thousandths,
/// and stops it when Python is interrupted.
pub(crate) fn enter_watched<T: Send>(
    py: Python<'_>,
    tell: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Watch) -> Result<T, AuditError> + Send,
) -> PyResult<T> {
    let watch = Watch::default();
    let tell = tell.map(|tell| tell.clone().unbind());
    let look = || {
        Python::attach(|py| {
            py.check_signals()?;
            tell.as_ref().map_or(Ok(()), |tell| tell.call1(py, (watch.permille(),)).map(drop))
        })
    };
    let done = py.detach(|| {
        std::thread::scope(|scope| {
            let (send, receive) = channel();
            let watch = &watch;
            scope.spawn(move || send.send(catch_unwind(AssertUnwindSafe(|| work(watch)))));
            loop {
                if let Err(error) = look() {
                    watch.stop();
                    return Err(error);
                }
                match receive.recv_timeout(LOOK) {
                    Ok(done) => return Ok(Some(done)),
                    Err(RecvTimeoutError::Disconnected) => return Ok(None),
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
        })
    })?;
    match done {
        Some(Ok(done)) => done.map_err(|error| audit_error(py, &error)),
        Some(Err(panic)) => Err(internal_error(py, &words(panic.as_ref()))),
        None => Err(internal_error(py, "a thread was lost")),
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic without words".to_owned())
}
