//! Registers of the PMU (specification, section 4). Listed ones are never refused, `PMMIR_EL1` apart, but not all read
//! back as written.

use super::trees::{self, Tree};
use super::{Context, Facts, Rule, keep_if};
use crate::catalog::{self, ID_AA64DFR0, ID_AA64PFR0, PMCR, PMOVSCLR, PMOVSSET};
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::judgement::Effect;
use crate::value::Value;

const ID_PFR0: RegisterId = RegisterId::system(3, 0, 0, 1, 0);
/// The bits of `PMCR_EL0` that are stored besides the number of counters.
const CONTROL: u64 = 0xff;
/// `PMCR_EL0.LC`: the cycle counter overflows at 64 bits.
const LONG_CYCLES: u64 = 1 << 6;
const SLOTS: u64 = 0xff;
/// The bit of the cycle counter, which every PMU has.
const CYCLES: u64 = 1 << 31;
/// The greatest number of event counters.
const MOST: u64 = 31;
/// The first PMU version with event counters of 64 bits, `PMUv3p5`.
const V3P5: u8 = 6;
/// A PMU that is not the architecture's, which KVM takes for none.
const NOT_ARCHITECTED: u8 = 0xf;

/// A write that is taken: what came of it.
fn taken(written: u64, read: u64, own: u64) -> Effect {
    match read {
        read if read == written => Effect::Kept,
        read if read == own => Effect::Dropped(Some(Value::Word(read))),
        read => Effect::Rewritten(Some(Value::Word(read))),
    }
}

/// The rule `later`, which a kernel has from 6.7 on; up to 6.6 the value is stored as written.
fn stored_before_6_7(later: Rule, facts: &Facts<'_>) -> Rule {
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
    fn new(own: u64, facts: &Facts<'_>) -> Self {
        let fixed = facts.has_run() || facts.config.has("has_el2") || facts.config.has("pmu_v3_strict");
        let aarch64_only =
            facts.word(ID_PFR0) == Some(0) && facts.word(ID_AA64PFR0).is_some_and(|word| word & 0xf == 1);
        Self { own, fewer: !fixed, set: if aarch64_only { LONG_CYCLES } else { 0 } }
    }

    /// The number of counters that the VM has when `wanted` was written.
    fn counters(self, wanted: u64) -> u64 {
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

/// What a restore of both names does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Way {
    /// Both names replace the register.
    Replace,
    /// The set name sets bits; the clear name clears them and comes last: what was saved is lost.
    ClearLast,
    /// The same, but the set name comes last.
    SetLast,
}

/// What a PMU register with a bit for each counter needs to know from 6.7 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PmuBits {
    /// The fresh value.
    own: u64,
    /// How the host takes `PMCR_EL0`, which tells how many counters there are; `None` where that cannot be told.
    control: Option<PmuControl>,
    way: Way,
}

/// `PMINTENSET`, `PMCNTENSET` and `PMOVSSET` with their clear names: two names of one register, of which a saved set
/// holds both, with one value. Up to 6.6 each write replaces it. From 6.7 on (`set_pmreg`, `get_pmreg`,
/// `arch/arm64/kvm/sys_regs.c`; commit a45f41d754e0) only bits of counters that the VM has are stored and read, and
/// the names set and clear; later both replace (commit f2aeb7bbd574). All policies write in the order of ids, so that
/// the clear name is last, but of `PMOVSSET` the set name. [R 5.10, 6.1, 6.12.117, 6.16 to 7.3]
pub(super) fn bits(register: RegisterId, own: u64, facts: &Facts<'_>) -> Rule {
    let set_last = matches!(register, PMOVSCLR | PMOVSSET);
    let way = |tree: &Tree| match (trees::replaces_pmu_bits(*tree), set_last) {
        (true, _) => Way::Replace,
        (false, true) => Way::SetLast,
        (false, false) => Way::ClearLast,
    };
    // A nested VM's own hypervisor may keep counters for itself (MDCR_EL2.HPMN).
    let control = facts.word(PMCR).filter(|_| !facts.config.has("has_el2"));
    let control = control.map(|own| PmuControl::new(own, facts));
    let mut ways: Vec<Way> = facts.release.map_or_else(trees::all, trees::around).iter().map(way).collect();
    ways.dedup();
    let rule = |way: &Way| Rule::PmuBits(PmuBits { own, control, way: *way });
    let later = match ways.as_slice() {
        [way] => rule(way),
        ways => Rule::AnyTaken(ways.iter().map(rule).collect()),
    };
    stored_before_6_7(later, facts)
}

impl PmuBits {
    /// `context` is half the number of counters that the VM was saved with.
    pub(super) fn judge(self, value: &Value, context: Context) -> Effect {
        let Some(word) = value.word() else { return Effect::Rewritten(None) };
        // The least and the greatest number that it can be; with each counter between them one more bit reads back.
        let (least, greatest) = match (self.control, context.map(u64::from)) {
            (None, _) => (0, MOST),
            (Some(control), None) => (control.counters(MOST), control.counters(MOST)),
            (Some(control), Some(half)) => {
                let (one, other) = (control.counters(2 * half), control.counters(2 * half + 1));
                (one.min(other), one.max(other))
            }
        };
        let read = self.reads(word, least);
        if read == self.reads(word, greatest) { taken(word, read, self.own) } else { Effect::Rewritten(None) }
    }

    fn reads(self, word: u64, counters: u64) -> u64 {
        let there = CYCLES | ((1 << counters) - 1);
        match self.way {
            Way::Replace => word & there,
            Way::ClearLast => self.own & !word & there,
            Way::SetLast => (self.own | word) & there,
        }
    }
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
mod tests {
    use super::*;
    use crate::answers::State;
    use crate::rules::Release;
    use crate::vcpu::VcpuConfig;

    const OWN: u64 = 0x3000;

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
        assert!(matches!(judge("custom", State::Fresh, &["pmu_v3"], 0x3800), Effect::Unknown(_)));
    }

    #[test]
    fn slots_are_the_hosts_or_none() {
        let fresh = |word| judge_machine(&Value::Word(word), 4, false);
        assert_eq!([fresh(4), fresh(0)], [Effect::Kept, Effect::Kept]);
        assert_eq!([fresh(3), fresh(0x104)], [refused(Errno::EINVAL), refused(Errno::EINVAL)]);
        let ran = |word| judge_machine(&Value::Word(word), 4, true);
        assert_eq!([ran(4), ran(0), ran(0x104)], [Effect::Kept, refused(Errno::EBUSY), refused(Errno::EINVAL)]);
    }
}
