//! Who watches an audit: sees how far it is, and may stop it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::AuditError;

/// How far an audit is, and whether it should go on. Blocks of work look at it every few milliseconds.
#[derive(Debug, Default)]
pub struct Watch {
    stopped: AtomicBool,
    done: AtomicU64,
    all: AtomicU64,
}

impl Watch {
    /// Asks the audit to stop.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Which share of the work is done, from 0 to 1000.
    pub fn permille(&self) -> u64 {
        let all = self.all.load(Ordering::Relaxed).max(1);
        (self.done.load(Ordering::Relaxed).saturating_mul(1000) / all).min(1000)
    }

    /// Says that this many steps are to come.
    pub(crate) fn expect(&self, steps: usize) {
        self.all.fetch_add(steps as u64, Ordering::Relaxed);
    }

    /// Counts a step.
    ///
    /// # Errors
    ///
    /// When the audit should stop.
    pub(crate) fn step(&self) -> Result<(), AuditError> {
        self.done.fetch_add(1, Ordering::Relaxed);
        if self.stopped.load(Ordering::Relaxed) { Err(AuditError::Stopped) } else { Ok(()) }
    }
}
