//! Verdicts: one pair, with every finding.

use std::fmt;

use crate::acceptor::{Acceptor, Scheme};
use crate::answers::State;
use crate::catalog::{self, Kind};
use crate::explain;
use crate::host::{Choice, Host, HostConfig};
use crate::id::RegisterId;
use crate::judgement::{Effect, Evidence, Judgement, Outcome};
use crate::policy::{Policy, saved_field};
use crate::set::RegisterSet;
use crate::value::Value;

/// How to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// How the VMM restores.
    pub policy: Policy,
    /// Who judges.
    pub scheme: Scheme,
    /// What the target vCPU has done before: `Fresh` for a restore.
    pub state: State,
    /// Leave recorded answers out and judge by rules alone: what a host without a probe would get.
    pub derive_only: bool,
}

impl Default for Question {
    fn default() -> Self {
        Self { policy: Policy::default(), scheme: Scheme::default(), state: State::Fresh, derive_only: false }
    }
}

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
    /// The stable id of the rule that speaks.
    pub rule: &'static str,
    /// What the host offers for this register.
    pub offers: String,
    /// One plain sentence.
    pub sentence: String,
}

/// The outcome of one pair, and everything that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The greatest outcome of the findings; `Accept` where there are none.
    pub outcome: Outcome,
    /// Every unit that does not simply accept, in write order.
    pub findings: Vec<Finding>,
}

impl Verdict {
    fn new(findings: Vec<Finding>) -> Self {
        let outcome = findings.iter().map(|finding| finding.judgement.outcome()).max().unwrap_or(Outcome::Accept);
        Self { outcome, findings }
    }
}

/// Judges one pair: whether `host` takes the registers of `set`, with every finding.
pub fn validate(set: &RegisterSet, host: &Host, question: Question) -> Verdict {
    let config = match host.choose(set.vcpu) {
        Choice::Made(config) => config,
        Choice::Refused(errno, evidence) => {
            let judgement = Judgement { effect: Effect::Refused(Some(errno)), evidence };
            return Verdict::new(vec![explain::vcpu_finding(set, judgement)]);
        }
        Choice::NotAsked => {
            let effect = Effect::Unknown("probe this host with this vCPU configuration");
            return Verdict::new(vec![explain::vcpu_finding(set, Judgement { effect, evidence: Evidence::None })]);
        }
    };
    let mut writes: Vec<&(RegisterId, Value)> = set.registers().iter().collect();
    writes.sort_by_key(|(register, _)| question.policy.write_order(*register));
    let mut findings = Vec::new();
    for (register, value) in writes {
        let acceptor = config.acceptor(*register, question.scheme, question.state, question.derive_only);
        let context = question.policy.context(catalog::kind_of(*register), set);
        let judgement = acceptor.judge(value, context);
        if judgement.outcome() != Outcome::Accept {
            findings.push(explain::register_finding(*register, value, &acceptor, judgement));
        }
    }
    findings.extend(
        host_only(set, config).map(|(register, own)| explain::defaulted_finding(register, own, question.scheme)),
    );
    Verdict::new(findings)
}

/// Registers that the host has and the set does not, as far as the guest will see them.
pub(crate) fn host_only<'a>(
    set: &'a RegisterSet,
    config: HostConfig<'a>,
) -> impl Iterator<Item = (RegisterId, &'a Value)> {
    config.registers().iter().filter(|(register, _)| set.get(*register).is_none()).filter_map(move |(register, own)| {
        let hidden = match catalog::kind_of(*register) {
            Kind::Gated(gate) => {
                let acceptor = config.acceptor(*register, Scheme::Kvm, State::Fresh, true);
                acceptor.judge(own, saved_field(gate, set)).outcome() == Outcome::Refuse
            }
            _ => false,
        };
        (!hidden).then_some((*register, own))
    })
}

/// What registers of the host that the set lacks mean under a scheme.
pub(crate) fn host_only_effect(own: &Value, scheme: Scheme) -> Effect {
    match scheme {
        Scheme::Kvm | Scheme::Signed4 => Effect::Defaulted(Some(own.clone())),
        Scheme::Equal => Effect::Refused(None),
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.judgement.outcome().name(), self.sentence)
    }
}

/// Whether the host lists the register that this acceptor judges.
pub(crate) fn is_absent(acceptor: &Acceptor) -> bool {
    match acceptor {
        Acceptor::Kvm(target) => target.is_absent(),
        Acceptor::Signed4(own) => own.is_none(),
        Acceptor::Equal(own) => own.is_none(),
    }
}
