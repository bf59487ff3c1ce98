//! Who is alike among VMs that nobody keeps, and what they have instead of those that they are like.

use super::intake::{self, Known};
use super::runs::Runs;
use super::vms::Vms;
use crate::error::{IntakeError, RowError};
use crate::fleet::class::VmClass;
use crate::pool::{Pool, Threads};
use crate::room;
use crate::set::RegisterSet;

/// After so many kinds numbers begin anew: memory is that of a part of all VMs.
const MOST: usize = 1 << 16;

/// Kinds of VMs: those of one kind are alike on every host, for every VMM.
#[derive(Debug)]
pub struct Kinds {
    vms: Vms,
    known: Known,
    threads: Threads,
}

/// Registers in which VMs differ from others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differing {
    /// Where those of each VM start, and where those of the last one end.
    pub starts: Vec<i32>,
    /// Their ids.
    pub register: Vec<u64>,
    /// What the VMs have in them.
    pub value: Vec<u64>,
}

impl Kinds {
    /// None yet; `threads` look for them, 0 means one for each core.
    pub fn new(threads: usize) -> Self {
        Self { vms: Vms::default(), known: Known::default(), threads: Threads(Pool::new(threads).into()) }
    }

    /// The threads, for work that may have to stop.
    pub fn threads(&self) -> Threads {
        self.threads.clone()
    }

    /// The kind of each VM, and the rows that cannot be used. Numbers are those of this call; later calls mostly go on with them.
    ///
    /// # Errors
    ///
    /// When the columns do not fit together, or there is no memory for them.
    pub fn of_runs(&mut self, rows: Runs<'_>) -> Result<(Vec<u32>, Vec<RowError>), IntakeError> {
        rows.check()?;
        self.begin();
        let (classes, errors) = intake::classes(&mut self.vms, &mut self.known, rows, &self.threads.0)?;
        Ok((classes.into_iter().map(VmClass::number).collect(), errors))
    }

    /// The kind of each register set.
    pub fn of_sets<'a>(&mut self, sets: impl IntoIterator<Item = &'a RegisterSet>) -> Vec<u32> {
        self.begin();
        let mut kinds = Vec::new();
        for set in sets {
            room::push(&mut kinds, self.vms.class_of(set.vcpu, set.registers()).number());
        }
        kinds
    }

    /// All that tells a kind from others, the same wherever it is asked; none of VMs whose rows cannot be used.
    pub fn key(&self, kind: u32) -> Option<Vec<u8>> {
        self.vms.class_key(VmClass::of(kind))
    }

    /// Forgets all kinds: after a call that did not come to its end they may be half made.
    pub fn forget(&mut self) {
        (self.vms, self.known) = (Vms::default(), Known::default());
    }

    fn begin(&mut self) {
        if self.vms.classes.len() > MOST {
            self.forget();
        }
    }
}

impl Runs<'_> {
    /// What some of these VMs have instead of one of `bases`, each of which has its values from one of `starts` on; -1 where a VM
    /// has no base. Registers of a VM are those of its base.
    ///
    /// # Errors
    ///
    /// When a VM or its base is not there, or there are more differences than a column holds.
    pub fn differing(
        &self,
        vms: &[i64],
        base_of: &[i64],
        starts: &[i64],
        bases: &[u64],
    ) -> Result<Differing, RowError> {
        let mut found = Differing { starts: vec![0], ..Differing::default() };
        for (row, (vm, base)) in vms.iter().zip(base_of).enumerate() {
            let mut one = || -> Option<()> {
                let (_, ids, values) = self.rows_of(usize::try_from(*vm).ok()?)?;
                if let Ok(base) = usize::try_from(*base) {
                    let start = usize::try_from(*starts.get(base)?).ok()?;
                    let base = bases.get(start..start.checked_add(values.len())?)?;
                    for ((id, value), _) in ids.iter().zip(values).zip(base).filter(|((_, value), base)| value != base)
                    {
                        room::push(&mut found.register, *id);
                        room::push(&mut found.value, *value);
                    }
                }
                room::push(&mut found.starts, i32::try_from(found.value.len()).ok()?);
                Some(())
            };
            one().ok_or_else(|| RowError { row, problem: "a VM or its base is not there".to_owned() })?;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vcpu::VcpuConfig;

    /// The kinds of VMs that have one firmware register each, with these values.
    fn of(kinds: &mut Kinds, value: &[u64]) -> Vec<u32> {
        let register = vec![0x6030_0000_0014_0003; value.len()];
        let starts: Vec<i64> = (0..).take(value.len() + 1).collect();
        let configs = [VcpuConfig::default()];
        let rows = Runs { starts: &starts, register: &register, value, configs: &configs, config_of: &[], vmm_of: &[] };
        kinds.of_runs(rows).expect("columns that fit together").0
    }

    #[test]
    fn numbers_go_on_until_they_are_many_or_forgotten() {
        let mut kinds = Kinds::new(1);
        assert_eq!(of(&mut kinds, &[7, 8, 7]), [0, 1, 0]);
        assert_eq!(of(&mut kinds, &[9, 8]), [2, 1]);
        kinds.forget();
        assert_eq!(of(&mut kinds, &[9, 8]), [0, 1]);
        let many: Vec<u64> = (0..=MOST as u64).collect();
        assert_eq!(of(&mut kinds, &many).len(), many.len());
        assert_eq!(of(&mut kinds, &[5, 4, 5]), [0, 1, 0]);
    }
}
