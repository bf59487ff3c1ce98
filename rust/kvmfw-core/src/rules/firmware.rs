//! Firmware pseudo-registers (specification, section 1).

use super::facts::Context;
use crate::errno::Errno;
use crate::judgement::Effect;
use crate::value::Value;

/// 1.5: nothing is stored, the guest goes on seeing the host's level.
pub(super) fn judge_level(value: &Value, level: u64) -> Effect {
    match value.word() {
        Some(word) if word == level => Effect::Kept,
        Some(word) if word < level => Effect::Raised(Value::Word(level)),
        _ => Effect::Refused(Some(Errno::EINVAL)),
    }
}

/// 1.6, second half: what `WORKAROUND_2` needs to know from 5.10 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Workaround2 {
    /// The level that a fresh vCPU reads: 0 or 3.
    pub(super) level: u64,
    /// Whether hiding SSBS from the VM raises the level to 3: `None` where that is not known.
    pub(super) raised_without_ssbs: Option<bool>,
}

impl Workaround2 {
    pub(super) fn judge(self, value: &Value, ssbs: Context) -> Effect {
        let refused = Effect::Refused(Some(Errno::EINVAL));
        let Some(word) = value.word() else { return refused };
        let (level, enabled) = (word & 0xf, word & 0x10 != 0);
        if word & !0x1f != 0 || level > 3 || (enabled && level != 2) {
            return refused;
        }
        let needed = if level >= 2 { 3 } else { 0 };
        let host = match (ssbs, self.raised_without_ssbs) {
            (Some(0), Some(true)) => 3,
            (Some(0), None) if needed == 3 || word == 0 => {
                return Effect::Unknown("write ID_AA64PFR1_EL1.SSBS = 0 and then this value on the host");
            }
            // Level 1 is taken either way, and reads 0 or 3.
            (Some(0), None) => return Effect::Rewritten(None),
            _ => self.level,
        };
        if needed > host {
            return refused;
        }
        if word == host { Effect::Kept } else { reads(word, host) }
    }
}

/// 1.6, first half (5.3 to 5.9): the level is compared as it is, and bit 4 is the flag of a dynamic mitigation.
pub(super) fn judge_workaround_2_flag(value: &Value, host: u64) -> Effect {
    let refused = Effect::Refused(Some(Errno::EINVAL));
    let Some(word) = value.word() else { return refused };
    let (level, enabled) = (word & 0xf, word & 0x10 != 0);
    if word & !0x1f != 0 || level > host || (enabled && level != 2) {
        return refused;
    }
    match host {
        2 if level == 2 => Effect::Kept,
        // The flag is on at reset, so a lower level reads 0x12 afterwards.
        2 => Effect::Raised(Value::Word(0x12)),
        _ if word == host => Effect::Kept,
        _ => reads(word, host),
    }
}

/// What a level register means that reads `host` after `written` was taken. Nothing is stored, so a value that is not
/// lower (the flag of level 2, or level 1 on a host of level 0) is dropped.
pub(crate) fn reads(written: u64, host: u64) -> Effect {
    let higher = host & 0xf > written & 0xf;
    if higher { Effect::Raised(Value::Word(host)) } else { Effect::Dropped(Some(Value::Word(host))) }
}

pub(super) fn judge_bits(value: &Value, mask: u64, current: Option<u64>) -> Effect {
    let Some(word) = value.word().filter(|word| word & !mask == 0) else {
        return Effect::Refused(Some(Errno::EINVAL));
    };
    current.map_or(Effect::Kept, |current| Effect::kept_if(word == current, Errno::EBUSY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;
    use crate::rules::derive::firmware::{NEW_BIT, bitmap, psci_version, workaround_2};
    use crate::rules::{Facts, Rule};

    fn word(value: u64) -> Value {
        Value::Word(value)
    }

    #[test]
    fn levels_are_taken_up_to_the_hosts() {
        assert_eq!(judge_level(&word(1), 1), Effect::Kept);
        assert_eq!(judge_level(&word(0), 1), Effect::Raised(word(1)));
        assert_eq!(judge_level(&word(2), 1), Effect::Refused(Some(Errno::EINVAL)));
        assert_eq!(judge_level(&word(0x10), 2), Effect::Refused(Some(Errno::EINVAL)));
    }

    #[test]
    fn workaround_2_depends_on_the_ssbs_field_of_the_vm() {
        let mitigated = Workaround2 { level: 0, raised_without_ssbs: Some(true) };
        assert_eq!(mitigated.judge(&word(3), Some(0)), Effect::Kept);
        assert_eq!(mitigated.judge(&word(3), Some(2)), Effect::Refused(Some(Errno::EINVAL)));
        assert_eq!(mitigated.judge(&word(3), None), Effect::Refused(Some(Errno::EINVAL)));
        assert_eq!(mitigated.judge(&word(0), None), Effect::Kept);
        assert_eq!(mitigated.judge(&word(0), Some(0)), Effect::Raised(word(3)));
        let untold = Workaround2 { level: 0, raised_without_ssbs: None };
        assert!(matches!(untold.judge(&word(3), Some(0)), Effect::Unknown(_)));
        assert_eq!(untold.judge(&word(4), Some(0)), Effect::Refused(Some(Errno::EINVAL)));
        assert_eq!(untold.judge(&word(1), Some(0)), Effect::Rewritten(None), "taken, but reads 0 or 3");
    }

    #[test]
    fn workaround_2_knows_three_levels_and_one_flag() {
        let always_on = Workaround2 { level: 3, raised_without_ssbs: Some(false) };
        for (value, taken) in [
            (0, true),
            (1, true),
            (2, true),
            (3, true),
            (0x12, true),
            (0x10, false),
            (0x13, false),
            (4, false),
            (0x20, false),
        ] {
            assert_eq!(!matches!(always_on.judge(&word(value), None), Effect::Refused(_)), taken, "{value:#x}");
        }
    }

    #[test]
    fn the_mask_is_looked_at_before_the_run() {
        assert_eq!(judge_bits(&word(4), 3, Some(3)), Effect::Refused(Some(Errno::EINVAL)));
        assert_eq!(judge_bits(&word(1), 3, Some(3)), Effect::Refused(Some(Errno::EBUSY)));
        assert_eq!(judge_bits(&word(3), 3, Some(3)), Effect::Kept);
        assert_eq!(judge_bits(&word(1), 3, None), Effect::Kept);
    }

    fn derived(release: &str, sysfs: Option<bool>, registers: &[(crate::RegisterId, u64)], masks: Option<u64>) -> Rule {
        let mut registers: Vec<_> = registers.iter().map(|(id, value)| (*id, word(*value))).collect();
        registers.sort();
        let masks = masks.map(|mask| [(catalog::ID_AA64PFR1, mask)]);
        let facts = Facts {
            release: crate::rules::Release::parse(release),
            registers: &registers,
            masks: masks.as_ref().map(<[_; 1]>::as_slice),
            spec_store_bypass_mitigated: sysfs,
            ..Facts::default()
        };
        workaround_2(&facts)
    }

    #[test]
    fn sysfs_tells_whether_hiding_ssbs_raises_the_level() {
        let host = [(catalog::WORKAROUND_2, 0), (catalog::ID_AA64PFR1, 0x20)];
        let rule = |release, sysfs, masks| derived(release, sysfs, &host, masks).judge(&word(3), Some(0));
        let refused = Effect::Refused(Some(Errno::EINVAL));
        assert_eq!(rule("6.12.8", Some(true), None), Effect::Kept);
        assert_eq!(rule("6.12.8", Some(false), None), refused);
        assert!(matches!(rule("6.12.8", None, None), Effect::Unknown(_)));
        assert_eq!(rule("6.1.4", Some(true), None), refused);
        assert_eq!(rule("6.12.8", Some(true), Some(0xf0)), Effect::Kept);
        assert!(
            matches!(rule("6.9.1", Some(true), Some(0xf0)), Effect::Unknown(_)),
            "that it is writable is half of it"
        );
        assert_eq!(rule("6.12.8", Some(true), Some(0x0f)), refused);
        let without_ssbs = [(catalog::WORKAROUND_2, 0), (catalog::ID_AA64PFR1, 0)];
        assert_eq!(derived("6.12.8", Some(true), &without_ssbs, None).judge(&word(3), Some(0)), refused);
    }

    #[test]
    fn workaround_2_of_5_3_to_5_9_has_another_scale() {
        let rule = |level| derived("5.4.0", None, &[(catalog::WORKAROUND_2, level)], None);
        let kernel = rule(0x12);
        assert_eq!(kernel.judge(&word(0x12), None), Effect::Kept);
        assert_eq!(kernel.judge(&word(2), None), Effect::Kept);
        assert_eq!(kernel.judge(&word(1), None), Effect::Raised(word(0x12)));
        assert_eq!(kernel.judge(&word(3), None), Effect::Refused(Some(Errno::EINVAL)));
        assert_eq!(rule(3).judge(&word(3), None), Effect::Kept);
        assert_eq!(rule(3).judge(&word(0x12), None), Effect::Raised(word(3)));
        assert_eq!(rule(3).judge(&word(0x13), None), Effect::Refused(Some(Errno::EINVAL)));
        assert_eq!(rule(0).judge(&word(1), None), Effect::Refused(Some(Errno::EINVAL)));
        assert!(matches!(derived("custom", None, &[(catalog::WORKAROUND_2, 0)], None), Rule::Unknown(_)));
        assert!(matches!(derived("6.1.0", None, &[(catalog::WORKAROUND_2, 2)], None), Rule::Unknown(_)));
    }

    #[test]
    fn a_flag_does_not_make_a_level_lower() {
        assert_eq!(reads(0x12, 2), Effect::Dropped(Some(word(2))));
        assert_eq!(reads(1, 3), Effect::Raised(word(3)));
    }

    #[test]
    fn the_newest_version_tells_the_known_ones() {
        let rule = |fresh: u64, features| {
            let registers = [(catalog::PSCI_VERSION, word(fresh))];
            let config = crate::VcpuConfig { features, ..crate::VcpuConfig::default() };
            psci_version(&Facts { registers: &registers, config, ..Facts::default() })
        };
        let taken = |rule: &Rule| -> Vec<u64> {
            (0..0x10005).filter(|value| rule.judge(&word(*value), None) == Effect::Kept).collect()
        };
        assert_eq!(taken(&rule(0x10000, 4)), [0x2, 0x10000]);
        assert_eq!(taken(&rule(0x10001, 4)), [0x2, 0x10000, 0x10001]);
        assert_eq!(taken(&rule(0x10003, 4)), [0x2, 0x10000, 0x10001, 0x10002, 0x10003]);
        assert_eq!(taken(&rule(0x1, 0)), [0x1]);
        assert!(matches!(rule(0x1, 4), Rule::Unknown(_)));
        assert!(matches!(rule(0x10004, 4), Rule::Unknown(_)));
    }

    #[test]
    fn services_of_younger_kernels_are_unknown() {
        let judge = |release, fresh: u64, value: u64| {
            let facts = Facts { release: crate::rules::Release::parse(release), ..Facts::default() };
            bitmap(3, &word(fresh), &facts).judge(&word(value), None)
        };
        assert_eq!(judge("7.3.4", 3, 4), Effect::Refused(Some(Errno::EINVAL)));
        assert_eq!(judge("7.4.0", 3, 4), Effect::Unknown(NEW_BIT));
        assert_eq!(judge("7.4.0", 3, 1), Effect::Kept);
        assert_eq!(judge("6.1.4", 7, 4), Effect::Unknown(NEW_BIT));
    }
}
