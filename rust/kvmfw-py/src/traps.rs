//! Traps as rows of numbers.

use kvmfw_core::audit::Trap;

/// Host classes, hosts, entrants, residents.
pub(crate) type TrapRow = (Vec<u32>, u64, u64, u64);

pub(crate) fn trap_rows(traps: Vec<Trap>) -> Vec<TrapRow> {
    traps.into_iter().map(|trap| (trap.host_classes, trap.hosts, trap.entrants, trap.residents)).collect()
}
