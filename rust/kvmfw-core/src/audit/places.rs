//! Free places: how many VMs are left over when as many as can be are placed at once.
//!
//! VM classes and host classes are the two sides of a flow network: a greatest flow places most VMs. VMs are first placed
//! wherever there is room; whoever is left is placed by moving others on, along a shortest way (Edmonds and Karp), until there
//! is no way to a free place: then no placement is better.

use super::AuditError;
use super::bits::{Weights, ones};
use super::takers::Takers;

impl Takers {
    /// How many of these VMs find no place at once, where each host class has this many; VM classes come once.
    ///
    /// # Errors
    ///
    /// When columns do not fit together.
    pub fn unplaced(&self, vm_class: &[u32], vms: &[u64], places: &[u64]) -> Result<u64, AuditError> {
        if vm_class.len() != vms.len() || places.len() != self.shape().1 {
            return Err(AuditError::Input("VM classes, VMs and places do not fit together".to_owned()));
        }
        Ok(unplaced(vm_class.iter().map(|class| self.row(*class)).zip(vms.iter().copied()).collect(), places))
    }
}

/// How many VMs find no place at once, where each host class has this many: for each VM class the host classes that take it,
/// as bits, and how many VMs it has.
pub(crate) fn unplaced(mut wanted: Vec<(&[u64], u64)>, places: &[u64]) -> u64 {
    // Whoever has fewest places to go to chooses first: then few have to be moved on.
    let weights = Weights::new(places);
    wanted.sort_by_cached_key(|(row, _)| weights.sum(row));
    let (rows, left) = wanted.into_iter().unzip();
    let mut placing = Placing { rows, left, free: places.to_vec(), placed: vec![Vec::new(); places.len()] };
    placing.place_greedily();
    while placing.left.iter().any(|left| *left > 0) && placing.move_on() {}
    placing.left.iter().sum()
}

/// VMs on their way to places.
struct Placing<'a> {
    /// Which host classes take each VM class.
    rows: Vec<&'a [u64]>,
    /// VMs of each class that have no place.
    left: Vec<u64>,
    /// Places that each host class has left.
    free: Vec<u64>,
    /// For each host class the VM classes that have places there, and how many.
    placed: Vec<Vec<(usize, u64)>>,
}

impl Placing<'_> {
    fn place_greedily(&mut self) {
        for (vm, (row, left)) in self.rows.iter().zip(&mut self.left).enumerate() {
            for host in ones(row) {
                if *left == 0 {
                    break;
                }
                let (Some(free), Some(placed)) = (self.free.get_mut(host), self.placed.get_mut(host)) else { continue };
                let moved = (*free).min(*left);
                if moved > 0 {
                    (*free, *left) = (*free - moved, *left - moved);
                    placed.push((vm, moved));
                }
            }
        }
    }

    /// Places VMs that are left by moving others on; `false` where there is no way.
    fn move_on(&mut self) -> bool {
        // Who comes to each host class, and from which host class each VM class is moved on.
        let mut comes = vec![None; self.free.len()];
        let mut from = vec![None; self.rows.len()];
        let mut waiting: Vec<usize> = (0..self.rows.len()).filter(|vm| self.left.get(*vm) > Some(&0)).collect();
        let mut seen: Vec<bool> = self.left.iter().map(|left| *left > 0).collect();
        let mut at = 0;
        while let Some(vm) = waiting.get(at).copied() {
            at += 1;
            for host in self.rows.get(vm).into_iter().flat_map(|row| ones(row)) {
                let Some(slot @ None) = comes.get_mut(host) else { continue };
                *slot = Some(vm);
                if self.free.get(host) > Some(&0) {
                    self.shift(host, &comes, &from);
                    return true;
                }
                for (other, vms) in self.placed.get(host).into_iter().flatten() {
                    if let (true, Some(seen @ false)) = (*vms > 0, seen.get_mut(*other)) {
                        *seen = true;
                        from.get_mut(*other).into_iter().for_each(|from| *from = Some(host));
                        waiting.push(*other);
                    }
                }
            }
        }
        false
    }

    /// Moves as many VMs as can be along the way that ends at a free place.
    fn shift(&mut self, end: usize, comes: &[Option<usize>], from: &[Option<usize>]) {
        let mut way = Vec::new();
        let mut host = end;
        while let Some(vm) = comes.get(host).copied().flatten() {
            way.push((vm, host));
            match from.get(vm).copied().flatten() {
                Some(before) => host = before,
                None => break,
            }
        }
        let first = way.last().map_or(0, |(vm, _)| *vm);
        let mut most = self.free.get(end).copied().unwrap_or(0).min(self.left.get(first).copied().unwrap_or(0));
        for (vm, _) in &way {
            if let Some(before) = from.get(*vm).copied().flatten() {
                most = most.min(self.vms_at(before, *vm));
            }
        }
        for (vm, host) in &way {
            self.add(*host, *vm, most);
            if let Some(before) = from.get(*vm).copied().flatten() {
                let mut placed = self.placed.get_mut(before).into_iter().flatten();
                if let Some((_, vms)) = placed.find(|(one, _)| one == vm) {
                    *vms -= most;
                }
            }
        }
        self.free.get_mut(end).into_iter().for_each(|free| *free -= most);
        self.left.get_mut(first).into_iter().for_each(|left| *left -= most);
    }

    fn vms_at(&self, host: usize, vm: usize) -> u64 {
        self.placed.get(host).into_iter().flatten().find(|(one, _)| *one == vm).map_or(0, |(_, vms)| *vms)
    }

    fn add(&mut self, host: usize, vm: usize, more: u64) {
        let Some(placed) = self.placed.get_mut(host) else { return };
        match placed.iter_mut().find(|(one, _)| *one == vm) {
            Some((_, vms)) => *vms += more,
            None => placed.push((vm, more)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ore's law of matchings: of some VM classes as many VMs find no place as there are more of them than places on all hosts
    /// that take one of them; of all, what the worst choice of VM classes says.
    fn by_every_choice(wanted: &[(u64, u64)], places: &[u64]) -> u64 {
        let left = |choice: usize| {
            let chosen = || wanted.iter().enumerate().filter(move |(vm, _)| choice >> vm & 1 == 1).map(|(_, one)| one);
            let hosts = chosen().fold(0, |hosts, (row, _)| hosts | row);
            let found: u64 =
                places.iter().enumerate().filter(|(host, _)| hosts >> host & 1 == 1).map(|(_, free)| free).sum();
            chosen().map(|(_, vms)| vms).sum::<u64>().saturating_sub(found)
        };
        (0..1 << wanted.len()).map(left).max().unwrap_or(0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_choice_of_vms_tells_of_more_that_find_no_place(
            wanted in prop::collection::vec((0_u64..1 << 5, 0_u64..6), 0..7),
            places in prop::collection::vec(0_u64..6, 5),
        ) {
            let rows: Vec<(&[u64], u64)> = wanted.iter().map(|(row, vms)| (std::slice::from_ref(row), *vms)).collect();
            prop_assert_eq!(unplaced(rows, &places), by_every_choice(&wanted, &places));
        }
    }

    #[test]
    fn whoever_is_left_over_moves_others_on_as_far_as_it_goes() {
        // A chain: each class may go to its own host or to the next one, and the last host alone has room for two.
        let rows: Vec<u64> = (0..6).map(|at| 0b11 << at).collect();
        let mut wanted: Vec<(&[u64], u64)> = rows.iter().map(|row| (std::slice::from_ref(row), 1)).collect();
        wanted.push((std::slice::from_ref(&rows[0]), 1));
        assert_eq!(unplaced(wanted.clone(), &[1; 7]), 0);
        assert_eq!(unplaced(wanted, &[1, 1, 1, 1, 1, 1, 0]), 1);
    }
}
