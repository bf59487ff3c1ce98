//! What stands beside registers: which rule a host has for it.

use super::super::facts::{Facts, PROBE};
use super::super::release::{Release, has_change};
use super::super::rule::Rule;
use super::super::surroundings::Beside;
use super::super::trees;
use crate::catalog::{self, Kind};
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::value::Value;

/// The rule by which a host that shows `own`, or has no such thing, decides it.
pub(crate) fn derive_beside(register: RegisterId, own: Result<&Value, Errno>, facts: &Facts<'_>) -> Rule {
    match (catalog::kind_of(register), own) {
        (Kind::StealTime, Err(errno)) => Rule::Beside(Beside::StealTime(Some(errno))),
        (Kind::Device, own) => Rule::Beside(Beside::Made(own.err())),
        (_, Err(errno)) => Rule::Refused(errno),
        // Of these the documentation of the ioctl says so (`Documentation/virt/kvm/api.rst`, KVM_CREATE_VM).
        (Kind::AddressBits, Ok(Value::Word(own))) => Rule::Beside(Beside::AddressBits(*own)),
        (Kind::PageSize, Ok(Value::Word(own))) => Rule::Beside(Beside::PageSize(*own)),
        (_, Ok(own)) if facts.release.is_none_or(trees::is_younger) => {
            let why = if facts.release.is_some() { trees::YOUNGER } else { facts.untold() };
            Rule::only_alike(register, own.clone(), why, facts)
        }
        (Kind::StealTime, Ok(_)) => Rule::Beside(Beside::StealTime(None)),
        (Kind::VgicControl, Ok(Value::Word(own))) => Rule::Beside(Beside::VgicControl(*own)),
        (Kind::ItsRevision, Ok(Value::Word(own))) => Rule::Beside(Beside::ItsRevision(*own)),
        (Kind::DistributorRevision, Ok(Value::Word(own))) => distributor_revision(register, *own, facts),
        (Kind::DistributorFeatures, Ok(own)) => distributor_features(register, own, facts),
        (_, Ok(_)) => Rule::Unknown(PROBE),
    }
}

/// For each line that took the fix of `GICD_IIDR` in, the last release that was seen without and the first seen with it: before,
/// the revision that is written was not looked at (April 2026, 7.1). Of 6.6 nothing was seen.
const STORES_REVISIONS: [(Release, Release); 6] = [
    (Release::new(6, 0, u32::MAX), Release::new(6, 1, 192)),
    (Release::new(6, 5, u32::MAX), Release::new(6, 6, u32::MAX)),
    (Release::new(6, 12, 86), Release::new(6, 12, 88)),
    (Release::new(6, 18, 15), Release::new(6, 18, u32::MAX)),
    (Release::new(6, 19, 14), Release::new(6, 19, u32::MAX)),
    (Release::new(6, 19, u32::MAX), Release::new(7, 0, 13)),
];

fn stores_revisions(facts: &Facts<'_>) -> Option<bool> {
    let release = facts.release?;
    let has_fix = release.at_least(7, 1);
    if facts.is_vendors {
        return has_fix.then_some(true);
    }
    let line = STORES_REVISIONS.iter().find(|(_, with)| release.is_of_line(*with));
    line.map_or(Some(has_fix), |(without, with)| has_change(release, *without, *with))
}

/// Up to 5.18 only the own value is taken (5.10 run); then others come into question (commit 49a1a2c70a7f).
fn distributor_revision(register: RegisterId, own: u64, facts: &Facts<'_>) -> Rule {
    if facts.at_least(5, 10) != Some(true) {
        return Rule::only_alike(register, Value::Word(own), PROBE, facts);
    }
    let (knows, stores) = (facts.at_least(5, 19), stores_revisions(facts));
    let with = |stores| Rule::Beside(Beside::DistributorRevision { own, stores });
    let possible = [
        (knows != Some(true)).then_some(Rule::Equal(Value::Word(own))),
        (knows != Some(false) && stores != Some(false)).then(|| with(true)),
        (knows != Some(false) && stores != Some(true)).then(|| with(false)),
    ];
    let mut possible: Vec<Rule> = possible.into_iter().flatten().collect();
    if possible.len() == 1 { possible.remove(0) } else { Rule::AnyOf(possible.into(), facts.untold()) }
}

/// Once the vGIC is initialised it is what it is; up to 6.16 that is EINVAL, from 6.17 on EBUSY (6.16.12 and 6.17.8 run).
fn distributor_features(register: RegisterId, own: &Value, facts: &Facts<'_>) -> Rule {
    let (without, with) = (Release::new(6, 16, u32::MAX), Release::new(6, 17, 8));
    let is_busy = facts.release.and_then(|release| has_change(release, without, with));
    let errno =
        is_busy.filter(|busy| *busy || !facts.is_vendors).map(|busy| if busy { Errno::EBUSY } else { Errno::EINVAL });
    match (facts.at_least(5, 10), own) {
        (Some(true), Value::Word(own)) => Rule::Beside(Beside::Settled { own: *own, errno }),
        _ => Rule::only_alike(register, own.clone(), PROBE, facts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judgement::Effect;
    use crate::rules::release::is_upstream;

    const OWN: Value = Value::Word(0x4b00_343b);

    fn judged(register: RegisterId, own: &Value, kernel: &str, word: u64) -> Effect {
        let facts = Facts { release: Release::parse(kernel), is_vendors: !is_upstream(kernel), ..Facts::default() };
        derive_beside(register, Ok(own), &facts).judge(&Value::Word(word), None)
    }

    #[test]
    fn of_the_revision_the_release_decides_and_where_it_does_not_tell_nothing_is_said() {
        let judge = |kernel, word| judged(RegisterId::GICD_IIDR, &OWN, kernel, word);
        let dropped = Effect::Dropped(Some(OWN));
        let refused = Effect::Refused(Some(Errno::EINVAL));
        for kernel in
            ["5.10.223", "6.1.192", "6.12.117", "6.6.90", "6.18.16", "7.3.4", "5.15.0-1052-aws", "4.19.1", "8.0.1"]
        {
            assert_eq!(judge(kernel, 0x4b00_343b), Effect::Kept, "{kernel}");
        }
        for (kernel, effect) in [
            ("5.10.223", refused.clone()),
            ("5.18.3", refused.clone()),
            ("5.19.4", dropped.clone()),
            ("6.1.192", Effect::Kept),
            ("6.12.86", dropped.clone()),
            ("6.12.88", Effect::Kept),
            ("6.16.12", dropped.clone()),
            ("6.18.15", dropped),
            ("7.0.13", Effect::Kept),
            ("7.1.8", Effect::Kept),
            ("7.2.13-2-azure", Effect::Kept),
        ] {
            assert_eq!(judge(kernel, 0x4b00_243b), effect, "{kernel}");
        }
        for kernel in
            ["6.1.90", "6.6.90", "6.12.87", "6.18.16", "7.0.2", "6.8.0-1052-aws", "5.15.0-1052-aws", "4.19.1", "8.0.1"]
        {
            assert!(matches!(judge(kernel, 0x4b00_243b), Effect::Unknown(_)), "{kernel}");
        }
        // Whose it is nobody may change.
        for kernel in ["5.10.223", "6.6.90", "6.8.0-1052-aws", "6.18.16", "7.3.4"] {
            assert_eq!(judge(kernel, 0x4a00_343b), refused, "{kernel}");
        }
    }

    #[test]
    fn features_of_the_distributor_are_settled_and_only_the_error_changed() {
        let judge = |kernel, word| judged(RegisterId::GICD_TYPER2, &Value::Word(0), kernel, word);
        for (kernel, errno) in [
            ("5.10.223", Some(Errno::EINVAL)),
            ("6.16.12", Some(Errno::EINVAL)),
            ("6.17.8", Some(Errno::EBUSY)),
            ("6.17.2", None),
            ("6.8.0-1052-aws", None),
            ("7.3.4", Some(Errno::EBUSY)),
        ] {
            assert_eq!([judge(kernel, 0), judge(kernel, 0x100)], [Effect::Kept, Effect::Refused(errno)], "{kernel}");
        }
        assert!(matches!(judge("4.19.1", 0x100), Effect::Unknown(_)));
    }

    #[test]
    fn bits_of_addresses_are_of_no_release() {
        let judge = |word| judged(RegisterId::IPA_BITS, &Value::Word(0x28), "8.0.1", word);
        assert_eq!([judge(0x24), judge(0x29)], [Effect::Kept, Effect::Refused(Some(Errno::EINVAL))]);
    }
}
