//! Acceptors: the judgement of one host for one register.

use std::sync::Arc;

use crate::answers::{Answer, Answers};
use crate::catalog::{self, Kind};
use crate::errno::Errno;
use crate::id::{Group, RegisterId};
use crate::judgement::{Effect, Evidence, Judgement, Outcome};
use crate::rules::{self, Context, Formulas, Fresh, Rule};
use crate::value::Value;

/// Who judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Scheme {
    /// The target's KVM: the settled view.
    #[default]
    Kvm,
    /// The other view of the thread of February 2019: for firmware registers the low 4 bits are signed numbers, 0 is
    /// unknown and greater is better; the target must not be worse than what was saved.
    Signed4,
    /// Today's vendor rule, identical or nothing: of what describes the machine. What the guest itself left in its registers
    /// differs from any fresh vCPU; that is KVM's to judge.
    Equal,
}

impl Scheme {
    /// All schemes.
    pub const ALL: [Self; 3] = [Self::Kvm, Self::Signed4, Self::Equal];

    /// The word used everywhere.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Signed4 => "signed4",
            Self::Equal => "equal",
        }
    }

    /// Whether the scheme itself judges `register`; the target's KVM judges the others.
    pub fn judges(self, register: RegisterId) -> bool {
        match self {
            Self::Kvm => false,
            Self::Signed4 => matches!(register.group(), Group::Firmware | Group::FirmwareBitmap),
            Self::Equal => catalog::kind_of(register).describes_machine(),
        }
    }

    /// The scheme of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.name() == name)
    }
}

/// The compiled judgement of one host for one register. Equal acceptors are one to kvmfw.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Acceptor {
    /// The target's KVM decides.
    Kvm(Box<Target>),
    /// The low 4 bits of the target's own value, signed.
    Signed4(Option<i8>),
    /// The target's own value.
    Equal(Option<Value>),
    /// The VMM does not write the register: the guest sees the target's own value.
    Unwritten(Option<Value>),
    /// Decided elsewhere: by the list, or by means that never refuse.
    Elsewhere,
}

/// What is known of how one target decides one register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// How KVM treats this register.
    pub kind: Kind,
    /// The fresh value; `None` where the vCPU does not list the register.
    pub fresh: Option<Value>,
    /// The bits of the fresh value that are not known.
    pub hidden: u64,
    /// Recorded answers to single writes.
    pub answers: Option<Arc<Answers>>,
    /// The recorded answer to writing the fresh value back, or to writing an id that is not listed.
    pub same: Option<Answer>,
    /// What recorded answers count as: they may come from a configuration that stands in.
    pub evidence: Evidence,
    /// The rule of the kernel.
    pub rule: Rule,
    /// The host's own value of the field that [`Context`] tells of the VM.
    pub fresh_context: Context,
    /// Whether the VMM writes this register before the VM's ID registers.
    pub before_id_registers: bool,
}

impl Acceptor {
    /// The rule of a register that KVM decides as formulas, see [`crate::rules::Rule::smt`].
    pub fn smt(&self, fresh: Fresh) -> Option<Formulas> {
        match self {
            Self::Kvm(target) => target.rule.smt(fresh),
            _ => None,
        }
    }

    /// The judgement with what was proved said of it. Proofs are about the answer to a write to a VM that has not run, not about what
    /// is read afterwards: what they settle is a refusal by KVM.
    pub(crate) fn with_proof(&self, judgement: Judgement, is_proved: impl Fn(&Rule) -> bool) -> Judgement {
        let by_rule = judgement.evidence == Evidence::Derived && judgement.effect.errno() == Some(Errno::EINVAL);
        match self {
            Self::Kvm(target) if by_rule && is_proved(&target.rule) => {
                Judgement { evidence: Evidence::Proved, ..judgement }
            }
            _ => judgement,
        }
    }

    /// What a write of `value` does on this host.
    pub fn judge(&self, value: &Value, context: Context) -> Judgement {
        match self {
            Self::Kvm(target) => target.judge(value, context),
            Self::Signed4(own) => {
                let saved = value.word().map(low_nibble);
                let effect = match (saved, own) {
                    (Some(saved), Some(own)) if saved <= *own => Effect::Kept,
                    _ => Effect::Refused(None),
                };
                Judgement { effect, evidence: Evidence::Derived }
            }
            Self::Equal(own) => {
                let effect = if own.as_ref() == Some(value) { Effect::Kept } else { Effect::Refused(None) };
                Judgement { effect, evidence: Evidence::Derived }
            }
            Self::Unwritten(own) => {
                let effect = if own.as_ref() == Some(value) { Effect::Kept } else { Effect::Dropped(own.clone()) };
                Judgement { effect, evidence: Evidence::Derived }
            }
            Self::Elsewhere => Judgement { effect: Effect::Kept, evidence: Evidence::Derived },
        }
    }
}

/// The low 4 bits as a signed number.
pub(crate) fn low_nibble(word: u64) -> i8 {
    let nibble = (word & 0xf).to_le_bytes()[0].cast_signed();
    if nibble >= 8 { nibble - 16 } else { nibble }
}

impl Target {
    fn judge(&self, value: &Value, context: Context) -> Judgement {
        if self.kind == Kind::PmuBits
            && !self.is_absent()
            && let Some(effect) = rules::torn_pmu_pair(context)
        {
            return Judgement { effect, evidence: Evidence::None };
        }
        // Answers were recorded with the host's own ID registers in place.
        let as_recorded = context.is_none() || context == self.fresh_context;
        if self.before_id_registers && !as_recorded {
            // KVM judges by the host's own field; what the register reads afterwards follows the VM's.
            let at_write = self.judge(value, None);
            if at_write.outcome() >= Outcome::Unknown {
                return at_write;
            }
        }
        if let Some(answer) = self.recorded(value, context).filter(|_| as_recorded) {
            return Judgement { effect: self.effect(value, answer), evidence: self.evidence };
        }
        let effect = self.rule.judge(value, context);
        let evidence = if matches!(effect, Effect::Unknown(_)) { Evidence::None } else { Evidence::Derived };
        Judgement { effect, evidence }
    }

    fn recorded(&self, value: &Value, context: Context) -> Option<Answer> {
        let joint = self.kind == Kind::CacheLevels;
        // Of a register with two names one was written alone, where a set mostly holds both.
        let speaks = self.kind != Kind::PmuBits || context.is_none();
        let answers = self.answers.as_ref().filter(|_| speaks);
        let asked_about = |value: &Value| answers.and_then(|answers| answers.answer(value, joint));
        asked_about(value).or_else(|| asked_about(&self.of_same_mode(value)?)).or_else(|| {
            let asked = self.fresh.is_none() || self.fresh.as_ref() == Some(value);
            // Only that the host took it is recorded: a clear name takes its own value and then reads 0.
            let tells = self.kind != Kind::PmuBits || matches!(self.same, Some(Answer::Refused(_)));
            self.same.clone().filter(|_| asked && tells)
        })
    }

    /// The value that a capture asks instead: of PSTATE KVM looks at the mode, which was asked with fresh flags.
    fn of_same_mode(&self, value: &Value) -> Option<Value> {
        const MODE: u64 = 0x1f;
        let fresh = self.fresh.as_ref().filter(|_| self.kind == Kind::ProcessorState)?.word()?;
        Some(Value::Word((fresh & !MODE) | (value.word()? & MODE)))
    }

    fn effect(&self, written: &Value, answer: Answer) -> Effect {
        match answer {
            Answer::Kept => Effect::Kept,
            Answer::Refused(errno) => Effect::Refused(Some(errno)),
            Answer::Changed(None) => Effect::Rewritten(None),
            Answer::Changed(Some(read)) => match (self.kind, written.word(), read.word()) {
                (Kind::Level | Kind::Workaround2, Some(written), Some(read)) => rules::reads(written, read),
                _ if Some(&read) == self.fresh.as_ref() => Effect::Dropped(Some(read)),
                _ => Effect::Rewritten(Some(read)),
            },
        }
    }

    /// Whether the host does not list the register.
    pub fn is_absent(&self) -> bool {
        self.fresh.is_none()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(kind: Kind, fresh: u64, kept: &[u64], changed: &[(u64, u64)]) -> Acceptor {
        let answers = Answers::ByValue(crate::answers::ByValue {
            kept: kept.iter().copied().map(Value::Word).collect(),
            changed: changed.iter().map(|(w, r)| (Value::Word(*w), Value::Word(*r))).collect(),
            refused: vec![(Value::Word(3), Errno::EINVAL)],
            otherwise: None,
        });
        Acceptor::Kvm(Box::new(Target {
            kind,
            fresh: Some(Value::Word(fresh)),
            hidden: 0,
            answers: Some(Arc::new(answers)),
            same: Some(Answer::Kept),
            evidence: Evidence::Measured,
            rule: Rule::Unknown("probe"),
            fresh_context: Some(2),
            before_id_registers: false,
        }))
    }

    #[test]
    fn a_measured_answer_goes_before_the_rule() {
        let acceptor = measured(Kind::Level, 2, &[2], &[(0, 2), (1, 2)]);
        let judge = |value| acceptor.judge(&Value::Word(value), None);
        assert_eq!(judge(2).effect, Effect::Kept);
        assert_eq!(judge(1).effect, Effect::Raised(Value::Word(2)));
        assert_eq!(judge(3), Judgement { effect: Effect::Refused(Some(Errno::EINVAL)), evidence: Evidence::Measured });
        assert_eq!(judge(9), Judgement { effect: Effect::Unknown("probe"), evidence: Evidence::None });
    }

    #[test]
    fn answers_do_not_speak_for_a_vm_with_another_id_field() {
        let acceptor = measured(Kind::Workaround2, 0, &[0], &[(1, 0)]);
        assert_eq!(acceptor.judge(&Value::Word(0), Some(2)).evidence, Evidence::Measured);
        assert_eq!(acceptor.judge(&Value::Word(1), None).effect, Effect::Dropped(Some(Value::Word(0))));
        assert_eq!(acceptor.judge(&Value::Word(0), Some(0)).evidence, Evidence::None);
    }

    #[test]
    fn an_answer_about_a_mode_speaks_for_all_flags() {
        let acceptor = measured(Kind::ProcessorState, 0x3c5, &[0x3c5, 0x3c4], &[]);
        assert_eq!(acceptor.judge(&Value::Word(0x6000_0004), None).evidence, Evidence::Measured);
        assert_eq!(acceptor.judge(&Value::Word(0x6000_0010), None).evidence, Evidence::None);
        assert_eq!(measured(Kind::Level, 0x3c5, &[0x3c4], &[]).judge(&Value::Word(4), None).evidence, Evidence::None);
    }

    #[test]
    fn the_generic_comparison_is_signed_with_four_bits() {
        assert_eq!([0, 1, 7, 8, 15, 0x10].map(low_nibble), [0, 1, 7, -8, -1, 0]);
        let own = Acceptor::Signed4(Some(1));
        assert_eq!(own.judge(&Value::Word(1), None).outcome(), crate::Outcome::Accept);
        assert_eq!(own.judge(&Value::Word(0xf), None).outcome(), crate::Outcome::Accept);
        assert_eq!(own.judge(&Value::Word(2), None).outcome(), crate::Outcome::Refuse);
        assert_eq!(Acceptor::Signed4(None).judge(&Value::Word(0), None).outcome(), crate::Outcome::Refuse);
    }
}
