//! What one refresh did. The JSON is a contract with scripts.

use serde::Serialize;

/// The answer to a refresh. The first three lists keep the meaning they always had on the
/// platform; all six are always present.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Images that were pulled, by runtime (or reference where there is none).
    pub pulled: Vec<String>,
    /// Images that could not be pulled.
    pub failed: Vec<String>,
    /// Containers that run a newer image now.
    pub recreated: Vec<String>,
    /// Containers that ran the newest image already.
    pub unchanged: Vec<String>,
    /// Containers whose successor was not accepted, and which are as they were.
    pub rolled_back: Vec<Reasoned>,
    /// Containers that were not touched.
    pub skipped: Vec<Reasoned>,
}

impl Report {
    /// For people: a line for each entry.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        add_names(&mut text, "pulled", &self.pulled);
        add_names(&mut text, "failed", &self.failed);
        add_names(&mut text, "recreated", &self.recreated);
        add_names(&mut text, "unchanged", &self.unchanged);
        add_reasons(&mut text, "rolled back", &self.rolled_back);
        add_reasons(&mut text, "skipped", &self.skipped);
        text
    }
}

/// A line for each name.
pub(crate) fn add_names(text: &mut String, what: &str, names: &[String]) {
    for name in names {
        text.push_str(&format!("{what}: {name}\n"));
    }
}

/// A line for each name and its reason.
pub(crate) fn add_reasons(text: &mut String, what: &str, list: &[Reasoned]) {
    for Reasoned { name, reason } in list {
        text.push_str(&format!("{what}: {name}: {reason}\n"));
    }
}

/// A container and why something was, or was not, done to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reasoned {
    /// The container's name.
    pub name: String,
    /// The reason, on one line.
    pub reason: String,
}

impl Reasoned {
    /// Puts the two together.
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
    fn an_empty_report_has_all_its_lists() {
        let json = serde_json::to_string(&Report::default()).expect("JSON");
        assert_eq!(
            json,
            r#"{"pulled":[],"failed":[],"recreated":[],"unchanged":[],"rolled_back":[],"skipped":[]}"#
        );
    }
}
