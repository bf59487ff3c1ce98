//! Strips: bits of many hosts at once.

/// The bits of 1,024 hosts, which stay in registers while rows are joined.
#[repr(align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::fleet) struct Strip(pub(in crate::fleet) [u64; STRIP]);

/// 64-bit words of a strip.
pub(in crate::fleet) const STRIP: usize = 16;

impl Strip {
    /// No bit.
    pub(in crate::fleet) const NONE: Self = Self([0; STRIP]);

    /// Adds the bits of another strip.
    #[inline]
    pub(in crate::fleet) fn or(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
    }

    /// The bits of both.
    #[inline]
    pub(in crate::fleet) fn with(mut self, other: &Self) -> Self {
        self.or(other);
        self
    }

    /// How many bits are set.
    #[inline]
    pub(in crate::fleet) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}
