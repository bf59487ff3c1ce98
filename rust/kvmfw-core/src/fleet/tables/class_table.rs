//! The class table: the outcome of every pair of classes, where there are not too many.

use rayon::prelude::*;

use super::judged::Judged;
use crate::fleet::class::{HostClass, VmClass};
use crate::fleet::classes::hosts::Hosts;
use crate::fleet::classes::vms::Vms;
use crate::fleet::limits::Limits;
use crate::pool::{Pool, checkpoint};
use crate::room;

/// Outcomes by host class and VM class: a new capture, which has its outcome for every VM class, is one run of memory.
#[derive(Clone, Debug)]
pub(in crate::fleet) struct Dense {
    /// A byte for each cell, or for four of them.
    pub(in crate::fleet) cells: Vec<u8>,
    /// Whether a byte has four cells, the first one lowest.
    pub(in crate::fleet) packs: bool,
    /// Cells from one host class to the next, with room for more VM classes.
    pub(in crate::fleet) stride: usize,
}

/// Places of cells fit into 32 bits.
const MOST_CELLS: usize = 1 << 31;
/// VM classes that are judged at a time: the work of some microseconds.
const CHUNK: usize = 1 << 10;

impl Dense {
    /// Whether a fleet has a class table.
    pub(in crate::fleet) fn fits(vms: &Vms, hosts: &Hosts, limits: Limits) -> bool {
        let (vms, hosts) = (vms.classes.len(), hosts.classes.len());
        vms.saturating_mul(hosts) <= limits.class_cells && stride(vms).saturating_mul(hosts) <= MOST_CELLS
    }

    /// Fills the table; `None` where there is no memory for it. Pairs are decided without one too.
    pub(in crate::fleet) fn new(
        judged: &Judged,
        vms: &Vms,
        hosts: &Hosts,
        pool: &Pool,
        limits: Limits,
    ) -> Option<Self> {
        let (stride, classes) = (stride(vms.classes.len()), hosts.classes.len());
        let packs = stride * classes > limits.unpacked_cells;
        let width = if packs { stride / 4 } else { stride };
        room::ask(classes * width).ok()?;
        let mut cells = vec![0; classes * width];
        let column = Column { judged, vms, hosts, count: vms.classes.len() };
        let write = |(host, cells): (usize, &mut [u8])| {
            checkpoint();
            column.write(host, packs, cells);
        };
        pool.run(|| cells.par_chunks_mut(width).enumerate().for_each(write));
        Some(Self { cells, packs, stride })
    }

    /// Bytes from one host class to the next.
    fn width(&self) -> usize {
        if self.packs { self.stride / 4 } else { self.stride }
    }

    /// The outcomes of one VM class.
    pub(in crate::fleet) fn row(&self, class: VmClass, out: &mut [u8]) {
        let class = class.place();
        let (at, shift, mask) = if self.packs { (class / 4, class % 4 * 2, 3) } else { (class, 0, u8::MAX) };
        let cells = self.cells.get(at..).unwrap_or(&[]).iter().step_by(self.width().max(1));
        for (out, cell) in out.iter_mut().zip(cells) {
            *out = cell >> shift & mask;
        }
    }
}

/// Who judges the pairs of a column.
struct Column<'a> {
    judged: &'a Judged,
    vms: &'a Vms,
    hosts: &'a Hosts,
    /// How many VM classes the column has.
    count: usize,
}

impl Column<'_> {
    /// Writes the outcomes of all VM classes on a host class.
    fn write(&self, host: usize, packs: bool, out: &mut [u8]) {
        let width = if packs { CHUNK / 4 } else { CHUNK };
        let mut outcomes = [0; CHUNK];
        for (first, out) in (0..self.count).step_by(CHUNK).zip(out.chunks_mut(width)) {
            let outcomes = outcomes.get_mut(..CHUNK.min(self.count - first)).unwrap_or_default();
            self.judged.column(self.vms, self.hosts, VmClass::at_place(first), HostClass::at_place(host), outcomes);
            if packs {
                for (byte, four) in out.iter_mut().zip(outcomes.chunks(4)) {
                    *byte = four.iter().rev().fold(0, |byte, outcome| byte << 2 | outcome);
                }
            } else {
                out.iter_mut().zip(outcomes).for_each(|(cell, outcome)| *cell = *outcome);
            }
        }
    }
}

/// Cells of a column, with room for VM classes to come: the first of them should not have to move the table.
const fn stride(classes: usize) -> usize {
    (classes + classes / 32 + 1).next_multiple_of(64)
}
