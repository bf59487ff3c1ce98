//! Judges whether a host's KVM takes a VM's saved register set, and why not.
//!
//! Captures of hosts become [`Host`]s, saved registers become [`RegisterSet`]s; [`validate()`] judges one
//! pair with all its findings, and a [`Fleet`] judges millions of them by look-up. The words are those of
//! the project's glossary: a register's *acceptor* gives an *outcome*; a pair's outcome is the greatest of its
//! registers'.

mod acceptor;
pub mod answers;
pub mod audit;
mod capabilities;
pub mod capture;
pub mod catalog;
mod errno;
mod error;
mod explain;
mod finding;
mod fleet;
mod host;
mod id;
mod json;
mod judgement;
mod list;
mod making;
mod policy;
mod pool;
mod question;
mod room;
mod rule_ids;
pub mod rules;
mod set;
mod settings;
mod surroundings;
mod taken;
mod told;
mod value;
mod vcpu;
mod verdict;
mod vmm_words;
mod vmms;
mod wide;

/// Names the source of this core: only a core of the same source is known to tell apart what another one did.
pub const SOURCE: &str = env!("KVMFW_SOURCE");

pub use acceptor::{Acceptor, Scheme, Target};
pub use capabilities::CAPABILITIES;
pub use errno::Errno;
pub use error::{FormatError, IntakeError, MemoryError, MissingError, RowError};
pub use explain::{number as field_number, rule_of};
pub use finding::Finding;
pub use fleet::{
    Arcs, AuditCounts, Blocked, Change, ChangedClass, Changes, Differing, Emptying, Fleet, Handle, Heads, HostHandle,
    Kinds, Left, Limits, NO_UNIT, Named, Names, Number, RowIndex, Runs, Snapshot, Step, Texts, Turn, UnitOutcomes,
    VmHandle, Who,
};
pub use host::{Choice, Host, HostConfig};
pub use id::{Group, RegisterId};
pub use judgement::{Effect, Evidence, Judgement, Outcome, Unit, UnitKind};
pub use policy::{LISTED_FIRST, Policy, is_looked_at};
pub use pool::{Stopped, Threads};
pub use question::Question;
pub use rule_ids::RuleId;
pub use set::RegisterSet;
pub use surroundings::Surrounding;
pub use taken::Taken;
pub use told::{ToldList, ToldRange};
pub use value::Value;
pub use vcpu::{ENABLED, FEATURES, Inference, VcpuConfig};
pub use verdict::{Verdict, validate};
pub use vmms::VmmRow;
