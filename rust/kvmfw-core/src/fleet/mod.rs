//! Fleets: many VMs, many hosts, decided by look-up.
//!
//! Both sides are interned to [`classes`]. What every unit says about every value is judged once, in [`tables`]; where classes
//! are not too many every pair of them has its cell, and a pair of rows is three gathers. Questions go to [`ask`]. Same
//! input, same bytes out, for any number of threads.

mod ask;
mod class;
mod classes;
mod grid;
mod limits;
mod store;
mod strip;
mod tables;
mod unit;

use std::sync::Arc;
use std::time::Duration;

pub use self::ask::arcs::Arcs;
pub use self::ask::audit::{AuditCounts, Blocked};
pub use self::ask::emptying::Emptying;
pub use self::ask::gather::RowIndex;
pub use self::ask::in_the_way::UnitOutcomes;
pub use self::classes::intake::{Heads, Number};
pub use self::classes::kinds::{Differing, Kinds};
pub use self::classes::runs::Runs;
pub use self::limits::Limits;
pub use self::store::change::Change;
pub use self::store::classes::ChangedClass;
pub use self::store::left::Left;
pub use self::store::named::{Named, Names, Texts};
use self::store::shared::Shared;
pub use self::store::snapshot::{Changes, Snapshot};
pub use self::store::step::Step;
pub use self::store::turn::Turn;
pub use self::store::who::{Handle, HostHandle, VmHandle, Who};
use self::tables::world::Settings;
pub use self::unit::NO_UNIT;
use crate::pool::{Pool, Threads};
use crate::question::Question;
pub(crate) use crate::taken::Taken;

/// VMs and hosts that come and go. A clone is the same fleet: whoever has one sees the changes of all.
///
/// Questions are asked of a [`Snapshot`], which stays as it is; [`Fleet::change`] makes the next one, for which readers never
/// wait. A [`Turn`] makes small ones in place, where nobody keeps a snapshot: who asks for one waits some microseconds for it.
/// Writers do not wait for readers; they take turns.
#[derive(Clone, Debug)]
pub struct Fleet(Arc<Shared>);

impl Fleet {
    /// An empty fleet that works with `threads` threads; 0 means one for each core.
    pub fn new(question: Question, threads: usize) -> Self {
        Self::with_limits(question, threads, Limits::default())
    }

    /// A fleet with other limits: slower or larger, with the same answers.
    pub fn with_limits(question: Question, threads: usize, limits: Limits) -> Self {
        Self(Arc::new(Shared::new(Settings { question, limits, pool: Arc::new(Pool::new(threads)) })))
    }

    /// The fleet as it is now.
    pub fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }

    /// Begins a change of some steps; waits while others change the fleet.
    pub fn change(&self) -> Change {
        self.turn().change()
    }

    /// The turn to change the fleet; waits while others have it. For changes of one step that take microseconds.
    pub fn turn(&self) -> Turn {
        // Longer than anybody waits.
        const FOR_EVER: Duration = Duration::from_secs(1 << 30);
        loop {
            if let Some(turn) = self.try_turn(FOR_EVER) {
                return turn;
            }
        }
    }

    /// [`Fleet::turn`] that gives up after a while.
    pub fn try_turn(&self, patience: Duration) -> Option<Turn> {
        Turn::take(Arc::clone(&self.0), patience)
    }

    /// The threads of this fleet, for work that may have to stop.
    pub fn threads(&self) -> Threads {
        Threads(Arc::clone(&self.0.settings.pool))
    }

    /// Finds where the rows of each VM start in a column that names them by numbers, with the threads of this fleet.
    pub fn heads<T: Number>(&self, column: &[T]) -> Heads<T> {
        classes::intake::heads(column, &self.0.settings.pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::grid::{UNKNOWN, found};

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "a look-up outside of its table"))]
    fn a_look_up_outside_of_its_table_is_never_accept() {
        assert_eq!(found(Some(0)), 0);
        assert_eq!(found(None), UNKNOWN);
    }

    #[test]
    fn a_class_that_there_is_not_has_no_row() {
        let fleet = Fleet::new(Question::default(), 1).snapshot();
        assert!(fleet.class_row(9).is_err());
        assert!(fleet.takers(9, Taken { change: true, unknown: true }).is_err());
    }
}
