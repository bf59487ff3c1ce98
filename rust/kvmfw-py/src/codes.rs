//! Numbers as pages of Parquet pack them: runs of one number, and groups of eight that share bytes (parquet-format,
//! Encodings.md: RLE / bit-packing hybrid).

use std::ops::Range;

use parquet::column::page::Page;

/// A head of 32 bits has so many bytes at most.
const MOST_BYTES: usize = 5;
/// So many numbers are unpacked at a time.
const BLOCK: usize = 1 << 10;

/// The packed numbers of a page.
pub(crate) struct Codes {
    page: Page,
    /// Where the next run begins, and where they end.
    at: Range<usize>,
    width: u32,
    run: Run,
}

/// What is left of a run.
enum Run {
    Alike { count: usize, number: u64 },
    Packed { count: usize, bit: usize },
}

impl Codes {
    /// The numbers of so many bits in a part of a page.
    pub(crate) fn new(page: Page, at: Range<usize>, width: u32) -> Option<Self> {
        let is_there = width <= 32 && page.buffer().get(at.clone()).is_some();
        is_there.then_some(Self { page, at, width, run: Run::Alike { count: 0, number: 0 } })
    }

    /// Whether the first `count` are all 1.
    pub(crate) fn are_all_one(&mut self, count: usize) -> Option<bool> {
        let mut left = count;
        let mut block = [0; BLOCK];
        while left > 0 {
            let one = match &mut self.run {
                Run::Alike { count: 0, .. } | Run::Packed { count: 0, .. } => {
                    self.begin()?;
                    continue;
                }
                Run::Alike { count, number } => {
                    left = left.saturating_sub(std::mem::take(count));
                    *number == 1
                }
                Run::Packed { count, .. } => {
                    let some = block.get_mut(..left.min(*count).min(BLOCK))?;
                    left -= some.len();
                    self.fill(some)?;
                    some.iter().all(|number| *number == 1)
                }
            };
            if !one {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Puts what `words` has for the next numbers into `out`.
    pub(crate) fn look_up(&mut self, words: &[u64], out: &mut [u64]) -> Option<()> {
        for out in out.chunks_mut(BLOCK) {
            self.fill(out)?;
            let highest = out.iter().copied().max().unwrap_or(0);
            if usize::try_from(highest).ok()? >= words.len() {
                return None;
            }
            for out in out {
                *out = usize::try_from(*out).ok().and_then(|at| words.get(at)).copied().unwrap_or(0);
            }
        }
        Some(())
    }

    /// Puts the next numbers, each below `most`, into `out`.
    pub(crate) fn codes(&mut self, most: usize, out: &mut [i32]) -> Option<()> {
        let mut block = [0; BLOCK];
        for out in out.chunks_mut(BLOCK) {
            let some = block.get_mut(..out.len())?;
            self.fill(some)?;
            let highest = some.iter().copied().max().unwrap_or(0);
            if usize::try_from(highest).ok()? >= most {
                return None;
            }
            out.iter_mut().zip(some).for_each(|(out, code)| *out = i32::try_from(*code).unwrap_or(0));
        }
        Some(())
    }

    fn fill(&mut self, out: &mut [u64]) -> Option<()> {
        let mut done = 0;
        while done < out.len() {
            let rest = out.get_mut(done..)?;
            match &mut self.run {
                Run::Alike { count: 0, .. } | Run::Packed { count: 0, .. } => self.begin()?,
                Run::Alike { count, number } => {
                    let taken = rest.len().min(*count);
                    rest.get_mut(..taken)?.fill(*number);
                    (*count, done) = (*count - taken, done + taken);
                }
                Run::Packed { count, bit } => {
                    let taken = rest.len().min(*count);
                    let width = usize::try_from(self.width).ok()?;
                    unpack(self.page.buffer(), *bit, width, rest.get_mut(..taken)?);
                    (*count, *bit, done) = (*count - taken, *bit + taken * width, done + taken);
                }
            }
        }
        Some(())
    }

    /// Reads the head of the next run.
    fn begin(&mut self) -> Option<()> {
        let bytes = self.page.buffer().get(self.at.clone())?;
        let (mut head, mut length) = (0_u64, 0);
        loop {
            let byte = u64::from(*bytes.get(length)?);
            if length == MOST_BYTES {
                return None;
            }
            head |= (byte & 0x7f) << (7 * length);
            length += 1;
            if byte < 0x80 {
                break;
            }
        }
        let (count, start) = (usize::try_from(head >> 1).ok()?, self.at.start + length);
        if head & 1 == 0 {
            let size = usize::try_from(self.width.div_ceil(8)).ok()?;
            let number = bytes.get(length..length + size)?;
            let number = number.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
            (self.run, self.at.start) = (Run::Alike { count, number }, start + size);
        } else {
            let size = count.checked_mul(usize::try_from(self.width).ok()?)?;
            // Writers may leave out the end of the last group.
            let end = start.checked_add(size)?.min(self.at.end);
            (self.run, self.at.start) = (Run::Packed { count: count.checked_mul(8)?, bit: start * 8 }, end);
        }
        Some(())
    }
}

/// Unpacks numbers of so many bits that begin at a bit; bits beyond the end are 0.
fn unpack(bytes: &[u8], bit: usize, width: usize, out: &mut [u64]) {
    let mask = (1_u64 << width) - 1;
    for (out, bit) in out.iter_mut().zip((bit..).step_by(width.max(1))) {
        *out = word(bytes, bit >> 3) >> (bit & 7) & mask;
    }
}

/// Eight bytes from a place on.
fn word(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or(&[]);
    let whole = rest.first_chunk().map(|word| u64::from_le_bytes(*word));
    whole.unwrap_or_else(|| rest.iter().take(8).rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
}
