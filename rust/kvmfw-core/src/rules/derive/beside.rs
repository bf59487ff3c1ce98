//! What stands beside registers: which rule a host has for it.

use super::super::facts::{Facts, PROBE};
use super::super::rule::Rule;
use super::super::surroundings::Beside;
use super::super::trees;
use crate::catalog::{self, Kind};
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::value::Value;

/// The rule by which a host that shows `own`, or has no such thing, decides it.
pub(crate) fn derive_beside(register: RegisterId, own: Result<&Value, Errno>, facts: &Facts<'_>) -> Rule {
    match (catalog::kind_of(register), own) {
        (Kind::StealTime, Err(errno)) => Rule::Beside(Beside::StealTime(Some(errno))),
        (_, Err(errno)) => Rule::Refused(errno),
        (Kind::Device, Ok(_)) => Rule::Kept,
        (_, Ok(own)) if facts.release.is_none_or(trees::is_younger) => {
            let why = if facts.release.is_some() { trees::YOUNGER } else { facts.untold() };
            Rule::only_alike(register, own.clone(), why, facts)
        }
        (Kind::StealTime, Ok(_)) => Rule::Beside(Beside::StealTime(None)),
        (Kind::VgicControl, Ok(Value::Word(own))) => Rule::Beside(Beside::VgicControl(*own)),
        (Kind::ItsRevision, Ok(Value::Word(own))) => Rule::Beside(Beside::ItsRevision(*own)),
        (_, Ok(_)) => Rule::Unknown(PROBE),
    }
}
