//! Splitting: units in which every VM and every host differs.
//!
//! A table of 1 M values and 10 k acceptors is too large, and so is the number of judgements. But most acceptors judge
//! a value digit by digit (recorded nibble answers, masks), or by comparing it with one value. Such a unit becomes a part
//! for each of its 16 hexadecimal digits and a comparison; values of which that is not true (0, all ones, values that
//! some host was asked) are judged one by one, and hosts of which it is not true when they are asked about.

use std::sync::Arc;

use rayon::prelude::*;

use super::digits::{Kinds, Split};
use super::part_row::PartRow;
use super::parts::{Part, Source, key, value};
use crate::acceptor::{Acceptor, Target};
use crate::answers::Answers;
use crate::catalog::Kind;
use crate::fleet::class::HostClass;
use crate::fleet::classes::class_row::ClassRow;
use crate::fleet::classes::hosts::{Hosts, UnitAcceptor};
use crate::fleet::classes::saved::SavedValue;
use crate::fleet::classes::vms::Vms;
use crate::fleet::grid::found;
use crate::fleet::unit::UnitNumber;
use crate::judgement::Outcome;
use crate::policy::is_reduced;
use crate::pool::checkpoint;
use crate::room;
use crate::rules::Rule;
use crate::value::Value;

/// How an acceptor judges values that are not special.
#[derive(Clone, Debug)]
struct Form {
    digits: [[u8; 16]; 16],
    /// A value that gets another outcome than the rest.
    own: Option<(u64, u8)>,
    /// The least outcome of every other value.
    other: u8,
}

/// What is left of a split unit after its digits: a comparison with one value of each host, or the judge itself.
#[derive(Clone, Debug)]
pub(in crate::fleet) struct Rest {
    pub(in crate::fleet) unit: UnitNumber,
    split: Split,
    /// By acceptor number.
    forms: Vec<Compare>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Nothing,
    With { own: u64, same: u8, other: u8 },
    Judge,
}

/// A value that is not among the special ones, of which their part says all.
#[derive(Clone, Copy, Debug)]
pub(in crate::fleet) struct RestValue<'a>(&'a SavedValue);

impl Rest {
    /// The value that a VM class has of the unit, where the rest has something to say of it.
    pub(in crate::fleet) fn value<'a>(&self, vms: &'a Vms, class: ClassRow<'_>) -> Option<RestValue<'a>> {
        value(vms, self.unit, class).filter(|saved| !self.split.is_special(saved)).map(RestValue)
    }

    /// The outcome of the rest of a unit for a value on a host class.
    pub(in crate::fleet) fn judge(&self, hosts: &Hosts, saved: RestValue<'_>, host: HostClass) -> u8 {
        let RestValue(saved) = saved;
        let Some(acceptor) = hosts.acceptor_number(host, saved.config, self.unit) else { return found(None) };
        match (self.forms.get(acceptor as usize), saved.value.word()) {
            (Some(Compare::With { own, same, .. }), Some(word)) if word == *own => *same,
            (Some(Compare::With { other, .. }), _) => *other,
            (Some(Compare::Judge), _) => {
                let acceptor = hosts.acceptors.get(self.unit.at()).and_then(|interner| interner.get(acceptor));
                found(acceptor.map(|acceptor| acceptor.judge_value(saved) as u8))
            }
            (Some(Compare::Nothing), _) => Outcome::Accept as u8,
            (None, _) => found(None),
        }
    }
}

/// The values that a host was asked about one by one.
fn asked_words(acceptor: &UnitAcceptor) -> Vec<u64> {
    match acceptor {
        UnitAcceptor::Register(Acceptor::Kvm(target)) => match target.answers.as_deref() {
            Some(answers @ Answers::ByValue(_)) => answers.asked().filter_map(|(value, _)| value.word()).collect(),
            _ => Vec::new(),
        },
        UnitAcceptor::Either(all) => all.iter().flat_map(asked_words).collect(),
        _ => Vec::new(),
    }
}

/// Takes note of the acceptors that appeared since units were split. `false` where one of these must be split anew: a host
/// was asked about other values, or has something to say where none had before.
pub(in crate::fleet) fn learn(parts: &mut [Part], rests: &mut [Rest], vms: &Vms, hosts: &Hosts) -> bool {
    for at in 0..parts.len() {
        let Some(Part { unit, source: Source::Special(split, known), .. }) = parts.get_mut(at) else { continue };
        let (unit, split, first) = (*unit, split.clone(), *known);
        let (Some(values), Some(acceptors)) = (vms.unit_of(unit), hosts.acceptors.get(unit.at())) else {
            return false;
        };
        *known = acceptors.len();
        let rest = rests.iter_mut().find(|rest| rest.unit == unit);
        let (mut forms, mut compares) = (Vec::new(), Vec::new());
        for acceptor in acceptors.items_from(first) {
            if asked_words(acceptor).iter().any(|word| !split.has_word(*word)) {
                return false;
            }
            let form = form(acceptor, values.gate.is_some());
            compares.push(compare(form.as_ref()));
            forms.push(form);
        }
        if rest.is_none() && compares.iter().any(|compare| *compare != Compare::Nothing) {
            return false;
        }
        if let Some(rest) = rest {
            rest.forms.extend(compares);
        }
        let mut spoken = [false; 16];
        for part in parts.iter_mut().filter(|part| part.unit == unit) {
            if let Source::Digit(_, digit, kinds) = &mut part.source {
                for form in &forms {
                    kinds.add(digit_of(form.as_ref(), *digit));
                }
                spoken.get_mut(*digit as usize).into_iter().for_each(|spoken| *spoken = true);
            }
        }
        let is_silent = |form: &Form| form.digits.iter().zip(spoken).all(|(cells, spoken)| spoken || *cells == [0; 16]);
        if !forms.iter().flatten().all(is_silent) {
            return false;
        }
    }
    true
}

/// The parts of a split unit, and what is left where digits do not say all.
pub(in crate::fleet) fn split(unit: UnitNumber, vms: &Vms, hosts: &Hosts) -> (Vec<Part>, Option<Rest>) {
    let (Some(values), Some(acceptors)) = (vms.unit_of(unit), hosts.acceptors.get(unit.at())) else {
        return (Vec::new(), None);
    };
    room::need(values.values.len() * size_of::<SavedValue>() + acceptors.len() * size_of::<(Form, Compare)>());
    let mut words = vec![0, u64::MAX];
    words.extend(acceptors.items().flat_map(|acceptor| asked_words(acceptor)));
    words.sort_unstable();
    words.dedup();
    let words: Arc<[u64]> = words.into();
    let none = Split::new(&[], Arc::clone(&words));
    let special: Vec<SavedValue> = values.values.items().filter(|value| none.is_special(value)).cloned().collect();
    let split = Split::new(&special, words);
    let forms: Vec<Option<Form>> =
        acceptors.par_items().map(|acceptor| form(acceptor, values.gate.is_some())).collect();
    checkpoint();

    let keys = || HostClass::first(hosts.classes.len()).map(|class| key(hosts, class, unit));
    let mut parts = Vec::new();
    let mut one = Part::empty(unit, Source::Special(split.clone(), acceptors.len()));
    one.set_columns(keys());
    one.push_row(&vec![0; one.columns.len()]);
    for value in &special {
        checkpoint();
        let cells = one.columns.rows().map(|key| {
            let acceptor = key.get(value.config as usize).and_then(|number| acceptors.get(*number));
            found(acceptor.map(|acceptor| acceptor.judge_value(value) as u8))
        });
        let cells: Vec<u8> = cells.collect();
        one.push_row(&cells);
    }
    one.looked_at = values.values.len();
    parts.push(one);
    let digit = |digit: u32| digit_part(unit, digit, &split, &forms, vms.configs.len(), keys());
    let digits: Vec<Part> = (0..16).into_par_iter().map(digit).collect();
    parts.extend(digits.into_iter().filter(|part| !part.is_silent()));
    let forms: Vec<Compare> = forms.iter().map(|form| compare(form.as_ref())).collect();
    let needed = forms.iter().any(|form| *form != Compare::Nothing);
    (parts, needed.then_some(Rest { unit, split, forms }))
}

fn digit_part(
    unit: UnitNumber,
    digit: u32,
    split: &Split,
    forms: &[Option<Form>],
    configs: usize,
    keys: impl Iterator<Item = Vec<u32>>,
) -> Part {
    let mut kinds = Kinds::default();
    for form in forms {
        kinds.add(digit_of(form.as_ref(), digit));
    }
    let mut part = Part::empty(unit, Source::Digit(split.clone(), digit, Kinds::default()));
    part.set_columns(keys.map(|key| kinds.key(&key)));
    for row in (0..PartRow::for_digits(configs)).map(PartRow::at_place) {
        let cells: Vec<u8> = part.columns.rows().map(|key| kinds.cell(key, row)).collect();
        part.push_row(&cells);
    }
    part.source = Source::Digit(split.clone(), digit, kinds);
    part
}

/// What an acceptor says to one digit. Without a form all digits are silent: the rest asks the judge.
fn digit_of(form: Option<&Form>, digit: u32) -> [u8; 16] {
    form.and_then(|form| form.digits.get(digit as usize)).copied().unwrap_or_default()
}

/// What digits leave to compare.
fn compare(form: Option<&Form>) -> Compare {
    match form {
        None => Compare::Judge,
        Some(Form { own: Some((own, same)), other, .. }) if same != other => {
            Compare::With { own: *own, same: *same, other: *other }
        }
        Some(Form { other: 0, .. }) => Compare::Nothing,
        Some(Form { other, .. }) => Compare::With { own: 0, same: *other, other: *other },
    }
}

/// The form of an acceptor; `None` where it has none and must be asked for each value.
fn form(acceptor: &UnitAcceptor, is_gated: bool) -> Option<Form> {
    let acceptor = match acceptor {
        UnitAcceptor::Register(acceptor) => acceptor,
        UnitAcceptor::Silent => return Some(constant(Outcome::Accept)),
        UnitAcceptor::Either(_) | UnitAcceptor::Vcpu(_) | UnitAcceptor::List(_) => return None,
    };
    let form = match acceptor {
        Acceptor::Elsewhere => constant(Outcome::Accept),
        Acceptor::Equal(own) => Form { own: exactly(own.as_ref()), ..constant(Outcome::Refuse) },
        Acceptor::Unwritten(own) => Form { own: exactly(own.as_ref()), ..constant(Outcome::Change) },
        Acceptor::Signed4(_) => {
            let mut form = constant(Outcome::Accept);
            if let Some(digits) = form.digits.first_mut() {
                *digits = std::array::from_fn(|digit| outcome(acceptor, digit as u64));
            }
            form
        }
        Acceptor::Kvm(_) if is_gated => return None,
        Acceptor::Kvm(target) => form_of_target(acceptor, target)?,
    };
    // A form that fails on the host's own value would be a lie elsewhere too.
    let holds = |word: u64| word == 0 || word == u64::MAX || form.judge(word) == outcome(acceptor, word);
    form.own.is_none_or(|(own, _)| holds(own)).then_some(form)
}

fn form_of_target(acceptor: &Acceptor, target: &Target) -> Option<Form> {
    if let Some(Answers::ByNibble(answers)) = target.answers.as_deref() {
        if target.kind == Kind::CacheLevels {
            return None;
        }
        return Some(by_digit(acceptor, answers.value));
    }
    let same = |own: Option<&Value>| own.and_then(Value::word).map(|own| (own, outcome(acceptor, own)));
    if target.fresh.is_none() && target.same.is_some() {
        // An id that is not listed gets the same answer whatever the value; asked values are special.
        return Some(Form { other: outcome(acceptor, UNASKED), ..constant(Outcome::Accept) });
    }
    let own = same(target.fresh.as_ref());
    Some(match &target.rule {
        Rule::Kept => Form { own, ..constant(Outcome::Accept) },
        Rule::Refused(_) => Form { own, ..constant(Outcome::Refuse) },
        Rule::Unknown(_) => Form { own, ..constant(Outcome::Unknown) },
        Rule::OnlyFresh { alike: Some(register), own, .. } if is_reduced(*register, Some(own)) => return None,
        Rule::Equal(_) | Rule::Ignored(_) | Rule::OnlyFresh { .. } => {
            let value = match &target.rule {
                Rule::Equal(own) | Rule::OnlyFresh { own, .. } => own.word()?,
                Rule::Ignored(own) => *own,
                _ => return None,
            };
            if target.fresh.as_ref().and_then(Value::word) != Some(value) {
                return None;
            }
            let other = match &target.rule {
                Rule::Equal(_) => Outcome::Refuse,
                Rule::Ignored(_) => Outcome::Change,
                _ => Outcome::Unknown,
            };
            Form { own, ..constant(other) }
        }
        Rule::Bits { mask, current: None } => {
            let refused = |word: u64| if word & !mask == 0 { 0 } else { Outcome::Refuse as u8 };
            let mut form = Form { own, ..constant(Outcome::Accept) };
            for (at, digits) in form.digits.iter_mut().enumerate() {
                *digits = std::array::from_fn(|digit| refused((digit as u64) << (4 * at)));
            }
            let (own, same) = form.own?;
            if form.judge_digits(own) > same {
                return None;
            }
            form
        }
        _ => return None,
    })
}

/// A value that no probe writes: stands for all that were not asked.
const UNASKED: u64 = 0x5bd1_e995_7b93_a6d1;

/// Asks an acceptor that judges digit by digit what it says to each digit beside the others of `value`.
fn by_digit(acceptor: &Acceptor, value: u64) -> Form {
    let mut form = Form { own: Some((value, outcome(acceptor, value))), ..constant(Outcome::Accept) };
    for (at, digits) in form.digits.iter_mut().enumerate() {
        let shift = 4 * at;
        for (digit, cell) in digits.iter_mut().enumerate() {
            let word = (value & !(15 << shift)) | (digit as u64) << shift;
            // 0 and all ones have answers of their own, which say nothing about their digits.
            *cell = match word {
                _ if word == value => 0,
                0 | u64::MAX => beside(acceptor, value, at, digit),
                _ => outcome(acceptor, word),
            };
        }
    }
    form
}

/// The outcome of a digit that would make the value 0 or all ones, read from the recorded answers.
fn beside(acceptor: &Acceptor, value: u64, at: usize, digit: usize) -> u8 {
    if let Acceptor::Kvm(target) = acceptor
        && let Some(Answers::ByNibble(answers)) = target.answers.as_deref()
    {
        return match answers.code(at, digit as u64) {
            crate::answers::Code::Kept => Outcome::Accept,
            crate::answers::Code::Changed => Outcome::Change,
            crate::answers::Code::Refused(_) => Outcome::Refuse,
        } as u8;
    }
    let shift = 4 * at;
    outcome(acceptor, (value & !(15 << shift)) | (digit as u64) << shift)
}

fn exactly(own: Option<&Value>) -> Option<(u64, u8)> {
    own.and_then(Value::word).map(|own| (own, 0))
}

fn constant(other: Outcome) -> Form {
    Form { digits: [[0; 16]; 16], own: None, other: other as u8 }
}

fn outcome(acceptor: &Acceptor, word: u64) -> u8 {
    acceptor.judge(&Value::Word(word), None).outcome() as u8
}

impl Form {
    fn judge(&self, word: u64) -> u8 {
        if let Some((own, outcome)) = self.own
            && own == word
        {
            return outcome;
        }
        self.judge_digits(word).max(self.other)
    }

    fn judge_digits(&self, word: u64) -> u8 {
        let digits = self.digits.iter().enumerate();
        let cells = digits.map(|(at, digits)| {
            let digit = usize::try_from(word >> (4 * at) & 15).unwrap_or(0);
            digits.get(digit).copied().unwrap_or(0)
        });
        cells.max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
