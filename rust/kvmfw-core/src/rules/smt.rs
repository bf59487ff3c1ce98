//! Rules as formulas, for proofs over all values: SMT-LIB 2, theory of bit vectors, `value` a constant of 64 bits.
//!
//! A formula is made of the data of a rule, as its judgement is; `make prove` asks of each, value by value, whether both agree.

use super::rule::Rule;

fn hex(word: u64) -> String {
    format!("#x{word:016x}")
}

fn only_bits(mask: u64) -> String {
    format!("(= (bvand value {}) #x0000000000000000)", hex(!mask))
}

fn at_most(level: u64) -> String {
    format!("(bvule value {})", hex(level))
}

fn any_of(words: impl IntoIterator<Item = u64>) -> String {
    let equal: Vec<String> = words.into_iter().map(|word| format!("(= value {})", hex(word))).collect();
    format!("(or {} false)", equal.join(" "))
}

impl Rule {
    /// The formula that is true of the values that KVM takes, whatever it reads afterwards; `None` where there is none for this
    /// kind of rule. Of what depends on the VM's own ID registers it is that of a VM with those of the host.
    pub fn smt(&self) -> Option<String> {
        Some(match self {
            Self::Kept | Self::Ignored(_) => "true".to_owned(),
            Self::Refused(_) => "false".to_owned(),
            Self::Equal(own) => any_of([own.word()?]),
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
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::firmware::Workaround2;

    #[test]
    fn a_formula_is_of_the_rules_own_data() {
        assert_eq!(Rule::Level(1).smt().as_deref(), Some("(bvule value #x0000000000000001)"));
        let bits = Rule::Bits { mask: 3, current: None };
        assert_eq!(bits.smt().as_deref(), Some("(= (bvand value #xfffffffffffffffc) #x0000000000000000)"));
        let always = Rule::Workaround2(Workaround2 { level: 3, raised_without_ssbs: Some(false) });
        assert!(always.smt().is_some_and(|formula| formula.contains("#x0000000000000012")));
        assert_eq!(Rule::Unknown("ask").smt(), None);
    }
}
