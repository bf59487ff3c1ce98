//! How a VMM restores: all that a judgement looks at.

use crate::catalog::{self, Kind};
use crate::id::{Group, RegisterId};
use crate::surroundings::{Handled, Handling};
use crate::vcpu::{SVE, VcpuConfig};

/// How a VMM restores a register set: all that a judgement looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct VmmRule {
    /// What it does with registers that only one side has.
    pub(crate) list_test: ListTest,
    /// The groups of registers that it writes with `KVM_SET_ONE_REG` as they were saved.
    pub(crate) carries: &'static [Group],
    /// The greatest number of registers that it can save.
    pub(crate) longest_list: usize,
    /// In which order it writes.
    pub(crate) order: Order,
    /// Whether the vGIC is made before the registers are written.
    pub(crate) vgic_first: bool,
    /// Where the features of the target's vCPU come from.
    pub(crate) features: Features,
    /// Which capabilities it enables on the VM before its first vCPU.
    pub(crate) enables: Enables,
    /// What it cannot do, whatever KVM says.
    pub(crate) cannot: &'static [Cannot],
    /// What it can be told to make of the registers that a VM starts with.
    pub(crate) settings: Settings,
    /// What it does with what stands beside registers.
    pub(crate) beside: Handled,
}

/// What a VMM can be told to make of the registers that a VM starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Settings {
    /// Nothing that is known.
    None,
    /// QEMU's `SYSREG_*` properties: the named fields of ID registers; and `kvm-psci-version`.
    Properties,
    /// `reg_modifiers` of Firecracker's CPU templates: system and firmware registers of up to 16 bytes.
    Modifiers,
}

/// What a VMM does with registers that only one side has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ListTest {
    /// KVM answers for each.
    None,
    /// A length test, then a merge walk that drops the tail silently; the target's own list is written.
    Merge,
    /// The last register that only the stream has decides; the target's own list is written.
    Tolerant,
}

/// In which order a VMM writes. `SVE_VLS` is always the first: afterwards the vCPU is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    /// Ascending by id.
    Ascending,
    /// Ascending by id, core registers last.
    ListThenCore,
    /// As saved: the order of `KVM_GET_REG_LIST` on the source, with firmware before system registers.
    Saved,
    /// Core registers, then V registers or SVE state, then the others as saved.
    CoreThenSaved,
    /// Core, system registers, CCSIDR, firmware.
    Groups,
}

/// Where the features of the target's vCPU come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Features {
    /// The set: the VMM asks for what the vCPU was made with.
    Saved,
    /// The target: `psci_0_2`, and the bits whose capabilities all are there. The bits `configured` stay as saved.
    OfTarget { offered: &'static [(u32, &'static [u32])], configured: u32 },
}

/// Which capabilities a VMM enables on the VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Enables {
    /// Those of the saved VM: the VMM's configuration tells.
    Saved,
    /// These bits of [`crate::ENABLED`] where the target reports the capability, and no others.
    WhereOffered(&'static [(u8, u32)]),
}

/// What a VMM cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cannot {
    /// Save or restore a vCPU with this feature bit.
    Feature(u32, &'static str),
    /// Save or restore a VM with this bit of [`crate::ENABLED`].
    Enabled(u8, &'static str),
    /// Restore a vCPU without SVE on a host where it makes one with SVE: its V registers are EINVAL.
    LeaveSveOut(&'static str),
}

impl VmmRule {
    /// Whether the registers of the target that the set lacks are written with the target's defaults.
    pub(crate) const fn writes_own_list(&self) -> bool {
        match self.list_test {
            ListTest::None => false,
            ListTest::Merge | ListTest::Tolerant => true,
        }
    }

    /// Whether the VMM carries `register` in its list of registers and writes it with `KVM_SET_ONE_REG`.
    pub(crate) fn carries(&self, register: RegisterId) -> bool {
        self.carries.contains(&register.group())
    }

    /// What the VMM does with something beside registers; `None` where it does nothing that is known.
    pub(crate) fn handles(&self, id: RegisterId) -> Option<Handling> {
        self.beside.iter().find(|(known, _)| *known == id).map(|(_, handling)| *handling)
    }

    /// Whether KVM judges `register` of a set, be it written from the list or, as QEMU writes core and SVE state, by other
    /// means.
    pub(crate) fn asks_kvm(&self, register: RegisterId) -> bool {
        self.carries(register) || register.is_state() && catalog::kind_of(register) != Kind::Plain
    }

    /// Whether the VMM restores `register` by other means than its list, so that a set without it does not say that it is left at
    /// a default. QEMU has SVE state in a section of its own, and vector lengths from the target's command line.
    pub(crate) fn restores_elsewhere(&self, register: RegisterId) -> bool {
        self.list_test != ListTest::None && matches!(register.group(), Group::Core | Group::Sve)
    }

    /// Whether a VM with the capabilities of `saved` can be of this VMM.
    pub(crate) fn may_have_made(&self, saved: VcpuConfig) -> bool {
        match self.enables {
            Enables::Saved => true,
            Enables::WhereOffered(bits) => bits.iter().fold(saved.enabled, |left, (bit, _)| left & !bit) == 0,
        }
    }

    /// Whether `register` is written before the ID registers, so that KVM judges it by the host's own fields.
    pub(crate) fn before_id_registers(&self, register: RegisterId) -> bool {
        match self.order {
            Order::Ascending | Order::ListThenCore | Order::Groups => false,
            Order::Saved | Order::CoreThenSaved => register.group() == Group::Firmware,
        }
    }

    /// How the target's vCPU is made for a VM whose vCPU was made like `saved`; `offers` says whether the target reports
    /// a capability, where that is known. `None` where the VMM makes it by capabilities that are not known.
    pub(crate) fn target_config(&self, saved: VcpuConfig, offers: impl Fn(u32) -> Option<bool>) -> Option<VcpuConfig> {
        let features = match self.features {
            Features::Saved => saved.features,
            Features::OfTarget { offered, configured } => {
                features_of_target(offered, &offers)? | saved.features & configured
            }
        };
        let enabled = match self.enables {
            Enables::Saved => saved.enabled,
            Enables::WhereOffered(bits) => {
                let offered = bits.iter().filter(|(_, capability)| offers(*capability) == Some(true));
                offered.fold(0, |enabled, (bit, _)| enabled | bit)
            }
        };
        Some(VcpuConfig { features, enabled, vgic: saved.vgic && self.vgic_first, vmm: None })
    }

    /// Why this VMM cannot restore such a vCPU at all, whatever the target's KVM says, and at which register it fails.
    pub(crate) fn impossible(
        &self,
        saved: VcpuConfig,
        target: VcpuConfig,
    ) -> Option<(&'static str, Option<RegisterId>)> {
        self.cannot.iter().find_map(|cannot| match *cannot {
            Cannot::Feature(bit, why) => (saved.features & bit != 0).then_some((why, None)),
            Cannot::Enabled(bit, why) => (saved.enabled & bit != 0).then_some((why, None)),
            Cannot::LeaveSveOut(why) => {
                (target.features & SVE != 0 && saved.features & SVE == 0).then_some((why, Some(RegisterId::V0)))
            }
        })
    }
}

fn features_of_target(offered: &[(u32, &[u32])], offers: impl Fn(u32) -> Option<bool>) -> Option<u32> {
    const PSCI_0_2: u32 = 1 << 2;
    offered.iter().try_fold(PSCI_0_2, |features, (bits, capabilities)| {
        let known = capabilities.iter().map(|number| offers(*number)).collect::<Option<Vec<bool>>>()?;
        Some(features | if known.iter().all(|has| *has) { *bits } else { 0 })
    })
}
