//! The question: under which policy and scheme a pair is judged, and what the target vCPU has done.

use crate::acceptor::{Acceptor, Scheme};
use crate::answers::State;
use crate::host::{Host, HostConfig};
use crate::id::RegisterId;
use crate::making::NotMade;
use crate::policy::Policy;
use crate::rules::Rule;
use crate::surroundings::Handling;
use crate::value::Value;
use crate::vcpu::VcpuConfig;
use crate::vmms::{ListTest, VmmRule};

/// How to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// How the VMM restores.
    pub policy: Policy,
    /// Who judges.
    pub scheme: Scheme,
    /// What the target vCPU has done before: `Fresh` for a restore.
    pub state: State,
    /// Leave recorded answers out and judge by rules alone: what a host without a probe would get.
    pub derive_only: bool,
}

impl Default for Question {
    fn default() -> Self {
        Self { policy: Policy::default(), scheme: Scheme::default(), state: State::Fresh, derive_only: false }
    }
}

impl Question {
    /// How the VMM restores that a pair is judged by.
    pub(crate) fn policy_of(self, vcpu: VcpuConfig, host: &Host) -> Result<Policy, NotMade> {
        self.policy.of_pair(vcpu.vmm, host.vmm())
    }

    /// Whether it matters whose VM it is: where each pair is judged by its own.
    pub(crate) fn looks_at_vmm(self) -> bool {
        self.policy == Policy::OWN
    }

    /// What tells how a VM's vCPU is restored.
    pub(crate) fn looked_at(self, vcpu: VcpuConfig) -> VcpuConfig {
        if self.looks_at_vmm() { vcpu } else { VcpuConfig { vmm: None, ..vcpu } }
    }

    /// How a host judges `register` under a rule of the policy.
    pub(crate) fn acceptor(self, rule: &VmmRule, config: HostConfig<'_>, register: RegisterId) -> Acceptor {
        if register.is_surrounding() {
            return self.beside(rule, config, register);
        }
        if !rule.asks_kvm(register) {
            return if register.is_state() {
                Acceptor::Elsewhere
            } else if config.is_hidden(register) {
                config.not_known(register)
            } else {
                Acceptor::Unwritten(config.value(register).cloned())
            };
        }
        let is_listed = config.value(register).is_some() || config.hidden().may_list(register);
        if rule.list_test != ListTest::None && rule.carries(register) && !is_listed {
            return Acceptor::Elsewhere;
        }
        let mut acceptor = config.acceptor(register, self.scheme, self.state, self.derive_only);
        if let Acceptor::Kvm(target) = &mut acceptor {
            target.before_id_registers = rule.before_id_registers(register);
            if let Rule::SveState(state) = &mut target.rule
                && !rule.carries(RegisterId::SVE_VLS)
            {
                state.ignore_saved_lengths();
            }
        }
        acceptor
    }

    /// How a host judges something beside registers; nothing is said where the host was not asked, or the VMM does nothing with it.
    fn beside(self, rule: &VmmRule, config: HostConfig<'_>, id: RegisterId) -> Acceptor {
        let (Some(handling), Some(recorded)) = (rule.handles(id), config.surrounding(id)) else {
            return Acceptor::Elsewhere;
        };
        let own = recorded.own.as_ref().ok().cloned();
        let by_kvm = || config.acceptor(id, self.scheme, self.state, self.derive_only);
        match handling {
            Handling::Writes(_) => by_kvm(),
            Handling::PrefersV3(_) => match config.makes_vgic() {
                Some(true) => Acceptor::Equal(Some(Value::Word(0))),
                Some(false) => by_kvm(),
                // Without a GICv2 it fails either way.
                None if own.is_none() => by_kvm(),
                None => config.not_known(id),
            },
            Handling::Compares(_) => Acceptor::Equal(own),
            Handling::Leaves(_) if self.scheme.judges(id) => Acceptor::Equal(own),
            Handling::Leaves(_) => Acceptor::Unwritten(own),
        }
    }
}
