//! The fields that a judgement is about, and sentences about them.

use super::offers::number;
use crate::acceptor::Acceptor;
use crate::catalog::{self, Kind};
use crate::id::RegisterId;
use crate::judgement::{Effect, Judgement};
use crate::rules::{FieldDifference, field_differences};
use crate::value::Value;

/// The bits of the host's own value that are not known.
const fn hidden(acceptor: &Acceptor) -> u64 {
    if let Acceptor::Kvm(target) = acceptor { target.hidden } else { 0 }
}

/// The fields of an identification register that a judgement is about: those that get it alone, beside the host's own
/// other fields, since KVM checks fields one by one; all that differ where none does.
pub(super) fn spoken_fields(
    register: RegisterId,
    saved: &Value,
    own: Option<&Value>,
    acceptor: &Acceptor,
    judgement: &Judgement,
) -> Vec<FieldDifference> {
    let has_fields = matches!(catalog::kind_of(register), Kind::Identification | Kind::CacheType);
    let (Some(saved), Some(own)) = (saved.word(), own.and_then(Value::word)) else { return Vec::new() };
    if !has_fields && register != catalog::MIDR {
        return Vec::new();
    }
    match &judgement.effect {
        Effect::Kept | Effect::Raised(_) | Effect::Defaulted(_) => Vec::new(),
        Effect::Dropped(read) | Effect::Rewritten(read) => {
            let read = read.as_ref().and_then(Value::word);
            read.map_or_else(Vec::new, |read| field_differences(register, saved, read))
        }
        Effect::Refused(_) | Effect::Unknown(_) => {
            // What is not known may differ.
            let hidden = hidden(acceptor);
            let all = field_differences(register, saved, (own & !hidden) | (!saved & hidden));
            let speaks = |field: &&FieldDifference| {
                let word = Value::Word(own & !field.mask() | saved & field.mask());
                acceptor.judge(&word, None).outcome() == judgement.outcome()
            };
            let alone: Vec<FieldDifference> = all.iter().filter(speaks).cloned().collect();
            match (alone.is_empty(), &judgement.effect) {
                (false, _) => alone,
                (_, Effect::Unknown(_)) => all,
                _ => field_differences(register, saved, (own & !hidden) | (saved & hidden)),
            }
        }
    }
}

/// The same of a register whose fields have names, as people call them: `ID_AA64ISAR0_EL1.RNDR`.
pub(super) fn field_sentence(
    register: RegisterId,
    fields: &[FieldDifference],
    acceptor: &Acceptor,
    effect: &Effect,
) -> String {
    let each = |words: &dyn Fn(String, String, String) -> String, between: &str| {
        let words = |field: &FieldDifference| words(field.place(register), number(field.saved), number(field.own));
        fields.iter().map(words).collect::<Vec<String>>().join(between)
    };
    match effect {
        Effect::Unknown(needs) => {
            let hidden = hidden(acceptor);
            let words = |field: &FieldDifference| {
                let (place, saved) = (field.place(register), number(field.saved));
                match field.mask() & hidden {
                    0 => format!("{place} = {saved} where it offers {}", number(field.own)),
                    _ => format!("{place} = {saved} where what it offers is not known"),
                }
            };
            let fields = fields.iter().map(words).collect::<Vec<String>>().join(", ");
            format!("it is not known whether this host takes {fields}: {needs}")
        }
        Effect::Refused(_) => {
            let fields = each(&|place, saved, own| format!("{place}: saved {saved}, this host offers {own}"), "; ");
            format!("{fields}; {}{}", refusal(acceptor), error_in_brackets(effect))
        }
        _ => {
            let fields =
                each(&|place, saved, reads| format!("{place}: saved {saved}, the guest will see {reads}"), "; ");
            format!("{fields}; this host takes it but does not keep it")
        }
    }
}

pub(super) fn refusal(acceptor: &Acceptor) -> &'static str {
    match acceptor {
        Acceptor::Kvm(target) if target.kind == Kind::PageSize => "QEMU refuses it",
        Acceptor::Kvm(_) | Acceptor::Unwritten(_) | Acceptor::Elsewhere => "KVM refuses it",
        Acceptor::Signed4(_) => "the generic comparison refuses it",
        Acceptor::Equal(_) => "the two differ",
    }
}

pub(super) fn error_in_brackets(effect: &Effect) -> String {
    effect.errno().map_or_else(String::new, |errno| format!(" ({errno})"))
}
