//! The variables that every terminal program obeys.

/// Whether the terminal shows colours, and its owner wants them (no-color.org).
#[must_use]
#[cold]
pub fn has_colours() -> bool {
    let value = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    value("NO_COLOR").is_none() && value("TERM").is_some_and(|term| term != "dumb")
}
