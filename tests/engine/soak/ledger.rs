//! Every outcome of the week, read from the history as it goes: that itself keeps the last 200.

use serde_json::Value;
use std::collections::HashMap;
use std::fmt;

/// Outcomes that the program's history keeps.
const MOST: usize = 200;

/// One outcome.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) outcome: String,
    /// Empty for a pull.
    pub(super) container: String,
    pub(super) old: String,
    pub(super) new: String,
    pub(super) reason: String,
    pub(super) downtime: Option<f64>,
}

impl Event {
    fn read(entry: &Value) -> Self {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        Self {
            outcome: text("outcome"),
            container: text("container"),
            old: text("old"),
            new: text("new"),
            reason: text("reason"),
            downtime: entry["downtime_seconds"].as_f64(),
        }
    }
}

/// All of them, the oldest first.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) events: Vec<Event>,
    /// How often each entry of the history was counted.
    known: HashMap<String, u64>,
}

impl Ledger {
    /// Enters what is new in a history. None may have been pushed out unseen.
    #[track_caller]
    pub(super) fn read(&mut self, history: &Value) {
        let entries = history.as_array().expect("a history");
        let key = |entry: &Value| {
            let parts = [
                "first",
                "outcome",
                "container",
                "image",
                "old",
                "new",
                "reason",
            ];
            parts.map(|part| entry[part].to_string()).join(" ")
        };
        let is_whole =
            entries.len() < MOST || entries.iter().any(|one| self.known.contains_key(&key(one)));
        assert!(is_whole, "more outcomes than are kept");
        for entry in entries.iter().rev() {
            let times = entry["times"].as_u64().expect("a number");
            let before = self.known.insert(key(entry), times).unwrap_or(0);
            for _ in before..times {
                self.events.push(Event::read(entry));
            }
        }
    }

    /// How many there are of an outcome from this one on.
    pub(super) fn count(&self, outcome: &str, from: usize) -> usize {
        let of = self.events[from..].iter();
        of.filter(|event| event.outcome == outcome).count()
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in ["recreated", "rolled_back", "skipped", "pull_failed"] {
            write!(f, "{outcome} {}, ", self.count(outcome, 0))?;
        }
        let mut downtimes: Vec<f64> = self.events.iter().filter_map(|one| one.downtime).collect();
        downtimes.sort_by(f64::total_cmp);
        let median = downtimes.get(downtimes.len() / 2).copied().unwrap_or(0.0);
        let longest = downtimes.last().copied().unwrap_or(0.0);
        write!(
            f,
            "downtime {median:.2} s in the middle, {longest:.2} s at most"
        )
    }
}
