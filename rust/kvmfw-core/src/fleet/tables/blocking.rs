//! The table of deciding units: for every pair of classes its outcome and the first unit that has it.

use rayon::prelude::*;

use super::judged::Judged;
use crate::fleet::class::{HostClass, VmClass};
use crate::fleet::classes::class_map::count;
use crate::fleet::classes::hosts::Hosts;
use crate::fleet::classes::vms::Vms;
use crate::fleet::grid::UNKNOWN;
use crate::fleet::unit::{NO_UNIT, UnitNumber};
use crate::pool::{Pool, checkpoint};
use crate::room;

/// The [`Code`] of every pair of classes, by host class.
#[derive(Clone, Debug)]
pub(in crate::fleet) enum Blocking {
    /// Few units: a byte is enough.
    Bytes(Vec<u8>),
    Words(Vec<Code>),
}

/// An outcome and the first unit that has it, as one number: the outcome in the lowest two bits. 0 is ACCEPT, of no unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::fleet) struct Code(u16);

impl Code {
    /// UNKNOWN, of the unit of the vCPU: what a look-up outside of the table says.
    pub(in crate::fleet) const UNKNOWN: Self = Self::of(UNKNOWN, 0);

    const fn of(outcome: u8, unit: u16) -> Self {
        Self(if outcome == 0 { 0 } else { unit << 2 | outcome as u16 })
    }

    /// The outcome and the unit.
    pub(in crate::fleet) fn told(self) -> (u8, u16) {
        let [low, _] = self.0.to_le_bytes();
        (low & 3, if self.0 == 0 { NO_UNIT } else { self.0 >> 2 })
    }

    /// The lowest byte: all of it where units are few.
    pub(in crate::fleet) const fn byte(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// The code with this byte, where units are few.
    pub(in crate::fleet) const fn of_byte(byte: u8) -> Self {
        Self(byte as u16)
    }
}

impl Blocking {
    /// Fills the table, host class by host class; `None` where there is no memory for it.
    pub(in crate::fleet) fn new(judged: &Judged, vms: &Vms, hosts: &Hosts, pool: &Pool) -> Option<Self> {
        // Threads fill parts of their own, which are joined then.
        room::ask(vms.classes.len().saturating_mul(hosts.classes.len()).saturating_mul(2 * size_of::<Code>())).ok()?;
        let (vm_classes, host_classes) = (vms.classes.len(), count(hosts.classes.len()));
        let code = |vm: VmClass, host: u32| {
            let (outcome, unit) = judged.pair(vms, hosts, vm, HostClass::of(host));
            Code::of(outcome, unit)
        };
        Some(pool.run(|| {
            let columns = (0..host_classes).into_par_iter().inspect(|_| checkpoint());
            if UnitNumber::count(vms.units.len()) <= 64 {
                Self::Bytes(
                    columns
                        .flat_map_iter(|host| VmClass::first(vm_classes).map(move |vm| code(vm, host).byte()))
                        .collect(),
                )
            } else {
                Self::Words(
                    columns.flat_map_iter(|host| VmClass::first(vm_classes).map(move |vm| code(vm, host))).collect(),
                )
            }
        }))
    }
}
