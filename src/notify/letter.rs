//! A letter: all that a receiver needs of a message, or of a summary of messages.

use super::host::is_container_id;
use super::words::Level;
use crate::error::cut;
use crate::time::rfc3339;
use serde_json::Map;
use serde_json::Value;
use std::time::SystemTime;

/// The longest title, in bytes.
const LONGEST: usize = 200;

/// A message for people, and an object for programs.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    /// The kind of the event, or `digest`.
    pub event: &'static str,
    /// How much it matters.
    pub level: Level,
    /// The emoji of ntfy, by its short code.
    pub tag: &'static str,
    /// The subject and the outcome, without the host.
    pub title: String,
    /// The name of the host, if it is known.
    pub host: Option<String>,
    /// The reason and the next step.
    pub text: String,
    /// Further facts for programs.
    pub facts: Map<String, Value>,
    /// The time of the event.
    pub time: SystemTime,
}

impl Letter {
    /// The title with the host. The owner's own title goes in front, and the host is left out if that title names it.
    pub(super) fn titled(&self, own: Option<&str>) -> String {
        let mut title = match own {
            Some(own) => format!("{own}: {}", self.title),
            None => self.title.clone(),
        };
        cut(&mut title, LONGEST);
        if let Some(host) = &self.host {
            // An owner's title tells more than a container's id.
            let is_named = own.is_some_and(|own| own.contains(&**host) || is_container_id(host));
            if !is_named {
                title.push_str(" on ");
                title.push_str(host);
            }
        }
        title
    }

    /// Title and text, for receivers without titles.
    pub(super) fn whole(&self, own: Option<&str>) -> String {
        format!("{}\n{}", self.titled(own), self.text)
    }

    /// One object for programs. Unknown facts are absent.
    pub(super) fn json(&self) -> Value {
        let mut json = self.facts.clone();
        let own = [
            ("event", Some(self.event)),
            ("level", Some(self.level.name())),
            ("host", self.host.as_deref()),
            ("time", Some(&*rfc3339(self.time))),
            ("title", Some(&*self.titled(None))),
            ("text", Some(&*self.whole(None))),
        ];
        for (key, text) in own {
            if let Some(text) = text {
                json.insert(key.to_owned(), Value::from(text));
            }
        }
        Value::Object(json)
    }
}
