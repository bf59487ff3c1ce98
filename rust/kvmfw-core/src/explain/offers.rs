//! What a host offers instead of a value, in words for people.

use crate::acceptor::{Acceptor, Target};
use crate::answers::{Answers, ByValue};
use crate::judgement::Outcome;
use crate::rules::{FieldDifference, Rule};
use crate::value::Value;

/// A number of a field, as people write it: hexadecimal from 10 on.
pub fn number(number: u64) -> String {
    if number < 10 { number.to_string() } else { format!("{number:#x}") }
}

/// What a host offers for a register.
pub(super) fn offers(acceptor: &Acceptor) -> String {
    match acceptor {
        Acceptor::Signed4(Some(own)) => format!("{own} or less in its low 4 bits, signed"),
        Acceptor::Equal(Some(own)) => format!("only {own}"),
        Acceptor::Unwritten(Some(own)) => own.to_string(),
        Acceptor::Signed4(None) | Acceptor::Equal(None) | Acceptor::Unwritten(None) | Acceptor::Elsewhere => {
            "nothing".to_owned()
        }
        Acceptor::Kvm(target) if target.is_absent() => "nothing".to_owned(),
        Acceptor::Kvm(target) => offers_of_target(target),
    }
}

fn offers_of_target(target: &Target) -> String {
    match &target.rule {
        Rule::Level(0) => "only level 0".to_owned(),
        Rule::Level(level) => format!("levels 0 to {level}"),
        Rule::ProcessorState(modes) => format!("the modes {}", modes.names().join(", ")),
        Rule::OneOf(values) => listed(values.iter().map(|value| Value::Word(*value).to_string())),
        Rule::Bits { mask, current: None } => format!("the bits {mask:#x}"),
        Rule::VectorLengths(own) => format!("the vector lengths {own}, or these up to a smaller greatest one"),
        _ => match target.answers.as_deref() {
            Some(Answers::ByValue(answers)) => values(answers),
            Some(Answers::ByNibble(_)) | None => {
                let own = |own: &Value| match target.hidden {
                    0 => format!("{own} of its own"),
                    hidden => format!("{own} of its own, in which the bits {hidden:#x} are not known"),
                };
                target.fresh.as_ref().map_or_else(|| "nothing".to_owned(), own)
            }
        },
    }
}

fn values(answers: &ByValue) -> String {
    let mut taken: Vec<Value> = answers.kept.clone();
    taken.extend(answers.changed.iter().map(|(written, _)| written.clone()));
    taken.sort_unstable();
    match taken.len() {
        0 => "none of the values asked".to_owned(),
        1..=8 => listed(taken.iter().map(ToString::to_string)),
        more => format!("{more} of the values asked"),
    }
}

fn listed(words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.collect();
    match words.split_last() {
        Some((last, [])) => format!("only {last}"),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// What the host takes in each of these fields, beside its own other fields; of wide fields its own number.
pub(super) fn offers_of_fields(fields: &[FieldDifference], acceptor: &Acceptor, own: u64) -> String {
    let taken = |field: &FieldDifference| {
        let numbers = 0..=field.mask() >> field.low;
        let is_taken = |number: &u64| {
            let word = Value::Word(own & !field.mask() | number << field.low);
            acceptor.judge(&word, None).outcome() < Outcome::Unknown
        };
        let words = match field.high - field.low {
            0..4 => listed(numbers.filter(is_taken).map(number)),
            _ => listed(std::iter::once(number(own >> field.low & field.mask() >> field.low))),
        };
        format!("{words} in {}", field.words())
    };
    fields.iter().map(taken).collect::<Vec<String>>().join(" and ")
}
