//! Register ids: the 64-bit `KVM_REG_*` numbers of `KVM_GET_REG_LIST`.

use std::fmt;

/// The id of one register, as KVM numbers it.
///
/// ```
/// use kvmfw_core::RegisterId;
/// let id = RegisterId::new(0x6030_0000_0014_0001);
/// assert_eq!(id.size(), 8);
/// assert_eq!(id.to_string(), "0x6030000000140001");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegisterId(u64);

/// The group of registers that an id belongs to (bits 16..28, "coprocessor" in KVM's headers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// General purpose, floating point and special registers of `struct kvm_regs`.
    Core,
    /// Banked registers; only CCSIDR today.
    Demux,
    /// System registers, named by op0, op1, `CRn`, `CRm` and op2.
    System,
    /// Firmware pseudo-registers: PSCI version and workaround levels.
    Firmware,
    /// SVE state and the set of vector lengths.
    Sve,
    /// Firmware feature bitmaps: the hypercalls that a guest sees.
    FirmwareBitmap,
    /// What a VMM restores beside registers, or relies on: nine ids that are none of KVM's.
    Surrounding,
    /// Anything else.
    Other,
}

const ARCHITECTURE_ARM64: u64 = 0x6000_0000_0000_0000;
/// No architecture of KVM's (`KVM_REG_ARCH_MASK` in `uapi/linux/kvm.h`: 0x10 to 0x90 are used, 7.3 read).
const SURROUNDINGS: u64 = 0xf000_0000_0000_0000;
const SIZE_U64: u64 = 0x0030_0000_0000_0000;

impl RegisterId {
    /// `ICC_CTLR_EL1` of the vGIC: `KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS`.
    pub const ICC_CTLR: Self = Self::surrounding(7, 6, 0xc664);
    /// `GICD_IIDR` of a `GICv3`: `KVM_DEV_ARM_VGIC_GRP_DIST_REGS`.
    pub const GICD_IIDR: Self = Self::surrounding(7, 1, 8);
    /// `GICD_TYPER2` of a `GICv3`, whose nASSGIcap says that there may be SGIs without an active state (`GICv4.1`).
    pub const GICD_TYPER2: Self = Self::surrounding(7, 1, 12);
    /// `GITS_IIDR`: `KVM_DEV_ARM_VGIC_GRP_ITS_REGS`.
    pub const GITS_IIDR: Self = Self::surrounding(8, 8, 4);
    /// Where steal time is kept: `KVM_ARM_VCPU_PVTIME_CTRL`.
    pub const PVTIME_IPA: Self = Self::surrounding(0, 2, 0);
    /// A `GICv2` in the kernel (`KVM_DEV_TYPE_ARM_VGIC_V2`), whatever its state.
    pub const VGIC_V2: Self = Self::surrounding(5, 0xffff, 0);
    /// `CNTFRQ_EL0`, which KVM does not virtualise.
    pub const CNTFRQ: Self = Self::surrounding(0x80, 0, 0xdf00);
    /// The bits of guest addresses (`KVM_CAP_ARM_VM_IPA_SIZE`, the type of `KVM_CREATE_VM`): those of the VM, and the most of a host.
    pub const IPA_BITS: Self = Self::surrounding(0x81, 0, 165);
    /// The bytes of a page of the host, to which QEMU rounds up its blocks of RAM.
    pub const PAGE_SIZE: Self = Self::surrounding(0x82, 0, 0);
    /// The set of SVE vector lengths, 512 bits.
    pub const SVE_VLS: Self = Self(0x6060_0000_0015_ffff);

    /// The first vector register, 128 bits.
    pub const V0: Self = Self(0x6040_0000_0010_0054);
    /// PSTATE, whose low bits are the mode of the vCPU.
    pub const PSTATE: Self = Self(0x6030_0000_0010_0042);
    /// The program counter.
    pub const PC: Self = Self(0x6030_0000_0010_0040);

    /// The id of X register number `index`.
    pub const fn general(index: u64) -> Self {
        Self(ARCHITECTURE_ARM64 | SIZE_U64 | 0x0010_0000 | (2 * index))
    }

    /// The number of a general register: 0 to 30.
    pub(crate) const fn general_number(self) -> Option<u64> {
        let offset = self.0.wrapping_sub(Self::general(0).0);
        if offset <= 2 * 30 && offset.is_multiple_of(2) { Some(offset / 2) } else { None }
    }

    /// Wraps a raw id; every number is an id, known or not.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The id of a system register by its encoding.
    pub const fn system(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> Self {
        Self(ARCHITECTURE_ARM64 | SIZE_U64 | 0x0013_0000 | op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2)
    }

    /// The id of firmware register number `index`.
    pub const fn firmware(index: u64) -> Self {
        Self(ARCHITECTURE_ARM64 | SIZE_U64 | 0x0014_0000 | index)
    }

    /// The id of firmware bitmap number `index`.
    pub const fn firmware_bitmap(index: u64) -> Self {
        Self(ARCHITECTURE_ARM64 | SIZE_U64 | 0x0016_0000 | index)
    }

    /// The id of CCSIDR number `index`.
    pub const fn ccsidr(index: u64) -> Self {
        Self(0x6020_0000_0011_0000 | index)
    }

    /// The id that stands for an attribute of a device in the kernel: the type of the device (`KVM_DEV_TYPE_*`; 0: the vCPU), the
    /// group and the attribute, as `KVM_SET_DEVICE_ATTR` has them. Types from 0x80 on are no devices.
    const fn surrounding(device: u64, group: u64, attribute: u64) -> Self {
        Self(SURROUNDINGS | SIZE_U64 | device << 32 | group << 16 | attribute)
    }

    /// The number itself.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Width of the register in bytes, from bits 52..55 of the id.
    pub const fn size(self) -> usize {
        1 << (self.0 >> 52 & 15)
    }

    /// The group of the register.
    pub const fn group(self) -> Group {
        if self.0 >> 60 != ARCHITECTURE_ARM64 >> 60 {
            // Any other such number is what it is to KVM: no register.
            return match self {
                Self::ICC_CTLR
                | Self::GICD_IIDR
                | Self::GICD_TYPER2
                | Self::GITS_IIDR
                | Self::PVTIME_IPA
                | Self::VGIC_V2
                | Self::CNTFRQ
                | Self::IPA_BITS
                | Self::PAGE_SIZE => Group::Surrounding,
                _ => Group::Other,
            };
        }
        match self.0 >> 16 & 0x0fff {
            0x10 => Group::Core,
            0x11 => Group::Demux,
            0x13 => Group::System,
            0x14 => Group::Firmware,
            0x15 => Group::Sve,
            0x16 => Group::FirmwareBitmap,
            _ => Group::Other,
        }
    }

    /// Whether the upper half of the id is one that KVM on arm64 looks at: its architecture and a size, nothing else.
    pub const fn is_arm64(self) -> bool {
        const SIZE: u64 = 0x00f0_0000_0000_0000;
        self.0 >> 32 << 32 & !SIZE == ARCHITECTURE_ARM64
    }

    /// Whether this is a field of `struct kvm_regs`, with its width: X0 to X30, SP, PC, PSTATE, `SP_EL1`, `ELR_EL1` and the
    /// SPSRs (8 bytes), V0 to V31 (16), FPSR and FPCR (4). Every vCPU has them, but for V registers under SVE.
    pub(crate) const fn is_core_field(self) -> bool {
        if !matches!(self.group(), Group::Core) {
            return false;
        }
        let offset = self.0 & 0xffff;
        match offset {
            0x00..=0x50 => self.size() == 8 && offset.is_multiple_of(2),
            0x54..=0xd3 => self.size() == 16 && offset.is_multiple_of(4),
            0xd4 | 0xd5 => self.size() == 4,
            _ => false,
        }
    }

    /// Whether a core id lies inside of `struct kvm_regs`, which has 216 words of 4 bytes.
    pub(crate) const fn is_inside_core(self) -> bool {
        const WORDS: u64 = 216;
        let words = 1 << (self.0 >> 52 & 15) >> 2;
        (self.0 & 0xffff) + words < WORDS
    }

    /// Whether this is core or SVE state. The set of vector lengths is none: it configures the vCPU.
    pub(crate) fn is_state(self) -> bool {
        matches!(self.group(), Group::Core | Group::Sve) && self != Self::SVE_VLS
    }

    /// Whether this is the id of an SVE register: the set of vector lengths, or a slice of Z, P or FFR.
    pub(crate) const fn is_sve(self) -> bool {
        self.0 == Self::SVE_VLS.0
            || matches!(self.0, 0x6080_0000_0015_0000..=0x6080_0000_0015_03ff)
            || matches!(self.0, 0x6050_0000_0015_0400..=0x6050_0000_0015_061f)
    }

    /// Whether this stands for something beside the registers of a vCPU: no list of registers has it.
    pub const fn is_surrounding(self) -> bool {
        matches!(self.group(), Group::Surrounding)
    }

    /// op0, op1, `CRn`, `CRm` and op2 of a system register.
    pub const fn encoding(self) -> [u64; 5] {
        let low = self.0;
        [low >> 14 & 3, low >> 11 & 7, low >> 7 & 15, low >> 3 & 15, low & 7]
    }
}

impl fmt::Display for RegisterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for RegisterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads the id of a register that can exist.
pub(crate) fn parse_id(text: &str) -> Result<RegisterId, String> {
    let id = parse_any_id(text)?;
    check_size(id)?;
    Ok(id)
}

/// Reads an id of a register: what stands beside registers has names, see [`crate::capture::surrounding_at`].
pub(crate) fn parse_register(text: &str) -> Result<RegisterId, String> {
    let id = parse_id(text)?;
    if id.is_surrounding() {
        return Err(format!(
            "`{text}` is not the id of a register; what stands beside registers is named in `surroundings`"
        ));
    }
    Ok(id)
}

/// Reads any 64-bit number as an id, as a probe may write ids that cannot exist.
pub(crate) fn parse_any_id(text: &str) -> Result<RegisterId, String> {
    // A sign is a digit to `from_str_radix`, and so is any number of zeros.
    let are_digits = |digits: &&str| digits.len() <= 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = text.strip_prefix("0x").filter(are_digits).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number
        .map(RegisterId::new)
        .ok_or_else(|| format!("`{text}` is not a register id: expected 0x and up to 16 hexadecimal digits"))
}

/// KVM knows registers of 1 to 256 bytes.
pub(crate) fn check_size(id: RegisterId) -> Result<(), String> {
    if id.size() > 256 {
        return Err(format!("the size field of register id {id} says {} bytes, expected at most 256", id.size()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PSCI: RegisterId = RegisterId::firmware(0);

    #[test]
    fn ids_are_built_as_kvm_numbers_them() {
        assert_eq!(RegisterId::firmware(3).raw(), 0x6030_0000_0014_0003);
        assert_eq!(RegisterId::firmware_bitmap(2).raw(), 0x6030_0000_0016_0002);
        assert_eq!(RegisterId::system(3, 0, 0, 4, 0).raw(), 0x6030_0000_0013_c020);
        assert_eq!(RegisterId::system(3, 3, 0, 0, 1).raw(), 0x6030_0000_0013_d801);
        assert_eq!(RegisterId::system(3, 0, 0, 4, 0).encoding(), [3, 0, 0, 4, 0]);
        assert_eq!(RegisterId::general(0).raw(), 0x6030_0000_0010_0000);
        assert_eq!(RegisterId::general(30).general_number(), Some(30));
        for other in [RegisterId::PC, RegisterId::PSTATE, RegisterId::new(0x6030_0000_0010_0001), RegisterId::SVE_VLS] {
            assert_eq!(other.general_number(), None);
        }
        assert_eq!(RegisterId::SVE_VLS.size(), 64);
        assert_eq!(RegisterId::SVE_VLS.group(), Group::Sve);
        assert_eq!(RegisterId::new(0x4030_0000_0014_0000).group(), Group::Other);
    }

    #[test]
    fn ids_outside_of_their_group_are_told() {
        assert!(PSCI.is_arm64() && RegisterId::SVE_VLS.is_arm64());
        for raw in [0, 0x4030_0000_0014_0000, 0x7030_0000_0014_0000, 0x6030_0001_0014_0000, u64::MAX] {
            assert!(!RegisterId::new(raw).is_arm64(), "{raw:#x}");
        }
        assert!(RegisterId::new(0x6030_0000_0010_00d4).is_inside_core());
        assert!(RegisterId::new(0x6030_0000_0010_00d5).is_inside_core());
        assert!(!RegisterId::new(0x6030_0000_0010_00d6).is_inside_core());
        assert!(!RegisterId::new(0x6030_0000_0010_ffff).is_inside_core());
        for (id, field) in [
            (0x6030_0000_0010_0040, true),
            (0x6030_0000_0010_0041, false),
            (0x6020_0000_0010_0040, false),
            (0x6030_0000_0010_0050, true),
            (0x6030_0000_0010_0052, false),
            (0x6040_0000_0010_0054, true),
            (0x6040_0000_0010_00d0, true),
            (0x6040_0000_0010_00d2, false),
            (0x6020_0000_0010_00d5, true),
            (0x6030_0000_0010_00d4, false),
            (0x6030_0000_0013_0040, false),
        ] {
            assert_eq!(RegisterId::new(id).is_core_field(), field, "{id:#x}");
        }
        for raw in [u64::MAX, 0xf000_0000_0000_0000, 0xf030_0007_0006_c665, 0xe030_0007_0006_c664] {
            assert_eq!(RegisterId::new(raw).group(), Group::Other, "{raw:#x}");
        }
        assert_eq!(RegisterId::new(0xf030_0007_0006_c664).group(), Group::Surrounding);
        for raw in [0x6080_0000_0015_0000, 0x6050_0000_0015_0600, 0x6060_0000_0015_ffff] {
            assert!(RegisterId::new(raw).is_sve(), "{raw:#x}");
        }
        for raw in [0x6030_0000_0015_0000, 0x6070_0000_0015_0400, 0x6080_0000_0015_ffff, 0x6050_0000_0015_0000] {
            assert!(!RegisterId::new(raw).is_sve(), "{raw:#x}");
        }
    }
}
