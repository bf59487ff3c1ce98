//! `CLIDR_EL1` and CCSIDR (specification, 3.9).

use super::{Facts, PROBE, Rule, keep_if};
use crate::catalog::CTR;
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::judgement::Effect;
use crate::value::Value;

const IDC: u64 = 1 << 28;
/// Bits of `CLIDR_EL1` above the last cache type: reserved.
const CLIDR_RESERVED: u64 = !0x7fff_ffff_ffff;

const UNKNOWN_RELEASE: &str = "the kernel release of this host is not known; probe this host";
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
pub(super) fn cache_levels(fresh: u64, facts: &Facts<'_>) -> Rule {
    match (are_free(facts), facts.word(CTR)) {
        (Some(false), _) => Rule::Equal(Value::Word(fresh)),
        (Some(true), Some(ctr)) => Rule::CacheLevels { needs_levels: ctr & IDC == 0 },
        (Some(true), None) => Rule::OnlyFresh { own: Value::Word(fresh), needs: NO_CACHE_TYPE },
        (None, _) => Rule::OnlyFresh { own: Value::Word(fresh), needs: UNKNOWN_RELEASE },
    }
}

pub(super) fn judge_cache_levels(value: &Value, needs_levels: bool) -> Effect {
    let taken = value.word().is_some_and(|word| {
        let level = |shift: u32| word >> shift & 7;
        let (inner, coherency, unification) = (level(21), level(24), level(27));
        let idc = coherency == 0 || (inner == 0 && unification == 0);
        word & CLIDR_RESERVED == 0 && !(needs_levels && idc)
    });
    keep_if(taken, Errno::EINVAL)
}

/// Up to 6.2 the host's own value; from 6.3 on any whose line is not shorter than the host's shortest
/// (`set_ccsidr`). The reserved bits are above bit 31, which a 32-bit register cannot have. Sure.
pub(super) fn cache_size(register: RegisterId, fresh: u64, facts: &Facts<'_>) -> Rule {
    match (are_free(facts), facts.word(CTR)) {
        (Some(false), _) => Rule::Equal(Value::Word(fresh)),
        (Some(true), Some(ctr)) => {
            let is_instruction = register.raw() & 1 == 1;
            // CTR counts words of 4 bytes, CCSIDR lines of 16 bytes, both as logarithms.
            let shortest = if is_instruction { ctr & 0xf } else { ctr >> 16 & 0xf };
            Rule::CacheSize { shortest_line: shortest.saturating_sub(2) }
        }
        (Some(true), None) => Rule::OnlyFresh { own: Value::Word(fresh), needs: NO_CACHE_TYPE },
        (None, _) => Rule::OnlyFresh { own: Value::Word(fresh), needs: PROBE },
    }
}

pub(super) fn judge_cache_size(value: &Value, shortest_line: u64) -> Effect {
    keep_if(value.word().is_some_and(|word| word & 7 >= shortest_line && word >> 32 == 0), Errno::EINVAL)
}
