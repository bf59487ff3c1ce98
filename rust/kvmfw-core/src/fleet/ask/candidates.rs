//! The hosts of one VM: rows of the class table, and who takes it.

use crate::error::RowError;
use crate::fleet::classes::class_map::{Class, with_classes};
use crate::fleet::grid::UNKNOWN;
use crate::fleet::{Fleet, Taken};

impl Fleet {
    /// The rows of the hosts that take the VM in row `vm`, ascending.
    ///
    /// # Errors
    ///
    /// When there is no such VM.
    pub fn candidates(&self, vm: usize, taken: Taken) -> Result<Vec<u32>, RowError> {
        let class = self.vms.class_of.get(vm).ok_or_else(|| self.no_vm(vm))?;
        let takers = self.takers(class, taken)?;
        let mut rows = Vec::with_capacity(self.host_count());
        let mut start = 0_u32;
        let mut collect = |classes: &mut dyn Iterator<Item = usize>| {
            let mut bits = 0_u64;
            for (bit, class) in classes.enumerate() {
                bits |= u64::from(takers.get(class).copied().unwrap_or(0)) << bit;
            }
            while bits != 0 {
                rows.push(start + bits.trailing_zeros());
                bits &= bits - 1;
            }
            start += 64;
        };
        with_classes!(&self.hosts.class_of, classes => {
            classes.chunks(64).for_each(|chunk| collect(&mut chunk.iter().map(|class| class.class() as usize)));
        });
        Ok(rows)
    }

    /// Which host classes take a VM class: one byte each, 1 for taken.
    ///
    /// # Errors
    ///
    /// When there is no such class.
    pub fn takers(&self, vm_class: u32, taken: Taken) -> Result<Vec<u8>, RowError> {
        if vm_class as usize >= self.vms.classes.len() {
            let problem = format!("VM class {vm_class} is out of range; there are {}", self.vms.classes.len());
            return Err(RowError { row: vm_class as usize, problem });
        }
        let mut row = self.class_row(vm_class);
        for outcome in &mut row {
            *outcome = u8::from(taken.takes(*outcome));
        }
        Ok(row)
    }

    /// The outcome of a VM class on every host class; UNKNOWN where there is no such class.
    pub fn class_row(&self, vm_class: u32) -> Vec<u8> {
        let mut row = vec![0; self.hosts.classes.len()];
        self.class_row_into(vm_class, &mut row);
        row
    }

    /// [`Fleet::class_row`] into `row`, which has one byte for each host class.
    pub fn class_row_into(&self, vm_class: u32, row: &mut [u8]) {
        match self.dense.get() {
            _ if vm_class as usize >= self.vms.classes.len() => row.fill(UNKNOWN),
            Some(dense) => dense.row(vm_class, row),
            None => self.judged.row(&self.vms, &self.hosts, vm_class, row),
        }
    }
}
