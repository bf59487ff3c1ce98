//! Facts: what was observed on a host, the input of every rule.

use std::sync::Arc;

use super::release::{Release, has_line};
use crate::answers::{Answers, State};
use crate::capture::{Hidden, Trial};
use crate::catalog::{self, Gate};
use crate::id::RegisterId;
use crate::value::Value;
use crate::vcpu::VcpuConfig;

/// What an operator can do about most unknowns.
pub(crate) const PROBE: &str = "probe this host with this vCPU configuration";

/// What was observed of one vCPU configuration of a host; the input of every rule.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The kernel's release; `None` when its text could not be read.
    pub release: Option<Release>,
    /// Whether the release names a vendor's kernel, see `is_upstream`.
    pub is_vendors: bool,
    /// How the vCPU is made.
    pub config: VcpuConfig,
    /// The listed registers with their fresh values, ascending by id.
    pub registers: &'a [(RegisterId, Value)],
    /// The writable masks that the kernel reports, ascending by id; `None` where they were not recorded.
    pub masks: Option<&'a [(RegisterId, u64)]>,
    /// Whether the kernel can report writable masks (capability 230); `None` where that was not recorded.
    pub reports_masks: Option<bool>,
    /// What the host says of Spectre v4 in sysfs: whether it is mitigated; `None` where that was not recorded.
    pub spec_store_bypass_mitigated: Option<bool>,
    /// Whether the PMU's device attributes were set; `None` where that was not recorded.
    pub pmu_initialised: Option<bool>,
    /// Answers to single writes; `None` where they do not count.
    pub answers: Option<&'a [(RegisterId, State, Arc<Answers>)]>,
    /// What registers read after the first run; `None` where that was not recorded.
    pub trials: Option<&'a [Trial]>,
    /// What is not known of the vCPU; `None` where it was asked.
    pub hidden: Option<&'a Hidden>,
    /// Whether the VM has run.
    pub state: State,
}

impl Facts<'_> {
    /// The fresh value of a listed register.
    pub fn value(&self, register: RegisterId) -> Option<&Value> {
        let at = self.registers.binary_search_by_key(&register, |(id, _)| *id).ok()?;
        self.registers.get(at).map(|(_, value)| value)
    }

    /// The fresh value of a listed register of at most 8 bytes, if all of it is known.
    pub fn word(&self, register: RegisterId) -> Option<u64> {
        self.bits(register, u64::MAX)
    }

    /// These bits of the fresh value of a listed register, if all of them are known.
    pub fn bits(&self, register: RegisterId, mask: u64) -> Option<u64> {
        let word = self.value(register)?.word()?;
        (self.hidden_bits(register) & mask == 0).then_some(word & mask)
    }

    /// The fresh value of a field, if it is known.
    pub fn gate(&self, gate: Gate) -> Context {
        gate.of(self.bits(gate.register, 0xf << gate.shift)?)
    }

    /// Whether nobody knows if the vCPU lists this register.
    pub fn may_list(&self, register: RegisterId) -> bool {
        self.hidden.is_some_and(|hidden| hidden.may_list(register))
    }

    /// What the hardware has in a field of this register that the kernel hides, in its place; `None` where that is not known.
    pub fn hardware(&self, register: RegisterId) -> Option<u64> {
        self.hidden.and_then(|hidden| hidden.hardware_of(register))
    }

    /// The bits of a register's fresh value that are not known.
    pub fn hidden_bits(&self, register: RegisterId) -> u64 {
        self.hidden.map_or(0, |hidden| hidden.of(register))
    }

    /// The writable mask that the kernel reports for a register; registers that it leaves out have 0.
    pub fn mask(&self, register: RegisterId) -> Option<u64> {
        let masks = self.masks?;
        let at = masks.binary_search_by_key(&register, |(id, _)| *id).ok();
        Some(at.and_then(|at| masks.get(at)).map_or(0, |(_, mask)| *mask))
    }

    /// Whether all 14 CCSIDR are listed, as kernels from 6.3 on do.
    pub fn lists_all_caches(&self) -> bool {
        (0..14).all(|index| self.value(RegisterId::ccsidr(index)).is_some())
    }

    /// Whether the VM counts as having run. A `KVM_RUN` that is refused for a PMU that was not initialised does not
    /// count (12.11).
    pub fn has_run(&self) -> bool {
        let refused = self.config.has("pmu_v3") && self.pmu_initialised == Some(false);
        self.state != State::Fresh && !refused
    }

    /// Whether a guest can run AArch32 at EL0. The AArch32 ID registers read 0 where none can, but for `ID_DFR0_EL1`, which
    /// shows the PMU; a nested VM shows EL0 = 1 on other hosts too, but then `ID_PFR0_EL1.State0` is not 0 (3.8).
    pub fn has_aarch32(&self) -> Option<bool> {
        const ID_PFR0: RegisterId = RegisterId::system(3, 0, 0, 1, 0);
        match (self.bits(catalog::ID_AA64PFR0, 0xf), self.word(ID_PFR0)) {
            (_, Some(1..)) | (Some(2), _) => Some(true),
            (Some(1), Some(0)) => Some(false),
            (Some(1), None) if !self.config.has("has_el2") => Some(false),
            _ => None,
        }
    }

    /// Whether the kernel has what came with this line; `None` where that is not known: a vendor ports changes back, but
    /// leaves out none.
    pub fn at_least(&self, major: u32, minor: u32) -> Option<bool> {
        has_line(self.release?, self.is_vendors, (major, minor))
    }

    /// Whether the kernel has what came into a stable series with this release, which names a point release; `None` where
    /// the host's own release does not tell.
    pub fn has_reached(&self, fix: Release) -> Option<bool> {
        let release = self.release?;
        let is_told = release.knows_patch() || !release.is_of_line(fix);
        (is_told && (release >= fix || !self.is_vendors)).then_some(release >= fix)
    }

    /// Whether the kernel has what came with the line `since`, and into stable series with the releases `ported`; `None` where the
    /// host's own release does not tell.
    pub fn has_ported(&self, ported: &[Release], since: (u32, u32)) -> Option<bool> {
        let release = self.release?;
        match ported.iter().find(|fix| release.is_of_line(**fix)) {
            Some(fix) => self.has_reached(*fix),
            None => self.at_least(since.0, since.1),
        }
    }

    /// Whether the kernel is known to look at the mode alone where an AArch32 mode cuts registers, and to take System mode
    /// (commits 947051e361d5 and dfe6d190f38f of 6.10; in 6.1.94, and in 5.10.223, which was run). Before, other bits of PSTATE
    /// made every mode cut all registers, and System was none.
    pub fn knows_aarch32_modes(&self) -> bool {
        self.has_ported(&[Release::new(5, 10, 223), Release::new(6, 1, 94)], (6, 10)) == Some(true)
    }

    /// Why [`Facts::at_least`] and [`Facts::has_reached`] do not tell.
    pub const fn untold(&self) -> &'static str {
        match self.release {
            None => UNKNOWN_RELEASE,
            Some(_) if self.is_vendors => VENDORS,
            Some(_) => POINT_RELEASE,
        }
    }
}

/// A field of the VM's own ID registers that a rule depends on, as it is when the register is written.
///
/// `None`: the set does not hold the ID register, or the restore writes it later; the host's own value counts.
pub type Context = Option<u8>;

const UNKNOWN_RELEASE: &str = "the kernel release of this host is not known; probe this host";
const POINT_RELEASE: &str =
    "point releases of this series differ, and which one this is does not tell; probe this host";
const VENDORS: &str =
    "this is a vendor's kernel, which may carry changes of younger ones, and it was not asked; probe this host";
