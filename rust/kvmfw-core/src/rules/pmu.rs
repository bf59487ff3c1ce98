//! `PMCR_EL0` and `PMMIR_EL1` (specification, section 4).

use super::{Facts, PROBE, Rule, keep_if};
use crate::errno::Errno;
use crate::judgement::Effect;
use crate::value::Value;

const COUNTERS: u64 = 0x1f << 11;
/// The bits of `PMCR_EL0` that a VM can set, without the one that reads as 1 on hosts without AArch32.
const CONTROL: u64 = 0xff & !LONG_CYCLES;
const LONG_CYCLES: u64 = 1 << 6;
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
/// ignored in silence. Other bits: sure for the low 8, read-back not known for the rest.
pub(super) fn control(fresh: u64, facts: &Facts<'_>) -> Rule {
    if !facts.config.has("pmu_v3") {
        // 5.10 lists PMU registers without the feature (specification, 2); nothing looks at them.
        return Rule::Kept;
    }
    match facts.at_least(6, 7) {
        Some(false) if facts.masks.is_none() => Rule::Kept,
        None if facts.masks.is_none() => Rule::OnlyFresh { own: Value::Word(fresh), needs: PROBE },
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
        let ignored = counters != self.own & COUNTERS && !(self.fewer && counters < self.own & COUNTERS);
        let read = if ignored { (word & !COUNTERS) | (self.own & COUNTERS) } else { word };
        // Bits that the host's own value has, or that a VM can set, read back; others may be dropped.
        let doubtful = (word ^ self.own) & !COUNTERS & !CONTROL != 0;
        match (read == word, doubtful) {
            (true, false) => Effect::Kept,
            (true, true) => Effect::Unknown("write this value on the host and read it back"),
            (false, _) if read == self.own => Effect::Dropped(Some(Value::Word(read))),
            (false, false) => Effect::Rewritten(Some(Value::Word(read))),
            (false, true) => Effect::Rewritten(None),
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
