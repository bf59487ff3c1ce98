//! Which of the vCPUs that a host was asked for judges a VM, and what is known where none does.

use super::{Host, HostConfig, Inner};
use crate::capabilities::{self, CAPABILITIES};
use crate::catalog;
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::judgement::Evidence;
use crate::rules::{LATE_FEATURES, has_change};
use crate::surroundings::is_every_vms;
use crate::value::Value;
use crate::vcpu::{VcpuConfig, WRITABLE_IMP_ID_REGS};

/// Which configuration of a host judges a VM.
#[derive(Clone, Copy, Debug)]
pub enum Choice<'a> {
    /// This one.
    Made(HostConfig<'a>),
    /// The host cannot make such a vCPU.
    Refused(Option<Errno>, Evidence),
    /// The host was not asked for such a vCPU.
    NotAsked,
}

impl<'a> HostConfig<'a> {
    /// What every VM that is made so on this host has beside registers, with its value.
    pub fn beside_fresh(self) -> impl Iterator<Item = (RegisterId, &'a Value)> {
        let recorded = self.host.surroundings.iter();
        let own = recorded.filter_map(|(id, beside)| Some((*id, beside.own.as_ref().ok()?)));
        own.filter(move |(id, _)| is_every_vms(*id, self.config.vgic))
    }
}

impl Host {
    /// The configuration that judges VMs made like `config`.
    pub fn choose(&self, config: VcpuConfig) -> Choice<'_> {
        let made = self.0.vcpus.iter().find_map(|vcpu| match &vcpu.made {
            Ok(indexed) if vcpu.config == config => Some(HostConfig::asked(indexed, config, &self.0)),
            _ => None,
        });
        if let Some(made) = made.or_else(|| self.stand_in(config)) {
            return Choice::Made(made);
        }
        // KVM refuses a feature word before there is a vGIC, so a refusal speaks for VMs with and without one.
        let refused = self.0.vcpus.iter().find_map(|vcpu| match &vcpu.made {
            Err(errno) if vcpu.config.features == config.features && vcpu.config.enabled == config.enabled => {
                Some(*errno)
            }
            _ => None,
        });
        if let Some(errno) = refused {
            return Choice::Refused(Some(errno), Evidence::Measured);
        }
        match self.lacked_feature(config) {
            Some(feature) => Choice::Refused(self.unsupported(feature), Evidence::Derived),
            None if is_contradictory(config) => Choice::Refused(self.contradicted(config), Evidence::Derived),
            None => Choice::NotAsked,
        }
    }

    /// A configuration that was asked and is the same to KVM.
    fn stand_in(&self, config: VcpuConfig) -> Option<HostConfig<'_>> {
        if let Some(found) = self.with_other_vgic(config) {
            return Some(found);
        }
        // The capability makes MIDR, REVIDR and AIDR writable, and nothing else: lists, values and all other answers of
        // 19 captures of 6.18 and 7.3 are the same with and without it (`set_imp_id_reg`, 6.17.8 to 7.3.4 read).
        let is_offered = self.has_capability(capabilities::WRITABLE_IMP_ID_REGS) == Some(true);
        if config.enabled != WRITABLE_IMP_ID_REGS || !is_offered {
            return None;
        }
        let other = VcpuConfig { enabled: 0, ..config };
        let vcpu = self.0.vcpus.iter().find_map(|vcpu| vcpu.made.as_ref().ok().filter(|_| vcpu.config == other));
        let found = match vcpu {
            Some(indexed) => HostConfig::asked(indexed, config, &self.0),
            None => HostConfig { config, ..self.with_other_vgic(other)? },
        };
        Some(HostConfig { evidence: Evidence::Derived, implementation_asked: false, ..found })
    }

    /// The same vCPU, but asked with a vGIC instead of without one or the other way round.
    ///
    /// On a host with a `GICv3`, whose `ID_AA64PFR0_EL1.GIC` is not 0, a fresh vCPU has the same registers and gives the
    /// same answers either way (seen on 5.10, 6.1, 6.12, 6.16, 6.18, 6.19, 7.0, 7.2 and 7.3); only after a run they differ.
    fn with_other_vgic(&self, config: VcpuConfig) -> Option<HostConfig<'_>> {
        let other = VcpuConfig { vgic: !config.vgic, ..config };
        let vcpu = self.0.vcpus.iter().find(|vcpu| vcpu.config == other && vcpu.made.is_ok())?;
        let indexed = vcpu.made.as_ref().ok()?;
        let asked = HostConfig::asked(indexed, config, &self.0);
        let found = HostConfig { evidence: Evidence::Derived, vgic_asked: false, ..asked };
        (found.field(catalog::GIC)? != 0).then_some(found)
    }

    /// Whether KVM on this host makes a `GICv3` for VMs, see [`Inner::makes_vgic`].
    pub(crate) fn makes_vgic(&self) -> Option<bool> {
        self.0.makes_vgic()
    }

    /// Whether the host reports a capability; `None` where that is not known.
    pub(crate) fn has_capability(&self, number: u32) -> Option<bool> {
        let Some(capabilities) = self.0.capabilities.as_ref() else {
            // Kernels from 6.15 on report it (`kvm_vm_ioctl_check_extension`), a vendor's perhaps earlier.
            let release = self.0.release.filter(|_| number == capabilities::WRITABLE_IMP_ID_REGS)?;
            let knows = release.at_least(6, 15);
            return (knows || !self.0.is_vendors).then_some(knows);
        };
        Some(capabilities.iter().any(|(known, value)| *known == number && *value > 0))
    }

    /// A feature of the vCPU, or a capability of its VM, that the host does not report: KVM refuses it.
    fn lacked_feature(&self, config: VcpuConfig) -> Option<&'static str> {
        let lacks = |number: u32| self.has_capability(number) == Some(false);
        let wants = |word: &str| config.has(word) || config.is_enabled(word);
        let lacked = CAPABILITIES.iter().find(|(word, capability)| wants(word) && lacks(*capability));
        lacked.map(|(word, _)| *word)
    }

    /// The error of features that contradict each other; `None` where the kernel may not know one of them.
    fn contradicted(&self, config: VcpuConfig) -> Option<Errno> {
        let late = LATE_FEATURES.iter().filter(|(word, ..)| config.has(word));
        let all_known = late.map(|(word, ..)| self.unsupported(word)).all(|errno| errno == Some(Errno::EINVAL));
        all_known.then_some(Errno::EINVAL)
    }

    /// The error of a feature that the host does not support (12.15: EINVAL, or ENOENT for bits that the kernel does not
    /// know); `None` where the release does not tell.
    fn unsupported(&self, feature: &str) -> Option<Errno> {
        let Some((_, absent, present)) = LATE_FEATURES.iter().find(|(late, ..)| *late == feature) else {
            return Some(Errno::EINVAL);
        };
        match has_change(self.0.release?, *absent, *present) {
            Some(true) => Some(Errno::EINVAL),
            // A vendor may have ported the feature back.
            Some(false) if self.0.is_vendors => None,
            Some(false) => Some(Errno::ENOENT),
            None => None,
        }
    }
}

impl Inner {
    /// Whether KVM on this host makes a `GICv3` for VMs, or refuses one with ENODEV; `None` where nothing tells.
    ///
    /// As it said when it was asked for one; else as its fresh vCPUs show: `vgic_v3_probe` registers the device, and fresh vCPUs of
    /// hosts with it read 1 in `ID_AA64PFR0_EL1.GIC` (`sys_regs.c`, read in 5.10 to 7.3). A `GICv5` may make one and not show it.
    pub(super) fn makes_vgic(&self) -> Option<bool> {
        match self.surrounding(RegisterId::ICC_CTLR).map(|recorded| &recorded.own) {
            Some(Ok(_)) => return Some(true),
            Some(Err(Errno::ENODEV)) => return Some(false),
            Some(Err(_)) | None => {}
        }
        if self.made().any(|(_, made)| made.config.vgic) {
            return Some(true);
        }
        let shown = self.made().filter_map(|(_, made)| {
            let newer = made.field(catalog::GCIE).unwrap_or(0);
            made.field(catalog::GIC).map(|shown| if shown != 0 { Some(true) } else { (newer == 0).then_some(false) })
        });
        let mut shown = shown.peekable();
        let first = shown.peek().copied().flatten()?;
        shown.all(|one| one == Some(first)).then_some(first)
    }
}

/// Whether KVM makes no such vCPU on any host (`kvm_vcpu_init_check_features`, 6.12.118 and 7.3.4; `kvm_vcpu_enable_ptrauth`, 5.10.262 and
/// 6.1.192; `kvm_set_vm_width`, 6.1.192; all read): pointer authentication has both halves or none, AArch32 at EL1 goes with
/// neither MTE nor EL2, and the strict PMU is one of a PMU.
fn is_contradictory(config: VcpuConfig) -> bool {
    let in_aarch32 = config.has("el1_32bit");
    config.has("ptrauth_address") != config.has("ptrauth_generic")
        || in_aarch32 && (config.is_enabled("mte") || config.has("has_el2"))
        || config.has("pmu_v3_strict") && !config.has("pmu_v3")
}
