//! The record of a swap on the Engine: two names, and a label on the successor. With this record, another process
//! can finish or undo the swap.

use super::helper::NAME as HELPER;
use super::lock::NAME as LOCK;
use crate::engine::Container;
use crate::engine::State;
use crate::engine::Summary;
use crate::json;
use crate::labels::TRANSACTION;
use serde_json::Value;
use serde_json::json;

/// The marks in the names of a swap's two containers.
const NEW_MARK: &str = ".iw-new-";
const OLD_MARK: &str = ".iw-old-";
/// Follows the id in the old container's name if it was stopped before the swap.
const STOPPED: &str = "-stopped";
/// The restart policies besides `no` (Docker Engine API v1.41, `RestartPolicy`).
const POLICIES: [&str; 3] = ["always", "unless-stopped", "on-failure"];

/// The content of the label on a successor.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    /// The container's own name, which the successor takes over.
    pub(super) name: String,
    /// The id of the old container, or of the container that was made again in its place.
    pub(super) old: String,
    /// The id that the old container had when the swap began. Both temporary names contain its beginning.
    pub(super) origin: String,
    /// Whether the old container ran when the swap began.
    pub(super) was_running: bool,
    /// The restart policy that the old container had.
    pub(super) restart: Value,
    /// The id of the old container that this one lives in, if both are replaced in the same swap.
    pub(super) provider: Option<String>,
    /// Whether the old container could not be started again, so that the swap can only be finished.
    pub(super) is_one_way: bool,
}

impl Record {
    pub(super) fn of(old: &Container, provider: Option<&str>) -> Self {
        Self {
            name: old.name().to_owned(),
            old: old.id().to_owned(),
            origin: old.id().to_owned(),
            was_running: is_up(old),
            restart: old.restart_policy(),
            provider: provider.map(str::to_owned),
            is_one_way: false,
        }
    }

    /// Reads a label. The result is `None` if the label is no record.
    pub(super) fn parse(label: &str) -> Option<Self> {
        let json: Value = json::parse(label).ok()?;
        let text = |key: &str| json[key].as_str().map(str::to_owned);
        Some(Self {
            name: text("name")?,
            old: text("old")?,
            origin: text("old")?,
            was_running: json["was"] == "running",
            restart: json["restart"].clone(),
            provider: text("provider"),
            is_one_way: json["one_way"] == true,
        })
    }

    pub(super) fn of_summary(summary: &Summary) -> Option<Self> {
        summary.label(TRANSACTION).and_then(Self::parse)
    }

    pub(super) fn to_label(&self) -> String {
        let was = if self.was_running {
            "running"
        } else {
            "stopped"
        };
        let mut json = json!({"v": 1, "name": self.name, "old": self.origin, "was": was,
                              "restart": self.restart});
        if let Some(provider) = &self.provider {
            json["provider"] = json!(provider);
        }
        if self.is_one_way {
            json["one_way"] = json!(true);
        }
        json::print(&json)
    }

    /// Whether somebody removed the old container and it was made again.
    pub(super) fn was_made_again(&self) -> bool {
        self.old != self.origin
    }

    /// The id that all records of one swap have in common.
    pub(super) fn swap(&self) -> &str {
        self.provider.as_ref().unwrap_or(&self.origin)
    }

    /// The successor's name until it takes over.
    pub(super) fn new_name(&self) -> String {
        self.marked(NEW_MARK)
    }

    /// Whether the owner renamed a container of this swap meanwhile. It keeps that name.
    pub(super) fn is_renamed(&self, container: &Container) -> bool {
        container.name() != self.name && !is_aside(container.name())
    }

    /// The old container's name while it is put aside. If somebody removes the successor, and with it the label, this
    /// name still tells how to put the old container back.
    pub(super) fn old_name(&self) -> String {
        let name = self.marked(OLD_MARK);
        format!("{name}{}", self.suffix())
    }

    /// The same for another container in the old one's place, with a mark from its own id.
    pub(super) fn old_name_of(&self, id: &str) -> String {
        let mark = id.get(8..16).unwrap_or("00000000");
        format!("{}{OLD_MARK}{mark}{}", self.name, self.suffix())
    }

    fn marked(&self, mark: &str) -> String {
        let id = self.origin.get(..8).unwrap_or("00000000");
        format!("{}{mark}{id}", self.name)
    }

    /// Whether the container was stopped, and its restart policy if it had one, in letters, digits and `-`.
    fn suffix(&self) -> String {
        let stopped = if self.was_running { "" } else { STOPPED };
        let policy = match self.restart["Name"].as_str() {
            Some(name) if POLICIES.contains(&name) => format!("-{name}"),
            _ => String::new(),
        };
        let most = match self.restart["MaximumRetryCount"].as_u64() {
            Some(most) if most > 0 && policy == "-on-failure" => format!("-{most}"),
            _ => String::new(),
        };
        format!("{stopped}{policy}{most}")
    }
}

/// The content of the name of an old container that was put aside.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Aside<'n> {
    /// The container's own name, which it gets back.
    pub(super) name: &'n str,
    /// Whether the container ran when its swap began.
    pub(super) was_running: bool,
    /// The restart policy that the container had then, if any.
    pub(super) restart: Option<Value>,
}

impl<'n> Aside<'n> {
    pub(super) fn parse(name: &'n str) -> Option<Self> {
        let (name, tail) = split(name, OLD_MARK)?;
        let running = tail.strip_prefix(STOPPED).unwrap_or(tail);
        let policy = match running.strip_prefix('-') {
            None if running.is_empty() => None,
            None => return None,
            Some(policy) => Some(policy),
        };
        let restart = match policy.map(|policy| (policy, policy.strip_prefix("on-failure-"))) {
            None => None,
            Some((_, Some(most))) => {
                let most: u64 = most.parse().ok()?;
                Some(json!({"Name": "on-failure", "MaximumRetryCount": most}))
            }
            Some((name, None)) if POLICIES.contains(&name) => {
                Some(json!({"Name": name, "MaximumRetryCount": 0}))
            }
            Some(_) => return None,
        };
        Some(Self {
            name,
            was_running: running.len() == tail.len(),
            restart,
        })
    }
}

/// Whether a container runs, or will run again in a moment.
pub(super) fn is_up(container: &Container) -> bool {
    matches!(container.state(), State::Running | State::Restarting)
}

/// Whether a container has processes, be they paused.
pub(super) fn is_alive(container: &Container) -> bool {
    is_up(container) || container.state() == State::Paused
}

/// Whether a name is not an owner's: one that a swap gives, the lock's, or the helper's.
#[must_use]
pub fn is_transient_name(name: &str) -> bool {
    name == HELPER || marks_swap(name)
}

/// Whether a container of this name shows that a swap is under way, or was.
pub(super) fn marks_swap(name: &str) -> bool {
    name == LOCK || is_aside(name)
}

/// Whether a name is one that a swap gives to a container for its duration.
#[must_use]
pub fn is_aside(name: &str) -> bool {
    name_of_aside(name).is_some()
}

/// The container's own name within a name that a swap gave.
#[must_use]
pub fn name_of_aside(name: &str) -> Option<&str> {
    let new = split(name, NEW_MARK).filter(|(_, tail)| tail.is_empty());
    new.map(|(own, _)| own).or_else(|| name_before(name))
}

/// The own name of an old container that was put aside.
pub(super) fn name_before(name: &str) -> Option<&str> {
    Aside::parse(name).map(|aside| aside.name)
}

/// Splits a name at its mark: the container's own name, and the text after the id.
fn split<'n>(name: &'n str, mark: &str) -> Option<(&'n str, &'n str)> {
    let (own, tail) = name.rsplit_once(mark)?;
    let (id, tail) = tail.split_at_checked(8)?;
    let is_id = id.bytes().all(|b| b.is_ascii_hexdigit());
    (is_id && !own.is_empty()).then_some((own, tail))
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
            ("imagewatch.helper", true),
            ("web", false),
            ("web.iw-new-", false),
            ("web.iw-new-0123abcd.x", false),
            ("web.iw-new-zzzzzzzz", false),
            ("web.iw-new-0123abcd-always", false),
            ("web.iw-old-0123abcd-always", true),
            ("web.iw-old-0123abcd-stopped", true),
            ("web.iw-old-0123abcd-stopped-on-failure-3", true),
            ("web.iw-old-0123abcdalways", false),
            ("web.iw-old-0123abcd-never", false),
            ("web.iw-old-0123abcd-on-failure-é", false),
            ("web.iw-old-é", false),
        ] {
            assert_eq!(is_transient_name(name), expected, "{name}");
        }
        assert_eq!(name_before("web.iw-old-0123abcd"), Some("web"));
        assert_eq!(name_before("web.iw-new-0123abcd"), None);
    }

    #[test]
    fn the_name_of_what_is_put_aside_tells_how_to_put_it_back() {
        for (state, policy) in [
            ("running", json!({"Name": "always", "MaximumRetryCount": 0})),
            (
                "exited",
                json!({"Name": "unless-stopped", "MaximumRetryCount": 0}),
            ),
            (
                "running",
                json!({"Name": "on-failure", "MaximumRetryCount": 0}),
            ),
            (
                "exited",
                json!({"Name": "on-failure", "MaximumRetryCount": 7}),
            ),
            ("exited", json!({"Name": "no", "MaximumRetryCount": 0})),
            ("running", json!({"Name": ""})),
            ("running", json!({"Name": "of days to come"})),
        ] {
            let json = json!({"Id": "0123456789abcdef", "Name": "/web", "State": {"Status": state},
                              "HostConfig": {"RestartPolicy": policy}});
            let record = Record::of(&Container::new(json), None);
            let known = POLICIES.iter().any(|name| policy["Name"] == *name);
            let expected = Aside {
                name: "web",
                was_running: state == "running",
                restart: known.then_some(policy),
            };
            for name in [record.old_name(), record.old_name_of("0123456789abcdef")] {
                assert_eq!(Aside::parse(&name).as_ref(), Some(&expected), "{name}");
            }
        }
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
        record.is_one_way = true;
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
            ".iw-old-01234567-stopped-on-failure-",
            "-always",
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
