//! The rows that tell VM classes apart, by class; a class that nobody is of any more gives its number back.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use rayon::prelude::*;

use super::class_map::count;
use super::class_row::{ClassRow, NewRow};
use super::intern::short;
use super::layers::{Changed, Items, Numbers};
use crate::fleet::class::VmClass;

/// Interned rows of numbers, none of them empty.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct ClassRows {
    /// Where the row of each class starts in `numbers`, and its length; 0 for a class that nobody is of.
    spans: Items<(usize, u32)>,
    /// The same of those of which that was settled.
    moved: Changed<VmClass, (usize, u32)>,
    numbers: Items<u32>,
    table: Numbers,
    /// Classes that nobody is of.
    free: Vec<VmClass>,
}

/// Rows that one thread translates at a time, and how many are in memory at once.
const CHUNK: usize = 1 << 9;
const AT_ONCE: usize = 1 << 17;

impl ClassRows {
    /// The class of a row, new if it was not seen before.
    pub(in crate::fleet) fn intern(&mut self, row: ClassRow<'_>) -> VmClass {
        let row = row.numbers();
        let short = hash(row);
        self.find(short, row).unwrap_or_else(|| self.insert(short, row))
    }

    fn find(&self, short: u32, row: &[u32]) -> Option<VmClass> {
        // A number that is settled may be one of a class that has another row now.
        self.table.find(short, |class| self.numbers(VmClass::of(class)) == Some(row)).map(VmClass::of)
    }

    fn insert(&mut self, short: u32, row: &[u32]) -> VmClass {
        let class = self.free.pop().unwrap_or_else(|| VmClass::at_place(self.spans.len()));
        self.place(class, short, row);
        class
    }

    fn place(&mut self, class: VmClass, short: u32, row: &[u32]) {
        let missing = (class.place() + 1).saturating_sub(self.spans.len());
        self.spans.extend(std::iter::repeat_n((0, 0), missing));
        self.set_span(class, (self.numbers.len(), count(row.len())));
        self.numbers.extend(row.iter().copied());
        self.table.insert(short, class.number());
    }

    fn set_span(&mut self, class: VmClass, span: (usize, u32)) {
        match self.spans.get_own(class.place()) {
            Some(own) => *own = span,
            None => self.moved.set(class, span),
        }
    }

    fn span(&self, class: VmClass) -> Option<(usize, u32)> {
        self.moved.value(&class).or_else(|| self.spans.get(class.place())).copied()
    }

    /// Gives a class this row, in place of the one that it had.
    pub(in crate::fleet) fn put(&mut self, class: VmClass, row: ClassRow<'_>) {
        let row = row.numbers();
        self.unlink(class);
        self.place(class, hash(row), row);
    }

    /// Gives the number of a class back; tells whether it was that of one.
    pub(in crate::fleet) fn forget(&mut self, class: VmClass) -> bool {
        let was_there = self.unlink(class);
        // Where there is no memory for it the number is lost, and nothing else: this is also how changes are undone.
        if was_there && self.free.try_reserve(1).is_ok() {
            self.free.push(class);
        }
        was_there
    }

    fn unlink(&mut self, class: VmClass) -> bool {
        let Some(row) = self.numbers(class).filter(|row| !row.is_empty()) else { return false };
        let short = hash(row);
        self.table.remove(short, class.number());
        self.set_span(class, (0, 0));
        true
    }

    /// The same classes by other rows: those of `kept`, ascending, as `translate` writes them; all others are given back.
    pub(in crate::fleet) fn kept(
        &self,
        kept: &[VmClass],
        mut translate: impl FnMut(ClassRow<'_>, &mut NewRow),
    ) -> Self {
        let (mut rows, mut row) = (Self::default(), NewRow::default());
        for class in kept {
            translate(self.get(*class).unwrap_or_default(), &mut row);
            let row = row.row().numbers();
            rows.place(*class, hash(row), row);
        }
        let mut kept = kept.iter().copied().peekable();
        rows.free = VmClass::first(rows.spans.len()).filter(|class| kept.next_if_eq(class).is_none()).collect();
        rows.free.reverse();
        rows
    }

    /// The classes of so many rows, as `write` writes them. Threads of the pool in which this is called share all but the adding.
    pub(in crate::fleet) fn intern_all(
        &mut self,
        count: usize,
        write: impl Fn(usize, &mut NewRow) + Sync,
    ) -> Vec<VmClass> {
        let chunk = |known: &Self, first: usize| {
            let (mut numbers, mut found, mut new) = (Vec::new(), Vec::with_capacity(CHUNK), NewRow::default());
            for at in first..count.min(first + CHUNK) {
                write(at, &mut new);
                let row = new.row().numbers();
                let short = hash(row);
                found.push((short, row.len(), known.find(short, row)));
                numbers.extend_from_slice(row);
            }
            (numbers, found)
        };
        let mut classes = Vec::with_capacity(count);
        for start in (0..count).step_by(AT_ONCE) {
            let firsts: Vec<usize> = (start..count.min(start + AT_ONCE)).step_by(CHUNK).collect();
            let chunks: Vec<_> = firsts.par_iter().map(|first| chunk(self, *first)).collect();
            for (numbers, found) in &chunks {
                let mut numbers = numbers.as_slice();
                for (short, length, found) in found {
                    let (row, rest) = numbers.split_at_checked(*length).unwrap_or_default();
                    numbers = rest;
                    // It may have come since it was looked for.
                    let found = found.or_else(|| self.find(*short, row));
                    classes.push(found.unwrap_or_else(|| self.insert(*short, row)));
                }
            }
        }
        classes
    }

    /// The row of a class; empty where nobody is of it.
    pub(in crate::fleet) fn get(&self, class: VmClass) -> Option<ClassRow<'_>> {
        self.numbers(class).map(ClassRow::of)
    }

    fn numbers(&self, class: VmClass) -> Option<&[u32]> {
        let (start, length) = self.span(class)?;
        self.numbers.range(start, length as usize)
    }

    /// The rows, by class.
    pub(in crate::fleet) fn rows(&self) -> impl Iterator<Item = ClassRow<'_>> {
        VmClass::first(self.len()).map_while(|class| self.get(class))
    }

    /// Lets copies share all that there is.
    pub(in crate::fleet) fn settle(&mut self) {
        self.spans.settle();
        self.moved.settle();
        self.numbers.settle();
        self.table.settle();
    }

    /// How many bytes of memory [`ClassRows::settle`] may ask for.
    pub(in crate::fleet) fn settling(&self) -> usize {
        let spans = self.spans.settling() + self.moved.settling();
        spans + self.numbers.settling() + self.table.settling()
    }

    /// How many bytes of memory all of it takes.
    pub(in crate::fleet) fn size(&self) -> usize {
        self.spans.size() + self.numbers.size() + self.table.size()
    }

    /// How many bytes of memory a copy takes.
    pub(in crate::fleet) fn bytes(&self) -> usize {
        let spans = self.spans.bytes() + self.moved.bytes() + size_of_val(self.free.as_slice());
        spans + self.numbers.bytes() + self.table.bytes()
    }

    /// How many bytes of memory so many more classes may take at once, with so many numbers in all.
    pub(in crate::fleet) fn growth(&self, classes: usize, numbers: usize) -> usize {
        self.spans.growth(classes) + self.numbers.growth(numbers) + self.table.growth(classes)
    }

    /// How many numbers there are in all rows.
    pub(in crate::fleet) fn number_count(&self) -> usize {
        self.numbers.len()
    }

    /// One more than the greatest number of a class.
    pub(in crate::fleet) fn len(&self) -> usize {
        self.spans.len()
    }
}

fn hash(row: &[u32]) -> u32 {
    short(FixedState::default().hash_one(row))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Intern(u32),
        Forget(usize),
        Put(usize, u32),
        Settle,
        Keep,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..40_u32).prop_map(Step::Intern),
            2 => any::<usize>().prop_map(Step::Forget),
            1 => (any::<usize>(), 40..60_u32).prop_map(|(at, row)| Step::Put(at, row)),
            1 => Just(Step::Settle),
            1 => Just(Step::Keep),
        ]
    }

    proptest! {
        #[test]
        fn a_class_has_the_row_that_it_was_given_last_and_copies_stay(
            steps in proptest::collection::vec(step(), 0..120),
        ) {
            let row = |of: u32| vec![of; of as usize % 3 + 1];
            let (mut rows, mut model) = (ClassRows::default(), BTreeMap::new());
            let mut kept = Vec::new();
            for step in steps {
                let some = |at: usize, model: &BTreeMap<VmClass, u32>| model.keys().nth(at % model.len().max(1)).copied();
                match step {
                    Step::Intern(of) => {
                        let class = rows.intern(ClassRow::of(&row(of)));
                        if let Some((known, _)) = model.iter().find(|(_, known)| **known == of) {
                            prop_assert_eq!(class, *known);
                        } else {
                            prop_assert_eq!(model.insert(class, of), None);
                        }
                    }
                    Step::Forget(at) => {
                        let Some(class) = some(at, &model) else { continue };
                        rows.forget(class);
                        model.remove(&class);
                    }
                    Step::Put(at, of) => {
                        let Some(class) = some(at, &model).filter(|_| !model.values().any(|known| *known == of)) else { continue };
                        rows.put(class, ClassRow::of(&row(of)));
                        model.insert(class, of);
                    }
                    Step::Settle => rows.settle(),
                    Step::Keep => kept.push((rows.clone(), model.clone())),
                }
            }
            kept.push((rows, model));
            for (rows, model) in kept {
                for class in VmClass::first(rows.len()) {
                    let numbers = model.get(&class).map(|of| row(*of)).unwrap_or_default();
                    prop_assert_eq!(rows.get(class), Some(ClassRow::of(&numbers)));
                }
            }
        }
    }

    #[test]
    fn a_number_is_given_back_and_used_again() {
        let mut rows = ClassRows::default();
        let classes = [&[1, 2][..], &[1], &[1, 2], &[2, 1]].map(|row| rows.intern(ClassRow::of(row)));
        assert_eq!(classes, [0, 1, 0, 2].map(VmClass::of));
        rows.forget(VmClass::of(1));
        rows.forget(VmClass::of(1));
        assert_eq!((rows.get(VmClass::of(1)), rows.len()), (Some(ClassRow::default()), 3));
        assert_eq!([&[9][..], &[1], &[2, 1]].map(|row| rows.intern(ClassRow::of(row))), [1, 3, 2].map(VmClass::of));
        rows.put(VmClass::of(2), ClassRow::of(&[7]));
        assert_eq!([&[7][..], &[2, 1]].map(|row| rows.intern(ClassRow::of(row))), [2, 4].map(VmClass::of));
        let kept = rows.kept(&[1, 3].map(VmClass::of), |row, out| {
            out.begin(row.list(), row.numbers().len());
        });
        assert_eq!(
            (kept.get(VmClass::of(1)), kept.get(VmClass::of(3)), kept.len()),
            (Some(ClassRow::of(&[9])), Some(ClassRow::of(&[1])), 4)
        );
        assert_eq!(kept.free, [2, 0].map(VmClass::of));
    }
}
