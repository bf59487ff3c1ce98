//! The table of VMMs: one row for each release whose restore is known, and for each name without a release.
//!
//! A row says everything that differs between VMMs; [`crate::Policy`] is a handle to one. QEMU was read in
//! `target/arm/machine.c`, `kvm.c` and `cpu64.c` and measured in 482 real loads; Firecracker in
//! `src/vmm/src/arch/aarch64/` (`vcpu.rs`, `vm.rs`; of 1.13 to 1.15 `vcpu.rs` alone), cloud-hypervisor in
//! `hypervisor/src/kvm/` and `vmm/src/cpu.rs`, both measured in 543 real loads; crosvm in
//! `hypervisor/src/kvm/aarch64.rs` and `aarch64/src/lib.rs`.

mod rule;

use std::num::NonZeroU8;

use crate::capabilities;
use crate::id::Group;
use crate::surroundings::{self, Surrounding};
use crate::vcpu::{MTE, PMU_V3, SVE, WRITABLE_IMP_ID_REGS};
pub(crate) use rule::{Cannot, Enables, Features, ListTest, Order, Settings, VmmRule};

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

/// What a fleet says of itself whose pairs are each judged by the VMM of their own.
pub(crate) static OWN: VmmRow = release(
    "own",
    "each pair as the VMM of its host restores, else that of its VM",
    true,
    (KVM, surroundings::EVERYWHERE),
);

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
    release("firecracker-1.13", BETWEEN, true, FC),
    release("firecracker-1.14", BETWEEN, true, FC),
    release("firecracker-1.15", BETWEEN, true, FC),
    release("firecracker-1.16", "read in 1.16.1, measured; a PMU is refused at start", true, FC),
    release(
        "firecracker-1.17",
        "read in the development tree after 21 August 2026 (pull request 6116), which is 1.17.0-dev",
        false,
        (FIRECRACKER_WRITABLE_IDS, surroundings::FIRECRACKER),
    ),
    family("cloud-hypervisor", &["cloud-hypervisor-52", "cloud-hypervisor-53"], false, CLOUD_HYPERVISOR_WITHOUT_SVE),
    release(
        "cloud-hypervisor-52",
        "read in 52.0",
        false,
        (CLOUD_HYPERVISOR_WITHOUT_SVE, surroundings::CLOUD_HYPERVISOR_52),
    ),
    release("cloud-hypervisor-53", "read in 53.0, measured", true, CH),
    release("crosvm", "read in the tree of 21 August 2026", false, (CROSVM, surroundings::CROSVM)),
];

/// The number of a VMM ([`crate::Policy::number`]) by its name.
pub(crate) fn number_of(name: &str) -> Option<NonZeroU8> {
    let at = VMMS.iter().position(|row| row.name == name)?;
    NonZeroU8::new(u8::try_from(at + 1).ok()?)
}

/// The name of the VMM with this number.
pub(crate) fn name_of(number: NonZeroU8) -> Option<&'static str> {
    VMMS.get(usize::from(number.get()) - 1).map(|row| row.name)
}

impl VmmRow {
    /// The name of the VMM without a release.
    #[must_use]
    pub fn family(&self) -> &'static str {
        let is_own =
            |name: &&str| self.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        VMMS.iter().map(|row| row.name).filter(is_own).min_by_key(|name| name.len()).unwrap_or(self.name)
    }

    /// The rows as which this one is judged.
    pub(crate) fn each(&self) -> impl Iterator<Item = &'static Self> {
        let is_meant = |row: &&Self| match self.releases {
            [] => row.name == self.name || self.name == OWN.name,
            releases => releases.contains(&row.name),
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
