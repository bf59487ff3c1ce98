//! How a vCPU is made: the features that choose which of a host's configurations judges a VM.

use std::fmt;
use std::num::NonZeroU8;

use crate::catalog;
use crate::id::RegisterId;

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

/// Words beside the features, by bit of [`VcpuConfig::enabled`]: the VM capabilities that change what registers a vCPU has, and
/// `pmu_v3_unsure`, where what was saved does not tell whether the vCPU has a PMU.
pub const ENABLED: &[&str] = &["mte", "writable_imp_id_regs", "pmu_v3_unsure"];
/// The bits of the last two.
pub(crate) const MTE: u8 = 1;
pub(crate) const WRITABLE_IMP_ID_REGS: u8 = 1 << 1;
const PMU_V3_UNSURE: u8 = 1 << 2;
const POWER_OFF: u32 = 1;
pub(crate) const PMU_V3: u32 = 1 << 3;
pub(crate) const SVE: u32 = 1 << 4;

/// One way of making a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VcpuConfig {
    /// The `KVM_ARM_VCPU_INIT` feature word.
    pub features: u32,
    /// Bits of [`ENABLED`]: capabilities enabled on the VM before its first vCPU, and what is not known of it.
    pub enabled: u8,
    /// Whether the VM has a `GICv3`.
    pub vgic: bool,
    /// Whose VM it is, where that is told: a number that [`crate::Policy::number`] gives.
    pub vmm: Option<NonZeroU8>,
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

    /// Whether it is not known how the vCPU was made.
    pub(crate) const fn is_unsure(self) -> bool {
        self.enabled & PMU_V3_UNSURE != 0
    }

    /// The vCPUs that this may be, as KVM makes their registers: one, or two where a PMU is unsure. `power_off` says how a vCPU
    /// starts, not what it has (`kvm_arch_vcpu_ioctl_vcpu_init`, 5.10 to 7.3 read).
    pub(crate) fn may_be(self) -> Vec<Self> {
        let enabled = self.enabled & !PMU_V3_UNSURE;
        let made = |features: u32| Self { features: features & !POWER_OFF, enabled, vgic: self.vgic, vmm: None };
        if !self.is_unsure() {
            return vec![made(self.features)];
        }
        vec![made(self.features | PMU_V3), made(self.features & !PMU_V3)]
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

/// The registers that tell how their vCPU was made, in the order in which [`inferred`] takes them, and what of each: flags in
/// PSTATE differ from vCPU to vCPU, of its mode there are few.
const TELLING: [(RegisterId, u64); 11] = [
    (catalog::ID_AA64DFR0, u64::MAX),
    (catalog::ID_AA64PFR0, u64::MAX),
    (RegisterId::SVE_VLS, u64::MAX),
    (catalog::ID_AA64ISAR1, u64::MAX),
    (catalog::ID_AA64ISAR2, u64::MAX),
    (catalog::HCR_EL2, 0),
    (catalog::ID_AA64PFR1, u64::MAX),
    (catalog::PSCI_VERSION, u64::MAX),
    (RegisterId::PSTATE, 0x1f),
    (catalog::ID_AA64MMFR4, u64::MAX),
    (RegisterId::firmware_bitmap(0), 0),
];

/// How a vCPU was made, from what was saved of [`TELLING`] and is looked at: KVM hides in the ID registers what a vCPU was made without
/// (but up to 5.11 `PMUVer` without a PMU, from 5.7 on up to 4: `read_id_reg`, read in 4.19, 5.10 and 5.15; such a kernel has no
/// bitmaps and no PSCI 1.1). Without `psci_0_2` the version is 0.1; only a vCPU of AArch32 is in a privileged
/// AArch32 mode; a nested VM with E2H0 says so in `ID_AA64MMFR4_EL1` (7.3.4 and 6.19.14, run). A `GICv3` is in
/// `ID_AA64PFR0_EL1.GIC`: 0 is a VM with a `GICv2`, or with none after its first run; where the register was not saved nothing
/// tells, and one is assumed.
fn inferred(saved: [Option<u64>; 11]) -> VcpuConfig {
    const PSCI_0_1: u64 = 1;
    const PSCI_1_0: u64 = 0x1_0000;
    let [dfr0, pfr0, vls, isar1, isar2, hcr_el2, pfr1, psci, pstate, mmfr4, bitmap] = saved;
    let field = |word: Option<u64>, shift: u32| word.unwrap_or(0) >> shift & 0xf;
    let has = [
        ("el1_32bit", matches!(pstate.unwrap_or(0), 0x11..=0x1f)),
        ("psci_0_2", psci != Some(PSCI_0_1)),
        ("pmu_v3", !matches!(field(dfr0, 8), 0 | 0xf)),
        ("sve", field(pfr0, 32) != 0 || vls.is_some()),
        ("ptrauth_address", field(isar1, 4) | field(isar1, 8) | field(isar2, 12) != 0),
        ("ptrauth_generic", field(isar1, 24) | field(isar1, 28) | field(isar2, 8) != 0),
        ("has_el2", hcr_el2.is_some()),
        ("has_el2_e2h0", hcr_el2.is_some() && mmfr4.is_some() && field(mmfr4, 24) == 0),
    ];
    let bits = |known: &[&str], has: &[(&str, bool)]| {
        let bit = |name: &str| known.iter().position(|known| *known == name).map_or(0, |bit| 1 << bit);
        has.iter().filter(|(_, has)| *has).fold(0, |bits: u32, (name, _)| bits | bit(name))
    };
    let vgic = pfr0.is_none_or(|word| catalog::GIC.of(word) != Some(0));
    let of_old_kernel = bitmap.is_none() && psci.is_some_and(|version| version <= PSCI_1_0);
    let enabled = [
        ("mte", !matches!(field(pfr1, 8), 0 | 1 | 0xf)),
        ("pmu_v3_unsure", of_old_kernel && matches!(field(dfr0, 8), 1..=14)),
    ];
    let enabled = bits(ENABLED, &enabled);
    VcpuConfig { features: bits(FEATURES, &has), enabled: u8::try_from(enabled).unwrap_or(0), vgic, vmm: None }
}

/// Tells how vCPUs were made from their saved ID registers; places are kept while vCPUs hold the same registers.
#[derive(Clone, Debug, Default)]
pub struct Inference {
    /// What is there of [`TELLING`]: which it is, where it stands, and what of it tells.
    telling: Vec<(usize, usize, u64)>,
    /// What stood there in the last vCPU, and how that was made: neighbours are mostly made alike.
    last: Option<(Vec<u64>, VcpuConfig)>,
}

impl Inference {
    /// How the vCPU with these registers was made.
    pub fn of(&mut self, ids: &[u64], values: &[u64]) -> VcpuConfig {
        self.look_at(ids);
        self.made(values)
    }

    /// What comes next are vCPUs with these registers.
    pub(crate) fn look_at(&mut self, ids: &[u64]) {
        let place = |register: RegisterId| ids.iter().position(|id| *id == register.raw());
        let telling =
            TELLING.iter().enumerate().filter_map(|(at, (register, bits))| Some((at, place(*register)?, *bits)));
        self.telling.clear();
        self.telling.extend(telling);
        self.last = None;
    }

    /// How the vCPU with these values was made.
    pub(crate) fn made(&mut self, values: &[u64]) -> VcpuConfig {
        let word = |(_, place, bits): &(usize, usize, u64)| values.get(*place).map_or(0, |word| word & bits);
        if let Some((known, made)) = &self.last
            && self.telling.iter().map(word).eq(known.iter().copied())
        {
            return *made;
        }
        let mut saved = [None; TELLING.len()];
        for telling in &self.telling {
            saved.get_mut(telling.0).into_iter().for_each(|saved| *saved = Some(word(telling)));
        }
        let made = inferred(saved);
        self.last = Some((self.telling.iter().map(word).collect(), made));
        made
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_registers_tell_how_a_vcpu_was_made() {
        let mut inference = Inference::default();
        let dfr0 = catalog::ID_AA64DFR0.raw();
        for (registers, words) in [
            (vec![(dfr0, 0x600)], "psci_0_2, pmu_v3, vgic"),
            (vec![(dfr0, 0xf00)], "psci_0_2, vgic"),
            (vec![(RegisterId::SVE_VLS.raw(), 1)], "psci_0_2, sve, vgic"),
            (vec![(catalog::ID_AA64PFR0.raw(), 1 << 32 | 1 << 24), (dfr0, 0)], "psci_0_2, sve, vgic"),
            (vec![(catalog::ID_AA64PFR0.raw(), 0x11)], "psci_0_2, no vgic"),
            (vec![], "psci_0_2, vgic"),
            (vec![(catalog::ID_AA64PFR1.raw(), 2 << 8)], "psci_0_2, mte, vgic"),
            (vec![(0x6030_0000_0013_c031, 0x10 << 20 | 0x1 << 8)], "psci_0_2, ptrauth_address, ptrauth_generic, vgic"),
            (vec![(0x6030_0000_0013_e088, 0)], "psci_0_2, has_el2, vgic"),
            (vec![(0x6030_0000_0013_e088, 0), (0x6030_0000_0013_c03c, 0xe << 24)], "psci_0_2, has_el2, vgic"),
            (vec![(0x6030_0000_0013_e088, 0), (0x6030_0000_0013_c03c, 0)], "psci_0_2, has_el2, has_el2_e2h0, vgic"),
            (vec![(0x6030_0000_0013_c03c, 0)], "psci_0_2, vgic"),
            (vec![(catalog::PSCI_VERSION.raw(), 1)], "vgic"),
            (vec![(catalog::PSCI_VERSION.raw(), 0x1_0000), (dfr0, 0x406)], "psci_0_2, pmu_v3, pmu_v3_unsure, vgic"),
            (vec![(catalog::PSCI_VERSION.raw(), 0x1_0000), (dfr0, 0x506)], "psci_0_2, pmu_v3, pmu_v3_unsure, vgic"),
            (vec![(catalog::PSCI_VERSION.raw(), 0x1_0001), (dfr0, 0x406)], "psci_0_2, pmu_v3, vgic"),
            (
                vec![(catalog::PSCI_VERSION.raw(), 2), (dfr0, 0x406), (RegisterId::firmware_bitmap(0).raw(), 1)],
                "psci_0_2, pmu_v3, vgic",
            ),
            (vec![(RegisterId::PSTATE.raw(), 0x1d3)], "el1_32bit, psci_0_2, vgic"),
            (vec![(RegisterId::PSTATE.raw(), 0x2000_0010)], "psci_0_2, vgic"),
        ] {
            let (ids, values): (Vec<u64>, Vec<u64>) = registers.into_iter().unzip();
            assert_eq!(inference.of(&ids, &values).to_string(), words);
            assert_eq!(inference.made(&values).to_string(), words);
        }
    }
}
