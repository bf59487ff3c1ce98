//! The table of VMMs: one row for each release whose restore is known, and for each name without a release.
//!
//! A row says everything that differs between VMMs; [`crate::Policy`] is a handle to one. QEMU was read in
//! `target/arm/machine.c`, `kvm.c` and `cpu64.c` and measured in 482 real loads; Firecracker in
//! `src/vmm/src/arch/aarch64/` (`vcpu.rs`, `vm.rs`), cloud-hypervisor in `hypervisor/src/kvm/` and `vmm/src/cpu.rs`,
//! both measured in 543 real loads; crosvm in `hypervisor/src/kvm/aarch64.rs` and `aarch64/src/lib.rs`.

use crate::capabilities;
use crate::catalog::{self, Kind};
use crate::id::{Group, RegisterId};
use crate::surroundings::{self, Handled, Handling, Surrounding};
use crate::vcpu::{MTE, PMU_V3, SVE, VcpuConfig, WRITABLE_IMP_ID_REGS};

/// What is known of one VMM, or of all its releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmmRow {
    /// The name used everywhere (`vmm=`).
    pub name: &'static str,
    /// The rows as which a name without a release is judged; empty for a release, which is judged as itself.
    pub releases: &'static [&'static str],
    /// Where the rule is known from.
    pub source: &'static str,
    /// Whether real loads of it, or of releases on both sides with the same rule, were compared; of a name without a release,
    /// of all that it may be.
    pub measured: bool,
    /// What a release restores beside registers, or relies on, and no verdict says; see [`VmmRow::not_judged`].
    leaves_open: &'static [Surrounding],
    /// How a release restores; of a name without a release, how the first of its releases does.
    pub(crate) rule: VmmRule,
}

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

const PTRAUTH: u32 = 0b11 << 5;
const HAS_EL2: u32 = 1 << 7;
const HAS_EL2_E2H0: u32 = 1 << 8;
const HOST_PMU: (u32, &[u32]) = (PMU_V3, &[capabilities::PMU_V3]);
const HOST_SVE: (u32, &[u32]) = (SVE, &[capabilities::SVE]);
const HOST_PTRAUTH: (u32, &[u32]) = (PTRAUTH, &[capabilities::PTRAUTH_ADDRESS, capabilities::PTRAUTH_GENERIC]);

const ALL: &[Group] =
    &[Group::Core, Group::Demux, Group::System, Group::Firmware, Group::Sve, Group::FirmwareBitmap, Group::Other];

const KVM: VmmRule = VmmRule {
    list_test: ListTest::None,
    carries: ALL,
    longest_list: usize::MAX,
    order: Order::Ascending,
    vgic_first: true,
    features: Features::Saved,
    enables: Enables::Saved,
    cannot: &[],
    settings: Settings::None,
    beside: surroundings::HANDLED,
};

/// `kvm_arm_enable_mte` adds a blocker of migrations (`target/arm/kvm.c`, read in a tree of after 10.0); releases before it have no MTE
/// under KVM (7.2 read).
const NO_MTE: Cannot =
    Cannot::Enabled(MTE, "QEMU blocks migrations of VMs with MTE, and before that had no MTE under KVM");
/// No release asks for `HAS_EL2_E2H0` (the patches of `virtualization=on` with KVM ask for `HAS_EL2` alone, read).
const NO_E2H0: Cannot = Cannot::Feature(HAS_EL2_E2H0, "QEMU makes no vCPU with HAS_EL2_E2H0");
/// `machvirt_init` of `hw/arm/virt.c` refused `virtualization=on` but for TCG (read in 7.2, 10.0); the patches for KVM are of after 10.0.
const NO_EL2: Cannot = Cannot::Feature(HAS_EL2, "QEMU up to 10.0 makes no vCPU with a virtual EL2 under KVM");

const QEMU_MERGE: VmmRule = VmmRule {
    list_test: ListTest::Merge,
    order: Order::ListThenCore,
    // Core and SVE registers travel elsewhere; vector lengths come from the target's own -cpu line.
    carries: &[Group::Demux, Group::System, Group::Firmware, Group::FirmwareBitmap, Group::Other],
    beside: surroundings::HANDLED_BY_QEMU,
    cannot: &[NO_MTE, NO_E2H0],
    ..KVM
};

const QEMU_WITHOUT_EL2: VmmRule = VmmRule { cannot: &[NO_MTE, NO_E2H0, NO_EL2], ..QEMU_MERGE };

const QEMU_TOLERANT: VmmRule = VmmRule { list_test: ListTest::Tolerant, settings: Settings::Properties, ..QEMU_MERGE };

const NO_PMU: &str = "Firecracker does not initialise a PMU: it cannot restore a vCPU with one";

const FIRECRACKER: VmmRule = VmmRule {
    order: Order::Saved,
    enables: Enables::WhereOffered(&[]),
    cannot: &[Cannot::Feature(PMU_V3, NO_PMU)],
    settings: Settings::Modifiers,
    beside: surroundings::HANDLED_BY_FIRECRACKER,
    ..KVM
};

const FIRECRACKER_WRITABLE_IDS: VmmRule = VmmRule {
    enables: Enables::WhereOffered(&[(WRITABLE_IMP_ID_REGS, capabilities::WRITABLE_IMP_ID_REGS)]),
    ..FIRECRACKER
};

const LEAVE_SVE_OUT: Cannot = Cannot::LeaveSveOut(
    "cloud-hypervisor makes an SVE vCPU on this host, whose V registers cannot be written (EINVAL)",
);

const CLOUD_HYPERVISOR: VmmRule = VmmRule {
    longest_list: 500,
    order: Order::CoreThenSaved,
    vgic_first: false,
    features: Features::OfTarget { offered: &[HOST_PMU, HOST_SVE], configured: 0 },
    enables: Enables::WhereOffered(&[]),
    cannot: &[LEAVE_SVE_OUT],
    beside: surroundings::HANDLED_BY_CLOUD_HYPERVISOR,
    ..KVM
};

const CLOUD_HYPERVISOR_WITHOUT_SVE: VmmRule = VmmRule {
    cannot: &[Cannot::Feature(SVE, "cloud-hypervisor before 53.0 cannot save a vCPU with SVE"), LEAVE_SVE_OUT],
    beside: surroundings::HANDLED_BY_CLOUD_HYPERVISOR_52,
    ..CLOUD_HYPERVISOR
};

const CROSVM: VmmRule = VmmRule {
    carries: &[Group::Core, Group::System, Group::Demux, Group::Firmware],
    order: Order::Groups,
    // Pointer authentication needs both of its capabilities; a virtual EL2 is asked for by the VM's configuration; SVE is on
    // where it is offered (`sve_auto_default`, arch/src/lib.rs).
    features: Features::OfTarget { offered: &[HOST_PMU, HOST_SVE, HOST_PTRAUTH], configured: HAS_EL2 },
    cannot: &[
        Cannot::Feature(SVE, "crosvm cannot save a vCPU with SVE"),
        Cannot::LeaveSveOut("crosvm makes an SVE vCPU on this host, whose V registers cannot be written (EINVAL)"),
    ],
    beside: surroundings::HANDLED_BY_CROSVM,
    ..KVM
};

const fn release(
    name: &'static str,
    source: &'static str,
    measured: bool,
    (rule, leaves_open): (VmmRule, &'static [Surrounding]),
) -> VmmRow {
    VmmRow { name, releases: &[], source, measured, leaves_open, rule }
}

const fn family(name: &'static str, releases: &'static [&'static str], measured: bool, rule: VmmRule) -> VmmRow {
    let source = "as each of its releases; unknown where they differ";
    VmmRow { name, releases, source, measured, leaves_open: &[], rule }
}

const BETWEEN: &str = "between two measured releases with the same rule";
const MERGE: (VmmRule, &[Surrounding]) = (QEMU_MERGE, surroundings::QEMU);
const MERGE_10: (VmmRule, &[Surrounding]) = (QEMU_WITHOUT_EL2, surroundings::QEMU);
const FC: (VmmRule, &[Surrounding]) = (FIRECRACKER, surroundings::FIRECRACKER);
const CH: (VmmRule, &[Surrounding]) = (CLOUD_HYPERVISOR, surroundings::CLOUD_HYPERVISOR);

/// All rows, in the order in which they are listed.
pub(crate) static VMMS: &[VmmRow] = &[
    release(
        "kvm",
        "every saved register is written, errors do not stop the others",
        true,
        (KVM, surroundings::EVERYWHERE),
    ),
    family("qemu", &["qemu-10.0", "qemu-10.2", "qemu-11.1"], true, QEMU_WITHOUT_EL2),
    release("qemu-7.2", "read in 7.2, measured", true, MERGE_10),
    release("qemu-8.2", BETWEEN, true, MERGE_10),
    release("qemu-9.2", BETWEEN, true, MERGE_10),
    release("qemu-10.0", "read in 10.0, measured", true, MERGE_10),
    release("qemu-10.1", BETWEEN, true, MERGE),
    release("qemu-10.2", "read in 10.2, measured; names the registers that KVM refuses", true, MERGE),
    VmmRow {
        source: "not read: judged as 10.2 and as 11.1, unknown where they differ",
        ..family("qemu-11.0", &["qemu-10.2", "qemu-11.1"], false, QEMU_MERGE)
    },
    release("qemu-11.1", "disassembled and measured", true, (QEMU_TOLERANT, surroundings::QEMU)),
    family("firecracker", &["firecracker-1.12", "firecracker-1.16", "firecracker-1.17"], false, FIRECRACKER),
    release("firecracker-1.12", "read in 1.12.0, measured; a PMU fails its first KVM_RUN", true, FC),
    release("firecracker-1.16", "read in 1.16.1, measured; a PMU is refused at start", true, FC),
    release(
        "firecracker-1.17",
        "read in the development tree after 21 August 2026 (pull request 6116), which is 1.17.0-dev",
        false,
        (FIRECRACKER_WRITABLE_IDS, surroundings::FIRECRACKER),
    ),
    family("cloud-hypervisor", &["cloud-hypervisor-52", "cloud-hypervisor-53"], false, CLOUD_HYPERVISOR_WITHOUT_SVE),
    release("cloud-hypervisor-52", "read in 52.0", false, (CLOUD_HYPERVISOR_WITHOUT_SVE, surroundings::EVERYWHERE)),
    release("cloud-hypervisor-53", "read in 53.0, measured", true, CH),
    release("crosvm", "read in the tree of 21 August 2026", false, (CROSVM, surroundings::CROSVM)),
];

impl VmmRow {
    /// The rows as which this one is judged.
    pub(crate) fn each(&self) -> impl Iterator<Item = &'static Self> {
        let is_meant = |row: &&Self| {
            if self.releases.is_empty() { row.name == self.name } else { self.releases.contains(&row.name) }
        };
        VMMS.iter().filter(is_meant)
    }

    /// What it restores beside registers, or relies on, and no verdict says: what any of its releases leaves open, as the latest
    /// of them does.
    pub fn not_judged(&self) -> Vec<Surrounding> {
        let mut found: Vec<Surrounding> = Vec::new();
        for beside in self.each().flat_map(|row| row.leaves_open) {
            match found.iter_mut().find(|known| known.word == beside.word) {
                Some(known) => *known = *beside,
                None => found.push(*beside),
            }
        }
        found
    }

    /// Whether two releases restore alike, and leave the same open.
    pub(crate) fn is_judged_as(&self, other: &Self) -> bool {
        self.rule == other.rule && self.leaves_open == other.leaves_open
    }
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
        Some(VcpuConfig { features, enabled, vgic: saved.vgic && self.vgic_first })
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
