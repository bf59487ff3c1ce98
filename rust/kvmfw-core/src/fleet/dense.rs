//! The class table: the outcome of every pair of classes, where there are not too many.

use rayon::prelude::*;

use super::hosts::Hosts;
use super::judged::Judged;
use super::limits::Limits;
use super::pool::Pool;
use super::vms::Vms;

/// Outcomes by VM class and host class.
#[derive(Clone, Debug)]
pub(super) struct Dense {
    pub(super) cells: Cells,
    /// Cells from one VM class to the next; a multiple of 4, with room for more host classes.
    pub(super) stride: usize,
    rows: usize,
    hosts: usize,
}

/// The cells of a class table.
#[derive(Clone, Debug)]
pub(super) enum Cells {
    Bytes(Vec<u8>),
    Packed(Vec<u8>),
}

impl Cells {
    /// The bytes, how many of them a row takes, and whether a byte has four cells.
    fn layout(&mut self, stride: usize) -> (&mut Vec<u8>, usize, bool) {
        match self {
            Self::Bytes(cells) => (cells, stride, false),
            Self::Packed(cells) => (cells, stride / 4, true),
        }
    }
}

impl Dense {
    /// Whether a fleet has a class table.
    pub(super) fn fits(vms: &Vms, hosts: &Hosts, limits: Limits) -> bool {
        let (vms, hosts) = (vms.classes.len(), hosts.classes.len());
        vms.saturating_mul(hosts) <= limits.class_cells && vms.saturating_mul(stride(hosts)) <= MOST_CELLS
    }

    /// Fills the table.
    pub(super) fn new(judged: &Judged, vms: &Vms, hosts: &Hosts, pool: &Pool, limits: Limits) -> Self {
        let classes = hosts.classes.len();
        let stride = stride(classes);
        let rows = vms.classes.len();
        let packs = rows * stride > limits.unpacked_cells;
        let width = if packs { stride / 4 } else { stride };
        // With room for VM classes to come: the first of them should not have to move the table.
        let mut cells = Vec::with_capacity((rows + rows / 32 + 64) * width);
        cells.resize(rows * width, 0);
        let fill = |(at, chunk): (usize, &mut [u8])| {
            let mut row = vec![0; classes];
            for (class, out) in (at * CHUNK..).zip(chunk.chunks_mut(width)) {
                judged.row(vms, hosts, u32::try_from(class).unwrap_or(u32::MAX), &mut row);
                write_row(&row, out, packs);
            }
        };
        pool.run(|| cells.par_chunks_mut(width * CHUNK).enumerate().for_each(fill));
        let cells = if packs { Cells::Packed(cells) } else { Cells::Bytes(cells) };
        Self { cells, stride, rows, hosts: classes }
    }

    /// Appends the next VM class.
    pub(super) fn add_vm_class(&mut self, judged: &Judged, vms: &Vms, hosts: &Hosts) {
        let mut row = vec![0; self.hosts];
        judged.row(vms, hosts, u32::try_from(self.rows).unwrap_or(u32::MAX), &mut row);
        self.rows += 1;
        let (cells, width, packs) = self.cells.layout(self.stride);
        let start = cells.len();
        cells.resize(start + width, 0);
        write_row(&row, cells.get_mut(start..).unwrap_or_default(), packs);
    }

    /// Adds the next host class. `false` when the table must be made anew.
    pub(super) fn add_host_class(&mut self, judged: &Judged, vms: &Vms, hosts: &Hosts, pool: &Pool) -> bool {
        if self.hosts >= self.stride {
            return false;
        }
        let host = self.hosts;
        let host_class = u32::try_from(host).unwrap_or(u32::MAX);
        self.hosts += 1;
        let (cells, width, packs) = self.cells.layout(self.stride);
        let write = |(chunk, rows): (usize, &mut [u8])| {
            let class = |at: usize| (u32::try_from(chunk * COLUMN_CHUNK + at).unwrap_or(u32::MAX), host_class);
            let pairs: [(u32, u32); COLUMN_CHUNK] = std::array::from_fn(class);
            let mut outcomes = [0; COLUMN_CHUNK];
            let rows = rows.chunks_mut(width);
            let pairs = pairs.get(..rows.len()).unwrap_or(&[]);
            judged.outcomes(vms, hosts, pairs, &mut outcomes);
            for (row, outcome) in rows.zip(outcomes) {
                if let Some(cell) = row.get_mut(if packs { host / 4 } else { host }) {
                    let shift = host % 4 * 2;
                    *cell = if packs { (*cell & !(3 << shift)) | outcome << shift } else { outcome };
                }
            }
        };
        if self.rows <= WORTH_SHARING {
            cells.chunks_mut(width * COLUMN_CHUNK).enumerate().for_each(write);
        } else {
            pool.run(|| cells.par_chunks_mut(width * COLUMN_CHUNK).enumerate().for_each(write));
        }
        true
    }

    /// The outcomes of one VM class.
    pub(super) fn row(&self, class: u32, out: &mut [u8]) {
        let start = class as usize * self.stride;
        match &self.cells {
            Cells::Bytes(cells) => {
                if let Some(row) = cells.get(start..start + out.len()) {
                    out.copy_from_slice(row);
                }
            }
            Cells::Packed(cells) => {
                let row = cells.get(start / 4..(start + self.stride) / 4).unwrap_or(&[]);
                for (out, byte) in out.chunks_mut(4).zip(row) {
                    for (at, out) in out.iter_mut().enumerate() {
                        *out = byte >> (2 * at) & 3;
                    }
                }
            }
        }
    }
}

/// Places of cells fit into 32 bits.
const MOST_CELLS: usize = 1 << 31;
/// Rows are filled in chunks of this many.
const CHUNK: usize = 64;

/// Columns are written in chunks of this many rows: the work of some microseconds.
const COLUMN_CHUNK: usize = 1 << 10;
/// A column of fewer rows takes less time than waking threads.
const WORTH_SHARING: usize = 1 << 16;

/// Cells of a row, with room for a few more host classes.
const fn stride(classes: usize) -> usize {
    (classes + classes / 32 + 1).next_multiple_of(16)
}

fn write_row(row: &[u8], out: &mut [u8], packs: bool) {
    if packs {
        for (four, byte) in row.chunks(4).zip(out) {
            *byte = four.iter().rev().fold(0, |byte, outcome| byte << 2 | outcome);
        }
    } else if let Some(out) = out.get_mut(..row.len()) {
        out.copy_from_slice(row);
    }
}
