//! Register values: numbers as wide as their register.

use std::fmt;
use std::sync::Arc;

use crate::id::RegisterId;

/// The value of one register.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// A register of at most 8 bytes.
    Word(u64),
    /// A wider register: its bytes in memory order, as many as the register has.
    Wide(Arc<[u8]>),
}

impl Value {
    /// The value as a word, if its register is at most 8 bytes wide.
    pub const fn word(&self) -> Option<u64> {
        match self {
            Self::Word(word) => Some(*word),
            Self::Wide(_) => None,
        }
    }

    /// Reads the hexadecimal digits of `text` (with `0x`) as a value of `register`.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong: no `0x`, not hexadecimal, or wider than the register.
    pub fn parse(text: &str, register: RegisterId) -> Result<Self, String> {
        let digits = text
            .strip_prefix("0x")
            .or_else(|| text.strip_prefix("0X"))
            .ok_or_else(|| format!("`{text}` is not a hexadecimal number with 0x in front"))?;
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("`{text}` is not a hexadecimal number"));
        }
        let significant = digits.trim_start_matches('0');
        let size = register.size();
        let bits = significant.len() * 4
            - significant.bytes().next().map_or(0, |b| hexadecimal_digit(b).leading_zeros() as usize - 4);
        if bits > size * 8 {
            return Err(format!("`{text}` is wider than register {register}, which has {size} bytes"));
        }
        if size <= 8 {
            let word =
                if significant.is_empty() { 0 } else { u64::from_str_radix(significant, 16).unwrap_or(u64::MAX) };
            return Ok(Self::Word(word));
        }
        let mut bytes = vec![0_u8; size];
        for (at, digit) in significant.bytes().rev().enumerate() {
            if let Some(byte) = bytes.get_mut(at / 2) {
                *byte |= hexadecimal_digit(digit) << (4 * (at % 2));
            }
        }
        Ok(Self::Wide(bytes.into()))
    }

    /// Checks that a word fits into `register` and makes it its value.
    ///
    /// # Errors
    ///
    /// A sentence that names the register and its width.
    pub fn from_word(word: u64, register: RegisterId) -> Result<Self, String> {
        let size = register.size();
        if size < 8 && word >> (size * 8) != 0 {
            return Err(format!("`{word:#x}` is wider than register {register}, which has {size} bytes"));
        }
        Ok(Self::from_low_bytes(word, register))
    }

    /// The value of `register` with these lowest bytes; the rest of a wider one is 0.
    pub(crate) fn from_low_bytes(word: u64, register: RegisterId) -> Self {
        let size = register.size();
        if size <= 8 {
            return Self::Word(word);
        }
        let mut bytes = vec![0_u8; size];
        for (byte, source) in bytes.iter_mut().zip(word.to_le_bytes()) {
            *byte = source;
        }
        Self::Wide(bytes.into())
    }

    /// Makes a value of `register` from bytes in memory order.
    ///
    /// # Errors
    ///
    /// A sentence when the number of bytes is not the width of the register.
    pub fn from_bytes(bytes: &[u8], register: RegisterId) -> Result<Self, String> {
        if bytes.len() != register.size() {
            let size = register.size();
            return Err(format!("{} bytes given for register {register}, which has {size} bytes", bytes.len()));
        }
        if bytes.len() > 8 {
            return Ok(Self::Wide(bytes.into()));
        }
        Ok(Self::Word(bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))))
    }

    /// Whether bit `bit` is set.
    pub fn bit(&self, bit: usize) -> bool {
        match self {
            Self::Word(word) => bit < 64 && word >> bit & 1 == 1,
            Self::Wide(bytes) => bytes.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 1),
        }
    }
}

fn hexadecimal_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.saturating_sub(b'A') + 10,
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "{word:#x}"),
            Self::Wide(bytes) => {
                let mut significant = bytes.iter().rev().skip_while(|&&byte| byte == 0);
                write!(f, "{:#x}", significant.next().unwrap_or(&0))?;
                significant.try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PSCI: RegisterId = RegisterId::firmware(0);

    #[test]
    fn values_keep_to_the_width_of_their_register() {
        assert_eq!(Value::parse("0x10001", PSCI), Ok(Value::Word(0x10001)));
        assert_eq!(Value::parse("0xffffffffffffffff", PSCI), Ok(Value::Word(u64::MAX)));
        assert!(Value::parse("0x10000000000000000", PSCI).is_err());
        let demux = RegisterId::ccsidr(0);
        assert_eq!(Value::parse("0x0000000001", demux), Ok(Value::Word(1)));
        assert!(Value::parse("0x1ffffffff", demux).is_err());
        assert!(Value::from_word(1 << 32, demux).is_err());
    }

    #[test]
    fn text_that_is_no_number_is_refused() {
        for text in ["", "12", "0x", "0xg", "0x-1", "0x 1"] {
            assert!(Value::parse(text, PSCI).is_err(), "{text}");
        }
    }

    #[test]
    fn wide_values_round_trip() {
        let value = Value::parse("0x1000f", RegisterId::SVE_VLS).unwrap();
        assert_eq!(value.to_string(), "0x1000f");
        assert!(value.bit(16) && value.bit(3) && !value.bit(4) && !value.bit(511));
        assert_eq!(Value::parse("0x0", RegisterId::SVE_VLS).unwrap().to_string(), "0x0");
        let Value::Wide(bytes) = value else { panic!("SVE_VLS is wide") };
        assert_eq!(Value::from_bytes(&bytes, RegisterId::SVE_VLS).unwrap().to_string(), "0x1000f");
    }
}
