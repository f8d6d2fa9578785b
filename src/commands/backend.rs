//! The I/O of the server's watcher.

use crate::error::Result;
use crate::journal::Board;
use crate::journal::Metrics;
use crate::journal::Step;
use crate::journal::Survey;
use crate::journal::Verdict;
use crate::policy::Asked;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::Target;
use crate::registry;
use crate::registry::Registry;
use crate::update;
use crate::update::Answer;
use crate::update::Extent;
use crate::update::Images;
use crate::update::Jobs;
use crate::update::Moved;
use crate::update::NewerTags;
use crate::update::Order;
use crate::update::Permit;
use crate::update::Refresher;
use crate::update::Seen;
use crate::update::Wish;
use crate::watch::Backend;
use crate::watch::Pending;
use crate::watch::random;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Connects the watcher to the Engine, the registries and the queue.
pub(super) struct LiveBackend {
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    refresher: Arc<Refresher>,
    jobs: Jobs,
    board: Arc<Board>,
    /// The references of swaps that were half done at the beginning of this round.
    half_done: Mutex<Vec<Reference>>,
    /// Whether this look catches up, once there was one.
    catches_up: Mutex<Option<bool>>,
    /// The newer version tags, and the wishes of this round for such tags.
    newer: Mutex<(NewerTags, Vec<Wish>)>,
    /// Passes a newer version on to receivers and history.
    tell: Box<dyn Fn(&Step) + Send>,
}

impl LiveBackend {
    pub(super) fn new(
        registry: Arc<Registry>,
        metrics: Arc<Metrics>,
        refresher: Arc<Refresher>,
        jobs: Jobs,
        board: Arc<Board>,
        tell: Box<dyn Fn(&Step) + Send>,
    ) -> Self {
        Self {
            registry,
            metrics,
            refresher,
            jobs,
            board,
            half_done: Mutex::default(),
            catches_up: Mutex::default(),
            newer: Mutex::default(),
            tell,
        }
    }
}

impl Backend for LiveBackend {
    fn look(&self) -> Result<(Vec<Target>, Vec<Seen>)> {
        let refresher = &self.refresher;
        let list = refresher.engine.containers()?;
        let seen = refresher.selection.seen_among(&list, &refresher.engine)?;
        let mut catches_up = self
            .catches_up
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *catches_up = Some(catches_up.is_none() && refresher.was_held_back(&seen));
        drop(catches_up);
        let targets = refresher.watched(&seen);
        let half_done = update::in_mid_swap(&list, &refresher.engine)?;
        *self
            .half_done
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = half_done
            .into_iter()
            .map(|(_, reference)| reference)
            .collect();
        let mut newer = self.newer.lock().unwrap_or_else(PoisonError::into_inner);
        newer.1 = update::wishes(&seen);
        Ok((targets, seen))
    }

    fn look_up(&self, references: &[Reference], sink: &mut dyn FnMut(&Reference, Result<Digest>)) {
        self.registry.digests(references, |reference, outcome| {
            let host = registry::api_host(reference.registry());
            self.metrics.looked_up(host, &outcome);
            if let Ok(digest) = &outcome {
                self.refresher.origins.remember_digest(reference, digest);
                self.refresher.history.decisions().see(reference, digest);
            }
            sink(reference, outcome);
        });
    }

    fn survey(&self, reference: &Reference, digest: &Digest, seen: &[Seen]) -> Result<Survey> {
        self.refresher.survey(reference, digest, seen)
    }

    fn verify(&self, target: &Target, digest: &Digest, seen: &[Seen]) -> Option<Verdict> {
        let reference = &target.reference;
        let error = self.refresher.vet(reference, digest, seen).err()?;
        let verdict = self.refresher.unverified(target, &error, &*self.tell);
        verdict.or_else(|| {
            let reason = error.to_string();
            if self.refresher.is_news_of(&reference.to_string(), &reason) {
                log::warn!("{}: its signature is not known: {reason}", target.name);
            }
            Some(Verdict::Retry(reason))
        })
    }

    fn catches_up(&self) -> bool {
        let catches_up = self.catches_up.lock();
        *catches_up.unwrap_or_else(PoisonError::into_inner) == Some(true)
    }

    fn end_round(&self) {
        self.refresher.learn_versions(&self.board);
        let mut newer = self.newer.lock().unwrap_or_else(PoisonError::into_inner);
        let (tags, wishes) = &mut *newer;
        for step in tags.look(&self.refresher, &self.board, wishes, random()) {
            if let Some(event) = step.event() {
                event.log();
            }
            (self.tell)(&step);
        }
    }

    fn is_in_mid_swap(&self, reference: &Reference) -> bool {
        let half_done = self.half_done.lock();
        half_done
            .unwrap_or_else(PoisonError::into_inner)
            .contains(reference)
    }

    fn may_be_rejected(&self, reference: &Reference) -> bool {
        self.refresher.rejected.concern(reference)
    }

    fn was_replaced(&self, reference: &Reference, digest: &Digest) -> bool {
        self.refresher.replaced.contains(reference, digest)
    }

    fn is_local(&self, reference: &Reference) -> Result<bool> {
        self.refresher.is_local(reference)
    }

    fn permit(&self, target: &Target, digest: &Digest, seen: &[Seen]) -> Permit {
        self.refresher
            .permit(Asked::ForAll, target, Some(digest), seen)
    }

    fn fetch(&self, target: &Target, digest: &Digest) {
        if self.refresher.fetches_ahead {
            let order = order(target, digest, None, Extent::Fetch);
            drop(self.jobs.begin(order, |_| ()));
        }
    }

    fn refresh(&self, target: &Target, digest: &Digest, only: Option<Vec<String>>) -> Pending {
        let reference = target.reference.clone();
        let order = order(target, digest, only, Extent::Recreate);
        let answer = self
            .jobs
            .begin(order, move |answer| verdict(answer, &reference));
        Box::new(move || {
            let stopping = || Err("imagewatch is stopping".to_owned());
            answer.pop().unwrap_or_else(stopping)
        })
    }
}

fn order(target: &Target, digest: &Digest, only: Option<Vec<String>>, extent: Extent) -> Order {
    let moved = Moved {
        target: target.clone(),
        digest: digest.clone(),
        only,
    };
    let images = Images::Moved(vec![moved]);
    Order { images, extent }
}

/// Returns the verdict on a reference, or the reason why there is none.
fn verdict(answer: &Answer, reference: &Reference) -> std::result::Result<Verdict, String> {
    let outcomes = answer.as_ref().map_err(Clone::clone)?;
    let list = |error| format!("container list: {error}");
    let why = || outcomes.list_error.as_ref().map(list);
    let verdict = outcomes.verdict(reference);
    verdict.ok_or_else(|| why().unwrap_or_else(|| "not refreshed".to_owned()))
}
