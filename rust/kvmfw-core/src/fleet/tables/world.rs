//! Everything that is judged, as one version has it: classes of both sides, and tables over them.
//!
//! A world does not change. The next one shares what is the same, and judges what is new.

use std::sync::{Arc, OnceLock};

use super::bit_rows::{HostBits, Sides};
use super::blocking::Blocking;
use super::class_table::Dense;
use super::fresh::Fresh;
use super::groups::Groups;
use super::judged::Judged;
use crate::fleet::class::{HostClass, VmClass};
use crate::fleet::classes::class_map::ClassMap;
use crate::fleet::classes::hosts::Hosts;
use crate::fleet::classes::vms::Vms;
use crate::fleet::limits::Limits;
use crate::pool::Pool;
use crate::question::Question;
use crate::room;

/// Groups that were chosen for few classes are kept up to this many.
const MOST_UNGROUPED: usize = 1 << 12;

/// How a fleet judges and works; the same for all of its versions.
#[derive(Debug)]
pub(in crate::fleet) struct Settings {
    pub(in crate::fleet) question: Question,
    pub(in crate::fleet) limits: Limits,
    pub(in crate::fleet) pool: Arc<Pool>,
}

/// VM classes, host classes and what units say about them.
#[derive(Debug, Default)]
pub(in crate::fleet) struct World {
    pub(in crate::fleet) vms: Arc<Vms>,
    pub(in crate::fleet) hosts: Arc<Hosts>,
    pub(in crate::fleet) judged: Judged,
    /// How many vCPU configurations and register units `judged` knows.
    size: (usize, usize),
    /// How many VM classes there were when units were judged last.
    grouped: usize,
    /// The class table; filled when first needed.
    dense: OnceLock<Option<Dense>>,
    /// For every pair of classes the first unit with the pair's outcome.
    blocking: OnceLock<Option<Blocking>>,
    /// Joined units, for rows over many hosts; made when first needed.
    groups: OnceLock<Groups>,
}

impl World {
    /// Without hosts there is nothing to judge; the first hosts find everything to be done.
    pub(in crate::fleet) fn unjudged(vms: Arc<Vms>) -> Self {
        Self { vms, ..Self::default() }
    }

    /// Judges everything anew.
    pub(in crate::fleet) fn built(vms: Arc<Vms>, mut hosts: Hosts, settings: &Settings) -> Self {
        hosts.compile(&vms, settings.question, &settings.pool);
        let judged = Judged::new(&vms, &hosts, &settings.pool, settings.limits);
        let (size, grouped) = ((vms.configs.len(), vms.units.len()), vms.classes.len());
        Self { vms, hosts: Arc::new(hosts), judged, size, grouped, ..Self::default() }
    }

    /// Whether tables can be added to for these VMs: not when vCPU configurations or units are new, nor when classes are many
    /// more than when they were last grouped.
    pub(in crate::fleet) fn can_learn(&self, vms: &Vms) -> bool {
        let classes = vms.classes.len();
        let is_grown = classes > MOST_UNGROUPED && classes > 2 * self.grouped;
        self.size == (vms.configs.len(), vms.units.len()) && !is_grown && !self.hosts.class_of_kind.is_empty()
    }

    /// The world with what these VMs and hosts have besides; the numbers of `changed` classes were those of others before.
    /// `None` where everything must be judged anew.
    pub(in crate::fleet) fn with(
        &self,
        vms: Arc<Vms>,
        mut hosts: Arc<Hosts>,
        changed: &[VmClass],
        settings: &Settings,
    ) -> Option<Self> {
        if !self.can_learn(&vms) {
            return None;
        }
        if hosts.class_of_kind.len() < hosts.kinds.len() {
            room::need(hosts.bytes());
            Arc::make_mut(&mut hosts).compile_new(&vms, settings.question, &settings.pool);
        }
        room::need(self.judged.bytes());
        let mut judged = self.judged.clone();
        judged.catch_up(&vms, &hosts, changed, &settings.pool)?;
        Some(Self { vms, hosts, judged, size: self.size, grouped: self.grouped, ..Self::default() })
    }

    /// The world with VM classes that came since.
    pub(in crate::fleet) fn with_fresh<'a>(
        &self,
        fresh: impl Iterator<Item = (VmClass, &'a Fresh)>,
        settings: &Settings,
    ) -> Self {
        room::need(self.vms.bytes());
        let (mut vms, mut changed) = (Vms::clone(&self.vms), Vec::new());
        for (class, fresh) in fresh {
            fresh.put(class, &mut vms);
            changed.push(class);
        }
        let vms = Arc::new(vms);
        let world = self.with(Arc::clone(&vms), Arc::clone(&self.hosts), &changed, settings);
        world.unwrap_or_else(|| Self::built(vms, Hosts::clone(&self.hosts), settings))
    }

    /// Whether there may be a class table.
    pub(in crate::fleet) fn has_class_table(&self, limits: Limits) -> bool {
        Dense::fits(&self.vms, &self.hosts, limits)
    }

    /// How many cells a class table has.
    pub(in crate::fleet) fn cells(&self) -> usize {
        self.vms.classes.len().saturating_mul(self.hosts.classes.len())
    }

    /// The class table, where it was made.
    pub(in crate::fleet) fn known_dense(&self) -> Option<&Dense> {
        self.dense.get()?.as_ref()
    }

    /// The class table, where there may be one.
    pub(in crate::fleet) fn dense(&self, settings: &Settings) -> Option<&Dense> {
        if !self.has_class_table(settings.limits) {
            return None;
        }
        let new = || Dense::new(&self.judged, &self.vms, &self.hosts, &settings.pool, settings.limits);
        self.dense.get_or_init(new).as_ref()
    }

    /// The table of deciding units, where it was made.
    pub(in crate::fleet) fn known_blocking(&self) -> Option<&Blocking> {
        self.blocking.get()?.as_ref()
    }

    /// The table of deciding units; `None` where classes are too many.
    pub(in crate::fleet) fn blocking(&self, settings: &Settings) -> Option<&Blocking> {
        if !self.has_class_table(settings.limits) {
            return None;
        }
        let new = || Blocking::new(&self.judged, &self.vms, &self.hosts, &settings.pool);
        self.blocking.get_or_init(new).as_ref()
    }

    /// Joined units. To be asked for before threads go about their work: they would wait for each other.
    pub(in crate::fleet) fn groups(&self, settings: &Settings) -> &Groups {
        let new = || Groups::new(&self.judged.parts, &self.vms, &self.hosts, &settings.pool, settings.limits);
        self.groups.get_or_init(new)
    }

    /// The outcome of a pair of classes.
    pub(in crate::fleet) fn outcome(&self, vm_class: VmClass, host_class: HostClass) -> u8 {
        self.judged.outcome(&self.vms, &self.hosts, vm_class, host_class)
    }

    /// The outcomes of a VM class on all host classes.
    pub(in crate::fleet) fn row(&self, vm_class: VmClass, row: &mut [u8]) {
        match self.known_dense() {
            Some(dense) => dense.row(vm_class, row),
            None => self.judged.row(&self.vms, &self.hosts, vm_class, row),
        }
    }
}

/// A world, and rows over the hosts of one version.
#[derive(Debug, Default)]
pub(in crate::fleet) struct Tables {
    pub(in crate::fleet) world: Arc<World>,
    pub(in crate::fleet) bits: HostBits,
}

impl Tables {
    /// No row yet.
    pub(in crate::fleet) fn new(world: Arc<World>) -> Self {
        Self { world, bits: HostBits::default() }
    }

    /// What rows over hosts are made of.
    pub(in crate::fleet) fn sides<'a>(&'a self, rows: &'a ClassMap, settings: &'a Settings) -> Sides<'a> {
        let world = &self.world;
        Sides { judged: &world.judged, groups: world.groups(settings), vms: &world.vms, hosts: &world.hosts, rows }
    }
}
