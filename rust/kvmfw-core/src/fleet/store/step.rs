//! Steps: what a change does to VMs, checked before anything happens.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashSet;

use super::classes::Classes;
use super::neighbours::Member;
use super::places::NOWHERE;
use super::snapshot::State;
use super::who::{HostHandle, VmHandle, Who};
use crate::error::MissingError;
use crate::fleet::class::VmClass;
use crate::fleet::classes::vms::Vms;
use crate::pool::checkpoint;
use crate::room;
use crate::set::RegisterSet;

/// What a change of one member takes: the ways to what it changes are copied.
pub(super) const BYTES_OF_A_STEP: usize = 1 << 14;
/// Fewer VMs than this are counted one by one.
const FEW: usize = 1 << 8;

/// A step that was checked: it can be made, and nothing has happened yet.
#[derive(Debug)]
pub struct Step<'a> {
    kind: Kind<'a>,
    /// The classes that it gives their first member.
    pub(super) born: Vec<VmClass>,
}

#[derive(Debug)]
enum Kind<'a> {
    /// VMs come, each of a class.
    Add(Vec<(VmClass, &'a RegisterSet)>),
    /// VMs go.
    Remove(Vec<VmHandle>),
    /// A VM is of another class.
    Update(VmHandle, VmClass),
    /// A VM runs somewhere else, or nobody knows where.
    Move(VmHandle, Option<Arc<str>>),
}

/// VM classes that got their first member, and that lost their last one.
#[derive(Debug, Default)]
pub(super) struct Turned {
    pub(super) born: Vec<VmClass>,
    pub(super) left: Vec<VmClass>,
}

impl<'a> Step<'a> {
    fn of(kind: Kind<'a>) -> Self {
        Self { kind, born: Vec::new() }
    }

    pub(super) fn adding(sets: impl IntoIterator<Item = &'a RegisterSet>, state: &State, vms: &mut Vms) -> Self {
        let mut born = Vec::new();
        let mut newcomers = Vec::new();
        for set in sets {
            room::need(BYTES_OF_A_STEP);
            let class = vms.class_of(state.settings.question.looked_at(set.vcpu), set.registers());
            room::push(&mut newcomers, (class, set));
            if state.vm_classes.members(class.number()) == 0 {
                room::push(&mut born, class);
            }
        }
        born.sort_unstable();
        born.dedup();
        Self { kind: Kind::Add(newcomers), born }
    }

    pub(super) fn removing<'n>(
        vms: impl IntoIterator<Item = impl Into<Who<'n, VmHandle>>>,
        state: &State,
    ) -> Result<Self, MissingError> {
        let find = |(at, vm): (usize, _)| {
            pass(at);
            state.vm(Into::<Who<'n, VmHandle>>::into(vm))
        };
        let mut found = vms.into_iter().enumerate().map(find).collect::<Result<Vec<_>, _>>()?;
        found.sort_unstable();
        found.dedup();
        Ok(Self::of(Kind::Remove(found)))
    }

    pub(super) fn updating(
        vm: Who<'_, VmHandle>,
        set: &RegisterSet,
        state: &State,
        vms: &mut Vms,
    ) -> Result<Self, MissingError> {
        let vm = state.vm(vm)?;
        room::need(BYTES_OF_A_STEP);
        let vcpu = state.settings.question.looked_at(set.vcpu);
        Ok(Self::of(Kind::Update(vm, vms.class_of(vcpu, set.registers()))))
    }

    pub(super) fn moving(
        vm: Who<'_, VmHandle>,
        host: Option<Who<'_, HostHandle>>,
        state: &State,
    ) -> Result<Self, MissingError> {
        let vm = state.vm(vm)?;
        // Homes are told by name, so that a host is one only while nobody else has its name.
        let named = |host: Who<'_, HostHandle>| {
            let (handle, _) = host.find(&state.hosts)?;
            let name = state.hosts.name(handle).filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| {
                let (row, problem) = (state.hosts.row(handle), "a host without a name is nobody's home");
                MissingError { problem: problem.to_owned(), row }
            })?;
            Who::<HostHandle>::Name(name).find(&state.hosts)?;
            Ok(Arc::from(name))
        };
        Ok(Self::of(Kind::Move(vm, host.map(named).transpose()?)))
    }

    /// How many VMs it is about.
    pub fn len(&self) -> usize {
        match &self.kind {
            Kind::Add(newcomers) => newcomers.len(),
            Kind::Remove(vms) => vms.len(),
            Kind::Update(..) | Kind::Move(..) => 1,
        }
    }

    /// Whether it is about nobody.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Work on many can stop after each few of them.
fn pass(at: usize) {
    if at % FEW == FEW - 1 {
        checkpoint();
    }
}

impl State {
    /// Makes a step.
    pub(super) fn make(&mut self, step: &Step<'_>, turned: &mut Turned) {
        match &step.kind {
            Kind::Add(newcomers) => {
                let places = &mut self.places;
                let member = |(class, set): &(VmClass, &RegisterSet)| {
                    let tag = set.host.as_deref().map_or(NOWHERE, |home| places.enter(home, 1));
                    Member { class: class.number(), tag }
                };
                let members: Vec<Member> = newcomers.iter().map(member).collect();
                let name = |at: usize, text: &mut String| {
                    text.push_str(newcomers.get(at).map_or("", |(_, set)| set.name.as_str()));
                };
                self.add(&members, name, turned);
            }
            Kind::Remove(vms) => {
                for (at, vm) in vms.iter().enumerate() {
                    room::need(BYTES_OF_A_STEP);
                    // Not among the first ones: who changes in place does not stop half way.
                    pass(at);
                    if let Some(member) = Arc::make_mut(&mut self.vms).remove(vm.0) {
                        self.leave(member.class, turned);
                        self.places.leave(member.tag);
                    }
                }
            }
            Kind::Update(vm, class) => {
                // First the new class, then the old one: where they are the same, it never was without members.
                self.join(class.number(), 1, turned);
                let before = Arc::make_mut(&mut self.vms).change(vm.0, |member| member.class = class.number());
                if let Some(before) = before {
                    self.leave(before.class, turned);
                }
            }
            Kind::Move(vm, name) => {
                let tag = name.as_ref().map_or(NOWHERE, |name| self.places.enter(name, 1));
                let before = Arc::make_mut(&mut self.vms).change(vm.0, |member| member.tag = tag);
                if let Some(before) = before {
                    self.places.leave(before.tag);
                }
            }
        }
    }

    /// Adds VMs in order, whose names `name` writes; gives the handle of the first.
    pub(super) fn add(
        &mut self,
        members: &[Member],
        name: impl Fn(usize, &mut String) + Sync,
        turned: &mut Turned,
    ) -> VmHandle {
        if members.len() < FEW {
            for member in members {
                self.join(member.class, 1, turned);
            }
        } else {
            let classes = members.iter().map(|member| member.class as usize + 1).max().unwrap_or(0);
            room::need(classes * size_of::<u64>());
            let mut counts = vec![0; classes];
            for member in members {
                counts.get_mut(member.class as usize).into_iter().for_each(|count| *count += 1);
            }
            if self.vms.arrivals() == 0 {
                let used = VmClass::first(classes).zip(&counts).filter(|(_, count)| **count > 0);
                turned.born.extend(used.map(|(class, _)| class));
                self.vm_classes = Classes::of(&counts, self.generation);
            } else {
                for (class, count) in (0..).zip(counts).filter(|(_, count)| *count > 0) {
                    self.join(class, count, turned);
                }
            }
        }
        VmHandle(Arc::make_mut(&mut self.vms).add(members, name, &self.settings.pool))
    }

    fn join(&mut self, class: u32, count: u64, turned: &mut Turned) {
        if self.vm_classes.join(class, count, self.generation) {
            turned.born.push(VmClass::of(class));
        }
    }

    fn leave(&mut self, class: u32, turned: &mut Turned) {
        if self.vm_classes.leave(class, self.generation) {
            turned.left.push(VmClass::of(class));
        }
    }

    /// The places of names that VMs have, or that stand earlier among these.
    pub(super) fn repeated<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<usize> {
        let mut seen = HashSet::with_hasher(FixedState::default());
        let borne = names.into_iter().enumerate().filter(|(_, name)| !name.is_empty()).inspect(|(at, _)| pass(*at));
        borne
            .filter(|(_, name)| !seen.insert(*name) || self.vms.first_bearer(name).is_some())
            .map(|(at, _)| at)
            .collect()
    }

    fn vm(&self, vm: Who<'_, VmHandle>) -> Result<VmHandle, MissingError> {
        vm.find(&self.vms).map(|(handle, _)| VmHandle(handle))
    }
}
