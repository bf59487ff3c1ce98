//! The host side: captures become classes that no unit can tell apart.

use super::intern::Interner;
use super::vms::{Saved, SavedValue, Vms};
use crate::acceptor::Acceptor;
use crate::host::{Choice, Host};
use crate::judgement::{Evidence, Outcome};
use crate::list::HostList;
use crate::verdict::Question;

/// How one host class judges one unit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum UnitAcceptor {
    /// Nothing to say: another unit has decided already.
    Silent,
    /// The host cannot make the vCPU (refuse), or was not asked for it (unknown).
    Vcpu(Outcome),
    /// The registers that the host lists.
    List(HostList),
    /// One register.
    Register(Acceptor),
}

/// The hosts of a fleet, interned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    /// Distinct captures in memory.
    pub(crate) kinds: Vec<Host>,
    /// The kind of each host, by row.
    pub(crate) kind_of: Vec<u32>,
    /// The class of each kind.
    pub(crate) class_of_kind: Vec<u32>,
    /// The class of each host, by row.
    pub(crate) class_of: Vec<u32>,
    /// Acceptors by unit: the vCPU, the list, then the register units.
    pub(crate) acceptors: Vec<Interner<UnitAcceptor>>,
    /// For each class and configuration, the acceptor numbers of all units.
    pub(crate) classes: Interner<Vec<u32>>,
}

/// The unit that judges the vCPU as a whole.
pub(crate) const VCPU_UNIT: usize = 0;
/// The unit that judges the register list.
pub(crate) const LIST_UNIT: usize = 1;
/// The first register unit.
pub(crate) const FIRST_REGISTER_UNIT: usize = 2;

impl Hosts {
    /// Adds one host and gives the number of its kind.
    pub(crate) fn kind(&mut self, host: &Host) -> u32 {
        let at = self.kinds.iter().position(|kind| kind.is(host)).unwrap_or_else(|| {
            self.kinds.push(host.clone());
            self.kinds.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// Compiles every kind for the configurations and units that the VMs have.
    pub(crate) fn compile(&mut self, vms: &Vms, question: Question) {
        self.acceptors = (0..FIRST_REGISTER_UNIT + vms.units.len()).map(|_| Interner::default()).collect();
        self.classes = Interner::default();
        let kinds = self.kinds.clone();
        self.class_of_kind = kinds.iter().map(|kind| self.class(kind, vms, question)).collect();
        self.classify();
    }

    /// Gives every host the class of its kind.
    pub(crate) fn classify(&mut self) {
        let class = |kind: &u32| self.class_of_kind.get(*kind as usize).copied();
        self.class_of = self.kind_of.iter().filter_map(class).collect();
    }

    /// Compiles one kind and gives the number of its class.
    pub(crate) fn class(&mut self, host: &Host, vms: &Vms, question: Question) -> u32 {
        let mut numbers = Vec::new();
        for config in vms.configs.items() {
            let target = question.policy.target_config(*config, |capability| host.has_capability(capability));
            let choice = match question.policy.impossible(*config, target) {
                Some(_) => Choice::Refused(None, Evidence::Derived),
                None => host.choose(target),
            };
            for (at, interner) in self.acceptors.iter_mut().enumerate() {
                let acceptor = match (&choice, at) {
                    (Choice::Refused(..), VCPU_UNIT) => UnitAcceptor::Vcpu(Outcome::Refuse),
                    (Choice::NotAsked, VCPU_UNIT) => UnitAcceptor::Vcpu(Outcome::Unknown),
                    (Choice::Made(_), VCPU_UNIT) | (Choice::Refused(..) | Choice::NotAsked, _) => UnitAcceptor::Silent,
                    (Choice::Made(config), LIST_UNIT) => UnitAcceptor::List(HostList::new(*config, question)),
                    (Choice::Made(config), _) => match vms.units.get(at - FIRST_REGISTER_UNIT) {
                        Some(unit) => {
                            UnitAcceptor::Register(question.policy.acceptor(*config, unit.register, question))
                        }
                        None => UnitAcceptor::Silent,
                    },
                };
                numbers.push(interner.intern(acceptor));
            }
        }
        self.classes.intern(numbers)
    }

    /// The acceptor number of a class for a configuration and a unit.
    pub(crate) fn acceptor_number(&self, class: u32, config: u32, unit: usize) -> Option<u32> {
        let numbers = self.classes.get(class)?;
        numbers.get(config as usize * self.acceptors.len() + unit).copied()
    }
}

impl UnitAcceptor {
    /// The outcome of a register unit.
    pub(crate) fn judge_value(&self, saved: &SavedValue) -> Outcome {
        match self {
            Self::Register(acceptor) => acceptor.judge(&saved.value, saved.context).outcome(),
            Self::Silent | Self::Vcpu(_) | Self::List(_) => Outcome::Accept,
        }
    }

    /// The outcome of the list unit.
    pub(crate) fn judge_list(&self, saved: &Saved) -> Outcome {
        match self {
            Self::List(list) => list.judge(&saved.list),
            Self::Silent | Self::Vcpu(_) | Self::Register(_) => Outcome::Accept,
        }
    }
}
