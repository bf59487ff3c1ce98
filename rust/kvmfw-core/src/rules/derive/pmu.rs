//! Which rules registers of the PMU have (specification, section 4).

use crate::catalog::{self, ID_AA64DFR0};
use crate::rules::facts::Facts;
use crate::rules::pmu::{PmuControl, PmuCounter};
use crate::rules::rule::Rule;

/// The rule `later`, which a kernel has from 6.7 on; up to 6.6 the value is stored as written.
pub(in crate::rules) fn stored_before_6_7(later: Rule, facts: &Facts<'_>) -> Rule {
    match facts.at_least(6, 7) {
        Some(false) if facts.masks.is_none() => Rule::Kept,
        None if facts.masks.is_none() => Rule::AnyTaken([Rule::Kept, later].into()),
        _ => later,
    }
}

/// The rule `later`, which a kernel has from 6.1 on; up to 5.10 the value is stored as written. [R 5.10, 6.1]
pub(in crate::rules) fn stored_up_to_5_10(later: Rule, facts: &Facts<'_>) -> Rule {
    match (facts.at_least(5, 11), facts.at_least(6, 1)) {
        (Some(false), _) => Rule::Kept,
        (_, Some(true)) => later,
        _ if facts.masks.is_some() => later,
        _ => Rule::AnyTaken([Rule::Kept, later].into()),
    }
}

/// Never refused. Up to 6.6 stored as written. From 6.7 on (`set_pmcr`, `arch/arm64/kvm/sys_regs.c`) a number of
/// counters up to the host's is taken, unless the VM has run, is nested or (7.3) has the strict PMU; any other is
/// ignored in silence. Of the other bits only the low 8 are stored (restores of 5.10 and 6.1 values to 6.12, 6.18 and
/// 7.3); `LC` is always set on hosts without AArch32.
pub(in crate::rules) fn control(fresh: u64, facts: &Facts<'_>) -> Rule {
    if !facts.config.has("pmu_v3") {
        // 5.10 lists PMU registers without the feature (specification, 2); nothing looks at them.
        return Rule::Kept;
    }
    stored_before_6_7(Rule::PmuControl(PmuControl::new(fresh, facts)), facts)
}

/// `PMSWINC_EL0`: stored up to 5.10; later any value is taken and it reads 0 (commit 7a3ba3095a32). [R 5.10, 6.1 to 7.3]
pub(in crate::rules) fn increment(facts: &Facts<'_>) -> Rule {
    stored_up_to_5_10(Rule::Ignored(0), facts)
}

/// `PMEVCNTRn_EL0`: stored up to 5.10; in 6.1 and later reads give the low 32 bits (`kvm_pmu_get_counter_value`,
/// `arch/arm64/kvm/pmu-emul.c`) unless the VM's PMU has counters of 64 bits. [R 5.10, 6.1 to 7.3]
pub(in crate::rules) fn counter(own: u64, facts: &Facts<'_>) -> Rule {
    let version = facts.word(ID_AA64DFR0).and_then(|word| catalog::PMU_VERSION.of(word));
    stored_up_to_5_10(Rule::PmuCounter(PmuCounter { own, version }), facts)
}

/// `PMMIR_EL1` (7.3): the number of slots, 0 or the host's own; once the VM has run only its current value. [R 7.3.4]
pub(in crate::rules) fn machine(fresh: u64, facts: &Facts<'_>) -> Rule {
    Rule::PmuMachine { own: fresh, has_run: facts.has_run() }
}
