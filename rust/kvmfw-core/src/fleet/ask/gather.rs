//! Gathers: from pairs of rows to their classes, and on to a table.
//!
//! What these loops wait for is memory, so they are written to have as many loads under way as a core can: no branch
//! depends on what was loaded, and where the table is larger than a second-level cache, places come first and cells after,
//! so that no load waits for another (measured with `large`: a quarter faster; with `small` slower).

use crate::fleet::class::{HostClass, VmClass};
use crate::fleet::classes::class_map::Class;

/// Pairs of one block: their places take 4 kB, and the masks of their VMs 32 kB.
pub(in crate::fleet) const BLOCK: usize = 512;

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

/// Pairs of rows, and the class of each row.
#[derive(Debug)]
pub(in crate::fleet) struct Gather<'a, I, V, H> {
    pub(in crate::fleet) vms: &'a [V],
    pub(in crate::fleet) hosts: &'a [H],
    pub(in crate::fleet) vm: &'a [I],
    pub(in crate::fleet) host: &'a [I],
}

impl<I: RowIndex, V: Class, H: Class> Gather<'_, I, V, H> {
    /// The pairs of a range.
    pub(in crate::fleet) fn part(&self, range: std::ops::Range<usize>) -> Self {
        let Self { vms, hosts, vm, host } = *self;
        Self { vms, hosts, vm: vm.get(range.clone()).unwrap_or(&[]), host: host.get(range).unwrap_or(&[]) }
    }

    /// Writes for each pair what `read` gives for its place in a table with `stride` cells for each host class. The error
    /// is the first pair that is out of range.
    // Not inlined, and on slices of its own: with all kinds of tables in one function the loops run out of registers.
    #[inline(never)]
    pub(in crate::fleet) fn cells<O>(
        &self,
        stride: usize,
        out: &mut [O],
        read: impl Fn(usize) -> O,
    ) -> Result<(), usize> {
        let Self { vms, hosts, vm, host } = *self;
        let one = |((vm, host), out): ((&I, &I), &mut O)| {
            let (Some(vm), Some(host)) = (vms.get(vm.row()), hosts.get(host.row())) else { return false };
            *out = read((host.class() as usize).wrapping_mul(stride).wrapping_add(vm.class() as usize));
            true
        };
        // Four at a time: the loop itself takes a part of the time that counts.
        let ((vm, vm_left), (host, host_left)) = (vm.as_chunks::<4>(), host.as_chunks::<4>());
        let (out, out_left) = out.as_chunks_mut::<4>();
        for ((vm, host), out) in vm.iter().zip(host).zip(out) {
            for pair in vm.iter().zip(host).zip(out) {
                if !one(pair) {
                    return Err(self.stray());
                }
            }
        }
        if vm_left.iter().zip(host_left).zip(out_left).all(one) { Ok(()) } else { Err(self.stray()) }
    }

    /// [`Gather::cells`] for large tables; places are less than 2^32.
    #[inline(never)]
    pub(in crate::fleet) fn far_cells<O>(
        &self,
        stride: u32,
        out: &mut [O],
        read: impl Fn(u32) -> O,
    ) -> Result<(), usize> {
        let Self { vms, hosts, vm, host } = *self;
        let mut places = [0; BLOCK];
        for ((vm, host), out) in vm.chunks(BLOCK).zip(host.chunks(BLOCK)).zip(out.chunks_mut(BLOCK)) {
            for ((vm, host), place) in vm.iter().zip(host).zip(&mut places) {
                let (Some(vm), Some(host)) = (vms.get(vm.row()), hosts.get(host.row())) else {
                    return Err(self.stray());
                };
                *place = host.class().wrapping_mul(stride).wrapping_add(vm.class());
            }
            for (place, out) in places.iter().zip(out) {
                *out = read(*place);
            }
        }
        Ok(())
    }

    /// Gives the classes of the pairs to `work`, block by block, with the place of the first.
    pub(in crate::fleet) fn classes(&self, mut work: impl FnMut(usize, &[(VmClass, HostClass)])) -> Result<(), usize> {
        let mut pairs = [(VmClass::of(0), HostClass::of(0)); BLOCK];
        for (at, (vm, host)) in self.vm.chunks(BLOCK).zip(self.host.chunks(BLOCK)).enumerate() {
            for ((vm, host), pair) in vm.iter().zip(host).zip(&mut pairs) {
                let (Some(vm), Some(host)) = (self.vms.get(vm.row()), self.hosts.get(host.row())) else {
                    return Err(self.stray());
                };
                *pair = (VmClass::of(vm.class()), HostClass::of(host.class()));
            }
            work(at * BLOCK, pairs.get(..vm.len()).unwrap_or(&[]));
        }
        Ok(())
    }

    /// The first pair that is out of range.
    fn stray(&self) -> usize {
        let is_stray = |(vm, host): (&I, &I)| vm.row() >= self.vms.len() || host.row() >= self.hosts.len();
        self.vm.iter().zip(self.host).position(is_stray).unwrap_or(0)
    }
}
