//! What was proved of the image that a host runs.

use super::HostConfig;
use crate::id::RegisterId;
use crate::rules::{self, Rule};

impl HostConfig<'_> {
    /// Whether the code of this image was proved to do to a VM that has not run what the rule says of a register. A host that does not
    /// tell its build may run another image under the same release.
    pub(crate) fn is_proved(&self, register: RegisterId, rule: &Rule) -> bool {
        let build = self.host.kernel_build.as_ref().filter(|_| !self.config.has("has_el2"));
        build.is_some_and(|build| rules::is_proved((&self.host.kernel, build), register, rule))
    }
}
