//! Unknown outcomes: how many VMs an answer would tell of.

use std::ops::Range;

use rayon::prelude::*;

use super::bits::set;
use super::takers::add;
use super::{AuditError, Residents, Takers, UnitRoom, UnitRows, Watch};

/// Groups that one thread takes at a time.
const CHUNK: usize = 1 << 10;

/// Whether VMs meet an UNKNOWN of a unit on one of some host classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The unit's number.
    pub unit: usize,
    /// The host classes, a bit for each.
    pub hosts: Vec<u64>,
}

impl Asked {
    /// These of so many host classes.
    pub fn new(unit: usize, hosts: &[usize], classes: usize) -> Self {
        let mut bits = vec![0; classes.div_ceil(64)];
        for host in hosts {
            set(&mut bits, *host);
        }
        Self { unit, hosts: bits }
    }
}

/// For each of these, how many VMs there are of which the unit is UNKNOWN on one of the host classes.
///
/// # Errors
///
/// When groups do not fit the classes, or the audit was stopped.
pub fn unknown_vms(
    rows: &dyn UnitRows,
    takers: &Takers,
    residents: Residents<'_>,
    asked: &[Asked],
    watch: &Watch,
) -> Result<Vec<u64>, AuditError> {
    let (vm_classes, host_classes) = takers.shape();
    residents.check(vm_classes, host_classes)?;
    let mut by_unit: Vec<Vec<(usize, &[u64])>> = vec![Vec::new(); rows.units()];
    for (at, one) in asked.iter().enumerate() {
        by_unit.get_mut(one.unit).into_iter().for_each(|unit| unit.push((at, &one.hosts)));
    }
    let shares = residents.shares(CHUNK);
    watch.expect(shares.len());
    let count = |share: &Range<usize>| {
        let (mut vms, mut room) = (vec![0; asked.len()], UnitRoom::default());
        for (class, groups) in residents.runs(share.clone()) {
            let all: u64 = residents.groups(groups).map(|group| group.vms).sum();
            rows.each(class, &mut room, &mut |unit, room| {
                let [_, unknown, _] = &room.said;
                for (at, hosts) in by_unit.get(unit).into_iter().flatten() {
                    let meets = unknown.iter().zip(*hosts).any(|(unknown, hosts)| unknown & hosts != 0);
                    vms.get_mut(*at).into_iter().for_each(|vms| *vms += if meets { all } else { 0 });
                }
            });
        }
        watch.step()?;
        Ok(vms)
    };
    let join = |all: Vec<u64>, other: Vec<u64>| Ok(add(all, other));
    takers.pool.run(|| shares.par_iter().map(count).try_reduce(|| vec![0; asked.len()], join))
}
