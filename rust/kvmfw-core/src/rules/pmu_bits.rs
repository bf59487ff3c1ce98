//! PMU registers with a bit for each counter, each of which has two names (specification, section 4).

use super::facts::Context;
use super::pmu::{CYCLES, MOST, PMCNTENCLR, PMCNTENSET, PMINTENCLR, PMINTENSET, PmuControl, taken};
use crate::catalog::{PMOVSCLR, PMOVSSET, PMSWINC};
use crate::id::RegisterId;
use crate::judgement::Effect;
use crate::value::Value;

/// The two names of each register: the one that sets bits, the one that clears them.
pub(super) const PAIRS: [(RegisterId, RegisterId); 3] =
    [(PMINTENSET, PMINTENCLR), (PMCNTENSET, PMCNTENCLR), (PMOVSSET, PMOVSCLR)];

/// The other name of a register that has two.
pub(crate) fn other_name(register: RegisterId) -> Option<RegisterId> {
    PAIRS.iter().find_map(|(set, clear)| match register {
        register if register == *set => Some(*clear),
        register if register == *clear => Some(*set),
        _ => None,
    })
}

const PAIRED: u8 = 0x80;
const TORN: u8 = 0x40;
const NO_COUNTERS: u8 = 0x10;
/// What would settle it where the number of counters decides: of a VM half of it is known, of a nested one nothing.
const COUNTERS: &str = "the number of counters of this VM; write its set on the host (kvmfw validate --on-host)";

/// The names of one register that a set holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// This one alone.
    One,
    /// Both, with one value.
    Alike,
    /// Both, with a value each.
    Torn,
}

impl Names {
    /// What a set with this value, and this one of the other name, holds.
    pub(crate) fn of(value: Option<u64>, other: Option<u64>) -> Self {
        match (value, other) {
            (_, None) => Self::One,
            (Some(value), Some(other)) if value != other => Self::Torn,
            _ => Self::Alike,
        }
    }
}

/// What decides about such a register: half the number of counters that the VM was saved with, and which names its set
/// holds.
pub(crate) fn context(counters: Context, names: Names) -> u8 {
    let names = match names {
        Names::One => 0,
        Names::Alike => PAIRED,
        Names::Torn => TORN,
    };
    counters.unwrap_or(NO_COUNTERS) | names
}

/// Whether a set holds both names, with one value.
fn is_paired(context: Context) -> bool {
    context.is_some_and(|context| context & PAIRED != 0)
}

/// What is said of two names with a value each: no VM reads that, and what stays depends on the kernel and on the order of the
/// writes (up to 6.6 and from 6.16 on the last one replaces the first, 6.12 sets and clears; run on 5.10 to 7.3).
pub(crate) fn torn(context: Context) -> Option<Effect> {
    let is_torn = context.is_some_and(|context| context & TORN != 0);
    is_torn.then_some(Effect::Unknown("a set in which both names of this register have one value"))
}

/// What writes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// Replace the register.
    Replace,
    /// Clear bits: where the clear name comes last, what was saved is lost.
    Clear,
    /// Set bits.
    Set,
}

/// What a PMU register with a bit for each counter needs to know from 6.7 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PmuBits {
    /// The fresh value.
    pub(super) own: u64,
    /// How the host takes `PMCR_EL0`, which tells how many counters there are; `None` where that cannot be told.
    pub(super) control: Option<PmuControl>,
    /// What this name does.
    pub(super) alone: Way,
    /// What the last of the two does.
    pub(super) paired: Way,
}

impl PmuBits {
    /// `context` is what [`context`] gives; a write without one is of this name alone.
    pub(super) fn judge(self, value: &Value, context: Context) -> Effect {
        let Some(word) = value.word() else { return Effect::Rewritten(None) };
        let way = if is_paired(context) { self.paired } else { self.alone };
        let counters = context.map(|context| context & !(PAIRED | TORN)).filter(|counters| *counters != NO_COUNTERS);
        // The least and the greatest number that it can be.
        let (least, greatest) = match (self.control, counters.map(u64::from)) {
            (None, _) => (0, MOST),
            (Some(control), None) => (control.counters(MOST), control.counters(MOST)),
            (Some(control), Some(half)) => {
                let (one, other) = (control.counters(2 * half), control.counters(2 * half + 1));
                (one.min(other), one.max(other))
            }
        };
        let reads = || (least..=greatest).map(|counters| self.reads(word, counters, way));
        let read = self.reads(word, least, way);
        match reads().all(|other| other == read) {
            true => taken(word, read, self.own),
            false if reads().any(|other| other == word) => Effect::Unknown(COUNTERS),
            false => Effect::Rewritten(None),
        }
    }

    fn reads(self, word: u64, counters: u64, way: Way) -> u64 {
        let there = CYCLES | ((1 << counters) - 1);
        match way {
            Way::Replace => word & there,
            Way::Clear => self.own & !word & there,
            Way::Set => (self.own | word) & there,
        }
    }
}

/// The part of a value on which the outcome depends: whether there is anything in `PMSWINC_EL0` and above the 32nd bit
/// of a counter, and of the counters that count or interrupt the greatest (above 6.12 all are there or not;
/// in 6.12 all are lost). Of the overflows, and of one name alone, each bit counts, as the host may have some of its own.
pub(crate) fn judged_bits(register: RegisterId, word: u64, context: Context) -> u64 {
    let above = u64::from(word >> 32 != 0) << 32;
    match register {
        PMSWINC => u64::from(word != 0),
        PMINTENSET | PMINTENCLR | PMCNTENSET | PMCNTENCLR if is_paired(context) => {
            let counters = word & (CYCLES - 1);
            above | (word & CYCLES) | counters.checked_ilog2().map_or(0, |greatest| 1 << greatest)
        }
        _ if counter_number(register).is_some() => above,
        _ => word,
    }
}

/// Which event counter this register is.
pub(super) fn counter_number(register: RegisterId) -> Option<u64> {
    let first = RegisterId::system(3, 3, 14, 8, 0).raw();
    register.raw().checked_sub(first).filter(|number| *number < MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::PMCR;
    use crate::rules::pmu::tests::{derived, read};

    #[test]
    fn bits_of_counters_that_are_not_there_are_lost() {
        let judge = |word, context| derived("6.18.15", 1 << 3, PMCNTENSET, 0).judge(&Value::Word(word), context);
        assert_eq!(judge(0x8000_003f, None), Effect::Kept);
        assert_eq!(judge(0x8000_007f, None), read(0x8000_003f));
        assert_eq!(judge(0x1_8000_0001, None), read(0x8000_0001));
        // Saved with 4 or 5 counters, with 6 or 7 and with more than the host has.
        assert_eq!(judge(0x8000_000f, Some(2)), Effect::Kept);
        assert_eq!(judge(0x8000_001f, Some(2)), Effect::Unknown(COUNTERS));
        assert_eq!(judge(0x8000_002f, Some(1)), Effect::Rewritten(None));
        assert_eq!(judge(0x8000_003f, Some(3)), Effect::Kept);
        assert_eq!(judge(0x8000_0002, Some(0)), read(0x8000_0000), "saved with none or one");
        assert_eq!(judge(0x8000_00ff, Some(4)), read(0x8000_003f));
    }

    #[test]
    fn kernels_whose_names_set_and_clear_lose_what_is_written_to_both() {
        let paired = Some(context(None, Names::Alike));
        let judge =
            |release, register, own, word| derived(release, 1 << 3, register, own).judge(&Value::Word(word), paired);
        for register in [PMCNTENSET, PMCNTENCLR, PMINTENSET, PMINTENCLR] {
            assert_eq!(judge("6.12.117", register, 0, 0x8000_0001), Effect::Dropped(Some(Value::Word(0))));
            assert_eq!(judge("6.12.117", register, 0x8000_0003, 0x8000_0001), read(2));
            assert_eq!(judge("6.12.117", register, 0, 0), Effect::Kept);
            assert_eq!(judge("6.1.0", register, 0, u64::MAX), Effect::Kept);
            for release in ["6.7.0", "6.11.11", "6.12.118", "6.13.11", "6.14.2"] {
                assert_eq!(judge(release, register, 0, 1), Effect::Dropped(Some(Value::Word(0))), "{release}");
            }
            for release in ["6.13.12", "6.14.3", "6.15.0", "6.16.2", "6.19.1"] {
                assert_eq!(judge(release, register, 0, 1), Effect::Kept, "{release}");
            }
            for release in ["6.12.119", "6.13.0", "6.14.0", "custom"] {
                assert!(judge(release, register, 0, 1).needs().is_some(), "{release}");
                assert_eq!(judge(release, register, 0, 0), Effect::Kept, "{release}");
            }
            assert_eq!(judge("6.14.0", register, 0x10, 0x50), Effect::Rewritten(None), "both ways lose it");
        }
        assert_eq!(judge("6.12.117", PMOVSCLR, 0, 3), Effect::Kept);
        assert_eq!(judge("6.12.117", PMOVSSET, 4, 3), read(7));
        assert_eq!(judge("6.14.0", PMOVSSET, 0, 3), Effect::Kept, "both ways read the same");
    }

    #[test]
    fn one_name_alone_sets_or_clears() {
        for (alone, counters) in
            [(None, None), (Some(context(None, Names::One)), None), (Some(context(Some(3), Names::One)), Some(3))]
        {
            let judge =
                |release, register, own, word| derived(release, 1 << 3, register, own).judge(&Value::Word(word), alone);
            for set in [PMCNTENSET, PMINTENSET, PMOVSSET] {
                assert_eq!(judge("6.12.43", set, 0, 0x8000_0001), Effect::Kept, "{counters:?}");
                assert_eq!(judge("6.12.43", set, 2, 0x8000_0001), read(0x8000_0003));
                assert_eq!(judge("6.12.43", set, 0, 0x8000_0041), read(0x8000_0001), "there are 6 counters");
                assert_eq!(judge("6.14.0", set, 0, 1), Effect::Kept, "both ways read the same");
            }
            for clear in [PMCNTENCLR, PMINTENCLR, PMOVSCLR] {
                assert_eq!(judge("6.12.43", clear, 0, 3), Effect::Dropped(Some(Value::Word(0))));
                assert_eq!(judge("6.12.43", clear, 7, 3), read(4));
                assert_eq!(judge("6.18.15", clear, 0, 3), Effect::Kept);
            }
        }
    }

    #[test]
    fn nothing_is_said_of_two_names_with_a_value_each() {
        assert_eq!(Names::of(Some(3), Some(3)), Names::Alike);
        assert_eq!(Names::of(Some(3), Some(1)), Names::Torn);
        assert_eq!(Names::of(None, Some(1)), Names::Alike);
        assert_eq!(Names::of(Some(1), None), Names::One);
        for counters in [None, Some(0), Some(15)] {
            let said = |names| torn(Some(context(counters, names)));
            assert!(said(Names::Torn).is_some_and(|effect| effect.needs().is_some()));
            assert_eq!([said(Names::One), said(Names::Alike)], [None, None]);
        }
        assert_eq!(torn(None), None);
    }

    #[test]
    fn each_name_knows_the_other() {
        for (set, clear) in PAIRS {
            assert_eq!((other_name(set), other_name(clear)), (Some(clear), Some(set)));
        }
        assert_eq!(other_name(PMCR), None);
    }

    #[test]
    fn a_nested_vm_may_see_fewer_counters() {
        let judge = |word| derived("7.3.4", 1 << 3 | 1 << 7, PMCNTENSET, 0).judge(&Value::Word(word), None);
        assert_eq!([judge(0), judge(CYCLES), judge(1)], [Effect::Kept, Effect::Kept, Effect::Unknown(COUNTERS)]);
        assert_eq!(judge(1 << 32 | 1), Effect::Rewritten(None), "no VM has that bit");
    }
}
