//! How a vCPU is made: the features that choose which of a host's configurations judges a VM.

use std::fmt;

/// Names of the `KVM_ARM_VCPU_INIT` feature bits, by bit.
pub const FEATURES: &[&str] = &[
    "power_off",
    "el1_32bit",
    "psci_0_2",
    "pmu_v3",
    "sve",
    "ptrauth_address",
    "ptrauth_generic",
    "has_el2",
    "has_el2_e2h0",
    "pmu_v3_strict",
];

/// Names of the VM capabilities that change what registers a vCPU has, by bit of [`VcpuConfig::enabled`].
pub const ENABLED: &[&str] = &["mte", "writable_imp_id_regs"];

/// One way of making a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VcpuConfig {
    /// The `KVM_ARM_VCPU_INIT` feature word.
    pub features: u32,
    /// Bits of [`ENABLED`]: capabilities enabled on the VM before its first vCPU.
    pub enabled: u8,
    /// Whether the VM has a `GICv3`.
    pub vgic: bool,
}

impl VcpuConfig {
    /// Whether the vCPU is made with the feature of this name.
    pub fn has(&self, feature: &str) -> bool {
        FEATURES.iter().position(|name| *name == feature).is_some_and(|bit| self.features >> bit & 1 == 1)
    }

    /// Whether the VM has the capability of this name enabled.
    pub fn is_enabled(&self, capability: &str) -> bool {
        ENABLED.iter().position(|name| *name == capability).is_some_and(|bit| self.enabled >> bit & 1 == 1)
    }

    /// The feature word of these names.
    ///
    /// # Errors
    ///
    /// A sentence that names the unknown feature and the known ones.
    pub fn parse_features<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<u32, String> {
        parse_bits(names, FEATURES, "vCPU feature")
    }

    /// The bits of these enabled capabilities.
    ///
    /// # Errors
    ///
    /// A sentence that names the unknown capability and the known ones.
    pub fn parse_enabled<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<u8, String> {
        let bits = parse_bits(names, ENABLED, "enabled capability")?;
        u8::try_from(bits).map_err(|error| error.to_string())
    }

    /// The names of the features, in the order of their bits.
    pub fn feature_names(&self) -> Vec<&'static str> {
        names_of(self.features, FEATURES)
    }

    /// The names of the enabled capabilities.
    pub fn enabled_names(&self) -> Vec<&'static str> {
        names_of(u32::from(self.enabled), ENABLED)
    }
}

fn parse_bits<'a>(names: impl IntoIterator<Item = &'a str>, known: &[&str], what: &str) -> Result<u32, String> {
    let mut bits = 0;
    for name in names {
        let bit = known
            .iter()
            .position(|candidate| *candidate == name)
            .ok_or_else(|| format!("`{name}` is not a {what}; expected one of {}", known.join(", ")))?;
        bits |= 1 << bit;
    }
    Ok(bits)
}

fn names_of(bits: u32, known: &[&'static str]) -> Vec<&'static str> {
    known.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| *name).collect()
}

impl fmt::Display for VcpuConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = self.feature_names();
        words.extend(self.enabled_names());
        words.push(if self.vgic { "vgic" } else { "no vgic" });
        f.write_str(&words.join(", "))
    }
}
