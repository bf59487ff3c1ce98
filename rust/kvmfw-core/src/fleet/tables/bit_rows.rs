//! Bit rows: for each row of each group, one bit for every host.
//!
//! A VM class reaches an outcome on the hosts on which one of its groups does: the OR of as many rows as there are
//! groups. Nothing here is as large as VMs times hosts.

use std::sync::OnceLock;

use rayon::prelude::*;

use super::groups::{Group, Groups};
use super::judged::Judged;
use crate::audit::pack;
use crate::fleet::class::{HostClass, VmClass};
use crate::fleet::classes::class_map::{Class, ClassMap};
use crate::fleet::classes::hosts::Hosts;
use crate::fleet::classes::vms::Vms;
use crate::fleet::strip::{STRIP, Strip};
use crate::pool::{Pool, checkpoint};
use crate::room;

/// Rows over hosts, made when they are first needed.
#[derive(Debug, Default)]
pub(in crate::fleet) struct HostBits {
    /// Bit rows for "at least CHANGE", "at least UNKNOWN" and "REFUSE".
    planes: [OnceLock<Plane>; 3],
    /// The matrix rows of all classes, for each way to count CHANGE and UNKNOWN.
    pub(in crate::fleet) rows: [OnceLock<Vec<u8>>; 4],
}

/// What rows over hosts are made of.
#[derive(Clone, Copy, Debug)]
pub(in crate::fleet) struct Sides<'a> {
    pub(in crate::fleet) judged: &'a Judged,
    pub(in crate::fleet) groups: &'a Groups,
    pub(in crate::fleet) vms: &'a Vms,
    pub(in crate::fleet) hosts: &'a Hosts,
    /// The class of each host, by row.
    pub(in crate::fleet) rows: &'a ClassMap,
}

/// For each group and row, which hosts have at least some outcome.
#[derive(Debug)]
pub(in crate::fleet) struct Plane {
    least: u8,
    /// Strips in a row over hosts.
    pub(in crate::fleet) strips: usize,
    /// For each group its rows; none where no host reaches the outcome in any.
    tables: Vec<Vec<Strip>>,
}

impl HostBits {
    /// The bit rows for "at least this outcome": 1, 2 or 3.
    pub(in crate::fleet) fn plane<'a>(&self, sides: impl FnOnce() -> Sides<'a>, pool: &Pool, least: u8) -> &Plane {
        let [change, unknown, refuse] = &self.planes;
        let plane = match least {
            ..=1 => change,
            2 => unknown,
            3.. => refuse,
        };
        plane.get_or_init(|| Plane::new(sides(), pool, least))
    }
}

impl Plane {
    fn new(sides: Sides<'_>, pool: &Pool, least: u8) -> Self {
        room::need(3 * sides.rows.len() * size_of::<u32>());
        let mut class_of = vec![0; sides.rows.len()];
        sides.rows.write(0, &mut class_of);
        let strips = class_of.len().div_ceil(64 * STRIP);
        let groups = sides.groups;
        let table = |group: &Group| {
            if !group.reaches(least) {
                return Vec::new();
            }
            let columns = class_of.iter().map(|class| group.column_of.get(*class as usize).copied().unwrap_or(0));
            if group.column_count() <= 256 {
                let columns: Vec<u8> = columns.map(|column| column.to_le_bytes()[0]).collect();
                fill(group, &columns, least, strips)
            } else {
                fill(group, &columns.collect::<Vec<u32>>(), least, strips)
            }
        };
        let tables = pool.run(|| groups.iter().map(table).collect());
        Self { least, strips, tables }
    }

    /// The rows of each group, one after the other.
    pub(in crate::fleet) fn tables(&self) -> impl Iterator<Item = &[Strip]> {
        self.tables.iter().map(Vec::as_slice)
    }

    /// A strip of a row of a group.
    pub(in crate::fleet) fn strip(&self, group: usize, row: u32, at: usize) -> Option<&Strip> {
        self.tables.get(group)?.get(row as usize * self.strips + at)
    }

    /// How many bytes one strip of every row takes: what a block of hosts costs in the cache.
    pub(in crate::fleet) fn bytes_of_strip(&self) -> usize {
        self.tables.iter().map(|table| size_of_val(table.as_slice()) / self.strips.max(1)).sum()
    }

    /// The strips from `start` on of a VM class; bits beyond the last host are 0. `rows` is memory for the pieces that are
    /// joined.
    #[inline(always)]
    pub(in crate::fleet) fn join<'a>(
        &'a self,
        sides: Sides<'_>,
        class: VmClass,
        start: usize,
        rows: &mut Vec<&'a [Strip]>,
        out: &mut [Strip],
    ) {
        rows.clear();
        rows.extend(self.tables.iter().zip(sides.groups.rows_of(class)).filter_map(|(table, (_, row))| {
            let from = row as usize * self.strips + start;
            table.get(from..from + out.len())
        }));
        for (at, out) in out.iter_mut().enumerate() {
            *out = rows.iter().filter_map(|row| row.get(at)).fold(Strip::NONE, Strip::with);
        }
        if !sides.judged.rests.is_empty() {
            self.join_rests(sides, class, start, out);
        }
    }

    /// Adds what is left of split units: see [`Plane::join`].
    pub(in crate::fleet) fn join_rests(&self, sides: Sides<'_>, class: VmClass, start: usize, out: &mut [Strip]) {
        let start = start * 64 * STRIP;
        let mut hosts = vec![0; (sides.rows.len() - start).min(out.len() * 64 * STRIP)];
        sides.rows.write(start, &mut hosts);
        for rest in &sides.judged.rests {
            let saved = sides.vms.classes.get(class).and_then(|class| rest.value(sides.vms, class));
            let Some(saved) = saved else { continue };
            for (word, hosts) in out.iter_mut().flat_map(|strip| &mut strip.0).zip(hosts.chunks(64)) {
                for (bit, host) in hosts.iter().enumerate() {
                    let found = rest.judge(sides.hosts, saved, HostClass::of(*host));
                    *word |= u64::from(found >= self.least) << bit;
                }
            }
        }
    }
}

/// The bit rows of a group; `columns` gives the column of each host.
fn fill<C: Class>(group: &Group, columns: &[C], least: u8, strips: usize) -> Vec<Strip> {
    room::need(group.row_count() * strips * size_of::<Strip>());
    let mut table = vec![Strip::default(); group.row_count() * strips];
    let row = |(row, out): (usize, &mut [Strip])| {
        checkpoint();
        let cells = group.row(u32::try_from(row).unwrap_or(u32::MAX));
        let reached: Vec<u8> = cells.iter().map(|cell| u8::from(*cell >= least)).collect();
        for (word, columns) in out.iter_mut().flat_map(|strip| &mut strip.0).zip(columns.chunks(64)) {
            let mut bytes = [0; 64];
            for (byte, column) in bytes.iter_mut().zip(columns) {
                *byte = reached.get(column.class() as usize).copied().unwrap_or(0);
            }
            *word = pack(&bytes);
        }
    };
    table.par_chunks_mut(strips.max(1)).enumerate().for_each(row);
    table
}
