//! An answer of the admin endpoint, before it is sent.

use serde::Serialize;
use serde_json::json;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// What the body is.
    pub(super) kind: &'static str,
    pub(super) body: String,
    /// The methods that would have been fine, for a 405.
    pub(super) allow: Option<&'static str>,
    /// Where what was asked for will be, for a 202.
    pub(super) location: Option<String>,
}

impl Reply {
    /// Keys keep the order in which they are declared.
    pub(super) fn new(status: u16, body: &impl Serialize) -> Self {
        Self {
            status,
            kind: "application/json",
            body: serde_json::to_string(body).unwrap_or_default(),
            allow: None,
            location: None,
        }
    }

    /// A text of another kind than JSON.
    pub(super) fn text(kind: &'static str, body: &str) -> Self {
        Self {
            status: 200,
            kind,
            body: body.trim_end().to_owned(),
            allow: None,
            location: None,
        }
    }

    pub(super) fn error(status: u16, reason: &str) -> Self {
        Self::new(status, &json!({ "error": reason }))
    }
}
