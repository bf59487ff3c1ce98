//! Where a fleet changes its ways: answers are the same on both sides of each limit.

/// With more classes, or pairs of them, tables of all may take longer to make than an interrupt should wait (a tenth of a second).
const MOST_CLASSES: usize = 1 << 15;
const MOST_PAIRS: usize = 1 << 23;

/// Whether tables of so many classes are soon made.
pub(in crate::fleet) fn is_small(vm_classes: usize, host_classes: usize) -> bool {
    vm_classes + host_classes <= MOST_CLASSES && vm_classes.saturating_mul(host_classes) <= MOST_PAIRS
}

/// Sizes up to which a fleet uses tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A unit with more values times acceptors than this is split into digits, if its acceptors allow it: to judge each cell
    /// takes longer then (some 10 ms).
    pub unit_cells: usize,
    /// A group of units has at most about this many rows, each with a bit for every host: those of all groups share the
    /// second-level cache.
    pub group_rows: usize,
    /// With more pairs of classes than this there is no class table: pairs are decided by their masks.
    pub class_cells: usize,
    /// Class tables up to this size have a byte for each cell, larger ones 2 bits, to stay in the second-level cache
    /// (`large`: 2 MB instead of 8).
    pub unpacked_cells: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { unit_cells: 1 << 16, group_rows: 64, class_cells: 1 << 28, unpacked_cells: 1 << 19 }
    }
}
