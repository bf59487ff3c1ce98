//! Fresh classes: VM classes that came after the tables were made.
//!
//! A table of many classes is not copied for one more. It waits, judged by itself, until there are enough of them to be worth
//! new tables; who asks about all classes adds those that wait to tables of his own.

use super::judged::Judged;
use crate::fleet::classes::class_rows::{ABSENT, slot_of};
use crate::fleet::classes::hosts::Hosts;
use crate::fleet::classes::vms::{Saved, SavedValue, Vms};
use crate::set::RegisterSet;

/// A VM class by itself, in numbers of no table.
#[derive(Clone, Debug)]
pub(in crate::fleet) struct Fresh {
    /// None for VMs whose rows could not be used.
    saved: Option<(Saved, Vec<(usize, SavedValue)>)>,
    /// Its outcomes on all host classes.
    pub(in crate::fleet) row: Vec<u8>,
}

impl Fresh {
    /// Judges a class of `vms`, which have all that the tables were made of, and more.
    pub(in crate::fleet) fn new(class: u32, vms: &Vms, hosts: &Hosts, judged: &Judged) -> Self {
        let numbers = vms.classes.get(class).unwrap_or(&[]);
        let row = judged.row_of_new(vms, hosts, numbers);
        let list = numbers.first().and_then(|list| vms.lists.get(*list));
        let values = || {
            let values = numbers.iter().skip(1).zip(&vms.units).enumerate();
            values.filter_map(|(at, (number, unit))| Some((at, unit.values.get(*number)?.clone()))).collect()
        };
        Self { saved: list.map(|list| (list.clone(), values())), row }
    }

    /// Gives a class of other VMs, with the same units and vCPU configurations, what this one has.
    pub(in crate::fleet) fn put(&self, class: u32, vms: &mut Vms) {
        let mut row = vec![ABSENT];
        if let Some((list, values)) = &self.saved {
            if let Some(slot) = row.first_mut() {
                *slot = vms.lists.intern(list.clone());
            }
            for (at, saved) in values {
                if let (Some(slot), Some(unit)) = (slot_of(&mut row, *at), vms.units.get_mut(*at)) {
                    *slot = unit.values.intern(saved.clone());
                }
            }
        }
        vms.classes.put(class, &row);
    }

    /// The saved registers, and all that tells the class from others; `vms` knows its units and vCPU configurations.
    pub(in crate::fleet) fn told(&self, vms: &Vms) -> (Option<RegisterSet>, Option<Vec<u8>>) {
        let mut own = vms.of_units();
        self.put(0, &mut own);
        (own.registers_of(0).and_then(Result::ok), own.class_key(0))
    }
}
