//! Rules as formulas, for proofs over all values: SMT-LIB 2, theory of bit vectors. Constants of 64 bits are `value`, what is written;
//! `limit`, what a fresh VM reads; and `hardware`, what the hardware has in the same register.
//!
//! A formula is made of the data of a rule, as its judgement is; a law below compares the two.

use super::rule::Rule;
use super::tables::{Field, Safe, Sign};
use super::terms::{alike, all_of, bits, hex, only_bits};
use super::{cache, implementation};
use crate::value::Value;

/// What a rule says of all values. Of one of which neither is true it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formulas {
    /// True of the values that KVM takes, whatever it reads afterwards.
    pub takes: String,
    /// True of the values that it refuses.
    pub refuses: String,
}

/// What stands in formulas for the fresh value of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fresh {
    /// The value itself.
    Number,
    /// The constant `limit`: a rule that does not depend on it otherwise, for all hosts at once.
    Symbol,
}

impl Fresh {
    pub(super) fn term(self, own: u64) -> String {
        match self {
            Self::Number => hex(own),
            Self::Symbol => "limit".to_owned(),
        }
    }
}

/// Whether a writable field of `written` is safe under the one of `limit`.
pub(super) fn safe(field: &Field, written: &str, limit: &str, pmu_is_signed: bool) -> String {
    let signed = match field.sign {
        Sign::Unsigned => false,
        Sign::Signed => true,
        Sign::Pmu => pmu_is_signed,
    };
    let mask = field.mask();
    // Compared at the top of the word, where the sign of the field is that of the word.
    let top = hex(u64::from(64 - field.shift - field.width));
    let number = |term: &str| format!("(bvshl {} {top})", bits(term, mask));
    let at_most = if signed { "bvsle" } else { "bvule" };
    let up_to = |less: &str, more: &str| format!("({at_most} {} {})", number(less), number(more));
    let is = |term: &str, word: u64| format!("(= {} {})", bits(term, mask), hex(word << field.shift));
    let equal = alike(written, limit, mask);
    match field.safe {
        Safe::Lower => up_to(written, limit),
        Safe::Higher => up_to(limit, written),
        Safe::HigherOrZero => {
            let higher = up_to(limit, written);
            format!("(or {equal} {} (and (not {}) {higher}))", is(written, 0), is(limit, 0))
        }
        Safe::Exact(one) => format!("(or {equal} {})", is(written, u64::from(one))),
    }
}

fn at_most(level: u64) -> String {
    format!("(bvule value {})", hex(level))
}

fn any_of(words: impl IntoIterator<Item = u64>) -> String {
    let equal: Vec<String> = words.into_iter().map(|word| format!("(= value {})", hex(word))).collect();
    format!("(or {} false)", equal.join(" "))
}

impl Formulas {
    /// A number by which the same formulas are known again (FNV-1a).
    pub fn digest(&self) -> u64 {
        let words = self.takes.bytes().chain([0]).chain(self.refuses.bytes());
        words.fold(0xcbf2_9ce4_8422_2325, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
    }
}

impl Rule {
    /// What the rule says of all values; `None` where there is no formula for this kind of rule. Of what depends on the VM's own ID
    /// registers it is that of a VM with those of the host.
    pub fn smt(&self, fresh: Fresh) -> Option<Formulas> {
        if let Self::AnyOf(rules, _) = self {
            let each: Vec<Formulas> = rules.iter().map(|rule| rule.smt(fresh)).collect::<Option<_>>()?;
            let takes = all_of(each.iter().map(|one| one.takes.clone()));
            return Some(Formulas { takes, refuses: all_of(each.into_iter().map(|one| one.refuses)) });
        }
        let takes = self.taken(fresh)?;
        let refuses = format!("(not {takes})");
        Some(Formulas { takes, refuses })
    }

    fn taken(&self, fresh: Fresh) -> Option<String> {
        Some(match self {
            Self::Kept | Self::Ignored(_) | Self::PmuControl(_) => "true".to_owned(),
            Self::Refused(_) => "false".to_owned(),
            Self::Equal(Value::Word(own)) => format!("(= value {})", fresh.term(*own)),
            Self::OneOf(words) => any_of(words.iter().copied()),
            Self::Level(level) => at_most(*level),
            // Bit 4 is a flag of level 2.
            Self::Workaround2(rule) => {
                let taken = if rule.level == 3 { [0, 1, 2, 3].as_slice() } else { &[0, 1] };
                any_of(taken.iter().copied().chain((rule.level == 3).then_some(0x12)))
            }
            Self::Workaround2Flag(host) => any_of((0..=*host).chain((*host >= 2).then_some(0x12))),
            Self::Bits { mask, current: None } => only_bits(*mask),
            Self::Bits { mask, current: Some(current) } if current & !mask == 0 => any_of([*current]),
            Self::Lowered { own, fields } => {
                let own = fresh.term(*own);
                let masks: Vec<u64> = fields.iter().map(|shift| 0xf << shift).collect();
                let free = masks.iter().fold(0, |all, mask| all | mask);
                let lower = |mask: u64| format!("(bvule {} {})", bits("value", mask), bits(&own, mask));
                all_of(masks.into_iter().map(lower).chain([alike("value", &own, !free)]))
            }
            Self::Implementation { own, mask, has_run: false } => {
                implementation::implementation_smt(&fresh.term(*own), *mask)
            }
            Self::OsLock(own) => implementation::os_lock_smt(&fresh.term(*own)),
            Self::CacheLevels { needs_levels } => cache::cache_levels_smt(*needs_levels),
            Self::CacheSize { shortest_line } => cache::cache_size_smt(*shortest_line),
            Self::Fields(check) => check.smt(fresh)?,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
