use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::capture::Hidden;
use crate::catalog::{ID_AA64DFR0, ID_AA64PFR0};
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::judgement::Outcome;
use crate::rules::check::Check;
use crate::rules::firmware::Workaround2;
use crate::rules::pmu::PmuControl;
use crate::rules::tables::TABLE;
use crate::rules::{Facts, Release, derive, fields, trees};

const FULL: u64 = u64::MAX;

/// What the constants of a formula are.
type Given<'a> = BTreeMap<&'a str, u64>;

/// What a formula is; true is 1.
fn of<'a>(words: &mut std::slice::Iter<'a, String>, given: &mut Given<'a>) -> u64 {
    let word = words.next().unwrap();
    if word == "(" {
        let operator = words.next().unwrap().as_str();
        if operator == "let" {
            assert_eq!((words.next().unwrap().as_str(), words.next().unwrap().as_str()), ("(", "("));
            let name = words.next().unwrap();
            let bound = of(words, given);
            given.insert(name, bound);
            assert_eq!((words.next().unwrap().as_str(), words.next().unwrap().as_str()), (")", ")"));
            let body = of(words, given);
            words.next();
            return body;
        }
        let mut operands = Vec::new();
        while words.as_slice().first().is_some_and(|word| word != ")") {
            operands.push(of(words, given));
        }
        words.next();
        return match (operator, operands.as_slice()) {
            ("or", any) => u64::from(any.contains(&1)),
            ("and", all) => u64::from(!all.contains(&0)),
            ("not", [one]) => 1 - one,
            ("ite", [when, one, other]) => {
                if *when == 1 {
                    *one
                } else {
                    *other
                }
            }
            ("=", [one, other]) => u64::from(one == other),
            ("bvule", [one, other]) => u64::from(one <= other),
            ("bvsle", [one, other]) => u64::from(one.cast_signed() <= other.cast_signed()),
            ("bvand", [one, other]) => one & other,
            ("bvor", [one, other]) => one | other,
            ("bvshl", [one, other]) => one << other,
            other => panic!("{other:?}"),
        };
    }
    match word.as_str() {
        "true" => 1,
        "false" => 0,
        name if given.contains_key(name) => given[name],
        number => u64::from_str_radix(number.strip_prefix("#x").unwrap(), 16).unwrap(),
    }
}

fn words(formula: &str) -> Vec<String> {
    let spaced = formula.replace('(', " ( ").replace(')', " ) ");
    spaced.split_whitespace().map(str::to_owned).collect()
}

/// Both formulas of a rule, as words.
struct Told(Vec<String>, Vec<String>);

impl Told {
    fn new(rule: &Rule, fresh: Fresh) -> Self {
        let Formulas { takes, refuses } = rule.smt(fresh).unwrap();
        Self(words(&takes), words(&refuses))
    }

    /// What the formulas say of one value; `None` is UNKNOWN.
    fn taken(&self, value: u64, limit: u64, hardware: u64) -> Option<bool> {
        let is = |words: &[String]| {
            of(&mut words.iter(), &mut Given::from([("value", value), ("limit", limit), ("hardware", hardware)])) == 1
        };
        match (is(&self.0), is(&self.1)) {
            (true, false) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
            (true, true) => panic!("{value:#x} is taken and refused"),
        }
    }
}

fn taken(rule: &Rule, value: u64) -> Option<bool> {
    match rule.judge(&Value::Word(value), None).outcome() {
        Outcome::Unknown => None,
        outcome => Some(outcome != Outcome::Refuse),
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
    rules.push(Rule::AnyOf([Rule::OneOf(&[0, 7]), Rule::OneOf(&[7, 9])].into(), "ask"));
    rules.push(Rule::Lowered { own: 0x21, fields: &[0, 60] });
    rules.extend([0xffff_ffff, u64::MAX].map(|mask| Rule::Implementation { own: 1 << 33, mask, has_run: false }));
    rules.extend([false, true].map(|needs_levels| Rule::CacheLevels { needs_levels }));
    rules.extend((0..8).map(|shortest_line| Rule::CacheSize { shortest_line }));
    rules.push(Rule::OsLock(0x8));
    let facts = Facts { release: Release::parse("7.3.4"), ..Facts::default() };
    rules.push(Rule::PmuControl(PmuControl::new(0x3000, &facts)));
    let levels = (0..0x200_u64).map(|levels| levels << 21 | 0x23);
    let values: Vec<u64> = (0..0x40).chain(0xffff..0x1_0006).chain((0..64).map(|bit| 1 << bit)).chain(levels).collect();
    for rule in rules {
        let told = Told::new(&rule, Fresh::Number);
        for value in values.iter().copied().chain([u64::MAX]) {
            assert_eq!(told.taken(value, FULL, FULL), taken(&rule, value), "{rule:?} {value:#x}");
        }
    }
}

/// Words that differ from one of these in one field.
fn near(words: &[u64]) -> BTreeSet<u64> {
    let mut found: BTreeSet<u64> = words.iter().copied().collect();
    for word in words {
        for shift in (0..64).step_by(4) {
            let own = word >> shift & 0xf;
            let numbers = [0, 1, 2, 5, 8, 0xf, own.wrapping_sub(1) & 0xf, (own + 1) & 0xf];
            found.extend(numbers.map(|number| word & !(0xf << shift) | number << shift));
        }
    }
    found
}

/// Limits in which fields have small, great and negative numbers, each as a sanitised register has them.
const LIMITS: [u64; 4] = [0, 0x1111_1206_1112_1222, 0x0110_ff0f_f021_0206, 0x2f81_9008_7060_8049];

#[test]
fn a_formula_of_a_check_is_its_judgement_under_every_limit() {
    let mut seen = BTreeSet::new();
    for (register, ..) in TABLE {
        for tree in trees::all() {
            let check = |limit: u64, hardware: Option<u64>| {
                let hardware = hardware.map(|own| (*register, own)).into_iter().collect();
                let hidden = Hidden { hardware, ..Hidden::default() };
                let facts = Facts { hidden: Some(&hidden), ..Facts::default() };
                Rule::Fields(Arc::new(Check::new(*register, limit, fields::mask_in(*register, tree), tree, &facts)))
            };
            let formula = check(0, None).smt(Fresh::Symbol).unwrap();
            if !seen.insert((*register, formula.takes)) {
                continue;
            }
            let told = Told::new(&check(0, None), Fresh::Symbol);
            for limit in LIMITS {
                let hardware = limit ^ 0x0000_0103_0201_0000;
                let (known, unknown) = (check(limit, Some(hardware)), check(limit, None));
                for value in near(&[limit, hardware]) {
                    let said = told.taken(value, limit, hardware);
                    assert_eq!(said, taken(&known, value), "{register} tree {tree} {limit:#x} {value:#x}");
                    if taken(&unknown, value).is_some() {
                        assert_eq!(said, taken(&unknown, value), "{register} tree {tree} {limit:#x} {value:#x}");
                    }
                }
            }
        }
    }
    assert!(seen.len() > 60, "{}", seen.len());
}

#[test]
fn a_formula_of_an_id_register_of_a_release_is_its_judgement() {
    let mut unknown = 0;
    for release in ["5.10.0-32-arm64", "6.1.0-56-arm64", "6.12.92", "6.12.117", "7.1.13"] {
        for (register, ..) in TABLE {
            let rule = |limit: u64| {
                let registers = BTreeMap::from([(ID_AA64PFR0, Value::Word(2)), (*register, Value::Word(limit))]);
                let registers: Vec<(RegisterId, Value)> = registers.into_iter().collect();
                let facts = Facts { release: Release::parse(release), registers: &registers, ..Facts::default() };
                derive(*register, &facts)
            };
            let told = Told::new(&rule(2), Fresh::Symbol);
            // No CPU that these know shows more than 1 in CSV2 and CSV3.
            for limit in [2, 0x1112 | if *register == ID_AA64PFR0 { 1 << 60 } else { 2 << 60 }] {
                for value in near(&[limit]) {
                    let said = taken(&rule(limit), value);
                    unknown += u32::from(said.is_none());
                    let formula = told.taken(value, limit, limit);
                    assert!(said.is_none() || formula == said, "{release} {register} {limit:#x} {value:#x}");
                    assert!(*register != ID_AA64DFR0 || formula == said, "{release} {limit:#x} {value:#x}");
                }
            }
        }
    }
    assert!(unknown > 0);
}

#[test]
fn a_formula_is_of_the_rules_own_data() {
    let takes = |rule: Rule| rule.smt(Fresh::Number).map(|told| told.takes);
    assert_eq!(takes(Rule::Level(1)).as_deref(), Some("(bvule value #x0000000000000001)"));
    let mask = Rule::Bits { mask: 3, current: None };
    assert_eq!(takes(mask).as_deref(), Some("(= (bvand value #xfffffffffffffffc) #x0000000000000000)"));
    let always = Rule::Workaround2(Workaround2 { level: 3, raised_without_ssbs: Some(false) });
    assert!(takes(always).is_some_and(|formula| formula.contains("#x0000000000000012")));
    assert_eq!(takes(Rule::Unknown("ask")), None);
    assert_eq!(takes(Rule::Implementation { own: 7, mask: 0xff, has_run: true }), None);
    let equal = Rule::Equal(Value::Word(7)).smt(Fresh::Symbol).unwrap();
    assert_eq!((equal.takes.as_str(), equal.refuses.as_str()), ("(= value limit)", "(not (= value limit))"));
}
