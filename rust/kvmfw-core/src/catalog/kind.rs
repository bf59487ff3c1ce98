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
    /// `ICC_CTLR_EL1` of the vGIC, which tells how many bits priorities and interrupts have.
    VgicControl,
    /// `GICD_IIDR`, whose revision says what the vGIC does.
    DistributorRevision,
    /// `GICD_TYPER2`, which is what the hardware's `GICv4.1` lets it be.
    DistributorFeatures,
    /// `GITS_IIDR`, whose revision says in which form the ITS keeps its tables.
    ItsRevision,
    /// The address of steal time.
    StealTime,
    /// The frequency of the counter, which KVM never looks at.
    Frequency,
    /// How many bits guest addresses have.
    AddressBits,
    /// The bytes of a page of the host.
    PageSize,
    /// A device in the kernel, which a host makes or does not.
    Device,
    /// Stored without a look at the value.
    Plain,
    /// Not in the catalogue.
    Unlisted,
}

impl Kind {
    /// Whether the register tells the guest what its machine is; others hold what the guest does. Of one that is not in the
    /// catalogue nobody knows, so it counts.
    pub const fn describes_machine(self) -> bool {
        match self {
            Self::PsciVersion
            | Self::Level
            | Self::Workaround2
            | Self::Bitmap(_)
            | Self::Identification
            | Self::Implementation(_)
            | Self::CacheType
            | Self::CacheLevels
            | Self::CacheSize
            | Self::VectorLengths
            | Self::PmuMachine
            | Self::Frequency
            | Self::DistributorRevision
            | Self::DistributorFeatures
            | Self::Unlisted => true,
            Self::OsLockStatus
            | Self::ProcessorState
            | Self::General
            | Self::SveState
            | Self::TimerControl
            | Self::PmuControl
            | Self::PmuIncrement
            | Self::PmuCounter
            | Self::PmuBits
            | Self::Masked
            | Self::VgicControl
            | Self::ItsRevision
            | Self::StealTime
            | Self::AddressBits
            | Self::PageSize
            | Self::Device
            | Self::Gated(_)
            | Self::Plain => false,
        }
    }

    /// What KVM takes, in words; docs/semantics.md has the rules and their sources.
    pub fn takes(self) -> String {
        let words = match self {
            Self::PsciVersion => "one of the versions that the kernel knows; without the `psci_0_2` feature only 0x1",
            Self::Level => "any level up to the host's; nothing is stored, the guest sees the host's level",
            Self::Workaround2 => "levels 0 to 3 and a flag; from 6.12 on the VM's own SSBS field decides",
            Self::Bitmap(mask) => {
                return format!("any bits of the mask {mask:#x}; once the VM has run only the current value");
            }
            Self::Identification => {
                "up to 6.4 the host's own value, or 0 in CSV2 and CSV3, in 6.2 to 6.4 also another PMU version; then field by field \
                 under the writable mask"
            }
            Self::Implementation(_) => {
                "the host's own value; any from 6.15 on if the VM has `writable_imp_id_regs` enabled"
            }
            Self::CacheType => "the host's own value up to 6.11, then field by field",
            Self::CacheLevels => "the host's own value up to 6.2, then any that fits the host's CTR_EL0",
            Self::CacheSize => "up to 6.2 the host's own value, from 6.3 on any line that is long enough",
            Self::OsLockStatus => "the host's own value, but for the lock bit",
            Self::ProcessorState => "a mode that the vCPU has; all bits are stored",
            Self::General => "anything; a vCPU in an AArch32 mode keeps only the low half",
            Self::SveState => "anything; what is beyond the vCPU's longest vector is lost",
            Self::VectorLengths => "the host's own set, up to a greatest length",
            Self::TimerControl => "anything; whether the timer has expired is not stored",
            Self::PmuControl => "anything; from 6.7 on a number of counters that cannot be is ignored",
            Self::PmuMachine => "0 or the host's own number of slots",
            Self::PmuIncrement => "anything; from 5.15 on it reads 0",
            Self::PmuCounter => {
                "anything; from 6.3 on, and in 6.1 since 6.1.23, only 32 bits are kept unless the VM has PMUv3p5"
            }
            Self::PmuBits => "anything; from 6.7 on bits of counters that the VM lacks are dropped",
            Self::Masked => "anything; the first run of a nested VM takes reserved bits away",
            Self::Gated(gate) => {
                let shown = format!("{}.{}", super::name_of(gate.register), gate.field);
                let enough = if gate.least > 1 { format!("{} or more", gate.least) } else { "not 0".to_owned() };
                return format!(
                    "anything while {shown} of the VM is {enough}, else on kernels that look at it the register is not there"
                );
            }
            Self::VgicControl => {
                "at most the host's priority bits and ID bits, its own SEIS and A3V; of the rest CBPR and EOImode are stored"
            }
            Self::DistributorRevision => "the host's own value, from 5.19 on with the revisions 2 and 3",
            Self::DistributorFeatures => "the host's own value",
            Self::ItsRevision => "the form of tables that the kernel knows, 0; the rest is not looked at",
            Self::StealTime => "an address that 64 divides, where the host has steal time",
            Self::Frequency => "not asked: the guest sees the host's own",
            Self::AddressBits => "32 bits to the most that the host has",
            Self::PageSize => "not asked: QEMU takes up to the host's own",
            Self::Device => "a device that the host makes",
            Self::Plain => "anything; it is stored without a look at the value",

            Self::Unlisted => "not known to kvmfw",
        };
        words.to_owned()
    }
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

    /// The field itself, whatever it shows: its register, its lowest bit, its name.
    pub(crate) const fn place(self) -> (RegisterId, u32, &'static str) {
        (self.register, self.shift, self.field)
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
