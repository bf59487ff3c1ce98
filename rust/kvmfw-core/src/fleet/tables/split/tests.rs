use super::*;
use crate::answers::{ByNibble, Code, Codes};
use crate::catalog::kind_of;
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::judgement::Evidence;

const REGISTER: u64 = 0x6030_0000_0013_c030;
const OWN: u64 = 0x1_2210;

fn kvm(rule: Rule, fresh: Option<u64>, answers: Option<Answers>) -> UnitAcceptor {
    UnitAcceptor::Register(Acceptor::Kvm(Box::new(Target {
        kind: kind_of(RegisterId::new(REGISTER)),
        fresh: fresh.map(Value::Word),
        hidden: 0,
        answers: answers.map(Arc::new),
        same: None,
        evidence: Evidence::Derived,
        rule,
        fresh_context: None,
        before_id_registers: false,
    })))
}

/// A value, its neighbours by one digit and by two, and others.
fn words(own: u64) -> Vec<u64> {
    let near = (0..16).flat_map(|at| (0..16_u64).map(move |digit| (own & !(15 << (4 * at))) | digit << (4 * at)));
    let mut words: Vec<u64> = near.flat_map(|word| [word, word ^ 0x300, word ^ 1 << 16, word | 1 << 63]).collect();
    words.extend([1, 2, 3, 0x10, 0x13, OWN + 1, UNASKED, u64::MAX - 1]);
    words.retain(|word| *word != 0 && *word != u64::MAX);
    words
}

/// Whether an acceptor is judged digit by digit; then its form says of every word what it says itself.
fn is_split(acceptor: &UnitAcceptor) -> bool {
    let UnitAcceptor::Register(judge) = acceptor else { return form(acceptor, false).is_some() };
    let made = form(acceptor, false);
    if let Some(form) = &made {
        for word in [OWN, 0x20, !0x50].into_iter().flat_map(words) {
            assert_eq!(form.judge(word), outcome(judge, word), "{word:#x} of {acceptor:?}");
        }
    }
    made.is_some()
}

#[test]
fn rules_of_one_value_and_of_bits_are_judged_digit_by_digit() {
    let own = Some(OWN);
    for (rule, fresh, wanted) in [
        (Rule::Kept, own, true),
        (Rule::Kept, None, true),
        (Rule::Refused(Errno::EINVAL), own, true),
        (Rule::Unknown("nobody asked"), own, true),
        (Rule::Equal(Value::Word(OWN)), own, true),
        (Rule::Equal(Value::Word(OWN)), Some(OWN + 1), false),
        (Rule::Ignored(OWN), own, true),
        (Rule::Ignored(OWN), Some(1), false),
        (Rule::Bits { mask: OWN, current: None }, own, true),
        (Rule::Bits { mask: u64::MAX, current: None }, own, true),
        (Rule::Bits { mask: OWN, current: Some(OWN) }, own, false),
        (Rule::Bits { mask: OWN, current: None }, None, false),
        (Rule::Level(2), Some(2), false),
    ] {
        let acceptor = kvm(rule, fresh, None);
        assert_eq!(is_split(&acceptor), wanted, "{acceptor:?}");
        assert!(form(&acceptor, true).is_none(), "behind a gate the rule of the gate speaks");
    }
}

#[test]
fn what_does_not_ask_kvm_is_judged_digit_by_digit() {
    for own in [Some(Value::Word(OWN)), None] {
        for acceptor in [Acceptor::Equal(own.clone()), Acceptor::Unwritten(own), Acceptor::Elsewhere] {
            assert!(is_split(&UnitAcceptor::Register(acceptor)));
        }
    }
    assert!([Some(2), Some(-1), None].into_iter().all(|own| is_split(&UnitAcceptor::Register(Acceptor::Signed4(own)))));
    assert!(is_split(&UnitAcceptor::Silent));
    assert!(!is_split(&UnitAcceptor::Either(Vec::new())));
}

#[test]
fn recorded_digits_are_judged_digit_by_digit() {
    let codes = Codes::new(std::array::from_fn(|digit| match digit {
        0..=2 | 14 => Code::Kept,
        3..=8 => Code::Changed,
        _ => Code::Refused(Errno::EINVAL),
    }));
    // Without its only digit a value is 0, and with another one all ones, which have answers of their own.
    for (value, same) in [(OWN, Code::Kept), (OWN, Code::Changed), (0x20, Code::Kept), (!0x50, Code::Kept)] {
        let answers = ByNibble {
            value,
            nibbles: std::array::from_fn(|at| (at % 3 == 1).then_some(codes)),
            same,
            other: Code::Refused(Errno::EINVAL),
            zero: Code::Kept,
            ones: Code::Kept,
            changed: Vec::new(),
        };
        assert!(is_split(&kvm(Rule::Kept, Some(value), Some(Answers::ByNibble(Box::new(answers))))));
    }
}
