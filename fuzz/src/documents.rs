//! Documents as targets take them, and changes that leave them documents.
//!
//! An input is a text, then, behind a byte that no document has, how it is asked: a file of JSON is an input as it stands.

use std::sync::LazyLock;

use libfuzzer_sys::fuzzer_mutate;
use serde_json::{Map, Value};

use crate::REGISTERS;

const END: u8 = 0;

/// The text of an input, and what stands behind it.
pub fn split(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input
        .iter()
        .position(|byte| *byte == END)
        .unwrap_or(input.len());
    (&input[..end], input.get(end + 1..).unwrap_or(&[]))
}

/// Keys and words of the formats: all names and choices of their schemas.
static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let schemas = [
        include_str!("../../python/kvmfw/schemas/register-set.json"),
        include_str!("../../python/kvmfw/schemas/capture.json"),
    ];
    let mut words = Vec::new();
    for schema in schemas {
        gather(&serde_json::from_str(schema).expect("a schema"), &mut words);
    }
    words.sort_unstable();
    words.dedup();
    words
});

fn gather(schema: &Value, words: &mut Vec<String>) {
    if let Value::Object(members) = schema {
        for (key, value) in members {
            match (key.as_str(), value) {
                ("properties", Value::Object(named)) => words.extend(named.keys().cloned()),
                ("enum", Value::Array(choices)) => {
                    words.extend(choices.iter().filter_map(Value::as_str).map(str::to_owned));
                }
                _ => {}
            }
            gather(value, words);
        }
    } else if let Value::Array(items) = schema {
        items.iter().for_each(|item| gather(item, words));
    }
}

/// Numbers by chance.
struct Chance(u64);

impl Chance {
    fn upto(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % count.max(1) as u64) as usize
    }
}

/// Changes an input in place, and gives its new length: mostly a node of the document, sometimes any bytes, or how it is asked.
pub fn mutate(data: &mut [u8], size: usize, most: usize, seed: u32) -> usize {
    let mut chance = Chance(u64::from(seed) << 1 | 1);
    let (text, rest) = split(&data[..size]);
    let (at, asked) = (size - rest.len(), rest.to_vec());
    match (chance.upto(8), serde_json::from_slice(text)) {
        (0, _) | (_, Err(_)) => fuzzer_mutate(data, size, most),
        (1, Ok(_)) if at < most && at > text.len() => {
            at + fuzzer_mutate(&mut data[at..], asked.len(), most - at)
        }
        (_, Ok(mut document)) => {
            for _ in 0..=chance.upto(3) {
                change(&mut document, &mut chance);
            }
            let mut made = serde_json::to_vec(&document).expect("a document");
            made.push(END);
            made.extend(asked);
            if made.len() > most {
                return fuzzer_mutate(data, size, most);
            }
            data[..made.len()].copy_from_slice(&made);
            made.len()
        }
    }
}

fn change(document: &mut Value, chance: &mut Chance) {
    let count = count(document);
    let other = nth(document, &mut chance.upto(count)).cloned();
    let Some(node) = nth(document, &mut chance.upto(count)) else {
        return;
    };
    match (chance.upto(4), node) {
        (0, Value::Array(items)) if !items.is_empty() => {
            items.remove(chance.upto(items.len()));
        }
        (1, Value::Array(items)) if !items.is_empty() => {
            let again = items[chance.upto(items.len())].clone();
            items.insert(chance.upto(items.len()), again);
        }
        (0, Value::Object(members)) if !members.is_empty() => {
            let key = members.keys().nth(chance.upto(members.len())).cloned();
            members.remove(&key.expect("a key"));
        }
        (1, Value::Object(members)) => {
            members.insert(word(chance), scalar(chance));
        }
        (2, Value::Object(members)) => renamed(members, chance),
        (0..=2, Value::String(text)) => *text = near(text, chance),
        (0, node) => *node = other.unwrap_or_default(),
        (_, node) => *node = scalar(chance),
    }
}

fn renamed(members: &mut Map<String, Value>, chance: &mut Chance) {
    let key = members.keys().nth(chance.upto(members.len())).cloned();
    if let Some(value) = key.and_then(|key| members.remove(&key)) {
        let name = if chance.upto(2) == 0 {
            word(chance)
        } else {
            register(chance)
        };
        members.insert(name, value);
    }
}

fn word(chance: &mut Chance) -> String {
    WORDS[chance.upto(WORDS.len())].clone()
}

fn register(chance: &mut Chance) -> String {
    format!("{:#x}", REGISTERS[chance.upto(REGISTERS.len())])
}

/// A number near that of a text, or a word.
fn near(text: &str, chance: &mut Chance) -> String {
    let number = text
        .strip_prefix("0x")
        .and_then(|digits| u64::from_str_radix(digits, 16).ok());
    match (number, chance.upto(4)) {
        (Some(number), 0) => format!("{:#x}", number ^ 1 << chance.upto(64)),
        (Some(number), 1) => format!("{:#x}", number.wrapping_add(1)),
        (Some(number), 2) => format!(
            "{:#x}",
            number ^ (1 + chance.upto(15) as u64) << (4 * chance.upto(16))
        ),
        (Some(_), _) => register(chance),
        (None, _) => word(chance),
    }
}

fn scalar(chance: &mut Chance) -> Value {
    match chance.upto(9) {
        0 => Value::Null,
        1 => Value::Bool(chance.upto(2) == 0),
        2 => Value::from(chance.upto(64)),
        3 => Value::from(u64::MAX >> chance.upto(64)),
        4 => Value::Array(Vec::new()),
        5 => Value::Object(Map::new()),
        6 => Value::String(format!("{:#x}", u64::MAX >> chance.upto(64))),
        7 => Value::String(register(chance)),
        _ => Value::String(word(chance)),
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

fn nth<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, left)),
        Value::Object(members) => members.values_mut().find_map(|item| nth(item, left)),
        _ => None,
    }
}
