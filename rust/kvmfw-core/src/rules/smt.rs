//! Rules as formulas, for proofs over all values: SMT-LIB 2, theory of bit vectors, `value` a constant of 64 bits.
//!
//! A formula is made of the data of a rule, as its judgement is; a law below compares the two.

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
    use crate::errno::Errno;
    use crate::judgement::Outcome;
    use crate::rules::firmware::Workaround2;
    use crate::value::Value;

    /// What a formula is of one value; true is 1.
    fn of(words: &mut std::slice::Iter<'_, String>, value: u64) -> u64 {
        let word = words.next().unwrap();
        match word.as_str() {
            "(" => {
                let operator = words.next().unwrap();
                let mut operands = Vec::new();
                while words.as_slice().first().is_some_and(|word| word != ")") {
                    operands.push(of(words, value));
                }
                words.next();
                match (operator.as_str(), operands.as_slice()) {
                    ("or", any) => u64::from(any.contains(&1)),
                    ("=", [one, other]) => u64::from(one == other),
                    ("bvule", [one, other]) => u64::from(one <= other),
                    ("bvand", [one, other]) => one & other,
                    other => panic!("{other:?}"),
                }
            }
            "value" => value,
            "true" => 1,
            "false" => 0,
            number => u64::from_str_radix(number.strip_prefix("#x").unwrap(), 16).unwrap(),
        }
    }

    #[test]
    fn a_formula_is_true_of_the_values_that_its_rule_takes() {
        let workaround_2 = |level| Rule::Workaround2(Workaround2 { level, raised_without_ssbs: Some(false) });
        let mut rules = vec![Rule::Kept, Rule::Ignored(0), Rule::Refused(Errno::EINVAL), Rule::Equal(Value::Word(7))];
        rules.extend([workaround_2(0), workaround_2(3), Rule::OneOf(&[0x2, 0x1_0000, 0x1_0001])]);
        rules.extend((0..4).flat_map(|level| [Rule::Level(level), Rule::Workaround2Flag(level)]));
        rules.extend([0x1, 0x3].map(|mask| Rule::Bits { mask, current: None }));
        rules.push(Rule::Bits { mask: 0x3, current: Some(0x2) });
        let values: Vec<u64> = (0..0x40).chain(0xffff..0x1_0006).chain((0..64).map(|bit| 1 << bit)).collect();
        for rule in rules {
            let formula = rule.smt().unwrap();
            let spaced = formula.replace('(', " ( ").replace(')', " ) ");
            let words: Vec<String> = spaced.split_whitespace().map(str::to_owned).collect();
            for value in values.iter().copied().chain([u64::MAX]) {
                let taken = rule.judge(&Value::Word(value), None).outcome() != Outcome::Refuse;
                assert_eq!(of(&mut words.iter(), value) == 1, taken, "{rule:?} {value:#x}");
            }
        }
    }

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
