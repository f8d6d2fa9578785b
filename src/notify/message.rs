//! One message: an [`Event`] in words for people, and with its facts for programs. Pure.

use super::letter::Letter;
use super::words::Words;
use super::words::words;
use crate::error::cut;
use crate::error::headline;
use crate::journal::Event;
use crate::reference::short;
use serde_json::Map;
use serde_json::Value;
use std::time::SystemTime;

/// The longest text, in bytes. Discord is the strictest service: it takes 2000 characters with the title.
const LONGEST: usize = 1500;

/// An event and its time.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) event: Event,
    time: SystemTime,
}

impl Message {
    #[cold]
    pub(super) fn new(event: Event) -> Self {
        let time = SystemTime::now();
        Self { event, time }
    }

    /// The letter about the event, with the name of the host.
    pub(super) fn letter(&self, host: Option<String>) -> Letter {
        let words = self.words();
        let mut text = self.fill(words.text);
        if let Some(source) = &self.event.source {
            text.push('\n');
            text.push_str(source);
        }
        let output = headline(self.event.reason.as_deref().unwrap_or_default()).1;
        if !output.is_empty() {
            text.push('\n');
            text.push_str(output);
        }
        cut(&mut text, LONGEST);
        let mut facts = Map::new();
        for (key, text) in self.event.texts() {
            facts.insert(key.to_owned(), Value::from(text));
        }
        if let Some(seconds) = self.event.downtime_seconds {
            facts.insert("downtime_seconds".to_owned(), Value::from(seconds));
        }
        Letter {
            event: words.name,
            level: words.level,
            tag: words.tag,
            title: self.title(),
            host,
            text,
            facts,
            time: self.time,
        }
    }

    /// The words for this event.
    pub(super) fn words(&self) -> &'static Words {
        let event = &self.event;
        words(event.outcome, event.old == event.new)
    }

    /// The container and the outcome, on one line.
    pub(super) fn title(&self) -> String {
        self.fill(self.words().title)
    }

    /// Puts the facts of the event in the place of the words in braces.
    #[cold]
    fn fill(&self, mut template: &str) -> String {
        let mut text = String::new();
        while let Some((before, rest)) = template.split_once('{') {
            let (fact, rest) = rest.split_once('}').unwrap_or((rest, ""));
            text.push_str(before);
            self.push_fact(fact, &mut text);
            template = rest;
        }
        text.push_str(template);
        text
    }

    /// Adds one fact of the event to a text.
    fn push_fact(&self, fact: &str, text: &mut String) {
        let event = &self.event;
        let (old, new) = (event.old_version.as_deref(), event.new_version.as_deref());
        let (before, words) = match fact {
            "name" => ("", Some(event.subject())),
            "image" => ("", Some(&*event.image)),
            "reason" => ("", event.reason.as_deref().map(|reason| headline(reason).0)),
            "old" => return push_image(old, event.old.as_deref(), text),
            "new" => return push_image(new, event.new.as_deref(), text),
            "newest" => ("", new.or(Some("a newer image"))),
            // An image that was built again has the same version.
            "to" => (" to ", new.filter(|_| old != new)),
            "from" => (" from ", new.filter(|_| old != new)),
            "running" => (", and the container runs ", old),
            "downtime" => return push_downtime(event.downtime_seconds, text),
            _ => ("", None),
        };
        if let Some(words) = words {
            text.push_str(before);
            text.push_str(words);
        }
    }
}

/// Adds an image: its version, and its digest or id in brackets, as far as they are known.
fn push_image(version: Option<&str>, digest: Option<&str>, text: &mut String) {
    let digest = short(digest.unwrap_or_default());
    let (before, after) = match version {
        Some(_) if !digest.is_empty() => (" (", ")"),
        _ => ("", ""),
    };
    for part in [version.unwrap_or_default(), before, digest, after] {
        text.push_str(part);
    }
}

fn push_downtime(seconds: Option<f64>, text: &mut String) {
    if let Some(seconds) = seconds {
        // `{seconds:.1}` would be the only float that is printed, and its code costs 15 KB.
        let tenths = (seconds * 10.0).round() as u64;
        text.push_str(&format!(", down for {}.{} s", tenths / 10, tenths % 10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Outcome;
    use crate::notify::Level;
    use serde_json::json;
    use std::time::Duration;

    fn digest(of: char) -> String {
        format!("sha256:{}", of.to_string().repeat(64))
    }

    const IMAGE: &str = "a.b/c:d";
    const REASON: &str = "it exited with 1";

    fn web(outcome: Outcome) -> Event {
        Event::of(outcome, "web", IMAGE)
    }

    fn from_to(outcome: Outcome) -> Event {
        web(outcome).from_to(&digest('a'), &digest('b'))
    }

    fn with_versions(event: Event, old: &str, new: &str) -> Event {
        event.versions(Some(old.to_owned()), Some(new.to_owned()), None)
    }

    /// An event of each outcome, with the name, title and text of its message.
    fn table() -> Vec<(Event, &'static str, &'static str, &'static str)> {
        vec![
            (
                from_to(Outcome::Recreated).after(Some(Duration::from_millis(1234))),
                "updated",
                "web updated",
                "a.b/c:d: sha256:aaaaaaaaaaaa → sha256:bbbbbbbbbbbb, down for 1.2 s.",
            ),
            (
                with_versions(from_to(Outcome::Recreated), "1.3.9", "1.4.0"),
                "updated",
                "web updated to 1.4.0",
                "a.b/c:d: 1.3.9 (sha256:aaaaaaaaaaaa) → 1.4.0 (sha256:bbbbbbbbbbbb).",
            ),
            (
                with_versions(from_to(Outcome::Recreated), "1.4.0", "1.4.0"),
                "updated",
                "web updated",
                "a.b/c:d: 1.4.0 (sha256:aaaaaaaaaaaa) → 1.4.0 (sha256:bbbbbbbbbbbb).",
            ),
            (
                web(Outcome::Recreated).from_to(&digest('b'), &digest('b')),
                "updated",
                "web recreated",
                "a.b/c:d: web was made again from the same image.",
            ),
            (
                from_to(Outcome::RolledBack).because("it exited with 1;\nit said:\nno\n db"),
                "rolled_back",
                "web rolled back",
                "a.b/c:d: sha256:bbbbbbbbbbbb did not come up: it exited with 1. web runs sha256:aaaaaaaaaaaa again. \
                 If the image is at fault, it is not tried again until its tag moves on. `imagewatch refresh --force \
                 web` tries it at once.\nit said:\nno\n db",
            ),
            (
                Event::pull_failed(IMAGE, REASON),
                "failed",
                "a.b/c:d could not be pulled",
                "it exited with 1. Nothing was changed, and the next refresh tries again.",
            ),
            (
                with_versions(
                    web(Outcome::Skipped).to(&digest('b')).because(REASON),
                    "1",
                    "2",
                ),
                "failed",
                "web could not be updated to 2",
                "a.b/c:d: it exited with 1. web was left as it is, and the next refresh tries again.",
            ),
            (
                web(Outcome::Behind).to(&digest('b')),
                "behind",
                "a newer image is out for web",
                "a.b/c:d: sha256:bbbbbbbbbbbb is out. The update is left to you: `imagewatch refresh web`.",
            ),
            (
                with_versions(web(Outcome::Behind).to(&digest('b')), "1.3.9", "1.4.0"),
                "behind",
                "1.4.0 is out for web",
                "a.b/c:d: 1.4.0 (sha256:bbbbbbbbbbbb) is out, and the container runs 1.3.9. The update is left to \
                 you: `imagewatch refresh web`.",
            ),
            (
                web(Outcome::Down).because("no such device"),
                "down",
                "web is DOWN",
                "a.b/c:d: no such device. imagewatch starts web as soon as the Engine lets it.",
            ),
            (
                with_versions(from_to(Outcome::Restored), "1.4.0", "1.3.9").because("by admin"),
                "restored",
                "web put back to 1.3.9",
                "a.b/c:d: 1.4.0 (sha256:aaaaaaaaaaaa) → 1.3.9 (sha256:bbbbbbbbbbbb): by admin.",
            ),
            (
                Event::of(Outcome::Decided, "web", "").because("held by admin"),
                "decided",
                "web: held by admin",
                "web: held by admin.",
            ),
            (
                web(Outcome::Back),
                "back",
                "web is back",
                "a.b/c:d: the old container runs again.",
            ),
            (
                Event::unverified(IMAGE, &digest('b'), false, "unsigned: none"),
                "unsigned",
                "a.b/c:d is unsigned",
                "a.b/c:d: sha256:bbbbbbbbbbbb was not pulled, because it is unsigned: none. A signature that comes later \
                 is used in the next round.",
            ),
            (
                Event::unverified(IMAGE, &digest('b'), true, "badly signed: none"),
                "badly_signed",
                "a.b/c:d is badly signed",
                "a.b/c:d: sha256:bbbbbbbbbbbb was not pulled, because it is badly signed: none. A good signature that \
                 comes later is used in the next round.",
            ),
            (
                Event::newer(IMAGE, "1.3.9", "1.4.2"),
                "newer",
                "1.4.2 exists for a.b/c:d",
                "a.b/c:d: 1.4.2 exists, you run 1.3.9. imagewatch follows it once you change the tag.",
            ),
        ]
    }

    #[test]
    fn each_outcome_says_what_where_and_why() {
        let mut missing: Vec<&str> = super::super::words::names().collect();
        for (event, name, title, text) in table() {
            let letter = Message::new(event).letter(Some("nas".to_owned()));
            assert_eq!(letter.event, name);
            assert_eq!(letter.titled(None), format!("{title} on nas"));
            assert_eq!(letter.text, text);
            missing.retain(|other| *other != name);
        }
        assert!(missing.is_empty(), "no case for {missing:?}");
    }

    #[test]
    fn each_fact_of_the_words_is_known() {
        for (outcome, name) in Outcome::ALL {
            let event = with_versions(from_to(outcome), "1", "2").because("r");
            for template in [
                Message::new(event.clone()).words().title,
                Message::new(event.clone()).words().text,
            ] {
                for fact in template
                    .split('{')
                    .skip(1)
                    .filter_map(|rest| rest.split_once('}'))
                {
                    let filled = Message::new(event.clone().after(Some(Duration::ZERO)))
                        .fill(&format!("{{{}}}", fact.0));
                    assert!(!filled.is_empty(), "{name}: {}", fact.0);
                }
            }
        }
    }

    #[test]
    fn a_source_is_a_line_of_its_own() {
        let source = Some("https://a.b/c".to_owned());
        let event = from_to(Outcome::Recreated).versions(None, None, source);
        let text = Message::new(event).letter(None).text;
        assert!(
            text.ends_with("sha256:bbbbbbbbbbbb.\nhttps://a.b/c"),
            "{text}"
        );
    }

    #[test]
    fn programs_get_whole_digests_and_no_empty_keys() {
        let message = Message {
            event: with_versions(from_to(Outcome::Recreated), "1", "2")
                .after(Some(Duration::from_millis(1234))),
            time: SystemTime::UNIX_EPOCH,
        };
        let letter = message.letter(Some("nas".to_owned()));
        assert_eq!(
            letter.json(),
            json!({
                "event": "updated",
                "level": "success",
                "container": "web",
                "image": IMAGE,
                "old": digest('a'),
                "new": digest('b'),
                "old_version": "1",
                "new_version": "2",
                "downtime_seconds": 1.234,
                "host": "nas",
                "time": "1970-01-01T00:00:00Z",
                "title": "web updated to 2 on nas",
                "text": format!("web updated to 2 on nas\n{}", letter.text),
            })
        );
        let json = Message::new(Event::pull_failed("i", "r"))
            .letter(None)
            .json();
        let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
        assert_eq!(
            keys,
            ["event", "image", "level", "reason", "text", "time", "title"]
        );
    }

    #[test]
    fn a_message_has_an_end() {
        let event = Event::pull_failed(&"i".repeat(500), &"ä".repeat(2000));
        let letter = Message::new(event).letter(None);
        let text = &letter.text;
        assert!(text.len() <= LONGEST + 3 && text.ends_with('…'), "{text}");
        assert!(letter.titled(None).len() < 250);
    }

    #[test]
    fn an_owners_title_goes_in_front() {
        for (host, own, title) in [
            (None, None, "web is back"),
            (Some("nas"), None, "web is back on nas"),
            (Some("nas"), Some("Home"), "Home: web is back on nas"),
            (Some("nas"), Some("my nas"), "my nas: web is back"),
            (Some("0123456789ab"), None, "web is back on 0123456789ab"),
            (Some("0123456789ab"), Some("nas"), "nas: web is back"),
        ] {
            let letter = Message::new(web(Outcome::Back)).letter(host.map(str::to_owned));
            assert_eq!(letter.titled(own), title);
            assert_eq!(letter.level, Level::Success);
        }
    }
}
