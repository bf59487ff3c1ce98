//! SVE vector lengths, registers that an ID field shows or hides (specification, section 4), and those not there.

use crate::errno::Errno;
use crate::judgement::Effect;
use crate::value::Value;

/// 4: at least one length, and for every length up to the greatest one asked for, exactly what the host has.
pub(super) fn judge_vector_lengths(value: &Value, available: &Value) -> Effect {
    let greatest = (0..512).rev().find(|bit| value.bit(*bit));
    let same = |greatest: usize| (0..=greatest).all(|bit| value.bit(bit) == available.bit(bit));
    match greatest {
        Some(greatest) if same(greatest) => Effect::Kept,
        _ => Effect::Refused(Some(Errno::EINVAL)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;
    use crate::id::RegisterId;
    use crate::rules::{Facts, Release, derive};

    fn lengths(text: &str) -> Value {
        Value::parse(text, RegisterId::SVE_VLS).unwrap()
    }

    #[test]
    fn vector_lengths_are_the_hosts_up_to_the_greatest() {
        let host = lengths("0xb");
        assert_eq!(judge_vector_lengths(&lengths("0xb"), &host), Effect::Kept);
        assert_eq!(judge_vector_lengths(&lengths("0x3"), &host), Effect::Kept);
        assert_eq!(judge_vector_lengths(&lengths("0x1"), &host), Effect::Kept);
        for refused in ["0x0", "0x2", "0x7", "0xf", "0x9", "0x10b", "0x1000000000000000000b"] {
            assert_eq!(
                judge_vector_lengths(&lengths(refused), &host),
                Effect::Refused(Some(Errno::EINVAL)),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_gated_register_is_there_while_the_vm_has_the_field() {
        const TCR2: RegisterId = RegisterId::system(3, 0, 2, 0, 3);
        let judge = |release, field: u64, context| {
            let registers = [(crate::catalog::ID_AA64MMFR3, Value::Word(field)), (TCR2, Value::Word(0))];
            let facts = Facts { release: Release::parse(release), registers: &registers, ..Facts::default() };
            derive(TCR2, &facts).judge(&Value::Word(5), context)
        };
        let hidden = Effect::Refused(Some(Errno::ENOENT));
        assert_eq!(judge("6.18.15", 1, None), Effect::Kept);
        assert_eq!(judge("6.18.15", 1, Some(1)), Effect::Kept);
        assert_eq!(judge("6.18.15", 1, Some(0)), hidden);
        // Listed although the field is 0: this kernel does not hide it.
        assert_eq!(judge("6.18.15", 0, Some(0)), Effect::Kept);
        assert_eq!(judge("6.12.117", 1, Some(0)), Effect::Kept);
        assert_eq!(judge("custom", 1, None), Effect::Kept);
        assert!(matches!(judge("custom", 1, Some(0)), Effect::Unknown(_)));
        let registers = [(TCR2, Value::Word(0))];
        let facts = Facts { release: Release::parse("6.18.15"), registers: &registers, ..Facts::default() };
        assert!(matches!(derive(TCR2, &facts).judge(&Value::Word(5), None), Effect::Unknown(_)));
    }

    #[test]
    fn gates_have_a_least_value() {
        const NESTED: u32 = 1 << 7;
        let judge = |id: RegisterId, fresh: u64, context, more: &[RegisterId]| {
            let mut registers = vec![(catalog::ID_AA64MMFR0, Value::Word(fresh << 56)), (id, Value::Word(0))];
            registers.extend(more.iter().map(|id| (*id, Value::Word(0))));
            registers.sort();
            let config = crate::vcpu::VcpuConfig { features: NESTED, ..Default::default() };
            let facts = Facts { release: Release::parse("7.3.4"), registers: &registers, config, ..Facts::default() };
            derive(id, &facts).judge(&Value::Word(5), context)
        };
        let hidden = Effect::Refused(Some(Errno::ENOENT));
        let (trap, trap2) = (RegisterId::system(3, 4, 1, 1, 4), RegisterId::system(3, 4, 3, 1, 2));
        assert_eq!(
            [2, 1, 0].map(|field| judge(trap, 2, Some(field), &[])),
            [Effect::Kept, Effect::Kept, hidden.clone()]
        );
        assert_eq!([2, 1, 0].map(|field| judge(trap2, 2, Some(field), &[])), [Effect::Kept, hidden.clone(), hidden]);
        // 6.16 lists these and the vGIC's registers whatever the field says.
        assert_eq!(judge(trap, 1, Some(0), &[catalog::ICH_HCR_EL2]), Effect::Kept);
        assert_eq!(judge(trap2, 1, Some(0), &[]), Effect::Kept, "listed although its own field is too small");
    }

    #[test]
    fn permission_overlay_was_gated_earlier() {
        let por = RegisterId::system(3, 0, 10, 2, 4);
        let registers = [(crate::catalog::ID_AA64MMFR3, Value::Word(0x1_0000)), (por, Value::Word(0))];
        let facts = Facts { release: Release::parse("6.12.8"), registers: &registers, ..Facts::default() };
        let judge = |context| derive(por, &facts).judge(&Value::Word(5), context);
        assert_eq!(judge(Some(1)), Effect::Kept);
        assert_eq!(judge(Some(0)), Effect::Refused(Some(Errno::ENOENT)));
    }
}
