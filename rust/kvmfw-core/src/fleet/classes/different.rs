//! VMs that are all different are looked at register by register.
//!
//! Where nobody is like anybody before, VM after VM would go to as many tables as there are registers, each of them far away in
//! memory. A register at a time goes to one, and threads share the registers without giving a number twice.

use std::ops::Range;

use rayon::prelude::*;

use super::class_row::NewRow;
use super::class_rows::ClassRows;
use super::intern::Interner;
use super::runs::Runs;
use super::saved::Saved;
use super::shape::{Column, Shape, Shapes};
use super::vms::{RegisterUnit, Vms};
use crate::error::MemoryError;
use crate::fleet::class::VmClass;
use crate::fleet::unit::UnitNumber;
use crate::pool::checkpoint;
use crate::room;
use crate::value::Value;
use crate::vcpu::{Inference, VcpuConfig};

/// So many VMs are looked at before the next register is: what they have of it fits into a core's caches.
pub(super) const WINDOW: usize = 1 << 13;
/// VMs whose shape one thread looks for at a time.
const CHUNK: usize = 1 << 9;
/// VMs of more shapes than this are looked at one by one.
const MOST_SHAPES: usize = 1 << 4;

/// Adds the classes of the VMs that follow those of `classes`, until there is one who has to be looked at by himself: because he
/// has a shape that nobody had, or what few VMs have; or until most of them are not new (`are_new` tells of how many how many are),
/// and `false` is given. The threads of the pool in which this is called share the work.
///
/// # Errors
///
/// When there is no memory for it.
pub(super) fn add(
    vms: &mut Vms,
    rows: Runs<'_>,
    are_new: impl Fn(usize, usize) -> bool,
    classes: &mut Vec<VmClass>,
) -> Result<bool, MemoryError> {
    let after = |end: usize| end..rows.len().min(end + WINDOW);
    let mut now = after(classes.len());
    room::ask(vms.growth(WINDOW))?;
    let mut ready = Registers::of(vms).0.window(rows, now.clone());
    while let Some(window) = ready {
        checkpoint();
        room::ask(vms.growth(2 * WINDOW))?;
        let (known, next) = (vms.classes.len(), after(now.end));
        let (mut registers, all) = Registers::of(vms);
        // Classes get their numbers one after the other: meanwhile other threads go on with who comes next.
        let add = || all.intern_all(now.len(), |at, row| window.write(at, row));
        let (found, then) = rayon::join(add, || registers.window(rows, next.clone()));
        classes.extend(found);
        if !are_new(now.len(), vms.classes.len() - known) {
            return Ok(false);
        }
        (ready, now) = (then, next);
    }
    Ok(true)
}

/// A VM of a window.
#[derive(Clone, Copy)]
struct Vm<'a> {
    /// Its values, in the order of the ids of its shape.
    values: &'a [u64],
    /// The number of its shape.
    shape: usize,
}

impl Vm<'_> {
    fn word(&self, at: usize) -> Option<u64> {
        self.values.get(at).copied()
    }
}

/// What a window has to know of a shape.
struct Look {
    shape: usize,
    config: u32,
    width: usize,
    /// By register unit.
    columns: Vec<Option<Column>>,
}

/// VMs whose registers have numbers.
struct Window<'a> {
    vms: Vec<Vm<'a>>,
    looks: Vec<Look>,
    /// The number of the list of each VM.
    lists: Vec<Option<u32>>,
    /// By register unit the number of the value of each VM.
    numbers: Vec<Vec<Option<u32>>>,
}

impl Window<'_> {
    /// The row of a VM.
    fn write(&self, at: usize, row: &mut NewRow) {
        let look = self.vms.get(at).and_then(|vm| look_of(&self.looks, vm.shape));
        row.begin(self.lists.get(at).copied().flatten(), look.map_or(1, |look| look.width));
        let columns = look.into_iter().flat_map(|look| look.columns.iter().zip(&self.numbers).enumerate());
        for (unit, (_, numbers)) in columns.filter(|(_, (column, _))| column.is_some()) {
            row.put(UnitNumber::of_register(unit), numbers.get(at).copied().flatten());
        }
    }
}

/// All of [`Vms`] but the classes.
struct Registers<'v> {
    configs: &'v Interner<VcpuConfig>,
    lists: &'v mut Interner<Saved>,
    units: &'v mut [RegisterUnit],
    shapes: &'v mut Shapes,
}

impl<'v> Registers<'v> {
    fn of(vms: &'v mut Vms) -> (Self, &'v mut ClassRows) {
        let Vms { configs, lists, units, shapes, classes, .. } = vms;
        (Self { configs, lists, units, shapes }, classes)
    }

    /// Gives numbers to what VMs have; `None` where there is no VM, or one has to be looked at by itself.
    fn window<'a>(&mut self, rows: Runs<'a>, runs: Range<usize>) -> Option<Window<'a>> {
        let starts: Vec<usize> = runs.clone().step_by(CHUNK).collect();
        let plain = |start: &usize| self.plain(rows, *start..runs.end.min(start + CHUNK));
        let vms = starts.par_iter().map(plain).collect::<Option<Vec<Vec<Vm<'_>>>>>()?.concat();
        let looks = looks(&vms, self.shapes, self.units.len())?;
        let Self { lists, units, shapes, .. } = self;
        let list = |vm: &Vm<'_>| shapes.get_mut(vm.shape).map(|shape| shape.list(|at| vm.word(at), lists));
        let numbers = || -> Vec<Vec<Option<u32>>> {
            let units = units.par_iter_mut().enumerate().with_max_len(1);
            units.map(|(at, unit)| numbers(at, unit, &vms, &looks)).collect()
        };
        let (lists, numbers) = rayon::join(|| vms.iter().map(list).collect(), numbers);
        (!vms.is_empty()).then_some(Window { vms, looks, lists, numbers })
    }

    /// VMs with their shapes, where all of these are known and nothing is special about any VM.
    fn plain<'a>(&self, rows: Runs<'a>, runs: Range<usize>) -> Option<Vec<Vm<'a>>> {
        let (mut inference, mut last) = (Inference::default(), None::<(&[u64], VcpuConfig, usize)>);
        let mut found = Vec::with_capacity(runs.len());
        for run in runs {
            let (_, ids, values) = rows.rows_of(run)?;
            let known = last.filter(|(known, ..)| *known == ids);
            if known.is_none() {
                inference.look_at(ids);
            }
            let config = rows.config(run, values, &mut inference)?;
            let shape = match known {
                Some((_, known, shape)) if known == config => shape,
                _ => self.shapes.known(self.configs.number(&config)?, ids)?,
            };
            last = Some((ids, config, shape));
            if !self.shapes.get(shape)?.is_plain(values) {
                return None;
            }
            found.push(Vm { values, shape });
        }
        Some(found)
    }
}

/// What there is to know of the shapes of a window, if these are few.
fn looks(vms: &[Vm<'_>], shapes: &Shapes, units: usize) -> Option<Vec<Look>> {
    let mut looks: Vec<Look> = Vec::new();
    for vm in vms {
        if look_of(&looks, vm.shape).is_some() {
            continue;
        }
        if looks.len() == MOST_SHAPES {
            return None;
        }
        let Shape { config, width, columns: own, .. } = shapes.get(vm.shape)?;
        let mut columns = vec![None; units];
        for column in own {
            *columns.get_mut(column.unit.register()?)? = Some(*column);
        }
        looks.push(Look { shape: vm.shape, config: *config, width: *width, columns });
    }
    Some(looks)
}

fn look_of(looks: &[Look], shape: usize) -> Option<&Look> {
    looks.iter().find(|look| look.shape == shape)
}

/// The numbers of the values that VMs have of one register.
fn numbers(at: usize, unit: &mut RegisterUnit, vms: &[Vm<'_>], looks: &[Look]) -> Vec<Option<u32>> {
    checkpoint();
    let register = unit.register;
    let number = |vm: &Vm<'_>| {
        let look = look_of(looks, vm.shape)?;
        let column = look.columns.get(at)?.as_ref()?;
        unit.number_at(column, look.config, |at| vm.word(at), |at| Value::from_word(vm.word(at)?, register).ok())
    };
    vms.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::classes::intake::{Known, classes};
    use crate::id::RegisterId;
    use crate::pool::Pool;

    const IDS: [u64; 2] = [0x6030_0000_0013_c021, 0x6030_0000_0013_c030];
    /// Who is known before, and who may be looked at all together; no multiple of any part.
    const FIRST: usize = 100;
    const ALL: usize = 2 * WINDOW + 777;

    /// VMs of two registers, each as `vm` says.
    fn columns(vm: impl Fn(usize) -> [u64; 2]) -> (Vec<i64>, Vec<u64>, Vec<u64>) {
        let starts = (0..=2 * ALL).step_by(2).filter_map(|start| i64::try_from(start).ok()).collect();
        (starts, IDS.repeat(ALL), (0..ALL).flat_map(vm).collect())
    }

    /// What `add` does after the first VMs: what it gives, how many it took, and how many of how many it said to be new.
    fn add_all(
        (starts, register, value): &(Vec<i64>, Vec<u64>, Vec<u64>),
        goes_on: bool,
    ) -> (bool, usize, Vec<(usize, usize)>) {
        let configs = [VcpuConfig::default()];
        let all = Runs { starts, register, value, configs: &configs, config_of: &[], vmm_of: &[] };
        let (mut vms, pool) = (Vms::default(), Pool::new(2));
        let first = Runs { starts: &starts[..=FIRST], ..all };
        let (mut found, errors) = classes(&mut vms, &mut Known::default(), first, &pool).unwrap();
        assert!(errors.is_empty());
        let asked = std::sync::Mutex::new(Vec::new());
        let are_new = |seen: usize, new: usize| {
            asked.lock().unwrap().push((seen, new));
            goes_on
        };
        let ended = pool.run(|| add(&mut vms, all, are_new, &mut found)).unwrap();
        (ended, found.len(), asked.into_inner().unwrap())
    }

    #[test]
    fn all_who_have_known_shapes_are_looked_at_together() {
        let each = |at: usize| [(at as u64) << 8, 0];
        let rest = ALL - FIRST - 2 * WINDOW;
        let windows = vec![(WINDOW, WINDOW), (WINDOW, WINDOW), (rest, rest)];
        assert_eq!(add_all(&columns(each), true), (true, ALL, windows));
    }

    #[test]
    fn who_is_like_others_is_told() {
        // Every other VM is like the one before it.
        let each = |at: usize| [(at as u64 / 2) << 8, 0];
        assert_eq!(add_all(&columns(each), false), (false, FIRST + WINDOW, vec![(WINDOW, WINDOW / 2)]));
    }

    #[test]
    fn who_is_special_ends_it_before_the_window() {
        let (starts, mut register, value) = columns(|at| [(at as u64) << 8, 0]);
        // A register that nobody had, in the second window.
        register[2 * (FIRST + WINDOW + 3000)] = RegisterId::PSTATE.raw();
        assert_eq!(add_all(&(starts, register, value), true), (true, FIRST + WINDOW, vec![(WINDOW, WINDOW)]));
    }
}
