//! Which rules `CLIDR_EL1` and CCSIDR have (specification, 3.9).

use crate::catalog::CTR;
use crate::id::RegisterId;
use crate::rules::facts::{Facts, PROBE};
use crate::rules::rule::Rule;
use crate::value::Value;

const IDC: u64 = 1 << 28;
const NO_CACHE_TYPE: &str = "this host's CTR_EL0 is not known; capture it";

/// Whether caches are free for the VM (6.3 and later). Such a kernel lists all 14 CCSIDR, whatever caches there
/// are; an older one those that exist, of which no CPU has 14. Without any the release decides.
fn are_free(facts: &Facts<'_>) -> Option<bool> {
    if facts.lists_all_caches() {
        return Some(true);
    }
    let lists_some = (0..14).any(|index| facts.value(RegisterId::ccsidr(index)).is_some());
    if lists_some { Some(false) } else { facts.at_least(6, 3) }
}

/// Up to 6.2 the host's own value; from 6.3 on any that fits the host's `CTR_EL0.IDC` (`set_clidr`,
/// `arch/arm64/kvm/sys_regs.c`). Trees 5.10.13, 6.1.4, 6.1.192 and 6.12.8 to 7.3.4 read. Sure.
pub(in crate::rules) fn cache_levels(fresh: u64, facts: &Facts<'_>) -> Rule {
    match (are_free(facts), facts.word(CTR)) {
        (Some(false), _) => Rule::Equal(Value::Word(fresh)),
        (Some(true), Some(ctr)) => Rule::CacheLevels { needs_levels: ctr & IDC == 0 },
        (Some(true), None) => Rule::only_fresh(Value::Word(fresh), NO_CACHE_TYPE, facts),
        (None, _) => Rule::only_fresh(Value::Word(fresh), facts.untold(), facts),
    }
}

/// Up to 6.2 the host's own value; from 6.3 on any whose line is not shorter than the host's shortest
/// (`set_ccsidr`). The reserved bits are above bit 31, which a 32-bit register cannot have. Sure.
pub(in crate::rules) fn cache_size(register: RegisterId, fresh: u64, facts: &Facts<'_>) -> Rule {
    match (are_free(facts), facts.word(CTR)) {
        (Some(false), _) => Rule::Equal(Value::Word(fresh)),
        (Some(true), Some(ctr)) => {
            let is_instruction = register.raw() & 1 == 1;
            // CTR counts words of 4 bytes, CCSIDR lines of 16 bytes, both as logarithms.
            let shortest = if is_instruction { ctr & 0xf } else { ctr >> 16 & 0xf };
            Rule::CacheSize { shortest_line: shortest.saturating_sub(2) }
        }
        (Some(true), None) => Rule::only_fresh(Value::Word(fresh), NO_CACHE_TYPE, facts),
        (None, _) => Rule::only_fresh(Value::Word(fresh), PROBE, facts),
    }
}
