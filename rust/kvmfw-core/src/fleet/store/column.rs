//! Columns of numbers, which take no room where each number is as much greater than the one before it.

use std::borrow::Cow;

/// What columns are made of. They add up without end: after the greatest comes the least.
pub(super) trait Arithmetic: Copy + Ord + Default {
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    /// So many times this.
    fn times(self, count: usize) -> Self;
    /// How often another one is in this; `None` where it is without end.
    fn over(self, other: Self) -> Option<usize>;
}

macro_rules! numbers {
    ($($kind:ty),*) => {$(
        impl Arithmetic for $kind {
            #[inline]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }

            #[inline]
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }

            #[inline]
            fn times(self, count: usize) -> Self {
                self.wrapping_mul(Self::try_from(count).unwrap_or(Self::MAX))
            }

            #[inline]
            fn over(self, other: Self) -> Option<usize> {
                self.checked_div(other).map(|times| usize::try_from(times).unwrap_or(usize::MAX))
            }
        }
    )*};
}
numbers!(u32, u64);

/// Some numbers.
#[derive(Clone, Debug)]
pub(super) enum Column<N> {
    /// So many, the first one, and by how much each is greater than the one before it.
    Even(usize, N, N),
    /// Any.
    Listed(Vec<N>),
}

impl<N: Arithmetic> Default for Column<N> {
    fn default() -> Self {
        Self::Even(0, N::default(), N::default())
    }
}

impl<N: Arithmetic> Column<N> {
    /// These numbers.
    pub(super) fn of(numbers: impl ExactSizeIterator<Item = N> + Clone) -> Self {
        let mut rest = numbers.clone();
        let first = rest.next().unwrap_or_default();
        let mut last = rest.next().unwrap_or(first);
        let step = last.minus(first);
        let is_even = rest.all(|number| number.minus(std::mem::replace(&mut last, number)) == step);
        if is_even { Self::Even(numbers.len(), first, step) } else { Self::Listed(numbers.collect()) }
    }

    /// A copy with room for one more.
    pub(super) fn copied(&self) -> Self {
        match self {
            Self::Even(count, first, step) => Self::Even(*count, *first, *step),
            Self::Listed(numbers) => {
                let mut copy = Vec::with_capacity(numbers.len() + 1);
                copy.extend_from_slice(numbers);
                Self::Listed(copy)
            }
        }
    }

    /// How many there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Even(count, ..) => *count,
            Self::Listed(numbers) => numbers.len(),
        }
    }

    /// One of them.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<N> {
        match self {
            Self::Even(count, first, step) => (at < *count).then(|| first.plus(step.times(at))),
            Self::Listed(numbers) => numbers.get(at).copied(),
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Cow<'_, [N]> {
        match self {
            Self::Even(count, ..) => (0..*count).filter_map(|at| self.get(at)).collect(),
            Self::Listed(numbers) => Cow::Borrowed(numbers),
        }
    }

    /// Where a number is of numbers that ascend, or where it belongs.
    #[inline]
    pub(super) fn find(&self, wanted: N) -> Result<usize, usize> {
        match self {
            Self::Even(count, first, _) if *count == 0 || wanted < *first => Err(0),
            Self::Even(count, first, step) => {
                let at = wanted.minus(*first).over(*step).unwrap_or(0);
                match self.get(at) {
                    Some(there) if there == wanted => Ok(at),
                    Some(_) => Err(at + 1),
                    None => Err(*count),
                }
            }
            Self::Listed(numbers) => numbers.binary_search(&wanted),
        }
    }

    /// Does something with all of them.
    fn edit(&mut self, edit: impl FnOnce(&mut Vec<N>)) {
        let mut numbers = match std::mem::take(self) {
            Self::Listed(numbers) => numbers,
            even @ Self::Even(count, ..) => {
                let mut numbers = Vec::with_capacity(count + 1);
                numbers.extend_from_slice(&even.all());
                numbers
            }
        };
        edit(&mut numbers);
        *self = Self::Listed(numbers);
    }

    /// Adds one at the end.
    #[inline]
    pub(super) fn push(&mut self, number: N) {
        match self {
            Self::Listed(numbers) => numbers.push(number),
            Self::Even(count, first, step) => match *count {
                0 => *self = Self::Even(1, number, N::default()),
                1 => *self = Self::Even(2, *first, number.minus(*first)),
                count_now if first.plus(step.times(count_now)) == number => *count += 1,
                _ => self.edit(|numbers| numbers.push(number)),
            },
        }
    }

    /// Gives another number to one of them.
    pub(super) fn set(&mut self, at: usize, number: N) {
        if self.get(at) != Some(number) {
            self.edit(|numbers| numbers.get_mut(at).into_iter().for_each(|there| *there = number));
        }
    }

    /// Takes one away; those after it become less by `less`.
    pub(super) fn remove(&mut self, at: usize, less: N) {
        match self {
            Self::Even(count, ..) if at >= *count => {}
            Self::Even(count, _, step) if *step == less || at + 1 == *count => *count -= 1,
            Self::Even(count, first, step) if at == 0 && less == N::default() => {
                *self = Self::Even(*count - 1, first.plus(*step), *step);
            }
            _ => self.edit(|numbers| {
                if at < numbers.len() {
                    numbers.remove(at);
                }
                numbers.iter_mut().skip(at).for_each(|number| *number = number.minus(less));
            }),
        }
    }

    /// Takes those from `at` on away and gives them, each less by `less`.
    pub(super) fn split_off(&mut self, at: usize, less: N) -> Self {
        match self {
            Self::Even(count, first, step) => {
                let kept = at.min(*count);
                let others = Self::Even(*count - kept, first.plus(step.times(kept)).minus(less), *step);
                *count = kept;
                others
            }
            Self::Listed(numbers) => {
                let mut others = numbers.split_off(at.min(numbers.len()));
                for number in &mut others {
                    *number = number.minus(less);
                }
                Self::Listed(others)
            }
        }
    }

    /// Adds those of another one at the end, each greater by `more`.
    pub(super) fn append(&mut self, other: &Self, more: N) {
        self.edit(|numbers| numbers.extend(other.all().iter().map(|number| number.plus(more))));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers near each other, and such as are far.
    fn number() -> impl Strategy<Value = u32> {
        prop_oneof![0..4_u32, 250..260_u32, u32::MAX - 2..=u32::MAX]
    }

    proptest! {
        #[test]
        fn a_column_is_a_list_of_numbers(
            first in proptest::collection::vec(number(), 0..4),
            even in (0..9_u32, number(), number()),
            steps in proptest::collection::vec((0..6_u8, any::<usize>(), number()), 0..30),
        ) {
            let evenly = (0..even.0).map(|at| even.1.wrapping_add(even.2.wrapping_mul(at))).collect();
            for first in [first, evenly] {
                let (mut list, mut column) = (first.clone(), Column::of(first.iter().copied()));
                for (kind, at, number) in &steps {
                    match (kind, list.len()) {
                        (0, _) => {
                            list.push(*number);
                            column.push(*number);
                        }
                        (1, _) => {
                            // What follows evenly.
                            let next = list.last().map_or(7, |last| last.wrapping_add((number & 1) * 8));
                            list.push(next);
                            column.push(next);
                        }
                        (_, 0) => column.remove(*at, *number),
                        (2, count) => {
                            list[at % count] = *number;
                            column.set(at % count, *number);
                        }
                        (3, count) => {
                            list.remove(at % count);
                            column.remove(at % count, 0);
                        }
                        (4, count) => {
                            let others: Vec<u32> =
                                list.split_off(at % count).iter().map(|one| one.wrapping_sub(*number)).collect();
                            let split = column.split_off(at % count, *number);
                            prop_assert_eq!(split.all().into_owned(), others.clone());
                            list.extend(others.iter().map(|one| one.wrapping_add(*number)));
                            column.append(&split, *number);
                        }
                        (_, count) => {
                            // As where names end: those after the one that goes end sooner by its length.
                            list.sort_unstable();
                            let mut ends = Column::of(list.iter().copied()).copied();
                            let less = list[at % count] - (at % count).checked_sub(1).map_or(0, |before| list[before]);
                            list.remove(at % count);
                            list.iter_mut().skip(at % count).for_each(|end| *end -= less);
                            ends.remove(at % count, less);
                            column = ends;
                        }
                    }
                    prop_assert_eq!(column.all().into_owned(), list.clone());
                    prop_assert_eq!(column.len(), list.len());
                    prop_assert_eq!((0..=list.len()).filter_map(|at| column.get(at)).collect::<Vec<_>>(), list.clone());
                    if list.is_sorted_by(|one, next| one < next) {
                        let near = |one: &u32| [one.saturating_sub(1), *one, one.saturating_add(1)];
                        for wanted in list.iter().flat_map(near).chain([0]) {
                            prop_assert_eq!(column.find(wanted), list.binary_search(&wanted));
                        }
                    }
                }
            }
        }
    }
}
