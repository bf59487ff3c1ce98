//! The host side: captures become classes that no unit can tell apart.

use std::num::NonZeroU8;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use rayon::prelude::*;

use super::intern::{Interner, RowInterner};
use super::saved::{Saved, SavedValue};
use super::vms::Vms;
use crate::acceptor::Acceptor;
use crate::fleet::class::HostClass;
use crate::fleet::unit::UnitNumber;
use crate::host::Host;
use crate::judgement::Outcome;
use crate::list::HostList;
use crate::making::{NotMade, made_for};
use crate::pool::{Pool, checkpoint};
use crate::question::Question;
use crate::room;
use crate::vcpu::VcpuConfig;
use crate::verdict::agreed;
use crate::vmms::VmmRule;

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
    /// As each of several releases of a VMM: unknown where they differ.
    Either(Vec<UnitAcceptor>),
}

/// The hosts of a fleet, interned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    /// Distinct captures in memory.
    pub(crate) kinds: Vec<Host>,
    /// The number of each kind, by its capture's address and its VMM.
    number_of_kind: HashMap<(usize, Option<NonZeroU8>), u32, FixedState>,
    /// The class of each kind that was compiled.
    pub(in crate::fleet) class_of_kind: Vec<HostClass>,
    /// Acceptors by unit: the vCPU, the list, then the register units.
    pub(crate) acceptors: Vec<Interner<Arc<UnitAcceptor>>>,
    /// For each class and configuration, the acceptor numbers of all units.
    pub(crate) classes: RowInterner,
}

impl Hosts {
    /// The number of a kind that is here.
    pub(in crate::fleet) fn find_kind(&self, host: &Host) -> Option<u32> {
        self.number_of_kind.get(&host.identity()).copied()
    }

    /// Adds one host and gives the number of its kind.
    pub(crate) fn kind(&mut self, host: &Host) -> u32 {
        // A kind is kept, so its address stays its own.
        *self.number_of_kind.entry(host.identity()).or_insert_with(|| {
            self.kinds.push(host.clone());
            u32::try_from(self.kinds.len() - 1).unwrap_or(u32::MAX)
        })
    }

    /// Compiles every kind for the configurations and units that the VMs have.
    pub(crate) fn compile(&mut self, vms: &Vms, question: Question, pool: &Pool) {
        self.acceptors = UnitNumber::all(vms.units.len()).map(|_| Interner::default()).collect();
        self.classes = RowInterner::default();
        self.class_of_kind.clear();
        self.compile_new(vms, question, pool);
    }

    /// Compiles the kinds that were added since the last time.
    pub(crate) fn compile_new(&mut self, vms: &Vms, question: Question, pool: &Pool) {
        for start in (self.class_of_kind.len()..self.kinds.len()).step_by(BATCH) {
            let kinds = self.kinds.get(start..self.kinds.len().min(start + BATCH)).unwrap_or(&[]);
            room::need(self.growth(kinds.len(), vms));
            let count = self.acceptors.len();
            let units = &mut self.acceptors;
            // Acceptors are derived kind by kind, and numbered unit by unit, so that threads share both.
            let derive = |kind: &Host| {
                checkpoint();
                hashed(acceptors(kind, vms, question))
            };
            let by_unit: Vec<Vec<u32>> = if kinds.len() < WORTH_SHARING {
                let derived: Vec<Derived> = kinds.iter().map(derive).collect();
                units.iter_mut().enumerate().map(|unit| numbers(unit, count, &derived)).collect()
            } else {
                pool.run(|| {
                    let derived: Vec<Derived> = kinds.par_iter().map(derive).collect();
                    let by_unit = units.par_iter_mut().enumerate().map(|unit| numbers(unit, count, &derived)).collect();
                    derived.into_par_iter().for_each(drop);
                    by_unit
                })
            };
            let configs = vms.configs.len();
            for kind in 0..kinds.len() {
                let entries = (kind * configs)..(kind + 1) * configs;
                let number = |at: usize| by_unit.iter().filter_map(move |numbers| numbers.get(at).copied());
                let class = self.classes.intern(&entries.flat_map(number).collect::<Vec<u32>>());
                self.class_of_kind.push(HostClass::of(class));
            }
        }
        room::need(self.acceptors.iter().map(Interner::settling).sum::<usize>() + self.classes.settling());
        self.acceptors.iter_mut().for_each(Interner::settle);
        self.classes.settle();
    }

    /// How many bytes of memory it may take to compile so many kinds: their acceptors twice.
    fn growth(&self, kinds: usize, vms: &Vms) -> usize {
        2 * kinds * vms.configs.len() * self.acceptors.len() * BYTES_OF_AN_ACCEPTOR
            + kinds * vms.configs.len() * BYTES_OF_A_HOST_LIST
    }

    /// How many bytes of memory a copy takes.
    pub(in crate::fleet) fn bytes(&self) -> usize {
        self.kinds.len() * BYTES_OF_A_KIND
    }

    /// The class of a kind that was compiled.
    pub(in crate::fleet) fn class_of_kind(&self, kind: u32) -> HostClass {
        self.class_of_kind.get(kind as usize).copied().unwrap_or(HostClass::of(0))
    }

    /// Only some kinds, and the number that each kind had.
    pub(in crate::fleet) fn kept(&self, kept: &[bool]) -> (Self, Vec<u32>) {
        room::need(self.kinds.len() * BYTES_OF_A_KIND);
        let mut hosts = Self::default();
        let number = |(kind, kept): (&Host, &bool)| if *kept { hosts.kind(kind) } else { u32::MAX };
        let numbers = self.kinds.iter().zip(kept).map(number).collect();
        (hosts, numbers)
    }

    /// The acceptor number of a class for a configuration and a unit.
    pub(in crate::fleet) fn acceptor_number(&self, class: HostClass, config: u32, unit: UnitNumber) -> Option<u32> {
        let numbers = self.classes.get(class.number())?;
        numbers.get(config as usize * self.acceptors.len() + unit.at()).copied()
    }
}

/// Kinds are compiled in batches of this many: their acceptors are in memory twice meanwhile.
const BATCH: usize = 1 << 8;
/// An acceptor, with what it points to.
const BYTES_OF_AN_ACCEPTOR: usize = 2 * size_of::<UnitAcceptor>() + 128;
/// The registers that a host lists, as the list unit knows them.
const BYTES_OF_A_HOST_LIST: usize = 1 << 14;
/// A kind, its class, and its place in the table of their addresses.
const BYTES_OF_A_KIND: usize = 64;
/// Fewer kinds than this are compiled sooner than a thread wakes.
const WORTH_SHARING: usize = 4;

/// What a kind says to each configuration and unit, with hashes.
type Derived = Vec<(u32, Arc<UnitAcceptor>)>;

fn hashed(acceptors: Vec<UnitAcceptor>) -> Derived {
    acceptors.into_iter().map(Arc::new).map(|acceptor| (Interner::hash(&acceptor), acceptor)).collect()
}

/// The numbers of the acceptors of one unit, kind by kind.
fn numbers((unit, interner): (usize, &mut Interner<Arc<UnitAcceptor>>), units: usize, derived: &[Derived]) -> Vec<u32> {
    let own = derived.iter().flat_map(|kind| kind.iter().skip(unit).step_by(units));
    own.map(|(hash, acceptor)| interner.intern_hashed(*hash, acceptor)).collect()
}

/// What a host says to each configuration and unit.
fn acceptors(host: &Host, vms: &Vms, question: Question) -> Vec<UnitAcceptor> {
    let mut acceptors = Vec::with_capacity(vms.configs.len() * (UnitNumber::count(vms.units.len())));
    for config in vms.configs.items() {
        let policy = match question.policy_of(*config, host) {
            Ok(policy) => policy,
            Err(not_made) => {
                acceptors.extend(not_made_acceptors(&not_made, vms));
                continue;
            }
        };
        for (number, way) in policy.ways(*config).into_iter().enumerate() {
            let said = acceptors_of(host, way.vcpu, vms, question, way.rule);
            if number == 0 {
                acceptors.extend(said);
            } else {
                let first = acceptors.len() - said.len();
                let so_far = acceptors.split_off(first);
                acceptors.extend(so_far.into_iter().zip(said).map(|(one, other)| one.or_as(other)));
            }
        }
    }
    acceptors
}

/// What a host says to one configuration under the rule of one release.
fn acceptors_of(
    host: &Host,
    config: VcpuConfig,
    vms: &Vms,
    question: Question,
    rule: &'static VmmRule,
) -> Vec<UnitAcceptor> {
    let made = match made_for(host, rule, config) {
        Ok(made) => made,
        Err(not_made) => return not_made_acceptors(&not_made, vms).collect(),
    };
    let mut acceptors = Vec::with_capacity(UnitNumber::count(vms.units.len()));
    acceptors.push(UnitAcceptor::Silent);
    acceptors.push(UnitAcceptor::List(HostList::new(made, config.vgic, rule, question)));
    let registers = vms.units.iter().map(|unit| unit.register);
    acceptors.extend(registers.map(|register| UnitAcceptor::Register(question.acceptor(rule, made, register))));
    acceptors
}

/// What a host says to a configuration for which there is no vCPU.
fn not_made_acceptors(not_made: &NotMade, vms: &Vms) -> impl Iterator<Item = UnitAcceptor> {
    let others = (0..=vms.units.len()).map(|_| UnitAcceptor::Silent);
    std::iter::once(UnitAcceptor::Vcpu(not_made.outcome())).chain(others)
}

impl UnitAcceptor {
    /// Either of two: unknown where they differ.
    fn or_as(self, other: Self) -> Self {
        if self == other {
            return self;
        }
        match self {
            Self::Either(mut all) => {
                all.push(other);
                Self::Either(all)
            }
            Self::Silent | Self::Vcpu(_) | Self::List(_) | Self::Register(_) => Self::Either(vec![self, other]),
        }
    }

    /// The outcome of the unit of the vCPU.
    pub(crate) fn judge_vcpu(&self) -> Outcome {
        match self {
            Self::Vcpu(outcome) => *outcome,
            Self::Either(all) => agreed(all.iter().map(Self::judge_vcpu)),
            Self::Silent => Outcome::Accept,
            Self::List(_) | Self::Register(_) => Self::of_another_unit(),
        }
    }

    /// The outcome of a register unit.
    pub(crate) fn judge_value(&self, saved: &SavedValue) -> Outcome {
        match self {
            Self::Register(acceptor) => acceptor.judge(&saved.value, saved.context).outcome(),
            Self::Either(all) => agreed(all.iter().map(|one| one.judge_value(saved))),
            Self::Silent => Outcome::Accept,
            Self::Vcpu(_) | Self::List(_) => Self::of_another_unit(),
        }
    }

    /// The outcome of the list unit.
    pub(crate) fn judge_list(&self, saved: &Saved) -> Outcome {
        match self {
            Self::List(list) => list.judge(&saved.list),
            Self::Either(all) => agreed(all.iter().map(|one| one.judge_list(saved))),
            Self::Silent => Outcome::Accept,
            Self::Vcpu(_) | Self::Register(_) => Self::of_another_unit(),
        }
    }

    fn of_another_unit() -> Outcome {
        debug_assert!(false, "an acceptor of another unit");
        Outcome::Unknown
    }
}
