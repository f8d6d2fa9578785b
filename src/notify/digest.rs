//! A summary of the messages of one day, for a receiver with `digest=daily`. Pure: the time is passed in.

use super::host::Host;
use super::letter::Letter;
use super::message::Message;
use super::words::Level;
use crate::error::cut;
use crate::error::headline;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

/// The time from the first event of a summary until the summary is sent.
pub const DAY: Duration = Duration::from_secs(86_400);
/// The most events with a line of their own. More are only counted.
const MOST: usize = 200;
/// The longest summary, in bytes. ntfy, Discord and Telegram take some 4000 characters.
const LONGEST: usize = 3500;
/// The longest line, in bytes.
const LONGEST_LINE: usize = 300;

/// The events since the last summary.
#[derive(Default)]
pub(super) struct Digest {
    /// The time of the next summary; `None` without events.
    due: Option<Instant>,
    /// One line for each of the first events.
    text: String,
    lines: usize,
    /// The number of events without a line.
    more: usize,
    /// Each kind of event, and its number.
    counts: Vec<(&'static str, usize)>,
    /// The highest level of the events.
    level: Option<Level>,
}

impl Digest {
    /// Adds an event at the time `now`.
    pub(super) fn add(&mut self, message: &Message, now: Instant, period: Duration) {
        self.due.get_or_insert(now + period);
        let words = message.words();
        self.level = self.level.max(Some(words.level));
        match self.counts.iter_mut().find(|(name, _)| *name == words.name) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((words.name, 1)),
        }
        let mut line = message.title();
        if words.level >= Level::Warning
            && let Some(reason) = &message.event.reason
        {
            line.push_str(": ");
            line.push_str(headline(reason).0);
        }
        cut(&mut line, LONGEST_LINE);
        // Once a line did not fit, no later one may stand in its place.
        let fits = self.more == 0 && self.lines < MOST;
        if fits && self.text.len() + line.len() < LONGEST {
            self.text.push_str(&line);
            self.text.push('\n');
            self.lines += 1;
        } else {
            self.more += 1;
        }
    }

    /// The time until the summary is due; `None` without events.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        Some(self.due?.saturating_duration_since(now))
    }

    /// Takes the summary out; `None` without events.
    pub(super) fn take(&mut self, host: &Host) -> Option<Letter> {
        self.due?;
        let Self {
            mut text,
            more,
            counts,
            level,
            ..
        } = std::mem::take(self);
        let mut title = String::new();
        for (name, count) in counts {
            let separator = if title.is_empty() { "" } else { ", " };
            title.push_str(&format!("{separator}{count} {}", name.replace('_', " ")));
        }
        if more > 0 {
            text.push_str(&format!("and {more} more"));
        }
        text.truncate(text.trim_end().len());
        Some(Letter {
            event: "digest",
            level: level?,
            tag: "calendar",
            title,
            host: host.name(),
            text,
            facts: serde_json::Map::new(),
            time: SystemTime::now(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Event;
    use crate::journal::Outcome;

    fn host() -> Host {
        Host::new(Some("nas".to_owned()), || None)
    }

    fn updated(container: &str) -> Message {
        let event = Event::of(Outcome::Recreated, container, "i").from_to("a", "b");
        Message::new(event.versions(None, Some("1.4.0".to_owned()), None))
    }

    #[test]
    fn events_are_summed_up_once_a_day() {
        let begin = Instant::now();
        let mut digest = Digest::default();
        assert_eq!(digest.rest(begin), None);
        assert_eq!(digest.take(&host()), None);
        let failed = Event::of(Outcome::RolledBack, "db", "i").from_to("a", "b");
        let failed = Message::new(failed.because("it exited with 1;\nits words"));
        digest.add(&updated("web"), begin, DAY);
        digest.add(&failed, begin + DAY / 4, DAY);
        digest.add(&updated("api"), begin + DAY / 2, DAY);
        assert_eq!(digest.rest(begin + DAY / 2), Some(DAY / 2));
        assert_eq!(digest.rest(begin + 2 * DAY), Some(Duration::ZERO));
        let letter = digest.take(&host()).expect("a summary");
        assert_eq!(letter.titled(None), "2 updated, 1 rolled back on nas");
        assert_eq!(
            letter.text,
            "web updated to 1.4.0\ndb rolled back: it exited with 1\napi updated to 1.4.0"
        );
        assert_eq!((letter.event, letter.level), ("digest", Level::Warning));
        assert_eq!(digest.rest(begin), None, "it begins anew");
    }

    #[test]
    fn a_summary_has_an_end() {
        let now = Instant::now();
        for (name, lines) in [("w", MOST), (&*"long".repeat(20), 39)] {
            let mut digest = Digest::default();
            for _ in 0..MOST + 12 {
                let event = Event::of(Outcome::Back, name, "i");
                digest.add(&Message::new(event), now, DAY);
            }
            let letter = digest.take(&host()).expect("a summary");
            assert_eq!(letter.title, format!("{} back", MOST + 12));
            assert!(letter.text.len() <= LONGEST + 20);
            assert_eq!(letter.text.lines().count(), lines + 1);
            let more = format!("\nand {} more", MOST + 12 - lines);
            assert!(letter.text.ends_with(&more), "{}", letter.text);
        }
    }
}
