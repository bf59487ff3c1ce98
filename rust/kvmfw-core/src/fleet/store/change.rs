//! Changes: some steps from one version to the next, all of them or none.

use std::sync::{Arc, OnceLock};

use super::named::{Named, Texts};
use super::neighbours::{Member, UNJUDGED};
use super::places::NOWHERE;
use super::snapshot::State;
use super::step::{BYTES_OF_A_STEP, Step, Turned};
use super::turn::Turn;
use super::who::{HostHandle, VmHandle, Who};
use crate::error::{IntakeError, MissingError, RowError};
use crate::fleet::class::VmClass;
use crate::fleet::classes::hosts::Hosts;
use crate::fleet::classes::intake::{self, Known};
use crate::fleet::classes::runs::Runs;
use crate::host::Host;
use crate::pool::checkpoint;
use crate::room;
use crate::set::RegisterSet;

/// What a member takes while it is added: its class, twice, its row, and its place in the tree of names.
pub(super) const BYTES_OF_A_MEMBER: usize = 128;
/// A change of a fleet: some steps, of which readers see all or none. Nothing happens until [`Change::commit`]; a change that is
/// dropped has not been. Other changes wait for this one; a thread that begins two waits for itself.
#[derive(Debug)]
pub struct Change {
    /// What it makes; goes before the turn, which gives back what only this has.
    pub(super) state: State,
    pub(super) turn: Turn,
    pub(super) turned: Turned,
    /// Captures, with those that are new.
    pub(super) hosts: Arc<Hosts>,
    /// Hosts that are new or have another capture.
    pub(super) touched: Vec<u64>,
    /// Who came by now, so that others like them are known.
    known: Known,
}

impl Turn {
    /// Begins a change of several steps.
    pub fn change(self) -> Change {
        room::need(BYTES_OF_A_STEP);
        let mut state = State { whole: OnceLock::new(), ..State::clone(&self.base) };
        state.generation += 1;
        let hosts = Arc::clone(&self.base.tables.world.hosts);
        Change { state, turn: self, turned: Turned::default(), hosts, touched: Vec::new(), known: Known::default() }
    }
}

impl Change {
    /// Makes a step that was checked against this change as it is.
    pub(super) fn make(&mut self, step: &Step<'_>) {
        self.state.make(step, &mut self.turned);
    }

    /// How many VMs there are by now.
    pub fn vm_count(&self) -> usize {
        self.state.vms.len()
    }

    /// Whether who bears the name of a VM is known without looking at all.
    pub fn knows_vm_names(&self) -> bool {
        self.state.vms.knows_names()
    }

    /// The VM with a name, by now.
    ///
    /// # Errors
    ///
    /// When there is no such VM, or more than one.
    pub fn vm<'a>(&self, vm: impl Into<Who<'a, VmHandle>>) -> Result<VmHandle, MissingError> {
        vm.into().find(&self.state.vms).map(|(handle, _)| VmHandle(handle))
    }

    /// Whether there is a VM with a name by now.
    pub fn has_vm(&self, name: &str) -> bool {
        self.state.vms.first_bearer(name).is_some()
    }

    /// The places of names that VMs have by now, or that stand earlier among these; no name may be had by many.
    pub fn repeated<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<usize> {
        self.state.repeated(names)
    }

    /// Adds VMs in order, with their names and homes; gives the handle of the first. Those after it have the next numbers.
    pub fn add_sets<'a>(&mut self, sets: impl IntoIterator<Item = &'a RegisterSet>) -> VmHandle {
        let step = Step::adding(sets, &self.state, self.turn.classes_to_change());
        let first = VmHandle(self.state.vms.arrivals());
        self.make(&step);
        first
    }

    /// Adds VMs given as columns, in order; gives the rows that cannot be used. A VM with such a row is kept in its place, and
    /// is unknown to every host.
    ///
    /// # Errors
    ///
    /// When the columns do not fit together, or there is no memory for them; nothing is added then.
    pub fn add_runs(&mut self, rows: Runs<'_>, who: Named<'_>) -> Result<Vec<RowError>, IntakeError> {
        rows.check()?;
        who.check(rows.len())?;
        let text = who.names.map_or(0, |names| names.bytes());
        room::ask(who.vms(rows.len()).saturating_mul(BYTES_OF_A_MEMBER).saturating_add(text))?;
        let pool = Arc::clone(&self.state.settings);
        let vmm_of = if pool.question.looks_at_vmm() { rows.vmm_of } else { &[] };
        let rows = Runs { vmm_of, ..rows };
        let (classes, errors) = intake::classes(self.turn.classes_to_change(), &mut self.known, rows, &pool.pool)?;
        self.add_named(&classes, who);
        Ok(errors)
    }

    /// Adds VMs of these classes, whose names and homes were checked.
    pub(super) fn add_named(&mut self, classes: &[VmClass], who: Named<'_>) {
        let mut guests = vec![0; who.homes.map_or(0, |homes| homes.len())];
        for home in who.home_of.iter().filter_map(|home| usize::try_from(*home).ok()) {
            guests.get_mut(home).into_iter().for_each(|guests| *guests += 1);
        }
        let enter =
            |(home, guests): (&str, &u64)| if *guests == 0 { NOWHERE } else { self.state.places.enter(home, *guests) };
        let places: Vec<u32> = who.homes.iter().flat_map(Texts::iter).zip(&guests).map(enter).collect();
        let tag = |at: usize| {
            let home = who.home_of.get(at).and_then(|home| usize::try_from(*home).ok());
            home.and_then(|home| places.get(home)).copied().unwrap_or(NOWHERE)
        };
        let member = |(at, class): (usize, &VmClass)| Member { class: class.number(), tag: tag(at) };
        let members: Vec<Member> = match who.like {
            Some(like) => like.iter().filter_map(|run| classes.get(*run as usize)).enumerate().map(member).collect(),
            None => classes.iter().enumerate().map(member).collect(),
        };
        let name = |at: usize, text: &mut String| who.names.iter().for_each(|names| names.write(at, text));
        self.state.add(&members, name, &mut self.turned);
    }

    /// Takes VMs away. Rows are those that there are by now; the rows after them move up.
    ///
    /// # Errors
    ///
    /// When one is not there; none is removed then.
    pub fn remove_vms<'a>(
        &mut self,
        vms: impl IntoIterator<Item = impl Into<Who<'a, VmHandle>>>,
    ) -> Result<(), MissingError> {
        let step = Step::removing(vms, &self.state)?;
        self.make(&step);
        Ok(())
    }

    /// Gives a VM other registers, as after a reconfiguration: it keeps its handle, its name and its home.
    ///
    /// # Errors
    ///
    /// When there is no such VM.
    pub fn update_vm<'a>(&mut self, vm: impl Into<Who<'a, VmHandle>>, set: &RegisterSet) -> Result<(), MissingError> {
        let step = Step::updating(vm.into(), set, &self.state, self.turn.classes_to_change())?;
        self.make(&step);
        Ok(())
    }

    /// A VM runs on another host from now on; `None`: nobody knows where.
    ///
    /// # Errors
    ///
    /// When there is no such VM or host.
    pub fn move_vm<'a>(
        &mut self,
        vm: impl Into<Who<'a, VmHandle>>,
        host: Option<Who<'a, HostHandle>>,
    ) -> Result<(), MissingError> {
        let step = Step::moving(vm.into(), host, &self.state)?;
        self.make(&step);
        Ok(())
    }

    /// Adds hosts in order: each is one of `kinds`. Where `names` are not given, hosts have those of their captures. Gives the
    /// handle of the first.
    ///
    /// # Errors
    ///
    /// When a row names a kind that there is not; nothing is added then.
    pub fn add_hosts(
        &mut self,
        kinds: &[Host],
        kind_of: &[u32],
        names: Option<Texts<'_>>,
    ) -> Result<HostHandle, RowError> {
        check_kinds(kinds, kind_of)?;
        let numbers: Vec<u32> = kinds.iter().map(|kind| self.kind(kind)).collect();
        let member = |kind: &u32| numbers.get(*kind as usize).map(|kind| Member { class: UNJUDGED, tag: *kind });
        let members: Vec<Member> = kind_of.iter().filter_map(member).collect();
        let own = |at: usize| kind_of.get(at).and_then(|kind| kinds.get(*kind as usize)).map_or("", Host::name);
        let name = |at: usize, text: &mut String| {
            text.push_str(names.map_or_else(|| own(at), |names| names.get(at).unwrap_or("")));
        };
        let first = Arc::make_mut(&mut self.state.hosts).add(&members, name, &self.state.settings.pool);
        self.touched.extend((first..).take(members.len()));
        Ok(HostHandle(first))
    }

    /// Gives hosts other captures, as after a reboot into another kernel: they keep handles and names.
    ///
    /// # Errors
    ///
    /// When there is no such host; nothing is changed then.
    pub fn update_hosts<'a>(
        &mut self,
        hosts: impl IntoIterator<Item = (impl Into<Who<'a, HostHandle>>, &'a Host)>,
    ) -> Result<(), MissingError> {
        let find = |(host, kind): (_, &'a Host)| {
            Into::<Who<'_, HostHandle>>::into(host).find(&self.state.hosts).map(|(host, _)| (host, kind))
        };
        let found: Vec<(u64, &Host)> = hosts.into_iter().map(find).collect::<Result<_, _>>()?;
        for (host, kind) in found {
            checkpoint();
            room::need(BYTES_OF_A_STEP);
            let kind = self.kind(kind);
            let member = Member { class: UNJUDGED, tag: kind };
            let before = Arc::make_mut(&mut self.state.hosts).change(host, |known| *known = member);
            self.leave_host_class(before);
            self.touched.push(host);
        }
        Ok(())
    }

    /// Takes hosts away. VMs that run there keep their home: nobody has its name now.
    ///
    /// # Errors
    ///
    /// When one is not there; none is removed then.
    pub fn remove_hosts<'a>(
        &mut self,
        hosts: impl IntoIterator<Item = impl Into<Who<'a, HostHandle>>>,
    ) -> Result<(), MissingError> {
        let found = hosts.into_iter().map(|host| host.into().find(&self.state.hosts).map(|(host, _)| host));
        let found: Vec<u64> = found.collect::<Result<_, _>>()?;
        for host in found {
            checkpoint();
            room::need(BYTES_OF_A_STEP);
            let before = Arc::make_mut(&mut self.state.hosts).remove(host);
            self.leave_host_class(before);
            self.touched.push(host);
        }
        Ok(())
    }

    fn leave_host_class(&mut self, before: Option<Member>) {
        if let Some(Member { class, .. }) = before.filter(|before| before.class != UNJUDGED) {
            self.state.host_classes.leave(class, self.state.generation);
        }
    }

    /// The number of a capture.
    fn kind(&mut self, kind: &Host) -> u32 {
        // Looked for first: captures that are known are not copied.
        self.hosts.find_kind(kind).unwrap_or_else(|| {
            room::need(self.hosts.bytes());
            Arc::make_mut(&mut self.hosts).kind(kind)
        })
    }
}

fn check_kinds(kinds: &[Host], kind_of: &[u32]) -> Result<(), RowError> {
    match kind_of.iter().enumerate().find(|(_, kind)| **kind as usize >= kinds.len()) {
        Some((row, kind)) => {
            let problem = format!("host kind {kind} is out of range; there are {}", kinds.len());
            Err(RowError { row, problem })
        }
        None => Ok(()),
    }
}
