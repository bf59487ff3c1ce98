use super::*;

fn nibbles() -> ByNibble {
    let mut nibbles = [None; 16];
    let codes = |code: fn(usize) -> Code| Some(Codes::new(std::array::from_fn(code)));
    nibbles[0] = codes(|digit| if digit <= 2 { Code::Kept } else { Code::Refused(Errno::EINVAL) });
    nibbles[1] = codes(|digit| if digit == 15 { Code::Changed } else { Code::Kept });
    ByNibble {
        value: 0x302,
        nibbles,
        same: Code::Kept,
        other: Code::Refused(Errno::EBUSY),
        zero: Code::Refused(Errno::EINVAL),
        ones: Code::Refused(Errno::EINVAL),
        changed: vec![(0x3f2, 0x302)],
    }
}

#[test]
fn every_code_keeps_its_place() {
    let mut all = vec![Code::Kept, Code::Changed];
    all.extend(Errno::ALL.iter().map(|errno| Code::Refused(*errno)));
    for first in 0..all.len() {
        let codes: [Code; 16] = std::array::from_fn(|digit| all[(first + digit) % all.len()]);
        let packed = Codes::new(codes);
        assert!((0..).zip(codes).all(|(digit, code)| packed.get(digit) == code && packed.get(digit + 16) == code));
    }
}

#[test]
fn nibbles_are_answered_one_by_one_and_together() {
    let answers = nibbles();
    assert_eq!(answers.answer(0x302, false), Some(Answer::Kept));
    assert_eq!(answers.answer(0x301, false), Some(Answer::Kept));
    assert_eq!(answers.answer(0x303, false), Some(Answer::Refused(Errno::EINVAL)));
    assert_eq!(answers.answer(0x311, false), Some(Answer::Kept));
    assert_eq!(answers.answer(0x3f2, false), Some(Answer::Changed(Some(Value::Word(0x302)))));
    assert_eq!(answers.answer(0x3f1, false), Some(Answer::Changed(Some(Value::Word(0x301)))));
    assert_eq!(answers.answer(0x402, false), Some(Answer::Refused(Errno::EBUSY)));
    assert_eq!(answers.answer(0x403, false), Some(Answer::Refused(Errno::EINVAL)));
    assert_eq!(answers.answer(0x311, true), None);
    assert_eq!(answers.answer(0x301, true), Some(Answer::Kept));
}

#[test]
fn every_value_that_was_asked_comes_once() {
    let asked: Vec<_> = nibbles().asked().collect();
    // 0x302 itself, all ones, and 15 others of each of 16 nibbles; none of these is 0, so 0 comes on top.
    assert_eq!(asked.len(), 1 + 2 + 16 * 15);
    let mut values: Vec<_> = asked.iter().map(|(value, _)| value.clone()).collect();
    values.sort();
    values.dedup();
    assert_eq!(values.len(), asked.len());
    assert!(asked.iter().all(|(value, answer)| nibbles().answer(value.word().unwrap(), true).as_ref() == Some(answer)));
    let sweep: Arc<[Value]> = [0, 1, 2, 3].map(Value::Word).into();
    let answers = Answers::ByValue(ByValue {
        kept: vec![Value::Word(2)],
        changed: vec![(Value::Word(0), Value::Word(2))],
        refused: vec![(Value::Word(9), Errno::EBUSY)],
        otherwise: Some((sweep, Errno::EINVAL)),
    });
    let mut asked: Vec<_> = answers.asked().collect();
    asked.sort_by(|a, b| a.0.cmp(&b.0));
    let refused = |value, errno| (Value::Word(value), Answer::Refused(errno));
    assert_eq!(
        asked,
        [
            (Value::Word(0), Answer::Changed(Some(Value::Word(2)))),
            refused(1, Errno::EINVAL),
            (Value::Word(2), Answer::Kept),
            refused(3, Errno::EINVAL),
            refused(9, Errno::EBUSY),
        ]
    );
}

#[test]
fn values_that_were_not_asked_have_no_answer() {
    let sweep: Arc<[Value]> = [0, 1, 2, 3].map(Value::Word).into();
    let answers = ByValue {
        kept: vec![Value::Word(2)],
        changed: vec![(Value::Word(0), Value::Word(2))],
        refused: vec![],
        otherwise: Some((sweep, Errno::EINVAL)),
    };
    assert_eq!(answers.answer(&Value::Word(2)), Some(Answer::Kept));
    assert_eq!(answers.answer(&Value::Word(0)), Some(Answer::Changed(Some(Value::Word(2)))));
    assert_eq!(answers.answer(&Value::Word(3)), Some(Answer::Refused(Errno::EINVAL)));
    assert_eq!(answers.answer(&Value::Word(4)), None);
}

#[test]
fn letters_are_those_of_the_format() {
    use Errno::{E2BIG, EACCES, EBUSY, EFAULT, EINVAL, ENOENT, ENXIO, EOPNOTSUPP, EOTHER, EPERM};
    assert_eq!(b".!".map(Code::from_letter), [Some(Code::Kept), Some(Code::Changed)]);
    let errors = [EINVAL, ENOENT, EBUSY, EPERM, ENXIO, E2BIG, EACCES, EFAULT, EOPNOTSUPP, EOTHER];
    assert_eq!(b"inbpxBafo?".map(Code::from_letter), errors.map(|errno| Some(Code::Refused(errno))));
    assert_eq!(b"zI ".map(Code::from_letter), [None; 3]);
}

#[test]
fn zero_and_ones_that_are_neighbours_come_once() {
    for value in [0x1, u64::MAX ^ 0x10] {
        let asked: Vec<_> = ByNibble { value, ..nibbles() }.asked().map(|(value, _)| value).collect();
        for word in [0, u64::MAX] {
            assert_eq!(asked.iter().filter(|value| **value == Value::Word(word)).count(), 1, "{value:#x}");
        }
    }
}

#[test]
fn zero_and_ones_read_back_as_they_were_recorded() {
    let answers = ByNibble {
        zero: Code::Changed,
        ones: Code::Changed,
        changed: vec![(0, 0x5), (0x3f2, 0x302), (u64::MAX, 0x7)],
        ..nibbles()
    };
    assert_eq!(answers.answer(0, false), Some(Answer::Changed(Some(Value::Word(0x5)))));
    assert_eq!(answers.answer(u64::MAX, false), Some(Answer::Changed(Some(Value::Word(0x7)))));
}

#[test]
fn a_value_reads_back_nibble_by_nibble_where_it_differs() {
    let mut answers = ByNibble { value: 0x5302, changed: vec![(0x5402, 0x5102)], ..nibbles() };
    let codes = |changed: usize| {
        Some(Codes::new(std::array::from_fn(|digit| if digit == changed { Code::Changed } else { Code::Kept })))
    };
    // The own digit of nibble 3 did not read back either, but what it read was not recorded.
    (answers.nibbles[2], answers.nibbles[3]) = (codes(4), codes(5));
    assert_eq!(answers.answer(0x5401, false), Some(Answer::Changed(Some(Value::Word(0x5101)))));
    assert_eq!(answers.answer(0x5501, false), Some(Answer::Kept));
}
