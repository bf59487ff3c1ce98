//! Numbers of classes: those of VMs and those of hosts, which are never each other's.

/// A number of a class, by what it is a class of.
macro_rules! class_number {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(in crate::fleet) struct $name(u32);

        impl $name {
            /// The class with a number that came from outside, or from a column.
            #[inline]
            pub(in crate::fleet) const fn of(number: u32) -> Self {
                Self(number)
            }

            /// The class with a place in a table. Places beyond all numbers are one that no table has.
            #[inline]
            pub(in crate::fleet) fn at_place(place: usize) -> Self {
                Self(u32::try_from(place).unwrap_or(u32::MAX))
            }

            /// The first so many classes.
            pub(in crate::fleet) fn first(count: usize) -> impl Iterator<Item = Self> + Clone {
                (0..Self::at_place(count).0).map(Self)
            }

            /// As columns and answers have it.
            #[inline]
            pub(in crate::fleet) const fn number(self) -> u32 {
                self.0
            }

            /// Its place in a table with a row for each class.
            #[inline]
            pub(in crate::fleet) const fn place(self) -> usize {
                self.0 as usize
            }
        }
    };
}
class_number!(VmClass, "The number of a class of VMs.");
class_number!(HostClass, "The number of a class of hosts.");
