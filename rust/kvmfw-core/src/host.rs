//! Hosts: captures made ready for judging.

mod acceptors;
mod choice;
mod proved;

use std::num::NonZeroU8;
use std::sync::Arc;

pub use choice::Choice;

use crate::answers::State;
use crate::capture::{Beside, Capture, Hidden, Made};
use crate::catalog::{self, Gate, Kind};
use crate::errno::Errno;
use crate::error::FormatError;
use crate::id::RegisterId;
use crate::judgement::Evidence;
use crate::rules::aftermath::{Aftermath, Controller};
use crate::rules::{self, Context, Facts, Release};
use crate::value::Value;
use crate::vcpu::VcpuConfig;
use crate::vmms;

/// One kind of host: its capture, indexed for judging, and its VMM where that is told. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>, Option<NonZeroU8>);

#[derive(Debug)]
struct Inner {
    /// What it was read from.
    document: Option<Box<[u8]>>,
    name: String,
    kernel: String,
    kernel_build: Option<String>,
    midr: u64,
    cores: Vec<u64>,
    predicted_from: Option<String>,
    release: Option<Release>,
    is_vendors: bool,
    capabilities: Option<Vec<(u32, i64)>>,
    spec_store_bypass_mitigated: Option<bool>,
    surroundings: Vec<(RegisterId, Beside)>,
    vcpus: Vec<HostVcpu>,
}

/// One vCPU configuration of a host.
#[derive(Debug)]
struct HostVcpu {
    name: String,
    config: VcpuConfig,
    /// What was recorded, or the error with which KVM refused to make it.
    made: Result<Indexed, Errno>,
}

#[derive(Debug)]
struct Indexed {
    made: Made,
    /// The listed registers, ascending by id.
    by_id: Vec<(RegisterId, Value)>,
}

/// A vCPU configuration that a host made, and the host's release.
#[derive(Clone, Copy, Debug)]
pub struct HostConfig<'a> {
    vcpu: &'a Indexed,
    config: VcpuConfig,
    host: &'a Inner,
    /// What recorded answers count as: `Measured`, but `Derived` where another configuration stands in.
    evidence: Evidence,
    /// Whether answers to writes of MIDR, REVIDR and AIDR speak for this vCPU.
    implementation_asked: bool,
    /// Whether answers after a run to writes of the fields that tell of an interrupt controller speak for this vCPU.
    vgic_asked: bool,
}

impl Host {
    /// Reads a `kvmfw-capture` document.
    ///
    /// # Errors
    ///
    /// When the text is not JSON, not such a document, or contradicts itself.
    pub fn from_json(text: &[u8]) -> Result<Self, FormatError> {
        Ok(Self::indexed(Capture::from_json(text)?, Some(text.into())))
    }

    /// Indexes a capture.
    pub fn new(capture: Capture) -> Self {
        Self::indexed(capture, None)
    }

    fn indexed(capture: Capture, document: Option<Box<[u8]>>) -> Self {
        let spec_store_bypass_mitigated = capture.mitigates_spec_store_bypass();
        let vcpus = capture
            .vcpus
            .into_iter()
            .map(|vcpu| {
                let made = vcpu.made.map(|mut made| {
                    let mut by_id = made.registers.clone();
                    by_id.sort_unstable();
                    made.answers.sort_by_key(|(id, state, _)| (*id, *state));
                    Indexed { made, by_id }
                });
                HostVcpu { name: vcpu.name, config: vcpu.config, made }
            })
            .collect();
        let inner = Arc::new(Inner {
            document,
            release: Release::parse(&capture.kernel),
            // A name that tells no release may be of any kernel, a vendor's too.
            is_vendors: !rules::is_upstream(&capture.kernel),
            name: capture.name,
            kernel: capture.kernel,
            kernel_build: capture.kernel_build,
            midr: capture.midr,
            cores: capture.cores,
            predicted_from: capture.predicted_from,
            // Every KVM has some (`KVM_CAP_USER_MEMORY`): none means that nobody asked.
            capabilities: capture.capabilities.filter(|known| !known.is_empty()),
            spec_store_bypass_mitigated,
            surroundings: capture.surroundings,
            vcpus,
        });
        Self(inner, None)
    }

    /// The same host with a VMM that has this number ([`crate::Policy::number`]); nothing is copied.
    #[must_use]
    pub fn with_vmm(&self, vmm: Option<NonZeroU8>) -> Self {
        Self(Arc::clone(&self.0), vmm)
    }

    /// The number of the host's VMM, where that is told.
    pub(crate) fn vmm(&self) -> Option<NonZeroU8> {
        self.1
    }

    /// Its name.
    pub fn vmm_name(&self) -> Option<&'static str> {
        self.1.and_then(vmms::name_of)
    }

    /// The host's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The document that it was read from; `None` where it was made of something else.
    pub fn document(&self) -> Option<&[u8]> {
        self.0.document.as_deref()
    }

    /// The kernel release.
    pub fn kernel(&self) -> &str {
        &self.0.kernel
    }

    /// What the name of the kernel tells.
    pub fn facts_of_kernel(&self) -> Facts<'_> {
        Facts { release: self.0.release, is_vendors: self.0.is_vendors, ..Facts::default() }
    }

    /// `MIDR_EL1` of the host.
    pub fn midr(&self) -> u64 {
        self.0.midr
    }

    /// `MIDR_EL1` of each kind of CPU, where the host has several; what depends on the CPU is not known then.
    pub fn cores(&self) -> &[u64] {
        &self.0.cores
    }

    /// What was recorded of something beside registers; `None` where that was not asked.
    pub(crate) fn surrounding(&self, id: RegisterId) -> Option<&Beside> {
        self.0.surrounding(id)
    }

    /// The vCPU configurations of the capture, by name.
    pub fn vcpus(&self) -> impl Iterator<Item = (&str, VcpuConfig)> {
        self.0.vcpus.iter().map(|vcpu| (vcpu.name.as_str(), vcpu.config))
    }

    /// The release under which the host was asked, where the capture was predicted from that.
    pub fn predicted_from(&self) -> Option<&str> {
        self.0.predicted_from.as_deref()
    }

    /// The vCPU configurations that the host made, by name.
    pub fn made(&self) -> impl Iterator<Item = (&str, HostConfig<'_>)> {
        self.0.made()
    }

    /// Where the capture is in memory, and the VMM: equal for two hosts that share both.
    pub(crate) fn identity(&self) -> (usize, Option<NonZeroU8>) {
        (Arc::as_ptr(&self.0).addr(), self.1)
    }
}

impl Inner {
    /// The vCPU configurations that the host made, by name.
    fn made(&self) -> impl Iterator<Item = (&str, HostConfig<'_>)> {
        self.vcpus.iter().filter_map(|vcpu| {
            let indexed = vcpu.made.as_ref().ok()?;
            Some((vcpu.name.as_str(), HostConfig::asked(indexed, vcpu.config, self)))
        })
    }

    fn surrounding(&self, id: RegisterId) -> Option<&Beside> {
        let at = self.surroundings.binary_search_by_key(&id, |(known, _)| *known).ok()?;
        self.surroundings.get(at).map(|(_, recorded)| recorded)
    }
}

impl<'a> HostConfig<'a> {
    fn asked(vcpu: &'a Indexed, config: VcpuConfig, host: &'a Inner) -> Self {
        Self { vcpu, config, host, evidence: Evidence::Measured, implementation_asked: true, vgic_asked: true }
    }

    /// How this vCPU is made.
    pub fn config(&self) -> VcpuConfig {
        self.config
    }

    /// The listed registers with their fresh values, ascending by id.
    pub fn registers(&self) -> &'a [(RegisterId, Value)] {
        &self.vcpu.by_id
    }

    /// The listed registers in the order of `KVM_GET_REG_LIST`.
    pub fn in_list_order(&self) -> &'a [(RegisterId, Value)] {
        &self.vcpu.made.registers
    }

    /// Ids that are not listed and were written nevertheless, ascending, with the error.
    pub fn absent(&self) -> &'a [(RegisterId, Errno)] {
        &self.vcpu.made.absent
    }

    /// The fresh value of a listed register.
    pub fn value(&self, register: RegisterId) -> Option<&'a Value> {
        let at = self.vcpu.by_id.binary_search_by_key(&register, |(id, _)| *id).ok()?;
        self.vcpu.by_id.get(at).map(|(_, value)| value)
    }

    /// What was recorded of something beside registers.
    pub(crate) fn surrounding(&self, id: RegisterId) -> Option<&'a Beside> {
        self.host.surrounding(id)
    }

    /// Whether this host makes a `GICv3` for VMs; `None` where nothing tells.
    pub(crate) fn makes_vgic(&self) -> Option<bool> {
        self.host.makes_vgic()
    }

    /// Whether the kernel surely hides what is behind this field from VMs whose field is too small.
    pub(crate) fn hides(&self, gate: Gate) -> bool {
        rules::hides(gate, &self.facts(State::Fresh, true)) == Some(true)
    }

    /// Whether something of this register, its presence or a part of its value, is not known.
    pub(crate) fn is_hidden(&self, register: RegisterId) -> bool {
        self.hidden().may_list(register) || self.hidden().of(register) != 0
    }

    /// The fresh value of a listed register, if all of it is known.
    pub fn own(&self, register: RegisterId) -> Option<&'a Value> {
        self.value(register).filter(|_| self.hidden().of(register) == 0)
    }

    /// What is not known of this vCPU.
    pub fn hidden(&self) -> &'a Hidden {
        &self.vcpu.made.hidden
    }

    /// What is known of a fresh vCPU of this kind, answers apart.
    pub fn facts_of_fresh(&self) -> Facts<'a> {
        self.facts(State::Fresh, true)
    }

    /// What is known of this vCPU; what was seen of runs is left out with `derive_only`.
    fn facts(&self, state: State, derive_only: bool) -> Facts<'a> {
        let made = &self.vcpu.made;
        let capabilities = self.host.capabilities.as_ref();
        Facts {
            release: self.host.release,
            is_vendors: self.host.is_vendors,
            config: self.config,
            registers: &self.vcpu.by_id,
            masks: made.masks.as_deref(),
            reports_masks: capabilities
                .map(|known| known.iter().any(|(number, value)| *number == rules::MASKS_CAPABILITY && *value > 0)),
            spec_store_bypass_mitigated: self.host.spec_store_bypass_mitigated,
            pmu_initialised: made.pmu_initialised,
            answers: Some(made.answers.as_slice()).filter(|_| !derive_only),
            trials: made.trials.as_deref().filter(|_| !derive_only),
            hidden: Some(&made.hidden),
            state,
        }
    }

    /// What becomes of sets that this vCPU took, where the VM runs with an interrupt controller (`vgic`), which may be made
    /// `late`, after the registers were written, or without.
    pub(crate) fn aftermath(&self, vgic: bool, late: bool, derive_only: bool) -> Aftermath {
        let stands_in = self.evidence != Evidence::Measured;
        let recorded = self.config.vgic != stands_in;
        Aftermath::derive(&self.facts(State::Fresh, derive_only), Controller { runs: vgic, late, recorded })
    }

    /// The fresh value of a field.
    pub fn field(&self, gate: Gate) -> Context {
        let hidden = self.hidden().of(gate.register) >> gate.shift & 0xf != 0;
        gate.of(self.value(gate.register)?.word()?).filter(|_| !hidden)
    }
}

/// The field of the VM's ID registers that the judgement of a register depends on.
pub(crate) fn context_gate(kind: Kind) -> Option<Gate> {
    match kind {
        Kind::Gated(gate) => Some(gate),
        Kind::Workaround2 => Some(catalog::SSBS),
        Kind::PmuCounter => Some(catalog::PMU_VERSION),
        Kind::PmuBits => Some(catalog::PMU_COUNTERS),
        _ => None,
    }
}

/// What the judgement of a register depends on, in a set of registers: that field, the longest vector of the vCPU, its mode,
/// or which of its names are there.
pub(crate) fn context_in<'a>(register: RegisterId, find: impl Fn(RegisterId) -> Option<&'a Value>) -> Context {
    let kind = catalog::kind_of(register);
    let field = || context_gate(kind).and_then(|gate| gate.of(find(gate.register)?.word()?));
    match kind {
        Kind::SveState => rules::longest_vector(find(RegisterId::SVE_VLS)?),
        Kind::General => rules::mode(find(RegisterId::PSTATE)?.word()?),
        Kind::PmuBits => {
            let word = |name: RegisterId| find(name)?.word();
            let names = rules::PmuNames::of(word(register), rules::other_name(register).and_then(word));
            Some(rules::pmu_context(field(), names))
        }
        _ => field(),
    }
}
