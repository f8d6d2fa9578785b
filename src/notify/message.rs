//! One message: an [`Event`] as a sentence for people and as an object for programs. Pure.

use crate::error::cut;
use crate::error::headline;
use crate::journal::Event;
use crate::journal::Outcome;
use crate::reference::short;
use crate::time::rfc3339;
use serde_json::Map;
use serde_json::Value;
use std::time::SystemTime;

/// The name of an outcome in a message.
fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Recreated => "updated",
        Outcome::RolledBack => "rolled_back",
        Outcome::PullFailed | Outcome::Skipped | Outcome::LeftAlone => "failed",
        Outcome::Behind => "behind",
        Outcome::Down => "down",
        Outcome::Back => "back",
        Outcome::Newer => "newer",
        Outcome::Restored => "restored",
        Outcome::Decided => "decided",
    }
}

/// An event and its time.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) event: Event,
    time: SystemTime,
}

impl Message {
    pub(super) fn new(event: Event) -> Self {
        let time = SystemTime::now();
        Self { event, time }
    }

    /// One line for people. The last words of a container that did not come up follow below.
    pub(super) fn text(&self) -> String {
        let event = &self.event;
        let image = &event.image;
        let container = event.container.as_deref().unwrap_or_default();
        let old = short(event.old.as_deref().unwrap_or_default());
        let new = short(event.new.as_deref().unwrap_or_default());
        let (reason, words) = headline(event.reason.as_deref().unwrap_or_default());
        let mut text = match event.outcome {
            Outcome::Recreated if old == new => format!("recreated {container} ({image})"),
            Outcome::Recreated => format!("updated {container} ({image}) {old} → {new}"),
            Outcome::RolledBack => format!(
                "rolled back {container} ({image}) {new}: {reason}; it runs the old image {old} again"
            ),
            Outcome::PullFailed => format!("could not pull {image}: {reason}"),
            Outcome::Skipped | Outcome::LeftAlone => {
                format!("could not update {container} ({image}) to {new}: {reason}")
            }
            Outcome::Behind => {
                format!("{container} ({image}) is behind: {new} is out, and left to you")
            }
            Outcome::Down => format!(
                "{container} ({image}) is DOWN: {reason}; it is started as soon as the Engine does so"
            ),
            Outcome::Back => format!("{container} ({image}) is back: the old container runs again"),
            Outcome::Restored => {
                format!("rolled back {container} ({image}) {old} → {new}: {reason}")
            }
            Outcome::Decided => format!("{}: {reason}", event.subject()),
            Outcome::Newer => {
                let newest = event.new_version.as_deref().unwrap_or_default();
                let running = event.old_version.as_deref().unwrap_or_default();
                format!("{image}: {newest} exists, you run {running}")
            }
        };
        if let Some(seconds) = event.downtime_seconds {
            // `{seconds:.1}` would be the only float that is printed, and its code costs 15 KB.
            let tenths = (seconds * 10.0).round() as u64;
            text.push_str(&format!(", down for {}.{} s", tenths / 10, tenths % 10));
        }
        if !words.is_empty() {
            text.push('\n');
            text.push_str(words);
        }
        cut(&mut text, LONGEST);
        text
    }

    /// One object for programs. Unknown facts are absent.
    pub(super) fn json(&self, host: Option<&str>) -> Value {
        let mut json = Map::new();
        let own = [
            ("event", Some(name(self.event.outcome))),
            ("host", host),
            ("time", Some(&*rfc3339(self.time))),
            ("text", Some(&*self.text())),
        ];
        let own = own.into_iter().filter_map(|(key, text)| Some((key, text?)));
        for (key, text) in own.chain(self.event.texts()) {
            json.insert(key.to_owned(), Value::from(text));
        }
        if let Some(seconds) = self.event.downtime_seconds {
            json.insert("downtime_seconds".to_owned(), Value::from(seconds));
        }
        Value::Object(json)
    }
}

/// The longest text, in bytes. Discord is the strictest service: it takes 2000 characters with the title.
const LONGEST: usize = 1500;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    fn digest(of: char) -> String {
        format!("sha256:{}", of.to_string().repeat(64))
    }

    const IMAGE: &str = "a.b/c:d";

    fn updated() -> Event {
        Event::of(Outcome::Recreated, "web", "docker.io/library/nginx:latest")
            .from_to(&digest('a'), &digest('b'))
            .after(Some(Duration::from_millis(1234)))
    }

    #[test]
    fn each_outcome_is_a_sentence() {
        let reason = "it exited with 1";
        let (old, new) = (digest('a'), digest('b'));
        let web = |outcome| Event::of(outcome, "web", IMAGE);
        let rolled_back = |reason| web(Outcome::RolledBack).from_to(&old, &new).because(reason);
        for (event, text) in [
            (
                updated(),
                "updated web (docker.io/library/nginx:latest) sha256:aaaaaaaaaaaa → sha256:bbbbbbbbbbbb, down for 1.2 s",
            ),
            (
                web(Outcome::Recreated).from_to(&new, &new),
                "recreated web (a.b/c:d)",
            ),
            (
                rolled_back(reason),
                "rolled back web (a.b/c:d) sha256:bbbbbbbbbbbb: it exited with 1; it runs the old image sha256:aaaaaaaaaaaa again",
            ),
            (
                rolled_back("it exited with 1;\nit said:\nno\n db"),
                "rolled back web (a.b/c:d) sha256:bbbbbbbbbbbb: it exited with 1; it runs the old image sha256:aaaaaaaaaaaa again\nit said:\nno\n db",
            ),
            (
                web(Outcome::Skipped).to(&new).because(reason),
                "could not update web (a.b/c:d) to sha256:bbbbbbbbbbbb: it exited with 1",
            ),
            (
                Event::pull_failed(IMAGE, reason),
                "could not pull a.b/c:d: it exited with 1",
            ),
            (
                web(Outcome::Behind).to(&new),
                "web (a.b/c:d) is behind: sha256:bbbbbbbbbbbb is out, and left to you",
            ),
            (
                web(Outcome::Down).because("no such device"),
                "web (a.b/c:d) is DOWN: no such device; it is started as soon as the Engine does so",
            ),
            (
                Event::newer(IMAGE, "1.3.9", "1.4.2"),
                "a.b/c:d: 1.4.2 exists, you run 1.3.9",
            ),
            (
                web(Outcome::Back),
                "web (a.b/c:d) is back: the old container runs again",
            ),
        ] {
            assert_eq!(Message::new(event).text(), text);
        }
    }

    #[test]
    fn programs_get_whole_digests_and_no_empty_keys() {
        let message = Message {
            event: updated(),
            time: SystemTime::UNIX_EPOCH,
        };
        assert_eq!(
            message.json(Some("nas")),
            json!({
                "event": "updated",
                "container": "web",
                "image": "docker.io/library/nginx:latest",
                "old": digest('a'),
                "new": digest('b'),
                "downtime_seconds": 1.234,
                "host": "nas",
                "time": "1970-01-01T00:00:00Z",
                "text": message.text(),
            })
        );
        let json = Message::new(Event::pull_failed("i", "r")).json(None);
        let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["event", "image", "reason", "text", "time"]);
    }

    #[test]
    fn a_message_has_an_end() {
        let text = Message::new(Event::pull_failed("i", &"ä".repeat(2000))).text();
        assert!(text.len() <= LONGEST + 3 && text.ends_with('…'), "{text}");
    }
}
