//! VM classes of several makers become one numbering, and one without what nobody has any more.

use super::class_map::count;
use super::class_row::{ClassRow, NewRow};
use super::saved::{Saved, SavedValue};
use super::vms::{BYTES_OF_A_LIST, Vms};
use crate::error::MemoryError;
use crate::fleet::class::VmClass;
use crate::fleet::unit::UnitNumber;
use crate::room;

impl Vms {
    /// Adds the classes of `other`, as if their VMs had been added one by one; gives the number that each has here. The threads
    /// of the pool in which this is called share the work.
    ///
    /// # Errors
    ///
    /// When there is no memory for it; nothing is added then.
    pub(in crate::fleet) fn absorb(&mut self, other: Self) -> Result<Vec<VmClass>, MemoryError> {
        room::ask(self.growth_by(&other))?;
        if self.classes.len() == 0 {
            let classes = VmClass::first(other.classes.len()).collect();
            *self = other;
            return Ok(classes);
        }
        let configs: Vec<u32> = other.configs.items().map(|config| self.configs.intern(*config)).collect();
        let config = |number: u32| configs.get(number as usize).copied().unwrap_or(u32::MAX);
        let translated = |list: Saved| Saved { config: config(list.config), ..list };
        let (lists, new_lists) = self.lists.place(other.lists.into_items().into_iter().map(translated).collect());
        // Numbers first: with them classes are translated while the tables of values grow.
        let (mut units, mut new_values) = (Vec::new(), Vec::new());
        for unit in other.units {
            let (at, _) = self.unit(unit.register);
            let Some(own) = self.unit_of(at) else { continue };
            let values = unit.values.into_items().into_iter();
            let values = values.map(|value| SavedValue { config: config(value.config), ..value }).collect();
            let (numbers, new) = own.values.place(values);
            units.push((at, numbers));
            new_values.push((at, new));
        }
        let add_values = || {
            self.lists.append(new_lists);
            for (at, new) in new_values {
                if let Some(unit) = at.register().and_then(|at| self.units.get_mut(at)) {
                    unit.values.append(new);
                }
            }
        };
        let list = |number: u32| lists.get(number as usize).copied();
        let value = |unit: UnitNumber, number: u32| {
            let (own, numbers) = units.get(unit.register()?)?;
            Some((*own, *numbers.get(number as usize)?))
        };
        let write = |class: usize, row: &mut NewRow| {
            let class = other.classes.get(VmClass::at_place(class)).unwrap_or_default();
            translate(class, list, value, row);
        };
        let add_classes = || self.classes.intern_all(other.classes.len(), write);
        Ok(rayon::join(add_values, add_classes).1)
    }

    /// How many bytes of memory it may take to add `other`.
    fn growth_by(&self, other: &Self) -> usize {
        let classes = other.classes.len();
        let own = |register| self.units.iter().find(|unit| unit.register == register);
        let lists = other.lists.len() * BYTES_OF_A_LIST;
        let values = other.units.iter().map(|unit| {
            let more = unit.values.len();
            let grown = own(unit.register).map_or(0, |own| own.values.growth(more));
            grown + more * size_of::<(u32, SavedValue, Option<u32>)>()
        });
        let moved =
            if self.classes.len() == 0 { 0 } else { self.classes.growth(classes, other.classes.number_count()) };
        values.sum::<usize>() + lists + moved + classes * size_of::<VmClass>()
    }

    /// The same classes without the values, lists, configurations and units that none of `kept` has; all others are given back.
    pub(in crate::fleet) fn kept(&self, kept: &[VmClass]) -> Self {
        room::need(2 * self.size());
        let mut vms = Self::default();
        let (mut lists, mut units) = (vec![None; self.lists.len()], Vec::new());
        for class in kept.iter().filter_map(|class| self.classes.get(*class)) {
            let Some(list) = class.list() else { continue };
            let (Some(slot), Some(saved)) = (lists.get_mut(list as usize), self.lists.get(list)) else { continue };
            if slot.is_none() {
                let Some(config) = self.configs.get(saved.config) else { continue };
                let config = vms.configs.intern(*config);
                *slot = Some(vms.lists.intern(Saved { config, list: saved.list.clone() }));
            }
        }
        let config = |number: u32| {
            let config = self.configs.get(number)?;
            vms.configs.items().position(|known| known == config).and_then(|at| u32::try_from(at).ok())
        };
        let config: Vec<Option<u32>> = (0..count(self.configs.len())).map(config).collect();
        for (at, unit) in self.units.iter().enumerate() {
            let mut numbers = vec![None; unit.values.len()];
            let mut own = None;
            for class in kept.iter().filter_map(|class| self.classes.get(*class)) {
                let Some(number) = class.value(UnitNumber::of_register(at)) else { continue };
                let (Some(slot), Some(saved)) = (numbers.get_mut(number as usize), unit.values.get(number)) else {
                    continue;
                };
                if slot.is_none() {
                    let own = *own.get_or_insert_with(|| vms.unit(unit.register).0);
                    let config = config.get(saved.config as usize).copied().flatten();
                    if let (Some(unit), Some(config)) = (vms.unit_mut(own), config) {
                        *slot = Some(unit.values.intern(SavedValue { config, ..saved.clone() }));
                    }
                }
            }
            units.push((own, numbers));
        }
        let list = |number: u32| lists.get(number as usize).copied().flatten();
        let value = |unit: UnitNumber, number: u32| {
            let (own, numbers) = units.get(unit.register()?)?;
            Some(((*own)?, (*numbers.get(number as usize)?)?))
        };
        vms.classes = self.classes.kept(kept, |class, row| translate(class, list, value, row));
        vms
    }

    /// The same units and vCPU configurations, without anything else.
    pub(in crate::fleet) fn of_units(&self) -> Self {
        let mut vms = Self::default();
        vms.configs.clone_from(&self.configs);
        self.units.iter().for_each(|unit| {
            vms.unit(unit.register);
        });
        vms
    }
}

/// A class of other VMs in the numbers of these, into `row`: `list` and `value` give these.
fn translate(
    class: ClassRow<'_>,
    list: impl Fn(u32) -> Option<u32>,
    value: impl Fn(UnitNumber, u32) -> Option<(UnitNumber, u32)>,
    row: &mut NewRow,
) {
    row.begin(class.list().and_then(list), 1);
    for (unit, own) in class.values().filter_map(|(unit, number)| value(unit, number)) {
        row.put(unit, Some(own));
    }
}
