//! Pairs of classes without a class table: group by group, for many pairs at once.
//!
//! One pair after the other would stop at its first refusal, which a core cannot foresee: it would wait for memory, once
//! for each pair. Here each group is asked about all pairs of a block that are not yet refused, so that the loads of many
//! pairs are under way at once.

use super::Fleet;
use super::groups::{Groups, outcome, part};
use super::judged::{NO_UNIT, rest_of};

/// Pairs of one block: what is kept of them takes 9 kB.
const BLOCK: usize = 512;

/// What is known of the pairs of a block.
struct Block {
    /// The classes of each pair.
    places: [(u32, u32); BLOCK],
    /// The greatest cell so far, and the group that it is of.
    cells: [(u8, u16); BLOCK],
    /// The pairs that are not yet refused.
    open: [u16; BLOCK],
}

impl Fleet {
    /// The outcomes of pairs of classes, and the first unit that has each.
    pub(super) fn sparse(&self, pairs: &[(u32, u32)], mut write: impl FnMut(u8, u16)) {
        let mut block = Block { places: [(0, 0); BLOCK], cells: [(0, 0); BLOCK], open: [0; BLOCK] };
        for pairs in pairs.chunks(BLOCK) {
            block.judge(&self.judged.groups, pairs);
            for ((vm, host), (cell, group)) in pairs.iter().zip(&block.cells) {
                let (outcome, unit) = self.with_rests(*vm, *host, *cell, *group);
                write(outcome, unit);
            }
        }
    }

    fn with_rests(&self, vm: u32, host: u32, cell: u8, group: u16) -> (u8, u16) {
        let group = self.judged.groups.all.get(usize::from(group)).filter(|_| cell > 0);
        let first = group.and_then(|group| self.judged.parts.get(group.parts.start + part(cell)));
        let mut best = (outcome(cell), first.map_or(NO_UNIT, |part| u16::try_from(part.unit).unwrap_or(NO_UNIT)));
        for rest in &self.judged.rests {
            let unit = u16::try_from(rest.unit).unwrap_or(NO_UNIT);
            if best.0 < 3 || unit < best.1 {
                let found = rest_of(rest, &self.vms, &self.hosts, vm, host);
                if found > best.0 || (found == best.0 && found > 0 && unit < best.1) {
                    best = (found, unit);
                }
            }
        }
        best
    }
}

impl Block {
    fn judge(&mut self, groups: &Groups, pairs: &[(u32, u32)]) {
        for ((pair, place), (open, number)) in pairs.iter().zip(&mut self.places).zip(self.open.iter_mut().zip(0_u16..))
        {
            (*place, *open) = (*pair, number);
        }
        self.cells.fill((0, 0));
        let width = groups.len();
        let mut left = pairs.len();
        for (number, group) in (0_u16..).zip(&groups.all) {
            let mut still = 0;
            for at in 0..left {
                let Some(pair) = self.open.get(at).copied() else { break };
                let (Some((vm, host)), Some(best)) =
                    (self.places.get(usize::from(pair)), self.cells.get_mut(usize::from(pair)))
                else {
                    break;
                };
                let row = groups.row_at(*vm as usize * width + usize::from(number));
                let column = groups.column_at(*host as usize * width + usize::from(number));
                let cell = group.cell(row, column);
                if outcome(cell) > outcome(best.0) {
                    *best = (cell, number);
                }
                let is_open = outcome(best.0) < 3;
                if let Some(slot) = self.open.get_mut(still) {
                    *slot = pair;
                }
                still += usize::from(is_open);
            }
            left = still;
            if left == 0 {
                break;
            }
        }
    }
}
