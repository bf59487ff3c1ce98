//! The table of deciding units: for every pair of classes its outcome and the first unit that has it.

use rayon::prelude::*;

use super::judged::Judged;
use crate::fleet::classes::class_map::count;
use crate::fleet::classes::hosts::Hosts;
use crate::fleet::classes::vms::Vms;
use crate::fleet::unit::{FIRST_REGISTER_UNIT, NO_UNIT};
use crate::pool::Pool;

/// For every pair of classes its outcome and the first unit that has it, as one number.
#[derive(Clone, Debug)]
pub(in crate::fleet) enum Blocking {
    /// Few units: a byte is enough.
    Bytes(Vec<u8>),
    Words(Vec<u16>),
}

/// An outcome and a unit as one number.
pub(in crate::fleet) const fn code(outcome: u8, unit: u16) -> u16 {
    if outcome == 0 { 0 } else { unit << 2 | outcome as u16 }
}

/// The outcome and the unit of a number.
pub(in crate::fleet) fn decode(code: u16) -> (u8, u16) {
    let [low, _] = code.to_le_bytes();
    (low & 3, if code == 0 { NO_UNIT } else { code >> 2 })
}

impl Blocking {
    /// Fills the table, host class by host class.
    pub(in crate::fleet) fn new(judged: &Judged, vms: &Vms, hosts: &Hosts, pool: &Pool) -> Self {
        let (vm_classes, host_classes) = (count(vms.classes.len()), count(hosts.classes.len()));
        let code = |vm: u32, host: u32| {
            let (outcome, unit) = judged.pair(vms, hosts, vm, host);
            code(outcome, unit)
        };
        pool.run(|| {
            let columns = (0..host_classes).into_par_iter();
            if FIRST_REGISTER_UNIT + vms.units.len() <= 64 {
                let byte = |code: u16| code.to_le_bytes()[0];
                Self::Bytes(columns.flat_map_iter(|host| (0..vm_classes).map(move |vm| byte(code(vm, host)))).collect())
            } else {
                Self::Words(columns.flat_map_iter(|host| (0..vm_classes).map(move |vm| code(vm, host))).collect())
            }
        })
    }
}
