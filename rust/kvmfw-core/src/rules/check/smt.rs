//! The check of an ID register as a formula.

use super::{Check, L1IP, NOT_VERSIONED, PERF_MON, PMU_VERSION, Wrapper, fields};
use crate::rules::smt::{Fresh, safe};
use crate::rules::terms::{alike, all_of, bits, hex};

/// What a wrapper does: the values that it refuses, and what it writes of the others.
struct Wrapped {
    refuses: String,
    written: String,
}

fn is(term: &str, mask: u64, word: u64) -> String {
    format!("(= {} {})", bits(term, mask), hex(word))
}

/// A term without these bits, where that is so.
fn dropped(term: &str, mask: u64, when: &str) -> String {
    format!("(ite {when} {} {term})", bits(term, !mask))
}

impl Check {
    /// The formula that is true of the values that KVM takes; `None` after a run, for nested VMs, and where something is not known.
    pub(in crate::rules) fn smt(&self, fresh: Fresh) -> Option<String> {
        if self.current.is_some() || self.hidden != 0 || fields::unknown_bits(self.register, self.mask) != 0 {
            return None;
        }
        let limit = fresh.term(self.limit);
        let Wrapped { refuses, written } = self.wrapped(&limit)?;
        let writable = || fields::fields_of(self.register).iter().filter(|field| field.mask() & !self.mask == 0);
        let fixed = writable().fold(u64::MAX, |bits, field| bits & !field.mask());
        let each = writable().map(|field| safe(field, "written", &limit, self.pmu_is_signed));
        let taken = all_of(each.chain([alike("written", &limit, fixed), format!("(not {refuses})")]));
        Some(format!("(let ((written {written})) {taken})"))
    }

    fn wrapped(&self, limit: &str) -> Option<Wrapped> {
        let never = || "false".to_owned();
        // What the hardware has in a field that KVM hides is dropped.
        let hidden = |term: &str, shift: u32, greatest: u64| {
            let mask = 0xf << shift;
            let most = format!("(bvule {} {})", bits("value", mask), hex(greatest << shift));
            let other = format!("(not {})", alike("value", limit, mask));
            dropped(term, mask, &all_of([most, other, alike("value", "hardware", mask)]))
        };
        let below_six = || format!("(bvule {} {})", bits("value", 0xf), hex(5));
        let unversioned =
            |shift: u32| dropped("value", 0xf << shift, &is("value", 0xf << shift, NOT_VERSIONED << shift));
        Some(match self.wrapper {
            Wrapper::None => Wrapped { refuses: never(), written: "value".to_owned() },
            Wrapper::ProcessorFeatures0 { not_zero } => {
                let levels = [0, 4, 8].map(|shift| 0xf << shift).into_iter().filter(|mask| not_zero & mask != 0);
                let zero: Vec<String> = levels.map(|mask| is("value", mask, 0)).collect();
                Wrapped { refuses: format!("(or {} false)", zero.join(" ")), written: hidden("value", 40, 1) }
            }
            Wrapper::ProcessorFeatures1 { mte_frac } => {
                let frac = 0xf << 40;
                let asked = all_of([is(limit, 0xf00, 0x200), is(limit, frac, frac), is("value", frac, 0)]);
                let marked = if mte_frac {
                    format!("(ite {asked} (bvor value {}) value)", hex(frac))
                } else {
                    "value".to_owned()
                };
                let written = hidden(&marked, 16, 1);
                Wrapped { refuses: never(), written }
            }
            Wrapper::DebugFeatures { double_lock: false } => {
                Wrapped { refuses: below_six(), written: unversioned(PMU_VERSION) }
            }
            Wrapper::DebugFeatures32 => {
                let version = 0xf << PERF_MON;
                let [one, two] = [1, 2].map(|number| is("value", version, number << PERF_MON));
                Wrapped { refuses: format!("(or {one} {two} {})", below_six()), written: unversioned(PERF_MON) }
            }
            Wrapper::NestedVirtualization { nested: false } => {
                Wrapped { refuses: never(), written: hidden("value", 24, 2) }
            }
            Wrapper::CacheType => {
                let refuses = format!("(bvule {} {})", bits("value", L1IP), hex(0x4000));
                Wrapped { refuses, written: "value".to_owned() }
            }
            Wrapper::DebugFeatures { double_lock: true }
            | Wrapper::NestedGranules { .. }
            | Wrapper::NestedVirtualization { nested: true } => return None,
        })
    }
}
