//! Which host classes take each VM class: a bit for each pair of classes, the ground of every audit.

use std::sync::Arc;

use rayon::prelude::*;

use super::bits::{Bits, Tally, Weights, has, pack, set};
use super::{AuditError, Watch};
use crate::pool::{Pool, Threads};
use crate::room;
use crate::taken::Taken;

/// VM classes that one thread takes at a time.
const CHUNK: usize = 256;

/// Which host classes with hosts take each VM class.
#[derive(Debug)]
pub struct Takers {
    bits: Bits,
    /// How many hosts each host class has; a class without hosts takes nothing.
    hosts: Vec<u64>,
    vm_classes: usize,
    pub(super) pool: Arc<Pool>,
}

impl Takers {
    /// The threads that work on them, for work that may have to stop.
    pub fn threads(&self) -> Threads {
        Threads(Arc::clone(&self.pool))
    }

    /// Asks for the outcomes of every VM class, and counts for each how many hosts have which outcome.
    pub(crate) fn new(
        vm_classes: usize,
        hosts: &[u64],
        pool: Arc<Pool>,
        taken: Taken,
        watch: &Watch,
        outcomes: impl Fn(u32, &mut [u8]) + Sync,
    ) -> Result<(Self, Vec<[u64; 4]>), AuditError> {
        let mut bits = Bits::new(vm_classes, hosts.len())?;
        let words = bits.words();
        room::need(vm_classes * size_of::<[u64; 4]>());
        let mut counts = vec![[0; 4]; vm_classes];
        let (weights, every) = (Weights::new(hosts), hosts.iter().sum::<u64>());
        let mut living = vec![0; words];
        hosts.iter().enumerate().filter(|(_, hosts)| **hosts > 0).for_each(|(at, _)| set(&mut living, at));
        watch.expect(vm_classes.div_ceil(CHUNK));
        let fill = |(chunk, (rows, counts)): (usize, (&mut [u64], &mut [[u64; 4]]))| {
            let mut cells = vec![0; words * 64];
            let mut said = [vec![0; words], vec![0; words], vec![0; words]];
            for (at, counts) in counts.iter_mut().enumerate() {
                let class = u32::try_from(chunk * CHUNK + at).unwrap_or(u32::MAX);
                outcomes(class, cells.get_mut(..hosts.len()).unwrap_or_default());
                split(&cells, &mut said);
                let [change, unknown, refuse] = said.each_ref().map(|row| weights.sum(row));
                *counts = [every - change - unknown - refuse, change, unknown, refuse];
                let row = rows.get_mut(at * words..(at + 1) * words).unwrap_or_default();
                row.copy_from_slice(&living);
                for (outcome, said) in (1_u8..).zip(&said) {
                    if !taken.takes(outcome) {
                        row.iter_mut().zip(said).for_each(|(word, said)| *word &= !said);
                    }
                }
            }
            watch.step()
        };
        let rows = bits.cells_mut().par_chunks_mut((CHUNK * words).max(1));
        let chunks = rows.zip(counts.par_chunks_mut(CHUNK)).enumerate();
        pool.run(|| chunks.map(fill).collect::<Result<(), _>>())?;
        Ok((Self { bits, hosts: hosts.to_vec(), vm_classes, pool }, counts))
    }

    /// How many VM classes and host classes there are.
    pub fn shape(&self) -> (usize, usize) {
        (self.vm_classes, self.hosts.len())
    }

    /// How many hosts each class has.
    pub(super) fn hosts(&self) -> &[u64] {
        &self.hosts
    }

    /// The host classes that take a VM class.
    pub(super) fn row(&self, vm_class: u32) -> &[u64] {
        self.bits.row(vm_class as usize)
    }

    /// How many words a row has.
    pub(super) fn words(&self) -> usize {
        self.bits.words()
    }

    /// For each pair whether the host class takes the VM class. Negative host classes take nothing.
    pub fn has(&self, vm_class: &[u32], host_class: &[i64]) -> Vec<bool> {
        let pairs = vm_class.iter().zip(host_class);
        pairs.map(|(vm, host)| usize::try_from(*host).is_ok_and(|host| has(self.row(*vm), host))).collect()
    }

    /// For each VM class the sum of the numbers of the host classes that take it.
    ///
    /// # Errors
    ///
    /// When there is not one number for each host class.
    pub fn sums(&self, numbers: &[u64]) -> Result<Vec<u64>, AuditError> {
        let every: Vec<u32> = (0..u32::try_from(self.vm_classes).unwrap_or(u32::MAX)).collect();
        self.sums_of(&every, &vec![0; every.len()], numbers)
    }

    /// For each row the sum of the numbers of the host classes that take its VM class; `list_of` says which list of
    /// numbers it is, `lists` has them one after another.
    ///
    /// # Errors
    ///
    /// When there is not one number in each list for each host class, or a row has no list.
    pub fn sums_of(&self, vm_class: &[u32], list_of: &[u32], lists: &[u64]) -> Result<Vec<u64>, AuditError> {
        let classes = self.hosts.len().max(1);
        if !lists.len().is_multiple_of(classes) || vm_class.len() != list_of.len() {
            return Err(AuditError::Input("lists of numbers have not one for each host class".to_owned()));
        }
        let weights: Vec<Weights> = lists.chunks(classes).map(Weights::new).collect();
        if list_of.iter().any(|list| *list as usize >= weights.len()) {
            return Err(AuditError::Input("there is no such list of numbers".to_owned()));
        }
        let sum = |(vm, list): (&u32, &u32)| weights.get(*list as usize).map_or(0, |list| list.sum(self.row(*vm)));
        let rows = vm_class.par_iter().zip(list_of).with_min_len(CHUNK);
        Ok(self.pool.run(|| rows.map(sum).collect()))
    }

    /// How many VMs each host class takes, where VM classes have this many; the same class may come more than once.
    pub fn taken(&self, vm_class: &[u32], vms: &[u64]) -> Vec<u64> {
        let count = |(classes, vms): (&[u32], &[u64])| {
            let (mut tally, mut counts) = (Tally::new(self.words()), vec![0; self.hosts.len()]);
            classes.iter().zip(vms).for_each(|(class, vms)| tally.add(self.row(*class), *vms));
            tally.drain_into(&mut counts);
            counts
        };
        let size = vm_class.len().div_ceil(self.pool.threads()).max(CHUNK);
        let shares = vm_class.par_chunks(size).zip(vms.par_chunks(size));
        self.pool.run(|| shares.map(count).reduce(|| vec![0; self.hosts.len()], add))
    }
}

/// Adds numbers up.
pub(super) fn add(mut all: Vec<u64>, other: Vec<u64>) -> Vec<u64> {
    all.iter_mut().zip(other).for_each(|(all, other)| *all += other);
    all
}

/// Splits outcomes into a row of bits for each of CHANGE, UNKNOWN and REFUSE.
fn split(cells: &[u8], said: &mut [Vec<u64>; 3]) {
    let [change, unknown, refuse] = said;
    let rows = change.iter_mut().zip(unknown).zip(refuse);
    for (((change, unknown), refuse), cells) in rows.zip(cells.as_chunks::<64>().0) {
        let (low, high) = (pack(&cells.map(|cell| cell & 1)), pack(&cells.map(|cell| cell >> 1 & 1)));
        (*change, *unknown, *refuse) = (low & !high, high & !low, low & high);
    }
}
