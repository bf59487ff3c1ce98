//! Answers to values that were written one by one.

use super::places::{errno_at, value_at};
use crate::answers::ByValue;
use crate::error::FormatError;
use crate::id::RegisterId;
use crate::json::Members;
use crate::value::Value;

/// The values that were written one by one, with what was said to each.
pub(super) fn read_asked(
    kept: &[String],
    changed: &Members<String>,
    refused: &Members<Vec<String>>,
    register: RegisterId,
    place: &str,
) -> Result<ByValue, FormatError> {
    let value = |text: &str| value_at(text, register, || place.to_owned());
    let mut kept = kept.iter().map(|text| value(text)).collect::<Result<Vec<_>, _>>()?;
    let mut changed = changed
        .0
        .iter()
        .map(|(written, read)| Ok((value(written)?, value(read)?)))
        .collect::<Result<Vec<_>, FormatError>>()?;
    let mut errors = Vec::new();
    for (errno, values) in &refused.0 {
        let errno = errno_at(errno, || format!("{place}.refused"))?;
        for text in values {
            errors.push((value(text)?, errno));
        }
    }
    kept.sort_unstable();
    changed.sort_unstable();
    errors.sort_unstable();
    let mut seen: Vec<&Value> = kept.iter().collect();
    seen.extend(changed.iter().map(|(written, _)| written));
    seen.extend(errors.iter().map(|(written, _)| written));
    seen.sort_unstable();
    if let Some(twice) = seen.windows(2).find(|pair| pair.first() == pair.last()) {
        let problem = format!(
            "the value {} of register {register} is answered twice",
            twice.first().map_or_else(String::new, ToString::to_string)
        );
        return Err(FormatError::new(place, problem));
    }
    Ok(ByValue { kept, changed, refused: errors, otherwise: None })
}
