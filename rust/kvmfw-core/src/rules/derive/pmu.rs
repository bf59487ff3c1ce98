//! Which rules registers of the PMU have (specification, section 4).

use crate::catalog;
use crate::rules::facts::Facts;
use crate::rules::pmu::{PmuControl, PmuCounter};
use crate::rules::release::Release;
use crate::rules::rule::Rule;

/// The rule `later` where the kernel `has` it; else the value is stored as written. A kernel that reports masks is of 6.7 or later.
fn stored_before(has: Option<bool>, later: Rule, facts: &Facts<'_>) -> Rule {
    match has {
        Some(false) if facts.masks.is_none() => Rule::Kept,
        None if facts.masks.is_none() => Rule::AnyOf([Rule::Kept, later].into(), facts.untold()),
        _ => later,
    }
}

/// The rule `later`, which a kernel has from 6.7 on; up to 6.6 the value is stored as written.
pub(in crate::rules) fn stored_before_6_7(later: Rule, facts: &Facts<'_>) -> Rule {
    stored_before(facts.at_least(6, 7), later, facts)
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

/// `PMSWINC_EL0`: stored up to 5.14; from 5.15 on any value is taken and it reads 0 (commit 7a3ba3095a32, in the pull for 5.15;
/// not in 5.10.223). [R 5.10, 6.1 to 7.3]
pub(in crate::rules) fn increment(facts: &Facts<'_>) -> Rule {
    stored_before(facts.at_least(5, 15), Rule::Ignored(0), facts)
}

/// `PMEVCNTRn_EL0`: stored at first. Since commit 9228b26194d1 of 6.3 reads give the low 32 bits (`kvm_pmu_get_counter_value`,
/// `arch/arm64/kvm/pmu-emul.c`) unless the VM's PMU has counters of 64 bits. It was ported back to 6.1.23 (lists of the stable
/// series), and to none before: of 5.15 and older it did not apply. [R 5.10, 6.1.192 to 7.3]
pub(in crate::rules) fn counter(own: u64, facts: &Facts<'_>) -> Rule {
    let version = facts.gate(catalog::PMU_VERSION);
    stored_before(reads_low(facts), Rule::PmuCounter(PmuCounter { own, version }), facts)
}

/// Whether event counters of 32 bits are kept as such, see [`counter`].
pub(in crate::rules) fn reads_low(facts: &Facts<'_>) -> Option<bool> {
    match facts.at_least(6, 2) {
        // The end of the series 6.2 has it; from which release on was not looked up.
        Some(true) => facts.at_least(6, 3).filter(|has| *has),
        _ => facts.has_reached(Release::new(6, 1, 23)),
    }
}

/// `PMMIR_EL1` (7.3): the number of slots, 0 or the host's own; once the VM has run only its current value. [R 7.3.4]
pub(in crate::rules) fn machine(fresh: u64, facts: &Facts<'_>) -> Rule {
    Rule::PmuMachine { own: fresh, has_run: facts.has_run() }
}
