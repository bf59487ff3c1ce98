//! What the first run makes of a PMU (specification, 5.5): some kernels write `PMCR_EL0` once more, as if the guest did.

use super::change::{Change, Fate, Mask, find};
use super::does::Does;
use crate::catalog::{self, ID_AA64DFR0, Kind, PMCCNTR, PMCR};
use crate::id::RegisterId;
use crate::judgement::Evidence;
use crate::rules::facts::Facts;
use crate::rules::pmu::{NOT_ARCHITECTED, PmuControl, V3P5};
use crate::rules::pmu_bits::counter_number;
use crate::rules::release::Release;
use crate::rules::trees;

/// `PMCR_EL0.P` and `PMCR_EL0.C`: written as 1 they reset counters. A guest reads them as 0.
const EVENTS: u64 = 1 << 1;
const CYCLES: u64 = 1 << 2;
/// `PMCR_EL0.LP`: event counters overflow at 64 bits. `PMUv3p5`.
const LONG: u64 = 1 << 7;
/// `PMCR_EL0.N`.
const NUMBER: u64 = 0x1f << 11;
/// What a counter reads that no guest has written (`reset_unknown`, `arch/arm64/kvm/sys_regs.h`).
const UNWRITTEN: u64 = 0x1de7_ec7e_dbad_c0de;

const RESETS_UNKNOWN: &str = "kernels from 5.14 to 6.12.118 reset the counters that PMCR_EL0.P and PMCR_EL0.C name, 5.10 and those \
    from 6.15 on do not; of this one it is not known";
const LONG_UNKNOWN: &str = "kernels from 6.3 to 6.12.118 clear PMCR_EL0.LP of a PMU before PMUv3p5, 6.1 and those from 6.15 on do \
    not; of this one it is not known";

/// The bits of a register that decide.
pub(super) fn bits(register: RegisterId) -> u64 {
    match register {
        PMCR => EVENTS | CYCLES | LONG | NUMBER,
        ID_AA64DFR0 => 0xf << catalog::PMU_VERSION.shift,
        _ => 0,
    }
}

/// The bit of `PMCR_EL0` that resets this register.
pub(crate) fn reset_by(register: RegisterId) -> Option<u64> {
    match catalog::kind_of(register) {
        Kind::PmuCounter => Some(EVENTS),
        _ => (register == PMCCNTR).then_some(CYCLES),
    }
}

/// What stands in `PMCR_EL0.P` and `.C` once a guest has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resets {
    /// These bits, if the guest wrote them.
    MayBeLeft(u64),
    /// Not these bits.
    Cleared(u64),
    /// What was written before the guest ran.
    AsWritten,
}

/// What a kernel leaves in the bits of `PMCR_EL0` that reset counters: before f6da81f650fa (6.3, also in 6.1.24) what a guest wrote
/// last; since then nothing, but where the first run does not write the register again.
pub(crate) fn left_resets(kernel: &Facts<'_>) -> Resets {
    const BOTH: u64 = EVENTS | CYCLES;
    match (kernel.has_ported(&[Release::new(6, 1, 24)], (6, 3)), resets(kernel)) {
        (Some(true), Does::Yes(_)) => Resets::Cleared(BOTH),
        (Some(true), Does::No) => Resets::AsWritten,
        _ => Resets::MayBeLeft(BOTH),
    }
}

/// Whether a reset would take something from a guest.
pub(crate) const fn holds_a_count(word: u64) -> bool {
    !matches!(word, 0 | UNWRITTEN) && word != UNWRITTEN & 0xffff_ffff
}

/// What a host makes of a PMU at its first run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reload {
    resets: Does,
    clears_long: Does,
    /// How the host takes `PMCR_EL0`, which tells how many counters there are; `None` where it is stored as it is.
    control: Option<PmuControl>,
}

impl Reload {
    /// `None` without a PMU.
    pub(super) fn derive(facts: &Facts<'_>) -> Option<Self> {
        let resets = resets(facts);
        let clears_long = match (resets, facts.at_least(6, 3), facts.at_least(6, 2)) {
            (Does::Yes(_), Some(false), Some(false)) => Does::No,
            (Does::Yes(_), Some(true), _) | (Does::No, ..) => resets,
            _ => Does::Unknown(LONG_UNKNOWN),
        };
        // Where the host's number is not known, as many as a VM may have.
        let own = facts.bits(PMCR, NUMBER).unwrap_or(NUMBER);
        let control = facts.at_least(6, 7) != Some(false);
        let control = control.then(|| PmuControl::new(own, facts));
        facts.config.has("pmu_v3").then_some(Self { resets, clears_long, control })
    }

    /// `own`: the host's words of what is looked at.
    pub(super) fn changes(
        &self,
        saved: &[(RegisterId, u64)],
        own: &[(RegisterId, u64)],
    ) -> impl Iterator<Item = Change> {
        let control = find(saved, PMCR).unwrap_or(0);
        let number = control >> 11 & 0x1f;
        let number = self.control.map_or(number, |how| how.counters(number));
        let is_there = move |id: RegisterId| counter_number(id).is_none_or(|counter| counter < number);
        let counters = saved.iter().filter(move |(id, _)| reset_by(*id).is_some() && is_there(*id));
        let counters = counters.filter_map(|(id, _)| change(self.resets, *id, u64::MAX, RESETS));
        let version = find(saved, ID_AA64DFR0).or_else(|| find(own, ID_AA64DFR0)).unwrap_or(0);
        let is_short =
            catalog::PMU_VERSION.of(version).is_none_or(|version| !(V3P5..NOT_ARCHITECTED).contains(&version));
        let long = control & LONG != 0 && is_short;
        counters.chain(long.then(|| change(self.clears_long, PMCR, LONG, CLEARS_LONG)).flatten())
    }
}

const RESETS: &str = "the first run writes PMCR_EL0 again, whose P and C reset the counters";
const CLEARS_LONG: &str = "the first run clears PMCR_EL0.LP, which a PMU before PMUv3p5 does not have";

fn change(does: Does, register: RegisterId, zeros: u64, why: &'static str) -> Option<Change> {
    let (fate, evidence) = match does {
        Does::No => return None,
        Does::Yes(evidence) => (Fate::Bits(Mask { zeros, ones: 0 }), evidence),
        Does::NotToOwn(needs) | Does::Unknown(needs) => (Fate::Unknown(needs), Evidence::None),
    };
    Some(Change { register, fate, evidence, why })
}

/// Commit d0c94c49792c of 5.14, also in 5.12.17 and 5.13 (of which point releases was not looked up), not in 5.10.223 (run); run on
/// 6.1.192, read in 6.6 and 6.12. 6.15 reprograms counters instead (read), which was ported back to 6.13 and 6.14 at least in part.
fn resets(facts: &Facts<'_>) -> Does {
    let Some(release) = facts.release.filter(|release| !trees::is_younger(*release)) else {
        return Does::Unknown(RESETS_UNKNOWN);
    };
    match (release.at_least(6, 15), release.at_least(5, 14), release.at_least(5, 11)) {
        (true, ..) => Does::No,
        _ if facts.is_vendors => Does::Unknown(RESETS_UNKNOWN),
        (_, true, _) if facts.has_reached(Release::new(6, 12, 119)) == Some(false) => Does::Yes(Evidence::Derived),
        (.., false, false) => Does::No,
        _ => Does::Unknown(RESETS_UNKNOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Hidden;
    use crate::value::Value;
    use crate::vcpu::VcpuConfig;

    const fn counter(number: u64) -> RegisterId {
        RegisterId::system(3, 3, 14, 8, number)
    }

    #[test]
    fn pmcr_decides_by_its_resets_its_length_and_its_number() {
        assert_eq!([PMCR, ID_AA64DFR0, PMCCNTR].map(bits), [0xf886, 0xf00, 0]);
    }

    #[test]
    fn resets_are_known_of_the_releases_that_were_read() {
        let unknown = Does::Unknown(RESETS_UNKNOWN);
        for (release, is_vendors, expected) in [
            ("5.10.223", false, Does::No),
            ("5.10.223", true, unknown),
            ("5.12.17", false, unknown),
            ("5.14.0", false, Does::Yes(Evidence::Derived)),
            ("6.1.192", false, Does::Yes(Evidence::Derived)),
            ("6.1.192", true, unknown),
            ("6.12.118", false, Does::Yes(Evidence::Derived)),
            ("6.12.119", false, unknown),
            ("6.13.1", false, unknown),
            ("6.14.9", false, unknown),
            ("6.15.1", false, Does::No),
            ("7.3.4", true, Does::No),
            ("99.0", false, unknown),
        ] {
            let facts = Facts { release: Release::parse(release), is_vendors, ..Facts::default() };
            assert_eq!(resets(&facts), expected, "{release}");
        }
    }

    /// The counters of a saved set of five, of which `PMCR_EL0` names four, that a host resets.
    fn reset_on(own: u64, hidden: u64) -> Vec<RegisterId> {
        let registers = [(PMCR, Value::Word(own))];
        let hidden = Hidden { bits: vec![(PMCR, hidden)], ..Hidden::default() };
        let config = VcpuConfig { features: VcpuConfig::parse_features(["pmu_v3"]).unwrap(), ..VcpuConfig::default() };
        let release = Release::parse("6.12.8");
        let facts = Facts { release, config, registers: &registers, hidden: Some(&hidden), ..Facts::default() };
        let mut saved: Vec<(RegisterId, u64)> = (0..5).map(|number| (counter(number), 1)).collect();
        saved.push((PMCR, 4 << 11 | EVENTS));
        saved.sort_unstable();
        Reload::derive(&facts).unwrap().changes(&saved, &[]).map(|change| change.register).collect()
    }

    #[test]
    fn a_host_resets_the_counters_that_its_vms_have() {
        let first = |count: u64| (0..count).map(counter).collect::<Vec<_>>();
        assert_eq!(reset_on(2 << 11, 0), first(2));
        assert_eq!(reset_on(6 << 11, 0), first(4));
        assert_eq!(reset_on(0, NUMBER | LONG), first(4), "a number that is not known may be any");
        assert_eq!(reset_on(0, 0), first(0));
    }
}
