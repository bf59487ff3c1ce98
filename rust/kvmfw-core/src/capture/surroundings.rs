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

/// What this name of the catalogue stands for.
pub(crate) fn surrounding_at(name: &str, place: &str) -> Result<RegisterId, FormatError> {
    catalog::find(name).filter(|id| id.is_surrounding()).ok_or_else(|| {
        let known: Vec<&str> = CATALOG.iter().filter(|one| one.id.is_surrounding()).map(|one| one.name).collect();
        FormatError::new(place, format!("`{name}` is not known; expected one of {}", known.join(", ")))
    })
}

pub(super) fn read_surroundings(document: &Members<BesideDocument>) -> Result<Vec<(RegisterId, Beside)>, FormatError> {
    let mut found = Vec::new();
    for (name, said) in &document.0 {
        let place = format!("surroundings.{name}");
        let id = surrounding_at(name, "surroundings")?;
        if found.iter().any(|(known, _)| *known == id) {
            return Err(FormatError::new(place, "occurs twice"));
        }
        let own = match (&said.value, &said.errno) {
            (Some(value), None) => Ok(value_at(value, id, || format!("{place}.value"))?),
            (None, Some(errno)) => Err(errno_at(errno, || format!("{place}.errno"))?),
            _ => return Err(FormatError::new(place, "has either `value` or `errno`")),
        };
        let asked = read_asked(&said.kept, &said.changed, &said.refused, id, &place)?;
        let is_asked = !(asked.kept.is_empty() && asked.changed.is_empty() && asked.refused.is_empty());
        found.push((id, Beside { own, answers: is_asked.then(|| Arc::new(Answers::ByValue(asked))) }));
    }
    found.sort_unstable_by_key(|(id, _)| *id);
    Ok(found)
}
