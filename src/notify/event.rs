//! What is told: from a [`Step`] to a sentence for people and an object for programs. Pure.

use crate::progress::Outcome;
use crate::progress::Step;
use crate::reference::short;
use crate::time::rfc3339;
use serde_json::Map;
use serde_json::Value;
use std::time::SystemTime;

/// What people call an outcome.
fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Recreated => "updated",
        Outcome::RolledBack => "rolled_back",
        Outcome::PullFailed | Outcome::Skipped => "failed",
        Outcome::Behind => "behind",
    }
}

/// Something worth a message.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) outcome: Outcome,
    pub(super) container: Option<String>,
    pub(super) image: String,
    old: Option<String>,
    pub(super) new: Option<String>,
    pub(super) reason: Option<String>,
    downtime_seconds: Option<f64>,
    time: SystemTime,
}

impl Event {
    /// What the step is to people; nothing, mostly.
    pub(super) fn of(step: &Step) -> Option<Self> {
        let happened = step.happened()?;
        let own = |text: Option<&str>| text.map(str::to_owned);
        Some(Self {
            outcome: happened.outcome,
            container: own(happened.container),
            image: happened.image.to_owned(),
            old: own(happened.old),
            new: own(happened.new),
            reason: own(happened.reason),
            downtime_seconds: happened.downtime_seconds,
            time: SystemTime::now(),
        })
    }

    /// One line for people.
    pub(super) fn text(&self) -> String {
        let image = &self.image;
        let container = self.container.as_deref().unwrap_or_default();
        let old = short(self.old.as_deref().unwrap_or_default());
        let new = short(self.new.as_deref().unwrap_or_default());
        let reason = self.reason.as_deref().unwrap_or_default();
        let mut text = match self.outcome {
            Outcome::Recreated if old == new => format!("recreated {container} ({image})"),
            Outcome::Recreated => format!("updated {container} ({image}) {old} → {new}"),
            Outcome::RolledBack => format!(
                "rolled back {container} ({image}) {new}: {reason}; it runs the old image {old} again"
            ),
            Outcome::PullFailed => format!("could not pull {image}: {reason}"),
            Outcome::Skipped => {
                format!("could not update {container} ({image}) to {new}: {reason}")
            }
            Outcome::Behind => {
                format!("{container} ({image}) is behind: {new} is out, and left to you")
            }
        };
        if let Some(seconds) = self.downtime_seconds {
            // Not `{seconds:.1}`: the only fraction that is ever formatted would cost 15 KB.
            let tenths = (seconds * 10.0).round() as u64;
            text.push_str(&format!(", down for {}.{} s", tenths / 10, tenths % 10));
        }
        if text.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|&i| text.is_char_boundary(i));
            text.truncate(end.unwrap_or(0));
            text.push('…');
        }
        text
    }

    /// One object for programs; what is not known is absent.
    pub(super) fn json(&self, host: Option<&str>) -> Value {
        let mut json = Map::new();
        let texts = [
            ("event", Some(name(self.outcome))),
            ("container", self.container.as_deref()),
            ("image", Some(&*self.image)),
            ("old", self.old.as_deref()),
            ("new", self.new.as_deref()),
            ("reason", self.reason.as_deref()),
            ("host", host),
            ("time", Some(&*rfc3339(self.time))),
            ("text", Some(&*self.text())),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                json.insert(key.to_owned(), Value::from(value));
            }
        }
        if let Some(seconds) = self.downtime_seconds {
            json.insert("downtime_seconds".to_owned(), Value::from(seconds));
        }
        Value::Object(json)
    }
}

/// Discord, the strictest of the services, takes 2000 characters, a title included.
const LONGEST: usize = 1500;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn digest(of: char) -> String {
        format!("sha256:{}", of.to_string().repeat(64))
    }

    fn updated() -> Step {
        Step::Recreated {
            container: "web".into(),
            image: "docker.io/library/nginx:latest".into(),
            old: digest('a'),
            new: digest('b'),
            downtime_seconds: Some(1.234),
        }
    }

    #[test]
    fn each_outcome_is_a_sentence() {
        let (container, image) = ("web".to_owned(), "a.b/c:d".to_owned());
        let reason = "it exited with 1".to_owned();
        let (old, new) = (digest('a'), digest('b'));
        for (step, text) in [
            (
                updated(),
                "updated web (docker.io/library/nginx:latest) sha256:aaaaaaaaaaaa → sha256:bbbbbbbbbbbb, down for 1.2 s",
            ),
            (
                Step::Recreated {
                    container: container.clone(),
                    image: image.clone(),
                    old: new.clone(),
                    new: new.clone(),
                    downtime_seconds: None,
                },
                "recreated web (a.b/c:d)",
            ),
            (
                Step::RolledBack {
                    container: container.clone(),
                    image: image.clone(),
                    old,
                    new: new.clone(),
                    reason: reason.clone(),
                },
                "rolled back web (a.b/c:d) sha256:bbbbbbbbbbbb: it exited with 1; it runs the old image sha256:aaaaaaaaaaaa again",
            ),
            (
                Step::Skipped {
                    container: container.clone(),
                    image: image.clone(),
                    new: new.clone(),
                    reason: reason.clone(),
                    failed: true,
                },
                "could not update web (a.b/c:d) to sha256:bbbbbbbbbbbb: it exited with 1",
            ),
            (
                Step::PullFailed {
                    image: image.clone(),
                    reason,
                },
                "could not pull a.b/c:d: it exited with 1",
            ),
            (
                Step::Behind {
                    container,
                    image,
                    new,
                },
                "web (a.b/c:d) is behind: sha256:bbbbbbbbbbbb is out, and left to you",
            ),
        ] {
            assert_eq!(Event::of(&step).expect("an event").text(), text);
        }
    }

    #[test]
    fn what_changes_nothing_is_no_event() {
        for step in [
            Step::Alive,
            Step::Pulling { image: "i".into() },
            Step::Skipped {
                container: "web".into(),
                image: "i".into(),
                new: "n".into(),
                reason: "busy".into(),
                failed: false,
            },
        ] {
            assert!(Event::of(&step).is_none(), "{step:?}");
        }
    }

    #[test]
    fn programs_get_whole_digests_and_no_empty_keys() {
        let mut event = Event::of(&updated()).expect("an event");
        event.time = SystemTime::UNIX_EPOCH;
        assert_eq!(
            event.json(Some("nas")),
            json!({
                "event": "updated",
                "container": "web",
                "image": "docker.io/library/nginx:latest",
                "old": digest('a'),
                "new": digest('b'),
                "downtime_seconds": 1.234,
                "host": "nas",
                "time": "1970-01-01T00:00:00Z",
                "text": event.text(),
            })
        );
        let pull = Step::PullFailed {
            image: "i".into(),
            reason: "r".into(),
        };
        let json = Event::of(&pull).expect("an event").json(None);
        let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["event", "image", "reason", "text", "time"]);
    }

    #[test]
    fn a_message_has_an_end() {
        let pull = Step::PullFailed {
            image: "i".into(),
            reason: "ä".repeat(2000),
        };
        let text = Event::of(&pull).expect("an event").text();
        assert!(text.len() <= LONGEST + 3 && text.ends_with('…'), "{text}");
    }
}
