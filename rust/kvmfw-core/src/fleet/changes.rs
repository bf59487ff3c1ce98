//! Changes without a rebuild.

use std::ops::Range;
use std::sync::OnceLock;

use super::classes::intake::{self, Heads, Number, Runs};
use super::tables::bit_rows::HostBits;
use super::tables::class_table::Dense;
use super::{Fleet, Judged};
use crate::error::RowError;
use crate::host::Host;
use crate::set::RegisterSet;

/// Groups that were chosen for few classes are kept up to this many.
const MOST_UNGROUPED: usize = 1 << 12;

impl Fleet {
    /// Adds VMs in order.
    pub fn add_sets<'a>(&mut self, sets: impl IntoIterator<Item = &'a RegisterSet>) {
        for set in sets {
            self.vms.add(set.vcpu, set.registers());
        }
        self.catch_up();
    }

    /// Finds where the rows of each VM start in a column that names them by numbers, with the threads of this fleet.
    pub fn heads<T: Number>(&self, column: &[T]) -> Heads<T> {
        intake::heads(column, &self.pool)
    }

    /// Adds VMs given as columns, in order. Rows that cannot be used are returned; a VM with such a row is kept in its
    /// place, and is unknown to every host.
    ///
    /// # Errors
    ///
    /// When the columns do not fit together; nothing is added then.
    pub fn add_runs(&mut self, rows: Runs<'_>) -> Result<Vec<RowError>, RowError> {
        rows.check()?;
        let errors = intake::add(&mut self.vms, rows, &self.pool);
        self.catch_up();
        Ok(errors)
    }

    /// Takes VMs away; the rows after them move up.
    ///
    /// # Errors
    ///
    /// When there is no such row; nothing is removed then.
    pub fn remove_vms(&mut self, rows: &[usize]) -> Result<(), RowError> {
        let mut marked = vec![false; self.vm_count()];
        for row in rows {
            *marked.get_mut(*row).ok_or_else(|| self.no_vm(*row))? = true;
        }
        self.vms.class_of.remove(&marked);
        self.generation += 1;
        Ok(())
    }

    /// Adds hosts in order: each is one of `kinds`.
    ///
    /// # Errors
    ///
    /// When a row names a kind that there is not; nothing is added then.
    pub fn add_hosts(&mut self, kinds: &[Host], kind_of: &[u32]) -> Result<(), RowError> {
        check_kinds(kinds, kind_of)?;
        let numbers: Vec<u32> = kinds.iter().map(|kind| self.hosts.kind(kind)).collect();
        let numbers = kind_of.iter().filter_map(|kind| numbers.get(*kind as usize));
        self.hosts.kind_of.extend(numbers);
        self.catch_up();
        Ok(())
    }

    /// Gives hosts other captures: the host in `rows[i]` is now of kind `kinds[kind_of[i]]`.
    ///
    /// # Errors
    ///
    /// When there is no such host or kind; nothing is changed then.
    pub fn update_hosts(&mut self, rows: &[usize], kinds: &[Host], kind_of: &[u32]) -> Result<(), RowError> {
        check_kinds(kinds, kind_of)?;
        if rows.len() != kind_of.len() {
            let problem = format!("there are {} rows and {} kinds for them", rows.len(), kind_of.len());
            return Err(RowError { row: rows.len().min(kind_of.len()), problem });
        }
        if let Some(row) = rows.iter().find(|row| **row >= self.host_count()) {
            return Err(self.no_host(*row));
        }
        let numbers: Vec<u32> = kinds.iter().map(|kind| self.hosts.kind(kind)).collect();
        self.catch_up();
        self.bits = HostBits::default();
        for (row, kind) in rows.iter().zip(kind_of) {
            let Some(kind) = numbers.get(*kind as usize) else { continue };
            let class = self.hosts.class_of_kind.get(*kind as usize).copied().unwrap_or(0);
            if let Some(slot) = self.hosts.kind_of.get_mut(*row) {
                *slot = *kind;
            }
            self.hosts.class_of.set(*row, class);
        }
        Ok(())
    }

    /// Judges what is new. Everything is judged anew when the vCPU configurations or the units changed, when classes are many
    /// more than when they were last grouped, and where a split unit meets a new host.
    fn catch_up(&mut self) {
        self.generation += 1;
        if self.hosts.kind_of.is_empty() {
            // Without hosts there is nothing to judge; the first hosts find everything to be done.
            self.judged_size = (0, 0);
            return;
        }
        let now = (self.vms.configs.len(), self.vms.units.len());
        let vm_classes = self.vms.classes.len();
        let grown = vm_classes > MOST_UNGROUPED && vm_classes > 2 * self.grouped;
        if self.judged_size != now || grown || self.hosts.class_of.len() == 0 {
            self.rebuild();
            return;
        }
        self.hosts.compile_new(&self.vms, self.question, &self.pool);
        let Some((new_vms, new_hosts)) = self.judged.catch_up(&self.vms, &self.hosts, &self.pool) else {
            self.rebuild();
            return;
        };
        if !new_vms.is_empty() || !new_hosts.is_empty() {
            if let Some(groups) = self.groups.get_mut() {
                groups.catch_up(&self.judged.parts, &self.vms, &self.hosts, &self.pool);
            }
            self.blocking.take();
            self.bits = HostBits::default();
            let dense = self.dense.take().and_then(|dense| self.caught_up(dense, new_vms, new_hosts));
            self.dense = dense.map(OnceLock::from).unwrap_or_default();
        }
        if self.hosts.class_of.len() < self.hosts.kind_of.len() {
            self.bits = HostBits::default();
        }
        for kind in self.hosts.kind_of.iter().skip(self.hosts.class_of.len()) {
            let class = self.hosts.class_of_kind.get(*kind as usize).copied().unwrap_or(0);
            self.hosts.class_of.push(class);
        }
    }

    /// The class table with new classes; `None` where it must be made anew.
    fn caught_up(&self, mut dense: Dense, vms: Range<usize>, hosts: Range<usize>) -> Option<Dense> {
        if !Dense::fits(&self.vms, &self.hosts, self.limits) {
            return None;
        }
        for _ in hosts {
            dense.add_host_class(&self.judged, &self.vms, &self.hosts);
        }
        for _ in vms {
            dense.add_vm_class(&self.judged, &self.vms, &self.hosts);
        }
        Some(dense)
    }

    /// Judges everything anew.
    fn rebuild(&mut self) {
        self.hosts.compile(&self.vms, self.question, &self.pool);
        self.judged = Judged::new(&self.vms, &self.hosts, &self.pool, self.limits);
        self.judged_size = (self.vms.configs.len(), self.vms.units.len());
        self.grouped = self.vms.classes.len();
        self.dense.take();
        self.blocking.take();
        self.groups.take();
        self.bits = HostBits::default();
    }
}

fn check_kinds(kinds: &[Host], kind_of: &[u32]) -> Result<(), RowError> {
    match kind_of.iter().enumerate().find(|(_, kind)| **kind as usize >= kinds.len()) {
        Some((row, kind)) => {
            let problem = format!("host kind {kind} is out of range; there are {}", kinds.len());
            Err(RowError { row, problem })
        }
        None => Ok(()),
    }
}
