//! Registers of the PMU (specification, section 4). Listed ones are never refused, `PMMIR_EL1` apart, but not all read
//! back as written.

use super::pmu_bits::is_paired;
use super::{Context, Facts, Rule, keep_if};
use crate::catalog::{self, ID_AA64DFR0};
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
const V3P5: u8 = 6;
/// A PMU that is not the architecture's, which KVM takes for none.
const NOT_ARCHITECTED: u8 = 0xf;

/// A write that is taken: what came of it.
pub(super) fn taken(written: u64, read: u64, own: u64) -> Effect {
    match read {
        read if read == written => Effect::Kept,
        read if read == own => Effect::Dropped(Some(Value::Word(read))),
        read => Effect::Rewritten(Some(Value::Word(read))),
    }
}

/// The rule `later`, which a kernel has from 6.7 on; up to 6.6 the value is stored as written.
pub(super) fn stored_before_6_7(later: Rule, facts: &Facts<'_>) -> Rule {
    match facts.at_least(6, 7) {
        Some(false) if facts.masks.is_none() => Rule::Kept,
        None if facts.masks.is_none() => Rule::AnyTaken([Rule::Kept, later].into()),
        _ => later,
    }
}

/// The rule `later`, which a kernel has from 6.1 on; up to 5.10 the value is stored as written. [R 5.10, 6.1]
fn stored_up_to_5_10(later: Rule, facts: &Facts<'_>) -> Rule {
    match (facts.at_least(5, 11), facts.at_least(6, 1)) {
        (Some(false), _) => Rule::Kept,
        (_, Some(true)) => later,
        _ if facts.masks.is_some() => later,
        _ => Rule::AnyTaken([Rule::Kept, later].into()),
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

/// Never refused. Up to 6.6 stored as written. From 6.7 on (`set_pmcr`, `arch/arm64/kvm/sys_regs.c`) a number of
/// counters up to the host's is taken, unless the VM has run, is nested or (7.3) has the strict PMU; any other is
/// ignored in silence. Of the other bits only the low 8 are stored (restores of 5.10 and 6.1 values to 6.12, 6.18 and
/// 7.3); `LC` is always set on hosts without AArch32.
pub(super) fn control(fresh: u64, facts: &Facts<'_>) -> Rule {
    if !facts.config.has("pmu_v3") {
        // 5.10 lists PMU registers without the feature (specification, 2); nothing looks at them.
        return Rule::Kept;
    }
    stored_before_6_7(Rule::PmuControl(PmuControl::new(fresh, facts)), facts)
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

/// `PMSWINC_EL0`: stored up to 5.10; later any value is taken and it reads 0 (commit 7a3ba3095a32). [R 5.10, 6.1 to 7.3]
pub(super) fn increment(facts: &Facts<'_>) -> Rule {
    stored_up_to_5_10(Rule::Ignored(0), facts)
}

/// What an event counter needs to know from 6.1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PmuCounter {
    /// The fresh value.
    own: u64,
    /// The PMU version of a fresh VM.
    version: Context,
}

/// `PMEVCNTRn_EL0`: stored up to 5.10; in 6.1 and later reads give the low 32 bits (`kvm_pmu_get_counter_value`,
/// `arch/arm64/kvm/pmu-emul.c`) unless the VM's PMU has counters of 64 bits. [R 5.10, 6.1 to 7.3]
pub(super) fn counter(own: u64, facts: &Facts<'_>) -> Rule {
    let version = facts.word(ID_AA64DFR0).and_then(|word| catalog::PMU_VERSION.of(word));
    stored_up_to_5_10(Rule::PmuCounter(PmuCounter { own, version }), facts)
}

impl PmuCounter {
    pub(super) fn judge(self, value: &Value, context: Context) -> Effect {
        let Some(word) = value.word() else { return Effect::Rewritten(None) };
        match context.or(self.version) {
            _ if word >> 32 == 0 => Effect::Kept,
            Some(V3P5..NOT_ARCHITECTED) => Effect::Kept,
            Some(_) => taken(word, word & 0xffff_ffff, self.own),
            None => Effect::Rewritten(None),
        }
    }
}

/// The part of a value on which the outcome depends: whether there is anything in `PMSWINC_EL0` and above the 32nd bit
/// of a counter, and of the counters that count or interrupt the greatest ([`super::pmu_bits`]: above 6.12 all are there or not;
/// in 6.12 all are lost). Of the overflows, and of one name alone, each bit counts, as the host may have some of its own.
pub(crate) fn judged_bits(register: RegisterId, word: u64, context: Context) -> u64 {
    let above = u64::from(word >> 32 != 0) << 32;
    match register {
        catalog::PMSWINC => u64::from(word != 0),
        PMINTENSET | PMINTENCLR | PMCNTENSET | PMCNTENCLR if is_paired(context) => {
            let counters = word & (CYCLES - 1);
            above | (word & CYCLES) | counters.checked_ilog2().map_or(0, |greatest| 1 << greatest)
        }
        _ if is_counter(register) => above,
        _ => word,
    }
}

fn is_counter(register: RegisterId) -> bool {
    let first = RegisterId::system(3, 3, 14, 8, 0).raw();
    (first..first + MOST).contains(&register.raw())
}

/// `PMMIR_EL1` (7.3): the number of slots, 0 or the host's own; once the VM has run only its current value. [R 7.3.4]
pub(super) fn machine(fresh: u64, facts: &Facts<'_>) -> Rule {
    Rule::PmuMachine { own: fresh, has_run: facts.has_run() }
}

pub(super) fn judge_machine(value: &Value, own: u64, has_run: bool) -> Effect {
    match value.word() {
        Some(word) if word & !SLOTS != 0 => Effect::Refused(Some(Errno::EINVAL)),
        Some(word) if has_run => keep_if(word == own, Errno::EBUSY),
        Some(word) => keep_if(word == own || word == 0, Errno::EINVAL),
        None => Effect::Refused(Some(Errno::EINVAL)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::answers::State;
    use crate::catalog::{ID_AA64PFR0, PMCR, PMOVSSET};
    use crate::rules::{PmuNames, Release};
    use crate::vcpu::VcpuConfig;

    const OWN: u64 = 0x3000;
    const ID_PFR0: RegisterId = RegisterId::system(3, 0, 0, 1, 0);

    fn judge(release: &str, state: State, features: &[&str], word: u64) -> Effect {
        let features = VcpuConfig::parse_features(features.iter().copied()).unwrap();
        let config = VcpuConfig { features, enabled: 0, vgic: true };
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
        assert_eq!([custom(0x2800), custom(0x3800)], [Effect::Kept, Effect::Rewritten(None)]);
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
        assert_eq!(stored_up_to_5_10(later.clone(), &of("custom", Some(&masks))), later);
        assert_ne!(stored_up_to_5_10(later.clone(), &of("custom", None)), later);
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
        assert_eq!(judge("5.10.0", 1), Effect::Kept);
        for release in ["6.1.0", "6.12.117", "7.3.4", "7.3.99"] {
            assert_eq!(judge(release, 1), Effect::Dropped(Some(Value::Word(0))), "{release}");
            assert_eq!(judge(release, 0), Effect::Kept);
        }
        for release in ["5.15.0", "custom"] {
            assert_eq!([judge(release, 0), judge(release, 1)], [Effect::Kept, Effect::Rewritten(None)], "{release}");
        }
    }

    #[test]
    fn a_counter_has_32_bits_unless_the_vms_pmu_has_longer_ones() {
        const LONG: u64 = 0x1de7_ec7e_dbad_c0de;
        let counter = RegisterId::system(3, 3, 14, 8, 0);
        let judge = |release, word, context| derived(release, 1 << 3, counter, 7).judge(&Value::Word(word), context);
        assert_eq!(judge("5.10.0", LONG, None), Effect::Kept);
        assert_eq!(judge("5.15.0", LONG, None), Effect::Rewritten(None));
        for context in [None, Some(1), Some(5), Some(15)] {
            assert_eq!(judge("6.12.117", LONG, context), read(0xdbad_c0de), "{context:?}");
            assert_eq!(judge("6.12.117", 0xdbad_c0de, context), Effect::Kept);
        }
        assert_eq!(judge("7.3.4", LONG, Some(6)), Effect::Kept);
        assert_eq!(judge("7.3.4", 7 << 32 | 7, None), Effect::Dropped(Some(Value::Word(7))));
    }

    #[test]
    fn values_with_the_same_judged_bits_have_the_same_outcome() {
        const RELEASES: [&str; 7] = ["5.10.0", "5.15.0", "6.1.0", "6.12.117", "6.14.0", "7.3.4", "custom"];
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
