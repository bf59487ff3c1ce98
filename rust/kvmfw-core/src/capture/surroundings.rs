//! What stands beside registers: the section `surroundings` of a capture, and of a register set.

use std::sync::Arc;

use super::asked::read_asked;
use super::document::BesideDocument;
use super::places::{errno_at, value_at};
use super::recorded::Beside;
use crate::answers::Answers;
use crate::catalog::{self, CATALOG};
use crate::error::FormatError;
use crate::id::RegisterId;
use crate::json::Members;
use crate::value::Value;

/// What this name of the catalogue stands for.
pub(crate) fn surrounding_at(name: &str, place: &str) -> Result<RegisterId, FormatError> {
    catalog::find(name).filter(|id| id.is_surrounding()).ok_or_else(|| {
        let known: Vec<&str> = CATALOG.iter().filter(|one| one.id.is_surrounding()).map(|one| one.name).collect();
        FormatError::new(place, format!("`{name}` is not known; expected one of {}", known.join(", ")))
    })
}

/// Says that documents before `since` have no surroundings: an older kvmfw would not look at them.
pub(crate) fn check_version(has_some: bool, version: u64, since: u64) -> Result<(), FormatError> {
    if has_some && version < since {
        let problem = format!("documents have surroundings from version {since} on, and this one says {version}");
        return Err(FormatError::new("version", problem));
    }
    Ok(())
}

/// A value that what stands there can have.
pub(crate) fn surrounding_value(text: &str, id: RegisterId, place: impl Fn() -> String) -> Result<Value, FormatError> {
    let value = value_at(text, id, &place)?;
    let expected = match (id, value.word()) {
        (RegisterId::VGIC_V2, word) if word != Some(1) => "0x1, which says that it is there",
        (RegisterId::IPA_BITS, word) if !word.is_some_and(|bits| (32..=64).contains(&bits)) => "0x20 to 0x40 bits",
        (RegisterId::PAGE_SIZE, word) if !matches!(word, Some(0x1000 | 0x4000 | 0x1_0000)) => {
            "0x1000, 0x4000 or 0x10000"
        }
        _ => return Ok(value),
    };
    Err(FormatError::new(place(), format!("{} is {value}; expected {expected}", catalog::name_of(id))))
}

/// What every host has.
const HAD_BY_ALL: [RegisterId; 3] = [RegisterId::CNTFRQ, RegisterId::IPA_BITS, RegisterId::PAGE_SIZE];

pub(super) fn read_surroundings(
    document: &Members<BesideDocument>,
    version: u64,
) -> Result<Vec<(RegisterId, Beside)>, FormatError> {
    check_version(!document.0.is_empty(), version, 3)?;
    let mut found = Vec::new();
    for (name, said) in &document.0 {
        let place = format!("surroundings.{name}");
        let id = surrounding_at(name, "surroundings")?;
        if found.iter().any(|(known, _)| *known == id) {
            return Err(FormatError::new(place, "occurs twice"));
        }
        let own = match (&said.value, &said.errno) {
            (Some(value), None) => Ok(surrounding_value(value, id, || format!("{place}.value"))?),
            (None, Some(_)) if HAD_BY_ALL.contains(&id) => {
                return Err(FormatError::new(place, "has no `value`, and every host has one"));
            }
            (None, Some(errno)) => Err(errno_at(errno, || format!("{place}.errno"))?),
            _ => return Err(FormatError::new(place, "has either `value` or `errno`")),
        };
        let asked = read_asked(&said.kept, &said.changed, &said.refused, id, &place)?;
        let is_asked = !(asked.kept.is_empty() && asked.changed.is_empty() && asked.refused.is_empty());
        if is_asked && own.is_err() {
            return Err(FormatError::new(
                place,
                "has answers to writes, and `errno` says that there is nothing to write to",
            ));
        }
        found.push((id, Beside { own, answers: is_asked.then(|| Arc::new(Answers::ByValue(asked))) }));
    }
    found.sort_unstable_by_key(|(id, _)| *id);
    Ok(found)
}
