//! The end of a change: what is new is judged, and readers see the next version.

use std::sync::Arc;

use super::change::Change;
use super::classes::Classes;
use super::map::Map;
use super::members::{Member, UNJUDGED};
use super::snapshot::Snapshot;
use crate::fleet::class::VmClass;
use crate::fleet::tables::fresh::Fresh;
use crate::fleet::tables::world::{Tables, World};

/// At least so many VM classes wait before there are new tables, or one for each eight that the tables have; their outcomes
/// take at most so many bytes.
const FEW: usize = 1 << 8;
const MOST_WAITING_BYTES: usize = 1 << 24;
/// What classes had that are gone is let go of when there were so many of them, and more than there are.
const MOST_GONE: usize = 1 << 12;
/// The same for captures that no host has.
const MOST_UNUSED_KINDS: usize = 1 << 6;

impl Change {
    /// Judges what is new, and lets readers see it. Where memory is short it unwinds, and the change has not been:
    /// [`crate::Threads::attend`] makes an error of that.
    pub fn commit(mut self) -> Snapshot {
        for classes in [&mut self.born, &mut self.left] {
            classes.sort_unstable();
            classes.dedup();
        }
        let (state, left) = (&mut self.state, &self.left);
        let gone: Vec<VmClass> =
            left.iter().copied().filter(|class| state.vm_classes.members(class.number()) == 0).collect();
        for class in &gone {
            state.fresh.forget(*class);
        }
        let born: Vec<VmClass> =
            self.born.iter().copied().filter(|class| state.vm_classes.members(class.number()) > 0).collect();
        self.writer.births += born.len();
        self.judge(&born);
        let snapshot = Snapshot(Arc::new(self.state.clone()));
        self.shared.now.store(Arc::clone(&snapshot.0));
        // Numbers of classes are given to others from the next generation on.
        if !gone.is_empty() {
            let vms = Arc::make_mut(&mut self.writer.vms);
            for class in &gone {
                vms.classes.forget(*class);
            }
        }
        self.is_done = true;
        snapshot
    }

    /// Whether the change ends in microseconds: no tables are made for it.
    pub fn ends_promptly(&mut self) -> bool {
        let new_kinds = self.hosts.kinds.len() > self.base.tables.world.hosts.kinds.len();
        let can_learn = self.base.tables.world.can_learn(&self.writer.vms);
        let born = self.born.len();
        self.state.hosts.len() == 0 || (!new_kinds && can_learn && self.can_wait(born) && !self.is_worth_letting_go())
    }

    /// Whether so many new VM classes may wait beside the tables.
    fn can_wait(&self, born: usize) -> bool {
        let world = &self.base.tables.world;
        let waiting = self.state.fresh.len() + born;
        let is_few = waiting <= FEW.max(world.vms.classes.len() / 8)
            && waiting * world.hosts.classes.len() <= MOST_WAITING_BYTES;
        born == 0 || (is_few && self.base.whole.get().is_none())
    }

    fn judge(&mut self, born: &[VmClass]) {
        let world = Arc::clone(&self.base.tables.world);
        if self.state.hosts.len() == 0 {
            // Without hosts there is nothing to judge.
            let state = &mut self.state;
            state.tables = Arc::new(Tables::new(Arc::new(World::unjudged(Arc::clone(&self.writer.vms)))));
            state.fresh = Map::default();
            return;
        }
        let new_kinds = self.hosts.kinds.len() > world.hosts.kinds.len();
        if self.is_worth_letting_go() || !world.can_learn(&self.writer.vms) {
            self.rebuild();
            return;
        }
        let can_wait = !new_kinds && self.can_wait(born.len());
        let state = &mut self.state;
        if can_wait {
            for class in born {
                let fresh = Fresh::new(*class, &self.writer.vms, &world.hosts, &world.judged);
                state.fresh.set(*class, Arc::new(fresh));
            }
            if !self.touched.is_empty() {
                state.tables = Arc::new(Tables::new(world));
            }
        } else {
            let changed: Vec<VmClass> =
                state.fresh.rows().map(|(class, _)| *class).chain(born.iter().copied()).collect();
            let (vms, hosts) = (Arc::clone(&self.writer.vms), Arc::clone(&self.hosts));
            let Some(world) = world.with(vms, hosts, &changed, &state.settings) else {
                self.rebuild();
                return;
            };
            state.tables = Arc::new(Tables::new(Arc::new(world)));
            state.fresh = Map::default();
        }
        self.place_hosts();
    }

    /// Gives the hosts that were touched their classes.
    fn place_hosts(&mut self) {
        let state = &mut self.state;
        let hosts = &state.tables.world.hosts;
        for host in std::mem::take(&mut self.touched) {
            let Some(member) = state.hosts.member(host).filter(|member| member.class == UNJUDGED) else { continue };
            let class = hosts.class_of_kind(member.tag);
            Arc::make_mut(&mut state.hosts).change(host, |member| member.class = class.number());
            state.host_classes.join(class.number(), 1, state.generation);
        }
    }

    /// Whether memory of what is gone is worth judging everything anew.
    fn is_worth_letting_go(&mut self) -> bool {
        if self.writer.births > MOST_GONE + 2 * self.state.vm_classes.used() {
            return true;
        }
        let kinds = self.hosts.kinds.len();
        if kinds <= MOST_UNUSED_KINDS + 2 * self.writer.kinds {
            return false;
        }
        self.writer.kinds = self.used_kinds().iter().filter(|used| **used).count();
        kinds > MOST_UNUSED_KINDS + 2 * self.writer.kinds
    }

    fn used_kinds(&self) -> Vec<bool> {
        let mut used = vec![false; self.hosts.kinds.len()];
        for (_, member, _) in self.state.hosts.iter() {
            used.get_mut(member.tag as usize).into_iter().for_each(|used| *used = true);
        }
        used
    }

    /// Judges everything anew, without what nobody has any more.
    fn rebuild(&mut self) {
        // The writer stays as it is until all is made: work can stop on the way.
        let (mut vms, mut births) = (Arc::clone(&self.writer.vms), self.writer.births);
        if births > MOST_GONE + self.state.vm_classes.used() {
            let kept: Vec<VmClass> = self.state.vm_classes.in_use().map(|(class, _)| VmClass::of(class)).collect();
            vms = Arc::new(vms.kept(&kept));
            births = kept.len();
        }
        let (hosts, numbers) = self.hosts.kept(&self.used_kinds());
        let state = &mut self.state;
        let world = World::built(Arc::clone(&vms), hosts, &state.settings);
        (self.writer.vms, self.writer.births) = (vms, births);
        let members: Vec<(u64, Member)> = state.hosts.iter().map(|(host, member, _)| (host, member)).collect();
        let mut counts = vec![0; world.hosts.classes.len()];
        for (host, member) in members {
            let tag = numbers.get(member.tag as usize).copied().unwrap_or(0);
            let class = world.hosts.class_of_kind(tag);
            counts.get_mut(class.place()).into_iter().for_each(|count| *count += 1);
            Arc::make_mut(&mut state.hosts).change(host, |member| *member = Member { class: class.number(), tag });
        }
        state.host_classes = Classes::of(&counts, state.generation);
        state.tables = Arc::new(Tables::new(Arc::new(world)));
        state.fresh = Map::default();
        self.touched.clear();
    }
}
