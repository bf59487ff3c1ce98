//! Which rules `MIDR_EL1`, `REVIDR_EL1` and `AIDR_EL1` have (specification, 3.9).

use crate::rules::facts::Facts;
use crate::rules::rule::Rule;
use crate::value::Value;

/// The host's own value; from 6.15 on any other too, if `KVM_CAP_ARM_WRITABLE_IMP_ID_REGS` was enabled on the VM and
/// it has not run (`set_imp_id_reg`, trees 6.17.8 to 7.3.4 read, 6.16.12 to 7.3.4 run). Older kernels refuse to
/// enable it, so the VM's capability tells and the release is not needed. Sure.
pub(in crate::rules) fn implementation(fresh: u64, mask: u64, facts: &Facts<'_>) -> Rule {
    if facts.config.is_enabled("writable_imp_id_regs") {
        Rule::Implementation { own: fresh, mask, has_run: facts.has_run() }
    } else {
        Rule::Equal(Value::Word(fresh))
    }
}
