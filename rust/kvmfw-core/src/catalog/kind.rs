//! What the catalogue says of a register.

use crate::id::RegisterId;

/// How KVM treats writes of a register; chooses the rule that judges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The PSCI version of the VM.
    PsciVersion,
    /// A workaround level: WORKAROUND_1 and WORKAROUND_3.
    Level,
    /// WORKAROUND_2, whose level depends on the VM's own SSBS field.
    Workaround2,
    /// A bitmap of hypercall services; the mask of bits that are defined.
    Bitmap(u64),
    /// An ID register, AArch64 or AArch32.
    Identification,
    /// `MIDR_EL1`, `REVIDR_EL1` or `AIDR_EL1`; the bits that exist.
    Implementation(u64),
    /// `CTR_EL0`.
    CacheType,
    /// `CLIDR_EL1`.
    CacheLevels,
    /// CCSIDR, one for each cache.
    CacheSize,
    /// `OSLSR_EL1`.
    OsLockStatus,
    /// PSTATE, whose mode must be one that the vCPU has.
    ProcessorState,
    /// X0 to X30 and the PC, of which a vCPU in an AArch32 mode keeps the low halves.
    General,
    /// A part of SVE state: Z, P or FFR, as long as the vCPU's longest vector.
    SveState,
    /// The set of SVE vector lengths.
    VectorLengths,
    /// `CNTV_CTL_EL0` and `CNTP_CTL_EL0`, whose ISTATUS is not stored.
    TimerControl,
    /// `PMCR_EL0`, whose number of counters may be ignored.
    PmuControl,
    /// `PMMIR_EL1`.
    PmuMachine,
    /// `PMSWINC_EL0`, which reads 0 on later kernels.
    PmuIncrement,
    /// An event counter of the PMU, of 32 or 64 bits.
    PmuCounter,
    /// One of the two names, set and clear, of a register with a bit for each counter of the PMU.
    PmuBits,
    /// Stored without a look at the value, but there only while a field of an ID register is great enough.
    Gated(Gate),
    /// A register of a nested VM that is stored as written, but loses its reserved bits when the VM first runs.
    Masked,
    /// Stored without a look at the value.
    Plain,
    /// Not in the catalogue.
    Unlisted,
}

/// A field of an ID register that shows or hides other registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gate {
    /// The ID register.
    pub register: RegisterId,
    /// The lowest bit of the 4-bit field.
    pub shift: u32,
    /// The name of the field.
    pub field: &'static str,
    /// The least value of the field that shows the registers behind it.
    pub least: u8,
}

impl Gate {
    /// The field in a value of its register.
    pub fn of(self, word: u64) -> Option<u8> {
        u8::try_from(word >> self.shift & 0xf).ok()
    }
}

/// One entry of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    /// Its id.
    pub id: RegisterId,
    /// Its name, as KVM's headers or the architecture call it.
    pub name: &'static str,
    /// How KVM treats writes.
    pub kind: Kind,
    /// One line for people: what it is.
    pub meaning: &'static str,
}
