//! Sentences: what a judgement means, in words for people.

mod beside;
mod fields;
mod offers;

pub(crate) use beside::name_consequence;

use fields::{error_in_brackets, field_sentence, refusal, spoken_fields};
pub use offers::number;
use offers::{offers, offers_of_fields};

use crate::acceptor::{Acceptor, Scheme, is_absent};
use crate::catalog::{self, Kind, name_of};
use crate::errno::Errno;
use crate::finding::Finding;
use crate::host::HostConfig;
use crate::id::RegisterId;
use crate::judgement::{Effect, Evidence, Judgement, Outcome, Unit};
use crate::list::ListFinding;
use crate::making::{self, NotMade};
use crate::policy::{Way, is_judged_by_value, is_mostly_kept};
use crate::rule_ids::RuleId;
use crate::rules::NOT_LISTED;
use crate::rules::aftermath::{Change, Fate};
use crate::set::RegisterSet;
use crate::value::Value;
use crate::vcpu::VcpuConfig;
use crate::vmms::VmmRow;

/// A finding that is not about one register.
fn whole_finding(unit: Unit, rule: RuleId, judgement: Judgement, sentence: String) -> Finding {
    let (register, saved, own, fields, offers) = (None, None, None, Vec::new(), String::new());
    Finding { register, saved, own, judgement, unit, rule, fields, offers, sentence }
}

/// A finding about a VM whose rows could not be used.
pub(crate) fn unusable_finding() -> Finding {
    let needs = "rows that can be used";
    let judgement = Judgement { effect: Effect::Unknown(needs), evidence: Evidence::None };
    let sentence = format!("the rows of this VM could not be used, so nothing is known of it: {needs}");
    whole_finding(Unit::List, RuleId::Unusable, judgement, sentence)
}

/// A finding about a unit that is judged differently by each way in which the VM may be restored, of which `one` is the first
/// that speaks.
pub(crate) fn ways_finding(one: &Finding, set: &RegisterSet, each: &[(&Way, Outcome)]) -> Finding {
    const PMU: &str = "pmu_v3";
    let has_pmu = |way: &Way| way.vcpu.has(PMU);
    // The same release with both vCPUs, and it differs: the VMM is not what matters.
    let by_vcpu = each.iter().any(|(way, outcome)| {
        each.iter().any(|(other, said)| way.names == other.names && has_pmu(way) != has_pmu(other) && outcome != said)
    });
    let (rule, needs, on) = if by_vcpu {
        (RuleId::Vcpu, "say whether the vCPU was made with pmu_v3", "whether the VM has a PMU, which was not saved")
    } else {
        (RuleId::VmmRelease, "name the release of the VMM", "the release of the VMM, which was not named")
    };
    let told = |(way, outcome): &(&Way, Outcome)| {
        let vcpu = if !by_vcpu {
            ""
        } else if has_pmu(way) {
            " with a PMU"
        } else {
            " without"
        };
        format!("{}{vcpu} {}", way.names.join(", "), outcome.name())
    };
    let said: Vec<String> = each.iter().map(told).collect();
    let sentence = format!("this depends on {on}: {}; {}", said.join("; "), one.sentence);
    let judgement = Judgement { effect: Effect::Unknown(needs), evidence: Evidence::None };
    let register = one.unit.register();
    let saved = register.and_then(|register| set.get(register).cloned());
    Finding { register, saved, ..whole_finding(one.unit, rule, judgement, sentence) }
}

/// A finding about a VM made like `saved`, for which there is no vCPU.
pub(crate) fn not_made_finding(not_made: &NotMade, saved: VcpuConfig) -> Finding {
    let judgement = not_made.judgement();
    let said = error_in_brackets(&judgement.effect);
    let not_known = |config: VcpuConfig, needs: &str| {
        format!("it is not known what this host says to a vCPU made with {config}: {needs}")
    };
    let (rule, register, sentence) = match *not_made {
        NotMade::VmmNotTold => {
            let sentence = format!(
                "neither the VM nor this host tells its VMM, by which the pair is judged: {}",
                making::VMM_NOT_TOLD
            );
            (RuleId::VmmRelease, None, sentence)
        }
        NotMade::OtherVmm { vm, host } => (
            RuleId::Vmm,
            None,
            format!("the VM is one of {vm}, and this host runs {host}, which reads none of its states"),
        ),
        NotMade::CapabilitiesNotKnown => (RuleId::Vcpu, None, not_known(saved, making::NOT_RECORDED)),
        NotMade::NotAsked(target) => (RuleId::Vcpu, None, not_known(target, making::NOT_ASKED)),
        NotMade::Impossible(why, register) => (RuleId::Vmm, register, why.to_owned()),
        NotMade::NoGic => (RuleId::Vcpu, None, format!("the VM has a GICv3, and this host makes none for VMs{said}")),
        NotMade::Refused(target, ..) => {
            (RuleId::Vcpu, None, format!("this host cannot make a vCPU with {target}{said}"))
        }
    };
    Finding { register, ..whole_finding(Unit::Vcpu, rule, judgement, sentence) }
}

/// The unit of the findings about a saved register: registers that nobody looks at are judged with the list.
fn unit_of(register: RegisterId, absent: bool) -> Unit {
    // Of a register of which most values are kept everywhere, the list tells whether it is there; core registers always are.
    let by_value = is_mostly_kept(register) && (!absent || register.is_core_field());
    if is_judged_by_value(register) || by_value { Unit::Register(register) } else { Unit::List }
}

/// A finding about a saved register.
pub(crate) fn register_finding(
    register: RegisterId,
    saved: &Value,
    acceptor: &Acceptor,
    judgement: Judgement,
) -> Finding {
    let absent = is_absent(acceptor);
    let unwritten = matches!(acceptor, Acceptor::Unwritten(_));
    let own = match acceptor {
        Acceptor::Kvm(target) => target.fresh.clone().filter(|_| target.hidden == 0),
        Acceptor::Equal(own) | Acceptor::Unwritten(own) => own.clone(),
        Acceptor::Signed4(_) | Acceptor::Elsewhere => None,
    };
    let shown = match acceptor {
        Acceptor::Kvm(target) => target.fresh.clone(),
        _ => own.clone(),
    };
    let fields = if absent || unwritten {
        Vec::new()
    } else {
        spoken_fields(register, saved, shown.as_ref(), acceptor, &judgement)
    };
    let sentence = if fields.is_empty() {
        value_sentence(register, saved, acceptor, &judgement.effect)
    } else {
        field_sentence(register, &fields, acceptor, &judgement.effect)
    };
    let offers = match (acceptor, shown.as_ref().and_then(Value::word)) {
        (Acceptor::Kvm(_), Some(own)) if !fields.is_empty() => offers_of_fields(&fields, acceptor, own),
        _ => offers(acceptor),
    };
    let rule = if unwritten && !register.is_surrounding() { RuleId::VmmUnwritten } else { rule_of(register, absent) };
    let (register, saved, unit) = (Some(register), Some(saved.clone()), unit_of(register, absent));
    Finding { register, saved, own, judgement, unit, rule, fields, offers, sentence }
}

/// What happens to a value as a whole.
fn value_sentence(register: RegisterId, saved: &Value, acceptor: &Acceptor, effect: &Effect) -> String {
    let name = name_of(register);
    if let Some(sentence) = beside::refusal_sentence(register, saved, acceptor, effect) {
        return sentence;
    }
    match effect {
        Effect::Dropped(own) if matches!(acceptor, Acceptor::Unwritten(_)) => {
            let own = own.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
            format!("{name} was saved as {saved}, but this VMM does not restore it; the guest will see {own}")
        }
        Effect::Kept => format!("{name} = {saved} is kept"),
        Effect::Refused(_) if is_absent(acceptor) => {
            format!("{name} does not exist on this host; {}{}", refusal(acceptor), error_in_brackets(effect))
        }
        Effect::Refused(_) => {
            let (offers, error) = (offers(acceptor), error_in_brackets(effect));
            format!("{name} was saved as {saved}, this host takes {offers}; {}{error}", refusal(acceptor))
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
            format!("{name} was saved as {saved}; this host takes it, but may not keep it as it was")
        }
        Effect::Defaulted(_) => format!("{name} appears with this host's default"),
        Effect::Unknown(needs) => format!("it is not known whether this host takes {name} = {saved}: {needs}"),
    }
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
        unit: Unit::List,
        rule: RuleId::ListExtra,
        fields: Vec::new(),
        sentence,
    }
}

/// A finding about the register list.
pub(crate) fn list_finding(finding: ListFinding, set: &RegisterSet, config: HostConfig<'_>, scheme: Scheme) -> Finding {
    let own = |register: RegisterId| config.own(register).cloned();
    let refused = Effect::Refused(None);
    let (register, effect, rule, sentence) = match finding {
        ListFinding::Unsaveable { saved, longest } => {
            let sentence = format!("{saved} registers were saved; this VMM saves at most {longest}");
            (None, refused, RuleId::Vmm, sentence)
        }
        ListFinding::TooMany { saved, own } => {
            let sentence = format!("{saved} registers were saved, this host lists {own}; QEMU refuses a longer list");
            (None, refused, RuleId::QemuCount, sentence)
        }
        ListFinding::Unexpected(register) => {
            let sentence = format!("{} does not exist on this host; QEMU refuses the list", name_of(register));
            (Some(register), refused, RuleId::QemuList, sentence)
        }
        ListFinding::Lost(register) => {
            let sentence = format!("{} does not exist on this host; QEMU drops it silently", name_of(register));
            (Some(register), Effect::Dropped(None), RuleId::QemuDrop, sentence)
        }
        ListFinding::Unsure(register) => {
            let sentence = format!("it is not known whether this host lists {}: {NOT_LISTED}", name_of(register));
            (Some(register), Effect::Unknown(NOT_LISTED), RuleId::ListMissing, sentence)
        }
        ListFinding::Missing(register) => {
            let sentence = format!("{} does not exist on this host", name_of(register));
            (Some(register), Effect::Refused(Some(Errno::ENOENT)), RuleId::ListMissing, sentence)
        }
        ListFinding::HiddenOwn(register, errno) => {
            let name = name_of(register);
            let sentence = format!(
                "{name} was not saved and the saved ID registers hide it; QEMU writes it, KVM refuses it ({errno})"
            );
            (Some(register), Effect::Refused(Some(errno)), RuleId::Hidden, sentence)
        }
        ListFinding::HostOnly(register) => return defaulted_finding(register, own(register), scheme),
        ListFinding::Aftermath(change) => return aftermath_finding(change, set, config, None),
    };
    Finding {
        register,
        saved: register.and_then(|register| set.get(register).cloned()),
        own: register.and_then(own),
        judgement: Judgement {
            evidence: if effect.needs().is_some() { Evidence::None } else { Evidence::Derived },
            effect,
        },
        unit: Unit::List,
        rule,
        fields: Vec::new(),
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
    let own = config.own(register).cloned();
    Finding {
        register: Some(register),
        saved,
        offers: own.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string),
        own,
        judgement: Judgement { effect, evidence: change.evidence },
        unit: Unit::List,
        rule: match (change.fate, register) {
            (Fate::Moved, _) => RuleId::CounterOffset,
            (_, catalog::ID_DFR0) => RuleId::IdRegister,
            _ => RuleId::FirstRun,
        },
        fields: Vec::new(),
        sentence,
    }
}

/// Says in a finding that the VMM was read and not measured, where that is so.
pub(crate) fn name_source(finding: &mut Finding, vmm: &VmmRow) {
    if vmm.releases.is_empty() && !vmm.measured {
        finding.sentence = format!("{} ({}: from its sources, not measured)", finding.sentence, vmm.name);
    }
}

/// Takes the value out of a finding whose saved value is not known.
pub(crate) fn forget_value(finding: &mut Finding, vmm: &VmmRow) {
    finding.saved = None;
    if let (Some(register), Effect::Raised(_) | Effect::Dropped(_) | Effect::Rewritten(_)) =
        (finding.register, &finding.judgement.effect)
    {
        finding.judgement.effect = Effect::Rewritten(None);
        finding.sentence = format!("this host takes {} but does not keep it as it was saved", name_of(register));
        name_source(finding, vmm);
    }
}

/// The rule that speaks about a register, or about its absence from a host's list.
pub fn rule_of(register: RegisterId, absent: bool) -> RuleId {
    if absent && !register.is_surrounding() {
        return RuleId::ListMissing;
    }
    match catalog::kind_of(register) {
        Kind::PsciVersion => RuleId::PsciVersion,
        Kind::Level if register == catalog::WORKAROUND_1 => RuleId::Wa1Level,
        Kind::Level => RuleId::Wa3Level,
        Kind::Workaround2 => RuleId::Wa2Level,
        Kind::Bitmap(_) => RuleId::Bitmap,
        Kind::Identification => RuleId::IdRegister,
        Kind::Implementation(_) => RuleId::Implementation,
        Kind::CacheType | Kind::CacheLevels | Kind::CacheSize => RuleId::Cache,
        Kind::OsLockStatus => RuleId::OsLock,
        Kind::VectorLengths => RuleId::SveVls,
        Kind::PmuControl | Kind::PmuMachine | Kind::PmuIncrement | Kind::PmuCounter | Kind::PmuBits => RuleId::Pmu,
        Kind::Gated(_) => RuleId::Hidden,
        Kind::ProcessorState => RuleId::Mode,
        Kind::General => RuleId::Aarch32,
        Kind::SveState => RuleId::SveState,
        Kind::TimerControl => RuleId::Timer,
        Kind::VgicControl
        | Kind::DistributorRevision
        | Kind::DistributorFeatures
        | Kind::ItsRevision
        | Kind::Device => RuleId::Vgic,
        Kind::AddressBits => RuleId::AddressBits,
        Kind::PageSize => RuleId::PageSize,
        Kind::StealTime => RuleId::StealTime,
        Kind::Frequency => RuleId::Clock,
        Kind::Plain | Kind::Masked | Kind::Unlisted => RuleId::Register,
    }
}
