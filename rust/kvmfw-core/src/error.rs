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
        Self { place: in_short(place.into()), problem: in_short(problem.into()) }
    }
}

/// A sentence that repeats no more of its input than people read: of a longer one the start and the end.
fn in_short(text: String) -> String {
    const LONGEST: usize = 400;
    const START: usize = 120;
    const END: usize = 240;
    let letters = text.chars().count();
    if letters <= LONGEST {
        return text;
    }
    let (start, end): (String, String) =
        (text.chars().take(START).collect(), text.chars().skip(letters - END).collect());
    format!("{start} ... {end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_told_by_its_start_and_its_end() {
        let told = FormatError::new("place", format!("`{}` is not known; expected a name", "ä".repeat(5000)));
        assert!(told.problem.starts_with("`ää") && told.problem.ends_with("is not known; expected a name"));
        assert_eq!(told.problem.chars().count(), 120 + 5 + 240);
        assert_eq!(FormatError::new("place", "in short").problem, "in short");
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
