//! `RegisterSet` and `Host`: parsed once, shared by reference.

use std::num::NonZeroU8;

use kvmfw_core as core;
use kvmfw_core::VcpuConfig;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::door::{Born, enter};
use crate::errors::{argument_error, format_error};
use crate::values::{Id, from_python, to_python};

/// Ids and values.
type Registers = Vec<(u64, Py<PyAny>)>;

/// What was saved of one vCPU.
#[pyclass(frozen, module = "kvmfw._native")]
pub(crate) struct RegisterSet(pub(crate) core::RegisterSet);

#[pymethods]
impl RegisterSet {
    #[staticmethod]
    fn from_json(py: Python<'_>, text: &[u8]) -> PyResult<Self> {
        let read = enter(py, Born::now(), || core::RegisterSet::from_json(text))?;
        read.map(Self).map_err(|error| format_error(py, &error))
    }

    #[staticmethod]
    #[pyo3(signature = (registers, features, vgic, enabled, name, host, vmm))]
    #[expect(clippy::too_many_arguments, reason = "all that a set is, as Python has it")]
    fn from_registers(
        py: Python<'_>,
        registers: Vec<(Id, Bound<'_, PyAny>)>,
        features: Vec<String>,
        vgic: bool,
        enabled: Vec<String>,
        name: String,
        host: Option<String>,
        vmm: Option<String>,
    ) -> PyResult<Self> {
        let vmm = vmm.map(|name| vmm_number(py, &name)).transpose()?.flatten();
        let vcpu = VcpuConfig { vmm, ..config(py, &features, vgic, &enabled)? };
        let registers = registers
            .iter()
            .map(|(Id(register), value)| {
                let register = *register;
                let value = from_python(value, register).map_err(|problem| argument_error(py, &problem))?;
                Ok((register, value))
            })
            .collect::<PyResult<Vec<_>>>()?;
        core::RegisterSet::new(name, host, vcpu, registers).map(Self).map_err(|error| format_error(py, &error))
    }

    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    #[getter]
    fn host(&self) -> Option<&str> {
        self.0.host.as_deref()
    }

    #[getter]
    fn vmm(&self) -> Option<&'static str> {
        self.0.vmm()
    }

    #[getter]
    fn features(&self) -> Vec<&'static str> {
        self.0.vcpu.feature_names()
    }

    #[getter]
    fn vgic(&self) -> bool {
        self.0.vcpu.vgic
    }

    #[getter]
    fn enabled(&self) -> Vec<&'static str> {
        self.0.vcpu.enabled_names()
    }

    fn registers(&self, py: Python<'_>) -> PyResult<Registers> {
        self.0.registers().iter().map(|(id, value)| Ok((id.raw(), to_python(py, value)?))).collect()
    }

    fn in_file_order(&self, py: Python<'_>) -> PyResult<Registers> {
        self.0.in_file_order().into_iter().map(|(id, value)| Ok((id.raw(), to_python(py, value)?))).collect()
    }

    /// The registers that a VMM writes, in its order.
    fn write_order(&self, py: Python<'_>, vmm: &str) -> PyResult<Vec<u64>> {
        let policy = core::Policy::named(vmm).map_err(|problem| argument_error(py, &problem))?;
        Ok(policy.writes(&self.0).into_iter().map(core::RegisterId::raw).collect())
    }

    fn __len__(&self) -> usize {
        self.0.registers().len()
    }
}

/// Registers that a vCPU may list, and bits of its fresh values that are not known.
type Hidden = (Vec<u64>, Vec<(u64, u64)>);

/// A capture, ready for judging.
#[pyclass(frozen, module = "kvmfw._native")]
pub(crate) struct Host(pub(crate) core::Host);

#[pymethods]
impl Host {
    #[staticmethod]
    fn from_json(py: Python<'_>, text: &[u8]) -> PyResult<Self> {
        let read = enter(py, Born::now(), || core::Host::from_json(text))?;
        read.map(Self).map_err(|error| format_error(py, &error))
    }

    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    /// The same host with this VMM, or with none.
    fn with_vmm(&self, py: Python<'_>, name: Option<&str>) -> PyResult<Self> {
        Ok(Self(self.0.with_vmm(name.map(|name| vmm_number(py, name)).transpose()?.flatten())))
    }

    #[getter]
    fn vmm(&self) -> Option<&'static str> {
        self.0.vmm_name()
    }

    #[getter]
    fn kernel(&self) -> &str {
        self.0.kernel()
    }

    #[getter]
    fn midr(&self) -> u64 {
        self.0.midr()
    }

    #[getter]
    fn cores(&self) -> Vec<u64> {
        self.0.cores().to_vec()
    }

    /// The document that it was read from.
    #[getter]
    fn document<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        Some(PyBytes::new(py, self.0.document()?))
    }

    fn vcpus(&self) -> Vec<(String, Vec<&'static str>, bool, Vec<&'static str>)> {
        let words = |(name, config): (&str, VcpuConfig)| {
            (name.to_owned(), config.feature_names(), config.vgic, config.enabled_names())
        };
        self.0.vcpus().map(words).collect()
    }

    /// What a fresh vCPU takes and what it refuses of a register, for each vCPU that was asked, as formulas of SMT-LIB 2 (`any_limit`:
    /// whatever it reads itself, the constant `limit`), and their digest; `None` where the rule has none.
    fn smt(&self, register: u64, any_limit: bool) -> Vec<Option<(String, String, u64)>> {
        let register = core::RegisterId::new(register);
        let fresh = if any_limit { core::rules::Fresh::Symbol } else { core::rules::Fresh::Number };
        let rule = |config: core::HostConfig<'_>| {
            let acceptor = config.acceptor(register, core::Scheme::Kvm, core::answers::State::Fresh, true);
            acceptor.smt(fresh).map(|told| {
                let digest = told.digest();
                (told.takes, told.refuses, digest)
            })
        };
        self.0.made().map(|(_, config)| rule(config)).collect()
    }

    /// The registers of a fresh vCPU in the order of its list, and behind them what its VM has beside registers.
    fn registers(
        &self,
        py: Python<'_>,
        features: Vec<String>,
        vgic: bool,
        enabled: Vec<String>,
    ) -> PyResult<Option<Registers>> {
        match self.0.choose(config(py, &features, vgic, &enabled)?) {
            core::Choice::Made(made) => {
                let registers = made.in_list_order().iter().map(|(id, value)| (*id, value)).chain(made.beside_fresh());
                registers.map(|(id, value)| Ok((id.raw(), to_python(py, value)?))).collect::<PyResult<_>>().map(Some)
            }
            core::Choice::Refused(..) | core::Choice::NotAsked => Ok(None),
        }
    }

    /// What asks most of a host, of all that these registers can hold once a guest has run here.
    fn left_by_guest(&self, registers: Vec<u64>, words: Vec<u64>, pmu: bool) -> Vec<u64> {
        let word = |register: core::RegisterId| {
            let at = registers.iter().position(|id| *id == register.raw())?;
            words.get(at).copied()
        };
        let kernel = self.0.facts_of_kernel();
        let left = |(id, value): (&u64, &u64)| {
            core::rules::left_by_guest(core::RegisterId::new(*id), *value, pmu, &kernel, word)
        };
        registers.iter().zip(&words).map(left).collect()
    }

    /// The release under which the host was asked, where the capture was predicted from that.
    #[getter]
    fn predicted_from(&self) -> Option<&str> {
        self.0.predicted_from()
    }

    /// What is not known of such a vCPU: registers that it may list, and bits of fresh values.
    fn hidden(&self, py: Python<'_>, features: Vec<String>, vgic: bool, enabled: Vec<String>) -> PyResult<Hidden> {
        let core::Choice::Made(made) = self.0.choose(config(py, &features, vgic, &enabled)?) else {
            return Ok((Vec::new(), Vec::new()));
        };
        let listed = made.hidden().listed.iter().map(|id| id.raw()).collect();
        Ok((listed, made.hidden().bits.iter().map(|(id, bits)| (id.raw(), *bits)).collect()))
    }
}

/// The number of a VMM by its name.
fn vmm_number(py: Python<'_>, name: &str) -> PyResult<Option<NonZeroU8>> {
    core::Policy::named(name).map(core::Policy::number).map_err(|problem| argument_error(py, &problem))
}

/// A vCPU configuration by names.
pub(crate) fn config(py: Python<'_>, features: &[String], vgic: bool, enabled: &[String]) -> PyResult<VcpuConfig> {
    let features = VcpuConfig::parse_features(features.iter().map(String::as_str));
    let enabled = VcpuConfig::parse_enabled(enabled.iter().map(String::as_str));
    let features = features.map_err(|problem| argument_error(py, &problem))?;
    let enabled = enabled.map_err(|problem| argument_error(py, &problem))?;
    Ok(VcpuConfig { features, enabled, vgic, vmm: None })
}
