//! The check of one ID register from 6.5 on: its wrapper, the run of the VM, its fields (specification, 3.3, 3.5, 3.6).

mod smt;

use super::facts::Facts;
use super::fields;
use super::hidden::NOT_KNOWN;
use super::trees::{self, Tree};
use crate::catalog::{CTR, ID_AA64DFR0, ID_AA64MMFR0, ID_AA64PFR0, ID_AA64PFR1, ID_DFR0, ID_PFR1};
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::judgement::Effect;
use crate::value::Value;

const ID_AA64MMFR2: RegisterId = RegisterId::system(3, 0, 0, 7, 2);

/// `ID_AA64DFR0_EL1.PMUVer`.
pub(super) const PMU_VERSION: u32 = 8;
/// `ID_DFR0_EL1.PerfMon`.
pub(super) const PERF_MON: u32 = 24;
/// A PMU that is not of the architecture.
pub(super) const NOT_VERSIONED: u64 = 0xf;
/// `ID_AA64PFR0_EL1.GIC` and `ID_PFR1_EL1.GIC`.
const GIC: (u64, u64) = (0x0f00_0000, 0xf000_0000);
const L1IP: u64 = 0xc000;

const HARDWARE: &str = "only this host's hardware tells whether the field is tolerated; probe this host";
const NEW_FIELD: &str = "this kernel can write a field that kvmfw does not know; probe this host";
const NESTED_GRANULES: &str = "nested VMs need stage-2 granules that fit together; probe this host";

/// What a register's own setter does before the field check (specification, 3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wrapper {
    None,
    /// `set_id_aa64pfr0_el1`: MPAM as the hardware has it is dropped; fields that must not be 0.
    ProcessorFeatures0 {
        not_zero: u64,
    },
    /// `set_id_aa64pfr1_el1`: `MPAM_frac` as the hardware has it is dropped; `MTE_frac`, see [`trees::tolerates_mte_frac`].
    ProcessorFeatures1 {
        mte_frac: bool,
    },
    /// `set_id_aa64dfr0_el1` (6.5 and later): `PMUVer` 0xf becomes 0; `DebugVer` below 6 is EINVAL.
    DebugFeatures {
        double_lock: bool,
    },
    /// `set_id_dfr0_el1` (6.5 and later): `PerfMon` 0xf becomes 0, 1 and 2 are EINVAL; `CopDbg` below 6 is EINVAL.
    DebugFeatures32,
    /// `set_id_aa64mmfr0_el1` for nested VMs: stage-2 granules stay, or (`hidden`) may be hidden with 1.
    NestedGranules {
        hidden: Option<bool>,
    },
    /// `set_id_aa64mmfr2_el1`: NV as the hardware has it is dropped. A nested VM shows that its hardware has NV2.
    NestedVirtualization {
        nested: bool,
    },
    /// `set_ctr_el0`: `L1Ip` 0 and 1 are EINVAL.
    CacheType,
}

/// What is known of a value after the wrapper.
enum Wrapped {
    Written(u64),
    Refused,
    /// Written as it is, or as the second number: the hardware decides.
    Either(u64, u64),
    Unknown(&'static str),
}

/// The check of one ID register on one host, from 6.5 on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    register: RegisterId,
    /// What a fresh VM of this configuration reads.
    limit: u64,
    /// Bits of the limit that are not known.
    hidden: u64,
    /// What the hardware has in the field that the wrapper tolerates; `None` where that is not known.
    hardware: Option<u64>,
    mask: u64,
    pmu_is_signed: bool,
    wrapper: Wrapper,
    /// What the VM reads when it has run: then only this is taken.
    current: Option<u64>,
}

fn wrapper(register: RegisterId, tree: Tree, mask: u64, facts: &Facts<'_>) -> Wrapper {
    let nested = facts.config.has("has_el2");
    match register {
        ID_AA64PFR0 => Wrapper::ProcessorFeatures0 {
            not_zero: match (trees::needs_exception_levels(tree), nested) {
                (false, _) => 0,
                (true, false) => 0xff,
                (true, true) => 0xfff,
            },
        },
        ID_AA64PFR1 => Wrapper::ProcessorFeatures1 { mte_frac: trees::tolerates_mte_frac(tree) },
        ID_AA64DFR0 => Wrapper::DebugFeatures { double_lock: nested && trees::tolerates_double_lock(tree) },
        ID_DFR0 => Wrapper::DebugFeatures32,
        ID_AA64MMFR0 if nested => Wrapper::NestedGranules { hidden: trees::hides_granules(tree) },
        ID_AA64MMFR2 if trees::tolerates_nv(tree) => Wrapper::NestedVirtualization { nested },
        // The wrapper and the writable field came together (6.12.117: neither, 6.16.12: both).
        CTR if mask & L1IP != 0 => Wrapper::CacheType,
        _ => Wrapper::None,
    }
}

/// 12.10: the first run of a VM without a vGIC clears its GIC fields, where the kernel lets VMs write them (6.12+).
fn current(register: RegisterId, limit: u64, mask: u64, tree: Tree, facts: &Facts<'_>) -> u64 {
    let writable = match register {
        ID_AA64PFR0 => mask,
        _ => facts.mask(ID_AA64PFR0).unwrap_or_else(|| fields::mask_in(ID_AA64PFR0, tree)),
    };
    match register {
        _ if facts.config.vgic || writable & GIC.0 == 0 => limit,
        ID_AA64PFR0 => limit & !GIC.0,
        ID_PFR1 => limit & !GIC.1,
        _ => limit,
    }
}

const fn nibble(word: u64, shift: u32) -> u64 {
    word >> shift & 0xf
}

impl Check {
    /// The check of a kernel like `tree` on a host whose fresh VM reads `limit`.
    pub(super) fn new(register: RegisterId, limit: u64, mask: u64, tree: Tree, facts: &Facts<'_>) -> Self {
        Self {
            register,
            limit,
            hidden: 0,
            hardware: facts.hardware(register),
            mask,
            pmu_is_signed: matches!(register, ID_AA64DFR0 | ID_DFR0) && trees::pmu_is_signed(tree),
            wrapper: wrapper(register, tree, mask, facts),
            current: facts.has_run().then(|| current(register, limit, mask, tree, facts)),
        }
    }

    /// The same check where these bits of the limit are not known.
    pub(super) fn without(&self, hidden: u64) -> Self {
        Self { hidden, ..self.clone() }
    }

    pub(super) fn judge(&self, value: &Value) -> Effect {
        if let Some(word) = value.word().filter(|_| self.hidden != 0) {
            return self.judge_hidden(word);
        }
        let Some(word) = value.word() else { return Effect::Refused(Some(Errno::EINVAL)) };
        match self.wrap(word) {
            Wrapped::Refused => Effect::Refused(Some(Errno::EINVAL)),
            Wrapped::Unknown(needs) => Effect::Unknown(needs),
            Wrapped::Written(written) => self.decide(word, written),
            Wrapped::Either(written, other) => {
                let (first, second) = (self.decide(word, written), self.decide(word, other));
                if first == second { first } else { Effect::Unknown(HARDWARE) }
            }
        }
    }

    /// Where bits of the limit are not known: what is refused whatever they are, and what is taken whatever they are.
    ///
    /// A field takes the limit's own number, so that no limit takes more than one with the bits of the value does.
    fn judge_hidden(&self, word: u64) -> Effect {
        let like = |written: u64| {
            let limit = (self.limit & !self.hidden) | (written & self.hidden);
            let current = self.current.map(|current| (current & !self.hidden) | (written & self.hidden));
            Self { limit, current, hidden: 0, ..self.clone() }
        };
        let decide = |written: u64| like(written).decide(word, written);
        let (effect, written) = match like(word).wrap(word) {
            Wrapped::Refused => return Effect::Refused(Some(Errno::EINVAL)),
            Wrapped::Unknown(needs) => return Effect::Unknown(needs),
            Wrapped::Written(written) => (decide(written), written),
            Wrapped::Either(written, other) => match (decide(written), decide(other)) {
                (first @ Effect::Refused(_), second) if first == second => return first,
                _ => return Effect::Unknown(HARDWARE),
            },
        };
        let is_sure = self.current.is_none()
            && fields::takes_under_all(
                self.register,
                (self.limit, self.hidden),
                written,
                self.mask,
                self.pmu_is_signed,
            );
        match effect {
            Effect::Refused(_) => effect,
            _ if is_sure && written == word => Effect::Kept,
            _ if is_sure => Effect::Rewritten(Some(Value::Word(written))),
            _ => Effect::Unknown(NOT_KNOWN),
        }
    }

    /// What the wrapper makes of a value.
    fn wrap(&self, word: u64) -> Wrapped {
        let limit = self.limit;
        // A field that KVM hides: what the hardware has in it is taken and dropped. The architecture gives it the
        // numbers up to `greatest` only.
        let hidden = |word: u64, shift: u32, greatest: u64| {
            let (field, without) = (nibble(word, shift), word & !(0xf << shift));
            match self.hardware {
                _ if field == nibble(limit, shift) || field > greatest => Wrapped::Written(word),
                Some(own) if field == nibble(own, shift) => Wrapped::Written(without),
                Some(_) => Wrapped::Written(word),
                None => Wrapped::Either(word, without),
            }
        };
        match self.wrapper {
            Wrapper::None => Wrapped::Written(word),
            Wrapper::ProcessorFeatures0 { not_zero } => {
                let zero = [0, 4, 8].into_iter().any(|shift| not_zero >> shift & 0xf != 0 && nibble(word, shift) == 0);
                if zero { Wrapped::Refused } else { hidden(word, 40, 1) }
            }
            Wrapper::ProcessorFeatures1 { mte_frac } => {
                let asked = nibble(limit, 8) == 2 && nibble(limit, 40) == 0xf && nibble(word, 40) == 0;
                // Both at once, where both are there (7.3.4 proved otherwise of either alone).
                hidden(if mte_frac && asked { word | 0xf << 40 } else { word }, 16, 1)
            }
            Wrapper::DebugFeatures { double_lock } => {
                let mut written = word;
                if nibble(word, PMU_VERSION) == NOT_VERSIONED {
                    written &= !(0xf << PMU_VERSION);
                }
                if double_lock && nibble(limit, 36) == 0xf && nibble(word, 36) == 0 {
                    written |= 0xf << 36;
                }
                if nibble(word, 0) < 6 { Wrapped::Refused } else { Wrapped::Written(written) }
            }
            Wrapper::DebugFeatures32 => match nibble(word, PERF_MON) {
                1 | 2 => Wrapped::Refused,
                _ if nibble(word, 0) < 6 => Wrapped::Refused,
                NOT_VERSIONED => Wrapped::Written(word & !(0xf << PERF_MON)),
                _ => Wrapped::Written(word),
            },
            Wrapper::NestedGranules { hidden } => {
                let differing = [32, 36, 40].into_iter().filter(|shift| nibble(word ^ limit, *shift) != 0);
                let (ones, others): (Vec<u32>, Vec<u32>) = differing.partition(|shift| nibble(word, *shift) == 1);
                match hidden {
                    _ if !others.is_empty() => Wrapped::Refused,
                    _ if ones.is_empty() => Wrapped::Written(word),
                    Some(true) => Wrapped::Written(word),
                    Some(false) => Wrapped::Refused,
                    None => Wrapped::Unknown(NESTED_GRANULES),
                }
            }
            Wrapper::NestedVirtualization { nested: true } => {
                let nv = if nibble(word, 24) == 2 { 0xf << 24 } else { 0 };
                Wrapped::Written(word & !nv)
            }
            Wrapper::NestedVirtualization { nested: false } => hidden(word, 24, 2),
            Wrapper::CacheType => {
                if word & L1IP <= 0x4000 {
                    Wrapped::Refused
                } else {
                    Wrapped::Written(word)
                }
            }
        }
    }

    /// `set_id_reg`: a VM that has run takes its current value only (3.5), else the fields are checked.
    fn decide(&self, word: u64, written: u64) -> Effect {
        let kept = || match written {
            _ if written == word => Effect::Kept,
            _ if written == self.limit => Effect::Dropped(Some(Value::Word(written))),
            _ => Effect::Rewritten(Some(Value::Word(written))),
        };
        if let Some(current) = self.current {
            return if written == current { kept() } else { Effect::Refused(Some(Errno::EBUSY)) };
        }
        let unknown = fields::unknown_bits(self.register, self.mask);
        let known = (written & !unknown) | (self.limit & unknown);
        if !fields::check(self.register, self.limit, known, self.mask, self.pmu_is_signed) {
            Effect::Refused(Some(Errno::EINVAL))
        } else if known != written {
            Effect::Unknown(NEW_FIELD)
        } else {
            kept()
        }
    }
}

#[cfg(test)]
mod tests;
