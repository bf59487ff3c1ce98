//! What audits ask of a fleet: outcomes and units by class, as rows of bits over host classes.

use std::sync::Arc;

use crate::audit::{AuditError, Takers, UnitRoom, UnitRows, Watch, set};
use crate::fleet::Snapshot;
use crate::fleet::class::{HostClass, VmClass};
use crate::fleet::classes::intern::RowInterner;
use crate::fleet::tables::judged::rest_of;
use crate::fleet::tables::part_row::PartRow;
use crate::fleet::tables::parts::{Part, key, rows_of};
use crate::fleet::tables::world::World;
use crate::fleet::unit::UnitNumber;
use crate::id::RegisterId;
use crate::pool::checkpoint;
use crate::room;
use crate::taken::Taken;

impl Snapshot {
    /// Which host classes take each VM class, where host classes have this many hosts; and for each VM class how many hosts
    /// have which outcome.
    ///
    /// # Errors
    ///
    /// When there is not one number for each host class, memory is short, or the audit was stopped.
    pub fn all_takers(
        &self,
        hosts: &[u64],
        taken: Taken,
        watch: &Watch,
    ) -> Result<(Takers, Vec<[u64; 4]>), AuditError> {
        let (vm_classes, host_classes) = self.class_counts();
        if hosts.len() != host_classes {
            let problem = format!("`hosts` has {} entries, expected {host_classes}", hosts.len());
            return Err(AuditError::Input(problem));
        }
        // Filled before threads ask for it: they would wait for each other.
        let (world, settings) = (self.world(), self.settings());
        let _ = world.dense(settings);
        let pool = Arc::clone(&settings.pool);
        Takers::new(vm_classes, hosts, pool, taken, watch, |class, row| world.row(VmClass::of(class), row))
    }

    /// What each unit says about VM classes, as bits over host classes.
    pub fn unit_rows(&self) -> impl UnitRows + '_ {
        let world = self.world();
        FleetRows {
            fleet: world,
            units: self.units().len(),
            parts: world.judged.parts.iter().map(|part| PartRows::new(part, world)).collect(),
        }
    }

    /// What stands beside registers and is told by a VM and by a host: all that was judged of it.
    pub fn told_beside(&self) -> Vec<RegisterId> {
        let world = self.world();
        let told = |id: &RegisterId| world.hosts.kinds.iter().any(|host| host.surrounding(*id).is_some());
        let units = world.vms.units.iter().map(|unit| unit.register);
        units.filter(|id| id.is_surrounding()).filter(told).collect()
    }

    /// For each unit and host class a number, the same where the unit judges alike: by unit, then by host class.
    pub fn unit_kinds(&self) -> Vec<u32> {
        let hosts = &self.world().hosts;
        let classes = hosts.classes.len();
        let kinds = |unit: UnitNumber| {
            checkpoint();
            let mut kinds = RowInterner::default();
            HostClass::first(classes).map(move |class| kinds.intern(&key(hosts, class, unit)))
        };
        UnitNumber::all(self.world().vms.units.len()).flat_map(kinds).collect()
    }
}

/// The rows of a fleet's units.
struct FleetRows<'a> {
    fleet: &'a World,
    units: usize,
    parts: Vec<PartRows>,
}

/// For each row of a part the host classes with at least CHANGE, UNKNOWN and REFUSE; none where all accept.
struct PartRows(Vec<Option<[Vec<u64>; 3]>>);

impl PartRows {
    fn new(part: &Part, fleet: &World) -> Self {
        let words = fleet.hosts.classes.len().div_ceil(64);
        let row = |row: usize| {
            room::need(4 * words * size_of::<u64>());
            let mut reached = [(); 3].map(|()| vec![0; words]);
            for (host, column) in part.column_of.iter().enumerate() {
                let outcome = part.cell(PartRow::at_place(row), *column);
                reached.iter_mut().take(usize::from(outcome)).for_each(|reached| set(reached, host));
            }
            let [change, ..] = &reached;
            change.iter().any(|word| *word != 0).then_some(reached)
        };
        Self((0..part.row_count()).map(row).collect())
    }
}

impl UnitRows for FleetRows<'_> {
    fn units(&self) -> usize {
        self.units
    }

    fn vcpu(&self) -> usize {
        UnitNumber::VCPU.at()
    }

    fn host_classes(&self) -> usize {
        self.fleet.hosts.classes.len()
    }

    fn each(&self, vm_class: u32, room: &mut UnitRoom, tell: &mut dyn FnMut(usize, &UnitRoom)) {
        let (fleet, words) = (self.fleet, self.host_classes().div_ceil(64));
        let Some(class) = fleet.vms.classes.get(VmClass::of(vm_class)) else { return };
        let parts = &fleet.judged.parts;
        let mut rows = vec![PartRow::SILENT; parts.len()];
        rows_of(parts, &fleet.vms, class, &mut rows);
        room.said.iter_mut().for_each(|row| row.resize(words, 0));
        let mut at = 0;
        for unit in parts.chunk_by(|one, other| one.unit == other.unit) {
            let Some(number) = unit.first().map(|part| part.unit) else { continue };
            let said = self.parts.iter().zip(&rows).skip(at).take(unit.len());
            at += unit.len();
            let mut spoke = false;
            for reached in said.filter_map(|(part, row)| part.0.get(row.place())?.as_ref()) {
                if spoke {
                    for (said, reached) in room.said.iter_mut().zip(reached) {
                        said.iter_mut().zip(reached).for_each(|(said, reached)| *said |= reached);
                    }
                } else {
                    room.said.iter_mut().zip(reached).for_each(|(said, reached)| said.copy_from_slice(reached));
                }
                spoke = true;
            }
            for rest in fleet.judged.rests.iter().filter(|rest| rest.unit == number) {
                for host in 0..self.host_classes() {
                    let outcome =
                        rest_of(rest, &fleet.vms, &fleet.hosts, VmClass::of(vm_class), HostClass::at_place(host));
                    if outcome > 0 && !spoke {
                        room.said.iter_mut().for_each(|said| said.fill(0));
                        spoke = true;
                    }
                    room.said.iter_mut().take(usize::from(outcome)).for_each(|said| set(said, host));
                }
            }
            if spoke {
                exactly(room);
                tell(number.at(), room);
            }
        }
    }
}

/// Makes "at least CHANGE, UNKNOWN, REFUSE" to "CHANGE, UNKNOWN, REFUSE".
fn exactly(room: &mut UnitRoom) {
    let [change, unknown, refuse] = &mut room.said;
    for ((change, unknown), refuse) in change.iter_mut().zip(unknown).zip(refuse) {
        *change &= !*unknown;
        *unknown &= !*refuse;
    }
}
