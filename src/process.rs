//! The user that this process runs as, for messages about missing rights.

use std::io::Error;
use std::io::ErrorKind;

/// The effective user, e.g. `user 65534`.
#[must_use]
pub(crate) fn name() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    // The real, effective, saved and file system user (proc(5)).
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    match ids.and_then(|ids| ids.split_whitespace().nth(1)) {
        Some(id) => format!("user {id}"),
        None => "another user".to_owned(),
    }
}

/// Explains a failure with a file. If a right is missing, the text names the user.
#[must_use]
pub(crate) fn explain(error: &Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => format!("{error}, as {}", name()),
        _ => error.to_string(),
    }
}
