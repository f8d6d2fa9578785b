//! As whom this process runs, for messages about what it may not do.

use std::io::Error;
use std::io::ErrorKind;

/// E.g. `user 65534`.
#[must_use]
pub fn name() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    // The real, the effective, the saved and the file system's (proc(5)).
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    match ids.and_then(|ids| ids.split_whitespace().nth(1)) {
        Some(id) => format!("user {id}"),
        None => "another user".to_owned(),
    }
}

/// What went wrong with a file, and whose right to it is missing.
#[must_use]
pub fn explain(error: &Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => format!("{error}, as {}", name()),
        _ => error.to_string(),
    }
}
