//! Room: memory is asked for before input makes something grow, so that too little of it is an error.
//!
//! Rust ends the process where an allocation fails. What grows with input asks first for as much as it may need, with a
//! [`HEADROOM`] besides, and gives it back: under a limit of address space (`setrlimit(2)`, `RLIMIT_AS`) that is refused in time.
//! What is small takes of the headroom, and is counted: the headroom is asked for again before much of it can be gone.
//!
//! Where there is no room, work unwinds as it does where it is stopped ([`crate::pool::checkpoint`]): every loop between would
//! else hand on an error that no other caller has. So nothing may be half made where something is asked for.

use std::cell::Cell;
use std::panic::resume_unwind;

use memmap2::MmapMut;

use crate::error::MemoryError;

/// What small things may take meanwhile, in all threads. Blocks of more than 32 MiB are always of address space that nobody had
/// (glibc: `DEFAULT_MMAP_THRESHOLD_MAX`), so that all threads can have it, whichever of them asked.
const HEADROOM: usize = 33 << 20;
/// Less than this is small.
const SMALL: usize = 1 << 20;
/// When small things of one thread took so much, the headroom is asked for again.
const MOST_UNASKED: usize = 1 << 21;

thread_local! {
    /// What small things of this thread took since the headroom was last asked for.
    static UNASKED: Cell<usize> = const { Cell::new(0) };
}

/// Tells whether there is room for so many bytes.
///
/// It is asked for as an allocator asks, but not touched: to give back a page that was used interrupts all other cores (a
/// tenth of a millisecond on virtual machines).
pub(crate) fn ask(bytes: usize) -> Result<(), MemoryError> {
    let room = MmapMut::map_anon(bytes.saturating_add(HEADROOM));
    room.map(drop).map_err(|_| MemoryError { bytes })
}

/// Asks for so many bytes; unwinds where there is no room for them.
pub(crate) fn need(bytes: usize) {
    if bytes < SMALL {
        let unasked = UNASKED.get() + bytes;
        UNASKED.set(unasked);
        if unasked < MOST_UNASKED {
            return;
        }
    }
    UNASKED.set(0);
    ask(bytes).unwrap_or_else(|error| resume_unwind(Box::new(error)));
}

/// Sees to it that small things of up to so many bytes in all can be needed next, in this thread, without unwinding.
pub(crate) fn settle(bytes: usize) {
    if UNASKED.get() + bytes >= MOST_UNASKED {
        need(SMALL);
    }
}

/// Makes room for more items in a list; unwinds where there is none. What other threads ask for at the same time is counted:
/// the memory is taken first, then there must be headroom left.
#[inline]
pub(crate) fn grow<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        reserve(list, more);
    }
}

#[cold]
fn reserve<T>(list: &mut Vec<T>, more: usize) {
    let bytes = more.saturating_mul(size_of::<T>());
    list.try_reserve(more).unwrap_or_else(|_| resume_unwind(Box::new(MemoryError { bytes })));
    let taken = list.capacity().saturating_mul(size_of::<T>());
    if taken < SMALL { need(taken) } else { need(SMALL) }
}

/// Adds an item to a list; unwinds where there is no room for it.
#[inline]
pub(crate) fn push<T>(list: &mut Vec<T>, item: T) {
    grow(list, 1);
    list.push(item);
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn more_than_there_can_be_is_refused() {
        assert_eq!(ask(0), Ok(()));
        assert_eq!(ask(usize::MAX / 4), Err(MemoryError { bytes: usize::MAX / 4 }));
        let caught = catch_unwind(|| need(usize::MAX / 4)).map_err(|panic| panic.downcast_ref().copied());
        assert_eq!(caught, Err(Some(MemoryError { bytes: usize::MAX / 4 })));
    }

    #[test]
    fn a_list_grows_or_stays_what_it_was() {
        let mut list = vec![1_u64];
        (2..100_000).for_each(|item| push(&mut list, item));
        assert!(list.iter().copied().eq(1..100_000));
        let caught = catch_unwind(std::panic::AssertUnwindSafe(|| grow(&mut list, usize::MAX / 32)));
        assert!(caught.is_err_and(|panic| panic.is::<MemoryError>()) && list.len() == 99_999);
    }
}
