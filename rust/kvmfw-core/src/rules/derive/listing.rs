//! Registers that an ID field shows or hides (specification, section 4), and those that are not there.

use crate::catalog::{self, Gate, Kind};
use crate::errno::Errno;
use crate::id::{Group, RegisterId};
use crate::rules::derive::{plain, state};
use crate::rules::facts::Facts;
use crate::rules::rule::Rule;

const NO_FIELD: &str = "the ID register that shows or hides this one is not known; capture it";

/// 3.1: while the VM's own ID field is too small the register is hidden. TCR2, PIR and PIRE0 were unconditional
/// before 6.13 (commits 0fcb4eea5345, a68cddbe47ef), the `FEAT_FGT` registers in 6.16, which still lists
/// `ICH_HCR_EL2` (both changed in one series, "Condition FGT registers on feature availability"); a host that lists a
/// register although its own field is too small shows that it does not hide it.
pub(in crate::rules) fn gated(register: RegisterId, gate: Gate, facts: &Facts<'_>) -> Rule {
    let shown = plain::stored(register, facts);
    let Some(fresh) = facts.gate(gate) else { return Rule::Unknown(NO_FIELD) };
    let hides = if fresh < gate.least { Some(false) } else { hides(gate, facts) };
    let gated = || Rule::Gated { fresh, least: gate.least, errno: Errno::ENOENT, shown: Box::new(shown.clone()) };
    match hides {
        Some(true) => gated(),
        Some(false) => shown,
        None => Rule::AnyOf(vec![shown.clone(), gated()].into(), facts.untold()),
    }
}

/// Whether the kernel hides registers from VMs whose field is too small; `None` where that is not known.
pub(crate) fn hides(gate: Gate, facts: &Facts<'_>) -> Option<bool> {
    match gate {
        catalog::FGT => Some(facts.value(catalog::ICH_HCR_EL2).is_none()),
        _ if gate.field == "TCRX" || gate.field == "S1PIE" => facts.at_least(6, 13),
        _ => facts.at_least(6, 12),
    }
}

/// A register that the vCPU does not list: unknown to this kernel, or hidden from this vCPU (1.3, 3.1, 4).
///
/// What the dispatch of `kvm_arm_set_reg` answers (`arch/arm64/kvm/guest.c`), the same in 5.10 to 7.3: sure. Kernels
/// before 5.3 answer EINVAL for firmware registers that they do not know (1.3).
pub(in crate::rules) fn absent(register: RegisterId, facts: &Facts<'_>) -> Rule {
    // Public dumps leave some core registers out of their lists; that does not make them missing (4).
    if register.is_core_field() && !(register.size() == 16 && facts.config.has("sve")) {
        return match catalog::kind_of(register) {
            Kind::ProcessorState => state::processor_state(facts),
            Kind::General => state::general(register, 0, facts),
            _ => Rule::Kept,
        };
    }
    Rule::Refused(match register.group() {
        _ if !register.is_arm64() => Errno::EINVAL,
        Group::Core if register.is_inside_core() => Errno::EINVAL,
        Group::Sve if !register.is_sve() => Errno::EINVAL,
        Group::Firmware | Group::FirmwareBitmap if facts.release.is_some_and(|own| !own.at_least(5, 3)) => {
            Errno::EINVAL
        }
        _ => Errno::ENOENT,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judgement::Effect;
    use crate::rules::{Release, derive};
    use crate::value::Value;

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
        assert!([None, Some(0)].into_iter().all(|context| judge("custom", 1, context).needs().is_some()));
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
