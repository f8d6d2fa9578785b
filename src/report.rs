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
        let lists = [
            ("pulled", &self.pulled),
            ("failed", &self.failed),
            ("recreated", &self.recreated),
            ("unchanged", &self.unchanged),
        ];
        for (what, list) in lists {
            for name in list {
                text.push_str(&format!("{what}: {name}\n"));
            }
        }
        let reasoned = [
            ("rolled back", &self.rolled_back),
            ("skipped", &self.skipped),
        ];
        for (what, list) in reasoned {
            for Reasoned { name, reason } in list {
                text.push_str(&format!("{what}: {name}: {reason}\n"));
            }
        }
        text
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
