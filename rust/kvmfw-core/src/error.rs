//! What can be wrong with input.

/// A document that cannot be used: where, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct FormatError {
    /// Path inside the document (`answers[3].register`), or line and column for broken JSON.
    pub place: String,
    /// One sentence: what was found and what was expected.
    pub problem: String,
}

impl FormatError {
    pub(crate) fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: place.into(), problem: problem.into() }
    }
}

/// A row of a batch that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {row}: {problem}")]
pub struct RowError {
    /// Number of the row in its input, from 0.
    pub row: usize,
    /// One sentence: what was found and what was expected.
    pub problem: String,
}

/// A VM, a host or a class that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct MissingError {
    /// One sentence: what was asked for, and what there is.
    pub problem: String,
    /// The row, where one was asked for.
    pub row: Option<usize>,
}

/// There is not enough memory; what it was for has not happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no memory for {bytes} bytes more")]
pub struct MemoryError {
    /// How many were asked for.
    pub bytes: usize,
}

/// Why VMs given as columns were not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// Columns do not fit together.
    #[error(transparent)]
    Row(#[from] RowError),
    /// There is not enough memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}
