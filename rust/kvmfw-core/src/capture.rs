//! Captures: what was recorded on one host, per vCPU configuration.

mod asked;
mod builder;
mod document;
mod hidden;
mod places;
mod recorded;
mod surroundings;

use self::builder::Builder;
use self::document::Document;
pub use self::recorded::{Beside, Capture, Hidden, Made, Trial, Vcpu};
pub(crate) use self::surroundings::{check_version, surrounding_at, surrounding_value};
use crate::error::FormatError;
use crate::json;

impl Capture {
    /// Reads a `kvmfw-capture` document.
    ///
    /// # Errors
    ///
    /// When the text is not JSON, not such a document, or contradicts itself.
    pub fn from_json(text: &[u8]) -> Result<Self, FormatError> {
        let document: Document = json::read(text, "kvmfw-capture", 4)?;
        Builder::new(&document)?.build(&document)
    }

    /// Whether the host's text on Spectre v4 says that it is mitigated, as `cpu_show_spec_store_bypass` words it
    /// (`arch/arm64/kernel/proton-pack.c`).
    pub(crate) fn mitigates_spec_store_bypass(&self) -> Option<bool> {
        let text = self.spec_store_bypass.as_deref()?;
        let starts = |word| text.starts_with(word);
        (starts("Mitigation") || starts("Not affected") || starts("Vulnerable")).then(|| starts("Mitigation"))
    }
}

#[cfg(test)]
mod tests;
