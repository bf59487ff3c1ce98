//! Which VM classes may go to which host classes, as a sparse matrix.

use crate::fleet::class::VmClass;
use crate::fleet::{Snapshot, Taken};
use crate::judgement::Outcome;
use crate::pool::checkpoint;
use crate::room;

/// Classes that have members, and which may go where (CSR): what solvers take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arcs {
    /// The VM classes, ascending: the rows.
    pub vm_classes: Vec<u32>,
    /// How many VMs each of them has.
    pub vms: Vec<u64>,
    /// The host classes, ascending: the columns.
    pub host_classes: Vec<u32>,
    /// How many hosts each of them has.
    pub hosts: Vec<u64>,
    /// Where the targets of each row start, and where those of the last one end.
    pub starts: Vec<i64>,
    /// Columns; for each row those that are preferred first: ACCEPT, then CHANGE, then UNKNOWN.
    pub targets: Vec<u32>,
    /// The outcome of each target.
    pub outcomes: Vec<u8>,
}

impl Snapshot {
    /// Which VM classes may go to which host classes.
    pub fn arcs(&self, taken: Taken) -> Arcs {
        // A list that grows is twice in memory.
        room::need(3 * (self.0.vm_classes.used() + self.0.host_classes.used()) * size_of::<(u32, u64)>());
        let (vm_classes, vms) = self.0.vm_classes.in_use().unzip();
        let (host_classes, hosts) = self.0.host_classes.in_use().unzip();
        let mut arcs = Arcs { vm_classes, vms, host_classes, hosts, starts: vec![0], ..Arcs::default() };
        let levels = [Outcome::Accept, Outcome::Change, Outcome::Unknown].map(|outcome| outcome as u8);
        for class in &arcs.vm_classes {
            checkpoint();
            let row = self.row(VmClass::of(*class));
            let cells = || arcs.host_classes.iter().zip(0..).map(|(host, at)| (row.get(*host as usize), at));
            room::grow(&mut arcs.targets, arcs.host_classes.len());
            room::grow(&mut arcs.outcomes, arcs.host_classes.len());
            for level in levels.into_iter().filter(|level| taken.takes(*level)) {
                arcs.targets.extend(cells().filter(|(cell, _)| *cell == Some(&level)).map(|(_, at)| at));
                arcs.outcomes.resize(arcs.targets.len(), level);
            }
            room::push(&mut arcs.starts, i64::try_from(arcs.targets.len()).unwrap_or(i64::MAX));
        }
        arcs
    }
}
