//! What a VMM restores beside registers of vCPUs, or relies on, and no verdict judges.
//!
//! The state of the interrupt controller is refused in `vgic-sys-reg-v3.c` (read, 7.3), and QEMU writes it with
//! `error_abort` (`hw/intc/arm_gicv3_kvm.c`, read in 11.1); Firecracker sets the address of steal time (`vcpu.rs`, read in
//! 1.16); cloud-hypervisor compares `CNTFRQ_EL0` since 53.0 (read).

/// One thing that is not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Surrounding {
    /// Its stable name.
    pub word: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    /// What happens where source and target differ in it; empty where that is not known.
    pub why: &'static str,
}

const fn beside(word: &'static str, what: &'static str, why: &'static str) -> Surrounding {
    Surrounding { word, what, why }
}

const VGIC: Surrounding = beside(
    "vgic",
    "the state of the interrupt controller",
    "KVM refuses more priority or ID bits than the host has, another SEIS or A3V, and a GICv3 where there is none",
);
const VGIC_OF_QEMU: Surrounding =
    beside("vgic", VGIC.what, "KVM refuses it as it does everywhere, and QEMU's target process aborts");
const FREQUENCY: Surrounding = beside(
    "counter-frequency",
    "the frequency of the counter",
    "KVM takes every CNTFRQ_EL0, and the guest's clock runs wrong",
);
const FREQUENCY_REFUSED: Surrounding = beside(
    FREQUENCY.word,
    FREQUENCY.what,
    "cloud-hypervisor refuses another CNTFRQ_EL0 since 53.0; before, the guest's clock runs wrong",
);
const STEAL_TIME: Surrounding = beside("steal-time", "steal time", "");
const STEAL_TIME_SET: Surrounding =
    beside(STEAL_TIME.word, STEAL_TIME.what, "Firecracker sets its address, which a host without it refuses (ENXIO)");
const ADDRESSES: Surrounding =
    beside("address-size", "the size of guest addresses", "a host with fewer bits does not make a VM that needs more");
const MEMORY: Surrounding = beside("memory", "memory and its tags", "");
const PMU_OPTION: Surrounding = beside("no-pmu", "the option --no-pmu", "");
const DEVICES: Surrounding = beside("devices", "devices", "");
const GUEST: Surrounding =
    beside("guest", "what the guest takes for granted", "it has seen the source's CPU and its errata");

/// What plain KVM leaves open.
pub(crate) const EVERYWHERE: &[Surrounding] = &[VGIC, FREQUENCY, STEAL_TIME, ADDRESSES, MEMORY, DEVICES, GUEST];
pub(crate) const QEMU: &[Surrounding] = &[VGIC_OF_QEMU, FREQUENCY, STEAL_TIME, ADDRESSES, MEMORY, DEVICES, GUEST];
pub(crate) const FIRECRACKER: &[Surrounding] = &[VGIC, FREQUENCY, STEAL_TIME_SET, ADDRESSES, MEMORY, DEVICES, GUEST];
pub(crate) const CLOUD_HYPERVISOR: &[Surrounding] =
    &[VGIC, FREQUENCY_REFUSED, STEAL_TIME, ADDRESSES, MEMORY, DEVICES, GUEST];
pub(crate) const CROSVM: &[Surrounding] = &[VGIC, FREQUENCY, STEAL_TIME, ADDRESSES, MEMORY, PMU_OPTION, DEVICES, GUEST];
