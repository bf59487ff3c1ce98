//! Which rules ID registers have, `CTR_EL0` among them (specification, 3.2 to 3.8).

use std::sync::Arc;

use crate::catalog::{self, CTR, ID_AA64DFR0, ID_AA64PFR0, ID_DFR0};
use crate::id::RegisterId;
use crate::rules::check::{Check, PERF_MON, PMU_VERSION};
use crate::rules::facts::{Facts, PROBE};
use crate::rules::fields;
use crate::rules::rule::Rule;
use crate::rules::trees::{self, Tree};
use crate::value::Value;

const ID_AFR0: RegisterId = RegisterId::system(3, 0, 0, 1, 3);
const ID_DFR1: RegisterId = RegisterId::system(3, 0, 0, 3, 5);
const CSV3: u32 = 60;
const CSV2: u32 = 56;
const BACKPORTED: &str =
    "this host lists registers like kernels from 6.3 on, but its release is older; probe this host";
const BETWEEN: &str = "known kernels before and after this one differ; probe this host, or capture its writable masks";
const NO_MASKS: &str = "the writable masks of this kernel are not known; capture them, or probe this host";
/// How a kernel decides ID registers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Era {
    /// Up to 6.4: equal but for a few fields.
    Exact,
    /// 6.5 and later, with the masks that decide: field by field.
    Fields(Vec<(Tree, Option<u64>)>),
    /// A vendor's kernel, of whose writable masks nothing is known: equal, or field by field.
    Vendors(Vec<Tree>),
    /// Not known.
    Unknown(&'static str),
}

/// 3.2. What is observed goes before the release: a vendor's kernel that reports writable masks checks fields,
/// however old its release says it is.
fn era(register: RegisterId, facts: &Facts<'_>) -> Era {
    let observed = facts.mask(register);
    let reports = facts.masks.is_some() || facts.reports_masks == Some(true);
    let with = |trees: Vec<Tree>| {
        Era::Fields(trees.into_iter().map(|tree| (tree, observed.or(Some(fields::mask_in(register, tree))))).collect())
    };
    let Some(release) = facts.release else {
        return if reports { with(trees::all()) } else { Era::Unknown(facts.untold()) };
    };
    if trees::is_younger(release) {
        return Era::Unknown(trees::YOUNGER);
    }
    if facts.is_vendors {
        let trees = trees::plausible(facts);
        return match observed {
            Some(_) => Era::Fields(trees.into_iter().map(|tree| (tree, observed)).collect()),
            None => Era::Vendors(trees),
        };
    }
    if release.at_least(6, 12) {
        return with(trees::around(release));
    }
    if release.at_least(6, 7) {
        let trees = trees::around(release).into_iter();
        return Era::Fields(trees.map(|tree| (tree, observed)).collect());
    }
    if reports {
        return with(trees::all());
    }
    if release.at_least(6, 5) {
        // 6.5 and 6.6 write four fields only [M]. The fix of the sign may have been ported back to 6.6.y.
        let tree = if release.at_least(6, 6) { vec![trees::T6_12_8, trees::T6_12_117] } else { vec![trees::T6_12_8] };
        let mask = match register {
            ID_AA64PFR0 => 0xff << CSV2,
            ID_AA64DFR0 => 0xf << PMU_VERSION,
            ID_DFR0 => 0xf << PERF_MON,
            _ => 0,
        };
        return Era::Fields(tree.into_iter().map(|tree| (tree, Some(mask))).collect());
    }
    if facts.lists_all_caches() && !release.at_least(6, 3) {
        return Era::Unknown(BACKPORTED);
    }
    Era::Exact
}

/// The rule of an ID register with this fresh value.
pub(in crate::rules) fn identification(register: RegisterId, fresh: u64, facts: &Facts<'_>) -> Rule {
    let decided = || match era(register, facts) {
        Era::Exact => exact(register, fresh, facts),
        Era::Fields(variants) => by_fields(register, fresh, facts, &variants),
        Era::Vendors(trees) => {
            let variants: Vec<_> = trees.into_iter().map(|tree| (tree, None)).collect();
            let fields = by_fields(register, fresh, facts, &variants);
            // From 6.5 on it is fields, whichever.
            let equal = (facts.at_least(6, 5) != Some(true)).then_some(Rule::Equal(Value::Word(fresh)));
            Rule::AnyOf(std::iter::once(fields).chain(equal).collect(), facts.untold())
        }
        Era::Unknown(needs) => Rule::only_fresh(Value::Word(fresh), needs, facts),
    };
    match ignores_writes(register, facts) {
        Some(true) => Rule::Ignored(fresh),
        Some(false) => decided(),
        // Kernels that do not ignore them are those before 6.1, which want their own value.
        None => Rule::AnyOf([Rule::Ignored(fresh), Rule::Equal(Value::Word(fresh))].into(), facts.untold()),
    }
}

/// `CTR_EL0`: equal up to 6.11, then field by field. Its writable mask tells; without masks the release does.
pub(in crate::rules) fn cache_type(fresh: u64, facts: &Facts<'_>) -> Rule {
    let own = Value::Word(fresh);
    let equal = Rule::Equal(own.clone());
    match (facts.mask(CTR), facts.release) {
        _ if facts.is_vendors => identification(CTR, fresh, facts),
        (Some(0), Some(release)) if !trees::is_younger(release) => equal,
        (Some(_), _) => identification(CTR, fresh, facts),
        (None, Some(release)) if release.at_least(6, 12) => identification(CTR, fresh, facts),
        (None, Some(release)) if facts.reports_masks == Some(true) && !release.at_least(6, 7) => {
            Rule::only_fresh(own, NO_MASKS, facts)
        }
        (None, Some(release)) if facts.lists_all_caches() && !release.at_least(6, 3) => {
            Rule::only_fresh(own, BACKPORTED, facts)
        }
        (None, Some(_)) => equal,
        (None, None) => Rule::only_fresh(own, facts.untold(), facts),
    }
}

/// 3.8: on hosts without AArch32 at EL0 the AArch32 ID registers take anything and drop it, from 6.1 on, whether or not the
/// VM has run; hidden ones are not among them. They read 0, but for the version of a PMU in `ID_DFR0_EL1` and, from 6.18 on,
/// the GIC in `ID_PFR1_EL1`. [R; run on 6.12.117]
fn ignores_writes(register: RegisterId, facts: &Facts<'_>) -> Option<bool> {
    let is_aarch32 = matches!(register.encoding(), [3, 0, 0, 1..=3, _])
        && !matches!(register, ID_AFR0 | ID_DFR1)
        && catalog::lookup(register).is_some();
    match facts.has_aarch32() {
        Some(false) if is_aarch32 && facts.masks.is_none() => facts.at_least(6, 1),
        Some(false) => Some(is_aarch32),
        _ => Some(false),
    }
}

/// Up to 6.4 a value must be the host's own (5.9: all of it), but for:
/// - 5.10 and later, `CSV2`: 0, or 1 where the host is not affected by Spectre v2, which is when a fresh VM reads 1;
/// - 5.11 and later, `CSV3`: the same with Meltdown;
/// - 6.2 to 6.4, `PMUVer` and `PerfMon` [M].
///
/// Up to 6.4 nothing is checked against the VM having run. Trees 5.10.13, 5.10.262, 6.1.4, 6.1.192 read, 5.10 and
/// 6.1 run. Sure, but for 6.2 to 6.4.
fn exact(register: RegisterId, own: u64, facts: &Facts<'_>) -> Rule {
    let since = |major, minor| facts.at_least(major, minor) == Some(true);
    let lowered: &[u32] = match register {
        ID_AA64PFR0 if since(5, 11) => &[CSV2, CSV3],
        ID_AA64PFR0 if since(5, 10) => &[CSV2],
        _ => &[],
    };
    if lowered.iter().any(|shift| own >> shift & 0xf > 1) {
        return Rule::only_fresh(Value::Word(own), PROBE, facts);
    }
    match register {
        ID_AA64DFR0 | ID_DFR0 if since(6, 2) => {
            let (shift, least) = if register == ID_AA64DFR0 { (PMU_VERSION, 1) } else { (PERF_MON, 3) };
            Rule::PmuVersion { own, shift, least, has_pmu: facts.config.has("pmu_v3") }
        }
        _ if lowered.is_empty() => Rule::Equal(Value::Word(own)),
        _ => Rule::Lowered { own, fields: lowered },
    }
}

fn by_fields(register: RegisterId, limit: u64, facts: &Facts<'_>, variants: &[(Tree, Option<u64>)]) -> Rule {
    let mut rules: Vec<Rule> = Vec::new();
    let mut needs = BETWEEN;
    for (tree, mask) in variants {
        let masks = mask.map_or_else(
            || {
                needs = NO_MASKS;
                vec![0, fields::fields_of(register).iter().fold(0, |bits, field| bits | field.mask())]
            },
            |mask| vec![mask],
        );
        for mask in masks {
            let rule = Rule::Fields(Arc::new(Check::new(register, limit, mask, *tree, facts)));
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    match (rules.pop(), rules.is_empty()) {
        (Some(only), true) => only,
        (Some(last), false) => {
            rules.push(last);
            Rule::AnyOf(rules.into(), needs)
        }
        (None, _) => Rule::only_fresh(Value::Word(limit), BETWEEN, facts),
    }
}

#[cfg(test)]
mod tests;
