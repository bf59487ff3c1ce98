//! PMU registers with a bit for each counter, each of which has two names (specification, section 4).

use super::pmu::{CYCLES, MOST, PmuControl, stored_before_6_7, taken};
use super::trees::{self, Tree};
use super::{Context, Facts, Rule};
use crate::catalog::{PMCR, PMOVSCLR, PMOVSSET};
use crate::id::RegisterId;
use crate::judgement::Effect;
use crate::value::Value;

/// What a restore of both names does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Way {
    /// Both names replace the register.
    Replace,
    /// The set name sets bits; the clear name clears them and comes last: what was saved is lost.
    ClearLast,
    /// The same, but the set name comes last.
    SetLast,
}

/// What a PMU register with a bit for each counter needs to know from 6.7 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PmuBits {
    /// The fresh value.
    own: u64,
    /// How the host takes `PMCR_EL0`, which tells how many counters there are; `None` where that cannot be told.
    control: Option<PmuControl>,
    way: Way,
}

/// `PMINTENSET`, `PMCNTENSET` and `PMOVSSET` with their clear names: two names of one register, of which a saved set
/// holds both, with one value. Up to 6.6 each write replaces it. From 6.7 on (`set_pmreg`, `get_pmreg`,
/// `arch/arm64/kvm/sys_regs.c`; commit a45f41d754e0) only bits of counters that the VM has are stored and read, and
/// the names set and clear; later both replace (commit f2aeb7bbd574). All policies write in the order of ids, so that
/// the clear name is last, but of `PMOVSSET` the set name. [R 5.10, 6.1, 6.12.117, 6.16 to 7.3]
pub(super) fn bits(register: RegisterId, own: u64, facts: &Facts<'_>) -> Rule {
    let set_last = matches!(register, PMOVSCLR | PMOVSSET);
    let way = |tree: &Tree| match (trees::replaces_pmu_bits(*tree), set_last) {
        (true, _) => Way::Replace,
        (false, true) => Way::SetLast,
        (false, false) => Way::ClearLast,
    };
    // A nested VM's own hypervisor may keep counters for itself (MDCR_EL2.HPMN).
    let control = facts.word(PMCR).filter(|_| !facts.config.has("has_el2"));
    let control = control.map(|own| PmuControl::new(own, facts));
    let mut ways: Vec<Way> = facts.release.map_or_else(trees::all, trees::around).iter().map(way).collect();
    ways.dedup();
    let rule = |way: &Way| Rule::PmuBits(PmuBits { own, control, way: *way });
    let later = match ways.as_slice() {
        [way] => rule(way),
        ways => Rule::AnyTaken(ways.iter().map(rule).collect()),
    };
    stored_before_6_7(later, facts)
}

impl PmuBits {
    /// `context` is half the number of counters that the VM was saved with.
    pub(super) fn judge(self, value: &Value, context: Context) -> Effect {
        let Some(word) = value.word() else { return Effect::Rewritten(None) };
        // The least and the greatest number that it can be; with each counter between them one more bit reads back.
        let (least, greatest) = match (self.control, context.map(u64::from)) {
            (None, _) => (0, MOST),
            (Some(control), None) => (control.counters(MOST), control.counters(MOST)),
            (Some(control), Some(half)) => {
                let (one, other) = (control.counters(2 * half), control.counters(2 * half + 1));
                (one.min(other), one.max(other))
            }
        };
        let read = self.reads(word, least);
        if read == self.reads(word, greatest) { taken(word, read, self.own) } else { Effect::Rewritten(None) }
    }

    fn reads(self, word: u64, counters: u64) -> u64 {
        let there = CYCLES | ((1 << counters) - 1);
        match self.way {
            Way::Replace => word & there,
            Way::ClearLast => self.own & !word & there,
            Way::SetLast => (self.own | word) & there,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::pmu::tests::{derived, read};
    use crate::rules::pmu::{PMCNTENCLR, PMCNTENSET, PMINTENCLR, PMINTENSET};

    #[test]
    fn bits_of_counters_that_are_not_there_are_lost() {
        let judge = |word, context| derived("6.18.15", 1 << 3, PMCNTENSET, 0).judge(&Value::Word(word), context);
        assert_eq!(judge(0x8000_003f, None), Effect::Kept);
        assert_eq!(judge(0x8000_007f, None), read(0x8000_003f));
        assert_eq!(judge(0x1_8000_0001, None), read(0x8000_0001));
        // Saved with 4 or 5 counters, with 6 or 7 and with more than the host has.
        assert_eq!(judge(0x8000_000f, Some(2)), Effect::Kept);
        assert_eq!(judge(0x8000_001f, Some(2)), Effect::Rewritten(None));
        assert_eq!(judge(0x8000_002f, Some(1)), Effect::Rewritten(None));
        assert_eq!(judge(0x8000_003f, Some(3)), Effect::Kept);
        assert_eq!(judge(0x8000_0002, Some(0)), read(0x8000_0000), "saved with none or one");
        assert_eq!(judge(0x8000_00ff, Some(4)), read(0x8000_003f));
    }

    #[test]
    fn kernels_whose_names_set_and_clear_lose_what_is_written_to_both() {
        let judge =
            |release, register, own, word| derived(release, 1 << 3, register, own).judge(&Value::Word(word), None);
        for register in [PMCNTENSET, PMCNTENCLR, PMINTENSET, PMINTENCLR] {
            assert_eq!(judge("6.12.117", register, 0, 0x8000_0001), Effect::Dropped(Some(Value::Word(0))));
            assert_eq!(judge("6.12.117", register, 0x8000_0003, 0x8000_0001), read(2));
            assert_eq!(judge("6.12.117", register, 0, 0), Effect::Kept);
            assert_eq!(judge("6.1.0", register, 0, u64::MAX), Effect::Kept);
            assert_eq!(judge("6.14.0", register, 0, 1), Effect::Rewritten(None));
            assert_eq!(judge("custom", register, 0, 0), Effect::Kept);
        }
        assert_eq!(judge("6.12.117", PMOVSCLR, 0, 3), Effect::Kept);
        assert_eq!(judge("6.12.117", PMOVSSET, 4, 3), read(7));
        assert_eq!(judge("6.14.0", PMOVSSET, 0, 3), Effect::Kept, "both ways read the same");
    }

    #[test]
    fn a_nested_vm_may_see_fewer_counters() {
        let judge = |word| derived("7.3.4", 1 << 3 | 1 << 7, PMCNTENSET, 0).judge(&Value::Word(word), None);
        assert_eq!([judge(0), judge(CYCLES), judge(1)], [Effect::Kept, Effect::Kept, Effect::Rewritten(None)]);
    }
}
