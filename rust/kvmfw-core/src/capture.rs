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
pub(crate) use self::surroundings::surrounding_at;
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
}
