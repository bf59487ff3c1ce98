//! `MIDR_EL1`, `REVIDR_EL1`, `AIDR_EL1` and `OSLSR_EL1` (specification, 3.9).

use super::{Facts, Rule, keep_if};
use crate::errno::Errno;
use crate::judgement::Effect;
use crate::value::Value;

const OS_LOCK: u64 = 1 << 1;

/// The host's own value; from 6.15 on any other too, if `KVM_CAP_ARM_WRITABLE_IMP_ID_REGS` was enabled on the VM and
/// it has not run (`set_imp_id_reg`, trees 6.17.8 to 7.3.4 read, 6.16.12 to 7.3.4 run). Older kernels refuse to
/// enable it, so the VM's capability tells and the release is not needed. Sure.
pub(super) fn implementation(fresh: u64, mask: u64, facts: &Facts<'_>) -> Rule {
    if facts.config.is_enabled("writable_imp_id_regs") {
        Rule::Implementation { own: fresh, mask, has_run: facts.has_run() }
    } else {
        Rule::Equal(Value::Word(fresh))
    }
}

pub(super) fn judge_implementation(value: &Value, own: u64, mask: u64, has_run: bool) -> Effect {
    match value.word() {
        Some(word) if word == own => Effect::Kept,
        Some(_) if has_run => Effect::Refused(Some(Errno::EBUSY)),
        Some(word) => keep_if(word & !mask == 0, Errno::EINVAL),
        None => Effect::Refused(Some(Errno::EINVAL)),
    }
}

/// `OSLSR_EL1` (5.18 and later): only the lock itself may differ (`set_oslsr_el1`). Sure.
pub(super) fn judge_os_lock(value: &Value, own: u64) -> Effect {
    keep_if(value.word().is_some_and(|word| (word ^ own) & !OS_LOCK == 0), Errno::EINVAL)
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
