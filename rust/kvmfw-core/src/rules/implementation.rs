//! `MIDR_EL1`, `REVIDR_EL1`, `AIDR_EL1` and `OSLSR_EL1` (specification, 3.9).

use super::terms::{alike, only_bits};
use crate::errno::Errno;
use crate::judgement::Effect;
use crate::value::Value;

const OS_LOCK: u64 = 1 << 1;

pub(super) fn judge_implementation(value: &Value, own: u64, mask: u64, has_run: bool) -> Effect {
    match value.word() {
        Some(word) if word == own => Effect::Kept,
        Some(_) if has_run => Effect::Refused(Some(Errno::EBUSY)),
        Some(word) => Effect::kept_if(word & !mask == 0, Errno::EINVAL),
        None => Effect::Refused(Some(Errno::EINVAL)),
    }
}

/// The same of all values before the first run, as a formula.
pub(super) fn implementation_smt(own: &str, mask: u64) -> String {
    format!("(or (= value {own}) {})", only_bits(mask))
}

/// `OSLSR_EL1` (5.18 and later): only the lock itself may differ (`set_oslsr_el1`). Sure.
pub(super) fn judge_os_lock(value: &Value, own: u64) -> Effect {
    Effect::kept_if(value.word().is_some_and(|word| (word ^ own) & !OS_LOCK == 0), Errno::EINVAL)
}

/// The same of all values, as a formula.
pub(super) fn os_lock_smt(own: &str) -> String {
    alike("value", own, !OS_LOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(errno: Errno) -> Effect {
        Effect::Refused(Some(errno))
    }

    #[test]
    fn another_implementation_needs_the_capability_and_a_vm_that_has_not_run() {
        let judge = |word, has_run| judge_implementation(&Value::Word(word), 0x413f_d0c1, 0xffff_ffff, has_run);
        assert_eq!(judge(0x413f_d0c1, false), Effect::Kept);
        assert_eq!(judge(0x413f_d0c1, true), Effect::Kept);
        assert_eq!(judge(0x413f_d0c2, false), Effect::Kept);
        assert_eq!(judge(0x413f_d0c2, true), refused(Errno::EBUSY));
        assert_eq!(judge(0x1_413f_d0c1, false), refused(Errno::EINVAL));
    }

    #[test]
    fn of_the_os_lock_status_only_the_lock_may_differ() {
        assert_eq!(judge_os_lock(&Value::Word(0xa), 0x8), Effect::Kept);
        assert_eq!(judge_os_lock(&Value::Word(0x8), 0x8), Effect::Kept);
        assert_eq!(judge_os_lock(&Value::Word(0x0), 0x8), refused(Errno::EINVAL));
        assert_eq!(judge_os_lock(&Value::Word(0xc), 0x8), refused(Errno::EINVAL));
    }
}
