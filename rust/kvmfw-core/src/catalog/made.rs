//! Names that follow from a register's number, as the architecture has them.

use crate::id::{Group, RegisterId};

/// The name of a register that KVM has many of, or keeps without a look at it; `None` where its number alone names it.
pub(super) fn name_by_number(id: RegisterId) -> Option<String> {
    match id.group() {
        Group::System => system(id.encoding()),
        Group::Core if id.is_core_field() => core(id.raw() & 0xffff),
        Group::Sve => sve(id.raw() & 0xffff, id.size()),
        _ => None,
    }
}

fn system(encoding: [u64; 5]) -> Option<String> {
    const KEYS: [&str; 5] = ["APIA", "APIB", "APDA", "APDB", "APGA"];
    Some(match encoding {
        [2, 0, 0, number, op2 @ 4..=7] => {
            format!("DBG{}{number}_EL1", ["BVR", "BCR", "WVR", "WCR"][usize::try_from(op2 - 4).ok()?])
        }
        [2, 0, 0, 2, 0] => "MDCCINT_EL1".to_owned(),
        [2, 0, 0, 2, 2] => "MDSCR_EL1".to_owned(),
        [2, 4, 0, 7, 0] => "DBGVCR32_EL2".to_owned(),
        [3, 0, 2, crm @ 1..=3, op2 @ 0..=3] => {
            let key = KEYS.get(usize::try_from((crm - 1) * 2 + op2 / 2).ok()?)?;
            format!("{key}KEY{}_EL1", if op2 % 2 == 0 { "LO" } else { "HI" })
        }
        [3, 3, 14, crm @ 12..=15, op2] if (crm, op2) != (15, 7) => format!("PMEVTYPER{}_EL0", (crm & 3) * 8 + op2),
        _ => return None,
    })
}

/// Of `struct kvm_regs`, in words of 4 bytes (`arch/arm64/include/uapi/asm/kvm.h`).
fn core(offset: u64) -> Option<String> {
    const BANKS: [&str; 5] = ["SPSR_EL1", "SPSR_ABT", "SPSR_UND", "SPSR_IRQ", "SPSR_FIQ"];
    Some(match offset {
        0x3e => "SP_EL0".to_owned(),
        0x44 => "SP_EL1".to_owned(),
        0x46 => "ELR_EL1".to_owned(),
        0x48..=0x50 => (*BANKS.get(usize::try_from((offset - 0x48) / 2).ok()?)?).to_owned(),
        0x54..=0xd3 => format!("V{}", (offset - 0x54) / 4),
        0xd4 => "FPSR".to_owned(),
        0xd5 => "FPCR".to_owned(),
        _ => return None,
    })
}

/// The first slice of each; KVM has no other (`KVM_ARM64_SVE_MAX_SLICES`).
fn sve(number: u64, size: usize) -> Option<String> {
    match (number, size) {
        (0..=0x3e0, 256) if number.is_multiple_of(0x20) => Some(format!("Z{}", number / 0x20)),
        (0x400..=0x5e0, 32) if number.is_multiple_of(0x20) => Some(format!("P{}", (number - 0x400) / 0x20)),
        (0x600, 32) => Some("FFR".to_owned()),
        _ => None,
    }
}
