//! Registers of VMs in columns.

use std::num::NonZeroU8;

use crate::error::RowError;
use crate::vcpu::{Inference, VcpuConfig};

/// Registers of many VMs: the rows of each are together.
#[derive(Clone, Copy, Debug)]
pub struct Runs<'a> {
    /// Where the rows of each VM start, and where those of the last one end.
    pub starts: &'a [i64],
    /// The register id of each row.
    pub register: &'a [u64],
    /// The value; for registers wider than 8 bytes the lowest 8, the rest is 0.
    pub value: &'a [u64],
    /// How vCPUs are made.
    pub configs: &'a [VcpuConfig],
    /// For each VM, which of `configs`, [`Runs::INFERRED`] or [`Runs::UNUSABLE`]; empty where all are the first.
    pub config_of: &'a [u32],
    /// For each VM the number of its VMM ([`crate::Policy::number`]), 0 where it tells none; empty where none does.
    pub vmm_of: &'a [u8],
}

impl<'a> Runs<'a> {
    /// In place of a configuration: the VM's own ID registers tell how its vCPU was made.
    pub const INFERRED: u32 = u32::MAX - 1;
    /// In place of a configuration: the rows of this VM cannot be used.
    pub const UNUSABLE: u32 = u32::MAX;

    /// How many VMs there are.
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks what the rest relies on: starts ascend within the rows, columns are equally long, configurations exist.
    ///
    /// # Errors
    ///
    /// The first VM that does not fit.
    pub fn check(&self) -> Result<(), RowError> {
        let problem = |row: usize, problem: &str| Err(RowError { row, problem: problem.to_owned() });
        if self.register.len() != self.value.len() {
            return problem(self.register.len().min(self.value.len()), "the columns differ in length");
        }
        let fits = |start: &i64| usize::try_from(*start).is_ok_and(|start| start <= self.value.len());
        // Without an end before the last one, millions are compared in vectors.
        let ascend = self.starts.windows(2).fold(true, |ascend, pair| ascend & (pair.first() <= pair.last()));
        if !ascend || !self.starts.first().is_none_or(fits) || !self.starts.last().is_none_or(fits) {
            let ascends = |row: usize| row == 0 || self.starts.get(row - 1) <= self.starts.get(row);
            let row = self.starts.iter().enumerate().position(|(row, start)| !fits(start) || !ascends(row));
            return problem(row.unwrap_or(0), "the start of a VM's rows is out of order or out of range");
        }
        if !self.vmm_of.is_empty() && self.vmm_of.len() != self.len() {
            return problem(0, "`vmm_of` needs one entry for each VM");
        }
        if self.config_of.is_empty() {
            let none = self.configs.is_empty() && !self.is_empty();
            return if none { problem(0, "there is no vCPU configuration") } else { Ok(()) };
        }
        let known = |config: &u32| *config >= Self::INFERRED || (*config as usize) < self.configs.len();
        match self.config_of.iter().position(|config| !known(config)) {
            _ if self.config_of.len() != self.len() => problem(0, "`config_of` needs one entry for each VM"),
            Some(row) => problem(row, "a VM names a vCPU configuration that there is not"),
            None => Ok(()),
        }
    }

    pub(super) fn rows_of(&self, run: usize) -> Option<(usize, &'a [u64], &'a [u64])> {
        let start = usize::try_from(*self.starts.get(run)?).ok()?;
        let end = usize::try_from(*self.starts.get(run + 1)?).ok()?;
        Some((start, self.register.get(start..end)?, self.value.get(start..end)?))
    }

    fn vmm(&self, run: usize) -> Option<NonZeroU8> {
        NonZeroU8::new(*self.vmm_of.get(run)?)
    }

    /// How the vCPU of a VM with these values is made; `None` where its rows cannot be used. `inference` has looked at its ids.
    pub(super) fn config(&self, run: usize, values: &[u64], inference: &mut Inference) -> Option<VcpuConfig> {
        let made = match self.config_of.get(run).copied().unwrap_or(0) {
            Self::INFERRED => inference.made(values),
            Self::UNUSABLE => return None,
            at => *self.configs.get(at as usize)?,
        };
        Some(VcpuConfig { vmm: self.vmm(run), ..made })
    }
}
