//! The report of a refresh. Scripts depend on its JSON.

use super::event::Event;
use super::event::Outcome;
use crate::error::headline;
use serde::Serialize;

/// The reason why a container in notify mode is left alone.
pub const ONLY_NOTIFY: &str = "a newer image is there, but its mode is notify";

/// The answer to a refresh. The first three lists have the meaning that the platform gave them. The first six
/// are always present.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Images that were pulled: the runtime's name, or the reference if there is no runtime.
    pub pulled: Vec<String>,
    /// Images that could not be pulled.
    pub failed: Vec<String>,
    /// Containers that run a newer image now.
    pub recreated: Vec<String>,
    /// Containers that ran the newest image already.
    pub unchanged: Vec<String>,
    /// Containers that were rolled back, because the successor was not accepted.
    pub rolled_back: Vec<Reasoned>,
    /// Containers that were not updated, with the reason.
    pub skipped: Vec<Reasoned>,
    /// Anything else that an owner has to know about a container. An empty list is left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Reasoned>,
}

impl Report {
    /// Adds the outcome of a container. A failed pull is not added here: the caller that pulls adds it under the
    /// name of its target.
    pub fn add(&mut self, event: &Event) {
        let name = event.subject();
        let reasoned = || Reasoned::new(name, event.reason.as_deref().unwrap_or_default());
        match event.outcome {
            Outcome::Recreated | Outcome::Restored => self.recreated.push(name.to_owned()),
            Outcome::RolledBack | Outcome::Down => self.rolled_back.push(reasoned()),
            Outcome::Skipped | Outcome::LeftAlone => self.skipped.push(reasoned()),
            Outcome::Behind => self.skipped.push(Reasoned::new(name, ONLY_NOTIFY)),
            Outcome::PullFailed
            | Outcome::Unsigned
            | Outcome::BadlySigned
            | Outcome::Back
            | Outcome::Newer
            | Outcome::Decided => {}
        }
    }

    /// Prints the report for people: a line for each entry.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        add_names(&mut text, "pulled", &self.pulled);
        add_names(&mut text, "failed", &self.failed);
        add_names(&mut text, "recreated", &self.recreated);
        add_names(&mut text, "unchanged", &self.unchanged);
        add_reasons(&mut text, "rolled back", &self.rolled_back);
        add_reasons(&mut text, "skipped", &self.skipped);
        add_reasons(&mut text, "warning", &self.warnings);
        text
    }
}

/// Adds a line for each name.
pub(crate) fn add_names(text: &mut String, what: &str, names: &[String]) {
    for name in names {
        text.push_str(&format!("{what}: {name}\n"));
    }
}

/// Adds a line for each name and its reason. The block of words follows below, indented.
pub(crate) fn add_reasons(text: &mut String, what: &str, list: &[Reasoned]) {
    for Reasoned { name, reason } in list {
        let (reason, words) = headline(reason);
        text.push_str(&format!("{what}: {name}: {reason}\n"));
        for line in words.lines() {
            text.push_str(&format!("    {line}\n"));
        }
    }
}

/// A container, and the reason for its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reasoned {
    /// The container's name.
    pub name: String,
    /// The reason on one line. The last words of a container that did not come up follow below.
    pub reason: String,
}

impl Reasoned {
    /// Makes an entry of a report.
    #[must_use]
    pub fn new(name: &str, reason: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_keep_their_line_ends() {
        let report = Report {
            rolled_back: vec![Reasoned::new("web", "it exited;\nit said:\nno\n db")],
            skipped: vec![Reasoned::new("db", "busy")],
            ..Report::default()
        };
        assert_eq!(
            report.text(),
            "rolled back: web: it exited\n    it said:\n    no\n     db\nskipped: db: busy\n"
        );
    }

    #[test]
    fn an_empty_report_has_all_its_lists() {
        let json = serde_json::to_string(&Report::default()).expect("JSON");
        assert_eq!(
            json,
            r#"{"pulled":[],"failed":[],"recreated":[],"unchanged":[],"rolled_back":[],"skipped":[]}"#
        );
    }
}
