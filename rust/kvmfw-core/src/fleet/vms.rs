//! The VM side: register sets become classes that no unit can tell apart.

use std::hash::{Hash, Hasher};

use rayon::prelude::*;

use super::class_map::ClassMap;
use super::intern::{Interner, RowInterner};
use super::pool::Pool;
use super::shape::{Shape, Shapes};
use crate::catalog::Gate;
use crate::error::FormatError;
use crate::id::RegisterId;
use crate::list::SavedList;
use crate::policy::{gate_of, judged_value};
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

/// What a register unit looks at; equal where no host can tell the two apart.
#[derive(Clone, Debug)]
pub(crate) struct SavedValue {
    pub(crate) config: u32,
    /// The value that was saved first, of all that are judged alike.
    pub(crate) value: Value,
    /// What is looked at in it.
    pub(crate) judged: Value,
    pub(crate) context: Context,
}

impl SavedValue {
    fn looked_at(&self) -> (u32, &Value, Context) {
        (self.config, &self.judged, self.context)
    }
}

impl PartialEq for SavedValue {
    fn eq(&self, other: &Self) -> bool {
        self.looked_at() == other.looked_at()
    }
}

impl Eq for SavedValue {}

impl Hash for SavedValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.looked_at().hash(state);
    }
}

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
    /// The number of a value.
    fn number(&mut self, value: Value, config: u32, context: Context) -> u32 {
        let word = value.word();
        if let Some(number) = word.and_then(|word| self.recent.get(word, config, context)) {
            return number;
        }
        let judged = judged_value(self.register, &value);
        let number = self.values.intern(SavedValue { config, value, judged, context });
        if let Some(word) = word {
            self.recent.put(word, config, context, number);
        }
        number
    }
}

/// The VMs of a fleet, interned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vms {
    pub(crate) configs: Interner<VcpuConfig>,
    pub(crate) lists: Interner<Saved>,
    pub(crate) units: Vec<RegisterUnit>,
    /// Classes: the number of the list ([`ABSENT`] for VMs whose rows could not be used), then for each register unit
    /// the number of its value; values of units after the last one that the set holds are left out.
    pub(crate) classes: RowInterner,
    /// The class of each VM, by row.
    pub(crate) class_of: ClassMap,
    pub(super) shapes: Shapes,
    scratch: Vec<u32>,
}

impl Vms {
    /// Adds one VM; its registers ascend by id.
    pub(crate) fn add(&mut self, config: VcpuConfig, registers: &[(RegisterId, Value)]) {
        let config = self.configs.intern(config);
        let mut shapes = std::mem::take(&mut self.shapes);
        let ids: Vec<u64> = registers.iter().map(|(id, _)| id.raw()).collect();
        let found = shapes.is_last(config, &ids).or_else(|| shapes.find(config, &ids));
        let shape = found.unwrap_or_else(|| shapes.add(config, ids.clone(), self));
        let value = |at: usize| registers.get(at).map(|(_, value)| value.clone());
        let class = shapes.get_mut(shape).map(|shape| self.class(shape, &ids, value));
        let class = class.unwrap_or_else(|| self.unusable_class());
        self.shapes = shapes;
        self.class_of.push(class);
    }

    /// The class of a VM of this shape; `value` gives the value at a place of `ids`.
    pub(super) fn class(&mut self, shape: &mut Shape, ids: &[u64], value: impl Fn(usize) -> Option<Value>) -> u32 {
        let field = |at: Option<usize>, shift: u32| {
            let word = value(at?)?.word()?;
            u8::try_from(word >> shift & 0xf).ok()
        };
        let config = shape.config;
        let list = shape.list(ids, field, &value, |list| self.lists.intern(Saved { config, list }));
        let mut row = std::mem::take(&mut self.scratch);
        row.clear();
        row.push(list);
        for column in &shape.columns {
            let (Some(unit), Some(value)) = (self.units.get_mut(column.unit), value(column.at)) else { continue };
            if row.len() <= column.unit + 1 {
                row.resize(column.unit + 2, ABSENT);
            }
            let context = column.gate.and_then(|(at, shift)| field(at, shift));
            if let Some(slot) = row.get_mut(column.unit + 1) {
                *slot = unit.number(value, config, context);
            }
        }
        let class = self.classes.intern(&row);
        self.scratch = row;
        class
    }

    /// The class of VMs whose rows could not be used.
    pub(super) fn unusable_class(&mut self) -> u32 {
        self.classes.intern(&[ABSENT])
    }

    /// The number of the unit that judges `register`.
    pub(super) fn unit(&mut self, register: RegisterId) -> usize {
        if let Some(at) = self.units.iter().position(|unit| unit.register == register) {
            return at;
        }
        let gate = gate_of(register);
        let (values, recent) = (Interner::default(), Recent::default());
        self.units.push(RegisterUnit { register, gate, values, recent });
        self.units.len() - 1
    }

    /// Appends the VMs of `other`, as if they had been added one by one.
    pub(crate) fn absorb(&mut self, other: Self, pool: &Pool) {
        if self.class_of.len() == 0 && self.classes.len() == 0 {
            *self = other;
            return;
        }
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
        let classes = self.absorb_classes(&other.classes, &lists, &units, pool);
        // Every number of `other` is the number of one of its classes.
        let mut rows = vec![0; other.class_of.len()];
        let translate = |(chunk, rows): (usize, &mut [u32])| {
            other.class_of.write(chunk * ROWS, rows);
            for class in rows {
                *class = classes.get(*class as usize).copied().unwrap_or(ABSENT);
            }
        };
        pool.run(|| rows.par_chunks_mut(ROWS).enumerate().for_each(translate));
        self.class_of.extend(rows.into_iter());
    }

    /// The numbers of the classes of other VMs: threads translate and hash them, numbers are given in order.
    fn absorb_classes(
        &mut self,
        others: &RowInterner,
        lists: &[u32],
        units: &[(usize, Vec<u32>)],
        pool: &Pool,
    ) -> Vec<u32> {
        let translated = |chunk: usize| {
            let mut rows = Vec::with_capacity(CHUNK);
            let first = chunk * CHUNK;
            for class in first..others.len().min(first + CHUNK) {
                let class = u32::try_from(class).ok().and_then(|class| others.get(class)).unwrap_or(&[]);
                let row = translate(class, lists, units);
                rows.push((RowInterner::hash(&row), row));
            }
            rows
        };
        let chunks = others.len().div_ceil(CHUNK);
        let mut numbers = Vec::with_capacity(others.len());
        for start in (0..chunks).step_by(CHUNKS_AT_ONCE) {
            let chunks = start..chunks.min(start + CHUNKS_AT_ONCE);
            let rows: Vec<Vec<(u32, Vec<u32>)>> = pool.run(|| chunks.into_par_iter().map(translated).collect());
            numbers.extend(rows.iter().flatten().map(|(hash, row)| self.classes.intern_hashed(*hash, row)));
        }
        numbers
    }

    /// The saved registers of a class; registers whose value nobody looks at have value 0.
    pub(crate) fn registers_of(&self, class: u32) -> Option<Result<RegisterSet, FormatError>> {
        let class = self.classes.get(class)?;
        let list = self.lists.get(*class.first()?)?;
        let config = self.configs.get(list.config)?;
        let registers = list
            .list
            .ids
            .iter()
            .map(|id| {
                let at = self.units.iter().position(|unit| unit.register == *id);
                let value = at.and_then(|at| {
                    let number = class.get(at + 1)?;
                    Some(self.units.get(at)?.values.get(*number)?.value.clone())
                });
                (*id, value.unwrap_or(Value::Word(0)))
            })
            .collect();
        Some(RegisterSet::new("", None, *config, registers))
    }
}

/// A class of other VMs in the numbers of these.
fn translate(class: &[u32], lists: &[u32], units: &[(usize, Vec<u32>)]) -> Vec<u32> {
    let mut row = Vec::with_capacity(units.len() + 1);
    row.push(class.first().and_then(|list| lists.get(*list as usize)).copied().unwrap_or(ABSENT));
    for (number, (at, numbers)) in class.iter().skip(1).zip(units).filter(|(number, _)| **number != ABSENT) {
        if row.len() <= at + 1 {
            row.resize(at + 2, ABSENT);
        }
        if let (Some(slot), Some(own)) = (row.get_mut(at + 1), numbers.get(*number as usize)) {
            *slot = *own;
        }
    }
    row
}

/// Classes that one thread translates at a time, and how many such chunks are in memory at once.
const CHUNK: usize = 1 << 9;
const CHUNKS_AT_ONCE: usize = 1 << 6;
/// VMs whose classes one thread translates at a time.
const ROWS: usize = 1 << 14;
