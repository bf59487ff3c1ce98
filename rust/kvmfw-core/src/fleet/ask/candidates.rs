//! The hosts of one VM: rows of the class table, and who takes it.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::audit::pack;
use crate::error::MissingError;
use crate::fleet::class::{HostClass, VmClass};
use crate::fleet::classes::class_map::{Class, count, with_classes};
use crate::fleet::store::neighbours::Member;
use crate::fleet::{Snapshot, Taken, VmHandle, Who};
use crate::pool::checkpoint;
use crate::room;

/// With more host classes than this, the class of each host is looked up; else classes have their hosts as bits.
const FEW_CLASSES: usize = 1 << 8;

/// What a host takes in an answer, as its number twice, a bit and an outcome.
const BYTES_OF_A_CANDIDATE: usize = 10;

impl Snapshot {
    /// The rows of the hosts that take a VM, ascending. Its own host is one of them where it takes it; [`Snapshot::homes`] tells
    /// which it is.
    ///
    /// # Errors
    ///
    /// When there is no such VM.
    pub fn candidates<'a>(&self, vm: impl Into<Who<'a, VmHandle>>, taken: Taken) -> Result<Arc<[u32]>, MissingError> {
        let (_, member) = self.find_vm(vm)?;
        Ok(self.rows_that_take(VmClass::of(member.class), taken))
    }

    /// [`Snapshot::candidates`] without the host that the VM runs on.
    ///
    /// # Errors
    ///
    /// When there is no such VM.
    pub fn other_candidates<'a>(
        &self,
        vm: impl Into<Who<'a, VmHandle>>,
        taken: Taken,
    ) -> Result<Arc<[u32]>, MissingError> {
        let (handle, member) = self.find_vm(vm)?;
        let rows = self.rows_that_take(VmClass::of(member.class), taken);
        let home = self.home(handle).and_then(|home| rows.binary_search(&count(home)).ok());
        Ok(home.map_or_else(
            || Arc::clone(&rows),
            |home| {
                let (before, after) = rows.split_at(home);
                before.iter().chain(after.iter().skip(1)).copied().collect()
            },
        ))
    }

    /// [`Snapshot::candidates`] of many VMs, with or without their own hosts: where the rows of each start, with the end of the last one, and all of them.
    ///
    /// # Errors
    ///
    /// The first VM that is not there.
    pub fn candidates_of<'a>(
        &self,
        vms: impl IntoIterator<Item = impl Into<Who<'a, VmHandle>>>,
        taken: Taken,
        with_home: bool,
    ) -> Result<(Vec<u64>, Vec<u32>), MissingError> {
        let mut found = Vec::new();
        for vm in vms {
            room::push(&mut found, self.find_vm(vm)?);
        }
        let vms = found;
        let mut known: HashMap<u32, Arc<[u32]>, FixedState> = HashMap::default();
        for (_, member) in &vms {
            checkpoint();
            known.entry(member.class).or_insert_with(|| self.rows_that_take(VmClass::of(member.class), taken));
        }
        // Sized before it is filled: what grows is copied again and again.
        let rows_of = |member: &Member| known.get(&member.class).map_or(&[][..], AsRef::as_ref);
        let most = vms.iter().map(|(_, member)| rows_of(member).len()).sum();
        let (mut starts, mut all) = (Vec::new(), Vec::new());
        room::grow(&mut starts, vms.len() + 1);
        room::grow(&mut all, most);
        starts.push(0);
        for (handle, member) in &vms {
            checkpoint();
            let rows = rows_of(member);
            let home = if with_home { None } else { self.home(*handle) };
            let home = home.and_then(|home| rows.binary_search(&count(home)).ok());
            let (before, after) = rows.split_at(home.unwrap_or(0));
            all.extend_from_slice(before);
            all.extend_from_slice(after.get(usize::from(home.is_some())..).unwrap_or(&[]));
            starts.push(all.len() as u64);
        }
        Ok((starts, all))
    }

    /// The rows of the hosts that take a VM class.
    fn rows_that_take(&self, vm_class: VmClass, taken: Taken) -> Arc<[u32]> {
        let since = self.0.vm_classes.since(vm_class.number());
        let is_taker = |row: usize| {
            let host = self.0.hosts.at(row).map(|(_, host)| HostClass::of(host.class));
            host.is_some_and(|host| taken.takes(self.outcome(vm_class, host)))
        };
        let work_out = || self.expanded(&self.row(vm_class), taken);
        self.0.hosts.answers().get((vm_class, since, taken), work_out, is_taker)
    }

    /// The rows of the hosts whose classes have an outcome that is taken.
    fn expanded(&self, row: &[u8], taken: Taken) -> Arc<[u32]> {
        room::need(self.host_count() * BYTES_OF_A_CANDIDATE);
        let mut bits = vec![0; self.host_count().div_ceil(64)];
        if row.len() <= FEW_CLASSES {
            let takers = row.iter().zip(self.0.hosts.by_class().iter()).filter(|(outcome, _)| taken.takes(**outcome));
            for (_, hosts) in takers {
                bits.iter_mut().zip(hosts).for_each(|(bits, hosts)| *bits |= hosts);
            }
        } else {
            let takers: Vec<u8> = row.iter().map(|outcome| u8::from(taken.takes(*outcome))).collect();
            with_classes!(self.host_rows(), classes => {
                for (bits, classes) in bits.iter_mut().zip(classes.chunks(64)) {
                    let mut bytes = [0; 64];
                    for (byte, class) in bytes.iter_mut().zip(classes) {
                        *byte = takers.get(class.class() as usize).copied().unwrap_or(0);
                    }
                    *bits = pack(&bytes);
                }
            });
        }
        places(&bits)
    }

    /// Which host classes take a VM class: one byte each, 1 for taken.
    ///
    /// # Errors
    ///
    /// When nobody is of such a class.
    pub fn takers(&self, vm_class: u32, taken: Taken) -> Result<Vec<u8>, MissingError> {
        let mut row = self.class_row(vm_class)?;
        for outcome in &mut row {
            *outcome = u8::from(taken.takes(*outcome));
        }
        Ok(row)
    }

    /// The outcome of a VM class on every host class.
    ///
    /// # Errors
    ///
    /// When nobody is of such a class.
    pub fn class_row(&self, vm_class: u32) -> Result<Vec<u8>, MissingError> {
        if self.0.vm_classes.members(vm_class) == 0 {
            let problem =
                format!("VM class {vm_class} is out of range or has no VMs; {} have", self.0.vm_classes.used());
            return Err(MissingError { problem, row: None });
        }
        Ok(self.row(VmClass::of(vm_class)))
    }

    /// The outcomes of the VM classes from `first` on, class by class, as many as `out` has room for. Of classes that nobody is
    /// of it says nothing.
    pub fn class_rows(&self, first: u32, out: &mut [u8]) {
        let world = self.world();
        for (class, row) in (first..).map(VmClass::of).zip(out.chunks_mut(world.hosts.classes.len().max(1))) {
            checkpoint();
            world.row(class, row);
        }
    }

    /// The outcomes of a VM on every host class.
    ///
    /// # Errors
    ///
    /// When there is no such VM.
    pub fn row_of<'a>(&self, vm: impl Into<Who<'a, VmHandle>>) -> Result<Vec<u8>, MissingError> {
        self.find_vm(vm).map(|(_, member)| self.row(VmClass::of(member.class)))
    }

    pub(super) fn row(&self, vm_class: VmClass) -> Vec<u8> {
        if let Some(fresh) = self.0.fresh.value(vm_class) {
            return fresh.row.clone();
        }
        let world = &self.0.tables.world;
        let mut row = vec![0; world.hosts.classes.len()];
        world.row(vm_class, &mut row);
        row
    }
}

/// The places of the bits that are set, ascending: eight are written at a time, however many of them count.
fn places(bits: &[u64]) -> Arc<[u32]> {
    let count = bits.iter().map(|word| word.count_ones() as usize).sum();
    let mut places = vec![0; count + 8];
    let mut end = 0;
    for (first, byte) in (0..).step_by(8).zip(bits.iter().flat_map(|word| word.to_le_bytes())) {
        let (Some(eight), Some((known, count))) = (places.get_mut(end..end + 8), BITS_OF.get(usize::from(byte))) else {
            break;
        };
        eight.iter_mut().zip(known).for_each(|(place, bit)| *place = first + bit);
        end += count;
    }
    places.get(..count).unwrap_or(&[]).into()
}

/// The places of the bits of each byte, ascending, and how many there are; what is left is 0. (A processor that may lack an
/// instruction for it takes longer to count than to look up.)
static BITS_OF: [([u32; 8], usize); 256] = {
    let mut table = [([0; 8], 0); 256];
    let mut byte = 0;
    while byte < 256 {
        let mut bit = 0;
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                table[byte].0[table[byte].1] = bit;
                table[byte].1 += 1;
            }
            bit += 1;
        }
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_bits() {
        let bits = [0x8000_0000_0000_0001, 0, u64::MAX, 0x0123_4567_89ab_cdef, 1 << 63];
        let wanted: Vec<u32> =
            (0..320_u32).filter(|place| bits[*place as usize / 64] >> (place % 64) & 1 == 1).collect();
        assert_eq!(places(&bits)[..], wanted);
        assert!(places(&[]).is_empty() && places(&[0]).is_empty());
    }
}
