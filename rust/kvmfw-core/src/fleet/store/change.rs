//! Changes: some steps from one version to the next, all of them or none.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashSet;

use super::classes::Classes;
use super::members::{Member, UNJUDGED};
use super::named::{Named, Texts};
use super::places::NOWHERE;
use super::shared::{Shared, Writer};
use super::snapshot::State;
use super::who::{HostHandle, VmHandle, Who};
use crate::error::{IntakeError, MissingError, RowError};
use crate::fleet::class::VmClass;
use crate::fleet::classes::hosts::Hosts;
use crate::fleet::classes::intake::{self, Runs};
use crate::fleet::classes::vms::Vms;
use crate::host::Host;
use crate::room;
use crate::set::RegisterSet;

/// What a member takes while it is added: its class, twice, its row, and its place in the tree of names.
const BYTES_OF_A_MEMBER: usize = 128;
/// What a change of one member takes: the ways to what it changes are copied.
const BYTES_OF_A_STEP: usize = 1 << 14;
/// So many bytes are copied within a fraction of a millisecond.
const MOST_COPIED_AT_ONCE: usize = 1 << 20;
/// Fewer VMs than this are counted one by one.
const FEW: usize = 1 << 8;

/// A change of a fleet: some steps, of which readers see all or none. Nothing happens until [`Change::commit`]; a change that is
/// dropped has not been. Other changes wait for this one; a thread that begins two waits for itself.
#[derive(Debug)]
pub struct Change {
    pub(super) shared: Arc<Shared>,
    pub(super) base: Arc<State>,
    pub(super) state: State,
    pub(super) writer: Writer,
    /// VM classes that had no member before.
    pub(super) born: Vec<VmClass>,
    /// VM classes that lost their last member.
    pub(super) left: Vec<VmClass>,
    /// Captures, with those that are new.
    pub(super) hosts: Arc<Hosts>,
    /// Hosts that are new or have another capture.
    pub(super) touched: Vec<u64>,
    /// Whether it may have added to the classes that the writer knows.
    has_new_classes: bool,
    pub(super) is_done: bool,
}

impl Change {
    pub(in crate::fleet) fn begin(shared: &Arc<Shared>) -> Self {
        // Longer than anybody waits.
        const FOR_EVER: Duration = Duration::from_secs(1 << 30);
        loop {
            if let Some(change) = Self::try_begin(Arc::clone(shared), FOR_EVER) {
                return change;
            }
        }
    }

    pub(in crate::fleet) fn try_begin(shared: Arc<Shared>, patience: Duration) -> Option<Self> {
        room::need(BYTES_OF_A_STEP);
        let writer = shared.take(patience)?;
        let base = shared.now.load_full();
        let mut state = State { whole: OnceLock::new(), ..State::clone(&base) };
        state.generation += 1;
        let hosts = Arc::clone(&base.tables.world.hosts);
        let (born, left, touched) = (Vec::new(), Vec::new(), Vec::new());
        let (has_new_classes, is_done) = (false, false);
        Some(Self { shared, base, state, writer, born, left, hosts, touched, has_new_classes, is_done })
    }

    /// Whether who bears the name of a VM is known without looking at all.
    pub fn knows_vm_names(&self) -> bool {
        self.state.vms.knows_names()
    }

    /// Whether a few VMs can come in microseconds: nothing large has to be copied for them.
    pub fn takes_in_promptly(&self) -> bool {
        Arc::strong_count(&self.writer.vms) == 1 || self.writer.vms.bytes() < MOST_COPIED_AT_ONCE
    }

    /// How many VMs there are by now.
    pub fn vm_count(&self) -> usize {
        self.state.vms.len()
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
        let mut seen = HashSet::with_hasher(FixedState::default());
        let borne = names.into_iter().enumerate().filter(|(_, name)| !name.is_empty());
        borne.filter(|(_, name)| !seen.insert(*name) || self.has_vm(name)).map(|(at, _)| at).collect()
    }

    /// Adds VMs in order, with their names and homes; gives the handle of the first. Those after it have the next numbers.
    pub fn add_sets<'a>(&mut self, sets: impl IntoIterator<Item = &'a RegisterSet>) -> VmHandle {
        let sets: Vec<&RegisterSet> = sets.into_iter().collect();
        let mut members = Vec::new();
        room::grow(&mut members, sets.len());
        for set in &sets {
            room::need(BYTES_OF_A_STEP);
            let class = self.classes_to_change().class_of(set.vcpu, set.registers());
            let tag = set.host.as_deref().map_or(NOWHERE, |home| self.state.places.enter(home, 1));
            members.push(Member { class: class.number(), tag });
        }
        self.add(&members, |at| sets.get(at).map_or("", |set| set.name.as_str()))
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
        let text = who.names.map_or(0, |names| names.text.len());
        room::ask(rows.len().saturating_mul(BYTES_OF_A_MEMBER).saturating_add(text))?;
        let pool = Arc::clone(&self.state.settings);
        let (classes, errors) = intake::classes(self.classes_to_change(), rows, &pool.pool)?;
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
        let members: Vec<Member> =
            classes.into_iter().enumerate().map(|(at, class)| Member { class: class.number(), tag: tag(at) }).collect();
        self.add(&members, |at| who.names.and_then(|names| names.get(at)).unwrap_or(""));
        Ok(errors)
    }

    /// Who is alike, to be added to: a copy, where the last version has it too.
    fn classes_to_change(&mut self) -> &mut Vms {
        self.has_new_classes = true;
        if Arc::get_mut(&mut self.writer.vms).is_none() {
            room::need(self.writer.vms.bytes());
        }
        Arc::make_mut(&mut self.writer.vms)
    }

    /// Gives the numbers of classes back that nobody is of, as if the change had not been.
    fn forget_classes(&self, vms: &mut Vms) {
        let is_used = |class: &VmClass| self.base.vm_classes.members(class.number()) > 0;
        for class in VmClass::first(vms.classes.len()).filter(|class| !is_used(class)) {
            vms.classes.forget(class);
        }
    }

    fn add<'a>(&mut self, members: &[Member], name: impl Fn(usize) -> &'a str) -> VmHandle {
        let classes = self.writer.vms.classes.len();
        let generation = self.state.generation;
        if members.len() < FEW {
            for member in members {
                self.join(member.class, 1);
            }
        } else {
            room::need(classes * size_of::<u64>());
            let mut counts = vec![0; classes];
            for member in members {
                counts.get_mut(member.class as usize).into_iter().for_each(|count| *count += 1);
            }
            if self.state.vms.arrivals() == 0 {
                self.born.extend(
                    VmClass::first(classes).zip(&counts).filter(|(_, count)| **count > 0).map(|(class, _)| class),
                );
                self.state.vm_classes = Classes::of(&counts, generation);
            } else {
                for (class, count) in (0..).zip(counts).filter(|(_, count)| *count > 0) {
                    self.join(class, count);
                }
            }
        }
        VmHandle(Arc::make_mut(&mut self.state.vms).add(members, name))
    }

    fn join(&mut self, class: u32, count: u64) {
        if self.state.vm_classes.members(class) == 0 && self.base.vm_classes.members(class) == 0 {
            self.born.push(VmClass::of(class));
        }
        self.state.vm_classes.join(class, count, self.state.generation);
    }

    fn leave(&mut self, class: u32) {
        if self.state.vm_classes.leave(class, self.state.generation) {
            self.left.push(VmClass::of(class));
        }
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
        let found = vms.into_iter().map(|vm| self.vm(vm));
        let mut found: Vec<VmHandle> = found.collect::<Result<_, _>>()?;
        found.sort_unstable();
        found.dedup();
        for vm in found {
            room::need(BYTES_OF_A_STEP);
            if let Some(member) = Arc::make_mut(&mut self.state.vms).remove(vm.0) {
                self.leave(member.class);
                self.state.places.leave(member.tag);
            }
        }
        Ok(())
    }

    /// Gives a VM other registers, as after a reconfiguration: it keeps its handle, its name and its home.
    ///
    /// # Errors
    ///
    /// When there is no such VM.
    pub fn update_vm<'a>(&mut self, vm: impl Into<Who<'a, VmHandle>>, set: &RegisterSet) -> Result<(), MissingError> {
        let vm = self.vm(vm)?;
        room::need(BYTES_OF_A_STEP);
        let class = self.classes_to_change().class_of(set.vcpu, set.registers());
        // First the new class, then the old one: where they are the same, it never was without members.
        self.join(class.number(), 1);
        let before = Arc::make_mut(&mut self.state.vms).change(vm.0, |member| member.class = class.number());
        if let Some(before) = before {
            self.leave(before.class);
        }
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
        let vm = self.vm(vm)?;
        let host = host.map(|host| host.find(&self.state.hosts)).transpose()?;
        let name = host.and_then(|(host, _)| self.state.hosts.name(host)).map(str::to_owned);
        let tag = name.map_or(NOWHERE, |name| self.state.places.enter(&name, 1));
        let before = Arc::make_mut(&mut self.state.vms).change(vm.0, |member| member.tag = tag);
        if let Some(before) = before {
            self.state.places.leave(before.tag);
        }
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
        let name = |at: usize| names.map_or_else(|| own(at), |names| names.get(at).unwrap_or(""));
        let first = Arc::make_mut(&mut self.state.hosts).add(&members, name);
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

impl Drop for Change {
    fn drop(&mut self) {
        let mut writer = std::mem::take(&mut self.writer);
        if !self.is_done && self.has_new_classes {
            // A version that was not finished may have them as well.
            self.state.tables = Arc::clone(&self.base.tables);
            if let Some(vms) = Arc::get_mut(&mut writer.vms) {
                self.forget_classes(vms);
            }
        }
        self.shared.give_back(writer);
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
