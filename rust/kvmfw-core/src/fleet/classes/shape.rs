//! Shapes: which registers a set holds, in which order, and what is looked at where.
//!
//! Sets of a fleet have few shapes. What depends on the registers alone is worked out once for each of them.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::class_row::width_for;
use super::intern::{Interner, short};
use super::layers::Numbers;
use super::saved::Saved;
use crate::catalog::{self, Gate, Kind};
use crate::fleet::unit::UnitNumber;
use crate::id::RegisterId;
use crate::id::check_size;
use crate::list::Layout;
use crate::policy::{is_judged_by_value, is_kept_anywhere};
use crate::rules::{self, Context, is_aarch32, longest_vector, other_name};
use crate::value::Value;
use crate::vcpu::VcpuConfig;

/// One list of registers of one vCPU configuration.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct Shape {
    pub(in crate::fleet) config: u32,
    /// Whether such a vCPU begins in AArch32.
    begins_in_aarch32: bool,
    /// The ids, in the order of the input.
    pub(in crate::fleet) ids: Vec<u64>,
    /// The places whose values are looked at, ascending by id.
    pub(in crate::fleet) columns: Vec<Column>,
    /// How long the row of a class gets by these places.
    pub(in crate::fleet) width: usize,
    /// The places of general registers, whose values are looked at in AArch32 modes.
    pub(in crate::fleet) general: Vec<usize>,
    /// The places of SVE registers, whose values are looked at beyond the longest vector, and of the set of lengths.
    pub(in crate::fleet) sve: Vec<usize>,
    pub(in crate::fleet) lengths: Option<usize>,
    /// The place of the mode.
    mode: Option<usize>,
    /// The places whose values may make a class, ascending.
    pub(in crate::fleet) looked_at: Vec<usize>,
    /// The places of registers of less than 8 bytes, and how many bits they have.
    narrow: Vec<(usize, u32)>,
    /// Places that make such a set unusable, and why.
    pub(in crate::fleet) problems: Vec<(usize, String)>,
    /// What the list unit looks at.
    layout: Layout,
    /// Numbers of lists with the ids of this shape, by hashes of all else that lists are told apart by.
    lists: Numbers,
    words: Vec<(RegisterId, u64)>,
}

/// A place of a shape, with what is known of it.
const BYTES_OF_A_PLACE: usize = size_of::<Column>() + 64;

/// One register whose value is looked at.
#[derive(Clone, Copy, Debug)]
pub(in crate::fleet) struct Column {
    /// Its place in the shape.
    pub(in crate::fleet) at: usize,
    pub(in crate::fleet) unit: UnitNumber,
    /// More than 8 bytes.
    pub(in crate::fleet) is_wide: bool,
    /// The place and the lowest bit of the field that decides about it.
    pub(in crate::fleet) gate: Option<(Option<usize>, u32)>,
    /// Whether the register has two names, and the place of the other one.
    pub(in crate::fleet) has_two_names: bool,
    pub(in crate::fleet) other: Option<usize>,
}

/// All shapes of a fleet.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct Shapes {
    all: Vec<Shape>,
    table: HashTable<u32>,
    state: FixedState,
    last: usize,
}

impl Shapes {
    /// The shape with these ids.
    pub(in crate::fleet) fn find(&mut self, config: u32, ids: &[u64]) -> Option<usize> {
        // Neighbours mostly have the same one.
        if self.all.get(self.last).is_some_and(|last| last.config == config && last.ids == ids) {
            return Some(self.last);
        }
        self.last = self.known(config, ids)?;
        Some(self.last)
    }

    /// The number of the shape with these ids.
    pub(in crate::fleet) fn known(&self, config: u32, ids: &[u64]) -> Option<usize> {
        let is = |shape: &Shape| shape.config == config && shape.ids == ids;
        let hash = self.state.hash_one((config, ids));
        let found = self.table.find(hash, |at| self.all.get(*at as usize).is_some_and(is));
        found.map(|number| *number as usize)
    }

    /// Whether the last shape that was found has these ids: a comparison of memory.
    pub(in crate::fleet) fn is_last(&self, ids: &[u64]) -> bool {
        self.all.get(self.last).is_some_and(|last| last.ids == ids)
    }

    /// The shape with this number.
    pub(in crate::fleet) fn get(&self, number: usize) -> Option<&Shape> {
        self.all.get(number)
    }

    /// The shape with this number, for looking up its lists.
    pub(in crate::fleet) fn get_mut(&mut self, number: usize) -> Option<&mut Shape> {
        self.all.get_mut(number)
    }

    /// Adds a shape that was not found, of vCPUs that are made like this, which has a number; `unit` gives the number of the unit of
    /// a register, and what decides about it.
    pub(in crate::fleet) fn add(
        &mut self,
        (config, made): (u32, VcpuConfig),
        ids: Vec<u64>,
        unit: impl FnMut(RegisterId) -> (UnitNumber, Option<Gate>),
    ) -> usize {
        let hash = self.state.hash_one((config, ids.as_slice()));
        self.last = self.all.len();
        self.all.push(Shape::new((config, made), ids, unit));
        let number = u32::try_from(self.last).unwrap_or(u32::MAX);
        let (shapes, state) = (&self.all, &self.state);
        let hash_of = |shape: &Shape| state.hash_one((shape.config, shape.ids.as_slice()));
        self.table.insert_unique(hash, number, |at| shapes.get(*at as usize).map_or(0, hash_of));
        self.last
    }
}

impl Shapes {
    /// Lets copies share what is known of lists.
    pub(in crate::fleet) fn settle(&mut self) {
        self.all.iter_mut().for_each(|shape| shape.lists.settle());
    }

    /// How many bytes of memory [`Shapes::settle`] may ask for.
    pub(in crate::fleet) fn settling(&self) -> usize {
        self.all.iter().map(|shape| shape.lists.settling()).sum()
    }

    /// How many bytes of memory a copy takes.
    pub(in crate::fleet) fn bytes(&self) -> usize {
        self.all.iter().map(|shape| shape.ids.len() * BYTES_OF_A_PLACE + shape.lists.bytes()).sum()
    }
}

impl Shape {
    fn new(
        (config, vcpu): (u32, VcpuConfig),
        ids: Vec<u64>,
        mut unit: impl FnMut(RegisterId) -> (UnitNumber, Option<Gate>),
    ) -> Self {
        let begins_in_aarch32 = vcpu.has("el1_32bit");
        let mut order: Vec<usize> = (0..ids.len()).collect();
        let id = |at: &usize| RegisterId::new(ids.get(*at).copied().unwrap_or(0));
        order.sort_by_key(|at| (id(at), *at));
        let mut problems: Vec<(usize, String)> =
            order.iter().filter_map(|at| Some((*at, check_id(id(at)).err()?))).collect();
        for pair in order.windows(2) {
            if let [first, second] = pair
                && id(first) == id(second)
            {
                problems.push((*second, format!("register {} occurs twice in one VM", id(first))));
            }
        }
        problems.sort_by_key(|(at, _)| *at);
        let place = |register: RegisterId| order.binary_search_by_key(&register, id).ok();
        let place = |register| place(register).and_then(|found| order.get(found).copied());
        let columns = order.iter().filter(|at| is_judged_by_value(id(at))).map(|at| {
            let (unit, gate) = unit(id(at));
            let is_wide = id(at).size() > 8;
            let gate = gate.map(|gate| (place(gate.register), gate.shift));
            let other = other_name(id(at));
            let (has_two_names, other) = (other.is_some(), other.and_then(place));
            Column { at: *at, unit, is_wide, gate, has_two_names, other }
        });
        let columns: Vec<Column> = columns.collect();
        let width = width_for(columns.iter().map(|column| column.unit));
        let kind = |kind: Kind| order.iter().copied().filter(move |at| catalog::kind_of(id(at)) == kind);
        let general = kind(Kind::General).collect();
        let sve: Vec<usize> = kind(Kind::SveState).collect();
        let narrow = order.iter().filter(|at| id(at).size() < 8);
        let narrow = narrow.map(|at| (*at, u32::try_from(id(at).size() * 8).unwrap_or(64))).collect();
        let (lengths, mode) = (place(RegisterId::SVE_VLS), place(RegisterId::PSTATE));
        let ascending: Vec<(RegisterId, usize)> = order.iter().map(|at| (id(at), *at)).collect();
        let layout = Layout::new(&ascending, vcpu.has("has_el2"));
        // All that a class is made of. Of a Z register, of which bulk intake has the low 8 bytes, no vector is too short.
        let mut looked_at: Vec<usize> = columns.iter().map(|column| column.at).collect();
        looked_at
            .extend(columns.iter().flat_map(|column| [column.other, column.gate.and_then(|(at, _)| at)]).flatten());
        looked_at.extend(sve.iter().copied().filter(|at| id(at).size() < 256).chain(lengths));
        looked_at.extend(layout.places());
        looked_at.sort_unstable();
        looked_at.dedup();
        let shape = Self {
            config,
            begins_in_aarch32,
            ids,
            columns,
            width,
            looked_at,
            narrow,
            problems,
            layout,
            ..Self::default()
        };
        Self { general, sve, lengths, mode, ..shape }
    }

    /// Whether a set of this shape is of a vCPU in an AArch32 mode, which loses upper halves.
    pub(in crate::fleet) fn is_aarch32(&self, word: impl Fn(usize) -> Option<u64>) -> bool {
        !self.general.is_empty() && (self.begins_in_aarch32 || self.mode(word).is_some_and(is_aarch32))
    }

    /// The mode of a set of this shape.
    pub(in crate::fleet) fn mode(&self, word: impl Fn(usize) -> Option<u64>) -> Context {
        rules::mode(word(self.mode?)?)
    }

    /// The places whose values are looked at in this set alone, each with what decides about it: general registers in AArch32
    /// modes, and SVE registers that use more than some vectors have.
    pub(in crate::fleet) fn rarely_judged(
        &self,
        ids: &[u64],
        word: impl Fn(usize) -> Option<u64>,
        value: impl Fn(usize) -> Option<Value>,
    ) -> impl Iterator<Item = (usize, Context)> {
        let (mode, longest) = (self.mode(&word), self.lengths.and_then(&value).as_ref().and_then(longest_vector));
        let general = if self.is_aarch32(&word) { self.general.as_slice() } else { &[] };
        let general = general.iter().map(move |at| (*at, mode));
        let all = general.chain(self.sve.iter().map(move |at| (*at, longest)));
        all.filter(move |(at, context)| {
            let register = ids.get(*at).map(|id| RegisterId::new(*id));
            let seen = word(*at).map(Value::Word).or_else(|| value(*at));
            register.zip(seen).is_some_and(|(register, seen)| !is_kept_anywhere(register, &seen, *context))
        })
    }

    /// The values of a set of this shape that are too wide for their registers: places, registers and values.
    pub(in crate::fleet) fn too_wide(&self, values: &[u64]) -> impl Iterator<Item = (usize, RegisterId, u64)> {
        self.narrow.iter().filter_map(|(at, bits)| {
            let (id, word) = self.ids.get(*at).zip(values.get(*at))?;
            (word >> bits != 0).then(|| (*at, RegisterId::new(*id), *word))
        })
    }

    /// Whether nothing is special about a set of this shape: its rows can be used, and all that is looked at stands in `columns`.
    pub(in crate::fleet) fn is_plain(&self, values: &[u64]) -> bool {
        let word = |at: usize| values.get(at).copied();
        let value = |at: usize| Value::from_word(word(at)?, RegisterId::new(*self.ids.get(at)?)).ok();
        self.problems.is_empty()
            && self.too_wide(values).next().is_none()
            && self.rarely_judged(&self.ids, word, value).next().is_none()
    }

    /// The number among `lists` of the list of a set of this shape, new if it was not seen before.
    pub(in crate::fleet) fn list(&mut self, word: impl Fn(usize) -> Option<u64>, lists: &mut Interner<Saved>) -> u32 {
        let (layout, words) = (&self.layout, &mut self.words);
        let said = layout.read(word, &[], words);
        let mut hasher = FixedState::default().build_hasher();
        said.hash(words, &mut hasher);
        let hash = short(hasher.finish());
        let is = |number: u32| lists.get(number).is_some_and(|saved| layout.is(&saved.list, &said, words));
        if let Some(number) = self.lists.find(hash, is) {
            return number;
        }
        let number = lists.intern(Saved { config: self.config, list: layout.list(&said, words) });
        self.lists.insert(hash, number);
        number
    }
}

/// Whether rows of a table can bear this id. One without an architecture is a number that is something else
/// (`uapi/linux/kvm.h`: `KVM_REG_GENERIC` has no registers), mostly one that was written without its `0x`.
fn check_id(id: RegisterId) -> Result<(), String> {
    check_size(id)?;
    if id.raw() >> 60 == 0 {
        return Err(format!(
            "{id} is not the id of a register: its architecture is 0 (was it written without its `0x`?)"
        ));
    }
    Ok(())
}
