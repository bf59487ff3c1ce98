//! The class of each row, as narrow as the number of classes allows.

/// The class of each row: 2 bytes while there are at most 65,536 classes, else 4.
///
/// Pairs gather from these maps at random; for the 2 M VMs of the fleet `large` 4 MB instead of 8.
#[derive(Clone, Debug)]
pub(crate) enum ClassMap {
    /// At most 65,536 classes.
    Narrow(Vec<u16>),
    /// More.
    Wide(Vec<u32>),
}

impl Default for ClassMap {
    fn default() -> Self {
        Self::Narrow(Vec::new())
    }
}

impl ClassMap {
    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Narrow(map) => map.len(),
            Self::Wide(map) => map.len(),
        }
    }

    /// The class of a row.
    pub(crate) fn get(&self, row: usize) -> Option<u32> {
        match self {
            Self::Narrow(map) => map.get(row).map(|class| u32::from(*class)),
            Self::Wide(map) => map.get(row).copied(),
        }
    }

    /// The classes of all rows.
    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::Narrow(map) => Box::new(map.iter().map(|class| u32::from(*class))),
            Self::Wide(map) => Box::new(map.iter().copied()),
        }
    }

    /// The classes of a range of rows into `out`.
    pub(crate) fn write(&self, start: usize, out: &mut [u32]) {
        match self {
            Self::Narrow(map) => {
                for (out, class) in out.iter_mut().zip(map.iter().skip(start)) {
                    *out = u32::from(*class);
                }
            }
            Self::Wide(map) => {
                for (out, class) in out.iter_mut().zip(map.iter().skip(start)) {
                    *out = *class;
                }
            }
        }
    }

    /// Appends one row.
    pub(crate) fn push(&mut self, class: u32) {
        self.extend(std::iter::once(class));
    }

    /// Appends rows.
    pub(crate) fn extend(&mut self, classes: impl ExactSizeIterator<Item = u32>) {
        if let Self::Narrow(map) = self {
            map.reserve(classes.len());
        }
        for class in classes {
            match (&mut *self, u16::try_from(class)) {
                (Self::Narrow(map), Ok(class)) => map.push(class),
                (Self::Narrow(map), Err(_)) => {
                    let mut wide: Vec<u32> = map.iter().map(|class| u32::from(*class)).collect();
                    wide.push(class);
                    *self = Self::Wide(wide);
                }
                (Self::Wide(map), _) => map.push(class),
            }
        }
    }

    /// Gives a row another class.
    pub(crate) fn set(&mut self, row: usize, class: u32) {
        if let (Self::Narrow(map), Err(_)) = (&*self, u16::try_from(class)) {
            *self = Self::Wide(map.iter().map(|class| u32::from(*class)).collect());
        }
        match self {
            Self::Narrow(map) => {
                if let (Some(slot), Ok(class)) = (map.get_mut(row), u16::try_from(class)) {
                    *slot = class;
                }
            }
            Self::Wide(map) => {
                if let Some(slot) = map.get_mut(row) {
                    *slot = class;
                }
            }
        }
    }

    /// Takes away the rows that are marked, and closes up.
    pub(crate) fn remove(&mut self, marked: &[bool]) {
        let mut marks = marked.iter();
        let mut keep = || !marks.next().copied().unwrap_or(false);
        match self {
            Self::Narrow(map) => map.retain(|_| keep()),
            Self::Wide(map) => map.retain(|_| keep()),
        }
    }

    /// How many rows each of `classes` classes has.
    pub(crate) fn histogram(&self, classes: usize) -> Vec<u64> {
        let mut counts = vec![0; classes];
        for class in self.iter() {
            if let Some(count) = counts.get_mut(class as usize) {
                *count += 1;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_widens_when_it_must() {
        let mut map = ClassMap::default();
        map.extend([3, 65_535].into_iter());
        assert!(matches!(map, ClassMap::Narrow(_)));
        map.push(65_536);
        assert!(matches!(map, ClassMap::Wide(_)));
        assert_eq!(map.iter().collect::<Vec<_>>(), [3, 65_535, 65_536]);
        map.remove(&[false, true, false]);
        assert_eq!((map.get(0), map.get(1), map.len()), (Some(3), Some(65_536), 2));
        let mut narrow = ClassMap::default();
        narrow.push(1);
        narrow.set(0, 70_000);
        assert_eq!(narrow.get(0), Some(70_000));
    }
}
