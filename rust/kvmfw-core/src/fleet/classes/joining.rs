//! VM classes of several makers become one numbering, and one without what nobody has any more.

use super::class_map::count;
use super::class_rows::{ABSENT, place_of, slot_of};
use super::vms::{Saved, SavedValue, Vms};

impl Vms {
    /// Adds the classes of `other`, as if their VMs had been added one by one; gives the number that each has here. The threads
    /// of the pool in which this is called share the work.
    pub(crate) fn absorb(&mut self, other: Self) -> Vec<u32> {
        if self.classes.len() == 0 {
            let classes = (0..count(other.classes.len())).collect();
            *self = other;
            return classes;
        }
        let configs: Vec<u32> = other.configs.items().iter().map(|config| self.configs.intern(*config)).collect();
        let config = |number: u32| configs.get(number as usize).copied().unwrap_or(ABSENT);
        let lists: Vec<u32> = other
            .lists
            .items()
            .iter()
            .map(|list| self.lists.intern(Saved { config: config(list.config), list: list.list.clone() }))
            .collect();
        // Numbers first: with them classes are translated while the tables of values grow.
        let (mut units, mut new_values) = (Vec::new(), Vec::new());
        for unit in other.units {
            let (at, _) = self.unit(unit.register);
            let Some(own) = self.units.get(at) else { continue };
            let values = unit.values.into_items().into_iter();
            let values = values.map(|value| SavedValue { config: config(value.config), ..value }).collect();
            let (numbers, new) = own.values.place(values);
            units.push((at, numbers));
            new_values.push((at, new));
        }
        let add_values = || {
            for (at, new) in new_values {
                if let Some(unit) = self.units.get_mut(at) {
                    unit.values.append(new);
                }
            }
        };
        let add_classes = || self.classes.absorb(&other.classes, |class, row| translate(class, &lists, &units, row));
        rayon::join(add_values, add_classes).1
    }

    /// The same classes without the values, lists, configurations and units that none of `kept` has; all others are given back.
    pub(in crate::fleet) fn kept(&self, kept: &[u32]) -> Self {
        let mut vms = Self::default();
        let (mut lists, mut units): (Vec<u32>, Vec<(usize, Vec<u32>)>) = (vec![ABSENT; self.lists.len()], Vec::new());
        for class in kept.iter().filter_map(|class| self.classes.get(*class)) {
            let Some(list) = class.first().filter(|list| **list != ABSENT) else { continue };
            let (Some(slot), Some(saved)) = (lists.get_mut(*list as usize), self.lists.get(*list)) else { continue };
            if *slot == ABSENT {
                let config = self.configs.get(saved.config).map_or(ABSENT, |config| vms.configs.intern(*config));
                *slot = vms.lists.intern(Saved { config, list: saved.list.clone() });
            }
        }
        let config = |number: u32| {
            let config = self.configs.get(number)?;
            vms.configs.items().iter().position(|known| known == config).and_then(|at| u32::try_from(at).ok())
        };
        let config: Vec<u32> = (0..count(self.configs.len())).map(|number| config(number).unwrap_or(ABSENT)).collect();
        for (at, unit) in self.units.iter().enumerate() {
            let mut numbers = vec![ABSENT; unit.values.len()];
            let mut own = None;
            for class in kept.iter().filter_map(|class| self.classes.get(*class)) {
                let Some(number) = class.get(place_of(at)).filter(|number| **number != ABSENT) else { continue };
                let (Some(slot), Some(saved)) = (numbers.get_mut(*number as usize), unit.values.get(*number)) else {
                    continue;
                };
                if *slot == ABSENT {
                    let own = *own.get_or_insert_with(|| vms.unit(unit.register).0);
                    let config = config.get(saved.config as usize).copied().unwrap_or(ABSENT);
                    if let Some(unit) = vms.units.get_mut(own) {
                        *slot = unit.values.intern(SavedValue { config, ..saved.clone() });
                    }
                }
            }
            units.push((own.unwrap_or(usize::MAX), numbers));
        }
        vms.classes = self.classes.kept(kept, |class, row| translate(class, &lists, &units, row));
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

/// A class of other VMs in the numbers of these, into `row`.
fn translate(class: &[u32], lists: &[u32], units: &[(usize, Vec<u32>)], row: &mut Vec<u32>) {
    row.clear();
    row.push(class.first().and_then(|list| lists.get(*list as usize)).copied().unwrap_or(ABSENT));
    let values = class.iter().skip(1).zip(units).filter(|(number, _)| **number != ABSENT);
    for (number, (at, numbers)) in values {
        if let (Some(slot), Some(own)) = (slot_of(row, *at), numbers.get(*number as usize)) {
            *slot = *own;
        }
    }
}
