//! The progress line of a terminal. A line that stays must first remove the progress line.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// The escape sequence that removes the progress line.
pub const TAKE_AWAY: &str = "\r\x1b[2K";

static IS_THERE: AtomicBool = AtomicBool::new(false);

/// Remembers whether the standard error shows a progress line.
pub fn note_line(is_there: bool) {
    IS_THERE.store(is_there, Ordering::Relaxed);
}

/// The text to write before a line that stays. It removes the progress line, if there is one.
#[must_use]
pub fn before_a_line() -> &'static str {
    if IS_THERE.swap(false, Ordering::Relaxed) {
        TAKE_AWAY
    } else {
        ""
    }
}
