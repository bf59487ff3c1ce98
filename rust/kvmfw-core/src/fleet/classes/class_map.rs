//! The class of each row, as narrow as the number of classes allows.

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

impl Default for ClassMap {
    fn default() -> Self {
        Self::Bytes(Vec::new())
    }
}

impl ClassMap {
    /// No row yet, and room for so many.
    pub(crate) fn with_room(rows: usize) -> Self {
        Self::Bytes(Vec::with_capacity(rows))
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

    /// The classes of a range of rows into `out`.
    pub(crate) fn write(&self, start: usize, out: &mut [u32]) {
        with_classes!(self, map => {
            for (out, class) in out.iter_mut().zip(map.iter().skip(start)) {
                *out = class.class();
            }
        });
    }

    /// Appends rows.
    pub(crate) fn extend(&mut self, mut classes: impl ExactSizeIterator<Item = u32>) {
        with_classes!(self, map => map.reserve(classes.len()));
        // Each round ends at a class for which the map is too narrow.
        while let Some(class) = with_classes!(self, map => fill(map, &mut classes)) {
            *self = self.wider(class);
            with_classes!(self, map => fill(map, &mut std::iter::once(class)));
        }
    }

    /// The same rows with room for `class`.
    fn wider(&self, class: u32) -> Self {
        if u16::try_from(class).is_ok()
            && let Self::Bytes(map) = self
        {
            return Self::Words(map.iter().map(|class| u16::from(*class)).collect());
        }
        Self::Wide(self.iter().collect())
    }
}

/// Appends classes; gives the first that is too wide.
fn fill<C: Class>(map: &mut Vec<C>, classes: &mut impl Iterator<Item = u32>) -> Option<u32> {
    for class in classes {
        match C::try_from(class) {
            Ok(class) => map.push(class),
            Err(_) => return Some(class),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_widens_when_it_must() {
        let mut map = ClassMap::default();
        map.extend([3, 255].into_iter());
        assert!(matches!(map, ClassMap::Bytes(_)));
        map.extend([256, 7, 65_535].into_iter());
        assert!(matches!(map, ClassMap::Words(_)));
        map.extend([65_536].into_iter());
        assert!(matches!(map, ClassMap::Wide(_)));
        assert_eq!(map.iter().collect::<Vec<_>>(), [3, 255, 256, 7, 65_535, 65_536]);
        assert_eq!((map.get(0), map.get(6), map.len()), (Some(3), None, 6));
    }

    #[test]
    fn a_map_widens_in_one_step_or_two() {
        let mut narrow = ClassMap::default();
        narrow.extend([1, 70_000, 2].into_iter());
        assert_eq!(narrow.iter().collect::<Vec<_>>(), [1, 70_000, 2]);
    }
}
