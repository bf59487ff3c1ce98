//! What a host would show under another kernel, from what it shows under the one that it runs.
//!
//! A value follows where both kernels show what the hardware has, or where the other kernel shows the same whatever the hardware
//! has. All else is not known, bit by bit: it never becomes a guess. CPUs of a host are alike, or differ in fields that both kernels
//! compare alike; its firmware, and the mode and options of the kernel, stay as they are.

mod fields;
mod kernel;
mod levels;
mod lists;
mod shown;
mod state;
mod value;

pub use self::kernel::{Kernel, Surface, Told};
pub use self::lists::{foretell_list, foretell_made};
pub use self::value::foretell;

#[cfg(test)]
mod tests;
