//! Fresh classes: VM classes that came after the tables were made.
//!
//! A table of many classes is not copied for one more. It waits, judged by itself, until there are enough of them to be worth
//! new tables; who asks about all classes adds those that wait to tables of his own.

use super::judged::Judged;
use crate::fleet::class::VmClass;
use crate::fleet::classes::class_row::NewRow;
use crate::fleet::classes::hosts::Hosts;
use crate::fleet::classes::saved::{Saved, SavedValue};
use crate::fleet::classes::vms::Vms;
use crate::fleet::unit::UnitNumber;
use crate::set::RegisterSet;

/// A VM class by itself, in numbers of no table.
#[derive(Clone, Debug)]
pub(in crate::fleet) struct Fresh {
    /// None for VMs whose rows could not be used.
    saved: Option<(Saved, Vec<(UnitNumber, SavedValue)>)>,
    /// Its outcomes on all host classes.
    pub(in crate::fleet) row: Vec<u8>,
}

impl Fresh {
    /// Judges a class of `vms`, which have all that the tables were made of, and more.
    pub(in crate::fleet) fn new(class: VmClass, vms: &Vms, hosts: &Hosts, judged: &Judged) -> Self {
        let numbers = vms.classes.get(class).unwrap_or_default();
        let row = judged.row_of_new(vms, hosts, numbers);
        let list = numbers.list().and_then(|list| vms.lists.get(list));
        let values = || {
            let value = |(unit, number)| Some((unit, vms.unit_of(unit)?.values.get(number)?.clone()));
            numbers.values().filter_map(value).collect()
        };
        Self { saved: list.map(|list| (list.clone(), values())), row }
    }

    /// Gives a class of other VMs, with the same units and vCPU configurations, what this one has.
    pub(in crate::fleet) fn put(&self, class: VmClass, vms: &mut Vms) {
        let mut row = NewRow::default();
        row.begin(self.saved.as_ref().map(|(list, _)| vms.lists.intern(list.clone())), 1);
        for (unit, saved) in self.saved.iter().flat_map(|(_, values)| values) {
            row.put(*unit, vms.unit_mut(*unit).map(|unit| unit.values.intern(saved.clone())));
        }
        vms.classes.put(class, row.row());
    }

    /// The saved registers, and all that tells the class from others; `vms` knows its units and vCPU configurations.
    pub(in crate::fleet) fn told(&self, vms: &Vms) -> (Option<RegisterSet>, Option<Vec<u8>>) {
        let mut own = vms.of_units();
        let class = VmClass::of(0);
        self.put(class, &mut own);
        (own.registers_of(class).and_then(Result::ok), own.class_key(class))
    }
}
