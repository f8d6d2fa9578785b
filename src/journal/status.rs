//! The state that the admin endpoint shows. The watcher and the update queue write it.
//!
//! A mutex guards the state, and is only held for a change or a copy. Every caller with the admin token may
//! read everything here, so no secret is written here.

use super::event::Step;
use super::refreshed::Refreshed;
use super::sightings::Sightings;
use super::standing::Survey;
use super::under_way::UnderWay;
use super::verdict::Found;
use super::verdict::Outcomes;
use super::verdict::Verdict;
use super::watched::Watched;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::Target;
use crate::time::print_duration;
use crate::time::rfc3339;
use serde::Serialize;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

/// The most refreshes that are remembered.
const HISTORY: usize = 20;
/// A watcher is stuck if it shows no sign of life for two intervals and this time. A pull may be silent for
/// five minutes, and a health check may take a few.
const STALLED: Duration = Duration::from_secs(900);

/// The state of the watcher's rounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct WatcherStatus {
    /// Whether the watcher runs.
    pub enabled: bool,
    /// The time between rounds, in words.
    pub interval: String,
    /// When the last round began (RFC 3339).
    pub last_round: Option<String>,
    /// When the next round is due (RFC 3339).
    pub next_round: Option<String>,
    /// The number of rounds since the start.
    pub rounds: u64,
    /// When the last look-up because of a push hook began (RFC 3339).
    pub last_hook: Option<String>,
    /// Whether that is the last look-up of all. A look-up waits for its refreshes, so theirs have that origin.
    #[serde(skip)]
    pub is_hooked: bool,
    /// The interval and the last round again, for calculations.
    #[serde(skip)]
    pub clock: Clock,
}

/// The times of [`WatcherStatus`] that are calculated with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock {
    /// The time between rounds.
    pub interval: Duration,
    /// When the last round began.
    pub last_round: Option<SystemTime>,
}

/// The outcome of a refresh: the worst outcome of its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Worst {
    /// Everything succeeded.
    Done,
    /// An image is rejected, because it did not come up.
    Rejected,
    /// Something failed, and another try may help.
    Failed,
}

/// The origin of the watcher's refreshes. A push hook may have caused them.
pub const WATCHER: &str = "watcher";

impl Worst {
    /// Each outcome and its name.
    pub const ALL: [(Self, &str); 3] = [
        (Self::Done, "done"),
        (Self::Rejected, "rejected"),
        (Self::Failed, "failed"),
    ];

    /// The worst outcome of a run.
    #[must_use]
    pub fn of(outcomes: &Outcomes) -> Self {
        let mut verdicts = outcomes.verdicts.iter().map(|(_, verdict)| verdict);
        let is_rejected = |verdict: &Verdict| matches!(verdict, Verdict::Rejected(_));
        let is_failed = |verdict: &Verdict| {
            matches!(
                verdict,
                Verdict::Retry(_) | Verdict::Later(_) | Verdict::Stale(_) | Verdict::Unverified(_)
            )
        };
        if outcomes.list_error.is_some() || verdicts.clone().any(is_failed) {
            Self::Failed
        } else if verdicts.any(is_rejected) {
            Self::Rejected
        } else {
            Self::Done
        }
    }
}

/// The state of the watcher, of each watched reference, and of the last refreshes.
#[derive(Debug, Default)]
pub struct Board {
    inner: Mutex<Inner>,
    /// Since when tags point at their digests.
    sightings: Arc<Sightings>,
}

#[derive(Debug, Default)]
struct Inner {
    watcher: WatcherStatus,
    sign_of_life: Option<Instant>,
    references: Vec<Watched>,
    /// The position of each reference in `references`.
    index: HashMap<String, usize>,
    refreshes: VecDeque<Refreshed>,
    refreshes_by_outcome: [u64; Worst::ALL.len()],
    under_way: Option<UnderWay>,
}

/// A copy of the [`Board`] for readers.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// The state of the watcher's rounds.
    pub watcher: WatcherStatus,
    /// Every watched reference.
    pub references: Vec<Watched>,
    /// The last refreshes, newest first.
    pub refreshes: Vec<Refreshed>,
    /// The refresh that runs now.
    pub under_way: Option<UnderWay>,
    /// The number of refreshes since the start, in the order of [`Worst::ALL`].
    #[serde(skip)]
    pub refreshes_by_outcome: [u64; Worst::ALL.len()],
}

impl Inner {
    /// The origin of a refresh. A push hook may have caused the watcher's.
    fn asker(&self, asked_by: &'static str) -> &'static str {
        match self.watcher.is_hooked && asked_by == WATCHER {
            true => "hook",
            false => asked_by,
        }
    }
}

impl Board {
    /// Makes a board that goes on where an earlier process stopped.
    #[must_use]
    pub fn with(sightings: Arc<Sightings>) -> Self {
        Self {
            inner: Mutex::default(),
            sightings,
        }
    }

    /// Records that a look-up found `digest`.
    pub fn saw(&self, reference: &Reference, digest: &Digest) {
        self.sightings.see(reference, digest, SystemTime::now());
    }

    /// Forgets the digests of references that are not followed any more. `followed` has to be complete.
    pub fn keep_only<'r>(&self, followed: impl Iterator<Item = &'r Reference>) {
        self.sightings.keep_only(followed, SystemTime::now());
    }

    /// Records that the watcher runs.
    pub fn watcher_started(&self, interval: Duration) {
        let mut inner = self.lock();
        inner.watcher.enabled = true;
        inner.watcher.interval = print_duration(interval);
        inner.watcher.clock.interval = interval;
        inner.sign_of_life = Some(Instant::now());
    }

    /// The references that the watcher follows; nothing if it is off.
    #[must_use]
    pub fn followed(&self) -> Option<Vec<Reference>> {
        let inner = self.lock();
        let mut followed = Vec::new();
        for entry in &inner.references {
            if let Ok(reference) = entry.reference.parse() {
                followed.push(reference);
            }
        }
        inner.watcher.enabled.then_some(followed)
    }

    /// Records the start of look-ups because of push hooks.
    pub fn hook_started(&self) {
        let now = rfc3339(SystemTime::now());
        let mut inner = self.lock();
        inner.watcher.last_hook = Some(now);
        inner.watcher.is_hooked = true;
        inner.sign_of_life = Some(Instant::now());
    }

    /// Records the start of a round.
    pub fn round_started(&self) {
        let now = SystemTime::now();
        let mut inner = self.lock();
        inner.watcher.is_hooked = false;
        inner.watcher.rounds += 1;
        inner.watcher.last_round = Some(rfc3339(now));
        inner.watcher.clock.last_round = Some(now);
        inner.watcher.next_round = None;
        inner.sign_of_life = Some(Instant::now());
    }

    /// Records when the next round is due.
    pub fn round_finished(&self, next_in: Duration) {
        let mut inner = self.lock();
        inner.watcher.next_round = Some(rfc3339(SystemTime::now() + next_in));
        inner.sign_of_life = Some(Instant::now());
    }

    /// Whether the watcher is in the middle of a round.
    #[must_use]
    pub fn is_in_round(&self) -> bool {
        let inner = self.lock();
        inner.watcher.enabled && inner.watcher.next_round.is_none()
    }

    /// Records a sign of life.
    pub fn alive(&self) {
        self.lock().sign_of_life = Some(Instant::now());
    }

    /// The reason why the watcher counts as stuck, if it does.
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

    /// Sets the watched references. The state of references that were watched before is kept.
    pub fn watch<'t>(&self, targets: impl IntoIterator<Item = &'t Target>) {
        let mut inner = self.lock();
        let known = std::mem::take(&mut inner.references);
        let mut known: HashMap<String, Watched> = known
            .into_iter()
            .map(|entry| (entry.reference.clone(), entry))
            .collect();
        let entry = |target: &Target| {
            let reference = target.reference.to_string();
            let known = known.remove(&reference);
            known.unwrap_or_else(|| {
                let settled = self.sightings.settled(&reference);
                Watched::new(reference, target.name.clone(), settled)
            })
        };
        inner.references = targets.into_iter().map(entry).collect();
        let numbered = inner.references.iter().enumerate();
        let index = numbered.map(|(number, entry)| (entry.reference.clone(), number));
        inner.index = index.collect();
    }

    /// Changes the state of a watched reference.
    pub fn update(&self, reference: &Reference, change: impl FnOnce(&mut Watched)) {
        let mut inner = self.lock();
        let number = inner.index.get(&reference.to_string()).copied();
        let Some(entry) = number.and_then(|number| inner.references.get_mut(number)) else {
            return;
        };
        let before = entry.seen_digest.clone();
        change(entry);
        entry.versions.keep_only(entry.registry_digest.as_deref());
        if let Some(seen) = entry
            .seen_digest
            .as_ref()
            .filter(|_| entry.seen_digest != before)
        {
            self.sightings.settle(&entry.reference, seen);
        }
    }

    /// Takes over what a survey found out about the images of the containers, while the registry has this digest.
    pub fn surveyed(&self, reference: &Reference, digest: &Digest, survey: &Survey) {
        self.update(reference, |entry| {
            let digest = digest.to_string();
            if entry.registry_digest.as_ref() == Some(&digest) {
                entry.surveyed = Some((digest, survey.judged.clone()));
            }
        });
    }

    /// Looks at the state of each watched reference, and changes it.
    pub fn update_each(&self, change: &mut dyn FnMut(&mut Watched)) {
        self.lock().references.iter_mut().for_each(change);
    }

    /// The digest of a reference that needs no refresh any more.
    #[must_use]
    pub fn seen(&self, reference: &Reference) -> Option<String> {
        let inner = self.lock();
        let number = inner.index.get(&reference.to_string())?;
        inner.references.get(*number)?.seen_digest.clone()
    }

    /// Applies the outcome of a refresh, and its findings, to a reference.
    pub fn apply(&self, target: &Target, verdict: &Verdict, found: Option<&Found>) {
        if found.is_some() && !self.lock().watcher.enabled {
            self.add_missing(target);
        }
        self.update(&target.reference, |entry| entry.apply(verdict, found));
    }

    /// Adds a reference that is not there yet. Without a watcher, a refresh is the only source of references.
    fn add_missing(&self, target: &Target) {
        let mut inner = self.lock();
        let (reference, number) = (target.reference.to_string(), inner.references.len());
        if !inner.index.contains_key(&reference) {
            inner.index.insert(reference.clone(), number);
            inner
                .references
                .push(Watched::new(reference, target.name.clone(), None));
        }
    }

    /// Records the start of a refresh.
    pub fn refresh_started(&self, asked_by: &'static str, started: SystemTime) {
        let mut inner = self.lock();
        let asked_by = inner.asker(asked_by);
        inner.under_way = Some(UnderWay::new(asked_by, rfc3339(started)));
    }

    /// Records a step of the refresh that runs.
    pub fn refresh_step(&self, step: &Step) {
        if let Some(run) = &mut self.lock().under_way {
            run.step(step);
        }
    }

    /// Remembers a finished refresh.
    pub fn refreshed(&self, mut refreshed: Refreshed) {
        let mut inner = self.lock();
        inner.under_way = None;
        refreshed.asked_by = inner.asker(refreshed.asked_by);
        inner.refreshes_by_outcome[refreshed.outcome as usize] += 1;
        inner.refreshes.push_front(refreshed);
        inner.refreshes.truncate(HISTORY);
    }

    /// Copies the whole state.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        Snapshot {
            watcher: inner.watcher.clone(),
            references: inner.references.clone(),
            refreshes: inner.refreshes.iter().cloned().collect(),
            refreshes_by_outcome: inner.refreshes_by_outcome,
            under_way: inner.under_way.clone(),
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
