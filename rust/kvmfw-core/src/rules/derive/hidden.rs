//! What is left of a rule where bits of the fresh value are not known.

use std::sync::Arc;

use crate::rules::hidden::NOT_KNOWN;
use crate::rules::rule::Rule;
use crate::value::Value;

/// The levels that there are (specification, 1.5).
const LEVELS: [u64; 3] = [0, 1, 2];

/// The rule `told` of a fresh value in which these bits, which are 0 there, are not known.
pub(in crate::rules) fn unless_known(told: Rule, bits: u64) -> Rule {
    if bits == 0 {
        return told;
    }
    match told {
        Rule::Equal(Value::Word(own)) => Rule::Partly { own, bits },
        // Their fields take other numbers too: of these nothing is said.
        Rule::Lowered { own, fields } => {
            let free = fields.iter().fold(0, |all, shift| all | 0xf_u64 << shift);
            Rule::Partly { own, bits: bits | free }
        }
        Rule::PmuVersion { own, shift, .. } => Rule::Partly { own, bits: bits | 0xf << shift },
        Rule::Level(_) => Rule::AnyOf(LEVELS.map(Rule::Level).into(), NOT_KNOWN),
        Rule::Fields(check) => Rule::Fields(Arc::new(check.without(bits))),
        Rule::AnyOf(rules, needs) => {
            Rule::AnyOf(rules.iter().cloned().map(|rule| unless_known(rule, bits)).collect(), needs)
        }
        // What these say does not depend on the fresh value.
        Rule::Kept
        | Rule::Masked(_)
        | Rule::Gated { .. }
        | Rule::Refused(_)
        | Rule::Narrowed(_)
        | Rule::CacheLevels { .. }
        | Rule::CacheSize { .. }
        | Rule::PmuCounter(_)
        | Rule::PmuBits(_)
        | Rule::ProcessorState(_) => told,
        _ => Rule::Unknown(NOT_KNOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Hidden;
    use crate::catalog::{ID_AA64DFR0, ID_AA64MMFR3, ID_AA64PFR1, WORKAROUND_2, WORKAROUND_3};
    use crate::id::RegisterId;
    use crate::judgement::{Effect, Outcome};
    use crate::rules::hidden::NOT_LISTED;
    use crate::rules::{Facts, Release, derive};

    const ID_AA64ISAR0: RegisterId = RegisterId::system(3, 0, 0, 6, 0);

    fn judge(release: &str, register: RegisterId, own: u64, bits: u64, word: u64) -> Effect {
        let registers = [(register, Value::Word(own))];
        let hidden = Hidden { bits: vec![(register, bits)], ..Hidden::default() };
        let release = Release::parse(release);
        let facts = Facts { release, registers: &registers, hidden: Some(&hidden), ..Facts::default() };
        derive(register, &facts).judge(&Value::Word(word), None)
    }

    fn outcomes(release: &str, register: RegisterId, own: u64, bits: u64, words: &[u64]) -> Vec<Outcome> {
        words.iter().map(|word| judge(release, register, own, bits, *word).outcome()).collect()
    }

    #[test]
    fn a_field_that_is_not_known_takes_what_every_limit_takes() {
        use Outcome::{Accept, Refuse, Unknown};
        // ID_AA64ISAR0_EL1.DP is not known, RNDR is 1.
        let (own, bits) = (1 << 60, 0xf << 44);
        let words = [1 << 60, 0, 1 << 60 | 1 << 44, 2 << 60, 2 << 60 | 1 << 44];
        assert_eq!(outcomes("6.12.117", ID_AA64ISAR0, own, bits, &words), [Accept, Accept, Unknown, Refuse, Refuse]);
        // Up to 6.4 a value is the host's own or none.
        assert_eq!(outcomes("6.1.192", ID_AA64ISAR0, own, bits, &words), [Unknown, Refuse, Unknown, Refuse, Refuse]);
    }

    #[test]
    fn the_least_number_of_a_field_is_taken_and_what_is_below_it() {
        use Outcome::{Accept, Refuse, Unknown};
        // DebugVer is 6 or more; below 6 is EINVAL.
        assert_eq!(outcomes("6.12.117", ID_AA64DFR0, 6, 0xf, &[6, 7, 5]), [Accept, Unknown, Refuse]);
        // PMUVer is 4 or more: where it is signed 8 and more are below 0.
        assert_eq!(outcomes("6.12.117", ID_AA64DFR0, 0x406, 0xf00, &[0x406, 0x506, 0x006]), [Accept, Unknown, Accept]);
        assert_eq!(outcomes("6.16.12", ID_AA64DFR0, 0x406, 0xf00, &[0x406]), [Unknown]);
    }

    #[test]
    fn fixed_bits_that_are_not_known_decide() {
        // ID_AA64MMFR3_EL1 bits 63:20 are not writable.
        assert_eq!(judge("6.12.117", ID_AA64MMFR3, 0, 0xf << 28, 0), Effect::Unknown(NOT_KNOWN));
        assert_eq!(judge("6.12.117", ID_AA64MMFR3, 0, 0xf << 28, 2 << 24).outcome(), Outcome::Refuse);
        assert_eq!(judge("6.16.12", ID_AA64PFR1, 0x20, 0xf << 24, 0x20), Effect::Unknown(NOT_KNOWN));
    }

    #[test]
    fn what_the_hardware_has_in_a_hidden_field_is_taken() {
        const ID_AA64MMFR2: RegisterId = RegisterId::system(3, 0, 0, 7, 2);
        let registers = [(ID_AA64MMFR2, Value::Word(0))];
        let judge = |hardware: Vec<(RegisterId, u64)>, word: u64| {
            let hidden = Hidden { hardware, ..Hidden::default() };
            let release = Release::parse("6.18.15");
            let facts = Facts { release, registers: &registers, hidden: Some(&hidden), ..Facts::default() };
            derive(ID_AA64MMFR2, &facts).judge(&Value::Word(word), None).outcome()
        };
        let known = || vec![(ID_AA64MMFR2, 2 << 24)];
        assert_eq!(judge(known(), 2 << 24), Outcome::Change);
        assert_eq!(judge(known(), 1 << 24), Outcome::Refuse);
        assert_eq!(judge(Vec::new(), 2 << 24), Outcome::Unknown);
    }

    #[test]
    fn levels_that_are_not_known_refuse_what_no_level_takes() {
        use Outcome::{Refuse, Unknown};
        assert_eq!(outcomes("6.12.117", WORKAROUND_3, 0, 3, &[0, 1, 2, 3]), [Unknown, Unknown, Unknown, Refuse]);
        assert_eq!(outcomes("6.12.117", WORKAROUND_2, 0, 3, &[0]), [Unknown]);
    }

    #[test]
    fn a_field_that_takes_other_numbers_too_is_free_beside_what_is_not_known() {
        let partly = |bits| Rule::Partly { own: 1, bits };
        let lowered = || Rule::Lowered { own: 1, fields: &[56, 60] };
        assert_eq!(unless_known(lowered(), 0xf << 48), partly(0xff0f << 48));
        assert_eq!(unless_known(lowered(), 0xf << 56), partly(0xff << 56));
        let version = || Rule::PmuVersion { own: 1, shift: 8, least: 1, has_pmu: true };
        assert_eq!(unless_known(version(), 0xf << 16), partly(0xf0f << 8));
        assert_eq!(unless_known(version(), 0xf << 8), partly(0xf << 8));
    }

    #[test]
    fn each_of_several_rules_is_cut_and_state_is_not() {
        let several = Rule::AnyOf([Rule::Kept, Rule::Equal(Value::Word(1))].into(), "ask");
        let cut = Rule::AnyOf([Rule::Kept, Rule::Partly { own: 1, bits: 2 }].into(), "ask");
        assert_eq!(unless_known(several, 2), cut);
        assert_eq!(unless_known(Rule::Ignored(1), 2), Rule::Unknown(NOT_KNOWN));
    }

    #[test]
    fn a_register_that_may_be_listed_is_not_known() {
        let hidden = Hidden { listed: vec![WORKAROUND_3], ..Hidden::default() };
        let facts = Facts { hidden: Some(&hidden), ..Facts::default() };
        assert_eq!(derive(WORKAROUND_3, &facts), Rule::Unknown(NOT_LISTED));
    }
}
