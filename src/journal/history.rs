//! The outcomes of refreshes. They are kept over restarts if there is a folder for them.
//!
//! One small file, `imagewatch.json`, holds the last outcomes, the rejected images, the owner's decisions, and the
//! sights of digests. The file is replaced as
//! a whole, so it is always either the old one or the new one. If two processes use the same folder, the
//! last writer wins. The file is written once for each outcome or move, and not at all while nothing happens: the
//! disk may be a flash card.
//!
//! The file is a convenience. The safety of containers does not depend on it: only the Engine says how far a
//! swap has come.

mod file;

use super::decisions::All as AllDecisions;
use super::decisions::Decisions;
use super::decisions::Held;
use super::decisions::Skipped;
use super::event::Event;
use super::event::Outcome;
use super::event::Step;
use super::event::steady;
use super::rejections::Rejection;
use super::rejections::Rejections;
use super::sightings::Sighting;
use super::sightings::Sightings;
use crate::time::rfc3339;
use file::StateFile;
use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

/// The version of the file: the one that is written, and the only one that can be read.
const VERSION: u32 = 1;
/// The most outcomes that are remembered.
const MOST: usize = 200;
/// How often a repeated outcome is written. A pull that fails each round for a month should not wear out a
/// flash card. Only the count in the file is too low meanwhile, and a clean stop writes the right one.
const REPEATS: Duration = Duration::from_secs(3600);

/// One outcome, and how often it happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When the outcome happened first (RFC 3339).
    pub first: String,
    /// When the outcome happened last (RFC 3339).
    pub last: String,
    /// How often the outcome happened, without another one in between.
    pub times: u64,
    /// The last event of this outcome.
    pub event: Event,
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("first", &self.first)?;
        map.serialize_entry("last", &self.last)?;
        map.serialize_entry("times", &self.times)?;
        map.serialize_entry("outcome", self.event.outcome.name())?;
        for (key, text) in self.event.texts() {
            map.serialize_entry(key, text)?;
        }
        if let Some(seconds) = self.event.downtime_seconds {
            map.serialize_entry("downtime_seconds", &seconds)?;
        }
        map.end()
    }
}

impl Entry {
    fn new(event: Event) -> Self {
        let now = rfc3339(SystemTime::now());
        Self {
            first: now.clone(),
            last: now,
            times: 1,
            event,
        }
    }

    /// Reads an entry of the file; `None` if the value is no entry.
    fn read(found: &Value) -> Option<Self> {
        let text = |key: &str| found[key].as_str().map(str::to_owned);
        let outcome = Outcome::called(found["outcome"].as_str()?)?;
        let (first, last) = (found["first"].as_str()?, found["last"].as_str()?);
        let times = found["times"].as_u64()?;
        let image = text("image")?;
        Some(Self {
            first: first.to_owned(),
            last: last.to_owned(),
            times,
            event: Event {
                outcome,
                container: text("container"),
                image,
                old: text("old"),
                new: text("new"),
                reason: text("reason"),
                downtime_seconds: found["downtime_seconds"].as_f64(),
                old_version: text("old_version"),
                new_version: text("new_version"),
                source: text("source"),
                old_digest: text("old_digest"),
            },
        })
    }

    /// Whether both are about the same container, or about pulling the same image.
    fn concerns_the_same(&self, other: &Self) -> bool {
        self.event.container == other.event.container && self.event.image == other.event.image
    }

    fn is_repeated(&self, other: &Self) -> bool {
        let (one, other) = (&self.event, &other.event);
        one.outcome == other.outcome
            && one.old == other.old
            && one.new == other.new
            && one.new_version == other.new_version
            && one.reason.as_deref().map(steady) == other.reason.as_deref().map(steady)
    }
}

/// The contents of the file, for writing.
#[derive(Serialize)]
struct Page<'a> {
    version: u32,
    history: &'a [Entry],
    rejected: &'a [Rejection],
    held: &'a [Held],
    skipped: &'a [Skipped],
    seen: Vec<Sighting>,
}

/// The contents of the file, as read.
#[derive(Debug, Default)]
struct Found {
    history: Vec<Entry>,
    rejected: Vec<Rejection>,
    decisions: AllDecisions,
    seen: Vec<Sighting>,
}

/// The last outcomes, the rejected images, and the owner's decisions.
#[derive(Debug)]
pub struct History {
    entries: Mutex<Vec<Entry>>,
    rejected: Arc<Rejections>,
    decisions: Decisions,
    sightings: Arc<Sightings>,
    /// The file; `None` if nothing is kept over a restart. The lock is held during a write, so that no thread
    /// writes an older state over a newer one. Readers of `entries` never wait for a write.
    disk: Option<Mutex<Disk>>,
}

/// The file, and the state of its contents.
#[derive(Debug)]
struct Disk {
    file: StateFile,
    written: Instant,
    /// Whether there are outcomes that are not written yet.
    behind: bool,
    rejected: Vec<Rejection>,
    decisions: AllDecisions,
    /// Whether the last write failed, so that only the first failure is logged.
    failed: bool,
}

impl History {
    /// Reads the file that an earlier process left in `folder`. A file that cannot be read is renamed, with a
    /// warning.
    ///
    /// # Errors
    /// The reason why the folder cannot be used, on one line.
    pub fn open(folder: Option<&Path>) -> Result<Self, String> {
        let Some(folder) = folder else {
            return Ok(Self::with(Found::default(), None, false));
        };
        let file = StateFile::in_folder(folder)?;
        let failed = file
            .try_out()
            .map_err(|error| log::warn!("{error}"))
            .is_err();
        let read = file.read().and_then(|bytes| match bytes {
            Some(bytes) => parse(&bytes),
            None => Ok(Found::default()),
        });
        let reason = match read {
            Ok(found) => return Ok(Self::with(found, Some(file), failed)),
            Err(reason) => reason,
        };
        // A file that cannot be renamed must not be overwritten either.
        let file = match file.set_aside(&reason) {
            Ok(()) => Some(file),
            Err(error) => {
                log::warn!("{error}, so nothing is kept over a restart");
                None
            }
        };
        Ok(Self::with(Found::default(), file, failed))
    }

    fn with(mut found: Found, file: Option<StateFile>, failed: bool) -> Self {
        found.history.truncate(MOST);
        let rejected = Rejections::restore(found.rejected);
        let decisions = Decisions::restore(found.decisions.clone());
        let disk = file.map(|file| Disk {
            file,
            written: Instant::now(),
            behind: false,
            rejected: rejected.list(),
            decisions: found.decisions,
            failed,
        });
        Self {
            entries: Mutex::new(found.history),
            rejected: Arc::new(rejected),
            decisions,
            sightings: Arc::new(Sightings::restore(found.seen)),
            disk: disk.map(Mutex::new),
        }
    }

    /// The images that did not come up.
    #[must_use]
    pub fn rejected(&self) -> &Arc<Rejections> {
        &self.rejected
    }

    /// The owner's decisions. A caller that changes them calls [`Self::save`].
    #[must_use]
    pub fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    /// Whether anything is kept over a restart.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.disk.is_some()
    }

    /// Since when tags point at their digests.
    #[must_use]
    pub fn sightings(&self) -> &Arc<Sightings> {
        &self.sightings
    }

    /// The last outcomes, newest first.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// Remembers the event of a step, if it is news.
    #[cold]
    pub fn record(&self, step: &Step) {
        let Some(event) = step.event().filter(|event| event.is_news()) else {
            return;
        };
        let is_new = self.add(Entry::new(event.clone()));
        self.write_if(|disk| {
            disk.behind = true;
            is_new || disk.written.elapsed() >= REPEATS
        });
    }

    /// Whether the same news of the same image is remembered, perhaps from an earlier process.
    #[must_use]
    pub fn knows(&self, step: &Step) -> bool {
        let is_same = |one: &Entry, event: &Event| {
            one.event.outcome == event.outcome
                && one.event.image == event.image
                && one.event.new == event.new
                && one.event.new_version == event.new_version
        };
        step.event()
            .is_some_and(|event| self.lock().iter().any(|one| is_same(one, event)))
    }

    /// Writes everything that changed without an outcome: a forced refresh clears a rejection, the owner decides, and a
    /// tag moves.
    pub fn save(&self) {
        self.write_if(|disk| self.has_changed(disk));
    }

    fn has_changed(&self, disk: &mut Disk) -> bool {
        let has_moved = self.sightings.take_changes();
        // It stays to be written if the disk is full now.
        disk.behind |= has_moved;
        has_moved || disk.rejected != self.rejected.list() || disk.decisions != self.decisions.all()
    }

    /// Writes everything that is not written yet, before the process ends.
    pub fn close(&self) {
        self.write_if(|disk| self.has_changed(disk) || disk.behind);
    }

    /// Puts the entry first. If the entry repeats the last one of its subject, that one is counted up instead,
    /// and the result is false.
    fn add(&self, mut entry: Entry) -> bool {
        let mut entries = self.lock();
        let latest = entries.iter().position(|one| one.concerns_the_same(&entry));
        let repeated = latest.filter(|&at| entries[at].is_repeated(&entry));
        if let Some(earlier) = repeated.map(|at| entries.remove(at)) {
            entry.times = earlier.times.saturating_add(1);
            entry.first = earlier.first;
        }
        entries.insert(0, entry);
        entries.truncate(MOST);
        repeated.is_none()
    }

    fn write_if(&self, is_due: impl FnOnce(&mut Disk) -> bool) {
        let Some(disk) = &self.disk else { return };
        let mut disk = disk.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_due(&mut disk) {
            return;
        }
        let (rejected, decisions) = (self.rejected.list(), self.decisions.all());
        let page = serde_json::to_vec(&Page {
            version: VERSION,
            history: &self.lock(),
            rejected: &rejected,
            held: &decisions.held,
            skipped: &decisions.skipped,
            seen: self.sightings.list(),
        });
        match disk.file.replace(&page.unwrap_or_default()) {
            Ok(()) => {
                disk.behind = false;
                disk.failed = false;
                disk.rejected = rejected;
                disk.decisions = decisions;
                disk.written = Instant::now();
            }
            Err(_) if disk.failed => {}
            Err(error) => {
                disk.failed = true;
                log::warn!("{error}; new outcomes may be lost at a restart");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Parses the file by hand, because serde's derived code for reading weighs 12 KB.
fn parse(bytes: &[u8]) -> Result<Found, String> {
    let page: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let version = &page["version"];
    if *version != VERSION {
        return Err(format!(
            "version {version}, and only {VERSION} is understood"
        ));
    }
    let list = |key: &str| page[key].as_array().map(|list| list.iter());
    let history = list("history").and_then(|list| list.map(Entry::read).collect());
    let rejected = list("rejected").and_then(|list| list.map(Rejection::read).collect());
    // A version without these lists wrote the rest in the same form.
    let (held, skipped) = (list("held"), list("skipped"));
    let held = held.map_or(Some(Vec::new()), |list| list.map(Held::read).collect());
    let skipped = skipped.map_or(Some(Vec::new()), |list| list.map(Skipped::read).collect());
    let seen = list("seen").map_or(Some(Vec::new()), |list| list.map(Sighting::read).collect());
    match (history, rejected, held.zip(skipped).zip(seen)) {
        (Some(history), Some(rejected), Some(((held, skipped), seen))) => Ok(Found {
            history,
            rejected,
            seen,
            decisions: AllDecisions { held, skipped },
        }),
        _ => Err("not the form that this version writes".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(image: &str, reason: &str) -> Step {
        Step::Outcome(Event::pull_failed(image, reason))
    }

    fn recreated(new: &str) -> Step {
        let event = Event::of(Outcome::Recreated, "web", "nginx:latest");
        let downtime = Some(Duration::from_millis(500));
        Step::Outcome(event.from_to("sha256:1", new).after(downtime))
    }

    fn in_memory() -> History {
        History::open(None).expect("nothing to fail")
    }

    /// The outcome and the count of each entry.
    fn shape(history: &History) -> Vec<(Outcome, u64)> {
        let entries = history.entries();
        entries.iter().map(|e| (e.event.outcome, e.times)).collect()
    }

    #[test]
    fn only_outcomes_are_kept_newest_first() {
        let history = in_memory();
        history.record(&Step::Alive);
        history.record(&failed("a", "no"));
        history.record(&recreated("sha256:2"));
        let skipped = |outcome| {
            let event = Event::of(outcome, "web", "nginx:latest");
            Step::Outcome(event.to("sha256:2").because("busy"))
        };
        history.record(&skipped(Outcome::LeftAlone));
        assert_eq!(
            shape(&history),
            [(Outcome::Recreated, 1), (Outcome::PullFailed, 1)]
        );
        history.record(&skipped(Outcome::Skipped));
        assert_eq!(shape(&history)[0], (Outcome::Skipped, 1));
    }

    #[test]
    fn what_repeats_itself_is_counted() {
        let history = in_memory();
        history.record(&failed("a", "no"));
        history.record(&failed("b", "no"));
        history.record(&failed("a", "no"));
        assert_eq!(
            shape(&history),
            [(Outcome::PullFailed, 2), (Outcome::PullFailed, 1)]
        );
        assert_eq!(
            history.entries()[0].event.image,
            "a",
            "the newest is the first"
        );
        history.record(&failed("a", "still no"));
        assert_eq!(history.entries().len(), 3);
    }

    #[test]
    fn going_back_and_forth_is_no_repetition() {
        let history = in_memory();
        for new in ["sha256:2", "sha256:3", "sha256:2", "sha256:2"] {
            history.record(&recreated(new));
        }
        let counts: Vec<u64> = history.entries().iter().map(|e| e.times).collect();
        assert_eq!(counts, [2, 1, 1]);
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let history = in_memory();
        for number in 0..MOST + 5 {
            history.record(&failed(&format!("image-{number}"), "no"));
        }
        let entries = history.entries();
        assert_eq!(entries.len(), MOST);
        assert_eq!(entries[0].event.image, format!("image-{}", MOST + 4));
    }

    #[test]
    fn the_file_is_written_once_for_an_outcome_and_not_for_a_repetition() {
        let folder = std::env::temp_dir().join(format!("iw-history-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("imagewatch.json");
        let history = History::open(Some(&folder)).expect("usable");
        history.save();
        history.close();
        assert!(!path.exists(), "nothing happened");
        history.record(&failed("a", "no"));
        assert!(path.exists());
        std::fs::remove_file(&path).expect("removable");
        history.record(&failed("a", "no"));
        history.save();
        assert!(!path.exists(), "it was said before");
        history.close();
        assert!(path.exists(), "a clean stop loses nothing");

        let reference = "nginx".parse().expect("valid");
        history.rejected().add(&reference, "bad", None, "it exited");
        history.save();
        let again = History::open(Some(&folder)).expect("usable");
        assert_eq!(again.entries(), history.entries());
        assert_eq!(again.entries()[0].times, 2);
        assert_eq!(again.rejected().list(), history.rejected().list());
        std::fs::remove_dir_all(&folder).expect("removable");
    }

    #[test]
    fn what_was_seen_is_written_when_it_changes() {
        let folder = std::env::temp_dir().join(format!("iw-seen-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("imagewatch.json");
        let history = History::open(Some(&folder)).expect("usable");
        let nginx = "nginx".parse().expect("valid");
        let digest = format!("sha256:{}", "a".repeat(64)).parse().expect("valid");
        let now = SystemTime::now();
        history.sightings().see(&nginx, &digest, now);
        history.save();
        let again = History::open(Some(&folder)).expect("usable");
        assert!(again.sightings().since(&nginx, &digest).is_some());
        std::fs::remove_file(&path).expect("removable");
        history.sightings().see(&nginx, &digest, now);
        history.save();
        history.close();
        assert!(!path.exists(), "another look is no news");
        history
            .sightings()
            .settle(&nginx.to_string(), digest.as_str());
        history.save();
        let again = History::open(Some(&folder)).expect("usable");
        let settled = again.sightings().settled(&nginx.to_string());
        assert_eq!(settled, Some(digest.to_string()));
        std::fs::remove_dir_all(&folder).expect("removable");
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let text = |text: &str| Some(text.to_owned());
        let event = Event::of(Outcome::Behind, "web", "nginx:latest");
        let event = event.versions(text("1"), text("2"), text("https://a.example/b"));
        for step in [
            recreated("sha256:2"),
            failed("a", "no"),
            Step::Outcome(event),
        ] {
            let entry = Entry::new(step.event().expect("an outcome").clone());
            let written = serde_json::to_value(&entry).expect("JSON");
            assert_eq!(Entry::read(&written), Some(entry));
        }
    }

    #[test]
    fn only_our_own_version_is_understood() {
        assert!(parse(br#"{"version":1,"history":[],"rejected":[]}"#).is_ok());
        for foreign in [
            "",
            "{",
            "[]",
            r#"{"version":1}"#,
            r#"{"version":1,"history":[1],"rejected":[]}"#,
            r#"{"version":1,"history":[],"rejected":[],"seen":[{"reference":"a"}]}"#,
            "\u{0}\u{0}\u{0}",
        ] {
            assert!(parse(foreign.as_bytes()).is_err(), "{foreign:?}");
        }
        let newer = parse(br#"{"version":2,"history":[],"rejected":[]}"#);
        assert_eq!(
            newer.expect_err("refused"),
            "version 2, and only 1 is understood"
        );
    }
}
