//! The check of one ID register from 6.5 on: its wrapper, the run of the VM, its fields (specification, 3.3, 3.5, 3.6).

use super::trees::{self, Tree};
use super::{Facts, fields};
use crate::catalog::{CTR, ID_AA64DFR0, ID_AA64PFR0, ID_AA64PFR1};
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::judgement::Effect;
use crate::value::Value;

const ID_PFR1: RegisterId = RegisterId::system(3, 0, 0, 1, 1);
/// `ID_DFR0_EL1`.
pub(super) const ID_DFR0: RegisterId = RegisterId::system(3, 0, 0, 1, 2);
const ID_AA64MMFR0: RegisterId = RegisterId::system(3, 0, 0, 7, 0);
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
            mask,
            pmu_is_signed: matches!(register, ID_AA64DFR0 | ID_DFR0) && trees::pmu_is_signed(tree),
            wrapper: wrapper(register, tree, mask, facts),
            current: facts.has_run().then(|| current(register, limit, mask, tree, facts)),
        }
    }

    pub(super) fn judge(&self, value: &Value) -> Effect {
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

    /// What the wrapper makes of a value.
    fn wrap(&self, word: u64) -> Wrapped {
        let limit = self.limit;
        // A field that KVM hides: what the hardware has in it is taken and dropped. The architecture gives it the
        // numbers up to `greatest` only.
        let hidden = |shift: u32, greatest: u64| {
            let field = nibble(word, shift);
            if field != nibble(limit, shift) && field <= greatest {
                Wrapped::Either(word, word & !(0xf << shift))
            } else {
                Wrapped::Written(word)
            }
        };
        match self.wrapper {
            Wrapper::None => Wrapped::Written(word),
            Wrapper::ProcessorFeatures0 { not_zero } => {
                let zero = [0, 4, 8].into_iter().any(|shift| not_zero >> shift & 0xf != 0 && nibble(word, shift) == 0);
                if zero { Wrapped::Refused } else { hidden(40, 1) }
            }
            Wrapper::ProcessorFeatures1 { mte_frac } => {
                let asked = nibble(limit, 8) == 2 && nibble(limit, 40) == 0xf && nibble(word, 40) == 0;
                if mte_frac && asked { Wrapped::Written(word | 0xf << 40) } else { hidden(16, 1) }
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
            Wrapper::NestedVirtualization { nested: false } => hidden(24, 2),
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
mod tests {
    use super::*;
    use crate::answers::State;
    use crate::vcpu::VcpuConfig;

    const PFR0: u64 = 0x1100_0000_0111_0222;

    fn facts(state: State, vgic: bool, features: &[&str]) -> Facts<'static> {
        let features = VcpuConfig::parse_features(features.iter().copied()).unwrap();
        Facts { config: VcpuConfig { features, enabled: 0, vgic }, state, ..Facts::default() }
    }

    fn check(register: RegisterId, limit: u64, tree: Tree) -> Check {
        Check::new(register, limit, fields::mask_in(register, tree), tree, &facts(State::Fresh, false, &[]))
    }

    fn kept() -> Effect {
        Effect::Kept
    }

    fn refused() -> Effect {
        Effect::Refused(Some(Errno::EINVAL))
    }

    fn busy() -> Effect {
        Effect::Refused(Some(Errno::EBUSY))
    }

    fn dropped(value: u64) -> Effect {
        Effect::Dropped(Some(Value::Word(value)))
    }

    fn judge(check: &Check, word: u64) -> Effect {
        check.judge(&Value::Word(word))
    }

    #[test]
    fn fields_may_be_lowered_where_the_mask_says_so() {
        let pfr0 = check(ID_AA64PFR0, PFR0, trees::T6_12_8);
        assert_eq!(judge(&pfr0, PFR0), kept());
        assert_eq!(judge(&pfr0, PFR0 & !(0xf << 60)), kept());
        assert_eq!(judge(&pfr0, PFR0 | 1 << 57), refused());
        // RAS joins the mask with 6.17.
        assert_eq!(judge(&pfr0, PFR0 | 1 << 28), refused());
    }

    #[test]
    fn exception_levels_may_be_zero_up_to_6_12() {
        assert_eq!(judge(&check(ID_AA64PFR0, PFR0, trees::T6_12_117), PFR0 & !0xf), kept());
        for tree in [trees::T6_16_12, trees::T7_3] {
            let later = check(ID_AA64PFR0, PFR0, tree);
            assert_eq!(judge(&later, PFR0 & !0xf), refused());
            assert_eq!(judge(&later, PFR0 & !0xf0), refused());
            assert_eq!(judge(&later, PFR0 & !0xf00), kept());
            assert_eq!(judge(&later, PFR0 & !0xff | 0x11), kept());
        }
        let nested = facts(State::Fresh, true, &["has_el2"]);
        let nested = Check::new(ID_AA64PFR0, PFR0, fields::mask_in(ID_AA64PFR0, trees::T7_3), trees::T7_3, &nested);
        assert_eq!(judge(&nested, PFR0 & !0xf00), refused());
    }

    #[test]
    fn what_the_hardware_hides_is_unknown_for_numbers_that_hardware_can_have() {
        let pfr0 = check(ID_AA64PFR0, PFR0, trees::T6_12_8);
        assert_eq!(judge(&pfr0, PFR0 | 1 << 40), Effect::Unknown(HARDWARE));
        assert_eq!(judge(&pfr0, PFR0 | 2 << 40), refused());
        assert_eq!(judge(&pfr0, PFR0 | 1 << 40 | 1 << 57), refused());
        let pfr1 = check(ID_AA64PFR1, 0x21, trees::T7_3);
        assert_eq!(judge(&pfr1, 0x1_0021), Effect::Unknown(HARDWARE));
        assert_eq!(judge(&pfr1, 0x2_0021), refused());
        let mmfr2 = check(ID_AA64MMFR2, 0x11, trees::T6_16_12);
        assert_eq!(judge(&mmfr2, 0x0100_0011), Effect::Unknown(HARDWARE));
        assert_eq!(judge(&mmfr2, 0x0200_0011), Effect::Unknown(HARDWARE));
        assert_eq!(judge(&mmfr2, 0x0300_0011), refused());
        assert_eq!(judge(&check(ID_AA64MMFR2, 0x11, trees::T6_12_117), 0x0200_0011), refused());
    }

    #[test]
    fn mte_frac_0_stands_for_0xf_from_6_16() {
        let own = 0xf << 40 | 0x221;
        assert_eq!(judge(&check(ID_AA64PFR1, own, trees::T6_17_8), 0x221), dropped(own));
        assert_eq!(judge(&check(ID_AA64PFR1, own, trees::T6_16_12), 0x221), dropped(own));
        assert_eq!(judge(&check(ID_AA64PFR1, own, trees::T6_12_117), 0x221), refused());
        let without = 0xf << 40 | 0x321;
        assert_eq!(judge(&check(ID_AA64PFR1, without, trees::T6_17_8), 0x321), refused());
    }

    #[test]
    fn a_pmu_that_is_not_versioned_becomes_none() {
        let dfr0 = check(ID_AA64DFR0, 0x1030_5006, trees::T6_12_117);
        assert_eq!(judge(&dfr0, 0x1030_5f06), dropped(0x1030_5006));
        assert_eq!(judge(&dfr0, 0x1030_5806), refused());
        assert_eq!(judge(&check(ID_AA64DFR0, 0x1030_5006, trees::T6_12_8), 0x1030_5806), kept());
        let with_pmu = check(ID_AA64DFR0, 0x1030_5606, trees::T6_12_117);
        assert_eq!(judge(&with_pmu, 0x1030_5f06), Effect::Rewritten(Some(Value::Word(0x1030_5006))));
        let dfr0 = check(ID_DFR0, 0x0300_0006, trees::T6_12_117);
        assert_eq!(judge(&dfr0, 0x0f00_0006), Effect::Rewritten(Some(Value::Word(6))));
        assert_eq!(judge(&dfr0, 0x0100_0006), refused());
        assert_eq!(judge(&dfr0, 0x0200_0006), refused());
        assert_eq!(judge(&dfr0, 0x6), kept());
    }

    #[test]
    fn debug_before_armv8_is_refused() {
        let dfr0 = check(ID_AA64DFR0, 0x8, trees::T7_3);
        assert_eq!(judge(&dfr0, 0x6), kept());
        assert_eq!(judge(&dfr0, 0x5), refused());
        assert_eq!(judge(&dfr0, 0x9), refused());
        let dfr0 = check(ID_DFR0, 0x8, trees::T7_3);
        assert_eq!(judge(&dfr0, 0x6), kept());
        assert_eq!(judge(&dfr0, 0x5), refused());
    }

    #[test]
    fn the_cache_type_keeps_to_what_the_architecture_has() {
        let ctr = check(CTR, 0x9444_c004, trees::T6_17_8);
        assert_eq!(judge(&ctr, 0x9444_8004), kept());
        assert_eq!(judge(&ctr, 0x9444_4004), refused());
        assert_eq!(judge(&ctr, 0x9444_0004), refused());
        assert_eq!(judge(&ctr, 0x8444_c004), kept());
        assert_eq!(judge(&check(CTR, 0x9444_c004, trees::T6_12_117), 0x9444_8004), refused());
    }

    #[test]
    fn nested_vms_have_their_own_wrappers() {
        let nested = |tree| {
            let facts = facts(State::Fresh, true, &["has_el2"]);
            move |register, limit| Check::new(register, limit, fields::mask_in(register, tree), tree, &facts)
        };
        let dfr0 = nested(trees::T6_18_15)(ID_AA64DFR0, 0x00f0_0000_0006);
        assert_eq!(judge(&dfr0, 0x6), dropped(0x00f0_0000_0006));
        assert_eq!(judge(&nested(trees::T6_17_8)(ID_AA64DFR0, 0x00f0_0000_0006), 0x6), refused());
        assert_eq!(judge(&check(ID_AA64DFR0, 0x00f0_0000_0006, trees::T6_18_15), 0x6), refused());
        let mmfr0 = nested(trees::T7_3)(ID_AA64MMFR0, 0x0222_0000_0005);
        assert_eq!(judge(&mmfr0, 0x0222_0000_0004), kept());
        assert_eq!(judge(&mmfr0, 0x0322_0000_0005), refused());
        let hiding = |tree| judge(&nested(tree)(ID_AA64MMFR0, 0x0222_0000_0005), 0x0122_0000_0005);
        assert_eq!(hiding(trees::T7_3), kept());
        assert_eq!(hiding(trees::T6_16_12), refused());
        assert_eq!(hiding(trees::T6_18_15), Effect::Unknown(NESTED_GRANULES));
        let mmfr2 = nested(trees::T7_3)(ID_AA64MMFR2, 0x11);
        assert_eq!(judge(&mmfr2, 0x0200_0011), dropped(0x11));
        assert_eq!(judge(&mmfr2, 0x0100_0011), refused());
        assert_eq!(judge(&check(ID_AA64MMFR0, 0x0222_0000_0005, trees::T7_3), 0x0122_0000_0005), kept());
    }

    #[test]
    fn the_cache_policy_is_looked_at_only_where_it_is_writable() {
        let own = 0x8444_0004;
        assert_eq!(judge(&check(CTR, own, trees::T6_12_117), own), kept());
        assert_eq!(judge(&check(CTR, own, trees::T6_16_12), own), refused());
    }

    #[test]
    fn the_gic_field_stays_where_no_vm_can_write_it() {
        let facts = facts(State::Ran, false, &[]);
        let fixed = Check::new(ID_AA64PFR0, PFR0, 0, trees::T6_12_117, &facts);
        assert_eq!(judge(&fixed, PFR0), kept());
        assert_eq!(judge(&fixed, PFR0 & !GIC.0), busy());
    }

    #[test]
    fn mte_frac_is_left_alone_without_mte() {
        let plain = check(ID_AA64PFR1, 0x21, trees::T6_18_15);
        assert_eq!(judge(&plain, 0x21), kept());
        assert_eq!(judge(&plain, 0x21 | 0xf << 40), refused());
        assert_eq!(judge(&check(ID_AA64PFR1, 0x21, trees::T6_16_12), 0x21), kept());
    }

    #[test]
    fn after_the_run_only_the_current_value_is_taken() {
        let ran = |register, limit, vgic| {
            let mask = fields::mask_in(register, trees::T6_12_117);
            Check::new(register, limit, mask, trees::T6_12_117, &facts(State::Ran, vgic, &[]))
        };
        let with_gic = ran(ID_AA64PFR0, PFR0, true);
        assert_eq!(judge(&with_gic, PFR0), kept());
        assert_eq!(judge(&with_gic, PFR0 & !(0xf << 60)), busy());
        let without = ran(ID_AA64PFR0, PFR0 | 1 << 24, false);
        assert_eq!(judge(&without, PFR0 & !(0xf << 24)), kept());
        assert_eq!(judge(&without, PFR0 | 1 << 24), busy());
        assert_eq!(judge(&ran(ID_PFR1, 0x1001_1011, false), 0x1_1011), kept());
        assert_eq!(judge(&ran(ID_PFR1, 0x1001_1011, true), 0x1_1011), busy());
        // The wrapper comes first.
        assert_eq!(judge(&ran(ID_AA64DFR0, 0x1030_5006, true), 0), refused());
        assert_eq!(judge(&ran(ID_AA64DFR0, 0x1030_5006, true), 0x1030_5f06), dropped(0x1030_5006));
    }

    #[test]
    fn a_field_that_no_tree_knows_is_unknown() {
        let mask = fields::mask_in(ID_AA64PFR1, trees::T7_3) | 0xf << 60;
        let check = Check::new(ID_AA64PFR1, 0x1000_0000_0000_0021, mask, trees::T7_3, &facts(State::Fresh, true, &[]));
        assert_eq!(judge(&check, 0x1000_0000_0000_0021), kept());
        assert_eq!(judge(&check, 0x21), Effect::Unknown(NEW_FIELD));
        assert_eq!(judge(&check, 0x31), refused());
        assert_eq!(check.judge(&Value::parse("0x1", RegisterId::SVE_VLS).unwrap()), refused());
    }
}
