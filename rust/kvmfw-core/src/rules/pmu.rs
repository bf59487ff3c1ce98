//! `PMCR_EL0` and `PMMIR_EL1` (specification, section 4).

use super::{Facts, PROBE, Rule, keep_if, only_fresh};
use crate::errno::Errno;
use crate::judgement::Effect;
use crate::value::Value;

const COUNTERS: u64 = 0x1f << 11;
/// The bits of `PMCR_EL0` that are stored besides the number of counters.
const CONTROL: u64 = 0xff;
const SLOTS: u64 = 0xff;

/// What `PMCR_EL0` needs to know from 6.7 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PmuControl {
    /// The fresh value, with the host's number of counters.
    own: u64,
    /// Whether a lower number of counters is taken.
    fewer: bool,
}

/// Never refused. Up to 6.6 stored as written. From 6.7 on (`set_pmcr`, `arch/arm64/kvm/sys_regs.c`) a number of
/// counters up to the host's is taken, unless the VM has run, is nested or (7.3) has the strict PMU; any other is
/// ignored in silence. Of the other bits only the low 8 are stored (restores of 5.10 and 6.1 values to 6.12, 6.18 and 7.3).
pub(super) fn control(fresh: u64, facts: &Facts<'_>) -> Rule {
    if !facts.config.has("pmu_v3") {
        // 5.10 lists PMU registers without the feature (specification, 2); nothing looks at them.
        return Rule::Kept;
    }
    match facts.at_least(6, 7) {
        Some(false) if facts.masks.is_none() => Rule::Kept,
        None if facts.masks.is_none() => only_fresh(Value::Word(fresh), PROBE, facts),
        _ => {
            let fixed = facts.has_run() || facts.config.has("has_el2") || facts.config.has("pmu_v3_strict");
            Rule::PmuControl(PmuControl { own: fresh, fewer: !fixed })
        }
    }
}

impl PmuControl {
    pub(super) fn judge(self, value: &Value) -> Effect {
        let Some(word) = value.word() else { return Effect::Rewritten(None) };
        let counters = word & COUNTERS;
        let taken = counters == self.own & COUNTERS || (self.fewer && counters < self.own & COUNTERS);
        let read = (word & CONTROL) | if taken { counters } else { self.own & COUNTERS };
        match read {
            read if read == word => Effect::Kept,
            read if read == self.own => Effect::Dropped(Some(Value::Word(read))),
            read => Effect::Rewritten(Some(Value::Word(read))),
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
