//! Which rules firmware pseudo-registers have (specification, section 1).

use crate::catalog;
use crate::rules::facts::{Facts, PROBE};
use crate::rules::firmware::Workaround2;
use crate::rules::psci;
use crate::rules::rule::Rule;
use crate::rules::trees;
use crate::value::Value;

pub(in crate::rules) const NEW_BIT: &str =
    "this kernel may have service bits that kvmfw does not know; probe this host";

/// 1.4: `kvm_arm_set_fw_reg`, `KVM_REG_ARM_PSCI_VERSION`. The fresh value is the newest version that the
/// kernel knows, or 0x1 for a vCPU without the feature, so the release is not needed.
pub(in crate::rules) fn psci_version(facts: &Facts<'_>) -> Rule {
    match facts.word(catalog::PSCI_VERSION) {
        Some(psci::WITHOUT) if !facts.config.has("psci_0_2") => Rule::OneOf(&[psci::WITHOUT]),
        Some(newest) => psci::taken(newest).map_or(Rule::Unknown(PROBE), Rule::OneOf),
        None => Rule::Unknown(PROBE),
    }
}

/// 1.6. From 6.12 the level of a mitigated host depends on the VM's own SSBS field (commit e8d164974cfa).
pub(in crate::rules) fn workaround_2(facts: &Facts<'_>) -> Rule {
    let Some(level) = facts.word(catalog::WORKAROUND_2) else {
        return Rule::Unknown(PROBE);
    };
    match facts.at_least(5, 10) {
        Some(true) => {}
        Some(false) => return Rule::Workaround2Flag(level & 0xf),
        None => return Rule::Unknown(facts.untold()),
    }
    if level != 0 && level != 3 {
        return Rule::Unknown(PROBE);
    }
    if facts.hidden_bits(catalog::ID_AA64PFR1) & 0xf << catalog::SSBS.shift != 0 {
        return Rule::Unknown(PROBE);
    }
    let ssbs = facts.gate(catalog::SSBS);
    // The field became writable together with the dependency (commit 78c4446b5f95).
    let ssbs_mask = 0xf << catalog::SSBS.shift;
    let depends = match (facts.mask(catalog::ID_AA64PFR1), facts.at_least(6, 12)) {
        (Some(mask), _) if mask & ssbs_mask == 0 => Some(false),
        // A vendor may have ported back that the field is writable, and not what it decides.
        (Some(_), has) => has.filter(|has| *has),
        (None, has) => has,
    };
    let raised_without_ssbs = match (level, ssbs) {
        (3, _) | (_, Some(0)) => Some(false),
        // The host shows SSBS and level 0: either mitigated by SSBS, or vulnerable (`ssbd=force-off`), and then
        // the level stays 0 whatever the VM sees. Only sysfs tells which.
        (_, Some(_)) if depends == Some(true) => facts.spec_store_bypass_mitigated,
        (_, Some(_)) if depends.is_none() && facts.spec_store_bypass_mitigated != Some(false) => None,
        _ => Some(false),
    };
    Rule::Workaround2(Workaround2 { level, raised_without_ssbs })
}

/// 1.7: the mask comes first, then the check that the VM has not run. A newer kernel may widen a mask, so
/// bits above the fresh value and the known mask are not trusted to be refused.
pub(in crate::rules) fn bitmap(mask: u64, fresh: &Value, facts: &Facts<'_>) -> Rule {
    let Some(fresh) = fresh.word() else { return Rule::Unknown(PROBE) };
    let bits = |mask| Rule::Bits { mask, current: facts.has_run().then_some(fresh) };
    if fresh & !mask != 0 || facts.is_vendors || facts.release.is_some_and(trees::is_younger) {
        return Rule::AnyOf(vec![bits(mask), bits(u64::MAX)].into(), NEW_BIT);
    }
    bits(mask)
}
