//! What the list unit looks at in a register set.
//!
//! Where it stands depends on the registers alone ([`Layout`]), which many sets have alike; [`SavedList`] is what one set says there.

use std::hash::Hasher;
use std::sync::{Arc, LazyLock};

use crate::catalog::{CATALOG, Gate, Kind, PMCR};
use crate::id::RegisterId;
use crate::policy::TOLERATED_ZERO;
use crate::rules::{Context, aftermath};
use crate::value::Value;

/// More gates than the catalogue has.
pub(super) const MOST_GATES: usize = 16;

/// The fields of a set's ID registers that hide registers of the target, in the order of [`gates`]; [`NO_FIELD`] where there is none.
pub(super) type Fields = [u8; MOST_GATES];
pub(super) const NO_FIELD: u8 = u8::MAX;

/// The gates of the catalogue, in its order and each once.
pub(crate) fn gates() -> &'static [Gate] {
    static GATES: LazyLock<Vec<Gate>> = LazyLock::new(|| {
        let mut gates: Vec<Gate> = Vec::new();
        for register in CATALOG {
            if let Kind::Gated(gate) = register.kind
                && !gates.contains(&gate)
            {
                gates.push(gate);
            }
        }
        gates
    });
    &GATES
}

/// What the list unit looks at in a register set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SavedList {
    /// The saved registers, ascending.
    pub(crate) ids: Arc<[RegisterId]>,
    pub(super) fields: Fields,
    /// What the aftermath looks at, see [`aftermath::looked_at`]; ascending by id.
    pub(crate) words: Arc<[(RegisterId, u64)]>,
    /// Whether `VENDOR_HYP_BMAP_2` was saved with a value other than 0.
    pub(super) bitmap_2_set: bool,
    /// Whether there is any core register. QEMU carries them outside of its list, so that sets of such a list have none.
    pub(super) has_core: bool,
}

/// Where in sets with the same registers stands what the list unit looks at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    ids: Arc<[RegisterId]>,
    has_core: bool,
    /// The registers of [`gates`].
    gates: Vec<Option<Place>>,
    bitmap_2: Option<usize>,
    /// The control register of the PMU, which resets counters.
    control: Option<usize>,
    looks: Vec<(Place, Look)>,
}

/// A register, and its place in what has the values.
#[derive(Clone, Copy, Debug)]
struct Place {
    register: RegisterId,
    at: usize,
}

/// What of a register is looked at.
#[derive(Clone, Copy, Debug)]
enum Look {
    /// These bits.
    Bits(u64),
    /// Whether this bit of the control register resets a count.
    Count(u64),
    /// Whether it is there.
    There,
}

impl Layout {
    /// Of registers that ascend by id, each with its place. `nested`: whether the vCPU has EL2.
    pub(crate) fn new(registers: &[(RegisterId, usize)], nested: bool) -> Self {
        let ids: Vec<RegisterId> = registers.iter().map(|(id, _)| *id).filter(|id| !id.is_surrounding()).collect();
        let place = |register: RegisterId| {
            let found = registers.binary_search_by_key(&register, |(id, _)| *id).ok()?;
            registers.get(found).map(|(register, at)| Place { register: *register, at: *at })
        };
        let at = |register: RegisterId| place(register).map(|place| place.at);
        let bits = aftermath::looked_at(&ids, nested).into_iter().map(|(id, bits)| (id, Look::Bits(bits)));
        let counters = ids.iter().filter_map(|id| Some((*id, Look::Count(aftermath::reset_by(*id)?))));
        let looks = bits.chain(counters).chain([(RegisterId::VGIC_V2, Look::There)]);
        let mut looks: Vec<(Place, Look)> = looks.filter_map(|(id, look)| Some((place(id)?, look))).collect();
        looks.sort_by_key(|(place, _)| place.register);
        Self {
            has_core: registers.iter().any(|(id, _)| id.is_core_field()),
            gates: gates().iter().map(|gate| place(gate.register)).collect(),
            bitmap_2: at(TOLERATED_ZERO),
            control: at(PMCR),
            looks,
            ids: ids.into(),
        }
    }

    /// The places of all values that are looked at.
    pub(crate) fn places(&self) -> impl Iterator<Item = usize> {
        let gates = self.gates.iter().flatten().map(|place| place.at);
        let looks = self.looks.iter().map(|(place, _)| place.at);
        gates.chain(looks).chain(self.bitmap_2).chain(self.control)
    }

    /// What a set says whose values `word` gives by their places; what is said of the registers that are `refused` does not count.
    pub(crate) fn read(
        &self,
        word: impl Fn(usize) -> Option<u64>,
        refused: &[RegisterId],
        words: &mut Vec<(RegisterId, u64)>,
    ) -> Said {
        let of = |place: &Place| word(place.at).filter(|_| !refused.contains(&place.register));
        let mut fields = [NO_FIELD; MOST_GATES];
        for ((field, gate), place) in fields.iter_mut().zip(gates()).zip(&self.gates) {
            *field = place.as_ref().and_then(of).and_then(|word| gate.of(word)).unwrap_or(NO_FIELD);
        }
        let control = self.control.and_then(&word).unwrap_or(0);
        words.clear();
        for (place, look) in &self.looks {
            let said = match look {
                Look::Bits(bits) => of(place).map(|word| word & bits),
                Look::Count(bit) if control & bit == 0 => None,
                Look::Count(_) => word(place.at).is_some_and(aftermath::holds_a_count).then_some(1),
                Look::There => word(place.at).filter(|there| *there != 0),
            };
            words.extend(said.map(|said| (place.register, said)));
        }
        Said { fields, bitmap_2_set: self.bitmap_2.and_then(&word).is_some_and(|word| word != 0) }
    }

    /// Whether this is the list of a set with these registers.
    pub(crate) fn is(&self, list: &SavedList, said: &Said, words: &[(RegisterId, u64)]) -> bool {
        debug_assert_eq!(list.ids, self.ids, "lists are told apart among those with the same registers");
        *list.words == *words && list.fields == said.fields && list.bitmap_2_set == said.bitmap_2_set
    }

    /// The list of a set with these registers.
    pub(crate) fn list(&self, said: &Said, words: &[(RegisterId, u64)]) -> SavedList {
        SavedList {
            ids: self.ids.clone(),
            fields: said.fields,
            words: words.into(),
            bitmap_2_set: said.bitmap_2_set,
            has_core: self.has_core,
        }
    }
}

/// What a set says besides the words that are looked at.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    fields: Fields,
    bitmap_2_set: bool,
}

impl Said {
    /// Writes down what tells lists with the same registers apart, but for which of these are not there.
    pub(crate) fn hash(&self, words: &[(RegisterId, u64)], state: &mut impl Hasher) {
        state.write_u128(u128::from_le_bytes(self.fields));
        state.write_u64(u64::from(self.bitmap_2_set));
        for (_, word) in words {
            state.write_u64(*word);
        }
    }
}

impl SavedList {
    /// The list of registers that ascend by id; what those say that the host `refused` does not count. `nested`: whether the vCPU
    /// has EL2.
    pub(crate) fn new(registers: &[(RegisterId, Value)], refused: &[RegisterId], nested: bool) -> Self {
        let places: Vec<_> = registers.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
        let layout = Layout::new(&places, nested);
        let mut words = Vec::new();
        let said = layout.read(|at| registers.get(at)?.1.word(), refused, &mut words);
        layout.list(&said, &words)
    }

    /// The field of the gate with this number.
    pub(super) fn field(&self, gate: usize) -> Context {
        self.fields.get(gate).copied().filter(|field| *field != NO_FIELD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::PMCCNTR;

    const EVENTS: u64 = 1 << 1;
    const CYCLES: u64 = 1 << 2;
    const UNWRITTEN: u64 = 0x1de7_ec7e_dbad_c0de;

    const fn counter(number: u64) -> RegisterId {
        RegisterId::system(3, 3, 14, 8, number)
    }

    #[test]
    fn each_gate_has_a_field() {
        assert!(gates().len() <= MOST_GATES);
    }

    #[test]
    fn a_reset_takes_the_counts_that_it_names() {
        let counts_of = |control: Option<u64>| {
            let counts = [7, UNWRITTEN, UNWRITTEN & 0xffff_ffff, 0];
            let counters = (0..).zip(counts).map(|(number, count)| (counter(number), count));
            let registers = counters.chain([(PMCCNTR, 9)]).chain(control.map(|control| (PMCR, control)));
            let mut registers: Vec<_> = registers.map(|(id, word)| (id, Value::Word(word))).collect();
            registers.sort_by_key(|(id, _)| *id);
            let words = SavedList::new(&registers, &[], false).words;
            words.iter().copied().filter(|(id, _)| *id != PMCR).collect::<Vec<_>>()
        };
        assert_eq!(counts_of(None), []);
        assert_eq!(counts_of(Some(0xf8f9)), []);
        assert_eq!(counts_of(Some(EVENTS)), [(counter(0), 1)]);
        assert_eq!(counts_of(Some(CYCLES)), [(PMCCNTR, 1)]);
        assert_eq!(counts_of(Some(EVENTS | CYCLES)), [(PMCCNTR, 1), (counter(0), 1)]);
    }

    #[test]
    fn an_interrupt_controller_that_is_not_there_is_not_looked_at() {
        let words = |there: u64| SavedList::new(&[(RegisterId::VGIC_V2, Value::Word(there))], &[], false).words;
        assert_eq!((words(0).as_ref(), words(1).as_ref()), (&[][..], &[(RegisterId::VGIC_V2, 1)][..]));
    }
}
