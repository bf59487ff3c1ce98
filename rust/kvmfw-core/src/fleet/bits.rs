//! Bit rows: for each row of each group, one bit for every host.
//!
//! A VM class reaches an outcome on the hosts on which one of its groups does: the OR of as many rows as there are
//! groups. Nothing here is as large as VMs times hosts.

use rayon::prelude::*;

use super::Fleet;
use super::groups::Group;
use super::parts::value;

/// For each group and row, which hosts have at least some outcome; one plane for each outcome asked for.
#[derive(Debug)]
pub(super) struct HostBits {
    /// 64-bit words in a row over hosts.
    pub(super) words: usize,
    /// The outcomes asked for.
    pub(super) least: Vec<u8>,
    /// For each group its rows; a row has its planes one after the other.
    tables: Vec<Vec<u64>>,
    /// The class of each host.
    class_of: Vec<u32>,
}

impl HostBits {
    /// The rows of a fleet for "at least this outcome", for each of `least`.
    pub(super) fn new(fleet: &Fleet, least: &[u8]) -> Self {
        let class_of: Vec<u32> = fleet.hosts.class_of.iter().collect();
        let words = class_of.len().div_ceil(64);
        let table = |group: &Group| {
            let columns: Vec<u32> =
                class_of.iter().map(|class| group.column_of.get(*class as usize).copied().unwrap_or(0)).collect();
            let mut table = vec![0; group.row_count() * least.len() * words];
            let fill = |(row, planes): (usize, &mut [u64])| {
                let cells = group.row(u32::try_from(row).unwrap_or(u32::MAX));
                for (plane, least) in planes.chunks_mut(words.max(1)).zip(least) {
                    // A byte for each column first: the inner loop is then one load, one shift, one or.
                    let reached: Vec<u8> = cells.iter().map(|cell| u8::from(*cell >= *least)).collect();
                    for (word, columns) in plane.iter_mut().zip(columns.chunks(64)) {
                        for (bit, column) in columns.iter().enumerate() {
                            *word |= u64::from(reached.get(*column as usize).copied().unwrap_or(0)) << bit;
                        }
                    }
                }
            };
            table.par_chunks_mut((least.len() * words).max(1)).enumerate().for_each(fill);
            table
        };
        let tables = fleet.pool.run(|| fleet.judged.groups.iter().map(table).collect());
        Self { words, least: least.to_vec(), tables, class_of }
    }

    /// How many bytes one word of every row takes: what a block of columns costs in the cache.
    pub(super) fn bytes_of_column(&self) -> usize {
        self.tables.iter().map(|table| table.len() * 8 / self.words.max(1)).sum()
    }

    /// The words `start..start + out.len()` of one plane of a VM class; bits beyond the last host are 0.
    pub(super) fn join(&self, fleet: &Fleet, class: u32, plane: usize, start: usize, out: &mut [u64]) {
        out.fill(0);
        let planes = self.least.len();
        for (table, (_, row)) in self.tables.iter().zip(fleet.judged.groups.rows_of(class)) {
            let from = (row as usize * planes + plane) * self.words + start;
            if let Some(words) = table.get(from..from + out.len()) {
                for (out, word) in out.iter_mut().zip(words) {
                    *out |= word;
                }
            }
        }
        if !fleet.judged.rests.is_empty() {
            self.join_rests(fleet, class, plane, start, out);
        }
    }

    fn join_rests(&self, fleet: &Fleet, class: u32, plane: usize, start: usize, out: &mut [u64]) {
        let least = self.least.get(plane).copied().unwrap_or(u8::MAX);
        let hosts = self.class_of.iter().skip(start * 64);
        for rest in &fleet.judged.rests {
            let saved = fleet.vms.classes.get(class).and_then(|class| value(&fleet.vms, rest.unit, class));
            let Some(saved) = saved else { continue };
            let mut hosts = hosts.clone();
            for word in out.iter_mut() {
                for (bit, host) in hosts.by_ref().take(64).enumerate() {
                    let acceptor = fleet.hosts.acceptor_number(*host, saved.config, rest.unit);
                    let found = acceptor.map_or(0, |acceptor| rest.judge(&fleet.hosts, saved, acceptor));
                    *word |= u64::from(found >= least) << bit;
                }
            }
        }
    }
}

/// The bits of the last word of a row that stand for hosts.
pub(super) const fn last_word(hosts: usize) -> u64 {
    match hosts % 64 {
        0 => u64::MAX,
        bits => (1 << bits) - 1,
    }
}
