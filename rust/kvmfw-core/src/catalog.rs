//! The catalogue: which registers there are, what they are called and how KVM treats them.
//!
//! This is the one place to add a register. Registers that KVM stores without looking at the value
//! are told by their encoding; the ones that it checks are listed by name.

mod ids;
mod kind;
mod listed;
mod made;
mod parts;
mod plain;

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use self::ids::system;
pub use self::ids::*;
pub use self::kind::{Gate, Kind, Register};
pub use self::listed::listed_by;
pub use self::parts::{Part, bits_of_parts, parts_of};
use self::plain::PLAIN_NAMES;
use crate::id::{Group, RegisterId};

const fn entry(id: RegisterId, name: &'static str, kind: Kind, meaning: &'static str) -> Register {
    Register { id, name, kind, meaning }
}

const fn identification(crm: u64, op2: u64, name: &'static str, meaning: &'static str) -> Register {
    entry(system(0, 0, crm, op2), name, Kind::Identification, meaning)
}

const fn gate(register: RegisterId, shift: u32, field: &'static str, least: u8) -> Gate {
    Gate { register, shift, field, least }
}

const fn gated(id: RegisterId, name: &'static str, gate: Gate, meaning: &'static str) -> Register {
    entry(id, name, Kind::Gated(gate), meaning)
}

/// The SSBS field of the VM, on which WORKAROUND_2 depends.
pub const SSBS: Gate = gate(ID_AA64PFR1, 4, "SSBS", 1);
/// The interrupt controller: a `GICv3` (1).
pub const GIC: Gate = gate(ID_AA64PFR0, 24, "GIC", 1);
/// The CPU interface of a `GICv5`.
pub const GCIE: Gate = gate(ID_AA64PFR2, 12, "GCIE", 1);
/// The PMU version of the VM, which decides how wide its event counters are.
pub const PMU_VERSION: Gate = gate(ID_AA64DFR0, 8, "PMUVer", 1);
/// How many event counters the VM has: `PMCR_EL0.N` without its lowest bit, as fields have 4 bits here.
pub const PMU_COUNTERS: Gate = gate(PMCR, 12, "N", 1);

pub(crate) const TCRX: Gate = gate(ID_AA64MMFR3, 0, "TCRX", 1);
const SCTLRX: Gate = gate(ID_AA64MMFR3, 4, "SCTLRX", 1);
pub(crate) const S1PIE: Gate = gate(ID_AA64MMFR3, 8, "S1PIE", 1);
pub(crate) const S1POE: Gate = gate(ID_AA64MMFR3, 16, "S1POE", 1);
const FPMR: Gate = gate(ID_AA64PFR2, 32, "FPMR", 1);
/// The fine-grained traps of `FEAT_FGT`.
pub const FGT: Gate = gate(ID_AA64MMFR0, 56, "FGT", 1);
const FGT2: Gate = gate(ID_AA64MMFR0, 56, "FGT", 2);
const NV2_ONLY: Gate = gate(ID_AA64MMFR4, 20, "NV_frac", 1);
const NV3: Gate = gate(ID_AA64MMFR4, 20, "NV_frac", 3);

/// The registers that KVM looks at, ascending by group; registers not listed here are told by [`kind_of`].
pub const CATALOG: &[Register] = &[
    entry(PSCI_VERSION, "PSCI_VERSION", Kind::PsciVersion, "version of the power interface that the guest sees"),
    entry(
        WORKAROUND_1,
        "SMCCC_ARCH_WORKAROUND_1",
        Kind::Level,
        "protection against Spectre v2 (branch target injection)",
    ),
    entry(
        WORKAROUND_2,
        "SMCCC_ARCH_WORKAROUND_2",
        Kind::Workaround2,
        "protection against Spectre v4 (speculative store bypass)",
    ),
    entry(
        WORKAROUND_3,
        "SMCCC_ARCH_WORKAROUND_3",
        Kind::Level,
        "protection against Spectre BHB (branch history injection)",
    ),
    entry(RegisterId::firmware_bitmap(0), "STD_BMAP", Kind::Bitmap(0x1), "standard hypercalls: TRNG"),
    entry(RegisterId::firmware_bitmap(1), "STD_HYP_BMAP", Kind::Bitmap(0x1), "standard hypervisor calls: stolen time"),
    entry(
        RegisterId::firmware_bitmap(2),
        "VENDOR_HYP_BMAP",
        Kind::Bitmap(0x3),
        "KVM hypercalls: feature discovery and PTP",
    ),
    entry(
        RegisterId::firmware_bitmap(3),
        "VENDOR_HYP_BMAP_2",
        Kind::Bitmap(0x3),
        "KVM hypercalls: target implementation CPUs",
    ),
    entry(MIDR, "MIDR_EL1", Kind::Implementation(0xffff_ffff), "implementer, part and revision of the CPU"),
    entry(
        system(0, 0, 0, 6),
        "REVIDR_EL1",
        Kind::Implementation(u64::MAX),
        "implementation-specific revision of the CPU",
    ),
    entry(system(1, 0, 0, 7), "AIDR_EL1", Kind::Implementation(u64::MAX), "implementation-specific identification"),
    identification(1, 0, "ID_PFR0_EL1", "AArch32 processor features"),
    identification(1, 1, "ID_PFR1_EL1", "AArch32 processor features"),
    identification(1, 2, "ID_DFR0_EL1", "AArch32 debug features"),
    identification(1, 3, "ID_AFR0_EL1", "AArch32 auxiliary features"),
    identification(1, 4, "ID_MMFR0_EL1", "AArch32 memory model"),
    identification(1, 5, "ID_MMFR1_EL1", "AArch32 memory model"),
    identification(1, 6, "ID_MMFR2_EL1", "AArch32 memory model"),
    identification(1, 7, "ID_MMFR3_EL1", "AArch32 memory model"),
    identification(2, 0, "ID_ISAR0_EL1", "AArch32 instructions"),
    identification(2, 1, "ID_ISAR1_EL1", "AArch32 instructions"),
    identification(2, 2, "ID_ISAR2_EL1", "AArch32 instructions"),
    identification(2, 3, "ID_ISAR3_EL1", "AArch32 instructions"),
    identification(2, 4, "ID_ISAR4_EL1", "AArch32 instructions"),
    identification(2, 5, "ID_ISAR5_EL1", "AArch32 instructions"),
    identification(2, 6, "ID_MMFR4_EL1", "AArch32 memory model"),
    identification(2, 7, "ID_ISAR6_EL1", "AArch32 instructions"),
    identification(3, 0, "MVFR0_EL1", "AArch32 floating point"),
    identification(3, 1, "MVFR1_EL1", "AArch32 floating point"),
    identification(3, 2, "MVFR2_EL1", "AArch32 floating point"),
    identification(3, 4, "ID_PFR2_EL1", "AArch32 processor features"),
    identification(3, 5, "ID_DFR1_EL1", "AArch32 debug features"),
    identification(3, 6, "ID_MMFR5_EL1", "AArch32 memory model"),
    identification(4, 0, "ID_AA64PFR0_EL1", "processor features: exception levels, SVE, CSV2, CSV3"),
    identification(4, 1, "ID_AA64PFR1_EL1", "processor features: BT, SSBS, MTE"),
    identification(4, 2, "ID_AA64PFR2_EL1", "processor features: FPMR"),
    identification(4, 4, "ID_AA64ZFR0_EL1", "SVE features"),
    identification(4, 5, "ID_AA64SMFR0_EL1", "SME features"),
    identification(4, 7, "ID_AA64FPFR0_EL1", "FP8 features"),
    identification(5, 0, "ID_AA64DFR0_EL1", "debug features: debug version, PMU version, breakpoints"),
    identification(5, 1, "ID_AA64DFR1_EL1", "debug features"),
    identification(5, 2, "ID_AA64DFR2_EL1", "debug features: breakpoint extensions; hidden from VMs"),
    identification(5, 4, "ID_AA64AFR0_EL1", "auxiliary features"),
    identification(5, 5, "ID_AA64AFR1_EL1", "auxiliary features"),
    identification(6, 0, "ID_AA64ISAR0_EL1", "instructions: crypto, atomics, CRC"),
    identification(6, 1, "ID_AA64ISAR1_EL1", "instructions: pointer authentication, BF16, SB"),
    identification(6, 2, "ID_AA64ISAR2_EL1", "instructions: WFxT, MOPS, CLRBHB"),
    identification(6, 3, "ID_AA64ISAR3_EL1", "instructions: CPA, FAMINMAX"),
    identification(7, 0, "ID_AA64MMFR0_EL1", "memory model: address size, granules"),
    identification(7, 1, "ID_AA64MMFR1_EL1", "memory model: PAN, HCX, ECBHB"),
    identification(7, 2, "ID_AA64MMFR2_EL1", "memory model: CCIDX, NV, E0PD"),
    identification(7, 3, "ID_AA64MMFR3_EL1", "memory model: TCR2, permission indirection and overlay"),
    identification(7, 4, "ID_AA64MMFR4_EL1", "memory model: E2H0, NV_frac"),
    entry(CLIDR, "CLIDR_EL1", Kind::CacheLevels, "which cache levels there are"),
    entry(CTR, "CTR_EL0", Kind::CacheType, "cache line sizes and maintenance needs"),
    entry(RegisterId::system(2, 0, 1, 1, 4), "OSLSR_EL1", Kind::OsLockStatus, "OS lock status"),
    entry(RegisterId::PSTATE, "PSTATE", Kind::ProcessorState, "processor state: mode and flags"),
    entry(RegisterId::SVE_VLS, "SVE_VLS", Kind::VectorLengths, "the SVE vector lengths of the vCPU"),
    entry(system(3, 14, 2, 1), "CNTP_CTL_EL0", Kind::TimerControl, "control of the physical timer"),
    entry(system(3, 14, 3, 1), "CNTV_CTL_EL0", Kind::TimerControl, "control of the virtual timer"),
    entry(PMCR, "PMCR_EL0", Kind::PmuControl, "PMU control, with the number of counters"),
    entry(system(0, 9, 14, 6), "PMMIR_EL1", Kind::PmuMachine, "PMU implementation: slots"),
    entry(PMSWINC, "PMSWINC_EL0", Kind::PmuIncrement, "PMU software increment, without a state of its own"),
    entry(system(0, 9, 14, 1), "PMINTENSET_EL1", Kind::PmuBits, "PMU counters that raise interrupts"),
    entry(system(0, 9, 14, 2), "PMINTENCLR_EL1", Kind::PmuBits, "the same, by its other name"),
    entry(system(3, 9, 12, 1), "PMCNTENSET_EL0", Kind::PmuBits, "PMU counters that count"),
    entry(system(3, 9, 12, 2), "PMCNTENCLR_EL0", Kind::PmuBits, "the same, by its other name"),
    entry(PMOVSSET, "PMOVSSET_EL0", Kind::PmuBits, "PMU counters that have overflowed"),
    entry(PMOVSCLR, "PMOVSCLR_EL0", Kind::PmuBits, "the same, by its other name"),
    gated(system(0, 2, 0, 3), "TCR2_EL1", TCRX, "extended translation control"),
    gated(system(0, 10, 2, 2), "PIRE0_EL1", S1PIE, "permission indirection, EL0"),
    gated(system(0, 10, 2, 3), "PIR_EL1", S1PIE, "permission indirection, EL1"),
    gated(system(0, 10, 2, 4), "POR_EL1", S1POE, "permission overlay, EL1"),
    gated(system(3, 10, 2, 4), "POR_EL0", S1POE, "permission overlay, EL0"),
    gated(system(0, 1, 0, 3), "SCTLR2_EL1", SCTLRX, "extended system control"),
    gated(system(3, 4, 4, 2), "FPMR", FPMR, "FP8 mode"),
    gated(system(4, 2, 0, 3), "TCR2_EL2", TCRX, "extended translation control of a nested hypervisor"),
    gated(system(4, 1, 0, 3), "SCTLR2_EL2", SCTLRX, "extended system control of a nested hypervisor"),
    gated(system(4, 10, 2, 2), "PIRE0_EL2", S1PIE, "permission indirection of a nested hypervisor, EL0"),
    gated(system(4, 10, 2, 3), "PIR_EL2", S1PIE, "permission indirection of a nested hypervisor"),
    gated(system(4, 10, 2, 4), "POR_EL2", S1POE, "permission overlay of a nested hypervisor"),
    gated(system(4, 1, 1, 4), "HFGRTR_EL2", FGT, "fine-grained traps of a nested hypervisor"),
    gated(system(4, 1, 1, 5), "HFGWTR_EL2", FGT, "fine-grained traps of a nested hypervisor"),
    gated(system(4, 3, 1, 4), "HDFGRTR_EL2", FGT, "fine-grained traps of a nested hypervisor, debug"),
    gated(system(4, 3, 1, 5), "HDFGWTR_EL2", FGT, "fine-grained traps of a nested hypervisor, debug"),
    gated(system(4, 3, 1, 6), "HAFGRTR_EL2", FGT, "fine-grained traps of a nested hypervisor, activity monitors"),
    gated(system(4, 3, 1, 0), "HDFGRTR2_EL2", FGT2, "more fine-grained traps of a nested hypervisor, debug"),
    gated(system(4, 3, 1, 1), "HDFGWTR2_EL2", FGT2, "more fine-grained traps of a nested hypervisor, debug"),
    gated(system(4, 3, 1, 2), "HFGRTR2_EL2", FGT2, "more fine-grained traps of a nested hypervisor"),
    gated(system(4, 3, 1, 3), "HFGWTR2_EL2", FGT2, "more fine-grained traps of a nested hypervisor"),
    gated(system(4, 3, 1, 7), "HFGITR2_EL2", FGT2, "more fine-grained traps of a nested hypervisor, instructions"),
    gated(system(4, 2, 2, 0), "VNCR_EL2", NV2_ONLY, "memory of the registers of a hypervisor nested in a nested one"),
    gated(system(4, 1, 5, 0), "NVHCR_EL2", NV3, "nested virtualization control"),
    entry(VMPIDR_EL2, "VMPIDR_EL2", Kind::Masked, "MPIDR that a nested hypervisor shows"),
    entry(system(4, 1, 0, 0), "SCTLR_EL2", Kind::Masked, "system control of a nested hypervisor"),
    entry(HCR_EL2, "HCR_EL2", Kind::Masked, "hypervisor configuration of a nested hypervisor"),
    entry(system(4, 1, 1, 1), "MDCR_EL2", Kind::Masked, "debug and PMU control of a nested hypervisor"),
    entry(system(4, 1, 1, 6), "HFGITR_EL2", Kind::Masked, "fine-grained traps of instructions of a nested hypervisor"),
    entry(system(4, 1, 2, 0), "ZCR_EL2", Kind::Masked, "SVE control of a nested hypervisor"),
    entry(system(4, 1, 2, 2), "HCRX_EL2", Kind::Masked, "extended configuration of a nested hypervisor"),
    entry(system(4, 2, 1, 0), "VTTBR_EL2", Kind::Masked, "stage 2 tables of a nested hypervisor"),
    entry(system(4, 2, 1, 2), "VTCR_EL2", Kind::Masked, "stage 2 control of a nested hypervisor"),
    entry(system(4, 14, 1, 0), "CNTHCTL_EL2", Kind::Masked, "timer control of a nested hypervisor"),
    entry(ICH_HCR_EL2, "ICH_HCR_EL2", Kind::Masked, "interrupt control of a nested hypervisor"),
    entry(CNTHP_CTL_EL2, "CNTHP_CTL_EL2", Kind::TimerControl, "control of the physical timer of a nested hypervisor"),
    entry(CNTHV_CTL_EL2, "CNTHV_CTL_EL2", Kind::TimerControl, "control of the virtual timer of a nested hypervisor"),
    entry(
        RegisterId::ICC_CTLR,
        "ICC_CTLR_EL1",
        Kind::VgicControl,
        "control of the interrupt controller's CPU interface",
    ),
    entry(
        RegisterId::GICD_IIDR,
        "GICD_IIDR",
        Kind::DistributorRevision,
        "whose interrupt controller it is, and which revision of it",
    ),
    entry(
        RegisterId::GICD_TYPER2,
        "GICD_TYPER2",
        Kind::DistributorFeatures,
        "whether the guest may have SGIs without an active state",
    ),
    entry(
        RegisterId::GITS_IIDR,
        "GITS_IIDR",
        Kind::ItsRevision,
        "the form in which the ITS keeps its tables in guest memory",
    ),
    entry(
        RegisterId::PVTIME_IPA,
        "PVTIME_IPA",
        Kind::StealTime,
        "the guest address of steal time; all ones: the VM has none",
    ),
    entry(RegisterId::CNTFRQ, "CNTFRQ_EL0", Kind::Frequency, "the frequency of the counter, in Hz"),
    entry(RegisterId::VGIC_V2, "VGIC_V2", Kind::Device, "the VM has a GICv2"),
    entry(RegisterId::PAGE_SIZE, "PAGE_SIZE", Kind::PageSize, "the bytes of a page of the host"),
    entry(RegisterId::IPA_BITS, "IPA_BITS", Kind::AddressBits, "the bits that guest addresses have"),
];

/// The catalogue's entry for `id`.
pub fn lookup(id: RegisterId) -> Option<&'static Register> {
    static BY_ID: LazyLock<Vec<&'static Register>> = LazyLock::new(|| {
        let mut all: Vec<&'static Register> = CATALOG.iter().collect();
        all.sort_unstable_by_key(|register| register.id);
        all
    });
    let found = BY_ID.binary_search_by_key(&id, |register| register.id).ok()?;
    BY_ID.get(found).copied()
}

impl Kind {
    /// Whether every host keeps most values of such registers.
    pub(crate) const fn is_mostly_kept(self) -> bool {
        matches!(self, Self::General | Self::SveState)
    }

    /// Whether KVM looks at every value of such registers.
    pub(crate) const fn is_always_looked_at(self) -> bool {
        !matches!(self, Self::Plain) && !self.is_mostly_kept()
    }
}

/// How KVM treats writes of `id`.
///
/// Registers outside [`CATALOG`] are told by their encoding: general purpose, SVE, timer, debug and EL1
/// system state is stored as written (`kvm_sys_reg_set_user`, `arch/arm64/kvm/sys_regs.c`); ID encodings
/// without a name read as zero; of EL2 registers those are plain that have a name and that KVM does not look at.
pub fn kind_of(id: RegisterId) -> Kind {
    if let Some(register) = lookup(id) {
        return register.kind;
    }
    match id.group() {
        Group::Core if id.general_number().is_some() || id == RegisterId::PC => Kind::General,
        Group::Sve if id.is_sve() => Kind::SveState,
        Group::Core | Group::Sve => Kind::Plain,
        Group::Demux if id.raw() & 0xffff < 14 => Kind::CacheSize,
        Group::System => kind_of_system(id),
        Group::Demux | Group::Firmware | Group::FirmwareBitmap | Group::Surrounding | Group::Other => Kind::Unlisted,
    }
}

fn kind_of_system(id: RegisterId) -> Kind {
    match id.encoding() {
        [3, 0, 0, 1..=7, _] => Kind::Identification,
        // PMEVCNTR0_EL0 to PMEVCNTR30_EL0.
        [3, 3, 14, 8..=10, _] | [3, 3, 14, 11, 0..=6] => Kind::PmuCounter,
        // MPIDR and CSSELR, debug registers, and all other EL0 and EL1 state.
        [3, 0, 0, 0, 5] | [3, 2, 0, 0, 0] | [2, ..] | [3, 0 | 3, 1..=15, ..] => Kind::Plain,
        // No setter of its own and no masks (`EL2_REG` in `sys_regs.c`, `kvm_init_nv_sysregs`; 7.3.4 read; of those that only
        // 6.16 lists, RVBAR_EL2 and ICH, a tree of 6.15).
        [3, 4 | 6, ..] if is_named(id) => Kind::Plain,
        _ => Kind::Unlisted,
    }
}

fn is_named(id: RegisterId) -> bool {
    PLAIN_NAMES.iter().any(|(known, _)| *known == id)
}

/// The name of `id`: from the catalogue, else built from its group and number.
pub fn name_of(id: RegisterId) -> String {
    if let Some(register) = lookup(id) {
        return register.name.to_owned();
    }
    if let Some((_, name)) = PLAIN_NAMES.iter().find(|(known, _)| *known == id) {
        return (*name).to_owned();
    }
    if let Some(name) = made::name_by_number(id) {
        return name;
    }
    let index = id.raw() & 0xffff;
    match id.group() {
        Group::Core if id == RegisterId::PC => "PC".to_owned(),
        Group::Core => match id.general_number() {
            Some(number) => format!("X{number}"),
            None => format!("core register {index:#x}"),
        },
        Group::Demux => format!("CCSIDR {index}"),
        Group::System => {
            let [op0, op1, crn, crm, op2] = id.encoding();
            if kind_of(id) == Kind::PmuCounter {
                return format!("PMEVCNTR{}_EL0", (crm & 3) * 8 + op2);
            }
            format!("S{op0}_{op1}_C{crn}_C{crm}_{op2}")
        }
        Group::Firmware => format!("firmware register {index}"),
        Group::Sve => format!("SVE register {index:#x}"),
        Group::FirmwareBitmap => format!("firmware bitmap {index}"),
        Group::Surrounding => format!("surrounding {id}"),
        Group::Other => format!("register {id}"),
    }
}

/// The register of this name or id, as people type it.
pub fn find(text: &str) -> Option<RegisterId> {
    let named = CATALOG.iter().find(|register| register.name.eq_ignore_ascii_case(text)).map(|register| register.id);
    named.or_else(|| crate::id::parse_id(text).ok()).or_else(|| made_name(text)).or_else(|| encoded(text))
}

/// The register that assemblers call `S3_0_C0_C4_0`, whether it has a name or not.
fn encoded(text: &str) -> Option<RegisterId> {
    let are_digits = |part: &str| part.len() < 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    let digits = |part: &str| part.parse::<u64>().ok().filter(|_| are_digits(part));
    let lower = text.to_ascii_lowercase();
    let mut parts = lower.strip_prefix('s')?.split('_');
    let [op0, op1] = [parts.next()?, parts.next()?].map(digits);
    let [crn, crm] = [parts.next()?, parts.next()?].map(|part| part.strip_prefix('c').and_then(digits));
    let (op2, rest) = (digits(parts.next()?), parts.next());
    let encoding = [op0?, op1?, crn?, crm?, op2?];
    let fits = encoding.into_iter().zip([3, 7, 15, 15, 7]).all(|(part, largest)| part <= largest);
    let [op0, op1, crn, crm, op2] = encoding;
    (fits && rest.is_none()).then(|| RegisterId::system(op0, op1, crn, crm, op2))
}

/// The register whose name [`name_of`] makes of its number.
fn made_name(text: &str) -> Option<RegisterId> {
    static NAMES: OnceLock<HashMap<String, RegisterId>> = OnceLock::new();
    let names = NAMES.get_or_init(|| every_number().map(|id| (name_of(id).to_ascii_lowercase(), id)).collect());
    names.get(&text.to_ascii_lowercase()).copied()
}

/// The ids of core registers, SVE state, caches and system registers, and the first of the groups that have few.
fn every_number() -> impl Iterator<Item = RegisterId> {
    const NUMBERS: [(u64, u64); 8] = [
        (0x6030_0000_0010_0000, 0x100),
        (0x6040_0000_0010_0000, 0x100),
        (0x6020_0000_0010_0000, 0x100),
        (0x6020_0000_0011_0000, 0x10),
        (0x6030_0000_0013_8000, 0x8000),
        (0x6030_0000_0014_0000, 0x10),
        (0x6030_0000_0016_0000, 0x10),
        (0x6060_0000_0015_ffff, 1),
    ];
    let vectors = (0x6080_0000_0015_0000..0x6080_0000_0015_0400).step_by(0x20);
    let predicates = (0x6050_0000_0015_0400..0x6050_0000_0015_0620).step_by(0x20);
    let few = NUMBERS.into_iter().flat_map(|(first, count)| first..first + count);
    few.chain(vectors)
        .chain(predicates)
        .map(RegisterId::new)
        .filter(|id| id.group() != Group::Core || id.is_core_field())
}

#[cfg(test)]
mod tests;
