//! The class of each row, as narrow as the number of classes allows.

use crate::room;

/// The class of each row: 1 byte while there are at most 256 classes, 2 up to 65,536, else 4.
///
/// Pairs gather from these maps at random; for the 2 M VMs of the fleet `large` 4 MB instead of 8, for the 10,000 hosts of
/// `small` 10 kB, which leaves room in a first-level cache.
#[derive(Clone, Debug)]
pub(crate) enum ClassMap {
    /// At most 256 classes.
    Bytes(Vec<u8>),
    /// At most 65,536 classes.
    Words(Vec<u16>),
    /// More.
    Wide(Vec<u32>),
}

/// The number of a class.
pub(crate) trait Class: Copy + Send + Sync + TryFrom<u32> {
    fn class(self) -> u32;
}

/// A number of classes, or of a class: each of them takes more than 4 bytes.
pub(in crate::fleet) fn count(classes: usize) -> u32 {
    u32::try_from(classes).unwrap_or(u32::MAX)
}

macro_rules! class {
    ($($number:ty)*) => {
        $(impl Class for $number {
            #[inline]
            fn class(self) -> u32 {
                u32::from(self)
            }
        })*
    };
}
class!(u8 u16 u32);

/// Does something with the numbers of a map, whatever their width.
macro_rules! with_classes {
    ($map:expr, $classes:ident => $work:expr) => {
        match $map {
            $crate::fleet::classes::class_map::ClassMap::Bytes($classes) => $work,
            $crate::fleet::classes::class_map::ClassMap::Words($classes) => $work,
            $crate::fleet::classes::class_map::ClassMap::Wide($classes) => $work,
        }
    };
}
pub(crate) use with_classes;

impl ClassMap {
    /// The classes of `rows` rows, piece by piece; none of them is greater than `most`.
    pub(crate) fn of<P>(
        rows: usize,
        most: u32,
        pieces: impl Iterator<Item = impl AsRef<[P]>>,
        class: impl Fn(&P) -> u32,
    ) -> Self {
        // Each loop is over memory that lies together: the classes of a million rows are a fraction of a millisecond.
        match most {
            ..256 => Self::Bytes(written(rows, pieces, |one| class(one).to_le_bytes()[0])),
            256..65_536 => Self::Words(written(rows, pieces, |one| {
                let [low, high, ..] = class(one).to_le_bytes();
                u16::from_le_bytes([low, high])
            })),
            65_536.. => Self::Wide(written(rows, pieces, class)),
        }
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        with_classes!(self, map => map.len())
    }

    /// The class of a row.
    pub(crate) fn get(&self, row: usize) -> Option<u32> {
        with_classes!(self, map => map.get(row).map(|class| class.class()))
    }

    /// The classes of all rows.
    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        with_classes!(self, map => Box::new(map.iter().map(|class| class.class())))
    }

    /// Appends a row; `None` where its class needs wider numbers.
    pub(in crate::fleet) fn push(&mut self, class: u32) -> Option<()> {
        with_classes!(self, map => map.push(narrowed(class)?));
        Some(())
    }

    /// Takes a row away; `None` where there is no such row.
    pub(in crate::fleet) fn remove(&mut self, row: usize) -> Option<()> {
        if row >= self.len() {
            return None;
        }
        with_classes!(self, map => drop(map.remove(row)));
        Some(())
    }

    /// Gives a row another class; `None` where there is no such row, or the class needs wider numbers.
    pub(in crate::fleet) fn set(&mut self, row: usize, class: u32) -> Option<()> {
        with_classes!(self, map => *map.get_mut(row)? = narrowed(class)?);
        Some(())
    }

    /// The classes of a range of rows into `out`.
    pub(crate) fn write(&self, start: usize, out: &mut [u32]) {
        with_classes!(self, map => {
            for (out, class) in out.iter_mut().zip(map.iter().skip(start)) {
                *out = class.class();
            }
        });
    }
}

/// The number of a class as a map has it; `None` where it is too wide for that.
fn narrowed<C: Class>(class: u32) -> Option<C> {
    C::try_from(class).ok()
}

fn written<P, C>(rows: usize, pieces: impl Iterator<Item = impl AsRef<[P]>>, class: impl Fn(&P) -> C) -> Vec<C> {
    let mut classes = Vec::new();
    room::grow(&mut classes, rows);
    pieces.for_each(|piece| classes.extend(piece.as_ref().iter().map(&class)));
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_as_narrow_as_its_classes_allow() {
        for most in [0, 1, 255, 256, 65_535, 65_536, u32::MAX] {
            let classes = [0, most / 2, most, 0, 1.min(most)];
            let (first, last) = classes.split_at(2);
            let map = ClassMap::of(classes.len(), most, [first, last].into_iter(), |class| *class);
            assert_eq!(map.iter().collect::<Vec<_>>(), classes);
            assert_eq!((map.get(2), map.get(5), map.len()), (Some(most), None, 5));
            let width = match map {
                ClassMap::Bytes(_) => 1,
                ClassMap::Words(_) => 2,
                ClassMap::Wide(_) => 4,
            };
            assert_eq!(
                width,
                if most < 256 {
                    1
                } else if most < 65_536 {
                    2
                } else {
                    4
                }
            );
        }
    }
}
