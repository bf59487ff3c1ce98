//! Which registers only some vCPUs of a host have (docs/semantics.md, 2 and 3.1), and which fields of ID registers they show.

use super::{
    ID_AA64DFR0, ID_AA64ISAR1, ID_AA64ISAR2, ID_AA64PFR0, ID_AA64PFR1, ID_AA64PFR2, ID_AA64ZFR0, ID_DFR0, ID_PFR1,
    Kind, is_named, kind_of, lookup,
};
use crate::id::{Group, RegisterId};

/// What a vCPU may be made with or without, that brings registers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The PMU; up to 5.10 all vCPUs list its registers.
    Pmu,
    /// SVE.
    Sve,
    /// V registers, which a vCPU with SVE does not list.
    Vectors,
    /// Keys of address authentication.
    AddressKeys,
    /// The key of generic authentication.
    GenericKey,
    /// Memory tagging.
    Tags,
    /// Registers of a nested hypervisor.
    Nested,
    /// Registers of a nested hypervisor that one with `has_el2_e2h0` does not have.
    NestedHost,
    /// The caches: the kernel's selftest `get-reg-list` leaves their registers out of what it prints (`filter_reg`), and up to
    /// 6.2 there are those that the hardware has.
    Caches,
}

/// The parts without which a vCPU does not list the register: none where every vCPU of a kernel that knows it does; `None` where
/// that is not known, as of registers without a name, which may be of features that no rule knows.
pub fn parts_of(id: RegisterId) -> Option<&'static [Part]> {
    match (id.group(), kind_of(id)) {
        (Group::Core, _) if id.is_core_field() && id.size() == 16 => Some(&[Part::Vectors]),
        (Group::Core | Group::Firmware | Group::FirmwareBitmap, _) => Some(&[]),
        (Group::Sve, _) => Some(&[Part::Sve]),
        (Group::Demux, _) => Some(&[Part::Caches]),
        (Group::System, kind) => parts_of_system(id, kind),
        (Group::Surrounding | Group::Other, _) => None,
    }
}

fn parts_of_system(id: RegisterId, kind: Kind) -> Option<&'static [Part]> {
    Some(match id.encoding() {
        // PMINTEN and PMMIR; PMCR to PMOVSSET; counters, their types and PMCCFILTR.
        [3, 0, 9, 14, 1 | 2 | 6] | [3, 3, 9, 12..=14, _] | [3, 3, 14, 8..=15, _] => &[Part::Pmu],
        [3, 0, 2, 1..=2, 0..=3] => &[Part::AddressKeys],
        [3, 0, 2, 3, 0..=1] => &[Part::GenericKey],
        // ZCR_EL1 and ZCR_EL2.
        [3, 0, 1, 2, 0] => &[Part::Sve],
        [3, 4, 1, 2, 0] => &[Part::Nested, Part::Sve],
        // RGSR, GCR, TFSR and TFSRE0; TFSR_EL2.
        [3, 0, 1, 0, 5 | 6] | [3, 0, 5, 6, 0 | 1] => &[Part::Tags],
        [3, 4, 5, 6, 0] => &[Part::Nested, Part::Tags],
        // CNTHV_CTL and CNTHV_CVAL; VNCR and NVHCR, which NV_frac shows, and that is not there either.
        [3, 4, 14, 3, 1 | 2] | [3, 4, 2, 2, 0] | [3, 4, 1, 5, 0] => &[Part::NestedHost],
        // FPMR has an op1 of EL0. DACR32, IFSR32 and FPEXC32 are listed with and without `el1_32bit` [R 5.10 to 7.3]; of a kernel that
        // does not list them nobody knows why.
        [3, 4, 3, 0, 0] | [3, 4, 5, 0, 1] | [3, 4, 5, 3, 0] => return None,
        [3, 4 | 6, ..] => &[Part::Nested],
        [3, 0, 0, ..] | [2, ..] => &[],
        _ if lookup(id).is_some() || is_named(id) && kind != Kind::Unlisted => &[],
        _ => return None,
    })
}

/// The fields of ID registers that tell of how a vCPU is made, by their lowest bit; a nested VM has every field its own way.
const FIELDS: &[(RegisterId, u32)] = &[
    (ID_DFR0, 24),
    (ID_PFR1, 28),
    (ID_AA64PFR0, 24),
    (ID_AA64PFR0, 32),
    (ID_AA64PFR1, 8),
    (ID_AA64PFR1, 40),
    // MTEFAR and MTESTOREONLY, as MTE itself.
    (ID_AA64PFR2, 4),
    (ID_AA64PFR2, 8),
    (ID_AA64DFR0, 8),
    (ID_AA64ISAR1, 4),
    (ID_AA64ISAR1, 8),
    (ID_AA64ISAR1, 24),
    (ID_AA64ISAR1, 28),
    (ID_AA64ISAR2, 8),
    (ID_AA64ISAR2, 12),
    // PAC_frac.
    (ID_AA64ISAR2, 24),
];

/// The bits of an ID register that differ between vCPUs of one host that are not nested: by their PMU, SVE, pointer authentication,
/// memory tags and interrupt controller.
pub fn bits_of_parts(id: RegisterId) -> u64 {
    if id == ID_AA64ZFR0 {
        return u64::MAX;
    }
    FIELDS.iter().filter(|(register, _)| *register == id).fold(0, |bits, (_, shift)| bits | 0xf << shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{CNTHV_CTL_EL2, system};

    #[test]
    fn what_tells_how_a_vcpu_was_made_differs_between_vcpus() {
        use crate::vcpu::Inference;
        for register in [ID_AA64DFR0, ID_AA64PFR0, ID_AA64PFR1, ID_AA64ISAR1, ID_AA64ISAR2] {
            let made = |word: u64| Inference::default().of(&[register.raw()], &[word]);
            for shift in (0..64).step_by(4) {
                let tells = (1..16_u64).any(|field| made(field << shift) != made(0));
                assert!(!tells || bits_of_parts(register) >> shift & 0xf == 0xf, "{register} {shift}");
            }
        }
    }

    #[test]
    fn registers_are_of_the_parts_that_bring_them() {
        for (id, parts) in [
            (CNTHV_CTL_EL2, Some(&[Part::NestedHost][..])),
            (RegisterId::V0, Some(&[Part::Vectors][..])),
            (RegisterId::PC, Some(&[][..])),
            (RegisterId::ccsidr(3), Some(&[Part::Caches][..])),
            (RegisterId::firmware(3), Some(&[][..])),
            (system(4, 2, 0, 3), Some(&[Part::Nested][..])),
            (system(3, 4, 4, 2), Some(&[][..])),
            // SMCR_EL1, of SME, and DACR32_EL2.
            (system(0, 1, 2, 6), None),
            (system(4, 3, 0, 0), None),
        ] {
            assert_eq!(parts_of(id), parts, "{id}");
        }
    }
}
