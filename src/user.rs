//! As whom this process runs, for messages about what it may not do.

/// E.g. `user 65534`.
#[must_use]
pub fn name() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    // The real, the effective, the saved and the file system's (proc(5)).
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    match ids.and_then(|ids| ids.split_whitespace().nth(1)) {
        Some(id) => format!("user {id}"),
        None => "its user".to_owned(),
    }
}
