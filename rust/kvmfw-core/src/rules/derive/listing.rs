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
    let Some(fresh) = facts.word(gate.register).and_then(|word| gate.of(word)) else { return Rule::Unknown(NO_FIELD) };
    let hides = match gate {
        _ if fresh < gate.least => Some(false),
        catalog::FGT => Some(facts.value(catalog::ICH_HCR_EL2).is_none()),
        // No kernel before 6.16 makes vCPUs with EL2.
        _ if facts.config.has("has_el2") => Some(true),
        _ if gate.field == "TCRX" || gate.field == "S1PIE" => facts.at_least(6, 13),
        _ => facts.at_least(6, 12),
    };
    let gated = || Rule::Gated { fresh, least: gate.least, errno: Errno::ENOENT, shown: Box::new(shown.clone()) };
    match hides {
        Some(true) => gated(),
        Some(false) => shown,
        None => Rule::AnyOf(vec![shown.clone(), gated()].into(), facts.untold()),
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
