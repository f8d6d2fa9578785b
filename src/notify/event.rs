//! What is told: from a [`Step`] to a sentence for people and an object for programs. Pure.

use crate::progress::Step;
use crate::time::rfc3339;
use serde_json::Map;
use serde_json::Value;
use std::time::SystemTime;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Updated,
    RolledBack,
    Failed,
    Behind,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Updated => "updated",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Behind => "behind",
        }
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
        let event = |outcome, container: Option<&String>, image: &String| Self {
            outcome,
            container: container.cloned(),
            image: image.clone(),
            old: None,
            new: None,
            reason: None,
            downtime_seconds: None,
            time: SystemTime::now(),
        };
        match step {
            Step::Recreated {
                container,
                image,
                old,
                new,
                downtime_seconds,
            } => Some(Self {
                old: Some(old.clone()),
                new: Some(new.clone()),
                downtime_seconds: *downtime_seconds,
                ..event(Outcome::Updated, Some(container), image)
            }),
            Step::RolledBack {
                container,
                image,
                old,
                new,
                reason,
            } => Some(Self {
                old: Some(old.clone()),
                new: Some(new.clone()),
                reason: Some(reason.clone()),
                ..event(Outcome::RolledBack, Some(container), image)
            }),
            Step::Skipped {
                container,
                image,
                new,
                reason,
                failed: true,
            } => Some(Self {
                new: Some(new.clone()),
                reason: Some(reason.clone()),
                ..event(Outcome::Failed, Some(container), image)
            }),
            Step::PullFailed { image, reason } => Some(Self {
                reason: Some(reason.clone()),
                ..event(Outcome::Failed, None, image)
            }),
            Step::Behind {
                container,
                image,
                new,
            } => Some(Self {
                new: Some(new.clone()),
                ..event(Outcome::Behind, Some(container), image)
            }),
            _ => None,
        }
    }

    /// One line for people.
    pub(super) fn text(&self) -> String {
        let image = &self.image;
        let container = self.container.as_deref().unwrap_or_default();
        let old = short(self.old.as_deref());
        let new = short(self.new.as_deref());
        let reason = self.reason.as_deref().unwrap_or_default();
        let mut text = match self.outcome {
            Outcome::Updated if old == new => format!("recreated {container} ({image})"),
            Outcome::Updated => format!("updated {container} ({image}) {old} → {new}"),
            Outcome::RolledBack => format!(
                "rolled back {container} ({image}) {new}: {reason}; it runs the old image {old} again"
            ),
            Outcome::Failed if self.container.is_none() => {
                format!("could not pull {image}: {reason}")
            }
            Outcome::Failed => {
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
            ("event", Some(self.outcome.name())),
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

/// Algorithm and the first twelve digits of a digest or an image's id.
fn short(digest: Option<&str>) -> &str {
    let digest = digest.unwrap_or_default();
    let begin = digest.find(':').map_or(0, |colon| colon + 1);
    digest.get(..begin + 12).unwrap_or(digest)
}

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
