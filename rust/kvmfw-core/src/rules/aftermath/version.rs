//! The PMU version of a VM, which two registers show: up to 6.4 they were one number (specification, 3.2).

use super::change::{Change, Fate, Mask, find};
use super::does::Does;
use crate::catalog::{self, ID_AA64DFR0, ID_DFR0};
use crate::id::RegisterId;
use crate::judgement::Evidence;
use crate::rules::facts::Facts;

/// `ID_DFR0_EL1.PerfMon`.
const PERF_MON: u64 = 0xf << 24;
const WHY: &str = "this kernel keeps one PMU version, and ID_AA64DFR0_EL1, which is written later, says another";
const UNKNOWN: &str =
    "kernels of 6.2 to 6.4 keep one PMU version for both registers, others two; of this one it is not known";

/// The bits of a register that decide.
pub(super) fn bits(register: RegisterId) -> u64 {
    if register == ID_DFR0 { PERF_MON } else { 0 }
}

/// Whether a kernel keeps one number for both (`dfr0_pmuver` in `arch/arm64/kvm/sys_regs.c`; the series for 6.2 and the one that took it
/// out again in 6.5 read). Without AArch32 `ID_DFR0_EL1` is not written.
pub(super) fn is_one(facts: &Facts<'_>) -> Does {
    let has_it = facts.release.is_some_and(|release| release.at_least(6, 2) && !release.at_least(6, 5));
    match facts.has_aarch32() {
        Some(true) if has_it && facts.is_vendors => Does::Unknown(UNKNOWN),
        Some(true) if has_it => Does::Yes(Evidence::Derived),
        None if has_it => Does::Unknown(UNKNOWN),
        _ => Does::No,
    }
}

/// What `ID_DFR0_EL1` reads once both were written, where that is not what was saved.
pub(super) fn change(saved: &[(RegisterId, u64)], is_one: Does) -> Option<Change> {
    let (shown, version) = (find(saved, ID_DFR0)?, find(saved, ID_AA64DFR0)?);
    let version = match version >> catalog::PMU_VERSION.shift & 0xf {
        1 => 3,
        other => other,
    };
    let ones = version << PERF_MON.trailing_zeros();
    let (fate, evidence) = match is_one {
        _ if shown & PERF_MON == ones => return None,
        Does::No => return None,
        Does::Yes(evidence) => (Fate::Bits(Mask { zeros: PERF_MON, ones }), evidence),
        Does::NotToOwn(needs) | Does::Unknown(needs) => (Fate::Unknown(needs), Evidence::None),
    };
    Some(Change { register: ID_DFR0, fate, evidence, why: WHY })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::ID_AA64PFR0;
    use crate::rules::release::Release;
    use crate::value::Value;

    #[test]
    fn kernels_of_6_2_to_6_4_keep_one_version_where_vms_have_aarch32() {
        let yes = Does::Yes(Evidence::Derived);
        for (release, is_vendors, el0, expected) in [
            ("6.1.192", false, Some(2), Does::No),
            ("6.2.1", false, Some(2), yes),
            ("6.4.9", false, Some(2), yes),
            ("6.5.0", false, Some(2), Does::No),
            ("6.4.9", true, Some(2), Does::Unknown(UNKNOWN)),
            ("6.1.192", true, Some(2), Does::No),
            ("6.4.9", false, Some(1), Does::No),
            ("6.4.9", false, None, Does::Unknown(UNKNOWN)),
            ("6.1.192", false, None, Does::No),
        ] {
            let registers: Vec<_> = el0.map(|el0| (ID_AA64PFR0, Value::Word(el0))).into_iter().collect();
            let release_of = Release::parse(release);
            let facts = Facts { release: release_of, is_vendors, registers: &registers, ..Facts::default() };
            assert_eq!(is_one(&facts), expected, "{release}, EL0 {el0:?}");
        }
    }
}
