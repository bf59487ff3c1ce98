//! What a host would show under another kernel.

use std::collections::BTreeMap;

use kvmfw_core::rules::{self, Kernel, Surface};
use kvmfw_core::{HostConfig, RegisterId};
use pyo3::prelude::*;

use crate::errors::argument_error;
use crate::sets::Host;
use crate::values::to_python;

/// Of each register that has a table of fields in an image, the bits of these fields.
type Fields = Option<BTreeMap<u64, u64>>;

/// A question about one vCPU of a host: under which kernel, and what is known of both beside their releases.
struct Question<'a> {
    config: HostConfig<'a>,
    surface: Surface<'a>,
    was: Kernel,
    will: Kernel,
}

fn kernel(release: &str, fields: Fields) -> Kernel {
    Kernel::new(release, fields.map(|all| all.into_iter().map(|(id, bits)| (RegisterId::new(id), bits)).collect()))
}

/// A value, the bits of it that are not known, and what the hardware has in a field that the kernel hides.
type Told = (Py<PyAny>, u64, Option<u64>);

/// What sysfs says of Meltdown, and the options with which the kernel was booted, as [`Surface`] has them.
type Recorded = (Option<String>, Vec<String>);

impl<'a> Question<'a> {
    fn new(
        py: Python<'_>,
        host: &'a Host,
        vcpu: &str,
        release: &str,
        (was, will): (Fields, Fields),
        (meltdown, boot_options): &'a Recorded,
    ) -> PyResult<Self> {
        let found = host.0.made().find(|(name, _)| *name == vcpu);
        let (_, config) = found.ok_or_else(|| argument_error(py, &format!("the host has no vCPU named `{vcpu}`")))?;
        let surface = Surface {
            boot_options,
            meltdown: meltdown.as_deref(),
            midr: host.0.midr(),
            makes_vgic: host.0.made().any(|(_, made)| made.config().vgic),
        };
        Ok(Self { config, surface, was: kernel(host.0.kernel(), was), will: kernel(release, will) })
    }
}

/// What a fresh vCPU would read in these registers under the kernel `release`, if it lists them: value, bits of it that are not
/// known, and what the hardware has in a field that the kernel hides and takes nevertheless.
#[pyfunction]
pub(crate) fn foretell(
    py: Python<'_>,
    host: &Host,
    vcpu: &str,
    release: &str,
    fields: (Fields, Fields),
    recorded: Recorded,
    registers: Vec<u64>,
) -> PyResult<Vec<Told>> {
    let asked = Question::new(py, host, vcpu, release, fields, &recorded)?;
    let facts = asked.config.facts_of_fresh();
    let each = registers.into_iter().map(|register| {
        let one = rules::foretell(RegisterId::new(register), &facts, asked.surface, &asked.was, &asked.will);
        Ok((to_python(py, &one.value)?, one.hidden, one.hardware))
    });
    each.collect()
}

/// Which registers a vCPU would list under the kernel `release`; `None` where that is not known.
#[pyfunction]
pub(crate) fn foretell_list(
    py: Python<'_>,
    host: &Host,
    vcpu: &str,
    release: &str,
    fields: (Fields, Fields),
    recorded: Recorded,
) -> PyResult<Vec<(u64, Option<bool>)>> {
    let asked = Question::new(py, host, vcpu, release, fields, &recorded)?;
    let facts = asked.config.facts_of_fresh();
    let all = rules::foretell_list(&facts, asked.surface, &asked.was, &asked.will);
    Ok(all.into_iter().map(|(register, listed)| (register.raw(), listed)).collect())
}

/// Whether the kernel `release` makes this vCPU too; `None` where that is not known.
#[pyfunction]
pub(crate) fn foretell_made(
    py: Python<'_>,
    host: &Host,
    vcpu: &str,
    release: &str,
    recorded: Recorded,
) -> PyResult<Option<bool>> {
    let asked = Question::new(py, host, vcpu, release, (None, None), &recorded)?;
    Ok(rules::foretell_made(&asked.config.facts_of_fresh(), asked.surface, &asked.was, &asked.will))
}
