//! The watcher: which digest was seen of each reference, and what to do when another one shows up.
//!
//! No I/O and no clock in here: [`Hands`] does the one, whoever calls [`Watcher::tick`] has the
//! other.

mod books;

use crate::error::Result;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::refresh::Target;
use crate::refresh::Verdict;
use crate::status::Board;
use books::Books;
use books::complain;
use std::collections::HashMap;
use std::collections::HashSet;
use std::hash::BuildHasher;
use std::hash::Hasher;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

/// A round comes this many percent late at most, so that a fleet does not knock in step.
const JITTER_PERCENT: u32 = 5;

/// The most rounds that are let pass before an image is pulled again of which the Engine got an older one:
/// an hour's, usually. Each pull counts with Docker Hub.
const MOST_ROUNDS: u32 = 12;

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

    /// Whether an image of it did not come up, as far as that is known without the Engine.
    fn may_be_rejected(&self, reference: &Reference) -> bool;

    /// Whether the image was built here, or comes from no registry for another reason.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    fn is_local(&self, reference: &Reference) -> Result<bool>;

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
    /// Those that were asked for in vain: they are looked up last.
    failing: HashSet<Reference>,
    /// Those about which the Engine left a question unanswered: they come last.
    unanswered: HashSet<Reference>,
    /// Those of which the Engine got another digest than the registry's.
    stale: Vec<Stale>,
}

/// A digest that the Engine does not get yet.
#[derive(Debug)]
struct Stale {
    reference: Reference,
    digest: Digest,
    /// How many rounds were let pass before the last try.
    waited: u32,
    /// How many are let pass before the next one.
    left: u32,
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
            failing: HashSet::new(),
            unanswered: HashSet::new(),
            stale: Vec::new(),
        }
    }

    /// One round: looks up every reference, and refreshes what moved, and only that.
    pub fn tick(&mut self) {
        self.board.round_started();
        let mut trouble = None;
        match self.hands.targets() {
            Ok(targets) => {
                self.complaints.remove(TARGETS);
                self.targets = targets;
            }
            Err(error) => {
                complain(&mut self.complaints, TARGETS, &error);
                trouble = Some(error);
            }
        }
        self.board.watch(&self.targets);
        let targets: HashMap<&Reference, &Target> = self
            .targets
            .iter()
            .map(|target| (&target.reference, target))
            .collect();
        self.seen
            .retain(|reference, _| targets.contains_key(reference));
        let names: HashSet<String> = targets.keys().map(ToString::to_string).collect();
        self.complaints.retain(|about, _| {
            about == TARGETS
                || about
                    .split(' ')
                    .next()
                    .is_some_and(|name| names.contains(name))
        });
        self.local
            .retain(|reference| targets.contains_key(reference));
        self.failing
            .retain(|reference| targets.contains_key(reference));
        self.unanswered
            .retain(|reference| targets.contains_key(reference));
        self.stale
            .retain(|stale| targets.contains_key(&stale.reference));
        let mut books = Books {
            hands: &self.hands,
            first_sight: self.first_sight,
            board: &self.board,
            seen: &mut self.seen,
            complaints: &mut self.complaints,
            local: &mut self.local,
            failing: &mut self.failing,
            unanswered: &mut self.unanswered,
            stale: &mut self.stale,
            trouble,
            under_way: Vec::new(),
        };
        books.check_local();

        // One that fails must not keep the others of its host waiting round after round. What was not
        // asked for because of it goes first.
        let (failed, mut references): (Vec<Reference>, Vec<Reference>) = self
            .targets
            .iter()
            .map(|target| target.reference.clone())
            .filter(|reference| !books.local.contains(reference))
            .partition(|reference| books.failing.contains(reference));
        references.extend(failed);
        let mut late = Vec::new();
        self.hands.look_up(
            &references,
            &mut |reference, outcome| match targets.get(reference) {
                Some(target) if books.unanswered.contains(reference) => {
                    late.push((*target, outcome));
                }
                Some(target) => books.enter(target, outcome),
                None => {}
            },
        );
        for (target, outcome) in late {
            books.enter(target, outcome);
        }
        books.close();
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
    use crate::error::Error;
    use crate::status::Standing;
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
        /// Repositories about which the Engine leaves every question unanswered.
        hangs: RefCell<Vec<&'static str>>,
        /// Whom the Engine was asked about.
        questions: RefCell<Vec<String>>,
    }

    impl World {
        fn question(&self, about: &Reference) -> Result<()> {
            let name = about.repository().to_owned();
            self.questions.borrow_mut().push(name);
            let hangs = self.hangs.borrow();
            if *self.engine_is_down.borrow() || hangs.contains(&about.repository()) {
                return Err(trouble());
            }
            Ok(())
        }
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

        fn is_behind(&self, reference: &Reference, _: &Digest) -> Result<bool> {
            self.question(reference)?;
            Ok(*self.behind.borrow())
        }

        fn is_in_mid_swap(&self, _: &Reference) -> bool {
            *self.in_mid_swap.borrow()
        }

        fn rejection(&self, reference: &Reference, found: &Digest) -> Result<Option<String>> {
            self.question(reference)?;
            let rejected = self.rejected.borrow();
            let same = rejected
                .as_ref()
                .filter(|(name, bad)| reference.repository() == *name && bad == found);
            Ok(same.map(|_| "it exited".to_owned()))
        }

        fn may_be_rejected(&self, reference: &Reference) -> bool {
            let rejected = self.rejected.borrow();
            let name = rejected.as_ref().map(|(name, _)| *name);
            name == Some(reference.repository())
        }

        fn is_local(&self, reference: &Reference) -> Result<bool> {
            self.question(reference)?;
            let local = self.local.borrow();
            Ok(local.iter().any(|name| reference.repository() == *name))
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
    fn what_was_not_asked_for_is_looked_up_before_what_failed() {
        let mut lab = Lab::new(FirstSight::Seed);
        let given_up = || Error::GivenUp {
            host: "reg.example".into(),
            reason: "it left 2 look-ups unanswered".into(),
        };
        lab.set("a", Err(trouble()));
        lab.set("b", Err(given_up()));
        lab.tick();
        lab.tick();
        let order = || lab.world.order.borrow().clone();
        assert_eq!(order(), ["reg.example/b:latest", "reg.example/a:latest"]);
        lab.set("b", Err(trouble()));
        lab.set("a", Err(given_up()));
        lab.tick();
        lab.tick();
        assert_eq!(lab.world.order.borrow()[0], "reg.example/a:latest");
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
    fn what_the_engine_does_not_get_is_pulled_ever_less_often() {
        let mut lab = Lab::new(FirstSight::Seed);
        lab.tick();
        lab.set("a", Ok(digest('3')));
        let mut passed = Vec::new();
        for _ in 0..6 {
            lab.verdict(Verdict::Stale("an older one".into()));
            let mut rounds = 0;
            while lab.tick().is_empty() {
                rounds += 1;
                let shown = (Standing::Outdated, Some("an older one".into()));
                assert_eq!(lab.state("a"), shown);
            }
            passed.push(rounds);
        }
        assert_eq!(passed, [0, 0, 2, 4, 8, 12]);
        // What is newer still is not put off.
        lab.set("a", Ok(digest('4')));
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
    fn an_engine_that_hangs_costs_one_deadline_a_round_and_no_reference() {
        for first_sight in [FirstSight::Seed, FirstSight::CatchUp] {
            let mut lab = Lab::new(first_sight);
            *lab.world.names.borrow_mut() = vec!["a", "b", "c", "d"];
            *lab.world.behind.borrow_mut() = true;
            for name in ["c", "d"] {
                lab.set(name, Ok(digest('1')));
            }
            lab.world.hangs.borrow_mut().extend(["a", "b"]);
            for round in 1..=4 {
                lab.tick();
                assert_eq!(lab.world.order.borrow().len(), 4, "all are looked up");
                let questions = lab.world.questions.take();
                let hung = questions
                    .iter()
                    .filter(|name| ["a", "b"].contains(&&***name));
                assert!(hung.count() <= 1, "round {round}: {questions:?}");
            }
            let reached = |name: &str| assert_ne!(lab.state(name).0, Standing::Unknown, "{name}");
            ["c", "d"].into_iter().for_each(reached);
            lab.world.hangs.borrow_mut().clear();
            lab.tick();
            let reached = |name: &str| assert_ne!(lab.state(name).0, Standing::Unknown, "{name}");
            ["a", "b", "c", "d"].into_iter().for_each(reached);
        }
    }

    #[test]
    fn what_was_built_here_stays_so_while_the_engine_hangs() {
        let mut lab = Lab::new(FirstSight::Seed);
        *lab.world.names.borrow_mut() = vec!["a", "b"];
        for name in ["a", "b"] {
            let refused = Error::Refused {
                request: "HEAD".into(),
                status: 404,
                message: "no".into(),
                retry_after: None,
            };
            lab.set(name, Err(refused));
            lab.world.local.borrow_mut().push(name);
        }
        lab.tick();
        lab.world.questions.take();
        lab.world.hangs.borrow_mut().extend(["a", "b"]);
        lab.tick();
        assert_eq!(lab.world.questions.take().len(), 1, "one deadline");
        *lab.world.engine_is_down.borrow_mut() = true;
        lab.tick();
        assert!(lab.world.questions.take().is_empty(), "the list cost one");
        assert!(lab.world.order.borrow().is_empty());
        assert_eq!(lab.state("a").0, Standing::Local);
    }

    #[test]
    fn jitter_is_small_and_never_early() {
        for _ in 0..100 {
            let wait = with_jitter(Duration::from_secs(100));
            assert!(wait >= Duration::from_secs(100) && wait <= Duration::from_secs(105));
        }
    }
}
