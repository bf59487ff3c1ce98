//! Words of a document as values; an error names its place.

use crate::errno::Errno;
use crate::error::FormatError;
use crate::id::RegisterId;
use crate::id::parse_register;
use crate::json::Members;
use crate::value::Value;

pub(super) fn reject_duplicates(ids: impl Iterator<Item = RegisterId>, place: &str) -> Result<(), FormatError> {
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first()) {
        Some(twice) => Err(FormatError::new(place, format!("register {twice} occurs twice"))),
        None => Ok(()),
    }
}

/// Rejects a name that stands twice: who takes the first would judge otherwise than who takes the last.
pub(super) fn reject_repeated<T>(Members(told): &Members<T>, place: &str) -> Result<(), FormatError> {
    let mut names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first()) {
        Some(twice) => Err(FormatError::new(place, format!("`{twice}` occurs twice"))),
        None => Ok(()),
    }
}

/// The number of a capability, which is written in one way.
pub(super) fn capability_number(text: &str) -> Result<u32, FormatError> {
    let number = text.parse().ok().filter(|number: &u32| number.to_string() == text);
    number.ok_or_else(|| FormatError::new("host.capabilities", format!("`{text}` is not a capability number")))
}

pub(super) fn id_at(text: &str, place: impl Fn() -> String) -> Result<RegisterId, FormatError> {
    parse_register(text).map_err(|problem| FormatError::new(place(), problem))
}

pub(super) fn value_at(text: &str, register: RegisterId, place: impl Fn() -> String) -> Result<Value, FormatError> {
    Value::parse(text, register).map_err(|problem| FormatError::new(place(), problem))
}

pub(super) fn word_at(text: &str, register: RegisterId, place: impl Fn() -> String) -> Result<u64, FormatError> {
    let value = value_at(text, register, &place)?;
    value.word().ok_or_else(|| FormatError::new(place(), format!("register {register} is wider than 8 bytes")))
}

pub(super) fn errno_at(text: &str, place: impl Fn() -> String) -> Result<Errno, FormatError> {
    Errno::from_name(text).ok_or_else(|| FormatError::new(place(), format!("`{text}` is not a known error name")))
}
