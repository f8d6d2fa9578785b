//! What everybody may know: written by whoever does the work, read by the admin endpoint.
//!
//! A snapshot behind a mutex that is only ever held for a copy. What is written here is public to
//! whoever holds the admin token; nothing secret gets here.

use crate::reference::Reference;
use crate::refresh::Outcomes;
use crate::refresh::Target;
use crate::refresh::Verdict;
use crate::report::Report;
use crate::time::print_duration;
use crate::time::rfc3339;
use serde::Serialize;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

/// Refreshes that are remembered.
const HISTORY: usize = 20;
/// A watcher that has shown no sign of life for its interval and this long besides is stuck. A
/// pull may be silent for five minutes, and a health check may take a few.
const STALLED: Duration = Duration::from_secs(900);

/// How things stand with one reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Not looked at yet, or never with success.
    Unknown,
    /// What runs, or was pulled, is the registry's digest.
    Current,
    /// The registry has another digest, which is being refreshed.
    Refreshing,
    /// The registry has another digest; refreshing failed and will be tried again, or is not wanted, or it
    /// was the first one seen, which is only remembered.
    Outdated,
    /// The registry's digest does not come up, and waits for another one.
    Rejected,
    /// The image was built here, and no registry has it.
    Local,
}

/// One watched reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Watched {
    /// The reference.
    pub reference: String,
    /// What it is called: the runtime, or the reference again.
    pub name: String,
    /// The digest that was seen last and needs no refresh any more.
    pub seen_digest: Option<String>,
    /// The digest the registry answered last.
    pub registry_digest: Option<String>,
    /// How things stand.
    pub state: Standing,
    /// What went wrong last, until it goes well again.
    pub last_error: Option<String>,
    /// When the registry was asked last.
    pub last_check: Option<String>,
}

/// The watcher's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct WatcherStatus {
    /// Whether it runs.
    pub enabled: bool,
    /// Time between rounds.
    pub interval: String,
    /// When the last round began.
    pub last_round: Option<String>,
    /// When the next one is due.
    pub next_round: Option<String>,
    /// Rounds begun since the start.
    pub rounds: u64,
    /// The interval and the last round again, for reckoning with.
    #[serde(skip)]
    pub clock: Clock,
}

/// What [`WatcherStatus`] says in words, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock {
    /// Time between rounds.
    pub interval: Duration,
    /// When the last round began.
    pub last_round: Option<SystemTime>,
}

/// How a refresh went, by the worst that came of any of its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Worst {
    /// All went well.
    Done,
    /// An image does not come up, or did not when it was tried.
    Rejected,
    /// Something failed; another try may help.
    Failed,
}

impl Worst {
    /// Each of them, and what it is called.
    pub const ALL: [(Self, &str); 3] = [
        (Self::Done, "done"),
        (Self::Rejected, "rejected"),
        (Self::Failed, "failed"),
    ];

    /// What came of a run.
    #[must_use]
    pub fn of(outcomes: &Outcomes) -> Self {
        let mut verdicts = outcomes.verdicts.iter().map(|(_, verdict)| verdict);
        let is_rejected = |verdict: &Verdict| matches!(verdict, Verdict::Rejected(_));
        let is_failed =
            |verdict: &Verdict| matches!(verdict, Verdict::Retry(_) | Verdict::Stale(_));
        if outcomes.list_error.is_some() || verdicts.clone().any(is_failed) {
            Self::Failed
        } else if verdicts.any(is_rejected) {
            Self::Rejected
        } else {
            Self::Done
        }
    }
}

/// One refresh that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refreshed {
    /// When it began.
    pub started: String,
    /// When it ended.
    pub finished: String,
    /// Who asked for it: `watcher` or `admin`.
    pub asked_by: &'static str,
    /// The worst that came of any of its images.
    pub outcome: Worst,
    /// What it did.
    pub report: Report,
    /// Why the containers could not be listed, or what ended it, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Board {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    watcher: WatcherStatus,
    sign_of_life: Option<Instant>,
    references: Vec<Watched>,
    /// Where in `references` each is.
    index: HashMap<String, usize>,
    refreshes: VecDeque<Refreshed>,
    refreshes_by_outcome: [u64; Worst::ALL.len()],
}

/// A copy for readers.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// The watcher's clock.
    pub watcher: WatcherStatus,
    /// Every watched reference.
    pub references: Vec<Watched>,
    /// The last refreshes, newest first.
    pub refreshes: Vec<Refreshed>,
    /// How many there were since the start, in the order of [`Worst::ALL`].
    #[serde(skip)]
    pub refreshes_by_outcome: [u64; Worst::ALL.len()],
}

impl Board {
    /// Notes that the watcher runs.
    pub fn watcher_started(&self, interval: Duration) {
        let mut inner = self.lock();
        inner.watcher.enabled = true;
        inner.watcher.interval = print_duration(interval);
        inner.watcher.clock.interval = interval;
        inner.sign_of_life = Some(Instant::now());
    }

    /// Notes that a round begins.
    pub fn round_started(&self) {
        let now = SystemTime::now();
        let mut inner = self.lock();
        inner.watcher.rounds += 1;
        inner.watcher.last_round = Some(rfc3339(now));
        inner.watcher.clock.last_round = Some(now);
        inner.watcher.next_round = None;
        inner.sign_of_life = Some(Instant::now());
    }

    /// Notes when the next round is due.
    pub fn round_finished(&self, next_in: Duration) {
        let mut inner = self.lock();
        inner.watcher.next_round = Some(rfc3339(SystemTime::now() + next_in));
        inner.sign_of_life = Some(Instant::now());
    }

    /// Notes that the work goes on.
    pub fn alive(&self) {
        self.lock().sign_of_life = Some(Instant::now());
    }

    /// Why the watcher does not count as alive, if so.
    #[must_use]
    pub fn stalled(&self) -> Option<String> {
        let inner = self.lock();
        if !inner.watcher.enabled {
            return None;
        }
        let silent = inner.sign_of_life.map_or(Duration::ZERO, |at| at.elapsed());
        (silent > inner.watcher.clock.interval * 2 + STALLED)
            .then(|| format!("watcher: no sign of life for {}", print_duration(silent)))
    }

    /// Puts up the references that are watched, keeping what is known of them.
    pub fn watch(&self, targets: &[Target]) {
        let mut inner = self.lock();
        let known = std::mem::take(&mut inner.references);
        let mut known: HashMap<String, Watched> = known
            .into_iter()
            .map(|entry| (entry.reference.clone(), entry))
            .collect();
        let entry = |target: &Target| {
            let reference = target.reference.to_string();
            known.remove(&reference).unwrap_or(Watched {
                reference,
                name: target.name.clone(),
                seen_digest: None,
                registry_digest: None,
                state: Standing::Unknown,
                last_error: None,
                last_check: None,
            })
        };
        inner.references = targets.iter().map(entry).collect();
        let numbered = inner.references.iter().enumerate();
        let index = numbered.map(|(number, entry)| (entry.reference.clone(), number));
        inner.index = index.collect();
    }

    /// Changes how things stand with a reference.
    pub fn update(&self, reference: &Reference, change: impl FnOnce(&mut Watched)) {
        let mut inner = self.lock();
        let number = inner.index.get(&reference.to_string()).copied();
        if let Some(entry) = number.and_then(|number| inner.references.get_mut(number)) {
            change(entry);
        }
    }

    /// How things stand with a reference, if it is watched.
    #[must_use]
    pub fn standing(&self, reference: &Reference) -> Option<Standing> {
        let inner = self.lock();
        let number = inner.index.get(&reference.to_string())?;
        Some(inner.references.get(*number)?.state)
    }

    /// Enters what came of refreshing a reference.
    pub fn judge(&self, reference: &Reference, verdict: &Verdict) {
        self.update(reference, |entry| {
            (entry.state, entry.last_error) = match verdict {
                Verdict::Done => (Standing::Current, None),
                Verdict::Noticed => (Standing::Outdated, None),
                Verdict::Retry(reason) | Verdict::Stale(reason) => {
                    (Standing::Outdated, Some(reason.clone()))
                }
                Verdict::Rejected(reason) => (Standing::Rejected, Some(reason.clone())),
            };
        });
    }

    /// Remembers a refresh.
    pub fn refreshed(&self, refreshed: Refreshed) {
        let mut inner = self.lock();
        inner.refreshes_by_outcome[refreshed.outcome as usize] += 1;
        inner.refreshes.push_front(refreshed);
        inner.refreshes.truncate(HISTORY);
    }

    /// A copy of it all.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        Snapshot {
            watcher: inner.watcher.clone(),
            references: inner.references.clone(),
            refreshes: inner.refreshes.iter().cloned().collect(),
            refreshes_by_outcome: inner.refreshes_by_outcome,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_is_as_good_as_its_worst_image() {
        let reference: Reference = "nginx".parse().expect("valid");
        let of = |verdicts: &[Verdict]| {
            let verdicts = verdicts.iter().cloned();
            Worst::of(&Outcomes {
                verdicts: verdicts.map(|one| (reference.clone(), one)).collect(),
                ..Outcomes::default()
            })
        };
        let rejected = Verdict::Rejected("it exited".to_owned());
        let retry = Verdict::Retry("pull: no".to_owned());
        assert_eq!(of(&[]), Worst::Done);
        assert_eq!(of(&[Verdict::Done, Verdict::Noticed]), Worst::Done);
        assert_eq!(of(&[Verdict::Done, rejected.clone()]), Worst::Rejected);
        assert_eq!(of(&[retry, rejected]), Worst::Failed);
        for (number, (worst, name)) in Worst::ALL.into_iter().enumerate() {
            assert_eq!(worst as usize, number);
            assert_eq!(
                serde_json::to_string(&worst).expect("JSON"),
                format!("{name:?}")
            );
        }
    }

    #[test]
    fn a_watcher_counts_as_alive_from_its_start() {
        let board = Board::default();
        assert_eq!(board.stalled(), None);
        board.watcher_started(Duration::from_secs(1));
        assert_eq!(board.stalled(), None);
        let long_ago = Instant::now().checked_sub(Duration::from_secs(1000));
        if let Some(long_ago) = long_ago {
            board.lock().sign_of_life = Some(long_ago);
            let reason = board.stalled().expect("stalled");
            assert!(reason.contains("16m40s"), "{reason}");
            board.alive();
            assert_eq!(board.stalled(), None);
        }
    }
}
