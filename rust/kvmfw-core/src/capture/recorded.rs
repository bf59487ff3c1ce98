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
    /// `MIDR_EL1` of the host.
    pub midr: u64,
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
}

/// What the first `KVM_RUN` of a fresh VM did to its registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The values of at most 8 bytes that were written before the run, ascending by id.
    pub written: Vec<(RegisterId, u64)>,
    /// What read otherwise after the run, ascending by id; `None`: it was not there any more.
    pub changed: Vec<(RegisterId, Option<u64>)>,
}
