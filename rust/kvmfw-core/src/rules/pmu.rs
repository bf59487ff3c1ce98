//! Registers of the PMU (specification, section 4). Listed ones are never refused, `PMMIR_EL1` apart, but not all read
//! back as written.

use super::facts::{Context, Facts, PROBE};
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::judgement::Effect;
use crate::value::Value;

pub(super) const PMINTENSET: RegisterId = RegisterId::system(3, 0, 9, 14, 1);
pub(super) const PMINTENCLR: RegisterId = RegisterId::system(3, 0, 9, 14, 2);
pub(super) const PMCNTENSET: RegisterId = RegisterId::system(3, 3, 9, 12, 1);
pub(super) const PMCNTENCLR: RegisterId = RegisterId::system(3, 3, 9, 12, 2);
/// The bits of `PMCR_EL0` that are stored besides the number of counters.
const CONTROL: u64 = 0xff;
/// `PMCR_EL0.LC`: the cycle counter overflows at 64 bits.
const LONG_CYCLES: u64 = 1 << 6;
const SLOTS: u64 = 0xff;
/// The bit of the cycle counter, which every PMU has.
pub(super) const CYCLES: u64 = 1 << 31;
/// The greatest number of event counters.
pub(super) const MOST: u64 = 31;
/// The first PMU version with event counters of 64 bits, `PMUv3p5`.
pub(super) const V3P5: u8 = 6;
/// A PMU that is not the architecture's, which KVM takes for none.
pub(super) const NOT_ARCHITECTED: u8 = 0xf;

/// A write that is taken: what came of it.
pub(super) fn taken(written: u64, read: u64, own: u64) -> Effect {
    match read {
        read if read == written => Effect::Kept,
        read if read == own => Effect::Dropped(Some(Value::Word(read))),
        read => Effect::Rewritten(Some(Value::Word(read))),
    }
}

/// What `PMCR_EL0` needs to know from 6.7 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PmuControl {
    /// The fresh value, with the host's number of counters.
    own: u64,
    /// Whether a lower number of counters is taken.
    fewer: bool,
    /// Bits that are always set.
    set: u64,
}

impl PmuControl {
    pub(super) fn new(own: u64, facts: &Facts<'_>) -> Self {
        let fixed = facts.has_run() || facts.config.has("has_el2") || facts.config.has("pmu_v3_strict");
        Self { own, fewer: !fixed, set: if facts.has_aarch32() == Some(false) { LONG_CYCLES } else { 0 } }
    }

    /// The number of counters that the VM has when `wanted` was written.
    pub(super) fn counters(self, wanted: u64) -> u64 {
        let own = self.own >> 11 & MOST;
        if self.fewer && wanted < own { wanted } else { own }
    }

    pub(super) fn judge(self, value: &Value) -> Effect {
        let Some(word) = value.word() else { return Effect::Rewritten(None) };
        let counters = self.counters(word >> 11 & MOST);
        taken(word, (word & CONTROL) | self.set | counters << 11, self.own)
    }
}

/// What an event counter needs to know from 6.3 on, and in 6.1 since 6.1.23.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PmuCounter {
    /// The fresh value.
    pub(super) own: u64,
    /// The PMU version of a fresh VM.
    pub(super) version: Context,
}

impl PmuCounter {
    pub(super) fn judge(self, value: &Value, context: Context) -> Effect {
        let Some(word) = value.word() else { return Effect::Rewritten(None) };
        match context.or(self.version) {
            _ if word >> 32 == 0 => Effect::Kept,
            Some(V3P5..NOT_ARCHITECTED) => Effect::Kept,
            Some(_) => taken(word, word & 0xffff_ffff, self.own),
            None => Effect::Unknown(PROBE),
        }
    }
}

pub(super) fn judge_machine(value: &Value, own: u64, has_run: bool) -> Effect {
    match value.word() {
        Some(word) if word & !SLOTS != 0 => Effect::Refused(Some(Errno::EINVAL)),
        Some(word) if has_run => Effect::kept_if(word == own, Errno::EBUSY),
        Some(word) => Effect::kept_if(word == own || word == 0, Errno::EINVAL),
        None => Effect::Refused(Some(Errno::EINVAL)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::answers::State;
    use crate::catalog::{self, ID_AA64DFR0};
    use crate::catalog::{ID_AA64PFR0, PMCR, PMOVSSET};
    use crate::rules::Rule;
    use crate::rules::derive::pmu::{control, increment, stored_before_6_7};
    use crate::rules::pmu_bits::judged_bits;
    use crate::rules::{PmuNames, Release};
    use crate::vcpu::VcpuConfig;

    const OWN: u64 = 0x3000;
    const ID_PFR0: RegisterId = RegisterId::system(3, 0, 0, 1, 0);

    fn judge(release: &str, state: State, features: &[&str], word: u64) -> Effect {
        let features = VcpuConfig::parse_features(features.iter().copied()).unwrap();
        let config = VcpuConfig { features, vgic: true, ..VcpuConfig::default() };
        let facts = Facts { release: Release::parse(release), config, state, ..Facts::default() };
        control(OWN, &facts).judge(&Value::Word(word), None)
    }

    fn refused(errno: Errno) -> Effect {
        Effect::Refused(Some(errno))
    }

    #[test]
    fn fewer_counters_are_taken_and_more_ignored() {
        let fresh = |word| judge("6.12.8", State::Fresh, &["pmu_v3"], word);
        assert_eq!(fresh(OWN), Effect::Kept);
        assert_eq!(fresh(0x2001), Effect::Kept);
        assert_eq!(fresh(0x3800), Effect::Dropped(Some(Value::Word(OWN))));
        assert_eq!(fresh(0x3801), Effect::Rewritten(Some(Value::Word(0x3001))));
        assert_eq!(fresh(0x4100_3801), Effect::Rewritten(Some(Value::Word(0x3001))));
        assert_eq!(fresh(0x4100_3000), Effect::Dropped(Some(Value::Word(OWN))));
    }

    #[test]
    fn some_vms_cannot_change_their_counters() {
        assert_eq!(judge("6.12.8", State::Ran, &["pmu_v3"], 0x2000), Effect::Dropped(Some(Value::Word(OWN))));
        for feature in ["has_el2", "pmu_v3_strict"] {
            let effect = judge("7.3.4", State::Fresh, &["pmu_v3", feature], 0x2000);
            assert_eq!(effect, Effect::Dropped(Some(Value::Word(OWN))), "{feature}");
        }
    }

    #[test]
    fn before_6_7_and_without_a_pmu_anything_is_stored() {
        assert_eq!(judge("6.1.0", State::Fresh, &["pmu_v3"], 0x3800), Effect::Kept);
        assert_eq!(judge("5.10.0", State::Fresh, &[], 0x3800), Effect::Kept);
        let custom = |word| judge("custom", State::Fresh, &["pmu_v3"], word);
        assert_eq!(custom(0x2800), Effect::Kept);
        assert!(custom(0x3800).needs().is_some());
    }

    #[test]
    fn masks_tell_a_later_kernel_than_its_release() {
        let masks = [(ID_AA64DFR0, 0)];
        let of = |release, masks| Facts { release: Release::parse(release), masks, ..Facts::default() };
        let later = Rule::Ignored(0);
        for release in ["6.6.1", "custom"] {
            assert_eq!(stored_before_6_7(later.clone(), &of(release, Some(&masks))), later, "{release}");
        }
        assert_eq!(stored_before_6_7(later.clone(), &of("6.6.1", None)), Rule::Kept);
        assert_eq!(increment(&of("custom", Some(&masks))), later);
        assert_ne!(increment(&of("custom", None)), later);
    }

    #[test]
    fn the_long_cycle_bit_is_always_set_without_aarch32() {
        let registers = [(ID_PFR0, Value::Word(0)), (ID_AA64PFR0, Value::Word(0x11))];
        let features = VcpuConfig::parse_features(["pmu_v3"]).unwrap();
        let config = VcpuConfig { features, ..VcpuConfig::default() };
        let facts = Facts { release: Release::parse("6.12.117"), config, registers: &registers, ..Facts::default() };
        let rule = control(OWN | LONG_CYCLES, &facts);
        assert_eq!(rule.judge(&Value::Word(OWN | LONG_CYCLES), None), Effect::Kept);
        let without = rule.judge(&Value::Word(OWN), None);
        assert_eq!(without, Effect::Dropped(Some(Value::Word(OWN | LONG_CYCLES))));
    }

    #[test]
    fn running_counters_do_not_make_vms_differ() {
        let counter = RegisterId::new(0x6030_0000_0013_df40);
        let judged =
            |register, word| judged_bits(register, word, Some(crate::rules::pmu_context(None, PmuNames::Alike)));
        assert_eq!(judged(catalog::PMSWINC, 5), judged(catalog::PMSWINC, 7));
        assert_eq!(judged(counter, 0x1_0000_0005), judged(counter, 0x1_0000_0009));
        assert_eq!(judged(PMCNTENSET, 0x1e), judged(PMCNTENSET, 0x10));
        assert_eq!(judged_bits(PMCNTENSET, 0x1e, None), 0x1e);
        assert_eq!(judged(catalog::PSCI_VERSION, 0x10001), 0x10001);
    }

    #[test]
    fn a_counter_below_32_bits_is_kept_by_any_pmu() {
        for version in [None, Some(1), Some(V3P5)] {
            let counter = PmuCounter { own: 0, version };
            assert_eq!(counter.judge(&Value::Word(0xffff_ffff), None), Effect::Kept, "{version:?}");
        }
    }

    #[test]
    fn slots_are_the_hosts_or_none() {
        let fresh = |word| judge_machine(&Value::Word(word), 4, false);
        assert_eq!([fresh(4), fresh(0)], [Effect::Kept, Effect::Kept]);
        assert_eq!([fresh(3), fresh(0x104)], [refused(Errno::EINVAL), refused(Errno::EINVAL)]);
        let ran = |word| judge_machine(&Value::Word(word), 4, true);
        assert_eq!([ran(4), ran(0), ran(0x104)], [Effect::Kept, refused(Errno::EBUSY), refused(Errno::EINVAL)]);
    }

    #[test]
    fn the_cycle_counter_is_long_where_there_is_no_aarch32() {
        let judge = |pfr0: u64, id_pfr0: u64| {
            let registers = [(ID_PFR0, Value::Word(id_pfr0)), (ID_AA64PFR0, Value::Word(pfr0))];
            let config = VcpuConfig { features: 1 << 3, ..VcpuConfig::default() };
            let facts = Facts { release: Release::parse("6.12.8"), registers: &registers, config, ..Facts::default() };
            control(0x3040, &facts).judge(&Value::Word(0x3000), None)
        };
        assert_eq!(judge(0x11, 0), Effect::Dropped(Some(Value::Word(0x3040))));
        assert_eq!(judge(0x12, 0x131), Effect::Kept);
        assert_eq!(judge(0x11, 0x131), Effect::Kept, "a nested VM shows EL0 = 1 on other hosts too");
    }

    /// A host with 6 event counters, `PMUv3p4` and this fresh value of `register`.
    pub(in crate::rules) fn derived(release: &str, features: u32, register: RegisterId, own: u64) -> Rule {
        let mut registers = [(ID_AA64DFR0, Value::Word(0x500)), (PMCR, Value::Word(OWN)), (register, Value::Word(own))];
        registers.sort_unstable();
        let config = VcpuConfig { features, ..VcpuConfig::default() };
        let facts = Facts { release: Release::parse(release), registers: &registers, config, ..Facts::default() };
        crate::rules::derive(register, &facts)
    }

    pub(in crate::rules) fn read(read: u64) -> Effect {
        Effect::Rewritten(Some(Value::Word(read)))
    }

    #[test]
    fn the_software_increment_reads_0_on_later_kernels() {
        let judge = |release, word| derived(release, 1 << 3, catalog::PMSWINC, 0).judge(&Value::Word(word), None);
        for release in ["5.10.0", "5.14.21"] {
            assert_eq!(judge(release, 1), Effect::Kept);
        }
        for release in ["5.15.0", "6.0.0", "6.1.0", "6.12.117", "7.3.4", "7.3.99"] {
            assert_eq!(judge(release, 1), Effect::Dropped(Some(Value::Word(0))), "{release}");
            assert_eq!(judge(release, 0), Effect::Kept);
        }
        assert_eq!(judge("custom", 0), Effect::Kept);
        assert!(judge("custom", 1).needs().is_some());
    }

    #[test]
    fn a_counter_has_32_bits_unless_the_vms_pmu_has_longer_ones() {
        const LONG: u64 = 0x1de7_ec7e_dbad_c0de;
        let counter = RegisterId::system(3, 3, 14, 8, 0);
        let judge = |release, word, context| derived(release, 1 << 3, counter, 7).judge(&Value::Word(word), context);
        for release in ["5.10.0", "5.15.106", "6.0.19", "6.1.22"] {
            assert_eq!(judge(release, LONG, None), Effect::Kept, "{release}");
        }
        for release in ["6.1.23", "6.1.0-56-arm64", "6.3.0"] {
            assert_eq!(judge(release, LONG, None), read(0xdbad_c0de), "{release}");
        }
        for release in ["6.1.0", "6.1.0-9-arm64", "6.2.0", "6.2.16"] {
            assert!(judge(release, LONG, None).needs().is_some(), "{release}");
            assert_eq!(judge(release, 0xdbad_c0de, None), Effect::Kept, "{release}");
        }
        for context in [None, Some(1), Some(5), Some(15)] {
            assert_eq!(judge("6.12.117", LONG, context), read(0xdbad_c0de), "{context:?}");
            assert_eq!(judge("6.12.117", 0xdbad_c0de, context), Effect::Kept);
        }
        assert_eq!(judge("7.3.4", LONG, Some(6)), Effect::Kept);
        assert_eq!(judge("7.3.4", 7 << 32 | 7, None), Effect::Dropped(Some(Value::Word(7))));
    }

    #[test]
    fn values_with_the_same_judged_bits_have_the_same_outcome() {
        // Of a kernel without a readable release only the fresh value is taken, bit by bit: not asked here.
        const RELEASES: [&str; 7] = ["5.10.0", "5.15.0", "6.1.0", "6.12.117", "6.12.119", "6.14.0", "7.3.4"];
        let words = [0, 1, 2, 3, 0x3f, 0x40, 0x7fff_ffff, CYCLES, CYCLES | 5, 1 << 32, 9 << 32 | 6, u64::MAX];
        let counter = RegisterId::system(3, 3, 14, 11, 6);
        let registers = [catalog::PMSWINC, counter, PMINTENSET, PMCNTENCLR, PMOVSSET];
        for (register, release) in
            registers.into_iter().flat_map(|register| RELEASES.map(|release| (register, release)))
        {
            for (own, counters) in [(0, 0), (0, 2), (0, 3), (3, 3), (CYCLES, 15)] {
                let rule = derived(release, 1 << 3, register, own);
                let is_bits = catalog::kind_of(register) == catalog::Kind::PmuBits;
                let named = |names| Some(crate::rules::pmu_context(Some(counters), names));
                let contexts = if is_bits { [PmuNames::Alike, PmuNames::One].map(named) } else { [Some(counters); 2] };
                for (context, word) in contexts.into_iter().flat_map(|context| words.map(|word| (context, word))) {
                    let judge = |word| rule.judge(&Value::Word(word), context).outcome();
                    let judged = judged_bits(register, word, context);
                    assert_eq!(judge(word), judge(judged), "{register} {release} {own} {context:?} {word:#x}");
                }
            }
        }
    }
}
