//! Words of formulas, see [`super::smt`].

pub(super) fn hex(word: u64) -> String {
    format!("#x{word:016x}")
}

/// The bits of a term that are in the mask.
pub(super) fn bits(term: &str, mask: u64) -> String {
    format!("(bvand {term} {})", hex(mask))
}

pub(super) fn all_of(terms: impl IntoIterator<Item = String>) -> String {
    let terms: Vec<String> = terms.into_iter().collect();
    format!("(and {} true)", terms.join(" "))
}

/// Whether two terms are alike in the bits of the mask.
pub(super) fn alike(one: &str, other: &str, mask: u64) -> String {
    format!("(= {} {})", bits(one, mask), bits(other, mask))
}

/// Whether the value has no bit outside of the mask.
pub(super) fn only_bits(mask: u64) -> String {
    format!("(= {} {})", bits("value", !mask), hex(0))
}
