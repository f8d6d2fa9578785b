//! The Engine's events of a container's run. On Docker, only they show who ended the run.

use super::Container;
use super::Engine;
use super::request::Call;
use crate::error::Result;
use crate::http;
use crate::json;
use serde_json::Value;
use serde_json::json;
use std::time::SystemTime;
use ureq::http::Method;

/// How long after a container's end its events may come, in seconds. After that the Engine ends its answer.
const LATE: u64 = 1;

/// How many events an Engine remembers (Docker 20.10 to 28.5, `eventsLimit`).
const MOST: usize = 256;

/// One event of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `start`, `kill`, `stop` or `die`.
    pub action: String,
    /// The number of the signal of a `kill`.
    pub signal: Option<u32>,
}

/// Signals that do not end most programs: HUP, USR1, USR2, WINCH.
const NO_END: [u32; 4] = [1, 10, 12, 28];

impl Event {
    /// Whether this event means that somebody ended the container through the Engine.
    #[must_use]
    pub fn ends(&self) -> bool {
        match &*self.action {
            "stop" => true,
            "kill" => !self.signal.is_some_and(|signal| NO_END.contains(&signal)),
            _ => false,
        }
    }
}

impl Engine {
    /// The events of a container's last run: its start, its kills and stops through the Engine, and its end
    /// (`GET /events`). An Engine that was restarted since has forgotten all of them.
    pub fn events_of_last_run(&self, container: &Container) -> Result<Vec<Event>> {
        let of_run = (unix(container.started_at()), late(container));
        let (Some((since, fraction)), Some(until)) = of_run else {
            return Ok(Vec::new());
        };
        let filters = json!({"type": ["container"], "container": [container.id()],
                             "event": ["start", "kill", "stop", "die"]});
        let filters = http::percent_encode(&json::print(&filters), "");
        let bytes = self.events(&format!(
            "since={since}.{fraction}&until={until}&filters={filters}"
        ))?;
        Ok(parse(&bytes))
    }

    /// Whether somebody stopped or killed a container that is gone, in its last run (`GET /events`). A prune does not do
    /// that, because it removes no running container. An Engine that was restarted since has forgotten the events.
    #[cold]
    pub fn was_stopped_by_hand(&self, id: &str) -> Result<bool> {
        let filters = json!({"type": ["container"], "container": [id],
                             "event": ["start", "kill", "stop"]});
        let filters = http::percent_encode(&json::print(&filters), "");
        let bytes = self.events_so_far(&filters)?;
        let events = parse(&bytes);
        let started = events.iter().rposition(|event| event.action == "start");
        let since = started.map(|at| &events[at..]);
        Ok(since.is_some_and(|run| run.iter().any(Event::ends)))
    }

    /// Whether the Engine still has all events since its own start, up to the end of this container (`GET /events`).
    pub fn remembers_all_events(&self, container: &Container) -> Result<bool> {
        let Some(until) = late(container) else {
            return Ok(false);
        };
        let bytes = self.events(&format!("since=1&until={until}"))?;
        let lines = bytes.split(|byte| *byte == b'\n');
        Ok(lines.filter(|line| !line.is_empty()).count() < MOST)
    }

    /// The name of a container in the last event that the Engine remembers of it (`GET /events`).
    pub(super) fn name_in_events(&self, id: &str) -> Result<Option<String>> {
        let filters = json!({"type": ["container"], "container": [id]});
        let filters = http::percent_encode(&json::print(&filters), "");
        let bytes = self.events_so_far(&filters)?;
        let mut lines = bytes.rsplit(|byte| *byte == b'\n');
        let name = |line| {
            let json: Value = serde_json::from_slice(line).ok()?;
            json["Actor"]["Attributes"]["name"]
                .as_str()
                .map(str::to_owned)
        };
        Ok(lines.find_map(name))
    }

    /// All events that the Engine remembers and that these filters let through. The current time is given with its
    /// fraction: whole seconds would leave out what happened in the current one.
    fn events_so_far(&self, filters: &str) -> Result<Vec<u8>> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let (seconds, fraction) = (now.as_secs(), now.subsec_nanos());
        self.events(&format!(
            "since=1&until={seconds}.{fraction:09}&filters={filters}"
        ))
    }

    fn events(&self, query: &str) -> Result<Vec<u8>> {
        let path = format!("/events?{query}");
        self.finish(&Call::new(Method::GET, &path, self.deadlines.call))
    }
}

/// The time after which no more events of a container's end come, in seconds since 1970.
fn late(container: &Container) -> Option<u64> {
    let (end, _) = unix(container.finished_at())?;
    Some(end + 1 + LATE)
}

/// Reads one JSON object a line, and skips other lines.
fn parse(bytes: &[u8]) -> Vec<Event> {
    let lines = bytes.split(|byte| *byte == b'\n');
    let event = |line| {
        let json: Value = serde_json::from_slice(line).ok()?;
        let signal = json["Actor"]["Attributes"]["signal"].as_str();
        Some(Event {
            action: json["Action"].as_str()?.to_owned(),
            signal: signal.and_then(|signal| signal.parse().ok()),
        })
    };
    lines.filter_map(event).collect()
}

/// Reads `2026-01-02T03:04:05.678Z` as seconds since 1970 and the digits of their fraction, as the Engine takes
/// times. The result is `None` for any other text, and for the zero time.
fn unix(text: &str) -> Option<(u64, &str)> {
    let text = text.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let part = |from: usize, to: usize| whole.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hours, minutes, seconds) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    let is_digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() != 19 || !is_digits || year < 1970 || !(1..=12).contains(&month) {
        return None;
    }
    // A year that begins in March has its leap day last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leaps = year / 4 - year / 100 + year / 400;
    let since_year_0 = year * 365 + leaps + (month * 153 + 2) / 5 + day;
    let days = since_year_0.checked_sub(719_469)?;
    Some((
        ((days * 24 + hours) * 60 + minutes) * 60 + seconds,
        fraction,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_engine_are_seconds() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some((0, "0"))),
            (
                "2026-11-29T00:57:23.054566681Z",
                Some((1_795_913_843, "054566681")),
            ),
            ("2024-02-29T12:00:00.5Z", Some((1_709_208_000, "5"))),
            ("2100-03-01T00:00:00Z", Some((4_107_542_400, "0"))),
            ("0001-01-01T00:00:00Z", None),
            ("2026-11-29T00:57:23+01:00", None),
            ("2026-13-29T00:57:23Z", None),
            ("2026-11-29T00:57:23.é1Z", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(unix(text), expected, "{text}");
        }
    }

    #[test]
    fn events_are_lines() {
        let lines = br#"{"Action":"kill","Actor":{"Attributes":{"signal":"15"}}}
{"Action":"die","Actor":{"Attributes":{"exitCode":"0"}}}
rubbish
"#;
        let event = |action: &str, signal| Event {
            action: action.to_owned(),
            signal,
        };
        assert_eq!(parse(lines), [event("kill", Some(15)), event("die", None)]);
    }
}
