//! What VMMs can be told to make of the registers that a VM starts with.

use crate::catalog::{self, Kind};
use crate::id::{Group, RegisterId};
use crate::rules;
use crate::vmms::{Settings, VmmRow};

impl VmmRow {
    /// The bits of `register` that the VMM can be told for VMs to come; what KVM takes of them, KVM decides.
    pub fn settable(&self, register: RegisterId) -> u128 {
        let of_release = |row: &Self| match row.rule.settings {
            Settings::None => 0,
            Settings::Properties if register == catalog::PSCI_VERSION => u128::from(u64::MAX),
            Settings::Properties => properties(register),
            Settings::Modifiers => modifiers(register),
        };
        self.each().map(of_release).reduce(|all, bits| all & bits).unwrap_or(0)
    }
}

fn properties(register: RegisterId) -> u128 {
    let is_set = matches!(catalog::kind_of(register), Kind::Identification | Kind::CacheType);
    let fields = rules::named_fields(register).into_iter().filter(|_| is_set);
    fields.fold(0, |bits, (_, shift, width)| bits | ((1 << width) - 1) << shift)
}

fn modifiers(register: RegisterId) -> u128 {
    match (register.group(), register.size()) {
        (Group::System | Group::Firmware | Group::FirmwareBitmap, size @ 1..=16) => u128::MAX >> (128 - 8 * size),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    #[test]
    fn each_vmm_sets_what_its_settings_name() {
        let settable = |vmm: &str, register| Policy::from_name(vmm).unwrap().row().settable(register);
        let (word, dfr0) = (u128::from(u64::MAX), catalog::ID_AA64DFR0);
        for (vmm, register, bits) in [
            ("qemu-11.1", catalog::PSCI_VERSION, word),
            ("qemu-11.1", catalog::WORKAROUND_3, 0),
            ("qemu-11.1", catalog::MIDR, 0),
            ("qemu-11.1", dfr0, 0x00ff_f0f0_ff0f),
            ("qemu-10.2", dfr0, 0),
            ("firecracker-1.16", dfr0, word),
            ("firecracker", RegisterId::firmware_bitmap(0), word),
            ("firecracker", RegisterId::PSTATE, 0),
            ("firecracker", RegisterId::ccsidr(0), 0),
            ("crosvm", dfr0, 0),
        ] {
            assert_eq!(settable(vmm, register), bits, "{vmm} {register} {:#x}", settable(vmm, register));
        }
    }
}
