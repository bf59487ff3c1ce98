//! What all holders of a fleet share: the last version, and who may make the next.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use super::classes::Classes;
use super::map::Map;
use super::places::Places;
use super::snapshot::{Snapshot, State};
use crate::fleet::classes::vms::Vms;
use crate::fleet::tables::world::{Settings, Tables};

/// What all holders of a fleet share.
#[derive(Debug)]
pub(in crate::fleet) struct Shared {
    pub(in crate::fleet) settings: Arc<Settings>,
    /// The last version. Readers load it without waiting; `None` for the microseconds in which it is changed in place.
    now: ArcSwapOption<State>,
    /// Whoever changes the last version in place has it.
    alone: Mutex<()>,
    writer: Mutex<Desk>,
    given_back: Condvar,
}

/// Where the writer is given out.
#[derive(Debug)]
struct Desk {
    slot: Slot,
    /// How many wait for it. To wake nobody costs as much as to wake somebody.
    waiting: usize,
}

/// Who may change the fleet: the one who has the writer.
#[derive(Debug)]
enum Slot {
    Here(Writer),
    /// A thread of this process has it.
    Lent(u32),
}

/// What only changes need: who is alike, for VMs that come.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// Their numbers are those of the tables of the last version, which know the first of them.
    pub(super) vms: Arc<Vms>,
    /// Classes that appeared since memory was last let go of.
    pub(super) births: usize,
    /// Captures that there were when those without hosts were last let go of.
    pub(super) kinds: usize,
}

impl Shared {
    pub(in crate::fleet) fn new(settings: Settings) -> Self {
        let settings = Arc::new(settings);
        let state = State {
            settings: Arc::clone(&settings),
            generation: 0,
            numbered_since: 0,
            vms: Arc::default(),
            hosts: Arc::default(),
            places: Places::default(),
            vm_classes: Classes::default(),
            host_classes: Classes::default(),
            tables: Arc::default(),
            fresh: Map::default(),
            whole: OnceLock::new(),
        };
        let writer = Mutex::new(Desk { slot: Slot::Here(Writer::default()), waiting: 0 });
        let now = ArcSwapOption::from_pointee(state);
        Self { settings, now, alone: Mutex::default(), writer, given_back: Condvar::new() }
    }

    pub(in crate::fleet) fn snapshot(&self) -> Snapshot {
        Snapshot(self.last())
    }

    /// The last version.
    pub(super) fn last(&self) -> Arc<State> {
        loop {
            match self.now.load_full() {
                Some(last) => return last,
                None => drop(self.alone()),
            }
        }
    }

    /// The right to take the last version away from readers.
    pub(super) fn alone(&self) -> MutexGuard<'_, ()> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the last version away: who asks for it now waits.
    pub(super) fn withdraw(&self) {
        self.now.store(None);
    }

    /// Lets readers see a version.
    pub(super) fn publish(&self, version: Arc<State>) {
        self.now.store(Some(version));
    }

    /// The writer, as soon as nobody has it; `None` where that takes too long.
    pub(super) fn take(&self, patience: Duration) -> Option<Writer> {
        let end = Instant::now().checked_add(patience);
        let mut desk = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let own = std::process::id();
        loop {
            match std::mem::replace(&mut desk.slot, Slot::Lent(own)) {
                Slot::Here(writer) => return Some(writer),
                Slot::Lent(owner) if owner != own => return Some(self.writer_anew()),
                Slot::Lent(_) => {}
            }
            let left = end.map_or(patience, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return None;
            }
            desk.waiting += 1;
            desk = self.given_back.wait_timeout(desk, left).unwrap_or_else(PoisonError::into_inner).0;
            desk.waiting -= 1;
        }
    }

    /// A writer for a child process, in which the thread that has the writer does not go on.
    fn writer_anew(&self) -> Writer {
        let snapshot = self.snapshot();
        let tables = Arc::new(Tables::new(Arc::clone(&snapshot.tables().world)));
        let vms = Arc::clone(&tables.world.vms);
        let state = State { tables, fresh: Map::default(), whole: OnceLock::new(), ..State::clone(&snapshot.0) };
        self.publish(Arc::new(state));
        Writer { vms, ..Writer::default() }
    }

    pub(super) fn give_back(&self, writer: Writer) {
        let mut desk = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        desk.slot = Slot::Here(writer);
        let is_awaited = desk.waiting > 0;
        drop(desk);
        if is_awaited {
            self.given_back.notify_one();
        }
    }
}
