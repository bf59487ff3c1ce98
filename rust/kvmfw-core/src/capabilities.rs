//! Numbers of KVM's capabilities (`include/uapi/linux/kvm.h`), and what each brings to a vCPU.

/// `KVM_CAP_ARM_EL1_32BIT`.
pub(crate) const EL1_32BIT: u32 = 93;
/// `KVM_CAP_ARM_PMU_V3`.
pub(crate) const PMU_V3: u32 = 126;
/// `KVM_CAP_ARM_SVE`.
pub(crate) const SVE: u32 = 170;
/// `KVM_CAP_ARM_PTRAUTH_ADDRESS`.
pub(crate) const PTRAUTH_ADDRESS: u32 = 171;
/// `KVM_CAP_ARM_PTRAUTH_GENERIC`.
pub(crate) const PTRAUTH_GENERIC: u32 = 172;
/// `KVM_CAP_ARM_MTE`.
const MTE: u32 = 205;
/// `KVM_CAP_ARM_WRITABLE_IMP_ID_REGS`.
pub(crate) const WRITABLE_IMP_ID_REGS: u32 = 239;
/// `KVM_CAP_ARM_EL2`.
pub(crate) const EL2: u32 = 240;
/// `KVM_CAP_ARM_EL2_E2H0`.
pub(crate) const EL2_E2H0: u32 = 241;
/// The capability of the strict PMU (7.3).
pub(crate) const PMU_V3_STRICT: u32 = 251;

/// The capability that each vCPU feature and each capability of a VM needs, by its word; the others are on every host.
pub const CAPABILITIES: &[(&str, u32)] = &[
    ("el1_32bit", EL1_32BIT),
    ("pmu_v3", PMU_V3),
    ("sve", SVE),
    ("ptrauth_address", PTRAUTH_ADDRESS),
    ("ptrauth_generic", PTRAUTH_GENERIC),
    ("has_el2", EL2),
    ("has_el2_e2h0", EL2_E2H0),
    ("pmu_v3_strict", PMU_V3_STRICT),
    ("mte", MTE),
    ("writable_imp_id_regs", WRITABLE_IMP_ID_REGS),
];
