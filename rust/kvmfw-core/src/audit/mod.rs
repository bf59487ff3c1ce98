//! Audits: what the outcomes of a fleet mean for its VMs, hosts and updates.
//!
//! An audit needs little of a fleet: for each pair of classes the outcome ([`Takers`]) and what each unit says
//! ([`UnitRows`]), how many hosts each class has, and how many VMs of a class live on which class ([`Residents`]). Classes
//! are rows of bits over host classes, so that work grows with VM classes times host classes / 64.

mod bits;
mod census;
mod circles;
mod cures;
mod passages;
mod places;
mod takers;
mod unknowns;
mod upgrades;
mod watch;
mod ways;

use std::ops::Range;

pub(crate) use self::bits::{pack, set};
pub use self::census::{Census, Said};
pub use self::circles::{Circles, Trap};
pub use self::cures::{Cure, Cures, Step};
pub use self::passages::{Passage, Passages};
pub(crate) use self::places::unplaced;
pub use self::takers::Takers;
pub use self::unknowns::{Asked, unknown_vms};
pub use self::upgrades::{Captures, Upgrade, Upgrades};
pub use self::watch::Watch;

/// Why an audit was not finished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// Who watches it stopped it.
    #[error("the audit was stopped")]
    Stopped,
    /// There is not enough memory.
    #[error("an audit of this fleet needs {bytes} bytes more memory than there are")]
    Memory {
        /// How many it asked for.
        bytes: usize,
    },
    /// What it was asked about does not fit together.
    #[error("{0}")]
    Input(String),
}

/// Whom an audit looks at: VMs by their class and the class of their home, in the order of their classes.
#[derive(Clone, Copy, Debug)]
pub struct Residents<'a> {
    /// The VM class of each group, ascending.
    pub vm_class: &'a [u32],
    /// The host class that the VMs of the group live on; negative where it is not known.
    pub home_class: &'a [i64],
    /// How many VMs the group has.
    pub vms: &'a [u64],
}

/// A group of [`Residents`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) home: Option<usize>,
    pub(crate) vms: u64,
}

impl Residents<'_> {
    /// Tells whether the columns fit together and name only classes that there are.
    ///
    /// # Errors
    ///
    /// When they do not.
    pub(crate) fn check(&self, vm_classes: usize, host_classes: usize) -> Result<(), AuditError> {
        let groups = self.vm_class.len();
        if self.home_class.len() != groups || self.vms.len() != groups {
            return Err(AuditError::Input("groups differ in length".to_owned()));
        }
        if !self.vm_class.is_sorted() {
            return Err(AuditError::Input("groups are not in the order of their VM classes".to_owned()));
        }
        let stray = |(vm, home): (&u32, &i64)| {
            *vm as usize >= vm_classes || usize::try_from(*home).is_ok_and(|home| home >= host_classes)
        };
        match self.vm_class.iter().zip(self.home_class).position(stray) {
            Some(row) => Err(AuditError::Input(format!("group {row} names a class that there is not"))),
            None => Ok(()),
        }
    }

    /// The groups in a range of rows, as runs of one VM class each.
    pub(crate) fn runs(&self, rows: Range<usize>) -> impl Iterator<Item = (u32, Range<usize>)> + '_ {
        let mut start = rows.start;
        let classes = self.vm_class.get(rows).unwrap_or(&[]).chunk_by(|one, other| one == other);
        classes.filter_map(move |run| {
            let rows = start..start + run.len();
            start = rows.end;
            run.first().map(|class| (*class, rows))
        })
    }

    /// The groups in these rows.
    pub(crate) fn groups(&self, rows: Range<usize>) -> impl Iterator<Item = Group> + '_ {
        let homes = self.home_class.get(rows.clone()).unwrap_or(&[]);
        let vms = self.vms.get(rows).unwrap_or(&[]);
        homes.iter().zip(vms).map(|(home, vms)| Group { home: usize::try_from(*home).ok(), vms: *vms })
    }

    /// Ranges of rows, about as large as each other, that do not part the groups of a VM class.
    pub(crate) fn shares(&self, most: usize) -> Vec<Range<usize>> {
        let (rows, mut start) = (self.vm_class.len(), 0);
        let mut shares = Vec::new();
        while start < rows {
            let mut end = (start + most.max(1)).min(rows);
            let last = self.vm_class.get(end - 1);
            while end < rows && self.vm_class.get(end) == last {
                end += 1;
            }
            shares.push(start..end);
            start = end;
        }
        shares
    }

    /// How many VMs live on each host class.
    pub(crate) fn living(&self, host_classes: usize) -> Vec<u64> {
        let mut living = vec![0; host_classes];
        for group in self.groups(0..self.vm_class.len()) {
            group.home.and_then(|home| living.get_mut(home)).into_iter().for_each(|living| *living += group.vms);
        }
        living
    }
}

/// What each unit says about VM classes, as bits over host classes.
pub trait UnitRows: Sync {
    /// How many units there are.
    fn units(&self) -> usize;
    /// The unit that speaks for the whole vCPU: where it stands in the way, nothing is known of registers, and no cure frees.
    fn vcpu(&self) -> usize;
    /// How many host classes there are.
    fn host_classes(&self) -> usize;
    /// Calls `tell` for every unit that does not accept a VM class on all host classes, in their order: which host classes
    /// get CHANGE, UNKNOWN and REFUSE. `room` is memory to work in.
    fn each(&self, vm_class: u32, room: &mut UnitRoom, tell: &mut dyn FnMut(usize, &UnitRoom));
}

/// One row for each outcome but ACCEPT, filled by [`UnitRows::each`].
#[derive(Clone, Debug, Default)]
pub struct UnitRoom {
    /// CHANGE, UNKNOWN, REFUSE: which host classes say so.
    pub said: [Vec<u64>; 3],
}
