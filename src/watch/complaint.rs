//! Logs a trouble when it begins or changes, and not in every round that it lasts.

use crate::error::Error;
use crate::logging::debug;

/// The last complaint about one thing, while its trouble lasts.
#[derive(Debug, Default)]
pub(super) struct Complaint(Option<String>);

impl Complaint {
    /// Logs the error as a warning, unless the last complaint had the same text.
    pub(super) fn complain(&mut self, error: &Error) {
        let text = error.to_string();
        if !error.was_asked() {
            // No request was sent. An earlier complaint has named the host's trouble.
            debug(format_args!("{text}"));
            self.0.get_or_insert_default();
        } else if self.0.as_ref() == Some(&text) {
            debug(format_args!("{text}"));
        } else {
            log::warn!("{text}");
            self.0 = Some(text);
        }
    }

    /// Ends the trouble. Returns whether there was one.
    pub(super) fn end(&mut self) -> bool {
        self.0.take().is_some()
    }
}
