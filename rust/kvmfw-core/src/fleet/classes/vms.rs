//! The VM side: register sets become classes that no unit can tell apart.

use std::hash::{Hash, Hasher};

use super::class_row::{ClassRow, NewRow};
use super::class_rows::ClassRows;
use super::intern::Interner;
use super::saved::{Saved, SavedValue};
use super::shape::{Column, Shape, Shapes};
use crate::catalog::Gate;
use crate::error::FormatError;
use crate::fleet::class::VmClass;
use crate::fleet::unit::UnitNumber;
use crate::id::RegisterId;
use crate::policy::gate_of;
use crate::rules::{Context, PmuNames, judged_value, pmu_context};
use crate::set::RegisterSet;
use crate::value::Value;
use crate::vcpu::VcpuConfig;

/// One register unit: a register whose value KVM looks at, with the distinct values saved of it.
#[derive(Clone, Debug)]
pub(crate) struct RegisterUnit {
    pub(crate) register: RegisterId,
    pub(crate) gate: Option<Gate>,
    pub(crate) values: Interner<SavedValue>,
    recent: Recent,
}

/// Numbers that values got lately: most registers of a fleet have few values (`hostile`: a seventh of the intake).
#[derive(Clone, Debug, Default)]
struct Recent([Option<(u64, u32, Context, u32)>; RECENT]);

const RECENT: usize = 32;

impl Recent {
    /// Where a word has its slot: by the high bits of a product, which depend on all of its bits.
    const fn slot(word: u64) -> usize {
        (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 59) as usize
    }

    fn get(&self, word: u64, config: u32, context: Context) -> Option<u32> {
        let slot = self.0.get(Self::slot(word)).copied().flatten();
        slot.filter(|slot| (slot.0, slot.1, slot.2) == (word, config, context)).map(|slot| slot.3)
    }

    fn put(&mut self, word: u64, config: u32, context: Context, number: u32) {
        if let Some(slot) = self.0.get_mut(Self::slot(word)) {
            *slot = Some((word, config, context, number));
        }
    }
}

impl RegisterUnit {
    /// The number of a value, where there is one; `word` is the value of a register of at most 8 bytes.
    #[inline]
    fn number(
        &mut self,
        word: Option<u64>,
        value: impl FnOnce() -> Option<Value>,
        config: u32,
        context: Context,
    ) -> Option<u32> {
        let known = word.and_then(|word| self.recent.get(word, config, context));
        known.or_else(|| value().map(|value| self.other_number(value, config, context)))
    }

    /// The number of the value in a column of a VM, see [`Vms::class`].
    #[inline]
    pub(super) fn number_at(
        &mut self,
        column: &Column,
        config: u32,
        word: impl Fn(usize) -> Option<u64>,
        value: impl FnOnce(usize) -> Option<Value>,
    ) -> Option<u32> {
        let field = |at: Option<usize>, shift: u32| u8::try_from(word(at?)? >> shift & 0xf).ok();
        let found = column.gate.and_then(|(at, shift)| field(at, shift));
        let names = || PmuNames::of(word(column.at), column.other.and_then(&word));
        let context = if column.has_two_names { Some(pmu_context(found, names())) } else { found };
        let narrow = if column.is_wide { None } else { word(column.at) };
        self.number(narrow, || value(column.at), config, context)
    }

    #[inline(never)]
    fn other_number(&mut self, value: Value, config: u32, context: Context) -> u32 {
        let word = value.word();
        let judged = judged_value(self.register, &value, context);
        let number = self.values.intern(SavedValue { config, value, judged, context });
        if let Some(word) = word {
            self.recent.put(word, config, context, number);
        }
        number
    }
}

/// What a list takes beside its registers, which copies share, with what a shape knows of it.
pub(super) const BYTES_OF_A_LIST: usize = 512;

/// The VMs of a fleet, interned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vms {
    pub(crate) configs: Interner<VcpuConfig>,
    pub(crate) lists: Interner<Saved>,
    pub(crate) units: Vec<RegisterUnit>,
    pub(in crate::fleet) classes: ClassRows,
    pub(in crate::fleet) shapes: Shapes,
    scratch: NewRow,
}

impl Vms {
    /// The class of one VM; its registers ascend by id.
    pub(in crate::fleet) fn class_of(&mut self, config: VcpuConfig, registers: &[(RegisterId, Value)]) -> VmClass {
        let ids: Vec<u64> = registers.iter().map(|(id, _)| id.raw()).collect();
        let shape = self.shape(config, &ids);
        let mut shapes = std::mem::take(&mut self.shapes);
        let word = |at: usize| registers.get(at).and_then(|(_, value)| value.word());
        let value = |at: usize| registers.get(at).map(|(_, value)| value.clone());
        let class = shapes.get_mut(shape).map(|shape| self.class(shape, &ids, word, value));
        let class = class.unwrap_or_else(|| self.unusable_class());
        self.shapes = shapes;
        class
    }

    /// The number of the shape of vCPUs that are made like this and hold these registers.
    pub(in crate::fleet) fn shape(&mut self, config: VcpuConfig, ids: &[u64]) -> usize {
        let number = self.configs.intern(config);
        if let Some(found) = self.shapes.find(number, ids) {
            return found;
        }
        let mut shapes = std::mem::take(&mut self.shapes);
        let shape = shapes.add((number, config), ids.to_vec(), |register| self.unit(register));
        self.shapes = shapes;
        shape
    }

    /// The class of a VM of this shape. `word` gives the value at a place of `ids` where its register has at most 8 bytes,
    /// `value` that of any register.
    pub(in crate::fleet) fn class(
        &mut self,
        shape: &mut Shape,
        ids: &[u64],
        word: impl Fn(usize) -> Option<u64>,
        value: impl Fn(usize) -> Option<Value>,
    ) -> VmClass {
        let config = shape.config;
        let list = shape.list(&word, &mut self.lists);
        let mut row = std::mem::take(&mut self.scratch);
        row.begin(Some(list), shape.width);
        for column in &shape.columns {
            let Some(unit) = self.unit_mut(column.unit) else { continue };
            row.put(column.unit, unit.number_at(column, config, &word, &value));
        }
        for (at, context) in shape.rarely_judged(ids, &word, &value) {
            let Some(register) = ids.get(at).map(|id| RegisterId::new(*id)) else { continue };
            let (number, _) = self.unit(register);
            if let Some(unit) = self.unit_mut(number) {
                row.put(number, unit.number(None, || value(at), config, context));
            }
        }
        let class = self.classes.intern(row.row());
        self.scratch = row;
        class
    }

    /// The class of a VM of the shape with this number, whose values are given as words, in the order of the ids.
    pub(in crate::fleet) fn class_of_words(&mut self, shape: usize, values: &[u64]) -> VmClass {
        let mut shapes = std::mem::take(&mut self.shapes);
        let class = shapes.get_mut(shape).map(|shape| {
            let ids = std::mem::take(&mut shape.ids);
            let value = |at: usize| Value::from_word(*values.get(at)?, RegisterId::new(*ids.get(at)?)).ok();
            let class = self.class(shape, &ids, |at| values.get(at).copied(), value);
            shape.ids = ids;
            class
        });
        self.shapes = shapes;
        class.unwrap_or_else(|| self.unusable_class())
    }

    /// Lets copies share all that there is.
    pub(in crate::fleet) fn settle(&mut self) {
        self.lists.settle();
        self.units.iter_mut().for_each(|unit| unit.values.settle());
        self.classes.settle();
        self.shapes.settle();
    }

    /// How many bytes of memory [`Vms::settle`] may ask for.
    pub(in crate::fleet) fn settling(&self) -> usize {
        let values = self.units.iter().map(|unit| unit.values.settling()).sum::<usize>();
        values + self.lists.settling() + self.classes.settling() + self.shapes.settling()
    }

    /// How many bytes of memory a copy takes.
    pub(in crate::fleet) fn bytes(&self) -> usize {
        let values = self.units.iter().map(|unit| unit.values.bytes() + size_of::<RegisterUnit>()).sum::<usize>();
        values + self.lists.bytes() + self.classes.bytes() + self.shapes.bytes()
    }

    /// How many bytes of memory all of it takes.
    pub(in crate::fleet) fn size(&self) -> usize {
        let values = self.units.iter().map(|unit| unit.values.size()).sum::<usize>();
        values + self.classes.size() + self.lists.len() * BYTES_OF_A_LIST
    }

    /// How many bytes of memory so many more VMs may take at once, none of which is like another.
    pub(in crate::fleet) fn growth(&self, vms: usize) -> usize {
        let values: usize = self.units.iter().map(|unit| unit.values.growth(vms)).sum();
        values.saturating_add(self.classes.growth(vms, vms.saturating_mul(self.units.len() + 1)))
    }

    /// The class of VMs whose rows could not be used.
    pub(in crate::fleet) fn unusable_class(&mut self) -> VmClass {
        let mut row = NewRow::default();
        row.begin(None, 1);
        self.classes.intern(row.row())
    }

    /// The number of the unit that judges `register`, and the field that decides about it.
    pub(in crate::fleet) fn unit(&mut self, register: RegisterId) -> (UnitNumber, Option<Gate>) {
        if let Some((at, unit)) = self.units.iter().enumerate().find(|(_, unit)| unit.register == register) {
            return (UnitNumber::of_register(at), unit.gate);
        }
        let gate = gate_of(register);
        let (values, recent) = (Interner::default(), Recent::default());
        self.units.push(RegisterUnit { register, gate, values, recent });
        (UnitNumber::of_register(self.units.len() - 1), gate)
    }

    /// A register unit by its number; `None` for the vCPU and the list.
    pub(in crate::fleet) fn unit_of(&self, unit: UnitNumber) -> Option<&RegisterUnit> {
        self.units.get(unit.register()?)
    }

    /// The same, to give numbers to values.
    pub(in crate::fleet) fn unit_mut(&mut self, unit: UnitNumber) -> Option<&mut RegisterUnit> {
        self.units.get_mut(unit.register()?)
    }

    /// The row of a class; empty where there is no such class.
    pub(in crate::fleet) fn row(&self, class: VmClass) -> ClassRow<'_> {
        self.classes.get(class).unwrap_or_default()
    }

    /// All that tells a class from others, in an order that does not depend on the other VMs: what is interned is written
    /// down by its own `Hash`, so that nothing which tells classes apart can be forgotten here. None for VMs whose rows
    /// could not be used.
    pub(in crate::fleet) fn class_key(&self, class: VmClass) -> Option<Vec<u8>> {
        let class = self.classes.get(class)?;
        let list = self.lists.get(class.list()?)?;
        let mut key = Bytes::default();
        self.configs.get(list.config)?.hash(&mut key);
        list.list.hash(&mut key);
        let value = |(unit, number)| {
            let unit = self.unit_of(unit)?;
            Some((unit.register, unit.values.get(number)?))
        };
        let values = class.values().filter_map(value);
        let mut values: Vec<(RegisterId, &SavedValue)> = values.collect();
        values.sort_unstable_by_key(|(register, _)| *register);
        for (register, value) in values {
            // The number of the configuration is one of this fleet; the configuration itself was written first.
            let (_, judged, context) = value.looked_at();
            (register, judged, context).hash(&mut key);
        }
        Some(key.0)
    }

    /// The saved registers of a class; registers whose value nobody looks at have value 0.
    pub(in crate::fleet) fn registers_of(&self, class: VmClass) -> Option<Result<RegisterSet, FormatError>> {
        let class = self.classes.get(class)?;
        let list = self.lists.get(class.list()?)?;
        let config = self.configs.get(list.config)?;
        let judged = |at: usize| {
            let number = class.value(UnitNumber::of_register(at))?;
            Some(self.units.get(at)?.values.get(number)?.value.clone())
        };
        let listed = list.list.ids.iter().map(|id| {
            let value = self.units.iter().position(|unit| unit.register == *id).and_then(judged);
            let word = || {
                let at = list.list.words.binary_search_by_key(id, |(known, _)| *known).ok()?;
                Some(list.list.words.get(at)?.1)
            };
            let other = || Value::from_low_bytes(word().unwrap_or(0), *id);
            (*id, value.unwrap_or_else(other))
        });
        // No list has what stands beside registers.
        let beside = self.units.iter().enumerate().filter(|(_, unit)| unit.register.is_surrounding());
        let beside = beside.filter_map(|(at, unit)| Some((unit.register, judged(at)?)));
        let registers = listed.chain(beside).collect();
        Some(RegisterSet::new("", None, *config, registers))
    }
}

/// Collects what is hashed, in place of a hash.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::{GIC, ID_AA64DFR0, PMCCNTR, PMCR, S1PIE};
    use crate::list::SavedList;
    use crate::policy::TOLERATED_ZERO;

    const LOOKED_AT: [RegisterId; 9] = [
        GIC.register,
        S1PIE.register,
        ID_AA64DFR0,
        PMCR,
        PMCCNTR,
        RegisterId::system(3, 3, 14, 8, 0),
        TOLERATED_ZERO,
        RegisterId::PSTATE,
        RegisterId::VGIC_V2,
    ];

    proptest! {
        #[test]
        fn the_list_of_a_vm_in_a_fleet_is_that_of_its_set(
            ids in proptest::sample::subsequence(LOOKED_AT.to_vec(), 1..=LOOKED_AT.len()).prop_shuffle(),
            vms in proptest::collection::vec(proptest::collection::vec(prop_oneof![
                Just(0), Just(1), Just(6), Just(u64::MAX), any::<u64>(),
            ], LOOKED_AT.len()), 1..8),
            features in prop_oneof![Just(0_u32), Just(1 << 7)],
        ) {
            let config = VcpuConfig { features, ..VcpuConfig::default() };
            let raw: Vec<u64> = ids.iter().map(|id| id.raw()).collect();
            let mut fleet = Vms::default();
            for values in &vms {
                let shape = fleet.shape(config, &raw);
                let class = fleet.class_of_words(shape, values.get(..ids.len()).unwrap());
                let mut registers: Vec<_> =
                    ids.iter().zip(values).map(|(id, value)| (*id, Value::Word(*value))).collect();
                registers.sort_by_key(|(id, _)| *id);
                let list = fleet.row(class).list().and_then(|list| fleet.lists.get(list)).unwrap();
                prop_assert_eq!(&list.list, &SavedList::new(&registers, &[], config.has("has_el2")));
            }
        }
    }
}
