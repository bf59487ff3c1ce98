//! What a capture says, checked.

use std::sync::Arc;

use crate::answers::{Answers, State};
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::value::Value;
use crate::vcpu::VcpuConfig;

/// What was recorded on one host.
#[derive(Clone, Debug)]
pub struct Capture {
    /// The host's name.
    pub name: String,
    /// The kernel release, as `uname -r` prints it.
    pub kernel: String,
    /// Which build of it, as `uname -v` prints it; `None` where not recorded.
    pub kernel_build: Option<String>,
    /// The release under which the host was asked, where the capture was predicted from that; `None` where `kernel` was asked.
    pub predicted_from: Option<String>,
    /// `MIDR_EL1` of the host.
    pub midr: u64,
    /// `MIDR_EL1` of each kind of CPU, where the host has several.
    pub cores: Vec<u64>,
    /// `KVM_CHECK_EXTENSION` number -> value, zeros left out; `None` where not recorded.
    pub capabilities: Option<Vec<(u32, i64)>>,
    /// What `/sys/devices/system/cpu/vulnerabilities/spec_store_bypass` says; `None` where not recorded.
    pub spec_store_bypass: Option<String>,
    /// What stands beside registers, ascending by id; what is missing was not asked.
    pub surroundings: Vec<(RegisterId, Beside)>,
    /// The vCPU configurations that were asked.
    pub vcpus: Vec<Vcpu>,
}

/// What was recorded of something beside registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// The host's own value, or the error with which it says that there is none.
    pub own: Result<Value, Errno>,
    /// Answers to single writes.
    pub answers: Option<Arc<Answers>>,
}

/// One vCPU configuration that a host was asked for.
#[derive(Clone, Debug)]
pub struct Vcpu {
    /// Its name in the capture.
    pub name: String,
    /// How it was made. `vgic` means nothing where KVM refused to make it.
    pub config: VcpuConfig,
    /// What was recorded of it, or the error with which KVM refused to make it.
    pub made: Result<Made, Errno>,
}

/// What was recorded of one vCPU.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// Whether the PMU's device attributes were set; `None` where not recorded.
    pub pmu_initialised: Option<bool>,
    /// The registers in the order of `KVM_GET_REG_LIST`, with the values of a fresh vCPU.
    pub registers: Vec<(RegisterId, Value)>,
    /// Registers that refused their own fresh value; `None` where that was not asked.
    pub same_value_refused: Option<Vec<(RegisterId, Errno)>>,
    /// Answers to single writes.
    pub answers: Vec<(RegisterId, State, Arc<Answers>)>,
    /// Ids that are not listed and were written nevertheless, ascending.
    pub absent: Vec<(RegisterId, Errno)>,
    /// `KVM_ARM_GET_REG_WRITABLE_MASKS`, ascending; `None` where the kernel reports none.
    pub masks: Option<Vec<(RegisterId, u64)>>,
    /// What registers read after the first run; `None` where that was not recorded.
    pub trials: Option<Vec<Trial>>,
    /// What nobody knows of it: captures that were predicted for another kernel have that.
    pub hidden: Hidden,
}

/// What is not known of a vCPU that nobody asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    /// Registers of which it is not known whether the vCPU lists them, ascending; they have no value.
    pub listed: Vec<RegisterId>,
    /// Bits of fresh values that are not known, ascending by id: of listed registers of at most 8 bytes. The value has the least number
    /// that each field may have.
    pub bits: Vec<(RegisterId, u64)>,
    /// What the hardware has in fields that the kernel hides and takes nevertheless (specification, 3.6), ascending by id.
    pub hardware: Vec<(RegisterId, u64)>,
}

impl Hidden {
    /// What the hardware has in such a field of this register, in its place.
    pub(crate) fn hardware_of(&self, register: RegisterId) -> Option<u64> {
        let at = self.hardware.binary_search_by_key(&register, |(id, _)| *id).ok()?;
        self.hardware.get(at).map(|(_, word)| *word)
    }

    /// The bits of a register's fresh value that are not known.
    pub(crate) fn of(&self, register: RegisterId) -> u64 {
        let at = self.bits.binary_search_by_key(&register, |(id, _)| *id).ok();
        at.and_then(|at| self.bits.get(at)).map_or(0, |(_, bits)| *bits)
    }

    /// Whether nobody knows if this register is listed.
    pub(crate) fn may_list(&self, register: RegisterId) -> bool {
        self.listed.binary_search(&register).is_ok()
    }
}

/// What the first `KVM_RUN` of a fresh VM did to its registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The values of at most 8 bytes that were written before the run, ascending by id.
    pub written: Vec<(RegisterId, u64)>,
    /// What read otherwise after the run, ascending by id; `None`: it was not there any more.
    pub changed: Vec<(RegisterId, Option<u64>)>,
}
