//! Ids of registers that rules ask for by name.

use crate::id::RegisterId;

pub(super) const fn system(op1: u64, crn: u64, crm: u64, op2: u64) -> RegisterId {
    RegisterId::system(3, op1, crn, crm, op2)
}

/// `PSCI_VERSION`.
pub const PSCI_VERSION: RegisterId = RegisterId::firmware(0);
/// `SMCCC_ARCH_WORKAROUND_1`.
pub const WORKAROUND_1: RegisterId = RegisterId::firmware(1);
/// `SMCCC_ARCH_WORKAROUND_2`.
pub const WORKAROUND_2: RegisterId = RegisterId::firmware(2);
/// `SMCCC_ARCH_WORKAROUND_3`.
pub const WORKAROUND_3: RegisterId = RegisterId::firmware(3);
/// `MIDR_EL1`.
pub const MIDR: RegisterId = system(0, 0, 0, 0);
/// `ID_AA64PFR0_EL1`.
pub const ID_AA64PFR0: RegisterId = system(0, 0, 4, 0);
/// `ID_AA64PFR1_EL1`.
pub const ID_AA64PFR1: RegisterId = system(0, 0, 4, 1);
/// `ID_AA64PFR2_EL1`.
pub const ID_AA64PFR2: RegisterId = system(0, 0, 4, 2);
/// `ID_AA64ZFR0_EL1`.
pub const ID_AA64ZFR0: RegisterId = system(0, 0, 4, 4);
/// `ID_AA64DFR0_EL1`.
pub const ID_AA64DFR0: RegisterId = system(0, 0, 5, 0);
/// `ID_AA64ISAR1_EL1`.
pub const ID_AA64ISAR1: RegisterId = system(0, 0, 6, 1);
/// `ID_AA64ISAR2_EL1`.
pub const ID_AA64ISAR2: RegisterId = system(0, 0, 6, 2);
/// `ID_AA64MMFR0_EL1`.
pub const ID_AA64MMFR0: RegisterId = system(0, 0, 7, 0);
/// `ID_AA64MMFR1_EL1`.
pub const ID_AA64MMFR1: RegisterId = system(0, 0, 7, 1);
/// `ID_AA64MMFR3_EL1`.
pub const ID_AA64MMFR3: RegisterId = system(0, 0, 7, 3);
/// `ID_AA64MMFR4_EL1`.
pub const ID_AA64MMFR4: RegisterId = system(0, 0, 7, 4);
/// `ID_DFR0_EL1`.
pub const ID_DFR0: RegisterId = system(0, 0, 1, 2);
/// `ID_PFR1_EL1`.
pub const ID_PFR1: RegisterId = system(0, 0, 1, 1);
/// `SCTLR_EL1`.
pub const SCTLR: RegisterId = system(0, 1, 0, 0);
/// `PMCR_EL0`.
pub const PMCR: RegisterId = system(3, 9, 12, 0);
/// `PMCCNTR_EL0`.
pub const PMCCNTR: RegisterId = system(3, 9, 13, 0);
/// `PMSWINC_EL0`.
pub const PMSWINC: RegisterId = system(3, 9, 12, 4);
/// `PMOVSCLR_EL0`, of its pair the name that is written first.
pub const PMOVSCLR: RegisterId = system(3, 9, 12, 3);
/// `PMOVSSET_EL0`.
pub const PMOVSSET: RegisterId = system(3, 9, 14, 3);
/// `CTR_EL0`.
pub const CTR: RegisterId = system(3, 0, 0, 1);
/// `CLIDR_EL1`.
pub const CLIDR: RegisterId = system(1, 0, 0, 1);
/// `VMPIDR_EL2`.
pub const VMPIDR_EL2: RegisterId = system(4, 0, 0, 5);
/// `HCR_EL2`, which every nested VM has.
pub const HCR_EL2: RegisterId = system(4, 1, 1, 0);
/// `ICH_HCR_EL2`, which 6.16 lists and later kernels do not.
pub const ICH_HCR_EL2: RegisterId = system(4, 12, 11, 0);
/// `CNTHP_CTL_EL2`.
pub const CNTHP_CTL_EL2: RegisterId = system(4, 14, 2, 1);
/// `CNTHV_CTL_EL2`.
pub const CNTHV_CTL_EL2: RegisterId = system(4, 14, 3, 1);
/// `CNTVOFF_EL2`, the offset of the virtual counter of a nested VM.
pub const CNTVOFF_EL2: RegisterId = system(4, 14, 0, 3);
/// The virtual counter; KVM's headers swap its encoding with that of `TIMER_CVAL` (semantics, section 2).
pub const TIMER_CNT: RegisterId = system(3, 14, 3, 2);
/// `CNTPCT_EL0`.
pub const CNTPCT: RegisterId = system(3, 14, 0, 1);
