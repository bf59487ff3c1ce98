//! Which rule a host has for a register, by what was observed of it.

pub(super) mod beside;
mod cache;
pub(super) mod firmware;
mod hidden;
mod identification;
mod implementation;
pub(super) mod listing;
mod plain;
pub(super) mod pmu;
mod pmu_bits;
mod state;

use super::facts::{Facts, PROBE};
use super::hidden::NOT_LISTED;
use super::rule::Rule;
use super::trees;
use crate::answers::State;
use crate::catalog::{self, Kind};
use crate::errno::Errno;
use crate::id::RegisterId;

/// The rule by which a KVM with these facts decides `register`.
pub fn derive(register: RegisterId, facts: &Facts<'_>) -> Rule {
    if facts.may_list(register) {
        return Rule::Unknown(NOT_LISTED);
    }
    hidden::unless_known(decided(register, facts), facts.hidden_bits(register))
}

/// The same, as if all of the fresh value were known.
fn decided(register: RegisterId, facts: &Facts<'_>) -> Rule {
    let Some(fresh) = facts.value(register) else {
        return listing::absent(register, facts);
    };
    let word = |rule: &dyn Fn(u64) -> Rule| fresh.word().map_or(Rule::Unknown(PROBE), rule);
    let kind = catalog::kind_of(register);
    if has_changed(kind) && facts.release.is_none_or(trees::is_younger) {
        let why = if facts.release.is_some() { trees::YOUNGER } else { facts.untold() };
        return Rule::only_alike(register, fresh.clone(), why, facts);
    }
    match kind {
        Kind::Plain | Kind::Masked => plain::stored(register, facts),
        Kind::ProcessorState => state::processor_state(facts),
        Kind::General => word(&|own| state::general(register, own, facts)),
        Kind::SveState => state::sve_state(register, fresh, facts),
        Kind::TimerControl => word(&|own| state::timer_control(register, own, facts)),
        Kind::PsciVersion => firmware::psci_version(facts),
        Kind::Level => word(&Rule::Level),
        Kind::Workaround2 => firmware::workaround_2(facts),
        Kind::Bitmap(mask) => firmware::bitmap(mask, fresh, facts),
        Kind::Gated(gate) => listing::gated(register, gate, facts),
        // 4: after the vCPU is finalised, and so after it ran, the lengths are fixed.
        Kind::VectorLengths if facts.state != State::Fresh => Rule::Refused(Errno::EPERM),
        Kind::VectorLengths => Rule::VectorLengths(fresh.clone()),
        Kind::Identification => word(&|own| identification::identification(register, own, facts)),
        Kind::Implementation(mask) => word(&|own| implementation::implementation(own, mask, facts)),
        Kind::CacheType => word(&|own| identification::cache_type(own, facts)),
        Kind::CacheLevels => word(&|own| cache::cache_levels(own, facts)),
        Kind::CacheSize => word(&|own| cache::cache_size(register, own, facts)),
        Kind::OsLockStatus => word(&Rule::OsLock),
        Kind::PmuControl => word(&|own| pmu::control(own, facts)),
        Kind::PmuMachine => word(&|own| pmu::machine(own, facts)),
        Kind::PmuIncrement => pmu::increment(facts),
        Kind::PmuCounter => word(&|own| pmu::counter(own, facts)),
        Kind::PmuBits => word(&|own| pmu_bits::bits(register, own, facts)),
        // No registers: see `beside`.
        Kind::VgicControl
        | Kind::DistributorRevision
        | Kind::DistributorFeatures
        | Kind::ItsRevision
        | Kind::StealTime
        | Kind::Frequency
        | Kind::AddressBits
        | Kind::PageSize
        | Kind::Device => Rule::Unknown(PROBE),
        Kind::Unlisted => Rule::only_fresh(fresh.clone(), PROBE, facts),
    }
}

/// Whether known kernels have decided such registers differently, or each knows more of their values; a younger one may again.
/// (Those of identification and bitmaps know it by themselves.)
const fn has_changed(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Masked
            | Kind::Gated(_)
            | Kind::TimerControl
            | Kind::PsciVersion
            | Kind::Level
            | Kind::Workaround2
            | Kind::Implementation(_)
            | Kind::CacheLevels
            | Kind::CacheSize
            | Kind::PmuControl
            | Kind::PmuMachine
            | Kind::PmuIncrement
            | Kind::PmuCounter
            | Kind::PmuBits
    )
}
