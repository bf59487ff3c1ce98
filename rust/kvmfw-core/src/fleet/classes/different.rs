//! VMs that are all different are looked at register by register.
//!
//! Where nobody is like anybody before, VM after VM would go to as many tables as there are registers, each of them far away in
//! memory. A register at a time goes to one, and threads share the registers without giving a number twice.

use std::ops::Range;

use rayon::prelude::*;

use super::class_row::NewRow;
use super::runs::Runs;
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

/// Adds the classes of the VMs in `runs`, at most [`WINDOW`] of them; `false`, and nothing is added, where one of them has to be
/// looked at by itself: it has a shape that nobody had, or what few VMs have. The threads of the pool in which this is called
/// share the work.
///
/// # Errors
///
/// When there is no memory for it.
pub(super) fn add(
    vms: &mut Vms,
    rows: Runs<'_>,
    runs: Range<usize>,
    classes: &mut Vec<VmClass>,
) -> Result<bool, MemoryError> {
    room::ask(vms.growth(runs.len()))?;
    let starts: Vec<usize> = runs.clone().step_by(CHUNK).collect();
    let plain = |start: &usize| plain(vms, rows, *start..runs.end.min(start + CHUNK));
    let Some(found) = starts.par_iter().map(plain).collect::<Option<Vec<Vec<Vm<'_>>>>>() else { return Ok(false) };
    let window = found.concat();
    let Vms { lists, units, shapes, .. } = vms;
    let Some(looks) = looks(&window, shapes, units.len()) else { return Ok(false) };
    let list = |vm: &Vm<'_>| shapes.get_mut(vm.shape).map(|shape| shape.list(|at| vm.word(at), lists));
    let numbers = || -> Vec<Vec<Option<u32>>> {
        let units = units.par_iter_mut().enumerate().with_max_len(1);
        units.map(|(at, unit)| numbers(at, unit, &window, &looks)).collect()
    };
    let (lists, numbers) = rayon::join(|| window.iter().map(list).collect::<Vec<_>>(), numbers);
    checkpoint();
    let write = |at: usize, row: &mut NewRow| {
        let look = window.get(at).and_then(|vm| look_of(&looks, vm.shape));
        row.begin(lists.get(at).copied().flatten(), look.map_or(1, |look| look.width));
        let columns = look.into_iter().flat_map(|look| look.columns.iter().zip(&numbers).enumerate());
        for (unit, (column, numbers)) in columns {
            if column.is_some() {
                row.put(UnitNumber::of_register(unit), numbers.get(at).copied().flatten());
            }
        }
    };
    classes.extend(vms.classes.intern_all(window.len(), write));
    Ok(true)
}

/// VMs with their shapes, where all of these are known and nothing is special about any VM.
fn plain<'a>(vms: &Vms, rows: Runs<'a>, runs: Range<usize>) -> Option<Vec<Vm<'a>>> {
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
            _ => vms.shapes.known(vms.configs.number(&config)?, ids)?,
        };
        last = Some((ids, config, shape));
        if !vms.shapes.get(shape)?.is_plain(values) {
            return None;
        }
        found.push(Vm { values, shape });
    }
    Some(found)
}

/// What there is to know of the shapes of a window, if these are few.
fn looks(window: &[Vm<'_>], shapes: &Shapes, units: usize) -> Option<Vec<Look>> {
    let mut looks: Vec<Look> = Vec::new();
    for vm in window {
        if looks.last().is_some_and(|last| last.shape == vm.shape) || look_of(&looks, vm.shape).is_some() {
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
fn numbers(at: usize, unit: &mut RegisterUnit, window: &[Vm<'_>], looks: &[Look]) -> Vec<Option<u32>> {
    let register = unit.register;
    let number = |vm: &Vm<'_>| {
        let look = look_of(looks, vm.shape)?;
        let column = look.columns.get(at)?.as_ref()?;
        unit.number_at(column, look.config, |at| vm.word(at), |at| Value::from_word(vm.word(at)?, register).ok())
    };
    window.iter().map(number).collect()
}
