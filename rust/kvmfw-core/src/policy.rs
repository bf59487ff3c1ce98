//! Restore policies: what a VMM writes, and in which order.

use crate::catalog::{Gate, Kind};
use crate::host::context_gate;
use crate::id::{Group, RegisterId};
use crate::rules::Context;
use crate::set::RegisterSet;
use crate::value::Value;

/// How a VMM restores a register set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Policy {
    /// Every saved register is written: `SVE_VLS` first, the rest ascending by id; errors do not stop the others.
    #[default]
    Kvm,
}

impl Policy {
    /// All policies.
    pub const ALL: &'static [Self] = &[Self::Kvm];

    /// The name used everywhere (`vmm=`).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
        }
    }

    /// The policy of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|policy| policy.name() == name)
    }

    /// Where `register` stands among the writes.
    pub(crate) fn write_order(self, register: RegisterId) -> (u8, u64) {
        match self {
            Self::Kvm => (u8::from(register != RegisterId::SVE_VLS), register.raw()),
        }
    }

    /// The field of the VM's own ID registers that `kind` depends on, as it is when the register is written.
    pub(crate) fn context(self, kind: Kind, set: &RegisterSet) -> Context {
        let gate = context_gate(kind)?;
        match self {
            Self::Kvm => saved_field(gate, set),
        }
    }
}

/// The value of a field in a saved set.
pub(crate) fn saved_field(gate: Gate, set: &RegisterSet) -> Context {
    let word = set.get(gate.register).and_then(Value::word)?;
    u8::try_from(word >> gate.shift & 0xf).ok()
}

/// Whether KVM looks at the value of `register`, so that it is a unit of its own.
pub(crate) fn is_judged_by_value(register: RegisterId) -> bool {
    !matches!(crate::catalog::kind_of(register), Kind::Plain) && register.group() != Group::Core
}
