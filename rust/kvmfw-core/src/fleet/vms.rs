//! The VM side: register sets become classes that no unit can tell apart.

use super::intern::Interner;
use crate::catalog::Gate;
use crate::error::FormatError;
use crate::id::RegisterId;
use crate::list::SavedList;
use crate::policy::{gate_of, is_judged_by_value};
use crate::rules::Context;
use crate::set::RegisterSet;
use crate::value::Value;
use crate::vcpu::VcpuConfig;

/// In place of a value number: the set does not hold the register of this unit.
pub(crate) const ABSENT: u32 = u32::MAX;

/// A list unit value: how the vCPU was made, and the list of saved registers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Saved {
    pub(crate) config: u32,
    pub(crate) list: SavedList,
}

/// What a register unit looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SavedValue {
    pub(crate) config: u32,
    pub(crate) value: Value,
    pub(crate) context: Context,
}

/// One register unit: a register whose value KVM looks at, with the distinct values saved of it.
#[derive(Clone, Debug)]
pub(crate) struct RegisterUnit {
    pub(crate) register: RegisterId,
    pub(crate) gate: Option<Gate>,
    pub(crate) values: Interner<SavedValue>,
}

/// A class of VMs: the number of its list and, for each register unit, the number of its value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct VmClass {
    /// The number of the saved list; [`ABSENT`] for VMs whose rows could not be used.
    pub(crate) list: u32,
    /// Value numbers by unit; units that appeared later are missing at the end.
    pub(crate) values: Box<[u32]>,
}

/// The VMs of a fleet, interned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vms {
    pub(crate) configs: Interner<VcpuConfig>,
    pub(crate) lists: Interner<Saved>,
    pub(crate) units: Vec<RegisterUnit>,
    pub(crate) classes: Interner<VmClass>,
    /// The class of each VM, by row.
    pub(crate) class_of: Vec<u32>,
    scratch: Vec<u32>,
}

fn field(gate: Gate, registers: &[(RegisterId, Value)]) -> Context {
    let at = registers.binary_search_by_key(&gate.register, |(id, _)| *id).ok()?;
    let word = registers.get(at)?.1.word()?;
    u8::try_from(word >> gate.shift & 0xf).ok()
}

impl Vms {
    /// Adds one VM; its registers ascend by id.
    pub(crate) fn add(&mut self, config: VcpuConfig, registers: &[(RegisterId, Value)]) {
        let config = self.configs.intern(config);
        let list = self.lists.intern(Saved { config, list: SavedList::new(registers, &[]) });
        let mut values = std::mem::take(&mut self.scratch);
        values.clear();
        for (register, value) in registers.iter().filter(|(register, _)| is_judged_by_value(*register)) {
            let at = self.unit(*register);
            if values.len() <= at {
                values.resize(at + 1, ABSENT);
            }
            if let (Some(unit), Some(slot)) = (self.units.get_mut(at), values.get_mut(at)) {
                let context = unit.gate.and_then(|gate| field(gate, registers));
                *slot = unit.values.intern(SavedValue { config, value: value.clone(), context });
            }
        }
        let class = self.classes.intern(VmClass { list, values: values.as_slice().into() });
        self.scratch = values;
        self.class_of.push(class);
    }

    /// Adds one VM whose rows could not be used: every pair of it is unknown.
    pub(crate) fn add_unusable(&mut self) {
        let class = self.classes.intern(VmClass { list: ABSENT, values: Box::default() });
        self.class_of.push(class);
    }

    fn unit(&mut self, register: RegisterId) -> usize {
        if let Some(at) = self.units.iter().position(|unit| unit.register == register) {
            return at;
        }
        let gate = gate_of(register);
        self.units.push(RegisterUnit { register, gate, values: Interner::default() });
        self.units.len() - 1
    }

    /// Appends the VMs of `other`, as if they had been added one by one.
    pub(crate) fn absorb(&mut self, other: &Self) {
        let configs: Vec<u32> = other.configs.items().iter().map(|config| self.configs.intern(*config)).collect();
        let config = |number: u32| configs.get(number as usize).copied().unwrap_or(ABSENT);
        let lists: Vec<u32> = other
            .lists
            .items()
            .iter()
            .map(|list| self.lists.intern(Saved { config: config(list.config), list: list.list.clone() }))
            .collect();
        let units: Vec<(usize, Vec<u32>)> = other
            .units
            .iter()
            .map(|unit| {
                let at = self.unit(unit.register);
                let own = self.units.get_mut(at);
                let numbers = own.map_or_else(Vec::new, |own| {
                    let values = unit.values.items().iter();
                    values
                        .map(|value| own.values.intern(SavedValue { config: config(value.config), ..value.clone() }))
                        .collect()
                });
                (at, numbers)
            })
            .collect();
        let classes: Vec<u32> =
            other.classes.items().iter().map(|class| self.translate(class, &lists, &units)).collect();
        self.class_of.extend(other.class_of.iter().filter_map(|class| classes.get(*class as usize)));
    }

    fn translate(&mut self, class: &VmClass, lists: &[u32], units: &[(usize, Vec<u32>)]) -> u32 {
        let mut values = std::mem::take(&mut self.scratch);
        values.clear();
        for (number, (at, numbers)) in class.values.iter().zip(units) {
            if *number == ABSENT {
                continue;
            }
            if values.len() <= *at {
                values.resize(at + 1, ABSENT);
            }
            if let (Some(slot), Some(own)) = (values.get_mut(*at), numbers.get(*number as usize)) {
                *slot = *own;
            }
        }
        let list = lists.get(class.list as usize).copied().unwrap_or(ABSENT);
        let class = self.classes.intern(VmClass { list, values: values.as_slice().into() });
        self.scratch = values;
        class
    }

    /// The saved registers of a class; registers whose value nobody looks at have value 0.
    pub(crate) fn registers_of(&self, class: u32) -> Option<Result<RegisterSet, FormatError>> {
        let class = self.classes.get(class)?;
        let list = self.lists.get(class.list)?;
        let config = self.configs.get(list.config)?;
        let registers = list
            .list
            .ids
            .iter()
            .map(|id| {
                let at = self.units.iter().position(|unit| unit.register == *id);
                let value = at.and_then(|at| {
                    let number = class.values.get(at)?;
                    Some(self.units.get(at)?.values.get(*number)?.value.clone())
                });
                (*id, value.unwrap_or(Value::Word(0)))
            })
            .collect();
        Some(RegisterSet::new("", None, *config, registers))
    }
}
