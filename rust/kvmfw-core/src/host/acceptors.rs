//! How a vCPU of a host judges what is written to it: by what it was asked, else by rules.

use std::sync::Arc;

use super::{HostConfig, context_in};
use crate::acceptor::{Acceptor, Scheme, Target, low_nibble};
use crate::answers::{Answer, Answers, State};
use crate::catalog::{self, Kind};
use crate::id::RegisterId;
use crate::judgement::Evidence;
use crate::rules::{self, Rule};

impl HostConfig<'_> {
    /// How the host's KVM decides something beside registers; what was not asked is decided elsewhere.
    fn beside(&self, id: RegisterId, state: State, derive_only: bool) -> Acceptor {
        let Some(recorded) = self.surrounding(id) else { return Acceptor::Elsewhere };
        let kind = catalog::kind_of(id);
        let own = recorded.own.as_ref().map_err(|errno| *errno);
        Acceptor::Kvm(Box::new(Target {
            kind,
            fresh_context: None,
            before_id_registers: false,
            rule: rules::derive_beside(id, own, &self.facts(state, derive_only)),
            evidence: Evidence::Measured,
            answers: recorded.answers.as_ref().filter(|_| !derive_only).cloned(),
            same: None,
            fresh: own.ok().cloned(),
            hidden: 0,
        }))
    }

    /// How this vCPU judges `register` under `scheme`, in `state`; answers are left out with `derive_only`.
    pub fn acceptor(&self, register: RegisterId, scheme: Scheme, state: State, derive_only: bool) -> Acceptor {
        if register.is_surrounding() {
            return self.beside(register, state, derive_only);
        }
        let fresh = self.value(register).cloned();
        match scheme {
            Scheme::Equal | Scheme::Signed4 if scheme.judges(register) && self.is_hidden(register) => {
                return self.not_known(register);
            }
            Scheme::Equal if scheme.judges(register) => return Acceptor::Equal(fresh),
            Scheme::Signed4 if scheme.judges(register) => {
                return Acceptor::Signed4(fresh.and_then(|value| value.word()).map(low_nibble));
            }
            Scheme::Equal | Scheme::Signed4 | Scheme::Kvm => {}
        }
        let kind = catalog::kind_of(register);
        let facts = self.facts(state, derive_only);
        let fresh_context = context_in(register, |holder| self.own(holder));
        // What a host said of a value of its own speaks of no value that is only partly known.
        let asked = !self.is_hidden(register)
            && (self.implementation_asked || !matches!(kind, Kind::Implementation(_)))
            && (self.vgic_asked || state == State::Fresh || !rules::aftermath::tells_of_vgic(register));
        let (answers, same) = if derive_only || !asked { (None, None) } else { self.recorded(register, state) };
        Acceptor::Kvm(Box::new(Target {
            kind,
            fresh_context,
            before_id_registers: false,
            rule: rules::derive(register, &facts),
            evidence: self.evidence,
            answers,
            same,
            fresh,
            hidden: self.hidden().of(register),
        }))
    }

    /// A register of which nobody knows what this vCPU has, where that decides.
    pub(crate) fn not_known(&self, register: RegisterId) -> Acceptor {
        Acceptor::Kvm(Box::new(Target {
            kind: catalog::kind_of(register),
            fresh: self.value(register).cloned(),
            hidden: self.hidden().of(register),
            answers: None,
            same: None,
            evidence: Evidence::None,
            rule: Rule::Unknown(rules::NOT_KNOWN),
            fresh_context: None,
            before_id_registers: false,
        }))
    }

    fn recorded(&self, register: RegisterId, state: State) -> (Option<Arc<Answers>>, Option<Answer>) {
        let made = &self.vcpu.made;
        let at = made.answers.binary_search_by_key(&(register, state), |(id, when, _)| (*id, *when));
        let answers = at.ok().and_then(|at| made.answers.get(at)).map(|(_, _, answers)| Arc::clone(answers));
        if self.value(register).is_none() {
            let at = made.absent.binary_search_by_key(&register, |(id, _)| *id).ok();
            let errno = at.and_then(|at| made.absent.get(at)).map(|(_, errno)| *errno);
            return (answers, errno.map(Answer::Refused));
        }
        // A capture writes own values back to a fresh vCPU, but to a finalised one: SVE_VLS is as after a run.
        let comparable = (state == State::Fresh) == (register != RegisterId::SVE_VLS);
        let same = made.same_value_refused.as_ref().filter(|_| comparable).map(|refused| {
            let errno = refused.iter().find(|(id, _)| *id == register).map(|(_, errno)| *errno);
            errno.map_or(Answer::Kept, Answer::Refused)
        });
        (answers, same)
    }
}
