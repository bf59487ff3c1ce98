//! Room: memory is asked for before input makes something grow, so that too little of it is an error.
//!
//! Rust ends the process where an allocation fails. What grows with input asks first for as much as it may need, and gives it
//! back: under a limit of address space (`setrlimit(2)`, `RLIMIT_AS`) that is refused in time.

use std::hint::black_box;

use crate::error::MemoryError;

/// What small things need meanwhile, beside what is asked for.
const HEADROOM: usize = 1 << 24;

/// Tells whether there is room for so many bytes.
pub(crate) fn ask(bytes: usize) -> Result<(), MemoryError> {
    let wanted = bytes.saturating_add(HEADROOM);
    let mut room: Vec<u8> = Vec::new();
    let asked = room.try_reserve_exact(wanted);
    // Without this the compiler may see that nobody uses the memory, and not ask.
    black_box(&mut room);
    asked.map_err(|_| MemoryError { bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_can_be_is_refused() {
        assert_eq!(ask(0), Ok(()));
        assert_eq!(ask(usize::MAX / 4), Err(MemoryError { bytes: usize::MAX / 4 }));
    }
}
