//! Sentences: what a judgement means, in words for people.

use crate::acceptor::{Acceptor, Scheme, Target};
use crate::answers::{Answers, ByNibble, ByValue, Code};
use crate::catalog::{self, Kind, name_of};
use crate::errno::Errno;
use crate::host::HostConfig;
use crate::id::RegisterId;
use crate::judgement::{Effect, Evidence, Judgement};
use crate::list::ListFinding;
use crate::rules::Rule;
use crate::rules::aftermath::{Change, Fate};
use crate::set::RegisterSet;
use crate::value::Value;
use crate::vcpu::VcpuConfig;
use crate::verdict::{Finding, is_absent};

/// A finding about a vCPU that the VMM cannot restore at all.
pub(crate) fn impossible_finding(why: &'static str, register: Option<RegisterId>) -> Finding {
    let judgement = Judgement { effect: Effect::Refused(None), evidence: Evidence::Derived };
    Finding {
        register,
        saved: None,
        own: None,
        judgement,
        rule: "KVMFW-VMM",
        offers: String::new(),
        sentence: why.to_owned(),
    }
}

/// A finding about a unit that the releases of a VMM judge differently; `said` tells what each of them does.
pub(crate) fn releases_finding(
    register: Option<RegisterId>,
    rule: &'static str,
    set: &RegisterSet,
    said: &str,
) -> Finding {
    let judgement = Judgement { effect: Effect::Unknown("name the release of the VMM"), evidence: Evidence::None };
    Finding {
        register,
        saved: register.and_then(|register| set.get(register).cloned()),
        own: None,
        judgement,
        rule,
        offers: String::new(),
        sentence: format!("this depends on the release of the VMM, which was not named: {said}"),
    }
}

/// A finding about the vCPU as a whole.
pub(crate) fn vcpu_finding(config: VcpuConfig, judgement: Judgement) -> Finding {
    let sentence = match &judgement.effect {
        Effect::Unknown(needs) => {
            format!("it is not known what this host says to a vCPU made with {config}: {needs}")
        }
        effect => format!("this host cannot make a vCPU with {}{}", config, error_in_brackets(effect)),
    };
    let rule = "KVMFW-VCPU";
    Finding { register: None, saved: None, own: None, judgement, rule, offers: String::new(), sentence }
}

/// A finding about a saved register.
pub(crate) fn register_finding(
    register: RegisterId,
    saved: &Value,
    acceptor: &Acceptor,
    judgement: Judgement,
) -> Finding {
    let name = name_of(register);
    let offers = offers(acceptor, saved);
    let absent = is_absent(acceptor);
    let refusal = match acceptor {
        Acceptor::Kvm(_) | Acceptor::Unwritten(_) | Acceptor::Elsewhere => "KVM refuses it",
        Acceptor::Signed4(_) => "the generic comparison refuses it",
        Acceptor::Equal(_) => "the two differ",
    };
    let unwritten = matches!(acceptor, Acceptor::Unwritten(_));
    let sentence = match &judgement.effect {
        Effect::Dropped(own) if unwritten => {
            let own = own.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
            format!("{name} was saved as {saved}, but this VMM does not restore it; the guest will see {own}")
        }
        Effect::Kept => format!("{name} = {saved} is kept"),
        Effect::Refused(_) if absent => {
            format!("{name} does not exist on this host; {refusal}{}", error_in_brackets(&judgement.effect))
        }
        Effect::Refused(_) => {
            format!(
                "{name} was saved as {saved}, this host takes {offers}; {refusal}{}",
                error_in_brackets(&judgement.effect)
            )
        }
        Effect::Raised(level) => {
            format!("{name} was saved as {saved}; this host takes it, but the guest will see its own level {level}")
        }
        Effect::Dropped(Some(own)) => {
            format!("{name} was saved as {saved}; this host takes it and drops it, the guest will see {own}")
        }
        Effect::Rewritten(Some(own)) => {
            format!("{name} was saved as {saved}; this host takes it but stores {own}")
        }
        Effect::Dropped(None) | Effect::Rewritten(None) => {
            format!("{name} was saved as {saved}; this host takes it but does not keep it as it was")
        }
        Effect::Defaulted(_) => format!("{name} appears with this host's default"),
        Effect::Unknown(needs) => format!("it is not known whether this host takes {name} = {saved}: {needs}"),
    };
    let own = match acceptor {
        Acceptor::Kvm(target) => target.fresh.clone(),
        Acceptor::Equal(own) | Acceptor::Unwritten(own) => own.clone(),
        Acceptor::Signed4(_) | Acceptor::Elsewhere => None,
    };
    let rule = if unwritten { "KVMFW-VMM-UNWRITTEN" } else { rule_id(register, absent) };
    Finding { register: Some(register), saved: Some(saved.clone()), own, judgement, rule, offers, sentence }
}

/// A finding about a register that the host has and the set does not; `seen` is what the guest sees, where known.
pub(crate) fn defaulted_finding(register: RegisterId, seen: Option<Value>, scheme: Scheme) -> Finding {
    let value = seen.as_ref().map_or_else(String::new, |value| format!(" {value}"));
    let sentence = format!("{} was not saved; the guest will see this host's default{value}", name_of(register));
    let effect = if scheme == Scheme::Equal { Effect::Refused(None) } else { Effect::Defaulted(seen.clone()) };
    Finding {
        register: Some(register),
        saved: None,
        offers: seen.as_ref().map_or_else(|| "its default".to_owned(), ToString::to_string),
        own: seen,
        judgement: Judgement { effect, evidence: Evidence::Derived },
        rule: "KVMFW-LIST-EXTRA",
        sentence,
    }
}

/// A finding about the register list.
pub(crate) fn list_finding(finding: ListFinding, set: &RegisterSet, config: HostConfig<'_>, scheme: Scheme) -> Finding {
    let own = |register: RegisterId| config.value(register).cloned();
    let refused = Effect::Refused(None);
    let (register, effect, rule, sentence) = match finding {
        ListFinding::Unsaveable { saved, longest } => {
            let sentence = format!("{saved} registers were saved; this VMM saves at most {longest}");
            (None, refused, "KVMFW-VMM", sentence)
        }
        ListFinding::TooMany { saved, own } => {
            let sentence = format!("{saved} registers were saved, this host lists {own}; QEMU refuses a longer list");
            (None, refused, "KVMFW-QEMU-COUNT", sentence)
        }
        ListFinding::Unexpected(register) => {
            let sentence = format!("{} does not exist on this host; QEMU refuses the list", name_of(register));
            (Some(register), refused, "KVMFW-QEMU-LIST", sentence)
        }
        ListFinding::Lost(register) => {
            let sentence = format!("{} does not exist on this host; QEMU drops it silently", name_of(register));
            (Some(register), Effect::Dropped(None), "KVMFW-QEMU-DROP", sentence)
        }
        ListFinding::Missing(register) => {
            let sentence = format!("{} does not exist on this host", name_of(register));
            (Some(register), Effect::Refused(Some(Errno::ENOENT)), "KVMFW-LIST-MISSING", sentence)
        }
        ListFinding::HiddenOwn(register, errno) => {
            let name = name_of(register);
            let sentence = format!(
                "{name} was not saved and the saved ID registers hide it; QEMU writes it, KVM refuses it ({errno})"
            );
            (Some(register), Effect::Refused(Some(errno)), "KVMFW-HIDDEN", sentence)
        }
        ListFinding::HostOnly(register) => return defaulted_finding(register, own(register), scheme),
        ListFinding::Aftermath(change) => return aftermath_finding(change, set, config, None),
    };
    Finding {
        register,
        saved: register.and_then(|register| set.get(register).cloned()),
        own: register.and_then(own),
        judgement: Judgement { effect, evidence: Evidence::Derived },
        rule,
        offers: register.and_then(own).map_or_else(|| "nothing".to_owned(), |own| own.to_string()),
        sentence,
    }
}

/// A finding about a register that was taken, but does not stay as it was saved; `written` is the one about its write.
pub(crate) fn aftermath_finding(
    change: Change,
    set: &RegisterSet,
    config: HostConfig<'_>,
    written: Option<&Finding>,
) -> Finding {
    let register = change.register;
    let saved = set.get(register).cloned();
    let last = written.and_then(|finding| finding.judgement.effect.reads()).or(saved.as_ref());
    let effect = change.effect(last.and_then(Value::word));
    let name = name_of(register);
    let was = saved.as_ref().map_or_else(|| name.clone(), |value| format!("{name} was saved as {value}"));
    let why = change.why;
    let sentence = match (&effect, effect.reads()) {
        (Effect::Unknown(needs), _) => format!("{was}; it is not known whether it stays: {why}? {needs}"),
        (Effect::Dropped(_), _) => format!("{was} and is taken, but then it is not there any more: {why}"),
        (_, Some(reads)) => format!("{was} and is taken, but then the guest will see {reads}: {why}"),
        (_, None) => format!("{was} and is taken, but then the guest will see another value: {why}"),
    };
    let own = config.value(register).cloned();
    Finding {
        register: Some(register),
        saved,
        offers: own.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string),
        own,
        judgement: Judgement { effect, evidence: change.evidence },
        rule: if change.fate == Fate::Moved { "KVMFW-COUNTER-OFFSET" } else { "KVMFW-FIRST-RUN" },
        sentence,
    }
}

/// Takes the value out of a finding whose saved value is not known.
pub(crate) fn forget_value(finding: &mut Finding) {
    finding.saved = None;
    if let (Some(register), Effect::Raised(_) | Effect::Dropped(_) | Effect::Rewritten(_)) =
        (finding.register, &finding.judgement.effect)
    {
        finding.judgement.effect = Effect::Rewritten(None);
        finding.sentence = format!("this host takes {} but does not keep it as it was saved", name_of(register));
    }
}

fn error_in_brackets(effect: &Effect) -> String {
    effect.errno().map_or_else(String::new, |errno| format!(" ({errno})"))
}

/// The stable id of the rule that speaks about a register.
fn rule_id(register: RegisterId, absent: bool) -> &'static str {
    if absent {
        return "KVMFW-LIST-MISSING";
    }
    match catalog::kind_of(register) {
        Kind::PsciVersion => "KVMFW-PSCI-VERSION",
        Kind::Level if register == catalog::WORKAROUND_1 => "KVMFW-WA1-LEVEL",
        Kind::Level => "KVMFW-WA3-LEVEL",
        Kind::Workaround2 => "KVMFW-WA2-LEVEL",
        Kind::Bitmap(_) => "KVMFW-BITMAP",
        Kind::Identification => "KVMFW-ID-REGISTER",
        Kind::Implementation(_) => "KVMFW-IMPLEMENTATION",
        Kind::CacheType | Kind::CacheLevels | Kind::CacheSize => "KVMFW-CACHE",
        Kind::OsLockStatus => "KVMFW-OS-LOCK",
        Kind::VectorLengths => "KVMFW-SVE-VLS",
        Kind::PmuControl | Kind::PmuMachine | Kind::PmuIncrement | Kind::PmuCounter | Kind::PmuBits => "KVMFW-PMU",
        Kind::Gated(_) => "KVMFW-HIDDEN",
        Kind::ProcessorState => "KVMFW-MODE",
        Kind::General => "KVMFW-AARCH32",
        Kind::SveState => "KVMFW-SVE-STATE",
        Kind::TimerControl => "KVMFW-TIMER",
        Kind::Plain | Kind::Masked | Kind::Unlisted => "KVMFW-REGISTER",
    }
}

/// What a host offers for a register, seen from a saved value.
fn offers(acceptor: &Acceptor, saved: &Value) -> String {
    match acceptor {
        Acceptor::Signed4(Some(own)) => format!("{own} or less in its low 4 bits, signed"),
        Acceptor::Equal(Some(own)) => format!("only {own}"),
        Acceptor::Unwritten(Some(own)) => own.to_string(),
        Acceptor::Signed4(None) | Acceptor::Equal(None) | Acceptor::Unwritten(None) | Acceptor::Elsewhere => {
            "nothing".to_owned()
        }
        Acceptor::Kvm(target) if target.is_absent() => "nothing".to_owned(),
        Acceptor::Kvm(target) => offers_of_target(target, saved),
    }
}

fn offers_of_target(target: &Target, saved: &Value) -> String {
    match &target.rule {
        Rule::Level(0) => "only level 0".to_owned(),
        Rule::Level(level) => format!("levels 0 to {level}"),
        Rule::ProcessorState(modes) => format!("the modes {}", modes.names().join(", ")),
        Rule::OneOf(values) => listed(values.iter().map(|value| Value::Word(*value))),
        Rule::Bits { mask, current: None } => format!("the bits {mask:#x}"),
        Rule::VectorLengths(own) => format!("the vector lengths {own}, or these up to a smaller greatest one"),
        _ => match target.answers.as_deref() {
            Some(Answers::ByValue(answers)) => values(answers),
            Some(Answers::ByNibble(answers)) => nibbles(answers, saved),
            None => target.fresh.as_ref().map_or_else(|| "nothing".to_owned(), |own| format!("{own} of its own")),
        },
    }
}

fn values(answers: &ByValue) -> String {
    let mut taken: Vec<Value> = answers.kept.clone();
    taken.extend(answers.changed.iter().map(|(written, _)| written.clone()));
    taken.sort_unstable();
    match taken.len() {
        0 => "none of the values asked".to_owned(),
        1..=8 => listed(taken.into_iter()),
        more => format!("{more} of the values asked"),
    }
}

fn listed(values: impl Iterator<Item = Value>) -> String {
    let words: Vec<String> = values.map(|value| value.to_string()).collect();
    match words.split_last() {
        Some((last, [])) => format!("only {last}"),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// The nibbles of `saved` that the host refuses, with what it takes there.
fn nibbles(answers: &ByNibble, saved: &Value) -> String {
    let Some(saved) = saved.word() else { return "nothing".to_owned() };
    let mut parts = Vec::new();
    for at in 0..16 {
        let digit = saved >> (4 * at) & 0xf;
        let own = answers.value >> (4 * at) & 0xf;
        if digit == own {
            continue;
        }
        if !matches!(answers.code(at, digit), Code::Refused(_)) {
            continue;
        }
        let taken: Vec<String> = (0..16_u64)
            .filter(|digit| *digit == own || !matches!(answers.code(at, *digit), Code::Refused(_)))
            .map(|digit| format!("{digit:#x}"))
            .collect();
        parts.push(format!("{} in bits {}:{} (saved {digit:#x})", taken.join(", "), 4 * at + 3, 4 * at));
    }
    if parts.is_empty() { format!("{:#x} of its own", answers.value) } else { parts.join(" and ") }
}
