//! Turns: who has one is the only one to change the fleet. Steps of few VMs are made in place where nobody keeps the version.
//!
//! In place means without copies: the version is taken from where readers find it, changed, and put back. Who asks meanwhile
//! waits for some microseconds, so it is done for what takes no longer and cannot fail: whatever can was done before.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::shared::{Shared, Writer};
use super::snapshot::State;
use super::step::{BYTES_OF_A_STEP, Step, Turned};
use super::waiting::{is_prompt, judged};
use super::who::{HostHandle, VmHandle, Who};
use crate::error::MissingError;
use crate::fleet::class::VmClass;
use crate::fleet::classes::vms::Vms;
use crate::fleet::tables::fresh::Fresh;
use crate::room;
use crate::set::RegisterSet;

/// So many bytes are copied within a fraction of a millisecond.
const MOST_COPIED_AT_ONCE: usize = 1 << 20;
/// More VMs than this are not changed in place.
const FEW: usize = 16;

/// The right to change a fleet; others wait for it. A turn that is dropped has changed nothing.
///
/// It is for changes of one step, which is checked first ([`Turn::adding`], [`Turn::removing`], ...) and then made
/// ([`Turn::make`]); [`Turn::change`] begins one of several steps.
#[derive(Debug)]
pub struct Turn {
    pub(super) shared: Arc<Shared>,
    pub(super) base: Arc<State>,
    pub(super) writer: Writer,
    /// Whether it may have added to the classes that the writer knows.
    has_new_classes: bool,
    /// Whether the version was taken from where readers find it.
    is_alone: bool,
    pub(super) is_done: bool,
}

impl Turn {
    pub(in crate::fleet) fn take(shared: Arc<Shared>, patience: Duration) -> Option<Self> {
        let writer = shared.take(patience)?;
        let base = shared.last();
        Some(Self { shared, base, writer, has_new_classes: false, is_alone: false, is_done: false })
    }

    /// Whether who bears the name of a VM is known without looking at all.
    pub fn knows_vm_names(&self) -> bool {
        self.base.vms.knows_names()
    }

    /// Whether a few VMs can come in microseconds: nothing large has to be copied for them.
    pub fn takes_in_promptly(&self) -> bool {
        Arc::strong_count(&self.writer.vms) == 1 || self.writer.vms.bytes() < MOST_COPIED_AT_ONCE
    }

    /// The places of names that VMs have, or that stand earlier among these; no name may be had by many.
    pub fn repeated<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<usize> {
        self.base.repeated(names)
    }

    /// The step that adds VMs in order, with their names and homes.
    pub fn adding<'a>(&mut self, sets: impl IntoIterator<Item = &'a RegisterSet>) -> Step<'a> {
        let last = Arc::clone(&self.base);
        Step::adding(sets, &last, self.classes_to_change())
    }

    /// The step that takes VMs away; the rows after them move up.
    ///
    /// # Errors
    ///
    /// When one is not there.
    pub fn removing<'a>(
        &self,
        vms: impl IntoIterator<Item = impl Into<Who<'a, VmHandle>>>,
    ) -> Result<Step<'static>, MissingError> {
        Step::removing(vms, &self.base)
    }

    /// The step after which a VM runs on another host; `None`: nobody knows where.
    ///
    /// # Errors
    ///
    /// When there is no such VM or host.
    pub fn moving<'a>(
        &self,
        vm: impl Into<Who<'a, VmHandle>>,
        host: Option<Who<'a, HostHandle>>,
    ) -> Result<Step<'static>, MissingError> {
        Step::moving(vm.into(), host, &self.base)
    }

    /// Whether a step is made in microseconds: nothing large is made for it.
    pub fn is_prompt(&mut self, step: &Step<'_>) -> bool {
        step.len() <= FEW && self.ends_promptly(step)
    }

    /// Whether a step takes microseconds for each of its VMs: nothing large is made for it.
    pub fn ends_promptly(&mut self, step: &Step<'_>) -> bool {
        let can_be = self.knows_vm_names() && self.base.hosts.len() > 0;
        can_be && is_prompt(&mut self.writer, &self.base, step.born.len())
    }

    /// Makes a step, and lets readers see it; gives the generation that it led to. Where memory is short it unwinds, and nothing
    /// has happened: [`crate::Threads::attend`] makes an error of that.
    pub fn make(mut self, step: &Step<'_>) -> u64 {
        if self.is_prompt(step) {
            let world = &self.base.tables.world;
            let judge = |class: VmClass| (class, judged(class, &self.writer.vms, world));
            let fresh: Vec<(VmClass, Arc<Fresh>)> = step.born.iter().copied().map(judge).collect();
            // From here on nothing fails: what few VMs take is there.
            room::settle((FEW + 1) * 2 * BYTES_OF_A_STEP);
            if let Some(generation) = self.make_in_place(step, &fresh) {
                return generation;
            }
        }
        let mut change = self.change();
        change.make(step);
        change.commit().generation()
    }

    /// Makes a step in place, if nobody keeps the version.
    fn make_in_place(&mut self, step: &Step<'_>, fresh: &[(VmClass, Arc<Fresh>)]) -> Option<u64> {
        let shared = Arc::clone(&self.shared);
        let alone = shared.alone();
        self.is_alone = true;
        shared.withdraw();
        let made = Arc::get_mut(&mut self.base).map(|state| {
            let mut turned = Turned::default();
            state.generation += 1;
            state.whole = OnceLock::new();
            state.make(step, &mut turned);
            for (class, fresh) in fresh {
                state.fresh.set(*class, Arc::clone(fresh));
            }
            turned.left.retain(|class| state.vm_classes.members(class.number()) == 0);
            for class in &turned.left {
                state.fresh.forget(*class);
            }
            (state.generation, turned.left)
        });
        shared.publish(Arc::clone(&self.base));
        self.is_alone = false;
        drop(alone);
        let (generation, left) = made?;
        self.writer.births += fresh.len();
        self.writer.forget(&left);
        self.is_done = true;
        Some(generation)
    }

    /// Who is alike, to be added to: a copy, where the last version has it too.
    pub(super) fn classes_to_change(&mut self) -> &mut Vms {
        self.has_new_classes = true;
        if Arc::get_mut(&mut self.writer.vms).is_none() {
            room::need(self.writer.vms.bytes());
        }
        Arc::make_mut(&mut self.writer.vms)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_alone {
            // Only after a panic: readers go on with what there is.
            self.shared.publish(Arc::clone(&self.base));
        }
        let mut writer = std::mem::take(&mut self.writer);
        if !self.is_done && self.has_new_classes {
            // The numbers of classes that nobody is of are given back, as if the turn had not been.
            let is_used = |class: &VmClass| self.base.vm_classes.members(class.number()) > 0;
            if let Some(vms) = Arc::get_mut(&mut writer.vms) {
                for class in VmClass::first(vms.classes.len()).filter(|class| !is_used(class)) {
                    // What it had stays for a while, as that of all who are gone.
                    writer.births += usize::from(vms.classes.forget(class));
                }
            }
        }
        self.shared.give_back(writer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Fleet;
    use crate::host::Host;
    use crate::id::RegisterId;
    use crate::question::Question;
    use crate::value::Value;
    use crate::vcpu::VcpuConfig;

    const LEVEL: u64 = 0x6030_0000_0014_0003;

    fn set(level: u64, name: &str) -> Option<RegisterSet> {
        let vcpu = VcpuConfig { features: 1 << 2, vgic: true, ..VcpuConfig::default() };
        RegisterSet::new(name, None, vcpu, vec![(RegisterId::new(LEVEL), Value::Word(level))]).ok()
    }

    fn fleet() -> Option<Fleet> {
        let text = format!(
            r#"{{"format":"kvmfw-capture","version":1,"host":{{"name":"h","kernel":"6.12.8","midr":"0x1"}},
            "registers":["{LEVEL:#x}"],
            "vcpus":[{{"name":"vm","features":["psci_0_2"],"vgic":true,"values":["0x1"]}}],"answers":[]}}"#
        );
        let fleet = Fleet::new(Question::default(), 1);
        let mut change = fleet.change();
        change.add_hosts(&[Host::from_json(text.as_bytes()).ok()?], &[0], None).ok()?;
        change.add_sets([&set(0, "a")?, &set(1, "b")?]);
        change.commit().vm("a").ok()?;
        Some(fleet)
    }

    /// Where the last version is in memory, and its generation.
    fn place(fleet: &Fleet) -> (*const State, u64) {
        let last = fleet.0.last();
        (Arc::as_ptr(&last), last.generation)
    }

    #[test]
    fn a_version_is_changed_in_place_where_nobody_keeps_it() -> Result<(), Box<dyn std::error::Error>> {
        let fleet = fleet().ok_or("no fleet")?;
        let (there, generation) = place(&fleet);
        let (new, known) = (set(2, "new").ok_or("no set")?, set(1, "known").ok_or("no set")?);
        for set in [&new, &known] {
            let mut turn = fleet.turn();
            let step = turn.adding([set]);
            turn.make(&step);
        }
        for name in ["b", "new"] {
            let turn = fleet.turn();
            let step = turn.removing([name])?;
            turn.make(&step);
        }
        let turn = fleet.turn();
        let step = turn.moving("known", Some("h".into()))?;
        assert_eq!(turn.make(&step), generation + 5);
        assert_eq!(place(&fleet), (there, generation + 5));
        let now = fleet.snapshot();
        assert_eq!((now.vm_names(0..9).1.as_str(), now.used_classes()), ("aknown", (2, 1)));
        // Somebody keeps it: the next version is another one.
        let turn = fleet.turn();
        let step = turn.removing(["known"])?;
        turn.make(&step);
        assert_ne!(place(&fleet).0, there);
        assert_eq!((now.vm_count(), fleet.snapshot().vm_count()), (2, 1));
        Ok(())
    }

    #[test]
    fn a_turn_that_is_dropped_has_changed_nothing() -> Result<(), Box<dyn std::error::Error>> {
        let fleet = fleet().ok_or("no fleet")?;
        let before = place(&fleet);
        let new = set(2, "new").ok_or("no set")?;
        for _ in 0..3 {
            let mut turn = fleet.turn();
            let step = turn.adding([&new]);
            assert_eq!(step.len(), 1);
            drop(turn);
            assert!(fleet.turn().removing(["a", "nobody"]).is_err());
        }
        assert_eq!(place(&fleet), before);
        // Its number was given back: another class that comes has it.
        let other = set(3, "other").ok_or("no set")?;
        let mut turn = fleet.turn();
        let step = turn.adding([&other]);
        turn.make(&step);
        assert_eq!(fleet.snapshot().class_counts().0, 3);
        Ok(())
    }
}
