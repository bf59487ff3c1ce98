//! The fields of the ID registers and their writable masks: data only.
//!
//! A row is a register, its fields from the highest bit down, and its writable mask from the tree named on, up
//! to the next one. Source: the `arm64_ftr_bits` tables of `arch/arm64/kernel/cpufeature.c` and `sys_reg_descs` of
//! `arch/arm64/kvm/sys_regs.c`, read in all trees of [`super::trees`] but 6.12.43, 6.12.69, 6.16.12 and 7.0.13, which were
//! read from the images of Debian's kernels (`make tables` compares them all). Sure.
//!
//! KVM compares `PMUVer`, `DebugVer` and `PerfMon` as lower-is-safe whatever the host's table says (specification, 3.3).

use super::trees::{T6_12_8, T6_12_69, T6_16_12, T6_17_8, T6_17_13, T6_18_15, T7_0, T7_1, T7_2, Tree};
use crate::id::RegisterId;

/// How two numbers of a field are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sign {
    Unsigned,
    Signed,
    /// Signed until the fix of the PMU versions, see [`trees::pmu_is_signed`].
    Pmu,
}

/// Which numbers are safe under a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Safe {
    Lower,
    Higher,
    HigherOrZero,
    Exact(u8),
}

/// One field of an ID register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shift: u8,
    pub(super) width: u8,
    pub(super) sign: Sign,
    pub(super) safe: Safe,
    /// The first tree whose table has it; earlier ones show it as 0.
    pub(super) since: Tree,
}

/// One register: its id, its fields, its writable masks by tree.
pub(super) type Row = (RegisterId, &'static [Field], &'static [(Tree, u64)]);

const fn id(op1: u64, crn: u64, crm: u64, op2: u64) -> RegisterId {
    RegisterId::system(3, op1, crn, crm, op2)
}

const fn field(shift: u8, name: &'static str, sign: Sign, safe: Safe) -> Field {
    Field { name, shift, width: 4, sign, safe, since: T6_12_8 }
}

/// Lower is safe.
const fn l(shift: u8, name: &'static str) -> Field {
    field(shift, name, Sign::Unsigned, Safe::Lower)
}

/// Lower is safe, signed.
const fn s(shift: u8, name: &'static str) -> Field {
    field(shift, name, Sign::Signed, Safe::Lower)
}

/// Lower is safe, signed until the fix of the PMU versions.
const fn p(shift: u8, name: &'static str) -> Field {
    field(shift, name, Sign::Pmu, Safe::Lower)
}

/// Higher is safe.
const fn h(shift: u8, name: &'static str) -> Field {
    field(shift, name, Sign::Unsigned, Safe::Higher)
}

/// Higher is safe, and so is 0.
const fn z(shift: u8, name: &'static str) -> Field {
    field(shift, name, Sign::Unsigned, Safe::HigherOrZero)
}

/// Only this value is safe.
const fn e(shift: u8, name: &'static str, value: u8) -> Field {
    field(shift, name, Sign::Unsigned, Safe::Exact(value))
}

impl Field {
    const fn bits(self, width: u8) -> Self {
        Self { width, ..self }
    }

    const fn since(self, since: Tree) -> Self {
        Self { since, ..self }
    }
}

/// All registers with a field table, ascending by id.
///
/// AArch32 masks: 6.17.8 was read without, and 6.17.13 took a changed `ID_PFR1` (12.10), so the change, one macro for all
/// of them, came between.
#[rustfmt::skip]
pub(super) const TABLE: &[Row] = &[
    (id(0, 0, 1, 0), // ID_PFR0_EL1
        &[l(24, "DIT"), l(16, "CSV2"), l(12, "State3"), l(8, "State2"), l(4, "State1"), l(0, "State0")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 1, 1), // ID_PFR1_EL1
        &[l(28, "GIC"), l(24, "Virt_frac"), l(20, "Sec_frac"), l(16, "GenTimer"), l(12, "Virtualization"),
          l(8, "MProgMod"), l(4, "Security"), l(0, "ProgMod")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 1, 2), // ID_DFR0_EL1
        &[p(24, "PerfMon"), l(20, "MProfDbg"), l(16, "MMapTrc"), l(12, "CopTrc"), l(8, "MMapDbg"),
          l(4, "CopSDbg"), l(0, "CopDbg")],
        &[(T6_12_8, 0x0f00_000f), (T6_12_69, 0xffff_ffff), (T6_16_12, 0x0f00_000f), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 1, 4), // ID_MMFR0_EL1
        &[s(28, "InnerShr"), l(24, "FCSE"), l(20, "AuxReg"), l(16, "TCM"), l(12, "ShareLvl"), s(8, "OuterShr"),
          l(4, "PMSA"), l(0, "VMSA")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 1, 5), // ID_MMFR1_EL1
        &[l(28, "BPred"), l(24, "L1TstCln"), l(20, "L1Uni"), l(16, "L1Hvd"), l(12, "L1UniSW"), l(8, "L1HvdSW"),
          l(4, "L1UniVA"), l(0, "L1HvdVA")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 1, 6), // ID_MMFR2_EL1
        &[l(28, "HWAccFlg"), l(24, "WFIStall"), l(20, "MemBarr"), l(16, "UniTLB"), l(12, "HvdTLB"),
          l(8, "L1HvdRng"), l(4, "L1HvdBG"), l(0, "L1HvdFG")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 1, 7), // ID_MMFR3_EL1
        &[l(28, "Supersec"), l(24, "CMemSz"), l(20, "CohWalk"), l(16, "PAN"), l(12, "MaintBcst"),
          l(8, "BPMaint"), l(4, "CMaintSW"), l(0, "CMaintVA")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 2, 0), // ID_ISAR0_EL1
        &[l(24, "Divide"), l(20, "Debug"), l(16, "Coproc"), l(12, "CmpBranch"), l(8, "BitField"),
          l(4, "BitCount"), l(0, "Swap")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 2, 1), // ID_ISAR1_EL1
        &[l(28, "Jazelle"), l(24, "Interwork"), l(20, "Immediate"), l(16, "IfThen"), l(12, "Extend"),
          l(8, "Except_AR"), l(4, "Except"), l(0, "Endian")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 2, 2), // ID_ISAR2_EL1
        &[l(28, "Reversal"), l(24, "PSR_AR"), l(20, "MultU"), l(16, "MultS"), l(12, "Mult"),
          l(8, "MultiAccessInt"), l(4, "MemHint"), l(0, "LoadStore")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 2, 3), // ID_ISAR3_EL1
        &[l(28, "T32EE"), l(24, "TrueNOP"), l(20, "T32Copy"), l(16, "TabBranch"), l(12, "SynchPrim"),
          l(8, "SVC"), l(4, "SIMD"), l(0, "Saturate")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 2, 4), // ID_ISAR4_EL1
        &[l(28, "SWP_frac"), l(24, "PSR_M"), l(20, "SynchPrim_frac"), l(16, "Barrier"), l(12, "SMC"),
          l(8, "Writeback"), l(4, "WithShifts"), l(0, "Unpriv")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 2, 5), // ID_ISAR5_EL1
        &[l(24, "RDM"), l(16, "CRC32"), l(12, "SHA2"), l(8, "SHA1"), l(4, "AES"), l(0, "SEVL")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 2, 6), // ID_MMFR4_EL1
        &[l(28, "EVT"), l(24, "CCIDX"), l(20, "LSM"), l(16, "HPDS"), l(12, "CnP"), l(8, "XNX"), l(4, "AC2"),
          h(0, "SpecSEI")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 2, 7), // ID_ISAR6_EL1
        &[l(24, "I8MM"), l(20, "BF16"), l(16, "SPECRES"), l(12, "SB"), l(8, "FHM"), l(4, "DP"), l(0, "JSCVT")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 3, 0), // MVFR0_EL1
        &[l(28, "FPRound"), l(24, "FPShVec"), l(20, "FPSqrt"), l(16, "FPDivide"), l(12, "FPTrap"),
          l(8, "FPDP"), l(4, "FPSP"), l(0, "SIMDReg")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 3, 1), // MVFR1_EL1
        &[l(28, "SIMDFMAC"), l(24, "FPHP"), l(20, "SIMDHP"), l(16, "SIMDSP"), l(12, "SIMDInt"), l(8, "SIMDLS"),
          l(4, "FPDNaN"), l(0, "FPFtZ")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 3, 2), // MVFR2_EL1
        &[l(4, "FPMisc"), l(0, "SIMDMisc")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 3, 4), // ID_PFR2_EL1
        &[l(4, "SSBS"), l(0, "CSV3")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 3, 5), // ID_DFR1_EL1
        &[s(0, "MTPMU")],
        &[]),
    (id(0, 0, 3, 6), // ID_MMFR5_EL1
        &[l(0, "ETS")],
        &[(T6_12_69, 0xffff_ffff), (T6_16_12, 0x0), (T6_17_13, 0xffff_ffff)]),
    (id(0, 0, 4, 0), // ID_AA64PFR0_EL1
        &[l(60, "CSV3"), l(56, "CSV2"), l(48, "DIT"), l(44, "AMU"), l(40, "MPAM"), l(36, "SEL2"), l(32, "SVE"),
          l(28, "RAS"), l(24, "GIC"), s(20, "AdvSIMD"), s(16, "FP"), l(12, "EL3"), l(8, "EL2"), l(4, "EL1"),
          l(0, "EL0")],
        &[(T6_12_8, 0xffff_00f0_0f00_ffff), (T6_17_8, 0xffff_00f0_ff00_ffff)]),
    (id(0, 0, 4, 1), // ID_AA64PFR1_EL1
        &[l(56, "DF2").since(T6_17_8), l(44, "GCS").since(T6_16_12), s(40, "MTE_frac").since(T6_16_12), l(24, "SME"),
          l(16, "MPAM_frac"), l(12, "RAS_frac"), l(8, "MTE"), l(4, "SSBS"), l(0, "BT")],
        &[(T6_12_8, 0x000f_0000_00ff), (T6_17_8, 0x0f00_000f_0000_f0ff)]),
    (id(0, 0, 4, 2), // ID_AA64PFR2_EL1
        &[l(32, "FPMR"), l(12, "GCIE").since(T7_1), l(8, "MTEFAR").since(T6_17_8), l(4, "MTESTOREONLY").since(T6_17_8)],
        &[(T6_12_8, 0x000f_0000_0000), (T6_17_8, 0x000f_0000_0ff0), (T7_1, 0x000f_0000_fff0)]),
    (id(0, 0, 4, 4), // ID_AA64ZFR0_EL1
        &[l(56, "F64MM"), l(52, "F32MM"), l(48, "F16MM").since(T6_16_12), l(44, "I8MM"), l(40, "SM4"), l(32, "SHA3"),
          l(24, "B16B16"), l(20, "BF16"), l(16, "BitPerm"), l(12, "EltPerm").since(T6_16_12), l(4, "AES"),
          l(0, "SVEver")],
        &[(T6_12_8, 0x0ff0_ff0f_0fff_00ff), (T6_16_12, 0x0fff_ff0f_0fff_f0ff)]),
    (id(0, 0, 4, 5), // ID_AA64SMFR0_EL1
        &[e(63, "FA64", 0).bits(1), e(61, "LUT6", 0).bits(1).since(T7_2), e(60, "LUTv2", 0).bits(1),
          e(56, "SMEver", 0), e(52, "I16I64", 0), e(48, "F64F64", 0).bits(1), e(44, "I16I32", 0),
          e(43, "B16B16", 0).bits(1), e(42, "F16F16", 0).bits(1), e(41, "F8F16", 0).bits(1),
          e(40, "F8F32", 0).bits(1), e(36, "I8I32", 0), e(35, "F16F32", 0).bits(1), e(34, "B16F32", 0).bits(1),
          e(33, "BI32I32", 0).bits(1), e(32, "F32F32", 0).bits(1), e(30, "SF8FMA", 0).bits(1),
          e(29, "SF8DP4", 0).bits(1), e(28, "SF8DP2", 0).bits(1), e(25, "SBitPerm", 0).bits(1).since(T6_16_12),
          e(24, "AES", 0).bits(1).since(T6_16_12), e(23, "SFEXPA", 0).bits(1).since(T6_16_12),
          e(16, "STMOP", 0).bits(1).since(T6_16_12), e(0, "SMOP4", 0).bits(1).since(T6_16_12)],
        &[]),
    (id(0, 0, 4, 7), // ID_AA64FPFR0_EL1
        &[e(31, "F8CVT", 0).bits(1), e(30, "F8FMA", 0).bits(1), e(29, "F8DP4", 0).bits(1),
          e(28, "F8DP2", 0).bits(1), e(27, "F8MM8", 0).bits(1).since(T6_16_12), e(26, "F8MM4", 0).bits(1).since(T6_16_12),
          e(15, "F16MM2", 0).bits(1).since(T7_2), e(1, "F8E4M3", 0).bits(1), e(0, "F8E5M2", 0).bits(1)],
        &[(T6_12_8, 0xf000_0003), (T6_16_12, 0xfc00_0003), (T7_1, 0xfc00_80ff)]),
    (id(0, 0, 5, 0), // ID_AA64DFR0_EL1
        &[s(36, "DoubleLock"), l(32, "PMSVer"), l(28, "CTX_CMPs"), l(20, "WRPs"), l(12, "BRPs"),
          p(8, "PMUVer"), l(0, "DebugVer")],
        &[(T6_12_8, 0x00f0_00f0_0f0f)]),
    (id(0, 0, 5, 1), // ID_AA64DFR1_EL1
        &[], &[]),
    (id(0, 0, 6, 0), // ID_AA64ISAR0_EL1
        &[l(60, "RNDR"), l(56, "TLB"), l(52, "TS"), l(48, "FHM"), l(44, "DP"), l(40, "SM4"), l(36, "SM3"),
          l(32, "SHA3"), l(28, "RDM"), l(20, "ATOMIC"), l(16, "CRC32"), l(12, "SHA2"), l(8, "SHA1"),
          l(4, "AES")],
        &[(T6_12_8, 0xffff_ffff_ffff_fff0), (T7_0, 0xffff_ffff_f0ff_fff0)]),
    (id(0, 0, 6, 1), // ID_AA64ISAR1_EL1
        &[l(60, "LS64").since(T7_0), l(56, "XS"), l(52, "I8MM"), l(48, "DGH"), l(44, "BF16"), l(40, "SPECRES"),
          l(36, "SB"), l(32, "FRINTTS"), l(28, "GPI"), l(24, "GPA"), l(20, "LRCPC"), l(16, "FCMA"),
          l(12, "JSCVT"), e(8, "API", 0), e(4, "APA", 0), l(0, "DPB")],
        &[(T6_12_8, 0xffff_ffff_00ff_f00f)]),
    (id(0, 0, 6, 2), // ID_AA64ISAR2_EL1
        &[l(60, "ATS1A").since(T7_2), l(56, "LUT"), l(52, "CSSC"), l(48, "RPRFM"), l(28, "CLRBHB"), l(20, "BC"),
          l(16, "MOPS"), e(12, "APA3", 0), l(8, "GPA3"), l(4, "RPRES"), l(0, "WFxT")],
        &[(T6_12_8, 0xffff_0fff_ffff_00ff), (T6_16_12, 0xffff_ffff_ffff_00ff)]),
    (id(0, 0, 6, 3), // ID_AA64ISAR3_EL1
        &[l(28, "FPRCVT").since(T6_16_12), l(24, "LSUI").since(T7_1), l(16, "LSFE").since(T6_18_15),
          l(4, "FAMINMAX").since(T6_16_12)],
        &[(T6_16_12, 0xf000_00f0), (T6_18_15, 0xf00f_00f0), (T7_1, 0xff0f_00f0)]),
    (id(0, 0, 7, 0), // ID_AA64MMFR0_EL1
        &[l(60, "ECV"), l(56, "FGT"), l(44, "EXS"), e(40, "TGRAN4_2", 1), e(36, "TGRAN64_2", 1),
          e(32, "TGRAN16_2", 1), s(28, "TGRAN4"), s(24, "TGRAN64"), l(20, "TGRAN16"), l(16, "BIGENDEL0"),
          l(12, "SNSMEM"), l(8, "BIGEND"), l(4, "ASIDBITS"), l(0, "PARANGE")],
        &[(T6_12_8, 0xff00_f000_ffff_ff0f), (T6_16_12, 0xff00_ffff_ffff_ff0f)]),
    (id(0, 0, 7, 1), // ID_AA64MMFR1_EL1
        &[l(60, "ECBHB"), l(52, "TIDCP1"), l(44, "AFP"), l(40, "HCX"), l(36, "ETS"), l(32, "TWED"),
          l(28, "XNX"), h(24, "SpecSEI"), l(20, "PAN"), l(16, "LO"), l(12, "HPDS"), l(8, "VH"),
          l(4, "VMIDBits"), l(0, "HAFDBS")],
        &[(T6_12_8, 0xffff_f0f0_0fff_f00f), (T6_18_15, 0xffff_ffff_0fff_f00f)]),
    (id(0, 0, 7, 2), // ID_AA64MMFR2_EL1
        &[l(60, "E0PD"), l(56, "EVT"), l(52, "BBM"), l(48, "TTL"), l(40, "FWB"), l(36, "IDS"), l(32, "AT"),
          l(28, "ST"), l(24, "NV"), l(20, "CCIDX"), l(16, "VARange"), l(12, "IESB"), l(8, "LSM"), l(4, "UAO"),
          l(0, "CnP")],
        &[(T6_12_8, 0xf0ff_000f_f00f_ffff)]),
    (id(0, 0, 7, 3), // ID_AA64MMFR3_EL1
        &[l(16, "S1POE"), l(8, "S1PIE"), l(4, "SCTLRX").since(T6_17_8), l(0, "TCRX")],
        &[(T6_12_8, 0x000f_0f0f), (T6_17_8, 0x000f_0fff)]),
    (id(0, 0, 7, 4), // ID_AA64MMFR4_EL1
        &[s(24, "E2H0"), l(20, "NV_frac").since(T6_16_12)],
        &[(T6_16_12, 0x00f0_0000)]),
    (id(3, 0, 0, 1), // CTR_EL0
        &[e(31, "RES1", 1).bits(1), l(29, "DIC").bits(1), l(28, "IDC").bits(1), z(24, "CWG"), z(20, "ERG"),
          l(16, "DminLine"), e(14, "L1Ip", 2).bits(2), l(0, "IminLine")],
        &[(T6_12_8, 0x300f_000f), (T6_16_12, 0x300f_c00f)]),
];
