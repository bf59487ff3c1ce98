//! The fleet's own threads.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::ThreadPool;

/// A pool of threads that belongs to one fleet in one process.
///
/// Threads do not survive `fork`: a child that used its parent's pool would wait for ever. So the pool is made when it
/// is first needed, and made anew in another process.
#[derive(Debug)]
pub(crate) struct Pool {
    threads: usize,
    made: Mutex<Option<(u32, Arc<ThreadPool>)>>,
}

impl Pool {
    /// A pool of `threads` threads; 0 means one for each core.
    pub(crate) fn new(threads: usize) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { threads: if threads == 0 { cores() } else { threads }, made: Mutex::new(None) }
    }

    /// How many threads work.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work` on the pool. The hand-over takes about 10 microseconds: small work is better done by the caller.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match self.pool() {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Works on `pieces`, each thread on the next one that is left. The caller is one of the threads: it works while the
    /// others wake up, which takes up to milliseconds.
    pub(crate) fn share<P>(&self, pieces: impl Iterator<Item = P> + Send, work: impl Fn(P) + Sync) {
        let pieces = Mutex::new(pieces);
        let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some(piece) = next() {
                work(piece);
            }
        };
        match self.pool() {
            Some(pool) => pool.in_place_scope(|scope| {
                (1..self.threads).for_each(|_| scope.spawn(|_| work()));
                work();
            }),
            None => work(),
        }
    }

    fn pool(&self) -> Option<Arc<ThreadPool>> {
        let process = std::process::id();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((owner, pool)) = made.as_ref() {
            if *owner == process {
                return Some(Arc::clone(pool));
            }
            // The parent's pool has no threads here; letting go of it would wake nobody and may wait.
            std::mem::forget(made.take());
        }
        let name = |at| format!("kvmfw-{at}");
        // Without threads (a limit of the system) the caller works alone: slower, and the same answers.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads).thread_name(name).build().ok()?;
        let pool = Arc::new(pool);
        *made = Some((process, Arc::clone(&pool)));
        Some(pool)
    }
}
