//! What a capture says that nobody knows.

use super::document::HiddenDocument;
use super::places::{id_at, reject_duplicates, word_at};
use super::recorded::Hidden;
use crate::error::FormatError;
use crate::id::RegisterId;
use crate::value::Value;

/// What is not known of a vCPU that lists these registers.
pub(super) fn read_hidden(
    document: &HiddenDocument,
    registers: &[(RegisterId, Value)],
    place: &str,
) -> Result<Hidden, FormatError> {
    let value = |id: RegisterId| registers.iter().find(|(known, _)| *known == id).map(|(_, value)| value);
    let mut hidden = Hidden::default();
    for text in &document.listed {
        let register = id_at(text, || format!("{place}.listed"))?;
        if value(register).is_some() {
            let problem = format!("register {register} has a value, so it is known that it is listed");
            return Err(FormatError::new(format!("{place}.listed"), problem));
        }
        hidden.listed.push(register);
    }
    for (text, mask) in &document.bits.0 {
        let register = id_at(text, || format!("{place}.bits"))?;
        let mask = word_at(mask, register, || format!("{place}.bits.{text}"))?;
        if value(register).and_then(Value::word).is_none() {
            let problem = "bits are those of a register of at most 8 bytes that has a value";
            return Err(FormatError::new(format!("{place}.bits.{text}"), problem));
        }
        if mask != 0 {
            hidden.bits.push((register, mask));
        }
    }
    for (text, value) in &document.hardware.0 {
        let place = || format!("{place}.hardware");
        let register = id_at(text, place)?;
        hidden.hardware.push((register, word_at(value, register, place)?));
    }
    hidden.hardware.sort_unstable();
    reject_duplicates(hidden.hardware.iter().map(|(id, _)| *id), &format!("{place}.hardware"))?;
    hidden.listed.sort_unstable();
    hidden.bits.sort_unstable();
    reject_duplicates(hidden.listed.iter().copied(), &format!("{place}.listed"))?;
    reject_duplicates(hidden.bits.iter().map(|(id, _)| *id), &format!("{place}.bits"))?;
    Ok(hidden)
}
