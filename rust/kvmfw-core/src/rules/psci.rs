//! Versions of PSCI (specification, 1.4; `kvm_arm_set_fw_reg`, `KVM_REG_ARM_PSCI_VERSION`, 5.10 to 7.3).

/// The versions that a vCPU with `psci_0_2` may have, ascending, with their values in the firmware register.
pub const VERSIONS: [(&str, u64); 5] =
    [("0.2", 0x2), ("1.0", 0x1_0000), ("1.1", 0x1_0001), ("1.2", 0x1_0002), ("1.3", 0x1_0003)];
const VALUES: [u64; VERSIONS.len()] = [VERSIONS[0].1, VERSIONS[1].1, VERSIONS[2].1, VERSIONS[3].1, VERSIONS[4].1];

/// What a vCPU without `psci_0_2` has.
pub(super) const WITHOUT: u64 = 0x1;

/// The newest version that a kernel knows, by the first line that does; 1.2 and 1.3 came together.
const NEWEST: [((u32, u32), u64); 3] = [((6, 13), VALUES[4]), ((5, 18), VALUES[2]), ((0, 0), VALUES[1])];

/// The values that a kernel takes whose newest version this is; `None` where no kernel's is.
pub(super) fn taken(newest: u64) -> Option<&'static [u64]> {
    let is_newest = NEWEST.iter().any(|(_, known)| *known == newest);
    let at = VALUES.iter().position(|known| *known == newest).filter(|_| is_newest)?;
    VALUES.get(..=at)
}

/// The newest version of a kernel that may or may not have what came with a line; `None` where that is not known.
pub(super) fn newest(at_least: impl Fn(u32, u32) -> Option<bool>) -> Option<u64> {
    for ((major, minor), newest) in NEWEST {
        match at_least(major, minor) {
            Some(true) => return Some(newest),
            Some(false) => {}
            None => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_takes_what_came_up_to_its_newest_version() {
        assert_eq!(taken(0x1_0001), Some(&[0x2, 0x1_0000, 0x1_0001][..]));
        assert_eq!([taken(0x1_0002), taken(0x2), taken(0x1_0004)], [None; 3], "no kernel ends there");
        assert_eq!(taken(0x1_0003), Some(&VALUES[..]));
    }
}
