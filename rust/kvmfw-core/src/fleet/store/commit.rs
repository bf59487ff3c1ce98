//! The end of a change: what is new is judged, and readers see the next version.

use std::sync::Arc;

use super::change::Change;
use super::map::Map;
use super::neighbours::{Member, UNJUDGED};
use super::snapshot::Snapshot;
use super::step::Turned;
use super::turn::Turn;
use super::waiting::{MOST_GONE, can_wait, judged, used_kinds};
use crate::fleet::class::VmClass;
use crate::fleet::limits::is_small;
use crate::fleet::tables::world::{Tables, World};
use crate::pool::checkpoint;

/// A change that touches more classes or hosts than this may end late.
const FEW: usize = 1 << 10;
/// So many new captures are judged one by one, and more where there are so many times as many others: to judge all captures anew takes
/// as long as some tens of them (32,000 VM classes: 5 ms for each, 44 ms for 256 at once).
const FEW_KINDS: usize = 8;
const OTHERS_FOR_A_NEW_KIND: usize = 32;

impl Change {
    /// Whether [`Change::commit`] takes microseconds: nothing of it is new to the tables.
    pub fn ends_promptly(&mut self) -> bool {
        self.turned.born.is_empty()
            && self.turned.left.len().max(self.touched.len()) <= FEW
            && self.state.hosts.len() > 0
            && self.new_kinds() == 0
            && !self.must_rebuild()
    }

    /// Whether tables of all classes that there are by now may take long.
    pub fn is_large(&self) -> bool {
        let hosts = self.turn.base.tables.world.hosts.classes.len() + self.new_kinds();
        !is_small(self.turn.writer.vms.classes.len(), hosts)
    }

    /// How many captures there are that the tables do not have.
    fn new_kinds(&self) -> usize {
        self.hosts.kinds.len().saturating_sub(self.turn.base.tables.world.hosts.kinds.len())
    }

    /// Whether everything is to be judged anew.
    fn must_rebuild(&mut self) -> bool {
        let new = self.new_kinds();
        if new > FEW_KINDS && new * OTHERS_FOR_A_NEW_KIND > self.hosts.kinds.len() {
            return true;
        }
        let Turn { writer, base, .. } = &mut self.turn;
        writer.lets_go(&self.state, &self.hosts) || !base.tables.world.can_learn(&writer.vms)
    }

    /// Judges what is new, and lets readers see it. Where memory is short it unwinds, and the change has not been:
    /// [`crate::Threads::attend`] makes an error of that.
    pub fn commit(mut self) -> Snapshot {
        let Turned { mut born, mut left } = std::mem::take(&mut self.turned);
        for classes in [&mut born, &mut left] {
            classes.sort_unstable();
            classes.dedup();
        }
        let (state, lose) = (&mut self.state, !left.is_empty());
        left.retain(|class| state.vm_classes.members(class.number()) == 0);
        for class in &left {
            state.fresh.forget(*class);
        }
        if lose {
            // One that lost all of its members and got others is none that was not there before.
            let is_new = |class: &VmClass| self.turn.base.vm_classes.members(class.number()) == 0;
            born.retain(|class| is_new(class) && state.vm_classes.members(class.number()) > 0);
        }
        self.turn.writer.births += born.len();
        self.judge(&born);
        let Self { state, mut turn, .. } = self;
        let snapshot = Snapshot(Arc::new(state));
        turn.shared.publish(Arc::clone(&snapshot.0));
        turn.writer.forget(&left);
        turn.is_done = true;
        snapshot
    }

    fn judge(&mut self, born: &[VmClass]) {
        let world = Arc::clone(&self.turn.base.tables.world);
        if self.state.hosts.len() == 0 {
            // Without hosts there is nothing to judge.
            let state = &mut self.state;
            state.tables = Arc::new(Tables::new(Arc::new(World::unjudged(self.turn.writer.shared()))));
            state.fresh = Map::default();
            return;
        }
        if self.must_rebuild() {
            self.rebuild();
            return;
        }
        let can_wait =
            self.new_kinds() == 0 && can_wait(&self.turn.base, self.state.fresh.len() + born.len(), born.len());
        let state = &mut self.state;
        if can_wait {
            for class in born {
                state.fresh.set(*class, judged(*class, &self.turn.writer.vms, &world));
            }
            if !self.touched.is_empty() {
                state.tables = Arc::new(Tables::new(world));
            }
        } else {
            let changed: Vec<VmClass> =
                state.fresh.rows().map(|(class, _)| *class).chain(born.iter().copied()).collect();
            let (vms, hosts) = (self.turn.writer.shared(), Arc::clone(&self.hosts));
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
            checkpoint();
            let Some(member) = state.hosts.member(host).filter(|member| member.class == UNJUDGED) else { continue };
            let class = hosts.class_of_kind(member.tag);
            Arc::make_mut(&mut state.hosts).change(host, |member| member.class = class.number());
            state.host_classes.join(class.number(), 1, state.generation);
        }
    }

    /// Judges everything anew, without what nobody has any more.
    fn rebuild(&mut self) {
        // The writer stays as it is until all is made: work can stop on the way.
        let (mut vms, mut births) = (self.turn.writer.shared(), self.turn.writer.births);
        if births > MOST_GONE + self.state.vm_classes.used() {
            let kept: Vec<VmClass> = self.state.vm_classes.in_use().map(|(class, _)| VmClass::of(class)).collect();
            let mut kept_vms = vms.kept(&kept);
            kept_vms.settle();
            vms = Arc::new(kept_vms);
            births = kept.len();
        }
        let (hosts, numbers) = self.hosts.kept(&used_kinds(&self.state, &self.hosts));
        let state = &mut self.state;
        let world = World::built(Arc::clone(&vms), hosts, &state.settings);
        (self.turn.writer.vms, self.turn.writer.births) = (vms, births);
        let members: Vec<(u64, Member)> = state.hosts.iter().map(|(host, member, _)| (host, member)).collect();
        let mut counts = vec![0; world.hosts.classes.len()];
        for (host, member) in members {
            let tag = numbers.get(member.tag as usize).copied().unwrap_or(0);
            let class = world.hosts.class_of_kind(tag);
            counts.get_mut(class.place()).into_iter().for_each(|count| *count += 1);
            Arc::make_mut(&mut state.hosts).change(host, |member| *member = Member { class: class.number(), tag });
        }
        state.host_classes = state.host_classes.renumbered(&counts, state.generation);
        state.tables = Arc::new(Tables::new(Arc::new(world)));
        state.fresh = Map::default();
        self.touched.clear();
    }
}
