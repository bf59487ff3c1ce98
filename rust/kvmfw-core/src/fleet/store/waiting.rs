//! What is judged beside the tables, and how long it may wait there; what is gone, and when it is let go of.

use std::sync::Arc;

use super::shared::Writer;
use super::snapshot::State;
use crate::fleet::class::VmClass;
use crate::fleet::classes::hosts::Hosts;
use crate::fleet::classes::vms::Vms;
use crate::fleet::tables::fresh::Fresh;
use crate::fleet::tables::world::World;
use crate::room;

/// At least so many VM classes wait before there are new tables, or one for each eight that the tables have; their outcomes
/// take at most so many bytes.
const FEW: usize = 1 << 8;
const MOST_WAITING_BYTES: usize = 1 << 24;
/// What classes had that are gone is let go of when there were so many of them, and more than there are.
pub(super) const MOST_GONE: usize = 1 << 12;
/// The same for captures that no host has.
const MOST_UNUSED_KINDS: usize = 1 << 6;

/// A VM class that came after the tables were made, judged by itself.
pub(super) fn judged(class: VmClass, vms: &Vms, world: &World) -> Arc<Fresh> {
    Arc::new(Fresh::new(class, vms, &world.hosts, &world.judged))
}

/// Whether a change of VMs ends in microseconds: so many new VM classes may wait beside the tables of the last version, and
/// nothing is worth letting go of.
pub(super) fn is_prompt(writer: &mut Writer, last: &State, born: usize) -> bool {
    let world = &last.tables.world;
    world.can_learn(&writer.vms) && can_wait(last, last.fresh.len() + born, born) && !writer.lets_go(last, &world.hosts)
}

/// Whether so many VM classes, of which some are new, may wait beside the tables of the last version.
pub(super) fn can_wait(last: &State, waiting: usize, born: usize) -> bool {
    let world = &last.tables.world;
    let is_few =
        waiting <= FEW.max(world.vms.classes.len() / 8) && waiting * world.hosts.classes.len() <= MOST_WAITING_BYTES;
    born == 0 || (is_few && last.whole.get().is_none())
}

/// Which captures some host has.
pub(super) fn used_kinds(state: &State, hosts: &Hosts) -> Vec<bool> {
    let mut used = vec![false; hosts.kinds.len()];
    for (_, member, _) in state.hosts.iter() {
        used.get_mut(member.tag as usize).into_iter().for_each(|used| *used = true);
    }
    used
}

impl Writer {
    /// Whether memory of what is gone is worth judging everything anew.
    pub(super) fn lets_go(&mut self, state: &State, hosts: &Hosts) -> bool {
        if self.births > MOST_GONE + 2 * state.vm_classes.used() {
            return true;
        }
        let kinds = hosts.kinds.len();
        if kinds <= MOST_UNUSED_KINDS + 2 * self.kinds {
            return false;
        }
        self.kinds = used_kinds(state, hosts).iter().filter(|used| **used).count();
        kinds > MOST_UNUSED_KINDS + 2 * self.kinds
    }

    /// Who is alike, for tables: from now on a copy takes as long as what comes.
    pub(super) fn shared(&mut self) -> Arc<Vms> {
        if let Some(vms) = Arc::get_mut(&mut self.vms) {
            room::need(vms.settling());
            vms.settle();
        }
        Arc::clone(&self.vms)
    }

    /// Gives numbers of classes to others from the next generation on.
    pub(super) fn forget(&mut self, classes: &[VmClass]) {
        if !classes.is_empty() {
            let vms = Arc::make_mut(&mut self.vms);
            for class in classes {
                vms.classes.forget(*class);
            }
        }
    }
}
