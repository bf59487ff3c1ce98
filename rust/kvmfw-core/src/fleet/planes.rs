//! Outcome planes: per VM class, bits over host classes.
//!
//! Outcomes are nested, so three bit planes say everything: plane k has a bit for every host class whose
//! outcome is above k (CHANGE or more, UNKNOWN or more, REFUSE). A class's planes are the OR of its units' rows,
//! and a unit's row is judged once for each distinct value and acceptor.

use super::hosts::{FIRST_REGISTER_UNIT, Hosts, LIST_UNIT, VCPU_UNIT};
use super::vms::{ABSENT, VmClass, Vms};
use crate::judgement::Outcome;

/// Planes of one VM class or one unit value: 3 rows of `words` words.
pub(crate) const PLANES: usize = 3;

/// The rows of all units and values, and how to join them.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnitRows {
    /// How many 64-bit words a row over host classes takes.
    pub(crate) words: usize,
    /// How many host classes there are.
    pub(crate) hosts: usize,
    vcpu: Vec<u64>,
    units: Vec<Rows>,
}

/// The rows of one unit.
#[derive(Clone, Debug, Default)]
struct Rows {
    /// Row number by value number; [`ABSENT`] where every host class accepts.
    row_of: Vec<u32>,
    bits: Vec<u64>,
}

impl UnitRows {
    /// Judges every unit value on every host class.
    pub(crate) fn judge(vms: &Vms, hosts: &Hosts) -> Self {
        let classes = hosts.classes.len();
        let words = classes.div_ceil(64);
        let mut rows = Self { words, hosts: classes, vcpu: Vec::new(), units: Vec::new() };
        for config in 0..vms.configs.len() {
            let config = u32::try_from(config).unwrap_or(ABSENT);
            let outcome =
                |acceptor: u32| match hosts.acceptors.get(VCPU_UNIT).and_then(|interner| interner.get(acceptor)) {
                    Some(super::hosts::UnitAcceptor::Vcpu(outcome)) => *outcome,
                    _ => Outcome::Accept,
                };
            let row = row(hosts, config, VCPU_UNIT, words, outcome);
            rows.vcpu.extend(row);
        }
        let mut lists = Rows::default();
        for saved in vms.lists.items() {
            let outcome = |acceptor: u32| {
                let acceptor = hosts.acceptors.get(LIST_UNIT).and_then(|interner| interner.get(acceptor));
                acceptor.map_or(Outcome::Accept, |acceptor| acceptor.judge_list(saved))
            };
            lists.push(row(hosts, saved.config, LIST_UNIT, words, outcome), words);
        }
        rows.units.push(lists);
        for (at, unit) in vms.units.iter().enumerate() {
            let number = FIRST_REGISTER_UNIT + at;
            let mut own = Rows::default();
            for saved in unit.values.items() {
                let outcome = |acceptor: u32| {
                    let acceptor = hosts.acceptors.get(number).and_then(|interner| interner.get(acceptor));
                    acceptor.map_or(Outcome::Accept, |acceptor| acceptor.judge_value(saved))
                };
                own.push(row(hosts, saved.config, number, words, outcome), words);
            }
            rows.units.push(own);
        }
        rows
    }

    /// Joins the rows of a VM class into `planes` (of [`PLANES`] × `words` words).
    pub(crate) fn join(&self, vms: &Vms, class: &VmClass, planes: &mut [u64]) {
        planes.fill(0);
        self.each_row(vms, class, |_, row| {
            for (plane, word) in planes.iter_mut().zip(row) {
                *plane |= word;
            }
        });
    }

    /// Calls `visit` with the unit number and the rows of every unit of a class that does not simply accept.
    pub(crate) fn each_row(&self, vms: &Vms, class: &VmClass, mut visit: impl FnMut(usize, &[u64])) {
        let width = PLANES * self.words;
        let Some(list) = vms.lists.get(class.list) else {
            // The rows of this VM could not be used: unknown everywhere.
            let mut unknown = vec![0; width];
            for plane in unknown.chunks_mut(self.words.max(1)).take(2) {
                fill_ones(plane, self.hosts);
            }
            visit(LIST_UNIT, &unknown);
            return;
        };
        let start = list.config as usize * width;
        if let Some(row) = self.vcpu.get(start..start + width) {
            visit(VCPU_UNIT, row);
        }
        let numbers = std::iter::once(&class.list).chain(class.values.iter());
        for (at, (rows, number)) in self.units.iter().zip(numbers).enumerate() {
            if let Some(row) = rows.get(*number, width) {
                visit(LIST_UNIT + at, row);
            }
        }
    }
}

impl Rows {
    fn push(&mut self, row: Vec<u64>, words: usize) {
        if row.iter().all(|word| *word == 0) {
            self.row_of.push(ABSENT);
            return;
        }
        let number = self.bits.len() / (PLANES * words).max(1);
        self.row_of.push(u32::try_from(number).unwrap_or(ABSENT));
        self.bits.extend(row);
    }

    fn get(&self, value: u32, width: usize) -> Option<&[u64]> {
        let row = *self.row_of.get(value as usize)?;
        if row == ABSENT {
            return None;
        }
        let start = row as usize * width;
        self.bits.get(start..start + width)
    }
}

/// The planes of one unit value: each distinct acceptor is asked once.
fn row(hosts: &Hosts, config: u32, unit: usize, words: usize, outcome: impl Fn(u32) -> Outcome) -> Vec<u64> {
    let mut planes = vec![0_u64; PLANES * words];
    let mut known: Vec<Option<Outcome>> = vec![None; hosts.acceptors.get(unit).map_or(0, super::intern::Interner::len)];
    for class in 0..hosts.classes.len() {
        let number = u32::try_from(class).unwrap_or(ABSENT);
        let Some(acceptor) = hosts.acceptor_number(number, config, unit) else { continue };
        let Some(slot) = known.get_mut(acceptor as usize) else { continue };
        let outcome = *slot.get_or_insert_with(|| outcome(acceptor));
        for plane in 0..outcome as usize {
            if let Some(word) = planes.get_mut(plane * words + class / 64) {
                *word |= 1 << (class % 64);
            }
        }
    }
    planes
}

/// Sets the lowest `bits` bits of a row.
pub(crate) fn fill_ones(row: &mut [u64], bits: usize) {
    for (at, word) in row.iter_mut().enumerate() {
        let rest = bits.saturating_sub(at * 64);
        *word = if rest >= 64 { u64::MAX } else { (1 << rest) - 1 };
    }
}

/// The outcome of one host class in joined planes.
pub(crate) fn outcome_at(planes: &[u64], words: usize, class: usize) -> u8 {
    let bit = |plane: usize| {
        let word = planes.get(plane * words + class / 64).copied().unwrap_or(0);
        (word >> (class % 64) & 1).to_le_bytes()[0]
    };
    bit(0) + bit(1) + bit(2)
}
