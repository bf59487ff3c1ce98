//! Whether a kernel does something at the first run.

use crate::judgement::Evidence;
use crate::rules::facts::Facts;
use crate::rules::release::Release;
use crate::rules::trees;

/// Whether a kernel does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Does {
    Yes(Evidence),
    No,
    /// A vendor's kernel under a number of before the change: a value of its own VMs stays (specification, 5); of others it
    /// is not known.
    NotToOwn(&'static str),
    Unknown(&'static str),
}

impl Does {
    pub(super) fn seen(does: bool) -> Self {
        if does { Self::Yes(Evidence::Measured) } else { Self::No }
    }

    /// A change last seen absent in one release and first seen in another.
    pub(super) fn between(facts: &Facts<'_>, needs: &'static str, absent: Release, present: Release) -> Self {
        let Some(release) = facts.release.filter(|release| !trees::is_younger(*release)) else {
            return Self::Unknown(needs);
        };
        let line = |release: Release| (release.major, release.minor);
        let (before, after) = if release.knows_patch() {
            (release <= absent, release >= present)
        } else {
            (line(release) < line(absent), line(release) > line(present))
        };
        match (before, after) {
            (true, _) if facts.is_vendors => Self::NotToOwn(needs),
            (true, _) => Self::No,
            (_, true) => Self::Yes(Evidence::Derived),
            _ => Self::Unknown(needs),
        }
    }
}
