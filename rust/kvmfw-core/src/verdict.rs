//! Verdicts: one pair, with every finding.

use std::fmt;

use crate::acceptor::Scheme;
use crate::answers::State;
use crate::catalog;
use crate::explain;
use crate::finding::Finding;
use crate::host::{Host, HostConfig};
use crate::id::RegisterId;
use crate::judgement::{Effect, Outcome, Unit};
use crate::list::{HostList, ListFinding, SavedList, gates};
use crate::making::made_for;
use crate::policy::{Policy, Way, context_of, gate_of, is_kept_anywhere, is_mostly_kept};
use crate::question::Question;
use crate::rules::aftermath::{self, Change};
use crate::rules::{Rule, other_name};
use crate::set::RegisterSet;
use crate::surroundings::Surrounding;
use crate::value::Value;
use crate::vmms::VmmRule;

/// The outcome of one pair, and everything that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The greatest outcome of the findings; `Accept` where there are none.
    pub outcome: Outcome,
    /// Every unit that does not simply accept, in write order.
    pub findings: Vec<Finding>,
    /// What the VMM restores beside registers, or relies on, and this verdict says nothing about.
    pub not_judged: Vec<Surrounding>,
    /// The VMM as which the pair was judged.
    pub policy: Policy,
}

impl Verdict {
    pub(crate) fn new(findings: Vec<Finding>, not_judged: Vec<Surrounding>, policy: Policy) -> Self {
        let outcome = findings.iter().map(|finding| finding.judgement.outcome()).max().unwrap_or(Outcome::Accept);
        Self { outcome, findings, not_judged, policy }
    }
}

/// Judges one pair: whether `host` takes the registers of `set`, with every finding.
pub fn validate(set: &RegisterSet, host: &Host, question: Question) -> Verdict {
    judge(set, host, question, false)
}

/// What each unit says by itself, as if the host took all others: what stands in the way, and what a cure must deal with.
/// In [`validate()`], a refused ID register leaves the host's own fields in place, and what is refused has no aftermath.
pub(crate) fn by_unit(set: &RegisterSet, host: &Host, question: Question) -> Verdict {
    judge(set, host, question, true)
}

fn judge(set: &RegisterSet, host: &Host, question: Question, alone: bool) -> Verdict {
    let policy = match question.policy_of(set.vcpu, host) {
        Ok(policy) => policy,
        Err(not_made) => {
            let findings = vec![explain::not_made_finding(&not_made, set.vcpu)];
            return Verdict::new(findings, question.policy.row().not_judged(), question.policy);
        }
    };
    let by_way = |way: Way| {
        let findings = judge_as(set, host, question, &way, alone);
        (way, findings)
    };
    let mut said: Vec<(Way, Vec<Finding>)> = policy.ways(set.vcpu).into_iter().map(by_way).collect();
    let rules: Vec<&VmmRule> = said.iter().map(|(way, _)| way.rule).collect();
    let row = policy.row();
    let mut findings: Vec<Finding> = match said.len() {
        0 | 1 => said.pop().map_or_else(Vec::new, |(_, findings)| findings),
        _ => merged(&said, set),
    };
    for finding in &mut findings {
        explain::name_source(finding, row);
    }
    let concerns = |beside: &Surrounding| set.vcpu.features & beside.features == beside.features;
    let mut not_judged: Vec<Surrounding> = row.not_judged().into_iter().filter(concerns).collect();
    // Where there is no vCPU, nothing else was looked at.
    if findings.iter().all(|finding| finding.unit != Unit::Vcpu) {
        not_judged.retain(|beside| !rules.iter().all(|rule| is_judged(beside, set, host, rule)));
    }
    Verdict::new(findings, not_judged, policy)
}

/// Whether this is judged for the pair: the set holds it and, of what is no register, the host was asked and the VMM does
/// something with it.
fn is_judged(beside: &Surrounding, set: &RegisterSet, host: &Host, rule: &VmmRule) -> bool {
    let is_asked = |id: RegisterId| rule.handles(id).is_some() && host.surrounding(id).is_some();
    beside.judged_by.is_some_and(|id| set.get(id).is_some() && (!id.is_surrounding() || is_asked(id)))
}

/// What is said in all ways; unknown in the units in which they differ.
fn merged(said: &[(Way, Vec<Finding>)], set: &RegisterSet) -> Vec<Finding> {
    let outcome = |spoken: &[Finding], unit: Unit| {
        let own = spoken.iter().filter(|one| one.unit == unit).map(|one| one.judgement.outcome());
        own.max().unwrap_or(Outcome::Accept)
    };
    let mut units: Vec<Unit> = Vec::new();
    let mut findings = Vec::new();
    for (at, (_, spoken)) in said.iter().enumerate() {
        for one in spoken {
            let seen = units.contains(&one.unit);
            let outcomes = said.iter().map(|(_, spoken)| outcome(spoken, one.unit));
            let worst = outcomes.clone().max().unwrap_or(Outcome::Accept);
            if outcomes.clone().all(|other| other == worst) {
                if at == 0 {
                    units.push(one.unit);
                    findings.push(one.clone());
                }
            } else if !seen {
                units.push(one.unit);
                let each: Vec<(&Way, Outcome)> = said.iter().map(|(way, _)| way).zip(outcomes).collect();
                findings.push(explain::ways_finding(one, set, &each));
            }
        }
    }
    findings
}

/// What several releases agree on; unknown where they differ.
pub(crate) fn agreed(mut outcomes: impl Iterator<Item = Outcome>) -> Outcome {
    let first = outcomes.next().unwrap_or(Outcome::Unknown);
    if outcomes.all(|other| other == first) { first } else { Outcome::Unknown }
}

fn judge_as(set: &RegisterSet, host: &Host, question: Question, way: &Way, alone: bool) -> Vec<Finding> {
    let (rule, vcpu) = (way.rule, way.vcpu);
    let config = match made_for(host, rule, vcpu) {
        Ok(config) => config,
        Err(not_made) => return vec![explain::not_made_finding(&not_made, vcpu)],
    };
    let refused = if alone { Vec::new() } else { refused_gates(set, config, question, rule) };
    let host_list = HostList::new(config, vcpu.vgic, rule, question);
    let (mut findings, mut writes, mut host_only) = (Vec::new(), Vec::new(), Vec::new());
    let mut changes: Vec<Change> = Vec::new();
    let list = SavedList::new(set.registers(), &refused, vcpu.has("has_el2"));
    for finding in host_list.findings(&list) {
        match finding {
            // KVM is asked for these, below.
            ListFinding::Missing(_) => {}
            ListFinding::Unsure(register) if set.get(register).is_some() && rule.asks_kvm(register) => {}
            ListFinding::HiddenOwn(register, _) => {
                let hidden = explain::list_finding(finding, set, config, question.scheme);
                writes.push((rule.write_order(register, set), hidden));
            }
            ListFinding::HostOnly(register) => {
                let own = seen_default(register, set, config, question, &refused);
                host_only.push(explain::defaulted_finding(register, own, question.scheme));
            }
            ListFinding::Aftermath(change) => changes.push(change),
            ListFinding::Unsaveable { .. }
            | ListFinding::TooMany { .. }
            | ListFinding::Unexpected(_)
            | ListFinding::Unsure(_)
            | ListFinding::Lost(_) => findings.push(explain::list_finding(finding, set, config, question.scheme)),
        }
    }
    for (register, value) in set.registers() {
        let acceptor = question.acceptor(rule, config, *register);
        let context = context_of(*register, set, &refused);
        let judgement = acceptor.judge(value, context);
        if judgement.outcome() != Outcome::Accept {
            // What a unit says by itself is said of all host classes that judge alike, whichever image they run.
            let asks = !alone && question.state == State::Fresh;
            let is_proved = |rule: &Rule| asks && config.is_proved(*register, rule);
            let judgement = acceptor.with_proof(judgement, is_proved);
            let mut finding = explain::register_finding(*register, value, &acceptor, judgement);
            explain::name_consequence(&mut finding, rule);
            let order = rule.write_order(*register, set);
            // The list tells that the register is not there, and so does the unit of its value where there is one.
            let by_value = is_mostly_kept(*register) && !is_kept_anywhere(*register, value, context);
            if alone && by_value && finding.unit == Unit::List {
                writes.push((order, Finding { unit: Unit::Register(*register), ..finding.clone() }));
            }
            writes.push((order, finding));
        }
    }
    writes.sort_by_key(|(order, _)| *order);
    findings.extend(writes.into_iter().map(|(_, one)| one));
    for change in changes {
        let own = findings.iter().find(|finding: &&Finding| finding.register == Some(change.register));
        // What was not taken, or not for sure, has no aftermath.
        if alone || own.is_none_or(|finding| finding.judgement.outcome() < Outcome::Unknown) {
            let finding = explain::aftermath_finding(change, set, config, own);
            findings.push(finding);
        }
    }
    findings.extend(host_only);
    findings
}

/// What the guest sees of a register that the set does not hold: the host's default, as the set's ID registers leave it.
fn seen_default(
    register: RegisterId,
    set: &RegisterSet,
    config: HostConfig<'_>,
    question: Question,
    refused: &[RegisterId],
) -> Option<Value> {
    let own = config.own(register)?;
    if other_name(register).is_some_and(|other| set.get(other).is_some()) {
        return None; // Both names are written, one with the saved value.
    }
    let context = context_of(register, set, refused);
    if context.is_none() || context == gate_of(register).and_then(|gate| config.field(gate)) {
        return Some(own.clone());
    }
    match config.acceptor(register, Scheme::Kvm, question.state, question.derive_only).judge(own, context).effect {
        Effect::Kept => Some(own.clone()),
        effect => effect.reads().cloned(),
    }
}

/// The saved ID registers that decide about others and that this host refuses: its own fields stay in place.
fn refused_gates(set: &RegisterSet, config: HostConfig<'_>, question: Question, rule: &VmmRule) -> Vec<RegisterId> {
    let mut registers: Vec<RegisterId> = gates().iter().map(|gate| gate.register).collect();
    registers.extend([catalog::SSBS.register, catalog::PMU_VERSION.register]);
    registers.extend([RegisterId::PSTATE, RegisterId::SVE_VLS]);
    registers.extend(aftermath::FIELDS.map(|(register, ..)| register));
    registers.sort_unstable();
    registers.dedup();
    registers.retain(|register| {
        set.get(*register).is_some_and(|value| {
            let acceptor = question.acceptor(rule, config, *register);
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
