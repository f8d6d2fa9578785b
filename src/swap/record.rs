//! What a swap leaves on the Engine so that another process can finish or undo it: two names, and
//! a label on the successor.

use crate::claim::NAME as CLAIM;
use crate::engine::Container;
use crate::engine::State;
use crate::engine::Summary;
use crate::replacement::TRANSACTION_LABEL;
use serde_json::Value;
use serde_json::json;

/// What marks the names of a swap's two containers.
const NEW_MARK: &str = ".iw-new-";
const OLD_MARK: &str = ".iw-old-";

/// What the label on a successor says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    /// The name that is to be kept.
    pub(super) name: String,
    /// The id of the old container.
    pub(super) old: String,
    /// Whether it ran when the swap began.
    pub(super) was_running: bool,
    /// The restart policy it had.
    pub(super) restart: Value,
    /// The old container it lives in, if that one is replaced in the same swap.
    pub(super) provider: Option<String>,
}

impl Record {
    pub(super) fn of(old: &Container, provider: Option<&str>) -> Self {
        Self {
            name: old.name().to_owned(),
            old: old.id().to_owned(),
            was_running: is_up(old),
            restart: old.restart_policy(),
            provider: provider.map(str::to_owned),
        }
    }

    /// What a container's label says, if it is a successor.
    pub(super) fn parse(label: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(label).ok()?;
        let text = |key: &str| json[key].as_str().map(str::to_owned);
        Some(Self {
            name: text("name")?,
            old: text("old")?,
            was_running: json["was"] == "running",
            restart: json["restart"].clone(),
            provider: text("provider"),
        })
    }

    pub(super) fn of_summary(summary: &Summary) -> Option<Self> {
        summary.label(TRANSACTION_LABEL).and_then(Self::parse)
    }

    pub(super) fn to_label(&self) -> String {
        let was = if self.was_running {
            "running"
        } else {
            "stopped"
        };
        let mut json = json!({"v": 1, "name": self.name, "old": self.old, "was": was,
                              "restart": self.restart});
        if let Some(provider) = &self.provider {
            json["provider"] = json!(provider);
        }
        json.to_string()
    }

    /// All records of one swap have this in common.
    pub(super) fn swap(&self) -> &str {
        self.provider.as_ref().unwrap_or(&self.old)
    }

    /// The successor's name until it takes over.
    pub(super) fn new_name(&self) -> String {
        self.marked(NEW_MARK)
    }

    /// The old container's name from then on.
    pub(super) fn old_name(&self) -> String {
        self.marked(OLD_MARK)
    }

    fn marked(&self, mark: &str) -> String {
        let id = self.old.get(..8).unwrap_or("00000000");
        format!("{}{mark}{id}", self.name)
    }
}

/// Whether a container is up, or will be again in a moment.
pub(super) fn is_up(container: &Container) -> bool {
    matches!(container.state(), State::Running | State::Restarting)
}

/// Whether there is a process of it, be it paused.
pub(super) fn is_alive(container: &Container) -> bool {
    is_up(container) || container.state() == State::Paused
}

/// Whether a name is one that a swap gives for its duration, or the claim's.
#[must_use]
pub fn is_transient_name(name: &str) -> bool {
    name == CLAIM || is_aside(name)
}

/// Whether a name is one that a container has only while it is replaced.
#[must_use]
pub fn is_aside(name: &str) -> bool {
    name_of_aside(name).is_some()
}

/// Whose name that is.
#[must_use]
pub fn name_of_aside(name: &str) -> Option<&str> {
    own_name(name, NEW_MARK).or_else(|| name_before(name))
}

/// The name that an old container put aside is to get back.
pub(super) fn name_before(name: &str) -> Option<&str> {
    own_name(name, OLD_MARK)
}

fn own_name<'n>(name: &'n str, mark: &str) -> Option<&'n str> {
    let (own, tail) = name.rsplit_once(mark)?;
    let is_id = tail.len() == 8 && tail.bytes().all(|b| b.is_ascii_hexdigit());
    (is_id && !own.is_empty()).then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transient_names_are_recognised() {
        for (name, expected) in [
            ("web.iw-new-0123abcd", true),
            ("web.iw-old-0123abcd", true),
            ("imagewatch.claim", true),
            ("web", false),
            ("web.iw-new-", false),
            ("web.iw-new-0123abcd.x", false),
            ("web.iw-new-zzzzzzzz", false),
        ] {
            assert_eq!(is_transient_name(name), expected, "{name}");
        }
        assert_eq!(name_before("web.iw-old-0123abcd"), Some("web"));
        assert_eq!(name_before("web.iw-new-0123abcd"), None);
    }

    #[test]
    fn a_record_survives_its_label() {
        let json = json!({"Id": "0123456789", "Name": "/web", "State": {"Status": "running"},
                          "HostConfig": {"RestartPolicy": {"Name": "always"}}});
        let mut record = Record::of(&Container::new(json), None);
        assert_eq!(Record::parse(&record.to_label()), Some(record.clone()));
        assert_eq!(
            (record.swap(), &*record.new_name()),
            ("0123456789", "web.iw-new-01234567")
        );
        record.provider = Some("abc".to_owned());
        assert_eq!(Record::parse(&record.to_label()), Some(record));
        assert_eq!(Record::parse("rubbish"), None);
        assert_eq!(Record::parse("{}"), None);
    }

    #[test]
    fn no_label_panics() {
        const WORDS: &[&str] = &[
            "{",
            "}",
            "\"",
            ":",
            ",",
            "null",
            "\"name\":",
            "\"old\":",
            "\"provider\":",
            "\"was\":",
            ".iw-new-01234567",
            ".iw-old-01234567",
            ".iw-old-",
            "é",
            "\\ud83d\\ude00",
        ];
        crate::fuzz::fuzz("record", WORDS, |input| {
            let text = String::from_utf8_lossy(input);
            let _ = (is_transient_name(&text), name_before(&text));
            if let Some(record) = Record::parse(&text) {
                let _ = (record.new_name(), record.swap());
                assert_eq!(Record::parse(&record.to_label()), Some(record));
            }
        });
    }
}
