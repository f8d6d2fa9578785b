//! Registry hosts that are not asked for a while.

use serde::Serialize;

/// A registry host that is put off, as the status shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PutOff {
    /// The name of the host.
    pub host: String,
    /// The end of the pause (RFC 3339).
    pub until: String,
    /// The reason in words.
    pub reason: String,
}
