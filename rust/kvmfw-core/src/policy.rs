//! Restore policies: what a VMM writes, in which order, and what it does with the register list.
//!
//! Facts of QEMU were read in `target/arm/machine.c` and `target/arm/kvm.c` and measured in real loads; of
//! Firecracker in `src/vmm/src/arch/aarch64/`, of cloud-hypervisor in `hypervisor/src/kvm/aarch64/`, of crosvm in
//! `hypervisor/src/kvm/aarch64.rs` (August 2026 trees). `docs/policies.md` tells them in words.

use crate::acceptor::Acceptor;
use crate::catalog::{self, Gate, Kind};
use crate::host::{HostConfig, context_gate, context_in};
use crate::id::{Group, RegisterId};
use crate::rules::{self, Context, Rule};
use crate::set::RegisterSet;
use crate::value::Value;
use crate::vcpu::VcpuConfig;
use crate::verdict::Question;

/// How a VMM restores a register set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Policy {
    /// Every saved register is written: `SVE_VLS` first, the rest ascending by id; errors do not stop the others.
    #[default]
    Kvm,
    /// QEMU 7.2: the list is merged into the target's own, which is then written whole.
    Qemu7_2,
    /// QEMU 10.0: as 7.2.
    Qemu10_0,
    /// QEMU 10.2: as 7.2, but names the registers that KVM refuses.
    Qemu10_2,
    /// QEMU 11.1: no length test, some registers may be missing on either side.
    Qemu11_1,
    /// Firecracker: firmware registers before system registers; the first error ends the restore.
    Firecracker,
    /// cloud-hypervisor: as Firecracker, but the vGIC comes later and the features are the target's.
    CloudHypervisor,
    /// crosvm: firmware bitmaps are not saved, nor is SVE.
    Crosvm,
}

/// What a VMM does with registers that only one side has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListTest {
    /// KVM answers for each.
    None,
    /// QEMU up to 10.2: a length test, then a merge walk that drops the tail silently.
    Merge,
    /// QEMU 11.1: the last register that only the stream has decides.
    Tolerant,
}

/// Feature bits of the target's vCPU, with the capabilities that all must be there for them.
type TargetFeatures = &'static [(u32, &'static [u32])];

impl Policy {
    /// All policies.
    pub const ALL: &'static [Self] = &[
        Self::Kvm,
        Self::Qemu7_2,
        Self::Qemu10_0,
        Self::Qemu10_2,
        Self::Qemu11_1,
        Self::Firecracker,
        Self::CloudHypervisor,
        Self::Crosvm,
    ];

    /// The name used everywhere (`vmm=`).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Qemu7_2 => "qemu-7.2",
            Self::Qemu10_0 => "qemu-10.0",
            Self::Qemu10_2 => "qemu-10.2",
            Self::Qemu11_1 => "qemu-11.1",
            Self::Firecracker => "firecracker",
            Self::CloudHypervisor => "cloud-hypervisor",
            Self::Crosvm => "crosvm",
        }
    }

    /// The policy of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|policy| policy.name() == name)
    }

    /// What happens to registers that only one side has.
    pub(crate) const fn list_test(self) -> ListTest {
        match self {
            Self::Qemu7_2 | Self::Qemu10_0 | Self::Qemu10_2 => ListTest::Merge,
            Self::Qemu11_1 => ListTest::Tolerant,
            Self::Kvm | Self::Firecracker | Self::CloudHypervisor | Self::Crosvm => ListTest::None,
        }
    }

    /// Whether the registers of the target that the set lacks are written with the target's defaults.
    pub(crate) const fn writes_own_list(self) -> bool {
        matches!(self.list_test(), ListTest::Merge | ListTest::Tolerant)
    }

    /// The greatest number of registers that the VMM can save.
    pub(crate) const fn longest_list(self) -> usize {
        match self {
            Self::CloudHypervisor => 500,
            _ => usize::MAX,
        }
    }

    /// Whether the VMM carries `register` in its list of registers and writes it with `KVM_SET_ONE_REG`.
    pub(crate) fn carries(self, register: RegisterId) -> bool {
        match self {
            Self::Kvm | Self::Firecracker | Self::CloudHypervisor => true,
            // Core and SVE registers travel elsewhere; vector lengths come from the target's own -cpu line.
            Self::Qemu7_2 | Self::Qemu10_0 | Self::Qemu10_2 | Self::Qemu11_1 => {
                !matches!(register.group(), Group::Core | Group::Sve)
            }
            Self::Crosvm => {
                matches!(register.group(), Group::Core | Group::System | Group::Demux | Group::Firmware)
            }
        }
    }

    /// Where `register` stands among the writes.
    pub(crate) fn write_order(self, register: RegisterId) -> (u8, u64) {
        if register == RegisterId::SVE_VLS {
            return (0, 0);
        }
        let rank = match (self, register.group()) {
            // QEMU writes core registers when all of the list is written (`kvm_arch_put_registers`).
            (Self::Qemu7_2 | Self::Qemu10_0 | Self::Qemu10_2 | Self::Qemu11_1, Group::Core) => 2,
            (Self::Kvm | Self::Qemu7_2 | Self::Qemu10_0 | Self::Qemu10_2 | Self::Qemu11_1, _) => 1,
            // KVM's list order: core, SVE, firmware, bitmaps, system registers, CCSIDR.
            (Self::Firecracker | Self::CloudHypervisor, group) => match group {
                Group::Core => 1,
                Group::Sve => 2,
                Group::Firmware => 3,
                Group::FirmwareBitmap => 4,
                Group::System | Group::Other => 5,
                Group::Demux => 6,
            },
            (Self::Crosvm, group) => match group {
                Group::Core => 1,
                Group::Sve | Group::System | Group::Other => 2,
                Group::Demux => 3,
                Group::Firmware | Group::FirmwareBitmap => 4,
            },
        };
        (rank, register.raw())
    }

    /// Whether `register` is written before the ID registers, so that KVM judges it by the host's own fields.
    fn before_id_registers(self, register: RegisterId) -> bool {
        matches!(self, Self::Firecracker | Self::CloudHypervisor) && register.group() == Group::Firmware
    }

    /// How the target's vCPU is made for a VM whose vCPU was made like `saved`.
    pub(crate) fn target_config(self, saved: VcpuConfig, has_capability: impl Fn(u32) -> Option<bool>) -> VcpuConfig {
        let features = match self {
            Self::CloudHypervisor => features_of_target(&[(1 << 3, &[126]), (1 << 4, &[170])], has_capability),
            // Pointer authentication needs both of its capabilities.
            Self::Crosvm => features_of_target(&[(1 << 3, &[126]), (0b11 << 5, &[171, 172])], has_capability),
            _ => None,
        };
        let vgic = saved.vgic && self != Self::CloudHypervisor;
        VcpuConfig { features: features.unwrap_or(saved.features), vgic, ..saved }
    }

    /// Why this VMM cannot restore such a vCPU at all, whatever the target's KVM says.
    pub(crate) fn impossible(self, saved: VcpuConfig, target: VcpuConfig) -> Option<&'static str> {
        match self {
            Self::Firecracker if saved.has("pmu_v3") => Some("Firecracker does not restore vCPUs with a PMU"),
            Self::CloudHypervisor if target.has("sve") && !saved.has("sve") => {
                Some("cloud-hypervisor makes an SVE vCPU on this host, whose V registers cannot be written (EINVAL)")
            }
            Self::Crosvm if saved.has("sve") => Some("crosvm cannot save a vCPU with SVE"),
            _ => None,
        }
    }

    /// How a host judges `register` under this policy.
    pub(crate) fn acceptor(self, config: HostConfig<'_>, register: RegisterId, question: Question) -> Acceptor {
        // QEMU writes core and SVE state by other means than its list.
        let is_state = matches!(register.group(), Group::Core | Group::Sve) && register != RegisterId::SVE_VLS;
        if !self.carries(register) {
            match catalog::kind_of(register) {
                _ if !is_state => return Acceptor::Unwritten(config.value(register).cloned()),
                Kind::Plain => return Acceptor::Elsewhere,
                _ => {}
            }
        }
        if self.list_test() != ListTest::None && self.carries(register) && config.value(register).is_none() {
            return Acceptor::Elsewhere;
        }
        let mut acceptor = config.acceptor(register, question.scheme, question.state, question.derive_only);
        if let Acceptor::Kvm(target) = &mut acceptor {
            target.before_id_registers = self.before_id_registers(register);
            if let Rule::SveState(state) = &mut target.rule
                && !self.carries(RegisterId::SVE_VLS)
            {
                state.ignore_saved_lengths();
            }
        }
        acceptor
    }
}

fn features_of_target(depending: TargetFeatures, has_capability: impl Fn(u32) -> Option<bool>) -> Option<u32> {
    const PSCI_0_2: u32 = 1 << 2;
    depending.iter().try_fold(PSCI_0_2, |features, (bits, capabilities)| {
        let known = capabilities.iter().map(|number| has_capability(*number)).collect::<Option<Vec<bool>>>()?;
        Some(features | if known.iter().all(|has| *has) { *bits } else { 0 })
    })
}

/// The field of the VM's own ID registers that decides about `register`.
pub(crate) fn gate_of(register: RegisterId) -> Option<Gate> {
    context_gate(catalog::kind_of(register))
}

/// What decides about `register` in a saved set; registers that the host `refused` keep the host's own value.
pub(crate) fn context_of(register: RegisterId, set: &RegisterSet, refused: &[RegisterId]) -> Context {
    context_in(register, |holder| set.get(holder).filter(|_| !refused.contains(&holder)))
}

/// Whether KVM looks at every value of `register`, so that it is a unit of its own.
pub(crate) fn is_judged_by_value(register: RegisterId) -> bool {
    !matches!(catalog::kind_of(register), Kind::Plain) && !is_mostly_kept(register)
}

/// Whether every host keeps most values of `register`, so that it is a unit for the VMs alone that have others.
pub(crate) fn is_mostly_kept(register: RegisterId) -> bool {
    matches!(catalog::kind_of(register), Kind::General | Kind::SveState)
}

/// Whether every host keeps this value of a register that [`is_mostly_kept`].
pub(crate) fn is_kept_anywhere(register: RegisterId, value: &Value, context: Context) -> bool {
    if register.group() == Group::Sve {
        // Every vector has a quadword.
        return rules::quadwords(register, value) <= usize::from(context.unwrap_or(1));
    }
    rules::judged_state(register, value) == Some(0)
}

/// What the rules look at in a value of `register`: values of which this is the same get the same outcome on every
/// host. The counters of a PMU run, so that no two VMs would be of one class if all their bits counted.
pub(crate) fn judged_value(register: RegisterId, value: &Value, context: Context) -> Value {
    let of_state = rules::judged_state(register, value);
    of_state
        .or_else(|| value.word().map(|word| rules::judged_pmu_bits(register, word, context)))
        .map_or_else(|| value.clone(), Value::Word)
}

/// Whether a fleet keeps only a part of the values of `register`, see [`judged_value`].
pub(crate) fn is_reduced(register: RegisterId) -> bool {
    rules::judged_state(register, &Value::Word(u64::MAX)).is_some()
        || is_mostly_kept(register)
        || rules::judged_pmu_bits(register, u64::MAX, Some(rules::pmu_context(None, true))) != u64::MAX
}
