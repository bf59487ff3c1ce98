//! Where a fleet was left: what it takes to go on with its handles in another process.

use std::sync::Arc;

use hashbrown::HashMap;

use super::change::{BYTES_OF_A_MEMBER, Change};
use super::named::Named;
use super::places::NOWHERE;
use super::snapshot::Snapshot;
use super::step::BYTES_OF_A_STEP;
use super::who::{Handle, HostHandle, VmHandle};
use crate::error::{IntakeError, RowError};
use crate::fleet::class::VmClass;
use crate::host::Host;
use crate::room;
use crate::set::RegisterSet;

/// No fleet counts so far: what says so is damaged.
const MOST: u64 = 1 << 62;

/// The handles of one side of a fleet.
#[derive(Clone, Copy, Debug)]
pub struct Left<'a> {
    /// Those of its members, by row.
    pub handles: &'a [u64],
    /// How many there had been: the next handle.
    pub arrivals: u64,
}

impl Left<'_> {
    /// Checks that these are handles of so many members.
    fn check<H: Handle>(self, members: usize) -> Result<(), RowError> {
        let Self { handles, arrivals } = self;
        let side = H::SIDE;
        let problem = |row: usize, problem: String| Err(RowError { row, problem });
        if handles.len() != members {
            return problem(members, format!("there are {} handles for {members} {side}s", handles.len()));
        }
        if arrivals > MOST {
            return problem(members, format!("{arrivals} {side}s have never been there"));
        }
        if let Some(at) = handles.windows(2).position(|two| two.first() >= two.last()) {
            return problem(at + 1, format!("the handles of {side}s do not ascend"));
        }
        match handles.last() {
            Some(last) if *last >= arrivals => {
                problem(members - 1, format!("handle {last} of a {side} is that of one who is yet to come"))
            }
            _ => Ok(()),
        }
    }
}

impl Change {
    /// Adds VMs each of which is like one of some register sets, or like VMs whose rows could not be used.
    ///
    /// # Errors
    ///
    /// When the columns do not fit together, or there is no memory for them; nothing is added then.
    pub fn add_like(
        &mut self,
        sets: impl IntoIterator<Item = Option<RegisterSet>>,
        who: Named<'_>,
    ) -> Result<(), IntakeError> {
        let mut classes: Vec<VmClass> = Vec::new();
        for set in sets {
            room::need(BYTES_OF_A_STEP);
            let vms = self.turn.classes_to_change();
            room::push(
                &mut classes,
                match set {
                    Some(set) => vms.class_of(set.vcpu, set.registers()),
                    None => vms.unusable_class(),
                },
            );
        }
        who.check(classes.len())?;
        room::ask(who.vms(classes.len()).saturating_mul(BYTES_OF_A_MEMBER))?;
        self.add_named(&classes, who);
        Ok(())
    }

    /// Goes on where a fleet was left in another process: its members, whom this change added in their order, get their handles
    /// back, a handle of one who has left stays nobody's, and generations are counted on.
    ///
    /// Classes have the numbers that they get here, so [`Snapshot::changes_since`] knows of no generation before this one.
    ///
    /// # Errors
    ///
    /// When the fleet has been changed before, or these are not handles of its members; nothing happens then.
    pub fn go_on(&mut self, generation: u64, vms: Left<'_>, hosts: Left<'_>) -> Result<(), RowError> {
        if self.turn.base.generation > 0 {
            let problem = "the fleet has been changed before: its handles are given out".to_owned();
            return Err(RowError { row: 0, problem });
        }
        if generation > MOST {
            return Err(RowError { row: 0, problem: format!("no fleet was changed {generation} times") });
        }
        vms.check::<VmHandle>(self.state.vms.len())?;
        hosts.check::<HostHandle>(self.state.hosts.len())?;
        Arc::make_mut(&mut self.state.vms).renumber(vms.handles, vms.arrivals);
        Arc::make_mut(&mut self.state.hosts).renumber(hosts.handles, hosts.arrivals);
        self.touched = hosts.handles.to_vec();
        self.state.generation = generation + 1;
        self.state.numbered_since = self.state.generation;
        Ok(())
    }
}

impl Snapshot {
    /// How many VMs and how many hosts there have been: the next handles.
    pub fn arrivals(&self) -> (u64, u64) {
        (self.0.vms.arrivals(), self.0.hosts.arrivals())
    }

    /// One set of registers that no host can tell from those of the VMs of a class; `None` for VMs whose rows could not be
    /// used. Registers whose value nobody looks at have value 0.
    pub fn class_set(&self, vm_class: u32) -> Option<RegisterSet> {
        let (vm_class, known) = (VmClass::of(vm_class), &self.0.tables.world.vms);
        match self.0.fresh.value(vm_class) {
            Some(fresh) => fresh.told(known).0,
            None => known.registers_of(vm_class).and_then(Result::ok),
        }
    }

    /// The names of places where VMs run, and for each VM which of them; -1 where nobody said.
    pub fn home_names(&self) -> (Vec<&str>, Vec<i32>) {
        let (mut names, mut number) = (Vec::new(), HashMap::new());
        for (place, name, _) in self.0.places.iter() {
            number.insert(place, i32::try_from(names.len()).unwrap_or(-1));
            room::push(&mut names, name);
        }
        let mut homes = Vec::new();
        room::grow(&mut homes, self.vm_count());
        homes.extend(self.0.vms.iter().map(|(_, vm, _)| match vm.tag {
            NOWHERE => -1,
            place => number.get(&place).copied().unwrap_or(-1),
        }));
        (names, homes)
    }

    /// The captures that hosts have, and for each host which of them.
    pub fn captures(&self) -> (Vec<&Host>, Vec<u32>) {
        let known = &self.0.tables.world.hosts.kinds;
        let (mut captures, mut number) = (Vec::new(), HashMap::new());
        let mut of = Vec::new();
        room::grow(&mut of, self.host_count());
        for (_, host, _) in self.0.hosts.iter() {
            let Some(capture) = known.get(host.tag as usize) else { continue };
            of.push(*number.entry(host.tag).or_insert_with(|| {
                captures.push(capture);
                u32::try_from(captures.len() - 1).unwrap_or(u32::MAX)
            }));
        }
        (captures, of)
    }
}
