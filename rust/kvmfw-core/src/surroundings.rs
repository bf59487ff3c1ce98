//! What a VMM restores beside registers of vCPUs, or relies on: what it does with it, and what no verdict judges.
//!
//! The state of the interrupt controller is refused in `vgic-sys-reg-v3.c` (read, 7.3). QEMU writes it with `error_abort`, and the
//! ITS as well (`hw/intc/arm_gicv3_kvm.c` and `arm_gicv3_its_kvm.c`); it looks for a block of RAM named `pvtime` that
//! only a machine with steal time has (`hw/arm/virt.c`). Firecracker writes both (`src/vmm/src/arch/aarch64/gic/gicv3/regs`) and
//! the address of steal time (`vcpu.rs`, read in 1.16); cloud-hypervisor writes both (`hypervisor/src/kvm/aarch64/gic`) and compares
//! `CNTFRQ_EL0` since 53.0 (read).

use crate::id::RegisterId;
use crate::vcpu::SVE;

/// What a VMM does with something beside registers, and what follows where the outcome is not `ACCEPT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Handling {
    /// Lets KVM take or refuse it.
    Writes(&'static str),
    /// Makes it where the host makes no `GICv3` for VMs; where it does the VM gets one, and its state does not fit.
    PrefersV3(&'static str),
    /// Refuses by itself where the target's is another.
    Compares(&'static str),
    /// Does nothing: the guest meets the target's own.
    Leaves(&'static str),
}

impl Handling {
    /// What follows, to be added to a sentence.
    pub(crate) const fn consequence(self) -> &'static str {
        match self {
            Self::Writes(words) | Self::PrefersV3(words) | Self::Compares(words) | Self::Leaves(words) => words,
        }
    }
}

/// Whether every VM has this, as its host makes it; an ITS, steal time or a `GICv2` is what some VMs have, and how many bits
/// guest addresses have its VMM says.
pub(crate) fn is_every_vms(id: RegisterId, vgic: bool) -> bool {
    const OF_THE_HOST: [RegisterId; 2] = [RegisterId::CNTFRQ, RegisterId::PAGE_SIZE];
    const OF_A_VGIC: [RegisterId; 3] = [RegisterId::ICC_CTLR, RegisterId::GICD_IIDR, RegisterId::GICD_TYPER2];
    OF_THE_HOST.contains(&id) || vgic && OF_A_VGIC.contains(&id)
}

/// What a VMM does with everything that it knows of beside registers.
pub(crate) type Handled = &'static [(RegisterId, Handling)];

const ABORTS: &str = "; QEMU's target process aborts here";
const RUNS_WRONG: &str = "; its clock runs wrong by as much";
const KEEPS: &str = "; no VMM writes it, and a guest that read it when it started goes on with that";
const NO_BITS: &str = "; QEMU ends before it makes the VM";
const IN_THE_KERNEL: &str = ", unless the VM has it in QEMU (kernel-irqchip=off), which a stream does not tell";
const LARGER_BLOCKS: &str = "; its smallest blocks of RAM are as long as such a page, and here they are shorter";
const GETS_V3: &str =
    "; Firecracker makes a GICv3 where the host has one for VMs, and does not load the state of a GICv2 into it";
const STOPS: &str = "; cloud-hypervisor stops here";
const NO_BLOCK: &str = "; QEMU has no block of RAM named pvtime then and refuses the stream";

const IIDR_LEFT: (RegisterId, Handling) = (RegisterId::GICD_IIDR, Handling::Leaves(KEEPS));
const TYPER2_LEFT: (RegisterId, Handling) = (RegisterId::GICD_TYPER2, Handling::Leaves(KEEPS));

pub(crate) const HANDLED: Handled = &[
    (RegisterId::ICC_CTLR, Handling::Writes("")),
    (RegisterId::GICD_IIDR, Handling::Writes("")),
    (RegisterId::GICD_TYPER2, Handling::Writes("")),
    (RegisterId::GITS_IIDR, Handling::Writes("")),
    (RegisterId::PVTIME_IPA, Handling::Writes("")),
    (RegisterId::CNTFRQ, Handling::Leaves(RUNS_WRONG)),
    (RegisterId::VGIC_V2, Handling::Writes("")),
    (RegisterId::IPA_BITS, Handling::Writes("")),
];
pub(crate) const HANDLED_BY_QEMU: Handled = &[
    (RegisterId::ICC_CTLR, Handling::Writes(ABORTS)),
    IIDR_LEFT,
    TYPER2_LEFT,
    (RegisterId::GITS_IIDR, Handling::Writes(ABORTS)),
    (RegisterId::PVTIME_IPA, Handling::Writes(NO_BLOCK)),
    (RegisterId::CNTFRQ, Handling::Leaves(RUNS_WRONG)),
    (RegisterId::VGIC_V2, Handling::Writes(IN_THE_KERNEL)),
    (RegisterId::IPA_BITS, Handling::Writes(NO_BITS)),
    (RegisterId::PAGE_SIZE, Handling::Writes(LARGER_BLOCKS)),
];
pub(crate) const HANDLED_BY_FIRECRACKER: Handled = &[
    (RegisterId::ICC_CTLR, Handling::Writes("")),
    IIDR_LEFT,
    TYPER2_LEFT,
    (RegisterId::GITS_IIDR, Handling::Writes("")),
    (RegisterId::PVTIME_IPA, Handling::Writes("")),
    (RegisterId::CNTFRQ, Handling::Leaves(RUNS_WRONG)),
    (RegisterId::VGIC_V2, Handling::PrefersV3(GETS_V3)),
];
pub(crate) const HANDLED_BY_CLOUD_HYPERVISOR_52: Handled = &[
    (RegisterId::ICC_CTLR, Handling::Writes("")),
    IIDR_LEFT,
    TYPER2_LEFT,
    (RegisterId::GITS_IIDR, Handling::Writes("")),
    (RegisterId::CNTFRQ, Handling::Leaves(RUNS_WRONG)),
];
pub(crate) const HANDLED_BY_CLOUD_HYPERVISOR: Handled = &[
    (RegisterId::ICC_CTLR, Handling::Writes("")),
    IIDR_LEFT,
    TYPER2_LEFT,
    (RegisterId::GITS_IIDR, Handling::Writes("")),
    (RegisterId::CNTFRQ, Handling::Compares(STOPS)),
];
/// Steal time is made anew where the target has it (`aarch64/src/lib.rs`), and what becomes of an ITS was not read.
pub(crate) const HANDLED_BY_CROSVM: Handled = &[
    (RegisterId::ICC_CTLR, Handling::Writes("")),
    IIDR_LEFT,
    TYPER2_LEFT,
    (RegisterId::CNTFRQ, Handling::Leaves(RUNS_WRONG)),
];

/// One thing that is not judged, unless both sides recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Surrounding {
    /// Its stable name.
    pub word: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    /// What happens where source and target differ in it; empty where that is not known.
    pub why: &'static str,
    /// What the set and the capture hold where it is judged; `None` where it never is.
    pub judged_by: Option<RegisterId>,
    /// The vCPU features without which there is nothing to judge.
    pub(crate) features: u32,
}

const fn beside(
    judged_by: Option<RegisterId>,
    word: &'static str,
    what: &'static str,
    why: &'static str,
) -> Surrounding {
    Surrounding { word, what, why, judged_by, features: 0 }
}

/// What only a vCPU with SVE has.
const fn of_sve(
    judged_by: Option<RegisterId>,
    word: &'static str,
    what: &'static str,
    why: &'static str,
) -> Surrounding {
    Surrounding { features: SVE, ..beside(judged_by, word, what, why) }
}

const VGIC: Surrounding = beside(
    Some(RegisterId::ICC_CTLR),
    "vgic",
    "the CPU interface of the interrupt controller",
    "KVM refuses more priority or ID bits than the host has, another SEIS or A3V, and a GICv3 where there is none",
);
const VGIC_OF_QEMU: Surrounding =
    beside(VGIC.judged_by, "vgic", VGIC.what, "KVM refuses it as it does everywhere, and QEMU's target process aborts");
const DISTRIBUTOR: Surrounding = beside(
    Some(RegisterId::GICD_TYPER2),
    "distributor",
    "what the distributor says of itself",
    "no VMM restores GICD_IIDR and GICD_TYPER2: a guest that came from a GICv4.1 goes on with the bit that it has read",
);
const INTERRUPTS: Surrounding = beside(
    None,
    "interrupts",
    "interrupts and tables of the interrupt controller",
    "tables of an ITS lie in guest memory, and KVM refuses a restore that does not find them",
);
const FREQUENCY: Surrounding = beside(
    Some(RegisterId::CNTFRQ),
    "counter-frequency",
    "the frequency of the counter",
    "KVM takes every CNTFRQ_EL0, and the guest's clock runs wrong",
);
const FREQUENCY_REFUSED: Surrounding = beside(
    FREQUENCY.judged_by,
    FREQUENCY.word,
    FREQUENCY.what,
    "cloud-hypervisor refuses another CNTFRQ_EL0 since 53.0; before, the guest's clock runs wrong",
);
const STEAL_TIME: Surrounding = beside(Some(RegisterId::PVTIME_IPA), "steal-time", "steal time", "");
/// No VMM that does nothing with it can be judged by it.
const STEAL_TIME_UNTOLD: Surrounding = Surrounding { judged_by: None, ..STEAL_TIME };
const STEAL_TIME_SET: Surrounding = beside(
    STEAL_TIME.judged_by,
    STEAL_TIME.word,
    STEAL_TIME.what,
    "Firecracker sets its address, which a host without it refuses (ENXIO)",
);
const ADDRESSES: Surrounding = beside(
    Some(RegisterId::IPA_BITS),
    "address-size",
    "the size of guest addresses",
    "a host with fewer bits does not make a VM that needs more",
);
const PAGES: Surrounding = beside(
    Some(RegisterId::PAGE_SIZE),
    "page-size",
    "the size of the host's pages",
    "QEMU rounds its blocks of RAM up to them, and loads no stream of a host with larger ones",
);
const ADDRESSES_UNTOLD: Surrounding = Surrounding { judged_by: None, ..ADDRESSES };
const ADDRESSES_OF_QEMU: Surrounding = beside(
    None,
    "address-size",
    "guest addresses beyond the VM's memory",
    "maxmem and windows of PCI are of the target's command line: QEMU makes no VM that needs more bits than the host has, or leaves \
        the windows out",
);
const MEMORY: Surrounding = beside(None, "memory", "memory and its tags", "");
const PMU_OPTION: Surrounding = beside(None, "no-pmu", "the option --no-pmu", "");
const SNAPSHOT: Surrounding = beside(
    None,
    "snapshot-format",
    "the format of the snapshot",
    "Firecracker loads snapshots of one format only (6 in 1.12, 8 in 1.13 and 1.14, 9 in 1.15, 10 in 1.16) and refuses others \
        before it writes a register",
);
const FP_CONTROL: Surrounding = of_sve(
    None,
    "fp-control",
    "FPCR and FPSR of a vCPU with SVE",
    "cloud-hypervisor carries SVE since 53.0, and not these two: they are 0 after the restore",
);
const VECTOR_LENGTHS: Surrounding = of_sve(
    Some(RegisterId::SVE_VLS),
    "vector-lengths",
    "the vector lengths of a vCPU with SVE",
    "a stream does not tell them: the target makes those of its own -cpu line, and longer registers are cut",
);
const DEVICES: Surrounding = beside(None, "devices", "devices", "");
const GUEST: Surrounding =
    beside(None, "guest", "what the guest takes for granted", "it has seen the source's CPU and its errata");

/// What plain KVM leaves open.
pub(crate) const EVERYWHERE: &[Surrounding] =
    &[VGIC, DISTRIBUTOR, INTERRUPTS, FREQUENCY, STEAL_TIME, ADDRESSES, MEMORY, DEVICES, GUEST];
pub(crate) const QEMU: &[Surrounding] = &[
    VGIC_OF_QEMU,
    DISTRIBUTOR,
    INTERRUPTS,
    FREQUENCY,
    STEAL_TIME,
    ADDRESSES_OF_QEMU,
    PAGES,
    MEMORY,
    VECTOR_LENGTHS,
    DEVICES,
    GUEST,
];
pub(crate) const FIRECRACKER: &[Surrounding] =
    &[SNAPSHOT, VGIC, DISTRIBUTOR, INTERRUPTS, FREQUENCY, STEAL_TIME_SET, ADDRESSES_UNTOLD, MEMORY, DEVICES, GUEST];
pub(crate) const CLOUD_HYPERVISOR_52: &[Surrounding] =
    &[VGIC, DISTRIBUTOR, INTERRUPTS, FREQUENCY, STEAL_TIME_UNTOLD, ADDRESSES_UNTOLD, MEMORY, DEVICES, GUEST];
pub(crate) const CLOUD_HYPERVISOR: &[Surrounding] = &[
    VGIC,
    DISTRIBUTOR,
    INTERRUPTS,
    FREQUENCY_REFUSED,
    STEAL_TIME_UNTOLD,
    ADDRESSES_UNTOLD,
    MEMORY,
    FP_CONTROL,
    DEVICES,
    GUEST,
];
pub(crate) const CROSVM: &[Surrounding] = &[
    VGIC,
    DISTRIBUTOR,
    INTERRUPTS,
    FREQUENCY,
    STEAL_TIME_UNTOLD,
    ADDRESSES_UNTOLD,
    MEMORY,
    PMU_OPTION,
    DEVICES,
    GUEST,
];
