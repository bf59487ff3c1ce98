//! Matrices: one bit for each VM and host.

use rayon::prelude::*;

use crate::error::RowError;
use crate::fleet::class::VmClass;
use crate::fleet::strip::{STRIP, Strip};
use crate::fleet::tables::bit_rows::Plane;
use crate::fleet::{Snapshot, Taken};
use crate::pool::checkpoint;
use crate::room;
use crate::wide::wide;

/// Group rows are joined in blocks of hosts whose rows stay in a second-level cache of 2 MB.
const BLOCK_BYTES: usize = 3 << 19;
/// VMs that one thread takes at a time.
const CHUNK: usize = 256;
/// Classes that one thread expands at a time, at most: blocks are read anew for each of these chunks.
const MOST_AT_ONCE: usize = 1 << 11;
/// For an even end each thread gets at least this many chunks.
const SHARES: usize = 8;
/// The rows of all classes are kept if they take at most this much.
const KEPT_BYTES: usize = 1 << 26;

impl Snapshot {
    /// The bit rows for "at least this outcome": 1, 2 or 3.
    pub(in crate::fleet) fn plane(&self, least: u8) -> &Plane {
        self.tables().bits.plane(|| self.sides(), &self.settings().pool, least)
    }

    /// Which hosts take which VMs: for each VM of `vms`, a row of bits over hosts, lowest bit first, padded to bytes.
    ///
    /// # Errors
    ///
    /// When the rows are out of range, or `out` has not exactly `vms × ceil(hosts / 8)` bytes.
    pub fn matrix(&self, vms: std::ops::Range<usize>, taken: Taken, out: &mut [u8]) -> Result<(), RowError> {
        let width = self.host_count().div_ceil(8);
        if vms.end > self.vm_count() || vms.start > vms.end {
            return Err(RowError {
                row: vms.end,
                problem: format!("VM rows {vms:?} are out of range; there are {} VMs", self.vm_count()),
            });
        }
        if out.len() != vms.len() * width {
            let problem = format!("the output has {} bytes, expected {}", out.len(), vms.len() * width);
            return Err(RowError { row: vms.start, problem });
        }
        if width == 0 || vms.is_empty() {
            return Ok(());
        }
        let planes: Vec<&Plane> = taken.least().iter().map(|least| self.plane(*least)).collect();
        room::need(vms.len() * size_of::<u32>());
        let mut classes = vec![0; vms.len()];
        self.vm_rows().write(vms.start, &mut classes);
        let Some(rows) = self.rows_of_classes(&planes, taken, vms.len(), width) else {
            self.expand(&planes, &classes, width, out);
            return Ok(());
        };
        // In the order of memory: rows sorted by class took twice as long.
        let copy = |(out, classes): (&mut [u8], &[u32])| {
            checkpoint();
            for (out, class) in out.chunks_mut(width).zip(classes) {
                let start = *class as usize * width;
                if let Some(row) = rows.get(start..start + width) {
                    out.copy_from_slice(row);
                }
            }
        };
        self.settings().pool.run(|| out.par_chunks_mut(width * CHUNK).zip(classes.par_chunks(CHUNK)).for_each(copy));
        Ok(())
    }

    /// A row for each class, kept for the next question; `None` where that is not worth it for so many VMs.
    fn rows_of_classes(&self, planes: &[&Plane], taken: Taken, vms: usize, width: usize) -> Option<&Vec<u8>> {
        let rows = self.tables().bits.rows.get(usize::from(taken.change) * 2 + usize::from(taken.unknown))?;
        let classes = self.world().vms.classes.len();
        if rows.get().is_none() && (classes >= vms || classes.saturating_mul(width) > KEPT_BYTES) {
            return None;
        }
        Some(rows.get_or_init(|| {
            room::need(classes * (width + size_of::<u32>()));
            let mut rows = vec![0; classes * width];
            self.expand(planes, &(0..).take(classes).collect::<Vec<u32>>(), width, &mut rows);
            rows
        }))
    }

    /// Writes which hosts take each of some classes, as in [`Snapshot::matrix`].
    fn expand(&self, planes: &[&Plane], classes: &[u32], width: usize, out: &mut [u8]) {
        let chunk = classes.len().div_ceil(SHARES * self.settings().pool.threads()).clamp(1, MOST_AT_ONCE);
        let rows = out.par_chunks_mut(width * chunk).zip(classes.par_chunks(chunk));
        let expand = |(out, classes): (&mut [u8], &[u32])| {
            wide(
                #[inline(always)]
                || self.expand_chunk(planes, classes, width, out),
            );
        };
        self.settings().pool.run(|| rows.for_each(expand));
    }

    /// With three planes what is not taken has a gap: everything counts but CHANGE.
    #[inline(always)]
    fn expand_chunk(&self, planes: &[&Plane], classes: &[u32], width: usize, out: &mut [u8]) {
        let (Some(first), sides) = (planes.first(), self.sides()) else { return };
        let most = (BLOCK_BYTES / first.bytes_of_strip().max(1)).clamp(1, first.strips.max(1));
        let (mut row, mut other, mut pieces) = (vec![Strip::default(); most], vec![Strip::default(); most], Vec::new());
        for start in (0..first.strips).step_by(most) {
            checkpoint();
            let row = row.get_mut(..most.min(first.strips - start)).unwrap_or_default();
            for (class, out) in classes.iter().zip(out.chunks_mut(width)) {
                let class = VmClass::of(*class);
                first.join(sides, class, start, &mut pieces, row);
                if let [_, unknown, refuse] = planes {
                    // Not (at least CHANGE), or UNKNOWN.
                    let other = other.get_mut(..row.len()).unwrap_or_default();
                    unknown.join(sides, class, start, &mut pieces, other);
                    combine(row, other, |row, other| row & !other);
                    refuse.join(sides, class, start, &mut pieces, other);
                    combine(row, other, |row, other| row | other);
                }
                write(
                    row,
                    self.host_count() - start * 64 * STRIP,
                    out.get_mut(start * 8 * STRIP..).unwrap_or_default(),
                );
            }
        }
    }
}

#[inline(always)]
fn combine(row: &mut [Strip], other: &[Strip], with: impl Fn(u64, u64) -> u64) {
    let words = row.iter_mut().flat_map(|strip| &mut strip.0).zip(other.iter().flat_map(|strip| strip.0));
    words.for_each(|(row, other)| *row = with(*row, other));
}

/// Writes which hosts take a VM, of the `hosts` from the start of `out` on; `row` has those that do not.
#[inline(always)]
fn write(row: &[Strip], hosts: usize, out: &mut [u8]) {
    let (whole, rest) = out.as_chunks_mut::<{ 8 * STRIP }>();
    for (out, strip) in whole.iter_mut().zip(row) {
        for (out, word) in out.as_chunks_mut::<8>().0.iter_mut().zip(strip.0) {
            *out = (!word).to_le_bytes();
        }
    }
    if let Some(last) = row.get(whole.len()) {
        let bytes = last.0.iter().flat_map(|word| (!word).to_le_bytes());
        rest.iter_mut().zip(bytes).for_each(|(out, byte)| *out = byte);
    }
    // Bits beyond the last host are 0.
    if hosts <= 64 * STRIP * row.len()
        && !hosts.is_multiple_of(8)
        && let Some(byte) = out.get_mut(hosts / 8)
    {
        *byte &= (1 << (hosts % 8)) - 1;
    }
}
