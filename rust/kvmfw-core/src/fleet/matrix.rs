//! Matrices: one bit for each VM and host.

use rayon::prelude::*;

use super::bits::{HostBits, last_word};
use super::class_map::{Class, with_classes};
use super::{Fleet, Taken};
use crate::error::RowError;

/// Group rows are joined in blocks of hosts whose rows fit into half of a second-level cache of 2 MB.
const BLOCK_BYTES: usize = 1 << 20;
/// VMs that one thread takes at a time.
const CHUNK: usize = 256;

impl Fleet {
    /// Which hosts take which VMs: for each VM of `vms`, a row of bits over hosts, lowest bit first, padded to bytes.
    ///
    /// # Errors
    ///
    /// When the rows are out of range, or `out` has not exactly `vms × ceil(hosts / 8)` bytes.
    pub fn matrix(&self, vms: std::ops::Range<usize>, taken: Taken, out: &mut [u8]) -> Result<(), RowError> {
        let width = self.host_count().div_ceil(8);
        if vms.end > self.vm_count() || vms.start > vms.end {
            return Err(self.no_vm(vms.end.saturating_sub(1)));
        }
        if out.len() != vms.len() * width {
            let problem = format!("the output has {} bytes, expected {}", out.len(), vms.len() * width);
            return Err(RowError { row: vms.start, problem });
        }
        if width == 0 || vms.is_empty() {
            return Ok(());
        }
        let mut classes = vec![0; vms.len()];
        self.vms.class_of.write(vms.start, &mut classes);
        let bits = HostBits::new(self, taken.least());
        let all = self.vms.classes.len();
        if all.saturating_mul(width) > self.limits.expanded_bytes || all >= vms.len() {
            self.pool.run(|| {
                let rows = out.par_chunks_mut(width * CHUNK).zip(classes.par_chunks(CHUNK));
                rows.for_each(|(out, classes)| self.expand(&bits, taken, classes, width, out));
            });
            return Ok(());
        }
        let mut expanded = vec![0; all * width];
        let numbers: Vec<u32> = (0..).take(all).collect();
        self.pool.run(|| {
            let rows = expanded.par_chunks_mut(width * CHUNK).zip(numbers.par_chunks(CHUNK));
            rows.for_each(|(out, classes)| self.expand(&bits, taken, classes, width, out));
            let rows = out.par_chunks_mut(width * CHUNK).zip(classes.par_chunks(CHUNK));
            rows.for_each(|(out, classes)| {
                for (out, class) in out.chunks_mut(width).zip(classes) {
                    let start = *class as usize * width;
                    if let Some(row) = expanded.get(start..start + width) {
                        out.copy_from_slice(row);
                    }
                }
            });
        });
        Ok(())
    }

    /// Which hosts take a VM class: a row of bits, as in [`Fleet::matrix`].
    fn expand(&self, bits: &HostBits, taken: Taken, classes: &[u32], width: usize, out: &mut [u8]) {
        let most = (BLOCK_BYTES / bits.bytes_of_column().max(1)).clamp(8, bits.words.max(8));
        let (mut row, mut other) = (vec![0; most], vec![0; most]);
        for start in (0..bits.words).step_by(most) {
            let words = most.min(bits.words - start);
            let mask = if start + words == bits.words { last_word(self.host_count()) } else { u64::MAX };
            for (class, out) in classes.iter().zip(out.chunks_mut(width)) {
                let row = row.get_mut(..words).unwrap_or_default();
                bits.join(self, *class, 0, start, row);
                if taken.unknown && !taken.change {
                    // Everything but CHANGE: not (at least CHANGE), or UNKNOWN.
                    let other = other.get_mut(..words).unwrap_or_default();
                    bits.join(self, *class, 1, start, other);
                    row.iter_mut().zip(other.iter()).for_each(|(row, other)| *row &= !other);
                    bits.join(self, *class, 2, start, other);
                    row.iter_mut().zip(other.iter()).for_each(|(row, other)| *row |= other);
                }
                if let Some(last) = row.last_mut() {
                    *last |= !mask;
                }
                let out = out.get_mut(start * 8..).unwrap_or_default();
                let (whole, rest) = out.as_chunks_mut::<8>();
                for (out, word) in whole.iter_mut().zip(row.iter()) {
                    *out = (!word).to_le_bytes();
                }
                if let Some(last) = row.get(whole.len()) {
                    rest.copy_from_slice((!last).to_le_bytes().get(..rest.len()).unwrap_or(&[]));
                }
            }
        }
    }

    /// The rows of the hosts that take the VM in row `vm`, ascending.
    ///
    /// # Errors
    ///
    /// When there is no such VM.
    pub fn candidates(&self, vm: usize, taken: Taken) -> Result<Vec<u32>, RowError> {
        let class = self.vms.class_of.get(vm).ok_or_else(|| self.no_vm(vm))?;
        let takers = self.takers(class, taken);
        let mut rows = Vec::with_capacity(self.host_count());
        let mut start = 0_u32;
        let mut collect = |classes: &mut dyn Iterator<Item = usize>| {
            let mut bits = 0_u64;
            for (bit, class) in classes.enumerate() {
                bits |= u64::from(takers.get(class).copied().unwrap_or(0)) << bit;
            }
            while bits != 0 {
                rows.push(start + bits.trailing_zeros());
                bits &= bits - 1;
            }
            start += 64;
        };
        with_classes!(&self.hosts.class_of, classes => {
            classes.chunks(64).for_each(|chunk| collect(&mut chunk.iter().map(|class| class.class() as usize)));
        });
        Ok(rows)
    }

    /// Which host classes take a VM class: one byte each, 1 for taken.
    pub fn takers(&self, vm_class: u32, taken: Taken) -> Vec<u8> {
        let mut row = self.class_row(vm_class);
        for outcome in &mut row {
            *outcome = u8::from(taken.takes(*outcome));
        }
        row
    }
}
