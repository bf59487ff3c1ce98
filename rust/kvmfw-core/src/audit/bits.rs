//! Rows of bits over host classes, and how they are counted: one word tells of 64 host classes at once.

use super::AuditError;

/// Bits over host classes, one row after another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bits {
    words: usize,
    cells: Vec<u64>,
}

impl Bits {
    /// Rows without bits.
    ///
    /// # Errors
    ///
    /// When there is not enough memory.
    pub(crate) fn new(rows: usize, width: usize) -> Result<Self, AuditError> {
        let words = width.div_ceil(64);
        let mut cells = Vec::new();
        let wanted = rows.saturating_mul(words);
        cells.try_reserve_exact(wanted).map_err(|_| AuditError::Memory { bytes: wanted.saturating_mul(8) })?;
        cells.resize(wanted, 0);
        Ok(Self { words, cells })
    }

    /// How many words a row has.
    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// One row; empty where there is none.
    pub(crate) fn row(&self, row: usize) -> &[u64] {
        let start = row.saturating_mul(self.words);
        self.cells.get(start..start + self.words).unwrap_or(&[])
    }

    /// One row, to write to.
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [u64] {
        let start = row.saturating_mul(self.words);
        self.cells.get_mut(start..start + self.words).unwrap_or_default()
    }

    /// All rows, to write to.
    pub(crate) fn cells_mut(&mut self) -> &mut [u64] {
        &mut self.cells
    }

    /// The rows in one piece.
    pub(crate) fn into_cells(self) -> Vec<u64> {
        self.cells
    }
}

/// A bit for each of 64 bytes that are 0 or 1.
pub(crate) fn pack(bytes: &[u8; 64]) -> u64 {
    // Byte i of eight moves to bit i of the highest byte; no two of the sums meet, so nothing carries.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let eights = bytes.as_chunks::<8>().0.iter();
    let packed = eights.map(|eight| u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56);
    (0..).step_by(8).zip(packed).fold(0, |word, (shift, packed)| word | packed << shift)
}

/// Whether a row has a bit.
pub(crate) fn has(row: &[u64], bit: usize) -> bool {
    row.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
}

/// Gives a row a bit.
pub(crate) fn set(row: &mut [u64], bit: usize) {
    row.get_mut(bit / 64).into_iter().for_each(|word| *word |= 1 << (bit % 64));
}

/// The bits that a row has, ascending.
pub(crate) fn ones(row: &[u64]) -> impl Iterator<Item = usize> + '_ {
    row.iter().enumerate().flat_map(|(at, word)| {
        let mut left = *word;
        std::iter::from_fn(move || {
            let bit = left.trailing_zeros() as usize;
            (left != 0).then(|| {
                left &= left - 1;
                at * 64 + bit
            })
        })
    })
}

/// A number for each host class, cut into bits: bit `b` of all numbers is one row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weights(Vec<Vec<u64>>);

impl Weights {
    /// The same numbers, cut.
    pub(crate) fn new(numbers: &[u64]) -> Self {
        let most = numbers.iter().copied().max().unwrap_or(0);
        let plane = |bit: u32| {
            let mut row = vec![0; numbers.len().div_ceil(64)];
            let with = numbers.iter().enumerate().filter(|(_, number)| **number >> bit & 1 == 1);
            with.for_each(|(at, _)| set(&mut row, at));
            row
        };
        Self((0..64 - most.leading_zeros()).map(plane).collect())
    }

    /// The sum of the numbers whose bit a row has.
    pub(crate) fn sum(&self, row: &[u64]) -> u64 {
        let planes = (0..).zip(&self.0);
        planes.map(|(bit, plane)| common(row, plane) << bit).sum()
    }
}

/// How many bits two rows have in common.
fn common(row: &[u64], other: &[u64]) -> u64 {
    row.iter().zip(other).map(|(word, other)| u64::from((word & other).count_ones())).sum()
}

/// Counts for each bit how many rows have it, by carry-save adders: three rows become two of which the second counts
/// double, so that a row costs one addition however many come.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    words: usize,
    levels: Vec<Level>,
    carry: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Level {
    sum: Vec<u64>,
    /// A second row, which waits for a third.
    waiting: Vec<u64>,
    waits: bool,
}

impl Tally {
    /// Counts for rows of this many words.
    pub(crate) fn new(words: usize) -> Self {
        Self { words, levels: Vec::new(), carry: vec![0; words] }
    }

    /// Counts a row `times` times.
    pub(crate) fn add(&mut self, row: &[u64], times: u64) {
        for bit in 0..64 - times.leading_zeros() {
            if times >> bit & 1 == 1 {
                self.add_at(row, bit as usize);
            }
        }
    }

    fn add_at(&mut self, row: &[u64], first: usize) {
        let words = self.words;
        if let Some(carry) = self.carry.get_mut(..row.len()) {
            carry.copy_from_slice(row);
        }
        for at in first.. {
            while self.levels.len() <= at {
                self.levels.push(Level { sum: vec![0; words], waiting: vec![0; words], waits: false });
            }
            let Some(level) = self.levels.get_mut(at) else { return };
            if !level.waits {
                std::mem::swap(&mut level.waiting, &mut self.carry);
                level.waits = true;
                return;
            }
            level.waits = false;
            for ((sum, waiting), carry) in level.sum.iter_mut().zip(&level.waiting).zip(&mut self.carry) {
                let either = *sum ^ waiting;
                let both = (*sum & waiting) | (either & *carry);
                *sum = either ^ *carry;
                *carry = both;
            }
        }
    }

    /// Adds what was counted to `counts`, and begins anew.
    pub(crate) fn drain_into(&mut self, counts: &mut [u64]) {
        for (bit, level) in self.levels.iter_mut().enumerate() {
            add_ones(&level.sum, 1 << bit, counts);
            level.sum.fill(0);
            if std::mem::take(&mut level.waits) {
                add_ones(&level.waiting, 1 << bit, counts);
            }
        }
    }
}

fn add_ones(row: &[u64], value: u64, counts: &mut [u64]) {
    for (word, counts) in row.iter().zip(counts.chunks_mut(64)) {
        if *word != 0 {
            for (bit, count) in counts.iter_mut().enumerate() {
                *count += (word >> bit & 1) * value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_rows_as_often_as_they_were_added() {
        let (mut tally, mut counts) = (Tally::new(2), vec![0; 100]);
        let mut wanted = vec![0; 100];
        for round in 0..50_u64 {
            let row = [round.wrapping_mul(0x9e37_79b9_7f4a_7c15), (round * round) & ((1 << 36) - 1)];
            tally.add(&row, round % 9);
            ones(&row).for_each(|bit| wanted[bit] += round % 9);
        }
        tally.drain_into(&mut counts);
        assert_eq!(counts, wanted);
        tally.drain_into(&mut counts);
        assert_eq!(counts, wanted, "what was given is not given again");
    }

    #[test]
    fn weights_add_up_the_numbers_of_a_row() {
        let numbers: Vec<u64> = (0..70).map(|at| at * 37 % 1_000).collect();
        let mut row = [0, 0];
        for bit in [0, 3, 64, 69] {
            set(&mut row, bit);
        }
        assert_eq!(Weights::new(&numbers).sum(&row), numbers[3] + numbers[64] + numbers[69]);
        assert_eq!(ones(&row).collect::<Vec<_>>(), [0, 3, 64, 69]);
        assert!(has(&row, 64) && !has(&row, 65) && !has(&row, 700));
    }

    #[test]
    fn bytes_become_bits_in_their_order() {
        for word in [0, 1, u64::MAX, 0x8000_0000_0000_0001, 0x0123_4567_89ab_cdef] {
            let bytes: [u8; 64] = std::array::from_fn(|bit| u8::from(word >> bit & 1 == 1));
            assert_eq!(pack(&bytes), word);
        }
    }
}
