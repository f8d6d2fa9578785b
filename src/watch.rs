//! The watcher: which digest was seen of each reference, and what to do when another one shows up.
//!
//! No I/O and no clock in here: [`Hands`] does the one, whoever calls [`Watcher::tick`] has the
//! other.

use crate::debug::debug;
use crate::error::Error;
use crate::error::Result;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::refresh::Target;
use crate::refresh::Verdict;
use crate::status::Board;
use crate::status::Standing;
use crate::time::rfc3339;
use std::collections::HashMap;
use std::collections::HashSet;
use std::hash::BuildHasher;
use std::hash::Hasher;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

/// A round comes this many percent late at most, so that a fleet does not knock in step.
const JITTER_PERCENT: u32 = 5;

/// What the complaint about an Engine that does not list its containers is called.
const TARGETS: &str = "targets";

/// What the watcher has done for it.
pub trait Hands {
    /// The references to watch now.
    ///
    /// # Errors
    /// When the Engine cannot be asked which containers there are.
    fn targets(&self) -> Result<Vec<Target>>;

    /// Looks up all references and hands on each digest as soon as it is known.
    fn look_up(&self, references: &[Reference], sink: &mut dyn FnMut(&Reference, Result<Digest>));

    /// Whether what runs, or was pulled, is older than `digest`.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    fn is_behind(&self, reference: &Reference, digest: &Digest) -> Result<bool>;

    /// Whether a swap of something made from `reference` is half done: what runs now may not stay.
    fn is_in_mid_swap(&self, reference: &Reference) -> bool;

    /// Why `digest` is not tried, if it was once and did not come up.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    fn rejection(&self, reference: &Reference, digest: &Digest) -> Result<Option<String>>;

    /// Whether the image was built here, or comes from no registry for another reason.
    fn is_local(&self, reference: &Reference) -> bool;

    /// Has the image pulled and what runs it renewed; does not wait for it.
    fn refresh(&self, target: &Target, digest: &Digest) -> Pending;
}

/// A refresh under way; called, it waits for what comes of it.
pub type Pending = Box<dyn FnOnce() -> Verdict>;

/// What happens at the first sight of a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstSight {
    /// The digest is remembered, and that is all.
    Seed,
    /// What is behind already is refreshed too.
    CatchUp,
}

/// Keeps the books of one set of references.
#[derive(Debug)]
pub struct Watcher<H> {
    hands: H,
    first_sight: FirstSight,
    board: Arc<Board>,
    targets: Vec<Target>,
    /// The digest that needs no refresh any more.
    seen: HashMap<Reference, Digest>,
    /// What went wrong last, so that it is said once and not every round.
    complaints: HashMap<String, String>,
    /// Images that were built here: there is nothing to look up.
    local: HashSet<Reference>,
}

impl<H: Hands> Watcher<H> {
    /// `targets` are watched until [`Hands::targets`] says otherwise.
    pub fn new(hands: H, first_sight: FirstSight, board: Arc<Board>, targets: Vec<Target>) -> Self {
        Self {
            hands,
            first_sight,
            board,
            targets,
            seen: HashMap::new(),
            complaints: HashMap::new(),
            local: HashSet::new(),
        }
    }

    /// One round: looks up every reference, and refreshes what moved, and only that.
    pub fn tick(&mut self) {
        self.board.round_started();
        match self.hands.targets() {
            Ok(targets) => {
                self.complaints.remove(TARGETS);
                self.targets = targets;
            }
            Err(error) => complain(&mut self.complaints, TARGETS, &error),
        }
        self.board.watch(&self.targets);
        let targets: HashMap<&Reference, &Target> = self
            .targets
            .iter()
            .map(|target| (&target.reference, target))
            .collect();
        self.seen
            .retain(|reference, _| targets.contains_key(reference));
        let hands = &self.hands;
        self.local
            .retain(|reference| targets.contains_key(reference) && hands.is_local(reference));

        // One that hangs must not keep the others of its host waiting round after round.
        let (failed, mut references): (Vec<Reference>, Vec<Reference>) = self
            .targets
            .iter()
            .map(|target| target.reference.clone())
            .filter(|reference| !self.local.contains(reference))
            .partition(|reference| self.complaints.contains_key(&reference.to_string()));
        references.extend(failed);
        let mut books = Books {
            hands: &self.hands,
            first_sight: self.first_sight,
            board: &self.board,
            seen: &mut self.seen,
            complaints: &mut self.complaints,
            local: &mut self.local,
            under_way: Vec::new(),
        };
        self.hands.look_up(&references, &mut |reference, outcome| {
            if let Some(target) = targets.get(reference) {
                books.enter(target, outcome);
            }
        });
        books.close();
    }
}

/// The part of a watcher that changes while a round is on.
struct Books<'a, H> {
    hands: &'a H,
    first_sight: FirstSight,
    board: &'a Board,
    seen: &'a mut HashMap<Reference, Digest>,
    complaints: &'a mut HashMap<String, String>,
    local: &'a mut HashSet<Reference>,
    /// What was begun in this round: the look-ups go on meanwhile.
    under_way: Vec<(Target, Digest, Pending)>,
}

impl<H: Hands> Books<'_, H> {
    /// Enters what one look-up found, and acts on it.
    fn enter(&mut self, target: &Target, outcome: Result<Digest>) {
        let digest = match outcome {
            Ok(digest) => digest,
            Err(error) => return self.failed(target, &error),
        };
        let reference = &target.reference;
        let trouble = self.complaints.remove(&reference.to_string());
        let seen = self.seen.get(reference).cloned();
        self.board.update(reference, |entry| {
            entry.last_check = Some(rfc3339(SystemTime::now()));
            entry.registry_digest = Some(digest.to_string());
            if seen.as_ref() == Some(&digest) && entry.state != Standing::Rejected {
                entry.last_error = None;
            }
        });
        match seen {
            Some(seen) if seen == digest => {
                debug(format_args!("{}: unchanged", target.name));
                match self.board.standing(reference) {
                    Some(Standing::Unknown) => self.tell_standing(reference, &digest),
                    Some(Standing::Rejected) if trouble.is_some() => {
                        self.tell_rejection(reference, &digest);
                    }
                    _ => {}
                }
            }
            Some(seen) => {
                log::info!(
                    "image-auto-refresh: {} digest moved {} → {}, refreshing",
                    target.name,
                    seen.short(),
                    digest.short()
                );
                self.refresh(target, digest);
            }
            None => self.first_sight(target, digest),
        }
    }

    fn first_sight(&mut self, target: &Target, digest: Digest) {
        let Target { name, reference } = target;
        let about = format!("{reference} at first sight");
        match self.hands.rejection(reference, &digest) {
            Ok(None) => drop(self.complaints.remove(&about)),
            Ok(Some(reason)) => return self.judge(target, digest, Verdict::Rejected(reason)),
            // Seeding it now would call it current; the next round may know more.
            Err(error) => {
                self.board.update(reference, |entry| {
                    entry.last_error = Some(error.to_string());
                });
                return complain(self.complaints, &about, &error);
            }
        }
        if self.first_sight == FirstSight::CatchUp {
            if self.is_engine_away() {
                return;
            }
            // A refresh begins with putting right what a killed process left half done.
            let is_behind = if self.hands.is_in_mid_swap(reference) {
                Ok(true)
            } else {
                self.hands.is_behind(reference, &digest)
            };
            match is_behind {
                Ok(false) => {}
                Ok(true) => {
                    log::info!(
                        "image-auto-refresh: {name} is behind {}, refreshing",
                        digest.short()
                    );
                    return self.refresh(target, digest);
                }
                // Seeded now, it would never be caught up with.
                Err(error) => return complain(self.complaints, &about, &error),
            }
        }
        self.tell_standing(reference, &digest);
        self.remember(reference, digest.clone());
        debug(format_args!("{name}: seeded with {}", digest.short()));
    }

    /// Whether it gave no answer at the beginning of this round. Each further question could cost a
    /// deadline.
    fn is_engine_away(&self) -> bool {
        self.complaints.contains_key(TARGETS)
    }

    /// How things stand with a digest that is not acted on.
    fn tell_standing(&self, reference: &Reference, digest: &Digest) {
        if self.is_engine_away() || self.hands.is_in_mid_swap(reference) {
            return;
        }
        let standing = match self.hands.is_behind(reference, digest) {
            Ok(true) => Standing::Outdated,
            Ok(false) => Standing::Current,
            Err(error) => {
                debug(format_args!("{reference}: {error}"));
                Standing::Unknown
            }
        };
        self.board.update(reference, |entry| {
            entry.state = standing;
            entry.last_error = None;
        });
    }

    /// Why it is rejected, once the trouble that was told in place of that is over.
    fn tell_rejection(&self, reference: &Reference, digest: &Digest) {
        if let Ok(Some(reason)) = self.hands.rejection(reference, digest) {
            self.board
                .update(reference, |entry| entry.last_error = Some(reason));
        }
    }

    fn refresh(&mut self, target: &Target, digest: Digest) {
        self.board.update(&target.reference, |entry| {
            entry.state = Standing::Refreshing;
        });
        let pending = self.hands.refresh(target, &digest);
        self.under_way.push((target.clone(), digest, pending));
    }

    /// Waits for what was begun.
    fn close(&mut self) {
        for (target, digest, pending) in std::mem::take(&mut self.under_way) {
            self.judge(&target, digest, pending());
        }
    }

    /// Remembers the digest only if there is nothing left to do about it.
    fn judge(&mut self, target: &Target, digest: Digest, verdict: Verdict) {
        let reference = &target.reference;
        self.board.judge(reference, &verdict);
        match verdict {
            Verdict::Done | Verdict::Noticed => self.remember(reference, digest),
            Verdict::Retry(_) => {}
            Verdict::Rejected(reason) => {
                log::error!(
                    "image-auto-refresh: {} {} is rejected until the tag moves on: {reason}",
                    target.name,
                    digest.short()
                );
                self.remember(reference, digest);
            }
        }
    }

    fn remember(&mut self, reference: &Reference, digest: Digest) {
        let shown = digest.to_string();
        self.board
            .update(reference, |entry| entry.seen_digest = Some(shown));
        self.seen.insert(reference.clone(), digest);
    }

    /// What was seen stays as it is.
    fn failed(&mut self, target: &Target, error: &Error) {
        let is_refused = matches!(error.status(), Some(401 | 403 | 404));
        if is_refused && self.hands.is_local(&target.reference) {
            log::info!(
                "{}: built here, so there is nothing to look up",
                target.name
            );
            self.board.update(&target.reference, |entry| {
                entry.state = Standing::Local;
                entry.last_error = None;
            });
            self.local.insert(target.reference.clone());
            return;
        }
        self.board.update(&target.reference, |entry| {
            entry.last_check = Some(rfc3339(SystemTime::now()));
            entry.last_error = Some(error.to_string());
        });
        complain(self.complaints, &target.reference.to_string(), error);
    }
}

/// Says a trouble when it begins or changes, not each round that it lasts.
fn complain(complaints: &mut HashMap<String, String>, about: &str, error: &Error) {
    // How long a host is still put off changes every round and is no news.
    let kind = match error {
        Error::PutOff { reason, .. } => reason.clone(),
        other => other.to_string(),
    };
    if complaints.get(about) == Some(&kind) {
        debug(format_args!("{error}"));
    } else {
        log::warn!("{error}");
        complaints.insert(about.to_owned(), kind);
    }
}

/// How long to wait for the next round.
#[must_use]
pub fn with_jitter(interval: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 1000;
    let share = u32::try_from(random).unwrap_or(0) * JITTER_PERCENT;
    interval + interval / 100_000 * share
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    /// A registry and an Engine in a few cells.
    #[derive(Default)]
    struct World {
        digests: RefCell<HashMap<String, Result<Digest>>>,
        verdicts: RefCell<VecDeque<Verdict>>,
        refreshed: RefCell<Vec<String>>,
        behind: RefCell<bool>,
        in_mid_swap: RefCell<bool>,
        /// What an earlier process found out.
        rejected: RefCell<Option<(&'static str, Digest)>>,
        /// Repositories whose images were built here.
        local: RefCell<Vec<&'static str>>,
        names: RefCell<Vec<&'static str>>,
        order: RefCell<Vec<String>>,
        engine_is_down: RefCell<bool>,
    }

    impl Hands for Rc<World> {
        fn targets(&self) -> Result<Vec<Target>> {
            if *self.engine_is_down.borrow() {
                return Err(trouble());
            }
            Ok(self
                .names
                .borrow()
                .iter()
                .map(|name| target(name))
                .collect())
        }

        fn look_up(
            &self,
            references: &[Reference],
            sink: &mut dyn FnMut(&Reference, Result<Digest>),
        ) {
            *self.order.borrow_mut() = references.iter().map(ToString::to_string).collect();
            for reference in references {
                let found = self.digests.borrow()[reference.repository()].clone();
                sink(reference, found);
            }
        }

        fn is_behind(&self, _: &Reference, _: &Digest) -> Result<bool> {
            Ok(*self.behind.borrow())
        }

        fn is_in_mid_swap(&self, _: &Reference) -> bool {
            *self.in_mid_swap.borrow()
        }

        fn rejection(&self, reference: &Reference, found: &Digest) -> Result<Option<String>> {
            if *self.engine_is_down.borrow() {
                return Err(trouble());
            }
            let rejected = self.rejected.borrow();
            let same = rejected
                .as_ref()
                .filter(|(name, bad)| reference.repository() == *name && bad == found);
            Ok(same.map(|_| "it exited".to_owned()))
        }

        fn is_local(&self, reference: &Reference) -> bool {
            self.local
                .borrow()
                .iter()
                .any(|name| reference.repository() == *name)
        }

        fn refresh(&self, target: &Target, _: &Digest) -> Pending {
            self.refreshed.borrow_mut().push(target.name.clone());
            let verdict = self.verdicts.borrow_mut().pop_front();
            Box::new(move || verdict.unwrap_or(Verdict::Done))
        }
    }

    fn target(name: &str) -> Target {
        Target {
            name: name.to_owned(),
            reference: format!("reg.example/{name}").parse().expect("valid"),
        }
    }

    fn digest(of: char) -> Digest {
        format!("sha256:{}", of.to_string().repeat(64))
            .parse()
            .expect("valid")
    }

    fn trouble() -> Error {
        Error::Unreachable {
            request: "HEAD x".into(),
            reason: "no answer in time".into(),
        }
    }

    struct Lab {
        world: Rc<World>,
        watcher: Watcher<Rc<World>>,
        board: Arc<Board>,
    }

    impl Lab {
        fn new(first_sight: FirstSight) -> Self {
            let world = Rc::new(World::default());
            *world.names.borrow_mut() = vec!["a", "b"];
            let board = Arc::new(Board::default());
            let watcher = Watcher::new(
                Rc::clone(&world),
                first_sight,
                Arc::clone(&board),
                Vec::new(),
            );
            let lab = Self {
                world,
                watcher,
                board,
            };
            lab.set("a", Ok(digest('1')));
            lab.set("b", Ok(digest('2')));
            lab
        }

        fn set(&self, name: &str, found: Result<Digest>) {
            self.world
                .digests
                .borrow_mut()
                .insert(name.to_owned(), found);
        }

        /// One round; what it refreshed.
        fn tick(&mut self) -> Vec<String> {
            self.watcher.tick();
            self.world.refreshed.take()
        }

        fn verdict(&self, verdict: Verdict) {
            self.world.verdicts.borrow_mut().push_back(verdict);
        }

        fn state(&self, name: &str) -> (Standing, Option<String>) {
            let entry = self.board.snapshot().references;
            let entry = entry
                .iter()
                .find(|entry| entry.name == name)
                .expect("watched");
            (entry.state, entry.last_error.clone())
        }
    }

    #[test]
    fn the_first_sight_seeds_and_never_refreshes() {
        let mut lab = Lab::new(FirstSight::Seed);
        *lab.world.behind.borrow_mut() = true;
        assert!(lab.tick().is_empty());
        assert!(lab.tick().is_empty());
        assert_eq!(lab.state("a"), (Standing::Outdated, None));
    }

    #[test]
    fn a_moved_digest_refreshes_that_reference_and_only_it() {
        let mut lab = Lab::new(FirstSight::Seed);
        lab.tick();
        lab.set("b", Ok(digest('3')));
        assert_eq!(lab.tick(), ["b"]);
        assert!(lab.tick().is_empty());
    }

    #[test]
    fn a_failed_look_up_leaves_the_seen_digest_and_the_others_alone() {
        let mut lab = Lab::new(FirstSight::Seed);
        lab.tick();
        lab.set("a", Err(trouble()));
        lab.set("b", Ok(digest('3')));
        assert_eq!(lab.tick(), ["b"]);
        assert_eq!(lab.state("a").1, Some(trouble().to_string()));
        lab.set("a", Ok(digest('1')));
        assert!(lab.tick().is_empty(), "the digest seen before still counts");
        assert_eq!(lab.state("a"), (Standing::Current, None));
    }

    #[test]
    fn what_was_built_here_is_looked_up_once_and_is_no_error() {
        let mut lab = Lab::new(FirstSight::Seed);
        let refused = Error::Refused {
            request: "HEAD a".into(),
            status: 404,
            message: "no".into(),
            retry_after: None,
        };
        lab.set("a", Err(refused));
        lab.world.local.borrow_mut().push("a");
        lab.tick();
        assert_eq!(lab.state("a"), (Standing::Local, None));
        lab.tick();
        assert_eq!(*lab.world.order.borrow(), ["reg.example/b:latest"]);
        // Somebody pulled it from a registry.
        lab.world.local.borrow_mut().clear();
        lab.set("a", Ok(digest('1')));
        lab.tick();
        assert_eq!(lab.state("a"), (Standing::Current, None));
    }

    #[test]
    fn a_reference_that_failed_is_looked_up_last() {
        let mut lab = Lab::new(FirstSight::Seed);
        lab.set("a", Err(trouble()));
        lab.tick();
        lab.tick();
        assert_eq!(
            *lab.world.order.borrow(),
            ["reg.example/b:latest", "reg.example/a:latest"]
        );
    }

    #[test]
    fn a_failed_refresh_is_tried_again_until_it_works() {
        let mut lab = Lab::new(FirstSight::Seed);
        lab.tick();
        lab.set("a", Ok(digest('3')));
        lab.verdict(Verdict::Retry("pull: no".into()));
        assert_eq!(lab.tick(), ["a"]);
        assert_eq!(
            lab.state("a"),
            (Standing::Outdated, Some("pull: no".into()))
        );
        assert_eq!(lab.tick(), ["a"]);
        assert_eq!(lab.state("a"), (Standing::Current, None));
        assert!(lab.tick().is_empty());
    }

    #[test]
    fn a_rejected_digest_waits_for_the_tag_to_move_on() {
        let mut lab = Lab::new(FirstSight::Seed);
        lab.tick();
        lab.set("a", Ok(digest('3')));
        lab.verdict(Verdict::Rejected("it exited".into()));
        assert_eq!(lab.tick(), ["a"]);
        assert!(lab.tick().is_empty());
        assert_eq!(
            lab.state("a"),
            (Standing::Rejected, Some("it exited".into()))
        );
        lab.set("a", Ok(digest('4')));
        assert_eq!(lab.tick(), ["a"]);
        assert_eq!(lab.state("a"), (Standing::Current, None));
    }

    #[test]
    fn catching_up_refreshes_at_first_sight_what_is_behind() {
        let mut lab = Lab::new(FirstSight::CatchUp);
        assert!(lab.tick().is_empty(), "nothing is behind");
        let mut lab = Lab::new(FirstSight::CatchUp);
        *lab.world.behind.borrow_mut() = true;
        lab.verdict(Verdict::Retry("pull: no".into()));
        assert_eq!(lab.tick(), ["a", "b"]);
        assert_eq!(lab.tick(), ["a"], "what failed is tried again");
        assert!(lab.tick().is_empty());
    }

    #[test]
    fn what_runs_in_mid_swap_is_not_taken_for_what_will_run() {
        for (first_sight, refreshed, early, later) in [
            (
                FirstSight::Seed,
                vec![],
                Standing::Unknown,
                Standing::Outdated,
            ),
            (
                FirstSight::CatchUp,
                vec!["a"],
                Standing::Current,
                Standing::Current,
            ),
        ] {
            let mut lab = Lab::new(first_sight);
            *lab.world.names.borrow_mut() = vec!["a"];
            *lab.world.in_mid_swap.borrow_mut() = true;
            assert_eq!(lab.tick(), refreshed);
            assert_eq!(lab.state("a").0, early);
            *lab.world.in_mid_swap.borrow_mut() = false;
            *lab.world.behind.borrow_mut() = true;
            assert!(lab.tick().is_empty());
            assert_eq!(lab.state("a").0, later);
        }
    }

    #[test]
    fn what_was_rejected_before_is_so_at_first_sight_and_not_tried() {
        for first_sight in [FirstSight::Seed, FirstSight::CatchUp] {
            let mut lab = Lab::new(first_sight);
            *lab.world.behind.borrow_mut() = true;
            *lab.world.rejected.borrow_mut() = Some(("a", digest('1')));
            *lab.world.names.borrow_mut() = vec!["a"];
            *lab.world.engine_is_down.borrow_mut() = true;
            lab.watcher.targets = vec![target("a")];
            assert!(lab.tick().is_empty());
            assert_eq!(
                lab.state("a").0,
                Standing::Unknown,
                "it cannot be known yet"
            );
            *lab.world.engine_is_down.borrow_mut() = false;
            assert!(lab.tick().is_empty());
            let rejected = (Standing::Rejected, Some("it exited".to_owned()));
            assert_eq!(lab.state("a"), rejected);
            assert!(lab.tick().is_empty());
            assert_eq!(lab.state("a"), rejected);
            lab.set("a", Ok(digest('3')));
            assert_eq!(lab.tick(), ["a"]);
            assert_eq!(lab.state("a"), (Standing::Current, None));
        }
    }

    #[test]
    fn the_reason_of_a_rejection_is_told_again_after_a_trouble() {
        let mut lab = Lab::new(FirstSight::Seed);
        *lab.world.rejected.borrow_mut() = Some(("a", digest('1')));
        *lab.world.names.borrow_mut() = vec!["a"];
        let rejected = (Standing::Rejected, Some("it exited".to_owned()));
        lab.tick();
        assert_eq!(lab.state("a"), rejected);
        lab.set("a", Err(trouble()));
        lab.tick();
        assert_eq!(lab.state("a").1, Some(trouble().to_string()));
        lab.set("a", Ok(digest('1')));
        lab.tick();
        assert_eq!(lab.state("a"), rejected);
    }

    #[test]
    fn references_come_and_go_without_a_restart() {
        let mut lab = Lab::new(FirstSight::Seed);
        lab.tick();
        *lab.world.names.borrow_mut() = vec!["b"];
        lab.tick();
        assert_eq!(lab.board.snapshot().references.len(), 1);
        lab.set("a", Ok(digest('9')));
        *lab.world.names.borrow_mut() = vec!["a", "b"];
        assert!(lab.tick().is_empty(), "seen anew, it is seeded anew");
    }

    #[test]
    fn an_engine_that_is_away_does_not_make_us_forget() {
        let mut lab = Lab::new(FirstSight::Seed);
        lab.tick();
        *lab.world.engine_is_down.borrow_mut() = true;
        lab.tick();
        *lab.world.engine_is_down.borrow_mut() = false;
        lab.set("a", Ok(digest('3')));
        assert_eq!(lab.tick(), ["a"]);
    }

    #[test]
    fn an_engine_that_is_away_at_first_sight_is_asked_later() {
        for (first_sight, refreshed, standing) in [
            (FirstSight::Seed, vec![], Standing::Outdated),
            (FirstSight::CatchUp, vec!["a"], Standing::Current),
        ] {
            let mut lab = Lab::new(first_sight);
            *lab.world.names.borrow_mut() = vec!["a"];
            *lab.world.behind.borrow_mut() = true;
            *lab.world.engine_is_down.borrow_mut() = true;
            lab.watcher.targets = vec![target("a")];
            assert!(lab.tick().is_empty());
            assert_eq!(lab.state("a").0, Standing::Unknown);
            *lab.world.engine_is_down.borrow_mut() = false;
            assert_eq!(lab.tick(), refreshed);
            assert_eq!(lab.state("a"), (standing, None));
        }
    }

    #[test]
    fn jitter_is_small_and_never_early() {
        for _ in 0..100 {
            let wait = with_jitter(Duration::from_secs(100));
            assert!(wait >= Duration::from_secs(100) && wait <= Duration::from_secs(105));
        }
    }
}
