//! What counts as taken.

/// Which outcomes count as taken where an answer has only two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Taken {
    /// CHANGE counts as taken.
    pub change: bool,
    /// UNKNOWN counts as taken.
    pub unknown: bool,
}

impl Taken {
    pub(crate) const fn takes(self, outcome: u8) -> bool {
        match outcome {
            0 => true,
            1 => self.change,
            2 => self.unknown,
            _ => false,
        }
    }

    /// The least outcome that is not taken; all three where what is taken has a gap.
    pub(crate) const fn least(self) -> &'static [u8] {
        match (self.change, self.unknown) {
            (true, true) => &[3],
            (true, false) => &[2],
            (false, false) => &[1],
            (false, true) => &[1, 2, 3],
        }
    }
}
