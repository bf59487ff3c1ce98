//! Verdicts: one pair, with every finding.

use std::fmt;

use crate::acceptor::{Acceptor, Scheme};
use crate::answers::State;
use crate::catalog;
use crate::explain;
use crate::host::{Choice, Host, HostConfig};
use crate::id::RegisterId;
use crate::judgement::{Effect, Evidence, Judgement, Outcome};
use crate::list::{HostList, ListFinding, SavedList, gates};
use crate::policy::{Policy, context_of, gate_of};
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
    let target = question.policy.target_config(set.vcpu, |capability| host.has_capability(capability));
    if let Some(why) = question.policy.impossible(set.vcpu, target) {
        return Verdict::new(vec![explain::impossible_finding(why)]);
    }
    let config = match host.choose(target) {
        Choice::Made(config) => config,
        Choice::Refused(errno, evidence) => {
            let judgement = Judgement { effect: Effect::Refused(errno), evidence };
            return Verdict::new(vec![explain::vcpu_finding(target, judgement)]);
        }
        Choice::NotAsked => {
            let effect = Effect::Unknown("probe this host with this vCPU configuration");
            return Verdict::new(vec![explain::vcpu_finding(target, Judgement { effect, evidence: Evidence::None })]);
        }
    };
    let refused = refused_gates(set, config, question);
    let list = HostList::new(config, question);
    let (mut findings, mut writes, mut host_only) = (Vec::new(), Vec::new(), Vec::new());
    for finding in list.findings(&SavedList::new(set.registers(), &refused)) {
        match finding {
            // KVM is asked for these, below.
            ListFinding::Missing(_) => {}
            ListFinding::HiddenOwn(register, _) => {
                let hidden = explain::list_finding(finding, set, config, question.scheme);
                writes.push((question.policy.write_order(register), hidden));
            }
            ListFinding::HostOnly(register) => {
                let own = seen_default(register, set, config, question, &refused);
                host_only.push(explain::defaulted_finding(register, own, question.scheme));
            }
            _ => findings.push(explain::list_finding(finding, set, config, question.scheme)),
        }
    }
    for (register, value) in set.registers() {
        let acceptor = question.policy.acceptor(config, *register, question);
        let judgement = acceptor.judge(value, context_of(*register, set, &refused));
        if judgement.outcome() != Outcome::Accept {
            let finding = explain::register_finding(*register, value, &acceptor, judgement);
            writes.push((question.policy.write_order(*register), finding));
        }
    }
    writes.sort_by_key(|(order, _)| *order);
    findings.extend(writes.into_iter().map(|(_, finding)| finding));
    findings.extend(host_only);
    Verdict::new(findings)
}

/// What the guest sees of a register that the set does not hold: the host's default, as the set's ID registers leave it.
fn seen_default(
    register: RegisterId,
    set: &RegisterSet,
    config: HostConfig<'_>,
    question: Question,
    refused: &[RegisterId],
) -> Option<Value> {
    let own = config.value(register)?;
    let context = context_of(register, set, refused);
    if context.is_none() || context == gate_of(register).and_then(|gate| config.field(gate)) {
        return Some(own.clone());
    }
    match config.acceptor(register, Scheme::Kvm, question.state, question.derive_only).judge(own, context).effect {
        Effect::Kept => Some(own.clone()),
        effect => effect.reads().cloned(),
    }
}

/// The saved ID registers that show or hide others and that this host refuses: its own fields stay in place.
fn refused_gates(set: &RegisterSet, config: HostConfig<'_>, question: Question) -> Vec<RegisterId> {
    let mut registers: Vec<RegisterId> = gates().into_iter().map(|gate| gate.register).collect();
    registers.extend([catalog::SSBS.register, catalog::PMU_VERSION.register]);
    registers.extend([RegisterId::PSTATE, RegisterId::SVE_VLS]);
    registers.sort_unstable();
    registers.dedup();
    registers.retain(|register| {
        set.get(*register).is_some_and(|value| {
            let acceptor = question.policy.acceptor(config, *register, question);
            acceptor.judge(value, None).outcome() == Outcome::Refuse
        })
    });
    registers
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
        Acceptor::Equal(own) | Acceptor::Unwritten(own) => own.is_none(),
        Acceptor::Elsewhere => false,
    }
}
