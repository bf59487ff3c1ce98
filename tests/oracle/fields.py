"""The fields of the ID registers, as the host kernel's own tables describe them.

One notation for each: ``Name@shift``, four bits wide unless ``/width`` says otherwise, then ``s`` for a
signed field and the way two values are merged:  nothing = the lower one is safe, ``:H`` the higher one,
``:HZ`` the higher one or zero, ``:E=n`` none but n.

Source: id-registers.json (trees 6.12.8 .. 7.3.4), all trees joined.  A field that a kernel does not
know yet needs no range of its own: a host value of such a field is zero, and then both "in no field:
keep the limit" and "unsigned, lower is safe" take nothing but zero.  The one property that differs between
trees and matters, the sign of PMUVer and PerfMon, is marked ``?`` and decided in id_registers.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SYSREG = 0x6030000000130000


@dataclass(frozen=True)
class Field:
    name: str
    shift: int
    width: int
    kind: str  # "L", "H", "HZ" or "E"
    safe: int  # for "E"
    signed: bool
    sign_varies: bool

    @property
    def mask(self) -> int:
        return ((1 << self.width) - 1) << self.shift

    def of(self, value: int) -> int:
        return (value & self.mask) >> self.shift

    def put(self, value: int, field: int) -> int:
        return value & ~self.mask | field << self.shift


def _field(text: str) -> Field:
    found = re.fullmatch(r"(\w+)@(\d+)(?:/(\d))?([s?]?)(?::(HZ|H|E)(?:=(\d+))?)?", text)
    assert found, text
    name, shift, width, sign, kind, safe = found.groups()
    return Field(name, int(shift), int(width or 4), kind or "L", int(safe or 0), sign == "s", sign == "?")


_TABLE = """
ID_PFR0 c008: State0@0 State1@4 State2@8 State3@12 CSV2@16 DIT@24
ID_PFR1 c009: ProgMod@0 Security@4 MProgMod@8 Virtualization@12 GenTimer@16 Sec_frac@20 Virt_frac@24 GIC@28
ID_DFR0 c00a: CopDbg@0 CopSDbg@4 MMapDbg@8 CopTrc@12 MMapTrc@16 MProfDbg@20 PerfMon@24?
ID_MMFR0 c00c: VMSA@0 PMSA@4 OuterShr@8s ShareLvl@12 TCM@16 AuxReg@20 FCSE@24 InnerShr@28s
ID_MMFR1 c00d: L1HvdVA@0 L1UniVA@4 L1HvdSW@8 L1UniSW@12 L1Hvd@16 L1Uni@20 L1TstCln@24 BPred@28
ID_MMFR2 c00e: L1HvdFG@0 L1HvdBG@4 L1HvdRng@8 HvdTLB@12 UniTLB@16 MemBarr@20 WFIStall@24 HWAccFlg@28
ID_MMFR3 c00f: CMaintVA@0 CMaintSW@4 BPMaint@8 MaintBcst@12 PAN@16 CohWalk@20 CMemSz@24 Supersec@28
ID_ISAR0 c010: Swap@0 BitCount@4 BitField@8 CmpBranch@12 Coproc@16 Debug@20 Divide@24
ID_ISAR1 c011: Endian@0 Except@4 Except_AR@8 Extend@12 IfThen@16 Immediate@20 Interwork@24 Jazelle@28
ID_ISAR2 c012: LoadStore@0 MemHint@4 MultiAccessInt@8 Mult@12 MultS@16 MultU@20 PSR_AR@24 Reversal@28
ID_ISAR3 c013: Saturate@0 SIMD@4 SVC@8 SynchPrim@12 TabBranch@16 T32Copy@20 TrueNOP@24 T32EE@28
ID_ISAR4 c014: Unpriv@0 WithShifts@4 Writeback@8 SMC@12 Barrier@16 SynchPrim_frac@20 PSR_M@24 SWP_frac@28
ID_ISAR5 c015: SEVL@0 AES@4 SHA1@8 SHA2@12 CRC32@16 RDM@24
ID_MMFR4 c016: SpecSEI@0:H AC2@4 XNX@8 CnP@12 HPDS@16 LSM@20 CCIDX@24 EVT@28
ID_ISAR6 c017: JSCVT@0 DP@4 FHM@8 SB@12 SPECRES@16 BF16@20 I8MM@24
MVFR0 c018: SIMDReg@0 FPSP@4 FPDP@8 FPTrap@12 FPDivide@16 FPSqrt@20 FPShVec@24 FPRound@28
MVFR1 c019: FPFtZ@0 FPDNaN@4 SIMDLS@8 SIMDInt@12 SIMDSP@16 SIMDHP@20 FPHP@24 SIMDFMAC@28
MVFR2 c01a: SIMDMisc@0 FPMisc@4
ID_PFR2 c01c: CSV3@0 SSBS@4
ID_DFR1 c01d: MTPMU@0s
ID_MMFR5 c01e: ETS@0
ID_AA64PFR0 c020: EL0@0 EL1@4 EL2@8 EL3@12 FP@16s AdvSIMD@20s GIC@24 RAS@28 SVE@32 SEL2@36 MPAM@40 AMU@44
    DIT@48 CSV2@56 CSV3@60
ID_AA64PFR1 c021: BT@0 SSBS@4 MTE@8 RAS_frac@12 MPAM_frac@16 SME@24 MTE_frac@40s GCS@44 DF2@56
ID_AA64PFR2 c022: MTESTOREONLY@4 MTEFAR@8 GCIE@12 FPMR@32
ID_AA64ZFR0 c024: SVEver@0 AES@4 EltPerm@12 BitPerm@16 BF16@20 B16B16@24 SHA3@32 SM4@40 I8MM@44 F16MM@48
    F32MM@52 F64MM@56
ID_AA64SMFR0 c025: SMOP4@0/1:E=0 STMOP@16/1:E=0 SFEXPA@23/1:E=0 AES@24/1:E=0 SBitPerm@25/1:E=0
    SF8DP2@28/1:E=0 SF8DP4@29/1:E=0 SF8FMA@30/1:E=0 F32F32@32/1:E=0 BI32I32@33/1:E=0 B16F32@34/1:E=0
    F16F32@35/1:E=0 I8I32@36:E=0 F8F32@40/1:E=0 F8F16@41/1:E=0 F16F16@42/1:E=0 B16B16@43/1:E=0 I16I32@44:E=0
    F64F64@48/1:E=0 I16I64@52:E=0 SMEver@56:E=0 LUTv2@60/1:E=0 LUT6@61/1:E=0 FA64@63/1:E=0
ID_AA64FPFR0 c027: F8E5M2@0/1:E=0 F8E4M3@1/1:E=0 F16MM2@15/1:E=0 F8MM4@26/1:E=0 F8MM8@27/1:E=0
    F8DP2@28/1:E=0 F8DP4@29/1:E=0 F8FMA@30/1:E=0 F8CVT@31/1:E=0
ID_AA64DFR0 c028: DebugVer@0 PMUVer@8? BRPs@12 WRPs@20 CTX_CMPs@28 PMSVer@32 DoubleLock@36s
ID_AA64DFR1 c029:
ID_AA64ISAR0 c030: AES@4 SHA1@8 SHA2@12 CRC32@16 ATOMIC@20 RDM@28 SHA3@32 SM3@36 SM4@40 DP@44 FHM@48 TS@52
    TLB@56 RNDR@60
ID_AA64ISAR1 c031: DPB@0 APA@4:E=0 API@8:E=0 JSCVT@12 FCMA@16 LRCPC@20 GPA@24 GPI@28 FRINTTS@32 SB@36
    SPECRES@40 BF16@44 DGH@48 I8MM@52 XS@56 LS64@60
ID_AA64ISAR2 c032: WFxT@0 RPRES@4 GPA3@8 APA3@12:E=0 MOPS@16 BC@20 CLRBHB@28 RPRFM@48 CSSC@52 LUT@56
    ATS1A@60
ID_AA64ISAR3 c033: FAMINMAX@4 LSFE@16 LSUI@24 FPRCVT@28
ID_AA64MMFR0 c038: PARANGE@0 ASIDBITS@4 BIGEND@8 SNSMEM@12 BIGENDEL0@16 TGRAN16@20 TGRAN64@24s TGRAN4@28s
    TGRAN16_2@32:E=1 TGRAN64_2@36:E=1 TGRAN4_2@40:E=1 EXS@44 FGT@56 ECV@60
ID_AA64MMFR1 c039: HAFDBS@0 VMIDBits@4 VH@8 HPDS@12 LO@16 PAN@20 SpecSEI@24:H XNX@28 TWED@32 ETS@36 HCX@40
    AFP@44 TIDCP1@52 ECBHB@60
ID_AA64MMFR2 c03a: CnP@0 UAO@4 LSM@8 IESB@12 VARange@16 CCIDX@20 NV@24 ST@28 AT@32 IDS@36 FWB@40 TTL@48
    BBM@52 EVT@56 E0PD@60
ID_AA64MMFR3 c03b: TCRX@0 SCTLRX@4 S1PIE@8 S1POE@16
ID_AA64MMFR4 c03c: NV_frac@20 E2H0@24s
CTR d801: IminLine@0 L1Ip@14/2:E=2 DminLine@16 ERG@20:HZ CWG@24:HZ IDC@28/1 DIC@29/1 RES1@31/1:E=1
"""
# PMUVer, DebugVer and PerfMon are merged by KVM as "lower is safe" whatever the host's table says


def _parse(table: str) -> tuple[dict[int, tuple[Field, ...]], dict[str, int]]:
    fields: dict[int, tuple[Field, ...]] = {}
    ids: dict[str, int] = {}
    for line in re.sub(r"\n {4}", " ", table).strip().splitlines():
        head, _, rest = line.partition(":")
        name, low = head.split()
        ids[name] = SYSREG | int(low, 16)
        fields[ids[name]] = tuple(_field(text) for text in rest.split())
    return fields, ids


FIELDS, ID = _parse(_TABLE)


def field(owner: str, name: str) -> Field:
    return next(f for f in FIELDS[ID[owner]] if f.name == name)
