//! Joined tables: what VM classes reach on one strip of hosts after the other, of as few rows as there can be.
//!
//! Rows of a group that are equal over all hosts are one here: of most values no host refuses any, so that the 54 units of
//! `hostile`, 16 of them digits, fit into seven tables. A strip of a VM class is the OR of a row of each, and those of all
//! tables stay in a second-level cache.

use std::ops::Range;

use super::bit_rows::{Plane, Sides};
use crate::fleet::class::VmClass;
use crate::fleet::classes::intern::Interner;
use crate::fleet::strip::Strip;
use crate::room;
use crate::wide::wide;

/// Groups are joined to tables of at most this many rows, of 128 bytes in a strip.
const MOST_ROWS: usize = 1 << 9;
/// VM classes that are looked at together, or more where tables are large: those are made anew for each so many.
const TILE: usize = 1 << 13;
/// VM classes for each row of the tables.
const CLASSES_OF_A_ROW: usize = 4;

/// What strips are made of, by how much at least is reached: CHANGE, UNKNOWN, REFUSE.
#[derive(Debug)]
pub(in crate::fleet) struct Joined<'a> {
    planes: [&'a Plane; 3],
    sides: Sides<'a>,
    /// For each plane the groups that have more there than in the next.
    tables: [Vec<Table>; 3],
}

/// The combinations of the rows of some groups.
#[derive(Debug)]
struct Table {
    pieces: Vec<Piece>,
    rows: usize,
}

/// A group without what its rows have twice.
#[derive(Debug)]
struct Piece {
    group: usize,
    /// The number of each row.
    number_of: Vec<u32>,
    /// A row with each number.
    row_of: Vec<u32>,
}

/// Some VM classes, and the rows of a strip.
#[derive(Debug)]
pub(in crate::fleet) struct Tile<'a> {
    joined: &'a Joined<'a>,
    classes: Range<usize>,
    /// For each class its places in `strips`, table by table.
    places: Vec<u32>,
    strips: Vec<Strip>,
    /// Which of the strips of a row these are.
    at: usize,
}

impl<'a> Joined<'a> {
    /// Chooses the tables.
    pub(in crate::fleet) fn new(planes: [&'a Plane; 3], sides: Sides<'a>) -> Self {
        let mut next: Option<&Plane> = None;
        let mut tables = [const { Vec::new() }; 3];
        for (tables, plane) in tables.iter_mut().zip(planes).rev() {
            for (group, rows) in plane.tables().enumerate() {
                if !rows.is_empty() && next.and_then(|next| next.tables().nth(group)) != Some(rows) {
                    add(tables, Piece::new(group, rows, plane.strips));
                }
            }
            next = Some(plane);
        }
        Self { planes, sides, tables }
    }

    /// How many VM classes a tile should have.
    pub(in crate::fleet) fn classes_of_a_tile(&self) -> usize {
        TILE.max(CLASSES_OF_A_ROW * self.all_tables().map(|(_, table)| table.rows).sum::<usize>())
    }

    /// How many strips a row has.
    pub(in crate::fleet) fn strips(&self) -> usize {
        self.planes[0].strips
    }

    /// Whether a plane has more than the next one.
    fn adds(&self, plane: usize) -> bool {
        !self.sides.judged.rests.is_empty() || self.tables.get(plane).is_some_and(|tables| !tables.is_empty())
    }

    /// What was counted in the planes that [`Tile::each`] told, and for the others what the next ones have.
    pub(in crate::fleet) fn inherit(&self, told: [u64; 3]) -> [u64; 3] {
        let [change, unknown, refuse] = told;
        let unknown = if self.adds(1) { unknown } else { refuse };
        [if self.adds(0) { change } else { unknown }, unknown, refuse]
    }

    /// With the plane of each, in the order of the rows of a strip: REFUSE first.
    fn all_tables(&self) -> impl Iterator<Item = (&Plane, &Table)> {
        let tables = self.planes.iter().zip(&self.tables);
        tables.rev().flat_map(|(plane, tables)| tables.iter().map(move |table| (*plane, table)))
    }

    /// Looks up the rows of some VM classes.
    pub(in crate::fleet) fn tile(&'a self, classes: Range<usize>) -> Tile<'a> {
        let width = self.all_tables().count();
        let rows = self.all_tables().map(|(_, table)| table.rows).sum::<usize>();
        room::need(classes.len() * width * size_of::<u32>() + 2 * rows * size_of::<Strip>());
        let mut places = vec![0; classes.len() * width];
        let mut start = 0;
        for (at, (_, table)) in self.all_tables().enumerate() {
            for piece in &table.pieces {
                let rows = self.sides.groups.rows(piece.group).get(classes.clone()).unwrap_or(&[]);
                let count = u32::try_from(piece.row_of.len()).unwrap_or(u32::MAX);
                for (place, row) in places.iter_mut().skip(at).step_by(width).zip(rows) {
                    *place = *place * count + piece.number_of.get(*row as usize).copied().unwrap_or(0);
                }
            }
            places.iter_mut().skip(at).step_by(width).for_each(|place| *place += start);
            start += u32::try_from(table.rows).unwrap_or(u32::MAX);
        }
        Tile { joined: self, classes, places, strips: Vec::with_capacity(rows), at: 0 }
    }
}

impl Tile<'_> {
    /// Makes the rows of a strip.
    pub(in crate::fleet) fn lay(&mut self, at: usize) {
        self.at = at;
        self.strips.clear();
        let (mut rows, mut more) = (Vec::new(), Vec::new());
        for (plane, table) in self.joined.all_tables() {
            rows.clear();
            rows.push(Strip::NONE);
            for piece in &table.pieces {
                more.clear();
                for row in &rows {
                    let own = piece.row_of.iter().filter_map(|row| plane.strip(piece.group, *row, at));
                    own.for_each(|own| more.push(row.with(own)));
                }
                std::mem::swap(&mut rows, &mut more);
            }
            self.strips.append(&mut rows);
        }
    }

    /// Tells for each VM class, by its place in the tile, what it reaches on the hosts of the strip in each plane that adds to
    /// the next one: REFUSE first.
    pub(in crate::fleet) fn each(&self, tell: impl FnMut(usize, usize, &Strip)) {
        wide(
            #[inline(always)]
            || self.tell_each(tell),
        );
    }

    #[inline(always)]
    fn tell_each(&self, mut tell: impl FnMut(usize, usize, &Strip)) {
        let [change, unknown, refuse] = [0, 1, 2].map(|plane| self.joined.tables.get(plane).map_or(0, Vec::len));
        let (to_unknown, width) = (refuse + unknown, refuse + unknown + change);
        let adds = [0, 1, 2].map(|plane| self.joined.adds(plane));
        for at in 0..self.classes.len() {
            let places = self.places.get(at * width..(at + 1) * width).unwrap_or(&[]);
            let (mut sum, mut from) = (Strip::NONE, 0);
            for (plane, to) in [(2, refuse), (1, to_unknown), (0, width)] {
                if adds[plane] {
                    let places = places.get(from..to).unwrap_or(&[]);
                    let strips = places.iter().filter_map(|place| self.strips.get(*place as usize));
                    // By value, so that it stays in registers.
                    sum = strips.fold(sum, Strip::with);
                    from = to;
                    self.add_rests(plane, at, &mut sum);
                    tell(at, plane, &sum);
                }
            }
        }
    }

    fn add_rests(&self, plane: usize, at: usize, sum: &mut Strip) {
        if !self.joined.sides.judged.rests.is_empty()
            && let Some(plane) = self.joined.planes.get(plane)
        {
            let class = VmClass::at_place(self.classes.start + at);
            plane.join_rests(self.joined.sides, class, self.at, std::slice::from_mut(sum));
        }
    }
}

impl Piece {
    fn new(group: usize, rows: &[Strip], strips: usize) -> Self {
        let (mut known, mut row_of, mut number_of) = (Interner::default(), Vec::new(), Vec::new());
        for (row, strips) in (0..).zip(rows.chunks(strips.max(1))) {
            number_of.push(known.intern(strips));
            if known.len() > row_of.len() {
                row_of.push(row);
            }
        }
        Self { group, number_of, row_of }
    }
}

/// Joins a group to the last table, if that has few rows; else it begins the next one.
fn add(tables: &mut Vec<Table>, piece: Piece) {
    let own = piece.row_of.len();
    match tables.last_mut() {
        Some(table) if table.rows * own <= MOST_ROWS => {
            table.rows *= own;
            table.pieces.push(piece);
        }
        _ => tables.push(Table { rows: own, pieces: vec![piece] }),
    }
}
