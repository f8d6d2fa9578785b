//! What came of refreshes, kept over restarts where there is a folder for it.
//!
//! One small file, `imagewatch.json`, with the last outcomes and the rejected images. It is replaced
//! as a whole, so it is always the old one or the new one, whatever happens in between. Between two
//! processes with the same folder the last writer wins. It is written once for each outcome, and
//! not at all while nothing happens: the disk may be a flash card.
//!
//! The file is a convenience and no part of what keeps containers safe: how a swap stands is
//! learnt from the Engine alone.

mod file;

use crate::progress::Outcome;
use crate::progress::Step;
use crate::progress::steady;
use crate::rejections::Rejection;
use crate::rejections::Rejections;
use crate::time::rfc3339;
use file::StateFile;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

/// The version of the file that is written, and the only one that is understood.
const VERSION: u32 = 1;
/// Outcomes that are remembered.
const MOST: usize = 200;
/// How often an outcome that only repeats itself is written: a pull that fails each round for a
/// month should not wear out a flash card. What is missed is a higher count, and a clean stop writes it.
const REPEATS: Duration = Duration::from_secs(3600);

/// Each outcome, and what it is called in the file.
const OUTCOMES: [(Outcome, &str); 5] = [
    (Outcome::Recreated, "recreated"),
    (Outcome::RolledBack, "rolled_back"),
    (Outcome::PullFailed, "pull_failed"),
    (Outcome::Skipped, "skipped"),
    (Outcome::Behind, "behind"),
];

fn called(name: &str) -> Option<Outcome> {
    let found = OUTCOMES.iter().find(|(_, other)| *other == name);
    found.map(|(outcome, _)| *outcome)
}

/// One outcome.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// When it came first (RFC 3339).
    pub first: String,
    /// When it came last.
    pub last: String,
    /// How often it came, with nothing else in between.
    pub times: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// The container's name; none for a pull.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The reference.
    pub image: String,
    /// The id of the image the container ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The id, or the digest, of the newer one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// Why, on one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long the container was not running, the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downtime_seconds: Option<f64>,
}

impl Entry {
    /// The outcome that a step is, if it is one.
    fn of(step: &Step) -> Option<Self> {
        let happened = step.happened()?;
        let now = rfc3339(SystemTime::now());
        let own = |text: Option<&str>| text.map(str::to_owned);
        Some(Self {
            first: now.clone(),
            last: now,
            times: 1,
            outcome: happened.outcome,
            container: own(happened.container),
            image: happened.image.to_owned(),
            old: own(happened.old),
            new: own(happened.new),
            reason: own(happened.reason),
            downtime_seconds: happened.downtime_seconds,
        })
    }

    /// What was written earlier; `None` if it is something else.
    fn read(found: &Value) -> Option<Self> {
        let text = |key: &str| found[key].as_str().map(str::to_owned);
        Some(Self {
            first: text("first")?,
            last: text("last")?,
            times: found["times"].as_u64()?,
            outcome: called(found["outcome"].as_str()?)?,
            container: text("container"),
            image: text("image")?,
            old: text("old"),
            new: text("new"),
            reason: text("reason"),
            downtime_seconds: found["downtime_seconds"].as_f64(),
        })
    }

    /// Whether both are about the same container, or about pulling the same image.
    fn concerns_the_same(&self, other: &Self) -> bool {
        self.container == other.container && self.image == other.image
    }

    fn is_again(&self, other: &Self) -> bool {
        self.outcome == other.outcome
            && self.old == other.old
            && self.new == other.new
            && self.reason.as_deref().map(steady) == other.reason.as_deref().map(steady)
    }
}

/// What the file holds, to be written.
#[derive(Serialize)]
struct Page<'a> {
    version: u32,
    history: &'a [Entry],
    rejected: &'a [Rejection],
}

/// What the file holds, as read.
#[derive(Debug, Default)]
struct Found {
    history: Vec<Entry>,
    rejected: Vec<Rejection>,
}

/// The last outcomes, and the rejected images.
#[derive(Debug)]
pub struct History {
    entries: Mutex<Vec<Entry>>,
    rejected: Arc<Rejections>,
    /// `None`: it all ends with the process. Locked while the file is written, so that of two threads
    /// none puts an older state over a newer one; readers of `entries` never wait for that.
    disk: Option<Mutex<Disk>>,
}

/// The file, and what stands in it.
#[derive(Debug)]
struct Disk {
    file: StateFile,
    written: Instant,
    /// Whether outcomes came since then.
    behind: bool,
    rejected: Vec<Rejection>,
    /// Whether the last try failed, so that it is said once and not each time.
    failed: bool,
}

impl History {
    /// What an earlier process left in `folder`; what cannot be read is set aside, with a warning.
    ///
    /// # Errors
    /// Why the folder cannot be used, on one line.
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
        // What cannot be moved out of the way must not be written over either.
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
        let disk = file.map(|file| Disk {
            file,
            written: Instant::now(),
            behind: false,
            rejected: rejected.list(),
            failed,
        });
        Self {
            entries: Mutex::new(found.history),
            rejected: Arc::new(rejected),
            disk: disk.map(Mutex::new),
        }
    }

    /// The images that did not come up.
    #[must_use]
    pub fn rejected(&self) -> &Arc<Rejections> {
        &self.rejected
    }

    /// The last outcomes, newest first.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// Remembers a step if it is an outcome.
    pub fn note(&self, step: &Step) {
        let Some(entry) = Entry::of(step) else {
            return;
        };
        let is_new = self.enter(entry);
        self.write_if(|disk| {
            disk.behind = true;
            is_new || disk.written.elapsed() >= REPEATS
        });
    }

    /// Writes which images are rejected, if that changed without an outcome: by force.
    pub fn settle(&self) {
        self.write_if(|disk| disk.rejected != self.rejected.list());
    }

    /// Writes what there is to write, before the process ends.
    pub fn close(&self) {
        self.write_if(|disk| disk.behind || disk.rejected != self.rejected.list());
    }

    /// Puts the entry first. One that only repeats what came last is counted instead, and false.
    fn enter(&self, mut entry: Entry) -> bool {
        let mut entries = self.lock();
        let latest = entries.iter().position(|one| one.concerns_the_same(&entry));
        let again = latest.filter(|&at| entries[at].is_again(&entry));
        if let Some(earlier) = again.map(|at| entries.remove(at)) {
            entry.times = earlier.times.saturating_add(1);
            entry.first = earlier.first;
        }
        entries.insert(0, entry);
        entries.truncate(MOST);
        again.is_none()
    }

    fn write_if(&self, is_due: impl FnOnce(&mut Disk) -> bool) {
        let Some(disk) = &self.disk else { return };
        let mut disk = disk.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_due(&mut disk) {
            return;
        }
        let rejected = self.rejected.list();
        let page = serde_json::to_vec(&Page {
            version: VERSION,
            history: &self.lock(),
            rejected: &rejected,
        });
        match disk.file.replace(&page.unwrap_or_default()) {
            Ok(()) => {
                disk.behind = false;
                disk.failed = false;
                disk.rejected = rejected;
                disk.written = Instant::now();
            }
            Err(_) if disk.failed => {}
            Err(error) => {
                disk.failed = true;
                log::warn!("{error}; what happens now may be forgotten at a restart");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By hand: what serde derives for reading weighs 12 KB.
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
    match (history, rejected) {
        (Some(history), Some(rejected)) => Ok(Found { history, rejected }),
        _ => Err("not what this version writes".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(image: &str, reason: &str) -> Step {
        Step::PullFailed {
            image: image.to_owned(),
            reason: reason.to_owned(),
        }
    }

    fn recreated(new: &str) -> Step {
        Step::Recreated {
            container: "web".to_owned(),
            image: "nginx:latest".to_owned(),
            old: "sha256:1".to_owned(),
            new: new.to_owned(),
            downtime_seconds: Some(0.5),
        }
    }

    fn in_memory() -> History {
        History::open(None).expect("nothing to fail")
    }

    /// Outcome and count of each entry.
    fn shape(history: &History) -> Vec<(Outcome, u64)> {
        let entries = history.entries();
        entries.iter().map(|e| (e.outcome, e.times)).collect()
    }

    #[test]
    fn only_outcomes_are_kept_newest_first() {
        let history = in_memory();
        history.note(&Step::Alive);
        history.note(&failed("a", "no"));
        history.note(&recreated("sha256:2"));
        let skipped = |failed| Step::Skipped {
            container: "web".to_owned(),
            image: "nginx:latest".to_owned(),
            new: "sha256:2".to_owned(),
            reason: "busy".to_owned(),
            failed,
        };
        history.note(&skipped(false));
        assert_eq!(
            shape(&history),
            [(Outcome::Recreated, 1), (Outcome::PullFailed, 1)]
        );
        history.note(&skipped(true));
        assert_eq!(shape(&history)[0], (Outcome::Skipped, 1));
    }

    #[test]
    fn what_repeats_itself_is_counted() {
        let history = in_memory();
        history.note(&failed("a", "no"));
        history.note(&failed("b", "no"));
        history.note(&failed("a", "no"));
        assert_eq!(
            shape(&history),
            [(Outcome::PullFailed, 2), (Outcome::PullFailed, 1)]
        );
        assert_eq!(history.entries()[0].image, "a", "the newest is the first");
        history.note(&failed("a", "still no"));
        assert_eq!(history.entries().len(), 3);
    }

    #[test]
    fn going_back_and_forth_is_no_repetition() {
        let history = in_memory();
        for new in ["sha256:2", "sha256:3", "sha256:2", "sha256:2"] {
            history.note(&recreated(new));
        }
        let counts: Vec<u64> = history.entries().iter().map(|e| e.times).collect();
        assert_eq!(counts, [2, 1, 1]);
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let history = in_memory();
        for number in 0..MOST + 5 {
            history.note(&failed(&format!("image-{number}"), "no"));
        }
        let entries = history.entries();
        assert_eq!(entries.len(), MOST);
        assert_eq!(entries[0].image, format!("image-{}", MOST + 4));
    }

    #[test]
    fn the_file_is_written_once_for_an_outcome_and_not_for_a_repetition() {
        let folder = std::env::temp_dir().join(format!("iw-history-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("imagewatch.json");
        let history = History::open(Some(&folder)).expect("usable");
        history.settle();
        history.close();
        assert!(!path.exists(), "nothing happened");
        history.note(&failed("a", "no"));
        assert!(path.exists());
        std::fs::remove_file(&path).expect("removable");
        history.note(&failed("a", "no"));
        history.settle();
        assert!(!path.exists(), "it was said before");
        history.close();
        assert!(path.exists(), "a clean stop loses nothing");

        let reference = "nginx".parse().expect("valid");
        history.rejected().add(&reference, "bad", "it exited");
        history.settle();
        let again = History::open(Some(&folder)).expect("usable");
        assert_eq!(again.entries(), history.entries());
        assert_eq!(again.entries()[0].times, 2);
        assert_eq!(again.rejected().list(), history.rejected().list());
        std::fs::remove_dir_all(&folder).expect("removable");
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        for (outcome, name) in OUTCOMES {
            let written = serde_json::to_string(&outcome).expect("JSON");
            assert_eq!(written, format!("{name:?}"));
            assert_eq!(called(name), Some(outcome));
        }
        for step in [recreated("sha256:2"), failed("a", "no")] {
            let entry = Entry::of(&step).expect("an outcome");
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
