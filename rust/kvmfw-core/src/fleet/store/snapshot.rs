//! One version of a fleet.

use std::sync::{Arc, OnceLock};

use super::classes::{ChangedClass, Classes};
use super::map::Map;
use super::members::Roster;
use super::neighbours::Member;
use super::places::{NOWHERE, Places};
use super::who::{HostHandle, VmHandle, Who, no_row};
use crate::error::MissingError;
use crate::explain::{forget_value, unusable_finding};
use crate::fleet::class::{HostClass, VmClass};
use crate::fleet::classes::class_map::ClassMap;
use crate::fleet::limits::is_small;
use crate::fleet::tables::bit_rows::Sides;
use crate::fleet::tables::fresh::Fresh;
use crate::fleet::tables::world::{Settings, Tables, World};
use crate::host::Host;
use crate::judgement::Unit;
use crate::policy::{is_judged_by_value, is_reduced};
use crate::pool::Threads;
use crate::question::Question;
use crate::room;
use crate::set::RegisterSet;
use crate::verdict::{Verdict, by_unit, validate};

/// Everything about one version. The parts of two versions that are the same are one.
#[derive(Clone, Debug)]
pub(in crate::fleet) struct State {
    pub(in crate::fleet) settings: Arc<Settings>,
    pub(in crate::fleet) generation: u64,
    /// The generation since which classes are numbered as they are.
    pub(in crate::fleet) numbered_since: u64,
    pub(in crate::fleet) vms: Arc<Roster>,
    pub(in crate::fleet) hosts: Arc<Roster>,
    pub(in crate::fleet) places: Places,
    pub(in crate::fleet) vm_classes: Classes,
    pub(in crate::fleet) host_classes: Classes,
    /// What is judged of all VM classes but those that came since.
    pub(in crate::fleet) tables: Arc<Tables>,
    /// VM classes that came since.
    pub(in crate::fleet) fresh: Map<VmClass, Arc<Fresh>>,
    /// The tables with these, made when somebody asks about all classes.
    pub(in crate::fleet) whole: OnceLock<Arc<Tables>>,
}

/// A fleet as it was at one moment, for as long as it is kept. To take one or to clone it is a pointer; all answers of one are
/// of the same generation, whatever happens meanwhile.
#[derive(Clone, Debug)]
pub struct Snapshot(pub(in crate::fleet) Arc<State>);

/// Which classes mean something else than they did, in one generation after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The generation that this is the state of.
    pub generation: u64,
    /// VM classes, ascending.
    pub vm_classes: Vec<ChangedClass>,
    /// Host classes, ascending.
    pub host_classes: Vec<ChangedClass>,
}

impl Snapshot {
    /// How the fleet is judged.
    pub fn question(&self) -> Question {
        self.0.settings.question
    }

    /// The threads of the fleet, for work that may have to stop.
    pub fn threads(&self) -> Threads {
        Threads(Arc::clone(&self.0.settings.pool))
    }

    /// How often the fleet had been changed.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// How many VMs there are.
    pub fn vm_count(&self) -> usize {
        self.0.vms.len()
    }

    /// How many hosts there are.
    pub fn host_count(&self) -> usize {
        self.0.hosts.len()
    }

    /// A VM by row, name or handle.
    ///
    /// # Errors
    ///
    /// When there is no such VM.
    pub fn vm<'a>(&self, vm: impl Into<Who<'a, VmHandle>>) -> Result<VmHandle, MissingError> {
        self.find_vm(vm).map(|(handle, _)| handle)
    }

    /// A host by row, name or handle.
    ///
    /// # Errors
    ///
    /// When there is no such host.
    pub fn host<'a>(&self, host: impl Into<Who<'a, HostHandle>>) -> Result<HostHandle, MissingError> {
        self.find_host(host).map(|(handle, _)| HostHandle(handle))
    }

    /// The row of a VM; `None` where it is not there.
    pub fn vm_row(&self, vm: VmHandle) -> Option<usize> {
        self.0.vms.row(vm.0)
    }

    /// The row of a host; `None` where it is not there.
    pub fn host_row(&self, host: HostHandle) -> Option<usize> {
        self.0.hosts.row(host.0)
    }

    /// The name of a VM; `None` where it is not there.
    pub fn vm_name(&self, vm: VmHandle) -> Option<&str> {
        self.0.vms.name(vm.0)
    }

    /// The name of a host; `None` where it is not there.
    pub fn host_name(&self, host: HostHandle) -> Option<&str> {
        self.0.hosts.name(host.0)
    }

    /// Whether VMs were asked for by name before. The first time, all names are looked at.
    pub fn knows_vm_names(&self) -> bool {
        self.0.vms.knows_names()
    }

    /// Whether tables of all classes are there, or soon made.
    pub fn has_tables(&self) -> bool {
        let (vms, hosts) = self.class_counts();
        is_small(vms, hosts) || self.0.fresh.len() == 0 || self.0.whole.get().is_some()
    }

    /// The row of the host that a VM runs on, where that is known.
    pub fn home(&self, vm: VmHandle) -> Option<usize> {
        self.home_name(vm).and_then(|name| self.0.first_host(name))
    }

    /// The names of the VMs in some rows: where each starts, with the end of the last one, and all of them together. Rows that there
    /// are not are left out.
    pub fn vm_names(&self, rows: impl Iterator<Item = usize>) -> (Vec<i64>, String) {
        self.0.vms.names(rows)
    }

    /// The names of the hosts in some rows, in the same form.
    pub fn host_names(&self, rows: impl Iterator<Item = usize>) -> (Vec<i64>, String) {
        self.0.hosts.names(rows)
    }

    /// The handles of all VMs, by row.
    pub fn vm_handles(&self) -> Vec<VmHandle> {
        listed(self.vm_count(), self.0.vms.iter().map(|(handle, ..)| VmHandle(handle)))
    }

    /// The handles of all hosts, by row.
    pub fn host_handles(&self) -> Vec<HostHandle> {
        listed(self.host_count(), self.0.hosts.iter().map(|(handle, ..)| HostHandle(handle)))
    }

    /// The class of a VM; `None` where there is no such row.
    pub fn vm_class(&self, row: usize) -> Option<u32> {
        self.0.vms.at(row).map(|(_, member)| member.class)
    }

    /// The class of each VM.
    pub fn vm_classes(&self) -> Vec<u32> {
        listed(self.vm_count(), self.vm_rows().iter())
    }

    /// The class of each host.
    pub fn host_classes(&self) -> Vec<u32> {
        listed(self.host_count(), self.host_rows().iter())
    }

    /// One more than the greatest numbers of a VM class and of a host class: the size of tables over classes.
    pub fn class_counts(&self) -> (usize, usize) {
        let fresh = self.0.fresh.at(self.0.fresh.len().wrapping_sub(1)).and_then(|(leaf, at)| leaf.get(at));
        let fresh = fresh.map_or(0, |(class, _)| class.place() + 1);
        let world = &self.0.tables.world;
        (world.vms.classes.len().max(fresh), world.hosts.classes.len())
    }

    /// How many VM classes and host classes have members.
    pub fn used_classes(&self) -> (usize, usize) {
        (self.0.vm_classes.used(), self.0.host_classes.used())
    }

    /// The VM classes that have members, ascending, and how many.
    pub fn vm_class_members(&self) -> Vec<(u32, u64)> {
        listed(self.0.vm_classes.used(), self.0.vm_classes.in_use())
    }

    /// The host classes that have members, ascending, and how many.
    pub fn host_class_members(&self) -> Vec<(u32, u64)> {
        listed(self.0.host_classes.used(), self.0.host_classes.in_use())
    }

    /// Which classes mean something else than they did in a generation: they got their first member since, lost their last
    /// one, or both. What is known of any other class stays true.
    ///
    /// # Errors
    ///
    /// When the generation is yet to come, or was before the fleet went on in this process: it is one of another fleet.
    pub fn changes_since(&self, generation: u64) -> Result<Changes, MissingError> {
        if generation > self.0.generation {
            let problem = format!("generation {generation} is yet to come; this is generation {}", self.0.generation);
            return Err(MissingError { problem, row: None });
        }
        if generation < self.0.numbered_since {
            let since = self.0.numbered_since;
            let problem =
                format!("generation {generation} was another process's: classes are numbered anew since {since}");
            return Err(MissingError { problem, row: None });
        }
        Ok(Changes {
            generation: self.0.generation,
            vm_classes: self.0.vm_classes.changed_since(generation),
            host_classes: self.0.host_classes.changed_since(generation),
        })
    }

    /// All that tells a VM class from others, as bytes that are the same in every fleet; none for VMs whose rows could not
    /// be used.
    pub fn class_key(&self, vm_class: u32) -> Option<Vec<u8>> {
        let vm_class = VmClass::of(vm_class);
        match self.0.fresh.value(vm_class) {
            Some(fresh) => fresh.told(&self.0.tables.world.vms).1,
            None => self.0.tables.world.vms.class_key(vm_class),
        }
    }

    /// What the units judge, by number.
    pub fn units(&self) -> Vec<Unit> {
        let registers = self.0.tables.world.vms.units.iter().map(|unit| Unit::Register(unit.register));
        [Unit::Vcpu, Unit::List].into_iter().chain(registers).collect()
    }

    /// For each VM the row of the host that it runs on: the first one of the name that was said. `None` where nobody said, or
    /// no host has the name.
    pub fn homes(&self) -> Vec<Option<usize>> {
        let state = &self.0;
        let by_place: hashbrown::HashMap<u32, usize, foldhash::fast::FixedState> =
            state.places.iter().filter_map(|(place, name, _)| Some((place, state.first_host(name)?))).collect();
        listed(self.vm_count(), state.vms.iter().map(|(_, member, _)| by_place.get(&member.tag).copied()))
    }

    /// Where VMs are said to run and no host has the name, and how many are there; by name.
    pub fn unmatched_homes(&self) -> Vec<(String, u64)> {
        let state = &self.0;
        let lost = state.places.iter().filter(|(_, name, _)| state.first_host(name).is_none());
        let mut lost: Vec<(String, u64)> = lost.map(|(_, name, guests)| (name.to_owned(), guests)).collect();
        lost.sort_unstable();
        lost
    }

    /// The name of the place where a VM is said to run.
    pub fn home_name(&self, vm: VmHandle) -> Option<&str> {
        let member = self.0.vms.member(vm.0).filter(|member| member.tag != NOWHERE)?;
        self.0.places.name(member.tag)
    }

    /// The verdict of one pair, with every finding. Values that no unit looks at are not kept, and not shown.
    ///
    /// # Errors
    ///
    /// When there is no such VM or host.
    pub fn explain<'a>(
        &self,
        vm: impl Into<Who<'a, VmHandle>>,
        host: impl Into<Who<'a, HostHandle>>,
    ) -> Result<Verdict, MissingError> {
        self.told(vm.into(), host.into(), validate)
    }

    /// What each unit says of one pair by itself, as if the host took all others: the findings behind
    /// [`Snapshot::unit_outcomes`]. A saved ID register that the host refuses hides and shows here as if it were taken.
    ///
    /// # Errors
    ///
    /// When there is no such VM or host.
    pub fn explain_units<'a>(
        &self,
        vm: impl Into<Who<'a, VmHandle>>,
        host: impl Into<Who<'a, HostHandle>>,
    ) -> Result<Verdict, MissingError> {
        self.told(vm.into(), host.into(), by_unit)
    }

    fn told(
        &self,
        vm: Who<'_, VmHandle>,
        host: Who<'_, HostHandle>,
        judge: impl Fn(&RegisterSet, &Host, Question) -> Verdict,
    ) -> Result<Verdict, MissingError> {
        let ((_, vm), (row, host)) = (self.find_vm(vm)?, self.find_host(host)?);
        let world = &self.0.tables.world;
        let kind = world.hosts.kinds.get(host.tag as usize);
        let kind = kind.ok_or_else(|| no_row::<HostHandle>(self.0.hosts.row(row).unwrap_or(0), &self.0.hosts))?;
        let Some(set) = self.class_set(vm.class) else {
            let policy = self.question().policy;
            return Ok(Verdict::new(vec![unusable_finding()], policy.row().not_judged(), policy));
        };
        let mut verdict = judge(&set, kind, self.question());
        for finding in &mut verdict.findings {
            if finding.register.is_some_and(|register| is_reduced(register, finding.saved.as_ref())) {
                forget_value(finding, verdict.policy.row());
            } else if finding.register.is_some_and(|register| !is_judged_by_value(register)) {
                finding.saved = None;
            }
        }
        Ok(verdict)
    }

    pub(in crate::fleet) fn find_vm<'a>(
        &self,
        vm: impl Into<Who<'a, VmHandle>>,
    ) -> Result<(VmHandle, Member), MissingError> {
        vm.into().find(&self.0.vms).map(|(handle, member)| (VmHandle(handle), member))
    }

    pub(in crate::fleet) fn find_host<'a>(
        &self,
        host: impl Into<Who<'a, HostHandle>>,
    ) -> Result<(u64, Member), MissingError> {
        host.into().find(&self.0.hosts)
    }

    /// The class of each VM.
    pub(in crate::fleet) fn vm_rows(&self) -> &ClassMap {
        self.0.vms.classes()
    }

    /// The class of each host.
    pub(in crate::fleet) fn host_rows(&self) -> &ClassMap {
        self.0.hosts.classes()
    }

    pub(in crate::fleet) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The tables over all classes.
    pub(in crate::fleet) fn tables(&self) -> &Tables {
        if self.0.fresh.len() == 0 {
            return &self.0.tables;
        }
        self.0.whole.get_or_init(|| {
            let fresh = self.0.fresh.rows().map(|(class, fresh)| (*class, fresh.as_ref()));
            Arc::new(Tables::new(Arc::new(self.0.tables.world.with_fresh(fresh, &self.0.settings))))
        })
    }

    /// All classes, judged.
    pub(in crate::fleet) fn world(&self) -> &World {
        &self.tables().world
    }

    /// What rows over hosts are made of.
    pub(in crate::fleet) fn sides(&self) -> Sides<'_> {
        self.tables().sides(self.host_rows(), &self.0.settings)
    }

    /// The outcome of a pair of classes, without tables of all.
    pub(in crate::fleet) fn outcome(&self, vm_class: VmClass, host_class: HostClass) -> u8 {
        match self.0.fresh.value(vm_class) {
            Some(fresh) => crate::fleet::grid::found(fresh.row.get(host_class.place()).copied()),
            None => self.0.tables.world.outcome(vm_class, host_class),
        }
    }
}

/// So many items as a list.
fn listed<T>(count: usize, items: impl Iterator<Item = T>) -> Vec<T> {
    let mut list = Vec::new();
    room::grow(&mut list, count);
    list.extend(items);
    list
}

impl State {
    /// The classes of the VMs that run on a host. All VMs are looked at.
    pub(in crate::fleet) fn residents(&self, host: u64) -> impl Iterator<Item = u32> {
        let name = self.hosts.name(host).filter(|name| self.hosts.first_bearer(name) == Some(host));
        let place = name.and_then(|name| self.places.find(name).ok());
        let vms = place.into_iter().flat_map(|place| self.vms.iter().filter(move |(_, vm, _)| vm.tag == place));
        vms.map(|(_, vm, _)| vm.class)
    }

    /// The row of the first host with a name.
    fn first_host(&self, name: &str) -> Option<usize> {
        self.hosts.first_bearer(name).and_then(|handle| self.hosts.row(handle))
    }
}
