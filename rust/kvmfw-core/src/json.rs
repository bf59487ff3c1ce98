//! Strict reading of JSON documents: places in errors, hexadecimal numbers.

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::marker::PhantomData;

use crate::error::FormatError;

/// A JSON object as a list of its members, in order; whoever takes them rejects what stands twice, also in two spellings.
#[derive(Clone, Debug)]
pub(crate) struct Members<T>(pub(crate) Vec<(String, T)>);

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for MembersVisitor<T> {
            type Value = Members<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(map.size_hint().unwrap_or(0));
                while let Some(member) = map.next_entry::<String, T>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor(PhantomData))
    }
}

#[derive(Deserialize)]
struct Header {
    format: String,
    version: u64,
}

/// Reads a document that says `"format": format` and a known `"version"`.
pub(crate) fn read<T: DeserializeOwned>(text: &[u8], format: &str, newest: u64) -> Result<T, FormatError> {
    let header: Header = parse(text)?;
    if header.format != format {
        return Err(FormatError::new("format", format!("found `{}`, expected `{format}`", header.format)));
    }
    if header.version == 0 || header.version > newest {
        let problem = format!("version {} is not known; this kvmfw reads versions 1 to {newest}", header.version);
        return Err(FormatError::new("version", problem));
    }
    parse(text)
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, FormatError> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() && path != "." { FormatError::new(path, inner.to_string()) } else { broken(&inner) }
    })?;
    deserializer.end().map_err(|error| broken(&error))?;
    Ok(value)
}

fn broken(error: &serde_json::Error) -> FormatError {
    let place = format!("line {} column {}", error.line(), error.column());
    let mut sentence = error.to_string();
    if let Some(at) = sentence.rfind(" at line ") {
        sentence.truncate(at);
    }
    if error.is_eof() {
        sentence = format!("the document ends too early ({sentence})");
    }
    FormatError::new(place, sentence)
}
