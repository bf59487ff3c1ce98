//! Whether a host can be emptied: where the VMs that run on it can go, all at once.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::audit::{set, unplaced};
use crate::error::MissingError;
use crate::fleet::class::VmClass;
use crate::fleet::{HostHandle, Snapshot, Taken, Who};

/// What is known of the VMs that run on a host, if it were to be emptied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Emptying {
    /// VMs that run there.
    pub residents: u64,
    /// Those that no other host takes, however much room it has.
    pub stranded: u64,
    /// Those besides for which other hosts would do that have no room for all of them at once.
    pub unplaced: u64,
}

impl Snapshot {
    /// Whether the VMs that run on a host can all go elsewhere at once. `free` says for each host, by row, how many more VMs it
    /// can hold, those past its end none; where it is not given there is room for all.
    ///
    /// # Errors
    ///
    /// When there is no such host.
    pub fn can_empty<'a>(
        &self,
        host: impl Into<Who<'a, HostHandle>>,
        free: Option<&[u64]>,
        taken: Taken,
    ) -> Result<Emptying, MissingError> {
        let (handle, _) = self.find_host(host)?;
        let mut residents: HashMap<u32, u64, FixedState> = HashMap::default();
        for class in self.0.residents(handle) {
            *residents.entry(class).or_default() += 1;
        }
        let all = residents.values().sum();
        let own = self.0.hosts.row(handle);
        // Places by host class: of all hosts but this one. Nobody needs more than there are VMs.
        let classes = self.0.tables.world.hosts.classes.len();
        let (mut others, mut places) = (vec![0; classes.div_ceil(64)], vec![0_u64; classes]);
        for (row, class) in self.host_rows().iter().enumerate().filter(|(row, _)| Some(*row) != own) {
            set(&mut others, class as usize);
            let free = free.map_or(all, |free| free.get(row).copied().unwrap_or(0)).min(all);
            places.get_mut(class as usize).into_iter().for_each(|places| *places = places.saturating_add(free));
        }
        let (mut wanted, mut stranded) = (Vec::new(), 0);
        let mut residents: Vec<(u32, u64)> = residents.into_iter().collect();
        residents.sort_unstable();
        for (class, vms) in residents {
            let mut takers = vec![0; others.len()];
            let row = self.row(VmClass::of(class));
            row.iter().enumerate().filter(|(_, cell)| taken.takes(**cell)).for_each(|(host, _)| set(&mut takers, host));
            takers.iter_mut().zip(&others).for_each(|(takers, others)| *takers &= others);
            if takers.iter().all(|word| *word == 0) {
                stranded += vms;
            } else {
                wanted.push((takers, vms));
            }
        }
        let wanted = wanted.iter().map(|(takers, vms)| (takers.as_slice(), *vms)).collect();
        Ok(Emptying { residents: all, stranded, unplaced: unplaced(wanted, &places) })
    }
}
