//! Fields of the ID registers, and the check that KVM makes field by field (specification, 3.3).

use super::release::Release;
use super::tables::{Field, Row, Safe, Sign, TABLE};
use super::trees::{self, Tree};
use crate::catalog;
use crate::id::RegisterId;

impl Field {
    /// The bits of the field.
    pub(super) const fn mask(&self) -> u64 {
        ((1 << self.width) - 1) << self.shift
    }

    const fn of(&self, word: u64) -> u64 {
        (word & self.mask()) >> self.shift
    }

    /// Whether a writable field of `value` is safe under the one of `limit`.
    fn takes(&self, value: u64, limit: u64, pmu_is_signed: bool) -> bool {
        let (value, limit) = (self.of(value), self.of(limit));
        if value == limit {
            return true;
        }
        let signed = match self.sign {
            Sign::Unsigned => false,
            Sign::Signed => true,
            Sign::Pmu => pmu_is_signed,
        };
        let number = |field: u64| {
            let field = field.cast_signed();
            if signed && field >> (self.width - 1) & 1 == 1 { field - (1 << self.width) } else { field }
        };
        match self.safe {
            Safe::Lower => number(value) <= number(limit),
            Safe::Higher => number(value) >= number(limit),
            Safe::HigherOrZero => value == 0 || (limit != 0 && number(value) >= number(limit)),
            Safe::Exact(safe) => value == u64::from(safe),
        }
    }
}

fn row(register: RegisterId) -> Option<&'static Row> {
    let at = TABLE.binary_search_by_key(&register, |(id, ..)| *id).ok()?;
    TABLE.get(at)
}

/// The fields of `register`, from the highest bit down; empty where KVM has no table.
pub(super) fn fields_of(register: RegisterId) -> &'static [Field] {
    row(register).map_or(&[], |(_, fields, _)| fields)
}

/// The writable mask of `register` in a tree.
pub(super) fn mask_in(register: RegisterId, tree: Tree) -> u64 {
    let masks = row(register).map_or(&[][..], |(.., masks)| masks);
    masks.iter().take_while(|(since, _)| *since <= tree).last().map_or(0, |(_, mask)| *mask)
}

/// Bits of `mask` of which no tree tells how they are checked: neither a field nor known to be inert (3.3).
pub(super) fn unknown_bits(register: RegisterId, mask: u64) -> u64 {
    let fields = fields_of(register).iter().fold(0, |bits, field| bits | field.mask());
    let masks = row(register).map_or(&[][..], |(.., masks)| masks);
    mask & !fields & !masks.iter().fold(0, |bits, (_, mask)| bits | mask)
}

/// `arm64_check_features` with the fields of all trees: right for a limit that was read from a kernel, since fields that
/// the kernel does not know read as 0 there, and under 0 a field and a bit without one take the same values.
pub(super) fn check(register: RegisterId, limit: u64, value: u64, mask: u64, pmu_is_signed: bool) -> bool {
    check_among(register, limit, value, mask, pmu_is_signed, trees::NEWEST)
}

/// Whether every limit takes the fields of `value` that have hidden bits: 0 under "lower is safe" for example. A limit has in them any
/// number from that of `limit` on.
pub(super) fn takes_under_all(
    register: RegisterId,
    (limit, hidden): (u64, u64),
    value: u64,
    mask: u64,
    pmu_is_signed: bool,
) -> bool {
    let mut left = hidden;
    for field in fields_of(register).iter().filter(|field| field.mask() & hidden != 0 && field.mask() & !mask == 0) {
        let mut numbers = field.of(limit)..=field.mask() >> field.shift;
        if !numbers.all(|number| field.takes(value, number << field.shift, pmu_is_signed)) {
            return false;
        }
        left &= !field.mask();
    }
    left == 0
}

fn check_among(register: RegisterId, limit: u64, value: u64, mask: u64, pmu_is_signed: bool, tree: Tree) -> bool {
    let mut fixed = u64::MAX;
    for field in fields_of(register).iter().filter(|field| field.since <= tree && field.mask() & !mask == 0) {
        if !field.takes(value, limit, pmu_is_signed) {
            return false;
        }
        fixed &= !field.mask();
    }
    (value ^ limit) & fixed == 0
}

/// The pure field check of a kernel (specification, 3.3): whether `value` is taken under `limit` where `mask` is
/// writable. `None` where the kernels next to `release` differ, or none is known. A register without a field table takes
/// nothing here; that hidden and unallocated registers take 0 is decided before this check.
///
/// ```
/// use kvmfw_core::{catalog, rules::{Release, check_features}};
/// let release = Release::new(6, 12, 117);
/// assert_eq!(check_features(release, catalog::ID_AA64PFR0, 0x0100_0000, 0, 0x0f00_0000), Some(true));
/// assert_eq!(check_features(release, catalog::ID_AA64PFR0, 0, 0x0100_0000, 0x0f00_0000), Some(false));
/// ```
pub fn check_features(release: Release, register: RegisterId, limit: u64, value: u64, mask: u64) -> Option<bool> {
    if !release.at_least(6, 7) || trees::is_younger(release) {
        return None;
    }
    let Some((_, fields, _)) = row(register) else { return Some(false) };
    let has_table = |tree| fields.is_empty() || fields.iter().any(|field| field.since <= tree);
    let mut taken = trees::around(release)
        .into_iter()
        .map(|tree| has_table(tree) && check_among(register, limit, value, mask, trees::pmu_is_signed(tree), tree));
    let first = taken.next()?;
    taken.all(|other| other == first).then_some(first)
}

/// One field in which two values of a register differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDifference {
    /// The name of the field; empty for bits that belong to none.
    pub name: &'static str,
    /// Its highest bit.
    pub high: u32,
    /// Its lowest bit.
    pub low: u32,
    /// The number that was saved.
    pub saved: u64,
    /// The number that the host has.
    pub own: u64,
}

impl FieldDifference {
    /// The bits of the field.
    pub const fn mask(&self) -> u64 {
        u64::MAX >> (63 - (self.high - self.low)) << self.low
    }

    /// The field as people call it: its name, or its bits where it has none.
    pub fn words(&self) -> String {
        match (self.name, self.high == self.low) {
            ("", true) => format!("bit {}", self.low),
            ("", false) => format!("bits {}:{}", self.high, self.low),
            (name, _) => name.to_owned(),
        }
    }

    /// The field with its register: `ID_AA64ISAR0_EL1.RNDR`, or `ID_AA64ISAR0_EL1 bits 3:0`.
    pub fn place(&self, register: RegisterId) -> String {
        let between = if self.name.is_empty() { ' ' } else { '.' };
        format!("{}{between}{}", catalog::name_of(register), self.words())
    }
}

/// The fields of a register that have a name, as name, lowest bit and width, from the highest bit down.
pub fn named_fields(register: RegisterId) -> Vec<(&'static str, u32, u32)> {
    let whole = if register == catalog::MIDR { MIDR_FIELDS } else { &[] };
    let checked = fields_of(register).iter().map(|field| (field.name, field.shift, field.width));
    checked.chain(whole.iter().copied()).map(|(name, low, width)| (name, u32::from(low), u32::from(width))).collect()
}

/// Names for explanations only: KVM compares `MIDR_EL1` as a whole.
const MIDR_FIELDS: &[(&str, u8, u8)] =
    &[("Implementer", 24, 8), ("Variant", 20, 4), ("Architecture", 16, 4), ("PartNum", 4, 12), ("Revision", 0, 4)];

/// The fields in which `saved` and `own` differ, from the highest bit down; bits without a field by their nibble.
pub fn field_differences(register: RegisterId, saved: u64, own: u64) -> Vec<FieldDifference> {
    let mut left = saved ^ own;
    let mut differences = Vec::new();
    let mut add = |left: &mut u64, name, shift: u32, width: u32| {
        let mask = (1_u64 << width) - 1;
        if *left >> shift & mask != 0 {
            let (saved, own) = (saved >> shift & mask, own >> shift & mask);
            differences.push(FieldDifference { name, high: shift + width - 1, low: shift, saved, own });
            *left &= !(mask << shift);
        }
    };
    for (name, shift, width) in named_fields(register) {
        add(&mut left, name, shift, width);
    }
    for nibble in 0..16 {
        add(&mut left, "", 4 * nibble, 4);
    }
    differences.sort_by_key(|difference| std::cmp::Reverse(difference.low));
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{CTR, ID_AA64DFR0, ID_AA64MMFR3, ID_AA64PFR0, ID_AA64PFR1, MIDR};

    const ID_AA64MMFR0: RegisterId = RegisterId::system(3, 0, 0, 7, 0);
    const ID_AA64MMFR1: RegisterId = RegisterId::system(3, 0, 0, 7, 1);
    const ALL: u64 = u64::MAX;

    #[test]
    fn every_mask_of_a_known_tree_is_understood() {
        for (register, ..) in TABLE {
            for tree in trees::all() {
                assert_eq!(unknown_bits(*register, mask_in(*register, tree)), 0, "{register} tree {tree}");
            }
        }
        assert_eq!(unknown_bits(ID_AA64MMFR3, 1 << 63), 1 << 63, "no tree has this bit in a field or mask");
        assert_eq!(unknown_bits(ID_AA64PFR0, 0xf << 44), 0, "AMU is a field, though no tree lets VMs write it");
    }

    #[test]
    fn the_table_is_sorted_and_its_fields_do_not_overlap() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].0 < pair[1].0);
        }
        for (register, fields, masks) in TABLE {
            let mut seen = 0;
            for field in *fields {
                assert_eq!(seen & field.mask(), 0, "{register} {}", field.name);
                seen |= field.mask();
            }
            assert!(fields.windows(2).all(|pair| pair[0].shift > pair[1].shift), "{register}");
            assert!(masks.windows(2).all(|pair| pair[0].0 < pair[1].0), "{register}");
        }
    }

    #[test]
    fn lower_is_safe_in_most_fields() {
        assert!(check(ID_AA64PFR0, 0x1000_0000_0000_0000, 0, ALL, false));
        assert!(!check(ID_AA64PFR0, 0, 0x1000_0000_0000_0000, ALL, false));
    }

    #[test]
    fn signed_fields_count_from_minus_eight() {
        // TGRAN4 0xf is "not there" and below 0.
        assert!(check(ID_AA64MMFR0, 0, 0xf000_0000, ALL, false));
        assert!(!check(ID_AA64MMFR0, 0xf000_0000, 0, ALL, false));
        assert!(check(ID_AA64MMFR0, 0x1000_0000, 0x8000_0000, ALL, false));
    }

    #[test]
    fn higher_is_safe_for_speculative_serror() {
        assert!(check(ID_AA64MMFR1, 0, 0x0100_0000, ALL, false));
        assert!(!check(ID_AA64MMFR1, 0x0100_0000, 0, ALL, false));
    }

    #[test]
    fn higher_or_zero_is_safe_for_granules() {
        assert!(check(CTR, 0x0400_0000, 0, ALL, false));
        assert!(check(CTR, 0x0400_0000, 0x0500_0000, ALL, false));
        assert!(!check(CTR, 0x0400_0000, 0x0300_0000, ALL, false));
        assert!(!check(CTR, 0, 0x0300_0000, ALL, false));
    }

    #[test]
    fn one_number_is_safe_in_exact_fields() {
        assert!(check(CTR, 0xc000, 0x8000, ALL, false));
        assert!(!check(CTR, 0xc000, 0x4000, ALL, false));
        assert!(check(ID_AA64MMFR0, 0x0000_0200_0000_0000, 0x0000_0100_0000_0000, ALL, false));
    }

    #[test]
    fn the_pmu_version_was_signed() {
        assert!(check(ID_AA64DFR0, 0x606, 0x806, 0xf0f, true));
        assert!(!check(ID_AA64DFR0, 0x606, 0x806, 0xf0f, false));
        let old = Release::new(6, 12, 8);
        assert_eq!(check_features(old, ID_AA64DFR0, 0x606, 0x806, 0xf0f), Some(true));
        assert_eq!(check_features(Release::new(6, 12, 117), ID_AA64DFR0, 0x606, 0x806, 0xf0f), Some(false));
        assert_eq!(check_features(Release::new(6, 12, 80), ID_AA64DFR0, 0x606, 0x806, 0xf0f), Some(true));
        assert_eq!(check_features(Release::new(6, 12, 92), ID_AA64DFR0, 0x606, 0x806, 0xf0f), None);
        assert_eq!(check_features(Release::new(6, 12, 92), ID_AA64DFR0, 0x606, 0x706, 0xf0f), Some(false));
        assert_eq!(check_features(Release::new(5, 10, 0), ID_AA64DFR0, 0x606, 0x606, 0), None);
        assert_eq!(check_features(Release::new(7, 4, 1), ID_AA64DFR0, 0x606, 0x606, 0), None);
        assert_eq!(check_features(old, RegisterId::system(3, 0, 0, 5, 4), 0, 0, 0), Some(false));
        // ID_AA64DFR1_EL1 has a table without fields, ID_AA64ISAR3_EL1 one since 6.17.
        assert_eq!(check_features(old, RegisterId::system(3, 0, 0, 5, 1), 0, 0, 0), Some(true));
        let isar3 = RegisterId::system(3, 0, 0, 6, 3);
        assert_eq!(check_features(old, isar3, 0, 0, 0), Some(false));
        assert_eq!(check_features(Release::new(6, 17, 8), isar3, 0, 0, 0), Some(true));
    }

    #[test]
    fn bits_outside_the_mask_or_in_no_field_stay() {
        assert!(!check(ID_AA64PFR0, 0x2, 0x1, 0, false));
        assert!(!check(ID_AA64PFR0, 0x2, 0x1, 0x7, false));
        assert!(!check(ID_AA64PFR1, 0x0020, 0x0001_0000_0020, 0x000f_0000_00ff, false));
        assert_eq!(unknown_bits(ID_AA64PFR1, 0x000f_0000_00ff), 0);
        assert_eq!(unknown_bits(ID_AA64PFR1, 0xf000_0000_0000_0000), 0xf000_0000_0000_0000);
    }

    #[test]
    fn a_field_is_checked_from_the_tree_that_knows_it() {
        let sctlrx = |release| check_features(release, ID_AA64MMFR3, 0x10, 0, 0xf_0fff);
        assert_eq!(sctlrx(Release::new(6, 12, 8)), Some(false));
        assert_eq!(sctlrx(Release::new(6, 17, 8)), Some(true));
        assert_eq!(sctlrx(Release::new(6, 17, 2)), None);
        assert_eq!(mask_in(ID_AA64MMFR3, trees::T6_12_43), 0xf_0f0f);
        assert_eq!(mask_in(ID_AA64MMFR3, trees::T7_2), 0xf_0fff);
    }

    #[test]
    fn differences_are_named() {
        let named = |name, high, low, saved, own| FieldDifference { name, high, low, saved, own };
        assert_eq!(
            field_differences(ID_AA64PFR0, 0x1100_0000_0000_0000, 0x1000_0000_0000_0002),
            [named("CSV2", 59, 56, 1, 0), named("EL0", 3, 0, 0, 2)]
        );
        assert_eq!(field_differences(CTR, 0x8000, 0x4000), [named("L1Ip", 15, 14, 2, 1)]);
        assert_eq!(field_differences(MIDR, 0x413f_d0c1, 0x413f_d0c0), [named("Revision", 3, 0, 1, 0)]);
        assert_eq!(field_differences(ID_AA64PFR1, 0xf000_0000_0000_0000, 0), [named("", 63, 60, 0xf, 0)]);
        assert_eq!(field_differences(ID_AA64PFR0, 7, 7), []);
    }

    #[test]
    fn a_difference_is_named_by_its_field_or_its_bits() {
        let difference = |name, high, low| FieldDifference { name, high, low, saved: 1, own: 0 };
        for (name, high, low, mask, place) in [
            ("CSV3", 63, 60, 0xf << 60, "ID_AA64PFR0_EL1.CSV3"),
            ("", 47, 44, 0xf << 44, "ID_AA64PFR0_EL1 bits 47:44"),
            ("", 5, 5, 0x20, "ID_AA64PFR0_EL1 bit 5"),
            ("", 63, 0, u64::MAX, "ID_AA64PFR0_EL1 bits 63:0"),
        ] {
            let one = difference(name, high, low);
            assert_eq!((one.mask(), one.place(ID_AA64PFR0).as_str()), (mask, place));
        }
    }
}
