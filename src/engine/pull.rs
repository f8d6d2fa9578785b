//! The stream of `POST /images/create`: one JSON object a line. An error is a line of a 200.

use crate::error::one_line;
use serde_json::Value;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::time::Duration;
use std::time::Instant;

/// Longest line that is read whole. Real lines are below 1 KiB.
const LINE_LIMIT: u64 = 64 * 1024;

/// A download that moves fewer bytes than this within the time is ended: a registry that sends a byte now and then is
/// never silent. The slowest mobile network moves five times as many.
const FLOOR: (u64, Duration) = (640 * 1024, Duration::from_secs(600));
/// How many layers are followed. An image has some dozens.
const MOST_LAYERS: usize = 1_000;

/// The useful fields of one line of the stream. Their words differ between Engines, so they are
/// only shown, and no decision depends on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullLine {
    /// E.g. `Downloading`.
    pub status: String,
    /// The layer, or the tag.
    pub id: String,
    /// How many bytes of that layer are done; 0 if the Engine does not say.
    pub current: u64,
    /// How many bytes that layer has; 0 if the Engine does not say.
    pub total: u64,
}

impl PullLine {
    fn of(json: &Value) -> Self {
        let text = |value: &Value| one_line(value.as_str().unwrap_or_default());
        let bytes = |name: &str| json["progressDetail"][name].as_u64().unwrap_or(0);
        Self {
            status: text(&json["status"]),
            id: text(&json["id"]),
            current: bytes("current"),
            total: bytes("total"),
        }
    }
}

/// How a stream ended.
#[derive(Debug)]
pub(super) enum End {
    Done,
    /// The Engine reported an error.
    Failed(String),
    /// The connection failed.
    Broken(io::Error),
}

/// The bytes that move in a pull.
#[derive(Debug)]
struct Flow {
    since: Instant,
    moved: u64,
    /// The bytes of each layer at its last line.
    layers: Vec<(String, u64)>,
}

impl Flow {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            moved: 0,
            layers: Vec::new(),
        }
    }

    /// Counts a line. Returns the bytes that moved, if they are too few. A line without bytes shows other progress,
    /// such as a layer that is complete.
    fn is_too_slow(&mut self, line: &PullLine, now: Instant) -> Option<u64> {
        if line.total == 0 {
            (self.since, self.moved) = (now, 0);
            return None;
        }
        let known = self.layers.iter_mut().find(|(id, _)| *id == line.id);
        match known {
            Some((_, before)) => {
                self.moved += line.current.saturating_sub(*before);
                *before = line.current;
            }
            None => {
                self.moved += line.current;
                if self.layers.len() < MOST_LAYERS {
                    self.layers.push((line.id.clone(), line.current));
                }
            }
        }
        let (least, time) = FLOOR;
        if now.saturating_duration_since(self.since) < time {
            return None;
        }
        let moved = std::mem::take(&mut self.moved);
        self.since = now;
        (moved < least).then_some(moved)
    }
}

/// Reads the stream to its end, and calls `on_line` for each line.
#[cold]
pub(super) fn read(stream: impl Read, mut on_line: impl FnMut(&PullLine)) -> End {
    let mut reader = BufReader::with_capacity(8 * 1024, stream);
    let mut failure = None;
    let mut flow = Flow::new(Instant::now());
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader
            .by_ref()
            .take(LINE_LIMIT)
            .read_until(b'\n', &mut line)
        {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return End::Broken(error),
        }
        let Ok(json) = serde_json::from_slice::<Value>(&line) else {
            continue;
        };
        let words = [&json["error"], &json["errorDetail"]["message"]];
        let mut words = words.iter().filter_map(|words| words.as_str());
        match words.find(|words| !words.is_empty()) {
            None => {
                let line = PullLine::of(&json);
                on_line(&line);
                if let Some(moved) = flow.is_too_slow(&line, Instant::now()) {
                    let words = format!("only {moved} bytes came in ten minutes");
                    return End::Broken(io::Error::new(io::ErrorKind::TimedOut, words));
                }
            }
            Some(words) => {
                failure.get_or_insert_with(|| words.to_owned());
            }
        }
    }
    failure.map_or(End::Done, End::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stream: &str) -> (Vec<String>, End) {
        let mut seen = Vec::new();
        let end = read(stream.as_bytes(), |line| seen.push(line.status.clone()));
        (seen, end)
    }

    #[test]
    fn a_good_stream_ends_well() {
        let (seen, end) = run(concat!(
            "{\"status\":\"Pulling from x\",\"id\":\"latest\"}\r\n",
            "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":1,\"total\":2},\"id\":\"a\"}\r\n",
            "{\"status\":\"Extracting\",\"progressDetail\":{},\"unknown\":7}\r\n",
            "\r\nnot json\r\n",
            "{\"status\":\"Digest: sha256:…\"}",
        ));
        assert!(matches!(end, End::Done), "{end:?}");
        assert_eq!(seen.len(), 4, "{seen:?}");
    }

    #[test]
    fn the_error_inside_a_200_is_found() {
        for stream in [
            "{\"status\":\"a\"}\n{\"errorDetail\":{\"message\":\"no space\"},\"error\":\"no space\"}\n",
            "{\"errorDetail\":{\"message\":\"no space\"}}\n{\"status\":\"b\"}\n",
            "{\"error\":\"no space\"}",
        ] {
            let (_, end) = run(stream);
            assert!(
                matches!(end, End::Failed(words) if words == "no space"),
                "{stream}"
            );
        }
    }

    #[test]
    fn a_download_that_trickles_is_too_slow_and_nothing_else_is() {
        let line = |id: &str, current: u64, total: u64| PullLine {
            status: String::new(),
            id: id.to_owned(),
            current,
            total,
        };
        let (least, time) = FLOOR;
        let minutes = |number: u32| time / 10 * number;
        for (what, lines, expected) in [
            (
                "enough",
                vec![
                    (5, line("a", least, 9 * least)),
                    (10, line("a", least, 9 * least)),
                ],
                None,
            ),
            (
                "of two layers",
                vec![
                    (5, line("a", least / 2, least)),
                    (10, line("b", least / 2, least)),
                ],
                None,
            ),
            (
                "a trickle",
                vec![(5, line("a", 1, least)), (10, line("a", 3, least))],
                Some(3),
            ),
            (
                "that began later",
                vec![
                    (10, line("a", least, 9 * least)),
                    (20, line("a", least + 7, 9 * least)),
                ],
                Some(7),
            ),
            (
                "a layer that is complete meanwhile",
                vec![
                    (9, line("a", 1, least)),
                    (9, line("b", 0, 0)),
                    (18, line("a", 2, least)),
                ],
                None,
            ),
            (
                "… and no other in ten minutes",
                vec![(9, line("b", 0, 0)), (19, line("a", 2, least))],
                Some(2),
            ),
            (
                "a long extraction",
                (0..100)
                    .map(|minute| (minute, line("a", minute.into(), 0)))
                    .collect(),
                None,
            ),
        ] {
            let begun = Instant::now();
            let mut flow = Flow::new(begun);
            let mut found = None;
            for (minute, line) in lines {
                assert_eq!(found, None, "{what}");
                found = flow.is_too_slow(&line, begun + minutes(minute));
            }
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn an_endless_line_does_not_fill_memory() {
        let endless = io::repeat(b'x').take(10 * LINE_LIMIT);
        assert!(matches!(read(endless, |_| {}), End::Done));
    }

    #[test]
    fn no_stream_panics() {
        const WORDS: &[&str] = &[
            "\n",
            "\r\n",
            "{",
            "}",
            "\"",
            ":",
            ",",
            "null",
            "\"error\":",
            "\"errorDetail\":{\"message\":",
            "\"progressDetail\":{\"current\":",
            "\"status\":",
            "\"id\":",
            "-1",
            "1e300",
            "18446744073709551616",
            "\\u001b[2J",
            "é",
        ];
        crate::fuzz::fuzz("pull", WORDS, |input| {
            let end = read(input, |line| {
                for text in [&line.status, &line.id] {
                    assert!(
                        text.len() < 400 && !text.contains(char::is_control),
                        "{text}"
                    );
                }
            });
            assert!(!matches!(end, End::Broken(_)), "{end:?}");
        });
    }
}
