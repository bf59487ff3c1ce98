//! What the rules know of the ID registers of each kernel that was read or run, as data: for whoever compares it with a kernel.

use super::fields::mask_in;
use super::release::Release;
use super::tables::{Safe, Sign, TABLE};
use super::trees;
use crate::id::RegisterId;

/// One field as a known kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownField {
    /// Its name.
    pub name: &'static str,
    /// Its lowest bit.
    pub shift: u8,
    /// How many bits it has.
    pub width: u8,
    /// Whether it is compared as a signed number.
    pub signed: bool,
    /// Which numbers are safe: `lower`, `higher`, `higher_or_zero` or `exact`.
    pub safe: &'static str,
    /// The one number that is safe, where it is `exact`.
    pub value: Option<u8>,
}

/// One ID register as a known kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownRegister {
    /// The register.
    pub register: RegisterId,
    /// The bits that KVM lets a VM write.
    pub mask: u64,
    /// Its fields, from the highest bit down.
    pub fields: Vec<KnownField>,
}

/// The releases that were read or run, ascending.
pub fn known_releases() -> Vec<Release> {
    trees::releases().collect()
}

/// The ID registers that have a table of fields in one of [`known_releases`], ascending; empty for any other release.
pub fn known_registers(release: Release) -> Vec<KnownRegister> {
    let Some(tree) = trees::exactly(release) else { return Vec::new() };
    let has_table =
        |(_, fields, _): &&super::tables::Row| fields.is_empty() || fields.iter().any(|field| field.since <= tree);
    let registers = TABLE.iter().filter(has_table).map(|(register, fields, _)| KnownRegister {
        register: *register,
        mask: mask_in(*register, tree),
        fields: fields
            .iter()
            .filter(|field| field.since <= tree)
            .map(|field| {
                let (safe, value) = match field.safe {
                    Safe::Lower => ("lower", None),
                    Safe::Higher => ("higher", None),
                    Safe::HigherOrZero => ("higher_or_zero", None),
                    Safe::Exact(value) => ("exact", Some(value)),
                };
                let signed = match field.sign {
                    Sign::Unsigned => false,
                    Sign::Signed => true,
                    Sign::Pmu => trees::pmu_is_signed(tree),
                };
                KnownField { name: field.name, shift: field.shift, width: field.width, signed, safe, value }
            })
            .collect(),
    });
    registers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::ID_AA64DFR0;

    #[test]
    fn every_known_release_has_registers_and_no_other_has() {
        let releases = known_releases();
        assert!(releases.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(releases.contains(&Release::new(6, 12, 43)) && releases.contains(&Release::new(7, 3, 4)));
        for release in releases {
            assert!(known_registers(release).len() > 35, "{release:?}");
        }
        assert_eq!(known_registers(Release::new(6, 12, 9)), []);
    }

    #[test]
    fn a_field_is_as_the_release_has_it() {
        let version = |release| {
            let registers = known_registers(release);
            let register = registers.iter().find(|one| one.register == ID_AA64DFR0).unwrap();
            *register.fields.iter().find(|field| field.name == "PMUVer").unwrap()
        };
        assert!(version(Release::new(6, 12, 43)).signed);
        assert!(!version(Release::new(7, 3, 4)).signed);
    }
}
