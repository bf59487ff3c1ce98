//! `CLIDR_EL1` and CCSIDR (specification, 3.9).

use super::terms::{all_of, bits, hex, only_bits};
use crate::errno::Errno;
use crate::judgement::Effect;
use crate::value::Value;

/// Bits of `CLIDR_EL1` up to the last cache type; those above are reserved.
const CLIDR_BITS: u64 = 0x7fff_ffff_ffff;
/// The lowest bits of `LoUIS`, `LoC` and `LoUU` of `CLIDR_EL1`, which have 3 bits each.
const INNER: u32 = 21;
const COHERENCY: u32 = 24;
const UNIFICATION: u32 = 27;
/// The size of a line in CCSIDR.
const LINE: u64 = 7;

pub(super) fn judge_cache_levels(value: &Value, needs_levels: bool) -> Effect {
    let taken = value.word().is_some_and(|word| {
        let level = |shift: u32| word >> shift & 7;
        let (inner, coherency, unification) = (level(INNER), level(COHERENCY), level(UNIFICATION));
        let idc = coherency == 0 || (inner == 0 && unification == 0);
        word & !CLIDR_BITS == 0 && !(needs_levels && idc)
    });
    Effect::kept_if(taken, Errno::EINVAL)
}

pub(super) fn judge_cache_size(value: &Value, shortest_line: u64) -> Effect {
    Effect::kept_if(value.word().is_some_and(|word| word & LINE >= shortest_line && word >> 32 == 0), Errno::EINVAL)
}

/// The same of all values, as a formula.
pub(super) fn cache_levels_smt(needs_levels: bool) -> String {
    let none = |shift: u32| format!("(= {} {})", bits("value", 7 << shift), hex(0));
    let idc = format!("(or {} (and {} {}))", none(COHERENCY), none(INNER), none(UNIFICATION));
    all_of([only_bits(CLIDR_BITS)].into_iter().chain(needs_levels.then(|| format!("(not {idc})"))))
}

/// The same of all values, as a formula.
pub(super) fn cache_size_smt(shortest_line: u64) -> String {
    all_of([format!("(bvule {} {})", hex(shortest_line), bits("value", LINE)), only_bits(u64::from(u32::MAX))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{CLIDR, CTR};
    use crate::id::RegisterId;
    use crate::rules::{Facts, Release, derive};

    const DATA_1: RegisterId = RegisterId::ccsidr(0);

    fn judge(release: &str, registers: &[(RegisterId, u64)], register: RegisterId, word: u64) -> Effect {
        let mut registers: Vec<_> = registers.iter().map(|(id, word)| (*id, Value::Word(*word))).collect();
        registers.sort();
        let facts = Facts { release: Release::parse(release), registers: &registers, ..Facts::default() };
        derive(register, &facts).judge(&Value::Word(word), None)
    }

    fn all_caches(more: &[(RegisterId, u64)]) -> Vec<(RegisterId, u64)> {
        (0..14).map(|index| (RegisterId::ccsidr(index), 0)).chain(more.iter().copied()).collect()
    }

    fn refused() -> Effect {
        Effect::Refused(Some(Errno::EINVAL))
    }

    #[test]
    fn kernels_that_list_existing_caches_only_want_equal_ones() {
        let old = [(DATA_1, 0x700f_e01a), (CLIDR, 0x0a20_0023), (CTR, 0x8444_c004)];
        assert_eq!(judge("6.1.0", &old, DATA_1, 0x700f_e01a), Effect::Kept);
        assert_eq!(judge("6.1.0", &old, DATA_1, 0x700f_e019), refused());
        assert_eq!(judge("6.1.0", &old, CLIDR, 0x0a20_0023), Effect::Kept);
        assert_eq!(judge("6.1.0", &old, CLIDR, 0x0920_0023), refused());
    }

    #[test]
    fn free_caches_keep_to_the_line_of_the_host() {
        let host = all_caches(&[(CTR, 0x0003_c005)]);
        // 3: 8 words of data, 32 bytes, CCSIDR line 1; 5: 32 words of instructions, CCSIDR line 3.
        assert_eq!(judge("6.12.8", &host, DATA_1, 0x1), Effect::Kept);
        assert_eq!(judge("6.12.8", &host, DATA_1, 0x0), refused());
        assert_eq!(judge("6.12.8", &host, RegisterId::ccsidr(1), 0x3), Effect::Kept);
        assert_eq!(judge("6.12.8", &host, RegisterId::ccsidr(1), 0x2), refused());
        assert!(matches!(judge("6.12.8", &all_caches(&[]), DATA_1, 0x1), Effect::Unknown(_)));
    }

    #[test]
    fn free_cache_levels_fit_the_hosts_maintenance() {
        let levels = |idc: u64, word| judge("6.12.8", &all_caches(&[(CLIDR, 0x23), (CTR, idc << 28)]), CLIDR, word);
        assert_eq!(levels(0, 0x0920_0023), Effect::Kept);
        assert_eq!(levels(0, 0x0100_0023), refused());
        assert_eq!(levels(0, 0x0900_0023), Effect::Kept);
        assert_eq!(levels(0, 0x0120_0023), Effect::Kept);
        assert_eq!(levels(0, 0x0820_0023), refused());
        assert_eq!(levels(1, 0x0100_0023), Effect::Kept);
        assert_eq!(levels(1, 0x8000_0000_0000), refused());
    }

    #[test]
    fn without_a_list_of_caches_the_release_decides() {
        let host = [(CLIDR, 0x0a20_0023), (CTR, 1 << 28)];
        assert_eq!(judge("6.9.1", &host, CLIDR, 0), Effect::Kept);
        assert_eq!(judge("6.1.0", &host, CLIDR, 0), refused());
        assert!(matches!(judge("custom", &host, CLIDR, 0), Effect::Unknown(_)));
        assert_eq!(judge("custom", &host, CLIDR, 0x0a20_0023), Effect::Kept);
    }
}
