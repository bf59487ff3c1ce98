//! Captures: what was recorded on one host, per vCPU configuration.

mod builder;
mod document;
mod places;
mod recorded;

use self::builder::Builder;
use self::document::Document;
pub use self::recorded::{Capture, Made, Trial, Vcpu};
use crate::error::FormatError;
use crate::json;

impl Capture {
    /// Reads a `kvmfw-capture` document.
    ///
    /// # Errors
    ///
    /// When the text is not JSON, not such a document, or contradicts itself.
    pub fn from_json(text: &[u8]) -> Result<Self, FormatError> {
        let document: Document = json::read(text, "kvmfw-capture", 2)?;
        Builder::new(&document)?.build(&document)
    }
}
