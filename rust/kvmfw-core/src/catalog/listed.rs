//! Which kernels list a register, where that depends on more than the CPU and the vCPU (docs/semantics.md, 1.2 and 2).

use super::{CNTPCT, Kind, Part, WORKAROUND_1, WORKAROUND_2, WORKAROUND_3, kind_of, parts_of, system};
use crate::id::{Group, RegisterId};

/// Which kernels list the register, in words; `None` where all do that have the feature, or where it is not known.
pub fn listed_by(id: RegisterId) -> Option<&'static str> {
    match id {
        super::PSCI_VERSION => return Some("4.17 and later"),
        WORKAROUND_1 | WORKAROUND_2 => return Some("5.3 and later"),
        WORKAROUND_3 => return Some("5.17 and later, and 5.4.y, 5.10.y and 5.15.y since March 2022"),
        _ => {}
    }
    if id.group() == Group::FirmwareBitmap {
        return match id.raw() & 0xffff {
            0..=2 => Some("5.19 and later"),
            3 => Some("6.15 and later"),
            _ => None,
        };
    }
    // One list of three in arch_timer.c; that Amazon's kernels let the counter be set too is told by Firecracker's test of it
    // (its pull request 5073, March 2025, read), since fingerprints leave the counter out.
    if [CNTPCT, system(3, 14, 2, 1), system(3, 14, 2, 2)].contains(&id) {
        return Some("6.4 and later, and Amazon's 5.10 and 6.1 since 5.10.234 and 6.1.129");
    }
    if id == RegisterId::system(2, 0, 1, 1, 4) {
        return Some("5.18 and later");
    }
    if [system(0, 2, 0, 3), system(0, 10, 2, 2), system(0, 10, 2, 3)].contains(&id) {
        return Some("kernels after 6.1, up to 6.12 on every host, from 6.13 on by an ID field of the VM");
    }
    if id == system(0, 10, 2, 4) || id == system(3, 10, 2, 4) {
        return Some("6.12 and later");
    }
    match kind_of(id) {
        Kind::PmuMachine => Some("7.3 and later, with a PMU"),
        _ if parts_of(id) == Some(&[Part::Pmu]) => Some("up to 5.10 always, from 5.11 on with a PMU"),
        Kind::CacheSize => Some("up to 6.2 for caches that exist, from 6.3 on all 14"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{CATALOG, PMCR, SCTLR};

    #[test]
    fn the_kernels_are_those_of_the_register() {
        let bitmap = |number| listed_by(RegisterId::firmware_bitmap(number));
        assert_eq!(bitmap(2), Some("5.19 and later"));
        assert_eq!(bitmap(3), Some("6.15 and later"));
        assert_eq!(bitmap(4), None);
        assert_eq!(listed_by(SCTLR), None);
        assert!(listed_by(PMCR).is_some_and(|words| words.contains("5.11")));
        let without = CATALOG.iter().filter(|register| listed_by(register.id).is_none());
        assert!(without.clone().any(|register| register.name == "ID_AA64PFR0_EL1"));
        assert!(!without.clone().any(|register| matches!(register.kind, Kind::Bitmap(_) | Kind::PsciVersion)));
    }
}
