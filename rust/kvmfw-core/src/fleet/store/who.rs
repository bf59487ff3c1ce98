//! How members are named from outside: by row, by name or by handle.

use super::members::{Bearer, Roster};
use super::neighbours::Member;
use crate::error::MissingError;

/// A VM for as long as it is in the fleet; it never means another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmHandle(pub u64);

/// A host for as long as it is in the fleet; it never means another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostHandle(pub u64);

/// Whom a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who<'a, H> {
    /// The one in this row of the version that is asked.
    Row(usize),
    /// The only one with this name.
    Name(&'a str),
    /// The one with this handle.
    Handle(H),
}

/// The handle of a side of the fleet.
pub trait Handle: Copy {
    /// What the side is called.
    const SIDE: &'static str;

    /// The handle of an arrival.
    fn of(arrival: u64) -> Self;
    /// Which arrival it is.
    fn arrival(self) -> u64;
}

impl Handle for VmHandle {
    const SIDE: &'static str = "VM";

    fn of(arrival: u64) -> Self {
        Self(arrival)
    }

    fn arrival(self) -> u64 {
        self.0
    }
}

impl Handle for HostHandle {
    const SIDE: &'static str = "host";

    fn of(arrival: u64) -> Self {
        Self(arrival)
    }

    fn arrival(self) -> u64 {
        self.0
    }
}

impl<H> From<usize> for Who<'_, H> {
    fn from(row: usize) -> Self {
        Self::Row(row)
    }
}

impl<'a, H> From<&'a str> for Who<'a, H> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl From<VmHandle> for Who<'_, VmHandle> {
    fn from(handle: VmHandle) -> Self {
        Self::Handle(handle)
    }
}

impl From<HostHandle> for Who<'_, HostHandle> {
    fn from(handle: HostHandle) -> Self {
        Self::Handle(handle)
    }
}

impl<H: Handle> Who<'_, H> {
    /// The member of a roster that is meant.
    pub(in crate::fleet) fn find(self, roster: &Roster) -> Result<(u64, Member), MissingError> {
        let with_member = |handle: u64| roster.member(handle).map(|member| (handle, member));
        match self {
            Self::Row(row) => roster.at(row).ok_or_else(|| no_row::<H>(row, roster)),
            Self::Handle(handle) => with_member(handle.arrival()).ok_or_else(|| {
                let left = if handle.arrival() < roster.arrivals() { "has left" } else { "was never there" };
                let problem = format!("the {} with handle {} {left}", H::SIDE, handle.arrival());
                MissingError { problem, row: None }
            }),
            Self::Name(name) => match roster.bearer(name) {
                Bearer::One(handle, member) => Ok((handle, member)),
                Bearer::Nobody => Err(no_name::<H>(name, "there is no")),
                Bearer::Several => Err(no_name::<H>(name, "there is more than one")),
            },
        }
    }
}

fn no_name<H: Handle>(name: &str, what: &str) -> MissingError {
    MissingError { problem: format!("{what} {} with the name `{name}`", H::SIDE), row: None }
}

/// Nobody is in a row.
pub(in crate::fleet) fn no_row<H: Handle>(row: usize, roster: &Roster) -> MissingError {
    let (side, count) = (H::SIDE, roster.len());
    MissingError { problem: format!("{side} row {row} is out of range; there are {count} {side}s"), row: Some(row) }
}
