//! The fleet's own threads, and how work on them is stopped.

use std::any::Any;
use std::cell::OnceCell;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::MemoryError;
use crate::room;

/// How often the one who waits for work is asked whether it should go on.
const LOOK: Duration = Duration::from_millis(50);
/// What is mapped for a thread and by it: its stack, and a heap of its own, for which glibc looks for twice 64 MiB. A thread
/// without one maps pages for each allocation, and the process ends where there are none (`malloc/arena.c`, 2.36, read).
const BYTES_OF_A_THREAD: usize = (1 << 27) + (1 << 22);
/// Memory is asked for as for so many threads at most: what many may map is more than some machines have.
const MOST_THREADS_ASKED_FOR: usize = 8;

thread_local! {
    /// Of a thread that works for a pool: whether the work of that pool should stop.
    static STOP: OnceCell<Arc<AtomicBool>> = const { OnceCell::new() };
}

/// Why work was stopped before its end. What it was making is gone, what there was before is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// Its caller wished so.
    #[error("the work was stopped before its end")]
    Wished,
    /// There was not enough memory for it.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// A place where work can stop: it does not return where it should. Long loops pass one every few milliseconds.
///
/// Work unwinds as after a panic, but says nothing and is caught by [`Pool::attend`]: every loop between would else hand on
/// an error that no other caller has.
pub(crate) fn checkpoint() {
    if STOP.with(|stop| stop.get().is_some_and(|stop| stop.load(Relaxed))) {
        resume_unwind(Box::new(Stopped::Wished));
    }
}

/// A pool of threads that belongs to one fleet in one process.
///
/// Threads do not survive `fork`: a child that used its parent's pool would wait for ever. So the pool is made when it
/// is first needed, and made anew in another process. There is no lock that a thread of the parent could have left locked.
#[derive(Debug)]
pub(crate) struct Pool {
    threads: usize,
    made: ArcSwapOption<Made>,
}

#[derive(Debug)]
struct Made {
    process: u32,
    pool: ThreadPool,
    stop: Arc<AtomicBool>,
    calls: Mutex<Calls>,
    stopped: Condvar,
}

/// Who is in the pool. Work is stopped by pool: while one call stops no other is inside.
#[derive(Debug, Default)]
struct Calls {
    inside: usize,
    is_stopping: bool,
}

/// A call that is in the pool.
struct Call<'a>(&'a Made);

impl Pool {
    /// A pool of `threads` threads; 0 means one for each core.
    pub(crate) fn new(threads: usize) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { threads: if threads == 0 { cores() } else { threads }, made: ArcSwapOption::empty() }
    }

    /// How many threads work.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work` on the pool. The hand-over takes about 10 microseconds: small work is better done by the caller.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let Some(made) = self.made() else { return alone(work) };
        let _call = made.enter();
        made.pool.install(work)
    }

    /// Works on `pieces`, each thread on the next one that is left. The caller is one of the threads: it works while the
    /// others wake up, which takes up to milliseconds.
    pub(crate) fn share<P>(&self, pieces: impl Iterator<Item = P> + Send, work: impl Fn(P) + Sync) {
        let pieces = Mutex::new(pieces);
        let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some(piece) = next() {
                checkpoint();
                work(piece);
            }
        };
        let Some(made) = self.made() else { return alone(work) };
        let _call = made.enter();
        made.pool.in_place_scope(|scope| {
            (1..self.threads).for_each(|_| scope.spawn(|_| work()));
            work();
        });
    }

    /// Runs `work` on a thread of its own while the caller is asked again and again whether it should go on. Calls of other
    /// threads that are in the pool are not stopped with it: it goes on until they are done.
    ///
    /// Not on a thread of the pool: one that waits for a table which another thread makes could then be what that one needs.
    pub(crate) fn attend<T: Send>(
        &self,
        work: impl FnOnce() -> T + Send,
        mut goes_on: impl FnMut() -> bool,
    ) -> Result<T, Stopped> {
        let Some(made) = self.made() else { return catch_unwind(AssertUnwindSafe(work)).map_err(why) };
        let call = made.enter();
        let work = Mutex::new(Some(work));
        let run = || {
            let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
            STOP.with(|own| drop(own.set(Arc::clone(&made.stop))));
            work.map(|work| catch_unwind(AssertUnwindSafe(work)))
        };
        let done = std::thread::scope(|scope| {
            let (send, receive) = channel();
            let thread = std::thread::Builder::new().name("kvmfw".to_owned());
            // Without a thread for it the caller does the work.
            room::ask(BYTES_OF_A_THREAD).ok()?;
            let Ok(_) = thread.spawn_scoped(scope, move || send.send(run())) else { return None };
            let mut is_wanted = true;
            loop {
                match receive.recv_timeout(LOOK) {
                    Ok(done) => return done,
                    Err(RecvTimeoutError::Disconnected) => return None,
                    Err(RecvTimeoutError::Timeout) => {}
                }
                is_wanted = is_wanted && goes_on();
                if !is_wanted {
                    call.iter().for_each(Call::stop);
                }
            }
        });
        let left = work.into_inner().unwrap_or_else(PoisonError::into_inner);
        match done.or_else(|| left.map(|work| catch_unwind(AssertUnwindSafe(work)))) {
            Some(Ok(done)) => Ok(done),
            Some(Err(panic)) => Err(why(panic)),
            None => Err(Stopped::Wished),
        }
    }

    fn made(&self) -> Option<Arc<Made>> {
        let process = std::process::id();
        if let Some(made) = self.made.load_full().filter(|made| made.process == process) {
            return Some(made);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let of_threads = Arc::clone(&stop);
        let begin = move |_| STOP.with(|own| drop(own.set(Arc::clone(&of_threads))));
        let name = |at| format!("kvmfw-{at}");
        let threads = ThreadPoolBuilder::new().num_threads(self.threads).thread_name(name).start_handler(begin);
        // Without threads (a limit of the system) the caller works alone: slower, and the same answers.
        room::ask(self.threads.min(MOST_THREADS_ASKED_FOR) * BYTES_OF_A_THREAD).ok()?;
        let pool = threads.build().ok()?;
        // Each has its own region of the heap now, not after memory was asked for (glibc maps 64 MiB at its first allocation).
        pool.broadcast(|_| drop(black_box(Box::new(0_u64))));
        let made = Arc::new(Made { process, pool, stop, calls: Mutex::default(), stopped: Condvar::new() });
        let before = self.made.swap(Some(Arc::clone(&made)));
        // The parent's pool has no threads here; letting go of it would wake nobody and may wait.
        std::mem::forget(before.filter(|before| before.process != process));
        Some(made)
    }
}

/// Works without a pool. Parallel loops stay in this thread: else they would go to a pool that nobody asked for, whose threads
/// are made without room for them.
fn alone<T>(work: impl FnOnce() -> T) -> T {
    if rayon::current_thread_index().is_none() {
        // The thread keeps it.
        std::mem::forget(ThreadPoolBuilder::new().num_threads(1).use_current_thread().build());
    }
    work()
}

/// Why work unwound; other panics go on.
fn why(panic: Box<dyn Any + Send>) -> Stopped {
    match (panic.downcast_ref::<Stopped>(), panic.downcast_ref::<MemoryError>()) {
        (Some(stopped), _) => *stopped,
        (None, Some(error)) => Stopped::Memory(*error),
        (None, None) => resume_unwind(panic),
    }
}

impl Made {
    /// Waits while the work of another call is stopped. Work that is on the pool already is part of its call.
    fn enter(&self) -> Option<Call<'_>> {
        if STOP.with(|stop| stop.get().is_some_and(|stop| Arc::ptr_eq(stop, &self.stop))) {
            return None;
        }
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = self.stopped.wait_while(calls, |calls| calls.is_stopping);
        calls.unwrap_or_else(PoisonError::into_inner).inside += 1;
        Some(Call(self))
    }
}

impl Call<'_> {
    /// Stops the work of the pool, if it is this call's alone.
    fn stop(&self) {
        let mut calls = self.0.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.inside == 1 {
            calls.is_stopping = true;
            self.0.stop.store(true, Relaxed);
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut calls = self.0.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.inside -= 1;
        if std::mem::take(&mut calls.is_stopping) {
            self.0.stop.store(false, Relaxed);
            self.0.stopped.notify_all();
        }
    }
}

/// The threads of a fleet, for work that its caller may want to stop: a deadline, a signal.
///
/// ```
/// use kvmfw_core::{Fleet, Question, Stopped};
///
/// let fleet = Fleet::new(Question::default(), 1);
/// let threads = fleet.threads();
/// assert_eq!(threads.attend(|| fleet.snapshot().vm_count(), || true), Ok(0));
/// ```
#[derive(Clone, Debug)]
pub struct Threads(pub(crate) Arc<Pool>);

impl Threads {
    /// Runs `work`, and asks the caller every 50 milliseconds whether it should go on.
    ///
    /// # Errors
    ///
    /// When it was stopped, or memory was short. What it was making is gone; a change that it was part of must be dropped.
    pub fn attend<T: Send>(
        &self,
        work: impl FnOnce() -> T + Send,
        goes_on: impl FnMut() -> bool,
    ) -> Result<T, Stopped> {
        self.0.attend(work, goes_on)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Instant;

    use rayon::prelude::*;

    use super::*;

    /// Work without an end, on all threads.
    fn endless(pool: &Pool) {
        pool.run(|| {
            (0..64).into_par_iter().for_each(|_| {
                loop {
                    std::thread::sleep(Duration::from_millis(1));
                    checkpoint();
                }
            });
        });
    }

    #[test]
    fn work_stops_when_it_should_and_the_pool_can_be_used_again() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads);
            for _ in 0..3 {
                let (start, mut asked) = (Instant::now(), 0);
                let goes_on = || {
                    asked += 1;
                    asked < 3
                };
                assert_eq!(pool.attend(|| endless(&pool), goes_on), Err(Stopped::Wished));
                assert!(start.elapsed() < Duration::from_secs(5));
                assert_eq!(pool.attend(|| pool.run(|| (0..100).into_par_iter().sum::<u32>()), || true), Ok(4950));
            }
        }
    }

    #[test]
    fn calls_of_other_threads_are_not_stopped() {
        let pool = Pool::new(2);
        let (pieces, inside) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pool.share(0..40, |_| {
                    inside.store(true, Relaxed);
                    std::thread::sleep(Duration::from_millis(10));
                    pieces.fetch_add(1, Relaxed);
                });
            });
            while !inside.load(Relaxed) {
                std::thread::yield_now();
            }
            assert_eq!(pool.attend(|| endless(&pool), || false), Err(Stopped::Wished));
            assert_eq!(pieces.load(Relaxed), 40);
        });
    }

    #[test]
    fn memory_that_is_not_there_is_an_error() {
        let pool = Pool::new(2);
        let work = || pool.run(|| (0..9).into_par_iter().for_each(|_| room::need(usize::MAX / 4)));
        assert_eq!(pool.attend(work, || true), Err(Stopped::Memory(MemoryError { bytes: usize::MAX / 4 })));
        assert_eq!(pool.attend(|| 7, || true), Ok(7));
    }

    #[test]
    fn parallel_loops_without_a_pool_stay_in_their_thread() {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..2 {
                    let own = std::thread::current().id();
                    let elsewhere = |_: &u32| std::thread::current().id() != own;
                    assert_eq!(alone(|| (0..1000_u32).into_par_iter().filter(elsewhere).count()), 0);
                }
            });
        });
    }

    #[test]
    fn a_panic_is_the_callers() {
        let pool = Pool::new(2);
        let found = catch_unwind(AssertUnwindSafe(|| pool.attend(|| resume_unwind(Box::new("words")), || true)));
        assert_eq!(
            found.map_err(|panic| panic.downcast_ref::<&str>().copied()),
            Err::<Result<(), _>, _>(Some("words"))
        );
    }
}
