//! Pairs of rows: two gathers from class maps and one from the class table.

use rayon::prelude::*;

use super::Fleet;
use super::class_map::ClassMap;
use super::dense::{Bytes, Cells, Dense, Gather, Packed};
use super::judged::NO_UNIT;
use crate::error::RowError;

/// Pairs are worked on in chunks of this many rows: large enough to hide the hand-over, small enough to share evenly.
const CHUNK: usize = 1 << 16;
/// Fewer pairs than this take less time than waking a thread.
const WORTH_SHARING: usize = 1 << 13;

/// An index of a row, of any integer type that Python hands over.
pub trait RowIndex: Copy + Send + Sync + std::fmt::Debug {
    /// The row; negative indices become rows that no fleet has.
    fn row(self) -> usize;
}

macro_rules! row_index {
    ($($integer:ty, $to:expr;)*) => {
        $(impl RowIndex for $integer {
            #[inline]
            fn row(self) -> usize {
                // Where a `usize` is narrower than the index, the row is out of range as well.
                usize::try_from($to(self)).unwrap_or(usize::MAX)
            }
        })*
    };
}
row_index!(
    u32, |index| index;
    i32, |index: i32| i64::from(index).cast_unsigned();
    u64, |index| index;
    i64, i64::cast_unsigned;
);

/// One class number.
trait Class: Copy + Sync {
    fn class(self) -> usize;
}

impl Class for u16 {
    fn class(self) -> usize {
        usize::from(self)
    }
}

impl Class for u32 {
    fn class(self) -> usize {
        self as usize
    }
}

/// For every pair of classes its outcome and the first unit that has it, as one number.
#[derive(Clone, Debug)]
pub(super) enum Blocking {
    /// Few units: a byte is enough.
    Bytes(Vec<u8>),
    Words(Vec<u16>),
}

const fn code(outcome: u8, unit: u16) -> u16 {
    if outcome == 0 { 0 } else { unit * 3 + outcome as u16 }
}

fn decode(code: u16) -> (u8, u16) {
    match code.checked_sub(1) {
        None => (0, NO_UNIT),
        Some(code) => ((code % 3).to_le_bytes()[0] + 1, code / 3),
    }
}

impl Fleet {
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
        let done = match (&self.vms.class_of, &self.hosts.class_of) {
            (ClassMap::Narrow(vms), ClassMap::Narrow(hosts)) => self.pairs_of(vms, hosts, vm, host, out, units),
            (ClassMap::Narrow(vms), ClassMap::Wide(hosts)) => self.pairs_of(vms, hosts, vm, host, out, units),
            (ClassMap::Wide(vms), ClassMap::Narrow(hosts)) => self.pairs_of(vms, hosts, vm, host, out, units),
            (ClassMap::Wide(vms), ClassMap::Wide(hosts)) => self.pairs_of(vms, hosts, vm, host, out, units),
        };
        done.map_err(|row| {
            let of = |rows: &[I]| rows.get(row).map_or_else(String::new, |index| format!("{index:?}"));
            let (vm, host, vms, hosts) = (of(vm), of(host), self.vm_count(), self.host_count());
            let problem =
                format!("pair (VM row {vm}, host row {host}) is out of range; there are {vms} VMs and {hosts} hosts");
            RowError { row, problem }
        })
    }

    fn pairs_of<I: RowIndex, V: Class, H: Class>(
        &self,
        vms: &[V],
        hosts: &[H],
        vm: &[I],
        host: &[I],
        out: &mut [u8],
        units: Option<&mut [u16]>,
    ) -> Result<(), usize> {
        let Some(units) = units else {
            return match self.dense() {
                Some(Dense { cells: Cells::Bytes(cells), stride, .. }) => {
                    self.in_chunks(vm, host, out, |vm, host, out| {
                        gather(vms, hosts, vm, host, out, *stride, &Bytes(cells))
                    })
                }
                Some(Dense { cells: Cells::Packed(cells), stride, .. }) => {
                    self.in_chunks(vm, host, out, |vm, host, out| {
                        gather(vms, hosts, vm, host, out, *stride, &Packed(cells))
                    })
                }
                None => self.in_chunks(vm, host, out, |vm, host, out| {
                    let pairs = class_pairs(vms, hosts, vm, host)?;
                    let mut out = out.iter_mut();
                    self.sparse(&pairs, |outcome, _| {
                        if let Some(out) = out.next() {
                            *out = outcome;
                        }
                    });
                    Ok(())
                }),
            };
        };
        let stride = self.hosts.classes.len();
        let mut both: Vec<(&mut [u8], &mut [u16])> = out.chunks_mut(CHUNK).zip(units.chunks_mut(CHUNK)).collect();
        let blocking = self.blocking();
        let work = |(at, (out, units)): (usize, &mut (&mut [u8], &mut [u16]))| {
            let rows = at * CHUNK..at * CHUNK + out.len();
            let (vm, host) = (vm.get(rows.clone()).unwrap_or(&[]), host.get(rows).unwrap_or(&[]));
            let cells = out.iter_mut().zip(units.iter_mut());
            let done = match blocking {
                Some(Blocking::Bytes(table)) => each_of(vms, hosts, vm, host, cells, |vm, host, (out, unit)| {
                    let code = table.get(vm * stride + host).copied().unwrap_or(0);
                    (*out, *unit) = decode(u16::from(code));
                }),
                Some(Blocking::Words(table)) => each_of(vms, hosts, vm, host, cells, |vm, host, (out, unit)| {
                    (*out, *unit) = decode(table.get(vm * stride + host).copied().unwrap_or(0));
                }),
                None => class_pairs(vms, hosts, vm, host).map(|pairs| {
                    let mut cells = cells;
                    self.sparse(&pairs, |outcome, number| {
                        if let Some((out, unit)) = cells.next() {
                            (*out, *unit) = (outcome, number);
                        }
                    });
                }),
            };
            done.map_err(|row| at * CHUNK + row)
        };
        if vm.len() < WORTH_SHARING {
            return both.iter_mut().enumerate().try_for_each(work);
        }
        self.pool.run(|| both.par_iter_mut().enumerate().map(work).find_map_first(Result::err)).map_or(Ok(()), Err)
    }

    fn in_chunks<I: RowIndex>(
        &self,
        vm: &[I],
        host: &[I],
        out: &mut [u8],
        work: impl Fn(&[I], &[I], &mut [u8]) -> Result<(), usize> + Sync,
    ) -> Result<(), usize> {
        if vm.len() < WORTH_SHARING {
            return work(vm, host, out);
        }
        let chunks = vm.par_chunks(CHUNK).zip(host.par_chunks(CHUNK)).zip(out.par_chunks_mut(CHUNK)).enumerate();
        let failed = chunks.map(|(at, ((vm, host), out))| work(vm, host, out).err().map(|row| at * CHUNK + row));
        self.pool.run(|| failed.find_map_first(|failed| failed)).map_or(Ok(()), Err)
    }

    /// The table of deciding units; `None` where classes are too many.
    fn blocking(&self) -> Option<&Blocking> {
        if !self.has_class_table() {
            return None;
        }
        Some(self.blocking.get_or_init(|| {
            let hosts = u32::try_from(self.hosts.classes.len()).unwrap_or(u32::MAX);
            let vms = u32::try_from(self.vms.classes.len()).unwrap_or(u32::MAX);
            let units = self.units().len();
            let code = |vm: u32, host: u32| {
                let (outcome, unit) = self.judged.pair(&self.vms, &self.hosts, vm, host);
                code(outcome, unit)
            };
            self.pool.run(|| {
                let rows = (0..vms).into_par_iter();
                if units * 3 < 256 {
                    let byte = |code: u16| code.to_le_bytes()[0];
                    Blocking::Bytes(rows.flat_map_iter(|vm| (0..hosts).map(move |host| byte(code(vm, host)))).collect())
                } else {
                    Blocking::Words(rows.flat_map_iter(|vm| (0..hosts).map(move |host| code(vm, host))).collect())
                }
            })
        }))
    }
}

fn narrow(class: usize) -> u32 {
    u32::try_from(class).unwrap_or(u32::MAX)
}

/// Gathers the outcomes of one chunk; the place of the first pair that is out of range is the error.
fn gather<I: RowIndex, V: Class, H: Class>(
    vms: &[V],
    hosts: &[H],
    vm: &[I],
    host: &[I],
    out: &mut [u8],
    stride: usize,
    cells: &impl Gather,
) -> Result<(), usize> {
    each(vms, hosts, vm, host, out, |vm, host, out| *out = cells.at(vm * stride + host))
}

/// The classes of the pairs of one chunk.
fn class_pairs<I: RowIndex, V: Class, H: Class>(
    vms: &[V],
    hosts: &[H],
    vm: &[I],
    host: &[I],
) -> Result<Vec<(u32, u32)>, usize> {
    let mut pairs = vec![(0, 0); vm.len()];
    each_of(vms, hosts, vm, host, pairs.iter_mut(), |vm, host, pair| *pair = (narrow(vm), narrow(host)))?;
    Ok(pairs)
}

fn each<I: RowIndex, V: Class, H: Class>(
    vms: &[V],
    hosts: &[H],
    vm: &[I],
    host: &[I],
    out: &mut [u8],
    write: impl FnMut(usize, usize, &mut u8),
) -> Result<(), usize> {
    each_of(vms, hosts, vm, host, out.iter_mut(), write)
}

#[inline]
fn each_of<I: RowIndex, V: Class, H: Class, O>(
    vms: &[V],
    hosts: &[H],
    vm: &[I],
    host: &[I],
    out: impl Iterator<Item = O>,
    mut write: impl FnMut(usize, usize, O),
) -> Result<(), usize> {
    for (at, ((vm, host), out)) in vm.iter().zip(host).zip(out).enumerate() {
        let (Some(vm), Some(host)) = (vms.get(vm.row()), hosts.get(host.row())) else { return Err(at) };
        write(vm.class(), host.class(), out);
    }
    Ok(())
}
