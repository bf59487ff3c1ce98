//! Which rules PMU registers with a bit for each counter have (specification, section 4).

use crate::catalog::{PMCR, PMOVSCLR, PMOVSSET};
use crate::id::RegisterId;
use crate::rules::derive::pmu::stored_before_6_7;
use crate::rules::facts::Facts;
use crate::rules::pmu::PmuControl;
use crate::rules::pmu_bits::{PAIRS, PmuBits, Way};
use crate::rules::rule::Rule;
use crate::rules::trees::{self, Tree};

/// `PMINTENSET`, `PMCNTENSET` and `PMOVSSET` with their clear names: two names of one register, of which a saved set
/// holds both, with one value. Up to 6.6 each write replaces it. From 6.7 on (`set_pmreg`, `get_pmreg`,
/// `arch/arm64/kvm/sys_regs.c`; commit a45f41d754e0) only bits of counters that the VM has are stored and read, and
/// the names set and clear; later both replace (commit f2aeb7bbd574). All policies write in the order of ids, so that
/// the clear name is last, but of `PMOVSSET` the set name. [R 5.10, 6.1, 6.12.117, 6.16 to 7.3]
pub(in crate::rules) fn bits(register: RegisterId, own: u64, facts: &Facts<'_>) -> Rule {
    let is_set = PAIRS.iter().any(|(set, _)| *set == register);
    let set_is_last = matches!(register, PMOVSCLR | PMOVSSET);
    let way = |set: bool, tree: Tree| match (trees::replaces_pmu_bits(tree), set) {
        (true, _) => Way::Replace,
        (false, true) => Way::Set,
        (false, false) => Way::Clear,
    };
    // A nested VM's own hypervisor may keep counters for itself (MDCR_EL2.HPMN).
    let control = facts.word(PMCR).filter(|_| !facts.config.has("has_el2"));
    let control = control.map(|own| PmuControl::new(own, facts));
    let both = |tree: &Tree| (way(is_set, *tree), way(set_is_last, *tree));
    let mut ways: Vec<(Way, Way)> = trees::plausible(facts).iter().map(both).collect();
    ways.dedup();
    let rule = |(alone, paired): &(Way, Way)| Rule::PmuBits(PmuBits { own, control, alone: *alone, paired: *paired });
    let later = match ways.as_slice() {
        [way] => rule(way),
        ways => Rule::AnyTaken(ways.iter().map(rule).collect()),
    };
    stored_before_6_7(later, facts)
}
