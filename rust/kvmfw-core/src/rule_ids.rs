//! The one table of rule ids: what each means, who speaks it, and where it is known from.
//!
//! A row for each id. A finding or an issue with an id that has no row here cannot be made; `kvmfw rule` prints the table.

use crate::judgement::UnitKind;

macro_rules! rule_ids {
    ($($rule:ident, $name:literal, [$($unit:ident)*], $meaning:literal, $source:literal;)*) => {
        /// What speaks in a finding, or in an issue of an audit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum RuleId {
            $(#[doc = concat!("`", $name, "`")] $rule,)*
        }

        impl RuleId {
            /// All rule ids.
            pub const ALL: &'static [Self] = &[$(Self::$rule),*];

            /// The stable name, as in waivers and documents for machines.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$rule => $name),* }
            }

            /// The kinds of units that speak it; none where an audit of a fleet does.
            pub const fn units(self) -> &'static [UnitKind] {
                match self { $(Self::$rule => &[$(UnitKind::$unit),*]),* }
            }

            /// What it means, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$rule => $meaning),* }
            }

            /// Where it is known from.
            pub const fn source(self) -> &'static str {
                match self { $(Self::$rule => $source),* }
            }
        }
    };
}

impl RuleId {
    /// Whether it says of a saved register that the host does not have it.
    pub const fn tells_of_absence(self) -> bool {
        matches!(self, Self::ListMissing | Self::QemuList | Self::QemuDrop | Self::Hidden | Self::FactsList)
    }
}

rule_ids! {
    Vcpu, "KVMFW-VCPU", [Vcpu List Register], "The host cannot make such a vCPU or was not asked; or how it was made is not known.",
        "The capture's vCPU configurations (docs/formats.md); features without their capability: docs/semantics.md, 12.15.";
    Vmm, "KVMFW-VMM", [Vcpu List], "The VMM refuses by itself, whatever KVM would say.",
        "Sources of the VMMs, August 2026: docs/policies.md.";
    ListMissing, "KVMFW-LIST-MISSING", [List Register], "A saved register does not exist on the host.",
        "Recorded, or the dispatch of `kvm_arm_set_reg` (arch/arm64/kvm/guest.c): docs/semantics.md, 2 and 4.";
    ListExtra, "KVMFW-LIST-EXTRA", [List], "The host has a register that was not saved: the guest sees its default.",
        "KVM_GET_REG_LIST of the host: docs/semantics.md, 2.";
    PsciVersion, "KVMFW-PSCI-VERSION", [Register], "The host does not take this PSCI version.",
        "`kvm_arm_set_fw_reg`, KVM_REG_ARM_PSCI_VERSION: docs/semantics.md, 1.4.";
    Wa1Level, "KVMFW-WA1-LEVEL", [Register], "The host does not take this level of WORKAROUND_1 (Spectre v2).",
        "`kvm_arm_set_fw_reg`, a level above the host's is EINVAL: docs/semantics.md, 1.5.";
    Wa2Level, "KVMFW-WA2-LEVEL", [Register], "The host does not take this level of WORKAROUND_2 (Spectre v4).",
        "`kvm_arm_set_fw_reg`; from 6.12 on it depends on the VM's own ID_AA64PFR1_EL1.SSBS: docs/semantics.md, 1.6.";
    Wa3Level, "KVMFW-WA3-LEVEL", [Register], "The host does not take this level of WORKAROUND_3 (Spectre BHB).",
        "`kvm_arm_set_fw_reg`, a level above the host's is EINVAL: docs/semantics.md, 1.5.";
    Bitmap, "KVMFW-BITMAP", [Register], "The host does not take this bitmap of hypercall services.",
        "`kvm_arm_set_fw_reg_bmap`, a bit outside of the mask is EINVAL: docs/semantics.md, 1.7.";
    IdRegister, "KVMFW-ID-REGISTER", [List Register], "The host does not take this value of an ID register, or changes it.",
        "`arm64_check_features` field by field, before it comparisons of whole values: docs/semantics.md, 3.2 to 3.8.";
    Implementation, "KVMFW-IMPLEMENTATION", [Register], "The host's CPU is another one: MIDR_EL1, REVIDR_EL1 or AIDR_EL1.",
        "arch/arm64/kvm/sys_regs.c; writable from 6.15 on with KVM_CAP_ARM_WRITABLE_IMP_ID_REGS: docs/semantics.md, 3.9.";
    Cache, "KVMFW-CACHE", [Register], "The host does not take this description of caches: CTR_EL0, CLIDR_EL1 or CCSIDR.",
        "arch/arm64/kvm/sys_regs.c: docs/semantics.md, 3.9.";
    OsLock, "KVMFW-OS-LOCK", [Register], "The host does not take this state of the OS lock.",
        "OSLSR_EL1 in arch/arm64/kvm/sys_regs.c, only the lock bit may differ: docs/semantics.md, 3.9.";
    SveVls, "KVMFW-SVE-VLS", [Register], "The host does not take this set of SVE vector lengths.",
        "SVE_VLS in arch/arm64/kvm/guest.c: docs/semantics.md, 4.";
    SveState, "KVMFW-SVE-STATE", [List Register], "The host does not take this part of the SVE state, or changes it.",
        "Z, P and FFR in arch/arm64/kvm/guest.c: docs/semantics.md, 4.";
    Mode, "KVMFW-MODE", [Register], "The vCPU does not have the mode of the saved PSTATE.",
        "Core registers in arch/arm64/kvm/guest.c: docs/semantics.md, 4.";
    Aarch32, "KVMFW-AARCH32", [List Register], "A vCPU in an AArch32 mode keeps only the low half of this register.",
        "Core registers in arch/arm64/kvm/guest.c: docs/semantics.md, 4.";
    Timer, "KVMFW-TIMER", [Register], "The host does not keep this control of a timer as it was saved.",
        "Timers: docs/semantics.md, 4.";
    Pmu, "KVMFW-PMU", [Register], "The host does not take this state of the PMU, or changes it.",
        "arch/arm64/kvm/sys_regs.c and pmu-emul.c: docs/semantics.md, 4.";
    Hidden, "KVMFW-HIDDEN", [List Register], "An ID register of the VM hides this register on the host.",
        "Visibility by ID fields in arch/arm64/kvm/sys_regs.c: docs/semantics.md, 4; QEMU writes it unsaved: 6.3.";
    Register, "KVMFW-REGISTER", [List Register], "The host does not take this value, or changes it.",
        "Recorded, or the dispatch of `kvm_arm_set_reg` (arch/arm64/kvm/guest.c): docs/semantics.md, 4.";
    QemuCount, "KVMFW-QEMU-COUNT", [List], "QEMU refuses the list: more registers were saved than the target lists.",
        "The length of the list in the section `cpu`, target/arm/machine.c, up to 10.2: docs/semantics.md, 6.2.";
    QemuList, "KVMFW-QEMU-LIST", [List], "QEMU refuses the list: a saved register is not among the target's.",
        "`cpu_post_load`, target/arm/machine.c: docs/semantics.md, 6.3 and 12.2.";
    QemuDrop, "KVMFW-QEMU-DROP", [List], "QEMU drops this register without a word.",
        "`cpu_post_load`, target/arm/machine.c: docs/semantics.md, 6.3 and 12.3.";
    FirstRun, "KVMFW-FIRST-RUN", [List], "The register is taken, but the first run of the vCPU changes it.",
        "Recorded after a run, or arch/arm64/kvm/: docs/semantics.md, 3.5.";
    CounterOffset, "KVMFW-COUNTER-OFFSET", [List], "The register is taken, but a write of the counter moves it.",
        "KVM_ARM_SET_COUNTER_OFFSET and the timers: docs/semantics.md, 4.";
    Vgic, "KVMFW-VGIC", [Register], "The host does not take this state of the interrupt controller, or changes it.",
        "arch/arm64/kvm/vgic-sys-reg-v3.c and vgic/vgic-its.c: docs/semantics.md, 7.";
    StealTime, "KVMFW-STEAL-TIME", [Register], "The host does not take this address of steal time.",
        "arch/arm64/kvm/pvtime.c: docs/semantics.md, 7.";
    AddressBits, "KVMFW-ADDRESS-BITS", [Register], "The host does not make a VM with so many bits of guest addresses.",
        "KVM_CAP_ARM_VM_IPA_SIZE, `kvm_init_stage2_mmu` in arch/arm64/kvm/mmu.c: docs/semantics.md, 7.";
    PageSize, "KVMFW-PAGE-SIZE", [Register], "The VM comes from a host with larger pages.",
        "`parse_ramblock`, migration/ram.c of QEMU: docs/semantics.md, 7.";
    Clock, "KVMFW-CLOCK", [Register], "The host's counter has another frequency.",
        "CNTFRQ_EL0, which KVM never looks at: docs/semantics.md, 7.";
    VmmRelease, "KVMFW-VMM-RELEASE", [Vcpu List Register], "It depends on the release of the VMM, which was not named.",
        "Sources of the VMMs by release: docs/policies.md.";
    VmmUnwritten, "KVMFW-VMM-UNWRITTEN", [List Register], "The VMM does not write this register: the guest sees the host's own value.",
        "Sources of the VMMs, August 2026: docs/policies.md.";
    Unusable, "KVMFW-UNUSABLE", [List], "The rows of this VM could not be used, so nothing is known of it.",
        "The intake of rows with `on_error=\"collect\"`: docs/formats.md.";
    FactsList, "KVMFW-FACTS-LIST", [Register], "The host does not list a saved register, so far as a list of registers tells.",
        "A printed KVM_GET_REG_LIST in place of a capture: docs/formats.md.";
    FactsField, "KVMFW-FACTS-FIELD", [Register], "A field of an ID register is outside of what the host offers.",
        "QEMU's properties of a CPU in place of a capture: docs/formats.md.";
    FactsOpen, "KVMFW-FACTS-OPEN", [Vcpu], "Facts that are less than a capture do not rule the VM out.",
        "A list of registers or of properties in place of a capture: docs/formats.md.";
    Homeless, "KVMFW-HOMELESS", [], "It is not known where these VMs run.", "docs/glossary.md: home.";
    Stranded, "KVMFW-STRANDED", [], "No other host takes this VM.", "docs/glossary.md: stranded.";
    FewTargets, "KVMFW-FEW-TARGETS", [], "Few other hosts take this VM.", "docs/glossary.md: target.";
    Trap, "KVMFW-TRAP", [], "These hosts can be entered but not left.", "docs/glossary.md: trap.";
    Drain, "KVMFW-DRAIN", [], "This host cannot be emptied.", "docs/glossary.md: drain.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_says_something() {
        let mut names: Vec<&str> = RuleId::ALL.iter().map(|rule| rule.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RuleId::ALL.len());
        for rule in RuleId::ALL {
            assert!(rule.name().starts_with("KVMFW-"));
            assert!(rule.meaning().ends_with('.') && rule.source().ends_with('.'), "{}", rule.name());
        }
    }
}
