//! Pairs of rows: two gathers from class maps and one from the class table.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::gather::{BLOCK, Gather, RowIndex};
use crate::error::RowError;
use crate::fleet::Snapshot;
use crate::fleet::class::{HostClass, VmClass};
use crate::fleet::classes::class_map::count;
use crate::fleet::classes::class_map::{Class, with_classes};
use crate::fleet::grid::UNKNOWN;
use crate::fleet::tables::blocking::{Blocking, Code};
use crate::fleet::tables::class_table::Dense;
use crate::fleet::tables::world::World;

/// Pairs are worked on in chunks of this many rows: large enough to hide the hand-over, small enough to share evenly.
const CHUNK: usize = 1 << 16;
/// Fewer pairs than this take less time than waking a thread.
const WORTH_SHARING: usize = CHUNK;
/// A pair in so many VMs is looked up by itself.
const FEW: usize = 16;
/// A table is made for so many of its cells for each pair.
const CELLS_FOR_A_PAIR: usize = 8;

impl Snapshot {
    /// The outcome of each pair of rows, into `out`; with `units`, also the number of the unit that decides.
    ///
    /// # Errors
    ///
    /// The first pair whose VM or host row is out of range; `out` is then not to be used.
    pub fn pairs<I: RowIndex>(
        &self,
        vm: &[I],
        host: &[I],
        out: &mut [u8],
        units: Option<&mut [u16]>,
    ) -> Result<(), RowError> {
        let done = if self.looks_up_each(vm.len(), units.is_some()) {
            self.few_pairs(vm, host, out)
        } else {
            with_classes!(self.vm_rows(), vms => with_classes!(self.host_rows(), hosts => {
                self.pairs_of(&Gather { vms, hosts, vm, host }, out, units)
            }))
        };
        done.map_err(|row| {
            let of = |rows: &[I]| rows.get(row).map_or_else(String::new, |index| format!("{index:?}"));
            let (vm, host, vms, hosts) = (of(vm), of(host), self.vm_count(), self.host_count());
            let problem =
                format!("pair (VM row {vm}, host row {host}) is out of range; there are {vms} VMs and {hosts} hosts");
            RowError { row, problem }
        })
    }

    /// Whether so many pairs are looked up each by itself, without tables of all classes.
    pub fn looks_up_each(&self, pairs: usize, with_units: bool) -> bool {
        !with_units && pairs < self.vm_count() / FEW && self.0.vms.known_classes().is_none()
    }

    /// Pairs of so few VMs that the classes of all are not worth writing down.
    fn few_pairs<I: RowIndex>(&self, vm: &[I], host: &[I], out: &mut [u8]) -> Result<(), usize> {
        let hosts = self.host_rows();
        for (at, ((vm, host), out)) in vm.iter().zip(host).zip(out).enumerate() {
            let (vm, host) = self.vm_class(vm.row()).zip(hosts.get(host.row())).ok_or(at)?;
            *out = self.outcome(VmClass::of(vm), HostClass::of(host));
        }
        Ok(())
    }

    fn pairs_of<I: RowIndex, V: Class, H: Class>(
        &self,
        rows: &Gather<'_, I, V, H>,
        out: &mut [u8],
        units: Option<&mut [u16]>,
    ) -> Result<(), usize> {
        let mut chunks: Vec<(&mut [u8], Option<&mut [u16]>)> = match units {
            Some(units) => out.chunks_mut(CHUNK).zip(units.chunks_mut(CHUNK).map(Some)).collect(),
            None => out.chunks_mut(CHUNK).map(|out| (out, None)).collect(),
        };
        // Tables are made by all threads, before each goes about its chunks; for pairs that are few beside their cells, masks do.
        let (world, settings) = (self.world(), self.settings());
        let is_worth_it = rows.vm.len() >= world.cells() / CELLS_FOR_A_PAIR;
        let tables = match (chunks.first().is_some_and(|(_, units)| units.is_some()), is_worth_it) {
            (true, true) => (None, world.blocking(settings)),
            (true, false) => (None, world.known_blocking()),
            (false, true) => (world.dense(settings), None),
            (false, false) => (world.known_dense(), None),
        };
        // Tables of a byte for each cell are as near as class tables of this size.
        let near = settings.limits.unpacked_cells;
        let work = |(at, (out, units)): (usize, &mut (&mut [u8], Option<&mut [u16]>))| {
            let rows = rows.part(at * CHUNK..at * CHUNK + out.len());
            let done = match units {
                None => outcomes_of(world, &rows, tables.0, out),
                Some(units) => units_of(world, &rows, (tables.1, near), out, units),
            };
            done.map_err(|row| at * CHUNK + row)
        };
        if rows.vm.len() < WORTH_SHARING {
            return chunks.iter_mut().enumerate().try_for_each(work);
        }
        // Chunks are taken in order: those before the first one with a stray pair are done or under way.
        let stray = AtomicUsize::new(usize::MAX);
        let left = chunks.iter_mut().enumerate().take_while(|_| stray.load(Relaxed) == usize::MAX);
        self.settings().pool.share(left, |chunk| {
            if let Err(row) = work(chunk) {
                stray.fetch_min(row, Relaxed);
            }
        });
        match stray.into_inner() {
            usize::MAX => Ok(()),
            row => Err(row),
        }
    }
}

fn outcomes_of<I: RowIndex, V: Class, H: Class>(
    world: &World,
    rows: &Gather<'_, I, V, H>,
    table: Option<&Dense>,
    out: &mut [u8],
) -> Result<(), usize> {
    match table {
        Some(Dense { cells, packs: false, stride, .. }) => {
            rows.cells(*stride, out, |place| cells.get(place).copied().unwrap_or(UNKNOWN))
        }
        Some(Dense { cells, packs: true, stride, .. }) => rows.far_cells(count(*stride), out, |place| {
            cells.get(place as usize / 4).map_or(UNKNOWN, |four| four >> (place % 4 * 2) & 3)
        }),
        None => rows.classes(|start, pairs| {
            world.judged.masks.fetch(pairs);
            let out = out.get_mut(start..start + pairs.len()).unwrap_or_default();
            world.judged.outcomes(&world.vms, &world.hosts, pairs, out);
        }),
    }
}

fn units_of<I: RowIndex, V: Class, H: Class>(
    world: &World,
    rows: &Gather<'_, I, V, H>,
    (table, near): (Option<&Blocking>, usize),
    out: &mut [u8],
    units: &mut [u16],
) -> Result<(), usize> {
    let Some(table) = table else {
        return rows.classes(|start, pairs| {
            world.judged.masks.fetch(pairs);
            let range = start..start + pairs.len();
            if let (Some(out), Some(units)) = (out.get_mut(range.clone()), units.get_mut(range)) {
                world.judged.units(&world.vms, &world.hosts, pairs, out, units);
            }
        });
    };
    let stride = count(world.vms.classes.len());
    let mut codes = [Code::default(); BLOCK];
    for (at, (out, units)) in out.chunks_mut(BLOCK).zip(units.chunks_mut(BLOCK)).enumerate() {
        let rows = rows.part(at * BLOCK..at * BLOCK + out.len());
        let done = match table {
            Blocking::Bytes(table) => {
                let read = |place: usize| table.get(place).copied().unwrap_or(Code::UNKNOWN.byte());
                // Codes of a byte stand where outcomes will.
                let done = if table.len() <= near {
                    rows.cells(stride as usize, out, read)
                } else {
                    rows.far_cells(stride, out, |place| read(place as usize))
                };
                for (out, unit) in out.iter_mut().zip(units) {
                    (*out, *unit) = Code::of_byte(*out).told();
                }
                done
            }
            Blocking::Words(table) => {
                let codes = codes.get_mut(..out.len()).unwrap_or_default();
                let read = |place: u32| table.get(place as usize).copied().unwrap_or(Code::UNKNOWN);
                let done = rows.far_cells(stride, codes, read);
                for ((out, unit), code) in out.iter_mut().zip(units).zip(codes) {
                    (*out, *unit) = code.told();
                }
                done
            }
        };
        done.map_err(|row| at * BLOCK + row)?;
    }
    Ok(())
}
