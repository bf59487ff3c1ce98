//! How a target makes the vCPU of a saved VM under the rule of a VMM: asked before any register is judged.

use crate::errno::Errno;
use crate::host::{Choice, Host, HostConfig};
use crate::id::RegisterId;
use crate::judgement::{Effect, Evidence, Judgement, Outcome};
use crate::vcpu::VcpuConfig;
use crate::vmms::VmmRule;

pub(crate) const NOT_RECORDED: &str = "this VMM makes vCPUs by capabilities that were not recorded; probe this host";
pub(crate) const NOT_ASKED: &str = "probe this host with this vCPU configuration";

pub(crate) const VMM_NOT_TOLD: &str = "tell the VMM of this host, or of the VM, in the column `vmm`";

/// Why there is no vCPU that could judge the VM's registers.
pub(crate) enum NotMade {
    /// Neither the VM nor the host tells its VMM, by which the pair is to be judged.
    VmmNotTold,
    /// The host runs another VMM than the one that saved the VM.
    OtherVmm { vm: &'static str, host: &'static str },
    /// The VMM makes vCPUs by capabilities of the target that were not recorded.
    CapabilitiesNotKnown,
    /// The VMM cannot restore such a VM, whatever KVM says, and fails at this register.
    Impossible(&'static str, Option<RegisterId>),
    /// The VM has a `GICv3`, and the host makes none (ENODEV).
    NoGic,
    /// KVM refuses to make this vCPU.
    Refused(VcpuConfig, Option<Errno>, Evidence),
    /// The host was not asked for this vCPU.
    NotAsked(VcpuConfig),
}

impl NotMade {
    /// What this means for the VM.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::VmmNotTold | Self::CapabilitiesNotKnown | Self::NotAsked(_) => Outcome::Unknown,
            Self::OtherVmm { .. } | Self::Impossible(..) | Self::NoGic | Self::Refused(..) => Outcome::Refuse,
        }
    }

    /// The judgement of the vCPU.
    pub(crate) fn judgement(&self) -> Judgement {
        let unknown = |needs| Judgement { effect: Effect::Unknown(needs), evidence: Evidence::None };
        match self {
            Self::VmmNotTold => unknown(VMM_NOT_TOLD),
            Self::CapabilitiesNotKnown => unknown(NOT_RECORDED),
            Self::NotAsked(_) => unknown(NOT_ASKED),
            Self::OtherVmm { .. } | Self::Impossible(..) => {
                Judgement { effect: Effect::Refused(None), evidence: Evidence::Derived }
            }
            Self::NoGic => Judgement { effect: Effect::Refused(Some(Errno::ENODEV)), evidence: Evidence::Derived },
            Self::Refused(_, errno, evidence) => Judgement { effect: Effect::Refused(*errno), evidence: *evidence },
        }
    }
}

/// The vCPU of `host` on which `rule` restores a VM whose vCPU was made like `saved`.
pub(crate) fn made_for<'a>(host: &'a Host, rule: &VmmRule, saved: VcpuConfig) -> Result<HostConfig<'a>, NotMade> {
    let target =
        rule.target_config(saved, |capability| host.has_capability(capability)).ok_or(NotMade::CapabilitiesNotKnown)?;
    if let Some((why, register)) = rule.impossible(saved, target) {
        return Err(NotMade::Impossible(why, register));
    }
    // Whenever the VMM makes the interrupt controller, before the registers or after them.
    if saved.vgic && host.makes_vgic() == Some(false) {
        return Err(NotMade::NoGic);
    }
    match host.choose(target) {
        Choice::Made(config) => Ok(config),
        Choice::Refused(errno, evidence) => Err(NotMade::Refused(target, errno, evidence)),
        Choice::NotAsked => Err(NotMade::NotAsked(target)),
    }
}
