//! JSON as text, and text as JSON, compiled once. `Value`'s own `Display` brings another printer along, which can indent
//! too, and `serde_json::from_str` another parser.

use serde::Serialize;
use serde_json::Value;

/// Returns a value on one line. An object keeps the order of its keys.
pub(crate) fn print(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Reads a value.
pub(crate) fn parse(text: &str) -> serde_json::Result<Value> {
    serde_json::from_slice(text.as_bytes())
}
