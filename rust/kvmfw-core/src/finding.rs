//! Findings: what one unit says of a pair.

use crate::id::RegisterId;
use crate::judgement::{Judgement, Unit};
use crate::rule_ids::RuleId;
use crate::rules::FieldDifference;
use crate::value::Value;

/// One unit's part in a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The register; `None` where the whole vCPU is judged.
    pub register: Option<RegisterId>,
    /// What was saved; `None` where the set does not hold the register.
    pub saved: Option<Value>,
    /// What a fresh vCPU of the host has; `None` where it has no such register.
    pub own: Option<Value>,
    /// What happens, and where that is known from.
    pub judgement: Judgement,
    /// The unit that it belongs to.
    pub unit: Unit,
    /// The rule that speaks.
    pub rule: RuleId,
    /// The fields that it speaks about, from the highest bit down; none where it speaks about the value as a whole.
    pub fields: Vec<FieldDifference>,
    /// What the host offers for this register.
    pub offers: String,
    /// One plain sentence.
    pub sentence: String,
}
