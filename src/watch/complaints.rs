//! Logs a trouble when it begins or changes, and not in every round that it lasts.

use crate::error::Error;
use crate::logging::debug;
use std::collections::HashMap;

/// The last complaint about each thing, by a name for that thing.
#[derive(Debug, Default)]
pub(super) struct Complaints(HashMap<String, String>);

impl Complaints {
    /// Logs the error as a warning, unless the last complaint had the same text.
    pub(super) fn complain(&mut self, about: &str, error: &Error) {
        if !error.was_asked() {
            // No request was sent. An earlier complaint has named the host's trouble.
            debug(format_args!("{error}"));
            self.0.entry(about.to_owned()).or_default();
            return;
        }
        let text = error.to_string();
        if self.0.get(about) == Some(&text) {
            debug(format_args!("{error}"));
        } else {
            log::warn!("{error}");
            self.0.insert(about.to_owned(), text);
        }
    }

    /// Ends the trouble. Returns whether there was one.
    pub(super) fn end(&mut self, about: &str) -> bool {
        self.0.remove(about).is_some()
    }

    pub(super) fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.0.retain(|about, _| is_kept(about));
    }
}
