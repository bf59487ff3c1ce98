//! Which rules PMU registers with a bit for each counter have (specification, section 4).

use crate::catalog::{PMCR, PMOVSCLR, PMOVSSET};
use crate::id::RegisterId;
use crate::rules::derive::pmu::stored_before_6_7;
use crate::rules::facts::Facts;
use crate::rules::pmu::PmuControl;
use crate::rules::pmu_bits::{PAIRS, PmuBits, Way};
use crate::rules::release::Release;
use crate::rules::rule::Rule;

/// The first of their series whose names both replace. (Of 6.12 the change did not apply, and 6.12.118, which was run, has it not.)
const FIXED: [Release; 2] = [Release::new(6, 13, 12), Release::new(6, 14, 3)];
/// The first one of its series of which that is not known.
const UNTOLD: Release = Release::new(6, 12, 119);

/// `PMINTENSET`, `PMCNTENSET` and `PMOVSSET` with their clear names: two names of one register, of which a saved set
/// holds both, with one value. Up to 6.6 each write replaces it. From 6.7 on (`set_pmreg`, `get_pmreg`,
/// `arch/arm64/kvm/sys_regs.c`; commit a45f41d754e0) only bits of counters that the VM has are stored and read, and
/// the names set and clear; since 6.15 both replace (commit f2aeb7bbd574). All policies write in the order of ids, so that
/// the clear name is last, but of `PMOVSSET` the set name. [R 5.10, 6.1, 6.12.117, 6.16 to 7.3]
pub(in crate::rules) fn bits(register: RegisterId, own: u64, facts: &Facts<'_>) -> Rule {
    let is_set = PAIRS.iter().any(|(set, _)| *set == register);
    let set_is_last = matches!(register, PMOVSCLR | PMOVSSET);
    let way = |set: bool, replaces: bool| match (replaces, set) {
        (true, _) => Way::Replace,
        (false, true) => Way::Set,
        (false, false) => Way::Clear,
    };
    // A nested VM's own hypervisor may keep counters for itself (MDCR_EL2.HPMN).
    let control = facts.word(PMCR).filter(|_| !facts.config.has("has_el2"));
    let control = control.map(|own| PmuControl::new(own, facts));
    let rule = |replaces| {
        let (alone, paired) = (way(is_set, replaces), way(set_is_last, replaces));
        Rule::PmuBits(PmuBits { own, control, alone, paired })
    };
    let later = replace(facts).map_or_else(|| Rule::AnyOf([rule(false), rule(true)].into(), facts.untold()), rule);
    stored_before_6_7(later, facts)
}

/// Whether both names replace: from 6.15 on (the pull for it), ported back to 6.13.12 and 6.14.3 (lists of the stable series).
fn replace(facts: &Facts<'_>) -> Option<bool> {
    let release = facts.release?;
    if release.is_of_line(UNTOLD) {
        return facts.has_reached(UNTOLD).filter(|reached| !reached);
    }
    facts.has_ported(&FIXED, (6, 15))
}
