//! Covers: the bits that say where a part has one outcome.
//!
//! Where a part has the outcome is a set of values for each column, or a set of columns for each value. Few sets are
//! chosen (the basis) of which all others are unions; each gets a bit. With n limits of one level those are n bits, with
//! a bitmap one for each bit of it, and never more than there are columns or values.

use std::sync::Arc;

use super::part_row::PartRow;
use super::parts::Part;
use crate::fleet::classes::intern::Interner;
use crate::room;

/// A part takes at most this many bits for one outcome.
const MOST_BITS: usize = 64;

/// A set of small numbers.
type Set = Vec<u64>;

/// For every row of a part the bits that it holds, for every column the bits to which it objects: a row and a column
/// have a bit in common just where the part has the outcome.
#[derive(Clone, Debug)]
pub(in crate::fleet) struct Cover {
    outcome: u8,
    bits: usize,
    /// Shared by versions until there are more rows.
    held: Arc<Vec<u64>>,
    objected: Vec<u64>,
}

impl Cover {
    /// Chooses the bits of one outcome of a part; `None` where there would be too many.
    pub(in crate::fleet) fn of(part: &Part, outcome: u8) -> Option<Self> {
        let (rows, columns) = (part.row_count(), part.columns.len());
        let has = |row: usize, column: usize| part.cell(PartRow::at_place(row), narrow(column)) == outcome;
        let by_row = Sets::new(rows, columns, has);
        let by_column = Sets::new(columns, rows, |column, row| has(row, column));
        let (held, objected, bits) = if by_row.distinct.len() < by_column.distinct.len() {
            let basis = by_row.basis()?;
            (by_row.contained(&basis), members(&basis, columns), basis.len())
        } else {
            let basis = by_column.basis()?;
            (members(&basis, rows), by_column.contained(&basis), basis.len())
        };
        Some(Self { outcome, bits, held: Arc::new(held), objected })
    }

    /// How many bits there are.
    pub(in crate::fleet) fn bits(&self) -> usize {
        self.bits
    }

    /// The bits of a row.
    pub(in crate::fleet) fn held(&self, row: PartRow) -> u64 {
        self.held.get(row.place()).copied().unwrap_or(0)
    }

    /// The bits of a column.
    pub(in crate::fleet) fn objected(&self, column: u32) -> u64 {
        self.objected.get(column as usize).copied().unwrap_or(0)
    }

    /// Gives bits to what is new in the part. `false` where they do not say all: the part must be asked as well.
    pub(in crate::fleet) fn learn(&mut self, part: &Part) -> bool {
        let has = |row: usize, column: usize| part.cell(PartRow::at_place(row), narrow(column)) == self.outcome;
        let mut says_all = true;
        for row in self.held.len()..part.row_count() {
            let (bits, all) = self.widest(&self.objected, |column| has(row, column));
            Arc::make_mut(&mut self.held).push(bits);
            says_all &= all;
        }
        for column in self.objected.len()..part.columns.len() {
            let (bits, all) = self.widest(&self.held, |row| has(row, column));
            self.objected.push(bits);
            says_all &= all;
        }
        says_all
    }

    /// The bits that something new may have, so that it meets only those others of which `has` tells; and whether it
    /// then meets all of them.
    fn widest(&self, others: &[u64], has: impl Fn(usize) -> bool) -> (u64, bool) {
        let others = || others.iter().enumerate();
        let all = if self.bits == 64 { u64::MAX } else { (1 << self.bits) - 1 };
        let bits = others().filter(|(other, _)| !has(*other)).fold(all, |bits, (_, other)| bits & !other);
        (bits, others().all(|(at, other)| has(at) == (bits & other != 0)))
    }
}

/// The sets of one side.
struct Sets {
    /// Distinct sets that are not empty.
    distinct: Interner<Set>,
    /// The set of each item.
    set_of: Vec<Option<u32>>,
}

impl Sets {
    fn new(items: usize, members: usize, has: impl Fn(usize, usize) -> bool) -> Self {
        let (mut distinct, mut set_of) = (Interner::default(), Vec::with_capacity(items));
        for item in 0..items {
            room::need(members / 8 + 64);
            let mut set = vec![0; members.div_ceil(64)];
            for (word, first) in set.iter_mut().zip((0..members).step_by(64)) {
                for member in first..members.min(first + 64) {
                    *word |= u64::from(has(item, member)) << (member - first);
                }
            }
            set_of.push(set.iter().any(|word| *word != 0).then(|| distinct.intern(set)));
        }
        Self { distinct, set_of }
    }

    /// Sets of which all others are unions.
    fn basis(&self) -> Option<Vec<&Set>> {
        let mut sets: Vec<&Set> = self.distinct.items().collect();
        sets.sort_by_key(|set| set.iter().map(|word| word.count_ones()).sum::<u32>());
        let mut basis: Vec<&Set> = Vec::new();
        for set in sets {
            let mut union = vec![0; set.len()];
            for part in basis.iter().filter(|part| is_within(part, set)) {
                union.iter_mut().zip(*part).for_each(|(word, part)| *word |= part);
            }
            if union != *set {
                basis.push(set);
            }
            if basis.len() > MOST_BITS {
                return None;
            }
        }
        Some(basis)
    }

    /// For each item the sets of the basis that lie within its own.
    fn contained(&self, basis: &[&Set]) -> Vec<u64> {
        let bits = |set: &Set| {
            basis.iter().enumerate().fold(0, |bits, (bit, part)| bits | u64::from(is_within(part, set)) << bit)
        };
        let bits: Vec<u64> = self.distinct.items().map(bits).collect();
        let of = |set: &Option<u32>| set.and_then(|set| bits.get(set as usize)).copied().unwrap_or(0);
        self.set_of.iter().map(of).collect()
    }
}

/// For each of `count` members the sets of the basis that it is in.
fn members(basis: &[&Set], count: usize) -> Vec<u64> {
    let is_in = |set: &Set, member: usize| set.get(member / 64).is_some_and(|word| word >> (member % 64) & 1 == 1);
    let bits = |member: usize| {
        basis.iter().enumerate().fold(0, |bits, (bit, set)| bits | u64::from(is_in(set, member)) << bit)
    };
    (0..count).map(bits).collect()
}

fn is_within(part: &Set, whole: &Set) -> bool {
    part.iter().zip(whole).all(|(part, whole)| part & !whole == 0)
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::parts::{Part, Source};
    use super::*;
    use crate::fleet::unit::UnitNumber;

    fn part(rows: &[Vec<u8>], columns: usize) -> Part {
        let mut part = Part::empty(UnitNumber::of_register(0), Source::Values);
        part.set_columns((0..columns).map(|column| vec![narrow(column)]));
        for row in rows {
            part.push_row(row.get(..columns).unwrap_or(row));
        }
        part
    }

    fn says_what_the_part_does(cover: &Cover, part: &Part, outcome: u8) -> bool {
        let pairs = (0..part.row_count()).flat_map(|row| (0..part.columns.len()).map(move |column| (row, column)));
        pairs
            .map(|(row, column)| (PartRow::at_place(row), narrow(column)))
            .all(|(row, column)| (cover.held(row) & cover.objected(column) != 0) == (part.cell(row, column) == outcome))
    }

    fn cells() -> impl Strategy<Value = (Vec<Vec<u8>>, usize)> {
        (1..12_usize, 1..12_usize).prop_flat_map(|(rows, columns)| {
            (proptest::collection::vec(proptest::collection::vec(0..4_u8, columns), rows), Just(columns))
        })
    }

    proptest! {
        #[test]
        fn a_row_and_a_column_share_a_bit_just_where_the_part_has_the_outcome((rows, columns) in cells(), outcome in 1..4_u8) {
            let part = part(&rows, columns);
            let cover = Cover::of(&part, outcome).expect("few bits");
            prop_assert!(says_what_the_part_does(&cover, &part, outcome));
            prop_assert!(cover.bits() <= rows.len().min(columns));
        }

        #[test]
        fn what_is_new_is_learnt_or_left((rows, columns) in cells(), known in 0..12_usize, outcome in 1..4_u8) {
            // Rows that appear later, then columns that do.
            let whole = part(&rows, columns);
            for fewer in [part(rows.get(..known.min(rows.len())).unwrap_or(&[]), columns), part(&rows, known.clamp(1, columns))] {
                let mut cover = Cover::of(&fewer, outcome).expect("few bits");
                let learnt = cover.learn(&whole);
                prop_assert_eq!(learnt, says_what_the_part_does(&cover, &whole, outcome));
                // Even where it does not say all, it says nothing that is not true.
                for (row, column) in (0..rows.len()).flat_map(|row| (0..columns).map(move |column| (PartRow::at_place(row), narrow(column)))) {
                    prop_assert!(cover.held(row) & cover.objected(column) == 0 || whole.cell(row, column) == outcome);
                }
            }
        }
    }

    #[test]
    fn limits_take_a_bit_for_each_step() {
        let rows: Vec<Vec<u8>> =
            (0..9_u8).map(|value| (0..9_u8).map(|own| u8::from(value > own) * 3).collect()).collect();
        assert_eq!(Cover::of(&part(&rows, 9), 3).map(|cover| cover.bits()), Some(8));
    }

    #[test]
    fn a_bitmap_takes_a_bit_for_each_of_its_bits() {
        let rows: Vec<Vec<u8>> =
            (0..64_u8).map(|value| (0..64_u8).map(|own| u8::from(value & !own != 0) * 3).collect()).collect();
        assert_eq!(Cover::of(&part(&rows, 64), 3).map(|cover| cover.bits()), Some(6));
    }

    #[test]
    fn parts_that_would_take_too_many_bits_have_no_cover() {
        let only_own =
            |size: usize| (0..size).map(|value| (0..size).map(|own| u8::from(value != own) * 3).collect()).collect();
        let (most, too_many): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (only_own(MOST_BITS), only_own(MOST_BITS + 1));
        assert_eq!(Cover::of(&part(&most, MOST_BITS), 3).map(|cover| cover.bits()), Some(MOST_BITS));
        assert!(Cover::of(&part(&too_many, MOST_BITS + 1), 3).is_none());
    }
}
