"""Names of the fields of ID registers, as the architecture and QEMU's properties call them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Field", "fields_of"]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an ID register.

    Attributes
    ----------
    name : str
        Its name.
    shift, width : int
        Its lowest bit, and how many bits it has.
    """

    name: str
    shift: int
    width: int

    def of(self, value: int) -> int:
        """Give the field of a register value."""
        return value >> self.shift & ((1 << self.width) - 1)


# name:lowest bit, and :width where that is not 4.
_FIELDS = {
    "ID_AA64PFR0_EL1": (
        "EL0:0 EL1:4 EL2:8 EL3:12 FP:16 AdvSIMD:20 GIC:24 RAS:28 SVE:32 SEL2:36 MPAM:40 AMU:44 DIT:48 "
        "CSV2:56 CSV3:60"
    ),
    "ID_AA64PFR1_EL1": "BT:0 SSBS:4 MTE:8 RAS_frac:12 MPAM_frac:16 SME:24 MTE_frac:40 GCS:44 DF2:56",
    "ID_AA64PFR2_EL1": "MTESTOREONLY:4 MTEFAR:8 GCIE:12 FPMR:32",
    "ID_AA64ZFR0_EL1": (
        "SVEver:0 AES:4 EltPerm:12 BitPerm:16 BF16:20 B16B16:24 SHA3:32 SM4:40 I8MM:44 F16MM:48 "
        "F32MM:52 F64MM:56"
    ),
    "ID_AA64SMFR0_EL1": (
        "SMOP4:0:1 STMOP:16:1 SFEXPA:23:1 AES:24:1 SBitPerm:25:1 SF8DP2:28:1 SF8DP4:29:1 SF8FMA:30:1 "
        "F32F32:32:1 BI32I32:33:1 B16F32:34:1 F16F32:35:1 I8I32:36 F8F32:40:1 F8F16:41:1 F16F16:42:1 "
        "B16B16:43:1 I16I32:44 F64F64:48:1 I16I64:52 SMEver:56 LUTv2:60:1 LUT6:61:1 FA64:63:1"
    ),
    "ID_AA64FPFR0_EL1": (
        "F8E5M2:0:1 F8E4M3:1:1 F16MM2:15:1 F8MM4:26:1 F8MM8:27:1 F8DP2:28:1 F8DP4:29:1 F8FMA:30:1 F8CVT:31:1"
    ),
    "ID_AA64DFR0_EL1": "DebugVer:0 PMUVer:8 BRPs:12 WRPs:20 CTX_CMPs:28 PMSVer:32 DoubleLock:36",
    "ID_AA64ISAR0_EL1": (
        "AES:4 SHA1:8 SHA2:12 CRC32:16 ATOMIC:20 RDM:28 SHA3:32 SM3:36 SM4:40 DP:44 FHM:48 TS:52 "
        "TLB:56 RNDR:60"
    ),
    "ID_AA64ISAR1_EL1": (
        "DPB:0 APA:4 API:8 JSCVT:12 FCMA:16 LRCPC:20 GPA:24 GPI:28 FRINTTS:32 SB:36 SPECRES:40 "
        "BF16:44 DGH:48 I8MM:52 XS:56 LS64:60"
    ),
    "ID_AA64ISAR2_EL1": (
        "WFxT:0 RPRES:4 GPA3:8 APA3:12 MOPS:16 BC:20 CLRBHB:28 RPRFM:48 CSSC:52 LUT:56 ATS1A:60"
    ),
    "ID_AA64MMFR0_EL1": (
        "PARANGE:0 ASIDBITS:4 BIGEND:8 SNSMEM:12 BIGENDEL0:16 TGRAN16:20 TGRAN64:24 TGRAN4:28 "
        "TGRAN16_2:32 TGRAN64_2:36 TGRAN4_2:40 EXS:44 FGT:56 ECV:60"
    ),
    "ID_AA64MMFR1_EL1": (
        "HAFDBS:0 VMIDBits:4 VH:8 HPDS:12 LO:16 PAN:20 SpecSEI:24 XNX:28 TWED:32 ETS:36 HCX:40 AFP:44 "
        "TIDCP1:52 ECBHB:60"
    ),
    "ID_AA64MMFR2_EL1": (
        "CnP:0 UAO:4 LSM:8 IESB:12 VARange:16 CCIDX:20 NV:24 ST:28 AT:32 IDS:36 FWB:40 TTL:48 BBM:52 "
        "EVT:56 E0PD:60"
    ),
    "ID_AA64MMFR3_EL1": "TCRX:0 SCTLRX:4 S1PIE:8 S1POE:16",
    "ID_AA64MMFR4_EL1": "NV_frac:20 E2H0:24",
    "CTR_EL0": "IminLine:0 L1Ip:14:2 DminLine:16 ERG:20 CWG:24 IDC:28:1 DIC:29:1 [31+1]:31:1",
    "ID_AA64ISAR3_EL1": "FAMINMAX:4 LSFE:16 LSUI:24 FPRCVT:28",
}


def fields_of(register: str) -> list[Field]:
    """List the fields of an ID register by its name; nothing for other registers.

    >>> fields_of("ID_AA64PFR0_EL1")[0]
    Field(name='EL0', shift=0, width=4)
    """
    found = []
    for word in _FIELDS.get(register, "").split():
        name, shift, *width = word.split(":")
        found.append(Field(name, int(shift), int(width[0]) if width else 4))
    return found
