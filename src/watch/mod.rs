//! The watcher: remembers the digest of each reference, and begins a refresh when a tag moves.
//!
//! This room has no I/O and no clock. [`Backend`] does the I/O, and the caller of [`Watcher::tick`] has the clock.

mod complaint;
mod followed;
mod put_off;
mod round;
mod schedule;
mod under_way;
mod waiting;

pub use schedule::Schedule;
pub use schedule::in_order;
pub use schedule::random;

use crate::error::Error;
use crate::error::Result;
use crate::journal::Board;
use crate::journal::Survey;
use crate::journal::Verdict;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::Target;
use crate::update::Permit;
use crate::update::Seen;
use crate::update::summary;
use complaint::Complaint;
use followed::Followed;
use round::Round;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

/// The I/O of the watcher: questions to the Engine and the registries, and orders for refreshes.
pub trait Backend {
    /// Returns the references to watch now, and the managed containers.
    ///
    /// # Errors
    /// When the Engine does not answer.
    fn look(&self) -> Result<(Vec<Target>, Vec<Seen>)>;

    /// Looks up all references. Calls `sink` with each result as soon as it is known.
    fn look_up(&self, references: &[Reference], sink: &mut dyn FnMut(&Reference, Result<Digest>));

    /// Compares `digest` with the local image, and with the containers made from `reference`.
    ///
    /// # Errors
    /// When the Engine does not answer.
    fn survey(&self, reference: &Reference, digest: &Digest, seen: &[Seen]) -> Result<Survey>;

    /// Whether the swap of a container made from `reference` is half done, so that its containers may change.
    fn is_in_mid_swap(&self, reference: &Reference) -> bool;

    /// Whether any image of the reference is rejected. The Engine is not asked.
    fn may_be_rejected(&self, reference: &Reference) -> bool;

    /// Whether `digest` ran here and was replaced within the last day.
    fn was_replaced(&self, reference: &Reference, digest: &Digest) -> bool;

    /// Whether the image was built here, or comes from no registry for another reason.
    ///
    /// # Errors
    /// When the Engine does not answer.
    fn is_local(&self, reference: &Reference) -> Result<bool>;

    /// Asks the policy which of these containers may be updated to `digest` now.
    fn permit(&self, target: &Target, digest: &Digest, seen: &[Seen]) -> Permit;

    /// Returns the verdict on an image that may not be pulled, because a signature is missing or not known.
    fn verify(&self, target: &Target, digest: &Digest, seen: &[Seen]) -> Option<Verdict> {
        let _ = (target, digest, seen);
        None
    }

    /// Whether this look catches up whatever the configuration says, because the process before this one left updates to it.
    fn catches_up(&self) -> bool {
        false
    }

    /// Does what is left to do after the look-ups and refreshes of a round.
    fn end_round(&self) {}

    /// Orders that the image is fetched ahead of its window, if the owner wants that. No tag and no container changes.
    fn fetch(&self, target: &Target, digest: &Digest) {
        let _ = (target, digest);
    }

    /// Orders a refresh of all containers of the image, or of `only` some. Does not wait for the end.
    fn refresh(&self, target: &Target, digest: &Digest, only: Option<Vec<String>>) -> Pending;
}

/// A refresh that was ordered. The call waits until its result is on the board, and returns the verdict, or the
/// reason why there is none.
pub type Pending = Box<dyn FnOnce() -> std::result::Result<Verdict, String>>;

/// The watcher's way to treat a reference that it sees for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstSight {
    /// Only remember the digest.
    Seed,
    /// Also update the containers that are behind already.
    CatchUp,
}

/// Watches a set of references. The board holds the digest of each reference that needs nothing more.
#[derive(Debug)]
pub struct Watcher<H> {
    backend: H,
    first_sight: FirstSight,
    board: Arc<Board>,
    /// One record for each watched reference, in the order of their look-ups.
    followed: Vec<Followed>,
    /// The last complaint about an Engine that does not list its containers.
    complaint: Complaint,
    /// Whether the Engine has listed its containers yet.
    has_looked: bool,
}

impl<H: Backend> Watcher<H> {
    /// Makes a watcher, which watches `targets` until [`Backend::look`] returns others.
    pub fn new(
        backend: H,
        first_sight: FirstSight,
        board: Arc<Board>,
        targets: Vec<Target>,
    ) -> Self {
        Self {
            backend,
            first_sight,
            board,
            followed: targets.into_iter().map(Followed::new).collect(),
            complaint: Complaint::default(),
            has_looked: false,
        }
    }

    /// Does one round: looks up every reference, and begins a refresh for each tag that moved.
    pub fn tick(&mut self) {
        self.look_at(&[]);
    }

    /// Does one round, or between two rounds looks up some repositories. That makes no wait shorter that is counted in
    /// rounds. No repository stands for a whole round.
    pub fn look_at(&mut self, pushed: &[String]) {
        let is_partial = !pushed.is_empty();
        if is_partial {
            self.board.hook_started();
        } else {
            self.board.round_started();
        }
        let trouble = self.look();
        if trouble.is_none() {
            let followed = self.followed.iter();
            self.board
                .keep_only(followed.map(|one| &one.target.reference));
        }
        let is_first =
            !is_partial && trouble.is_none() && !std::mem::replace(&mut self.has_looked, true);
        self.board
            .watch(self.followed.iter().map(|one| &one.target));
        let mut round = Round {
            backend: &self.backend,
            first_sight: self.first_sight,
            board: &self.board,
            trouble,
            behind: Vec::new(),
            unknown: Vec::new(),
            under_way: Vec::new(),
            is_partial,
        };
        round.check_local(&mut self.followed);
        let mut references = order_of_look_ups(&self.followed);
        references.retain(|reference| !is_partial || pushed.contains(&reference.name()));
        let images = self.followed.len();
        let containers = self.followed.iter().flat_map(|one| &one.containers);
        let containers = containers.filter(|one| one.is_watched()).count();
        let followed = self.followed.iter_mut();
        let mut followed: HashMap<Reference, &mut Followed> = followed
            .map(|one| (one.target.reference.clone(), one))
            .collect();
        // Each reference is handled once. Its record may wait for a refresh until the end of the round.
        let mut late = Vec::new();
        self.backend.look_up(
            &references,
            &mut |reference, outcome| match followed.remove(reference) {
                Some(one) if one.is_unanswered => late.push((one, outcome)),
                Some(one) => round.handle(one, outcome),
                None => {}
            },
        );
        for (one, outcome) in late {
            round.handle(one, outcome);
        }
        if is_first {
            let summary = summary(containers, images, &round.behind, &round.unknown);
            log::info!("{summary}");
        }
        round.wait_for_refreshes();
        self.backend.end_round();
    }

    /// Asks the Engine for the references and the containers. Without an answer, the last ones stay.
    fn look(&mut self) -> Option<Error> {
        match self.backend.look() {
            Ok((targets, seen)) => {
                self.complaint.end();
                self.follow(targets, seen);
                None
            }
            Err(error) => {
                self.complaint.complain(&error);
                Some(error)
            }
        }
    }

    /// Brings the records up to date. Forgets all other references: one that comes back later counts as new.
    fn follow(&mut self, targets: Vec<Target>, seen: Vec<Seen>) {
        let known = std::mem::take(&mut self.followed);
        let ran: HashSet<String> = known.iter().flat_map(Followed::running).cloned().collect();
        let ran = self.has_looked.then_some(&ran);
        let known = known.into_iter();
        let mut known: HashMap<Reference, Followed> = known
            .map(|one| (one.target.reference.clone(), one))
            .collect();
        let mut containers: HashMap<Reference, Vec<Seen>> = HashMap::new();
        for one in seen {
            if let Ok(reference) = &one.made_from {
                containers.entry(reference.clone()).or_default().push(one);
            }
        }
        for target in targets {
            let now = containers.remove(&target.reference).unwrap_or_default();
            let mut one = match known.remove(&target.reference) {
                Some(one) => Followed { target, ..one },
                None => Followed::new(target),
            };
            one.look(now, ran);
            self.followed.push(one);
        }
    }
}

/// Returns the references in the order of their look-ups.
fn order_of_look_ups(followed: &[Followed]) -> Vec<Reference> {
    let looked_up = followed.iter().filter(|one| !one.is_local);
    let order = in_order(looked_up, |one| one.is_failing);
    let references = order.into_iter().map(|one| &one.target.reference);
    references.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Behind;
    use crate::journal::Found;
    use crate::journal::Sightings;
    use crate::journal::Standing;
    use crate::journal::Versions;
    use crate::journal::Waiting;
    use crate::policy::OwnRules;
    use crate::update::Consent;
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    /// A fake registry and a fake Engine.
    #[derive(Default)]
    struct World {
        digests: RefCell<HashMap<String, Result<Digest>>>,
        verdicts: RefCell<VecDeque<Verdict>>,
        refreshed: RefCell<Vec<String>>,
        behind: RefCell<bool>,
        /// Containers: name, id, whether the container runs, and its consent.
        containers: RefCell<Vec<(&'static str, &'static str, bool, Consent)>>,
        /// The containers that run another image than the one here.
        old: RefCell<Vec<&'static str>>,
        replaced: RefCell<Vec<Digest>>,
        board: RefCell<Option<Arc<Board>>>,
        in_mid_swap: RefCell<bool>,
        /// A rejection of an earlier process.
        rejected: RefCell<Option<(&'static str, Digest)>>,
        /// Repositories whose images were built here.
        local: RefCell<Vec<&'static str>>,
        names: RefCell<Vec<&'static str>>,
        order: RefCell<Vec<String>>,
        engine_is_down: RefCell<bool>,
        /// Repositories about which the Engine leaves every question unanswered.
        hangs: RefCell<Vec<&'static str>>,
        /// Containers and images whose time has not come.
        waits: RefCell<Vec<&'static str>>,
        /// The digests that the policy was asked about.
        asked: RefCell<Vec<Digest>>,
        /// Repositories that the Engine was asked about.
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

    impl Backend for Rc<World> {
        fn look(&self) -> Result<(Vec<Target>, Vec<Seen>)> {
            if *self.engine_is_down.borrow() {
                return Err(trouble());
            }
            let names = self.names.borrow();
            let seen = |&(name, id, is_running, consent): &(&str, &str, bool, Consent)| Seen {
                id: id.to_owned(),
                name: name.to_owned(),
                image_name: String::new(),
                image_id: String::new(),
                state: if is_running { "running" } else { "exited" }.to_owned(),
                group: None,
                consent,
                rules: OwnRules::default(),
                stays_stopped: !is_running,
                newer: None,
                has_lost_tag: false,
                made_from: Ok(target(&name[..1]).reference),
                service: None,
            };
            let seen = self.containers.borrow().iter().map(seen).collect();
            Ok((names.iter().map(|name| target(name)).collect(), seen))
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

        fn survey(&self, reference: &Reference, found: &Digest, seen: &[Seen]) -> Result<Survey> {
            self.question(reference)?;
            let rejected = self.rejected.borrow();
            let rejected = rejected
                .as_ref()
                .is_some_and(|(name, bad)| reference.repository() == *name && bad == found);
            let old = self.old.borrow();
            let behind: Vec<Behind> = seen
                .iter()
                .filter(|one| one.made_from.as_ref() == Ok(reference))
                .filter(|one| *self.behind.borrow() || old.contains(&&*one.name))
                .map(|one| Behind {
                    name: one.name.clone(),
                    consent: one.consent,
                    is_older_than_here: old.contains(&&*one.name),
                    is_service: false,
                })
                .collect();
            let is_behind = *self.behind.borrow() || !behind.is_empty();
            Ok(Survey {
                standing: match (rejected, is_behind) {
                    (true, _) => Standing::Rejected,
                    (_, true) => Standing::Outdated,
                    _ => Standing::Current,
                },
                rejection: rejected.then(|| "it exited".to_owned()),
                is_pulled: !*self.behind.borrow(),
                behind,
                judged: Vec::new(),
                versions: Versions::default(),
            })
        }

        fn is_in_mid_swap(&self, _: &Reference) -> bool {
            *self.in_mid_swap.borrow()
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

        fn was_replaced(&self, _: &Reference, digest: &Digest) -> bool {
            self.replaced.borrow().contains(digest)
        }

        fn permit(&self, target: &Target, digest: &Digest, seen: &[Seen]) -> Permit {
            let mut permit = Permit::default();
            let waits = self.waits.borrow();
            let is_of_it = |one: &&Seen| one.made_from.as_ref() == Ok(&target.reference);
            for one in seen.iter().filter(is_of_it) {
                if waits.contains(&&*one.name) {
                    permit.waiting.push(waiting_one(&one.name));
                } else {
                    permit.now.push(one.name.clone());
                }
            }
            if waits.contains(&&*target.name) {
                permit.waiting.push(waiting_one(&target.name));
            }
            self.asked.borrow_mut().push(digest.clone());
            permit
        }

        fn refresh(&self, target: &Target, digest: &Digest, only: Option<Vec<String>>) -> Pending {
            let mut name = target.name.clone();
            if let Some(only) = &only {
                name = format!("{name}: {}", only.join(" "));
            }
            self.refreshed.borrow_mut().push(name);
            let verdict = self.verdicts.borrow_mut().pop_front();
            let verdict = verdict.unwrap_or(Verdict::Done);
            let found = Found {
                digest: digest.clone(),
                survey: None,
                is_of_all: only.is_none(),
            };
            let board = self.board.borrow().clone().expect("a board");
            let target = target.clone();
            Box::new(move || {
                board.apply(&target, &verdict, Some(&found));
                Ok(verdict)
            })
        }
    }

    fn waiting_one(name: &str) -> Waiting {
        Waiting {
            is_ripe: false,
            name: name.to_owned(),
            until: Some(std::time::UNIX_EPOCH),
            reason: "for its window".to_owned(),
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
        Error::unreachable("HEAD x", "no answer in time")
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
            *world.board.borrow_mut() = Some(Arc::clone(&board));
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

        /// Does one round, and returns the refreshes that the round ordered.
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
        let refused = Error::refused("HEAD a", 404, "no", None);
        lab.set("a", Err(refused));
        lab.world.local.borrow_mut().push("a");
        lab.tick();
        assert_eq!(lab.state("a"), (Standing::Local, None));
        lab.tick();
        assert_eq!(*lab.world.order.borrow(), ["reg.example/b:latest"]);
        // The image was pulled from a registry meanwhile.
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
        let given_up = || Error::given_up("reg.example", "it left 2 look-ups unanswered");
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
    fn a_tag_that_is_back_before_its_refresh_worked_is_current_again() {
        for verdict in [Verdict::Stale, Verdict::Later, Verdict::Retry] {
            let mut lab = Lab::new(FirstSight::Seed);
            lab.tick();
            lab.set("a", Ok(digest('3')));
            lab.verdict(verdict("not yet".into()));
            assert_eq!(lab.tick(), ["a"]);
            lab.set("a", Ok(digest('1')));
            assert!(lab.tick().is_empty());
            assert_eq!(lab.state("a"), (Standing::Current, None));
        }
    }

    #[test]
    fn what_the_engine_does_not_get_is_pulled_ever_less_often() {
        for verdict in [Verdict::Stale, Verdict::Later, Verdict::Waits] {
            is_tried_ever_less_often(verdict);
        }
    }

    fn is_tried_ever_less_often(verdict: fn(String) -> Verdict) {
        let mut lab = Lab::new(FirstSight::Seed);
        lab.tick();
        lab.set("a", Ok(digest('3')));
        let mut passed = Vec::new();
        for _ in 0..6 {
            lab.verdict(verdict("an older one".into()));
            let mut rounds = 0;
            while lab.tick().is_empty() {
                rounds += 1;
                let shown = (Standing::Outdated, Some("an older one".into()));
                assert_eq!(lab.state("a"), shown);
            }
            passed.push(rounds);
        }
        assert_eq!(passed, [0, 0, 2, 4, 8, 12]);
        // A still newer image is not put off.
        lab.set("a", Ok(digest('4')));
        assert_eq!(lab.tick(), ["a"]);
        assert_eq!(lab.state("a"), (Standing::Current, None));
        assert!(lab.tick().is_empty());
    }

    #[test]
    fn a_tag_that_goes_back_is_followed_once_it_stays() {
        let mut lab = Lab::new(FirstSight::Seed);
        lab.world
            .replaced
            .borrow_mut()
            .extend([digest('1'), digest('3')]);
        lab.tick();
        lab.set("a", Ok(digest('5')));
        assert_eq!(lab.tick(), ["a"], "it never ran here");
        for (to, rounds) in [('1', 1), ('3', 2), ('1', 4)] {
            lab.set("a", Ok(digest(to)));
            for _ in 0..rounds {
                assert!(lab.tick().is_empty());
                let (standing, reason) = lab.state("a");
                assert_eq!(standing, Standing::Outdated);
                assert!(
                    reason
                        .expect("a reason")
                        .starts_with("the tag went back to sha256:")
                );
            }
            lab.verdict(Verdict::Retry("pull: no".into()));
            assert_eq!(lab.tick(), ["a"]);
            assert_eq!(lab.tick(), ["a"], "what failed is tried again");
            assert_eq!(lab.state("a"), (Standing::Current, None));
        }
        // Two copies of a registry take turns.
        for to in ['3', '1'].into_iter().cycle().take(50) {
            lab.set("a", Ok(digest(to)));
            assert!(lab.tick().is_empty());
        }
        assert_eq!(lab.state("a"), (Standing::Current, None));
        lab.set("a", Ok(digest('7')));
        assert_eq!(lab.tick(), ["a"]);
    }

    #[test]
    fn catching_up_does_not_follow_a_tag_back_at_once_either() {
        let mut lab = Lab::new(FirstSight::CatchUp);
        *lab.world.names.borrow_mut() = vec!["a"];
        *lab.world.behind.borrow_mut() = true;
        lab.world.replaced.borrow_mut().push(digest('1'));
        assert!(lab.tick().is_empty());
        assert_eq!(lab.tick(), ["a"]);
        assert!(lab.tick().is_empty());
    }

    #[test]
    fn what_starts_with_an_older_image_than_the_one_here_is_renewed() {
        let mut lab = Lab::new(FirstSight::Seed);
        let runs = |lab: &Lab, all: &[(&'static str, &'static str, bool, Consent)]| {
            *lab.world.containers.borrow_mut() = all.to_vec();
        };
        let old = ("a-old", "1", true, Consent::Update);
        let stopped = ("a-stopped", "2", false, Consent::Update);
        runs(&lab, &[old, stopped]);
        lab.world
            .old
            .borrow_mut()
            .extend(["a-old", "a-stopped", "a-new"]);
        assert!(lab.tick().is_empty(), "the first look changes nothing");
        assert_eq!(lab.state("a").0, Standing::Outdated);
        assert!(lab.tick().is_empty());
        let started = ("a-stopped", "2", true, Consent::Update);
        runs(&lab, &[old, started]);
        lab.verdict(Verdict::Retry("pull: no".into()));
        assert_eq!(lab.tick(), ["a: a-stopped"]);
        assert_eq!(lab.tick(), ["a: a-stopped"], "what failed is tried again");
        assert!(lab.tick().is_empty());
        // If each try may cost an outage, tries become less frequent.
        runs(&lab, &[old, ("a-stopped", "2b", true, Consent::Update)]);
        for _ in 0..3 {
            lab.verdict(Verdict::Later("no address".into()));
        }
        let tries: Vec<bool> = (0..9).map(|_| !lab.tick().is_empty()).collect();
        let (yes, no) = (true, false);
        assert_eq!(tries, [yes, yes, no, no, yes, no, no, no, no]);
        assert_eq!(lab.tick(), ["a: a-stopped"]);
        assert!(lab.tick().is_empty());
        let started = ("a-stopped", "2b", true, Consent::Update);
        let new = ("a-new", "3", true, Consent::Update);
        runs(&lab, &[old, new, started]);
        assert_eq!(lab.tick(), ["a: a-new"]);
        assert!(lab.tick().is_empty());
        // The same name on another image, and one that is as new as it should be.
        runs(
            &lab,
            &[
                ("a-new", "4", true, Consent::Update),
                ("a-up", "5", true, Consent::Update),
            ],
        );
        assert_eq!(lab.tick(), ["a: a-new"]);
        // A rejected image is not tried for a container that started.
        *lab.world.rejected.borrow_mut() = Some(("a", digest('1')));
        lab.world.old.borrow_mut().push("a-late");
        runs(&lab, &[("a-late", "6", true, Consent::Update)]);
        assert!(lab.tick().is_empty());
        assert_eq!(lab.state("a").0, Standing::Rejected);
    }

    #[test]
    fn what_was_down_only_while_its_image_was_refreshed_is_renewed() {
        let mut lab = Lab::new(FirstSight::Seed);
        let running = ("a-1", "1", true, Consent::Update);
        *lab.world.containers.borrow_mut() = vec![running];
        lab.tick();
        lab.set("a", Ok(digest('3')));
        assert_eq!(lab.tick(), ["a"]);
        // Between two looks, the container was stopped, passed over, and started again.
        lab.world.old.borrow_mut().push("a-1");
        assert_eq!(lab.tick(), ["a: a-1"]);
        // The update is tried once, whatever its result.
        assert!(lab.tick().is_empty());
    }

    #[test]
    fn whoever_only_wants_to_know_is_told_at_the_first_look() {
        let mut lab = Lab::new(FirstSight::Seed);
        *lab.world.behind.borrow_mut() = true;
        *lab.world.containers.borrow_mut() = vec![
            ("a-told", "1", true, Consent::Notify),
            ("a-left", "2", true, Consent::Update),
        ];
        lab.verdict(Verdict::Retry("container list: no".into()));
        assert_eq!(lab.tick(), ["a: a-told"]);
        lab.verdict(Verdict::Noticed);
        assert_eq!(lab.tick(), ["a: a-told"], "it was not told yet");
        assert!(lab.tick().is_empty());
        assert_eq!(lab.state("a"), (Standing::Outdated, None));
    }

    #[test]
    fn what_was_refreshed_by_hand_is_not_refreshed_again() {
        let mut lab = Lab::new(FirstSight::Seed);
        lab.tick();
        let found = Found {
            digest: digest('3'),
            survey: None,
            is_of_all: true,
        };
        let target = target("a");
        for (verdict, is_done) in [
            (Verdict::Retry("pull: no".into()), false),
            (Verdict::Done, true),
            (Verdict::Rejected("it exited".into()), true),
        ] {
            lab.set("a", Ok(digest('1')));
            lab.tick();
            lab.board.apply(&target, &verdict, Some(&found));
            let entry = lab.board.snapshot().references.remove(0);
            assert_eq!(entry.registry_digest, Some(digest('3').to_string()));
            lab.set("a", Ok(digest('3')));
            assert_eq!(lab.tick().is_empty(), is_done, "{verdict:?}");
        }
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
            lab.watcher.followed = vec![Followed::new(target("a"))];
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
            lab.watcher.followed = vec![Followed::new(target("a"))];
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

    /// The containers `a1` and `a2`, made from `a`.
    fn two_containers(lab: &Lab) {
        *lab.world.containers.borrow_mut() = vec![
            ("a1", "1", true, Consent::Update),
            ("a2", "2", true, Consent::Update),
        ];
    }

    #[test]
    fn nothing_is_ordered_before_its_time() {
        let mut lab = Lab::new(FirstSight::Seed);
        two_containers(&lab);
        lab.tick();
        lab.set("a", Ok(digest('3')));
        lab.world.waits.borrow_mut().extend(["a1", "a2"]);
        *lab.world.behind.borrow_mut() = true;
        for _ in 0..3 {
            assert!(lab.tick().is_empty());
            assert_eq!(lab.state("a"), (Standing::Waiting, None));
        }
        let waiting = lab.board.snapshot().references[0].waiting.clone();
        assert_eq!(waiting, [waiting_one("a1"), waiting_one("a2")]);
        // One survey is enough while nothing changes.
        let questions = lab.world.questions.take();
        assert_eq!(questions.iter().filter(|name| *name == "a").count(), 2);
        lab.world.waits.borrow_mut().clear();
        *lab.world.behind.borrow_mut() = false;
        assert_eq!(lab.tick(), ["a"]);
        assert_eq!(lab.state("a").0, Standing::Current);
        assert_eq!(lab.board.snapshot().references[0].waiting, []);
        assert!(lab.tick().is_empty());
    }

    #[test]
    fn the_others_do_not_wait() {
        let mut lab = Lab::new(FirstSight::Seed);
        two_containers(&lab);
        lab.tick();
        lab.set("a", Ok(digest('3')));
        lab.world.waits.borrow_mut().push("a2");
        *lab.world.behind.borrow_mut() = true;
        lab.verdict(Verdict::Retry("no".to_owned()));
        assert_eq!(lab.tick(), ["a: a1"]);
        assert_eq!(lab.tick(), ["a: a1"], "it failed");
        assert!(lab.tick().is_empty(), "it is done");
        assert_eq!(lab.state("a").0, Standing::Waiting);
        lab.world.waits.borrow_mut().clear();
        assert_eq!(lab.tick(), ["a"]);
        assert!(lab.tick().is_empty());
    }

    #[test]
    fn a_wait_ends_when_the_tag_goes_back_or_on() {
        let mut lab = Lab::new(FirstSight::Seed);
        two_containers(&lab);
        lab.tick();
        lab.set("a", Ok(digest('3')));
        lab.world.waits.borrow_mut().extend(["a1", "a2"]);
        *lab.world.behind.borrow_mut() = true;
        lab.tick();
        lab.set("a", Ok(digest('4')));
        assert!(lab.tick().is_empty());
        assert_eq!(lab.world.asked.borrow().last(), Some(&digest('4')));
        lab.set("a", Ok(digest('1')));
        *lab.world.behind.borrow_mut() = false;
        assert!(lab.tick().is_empty());
        assert_eq!(lab.state("a").0, Standing::Current);
        assert_eq!(lab.board.snapshot().references[0].waiting, []);
    }

    #[test]
    fn a_wait_is_over_if_the_owner_updates_by_hand() {
        let mut lab = Lab::new(FirstSight::Seed);
        two_containers(&lab);
        lab.tick();
        lab.set("a", Ok(digest('3')));
        lab.world.waits.borrow_mut().extend(["a1", "a2"]);
        *lab.world.behind.borrow_mut() = true;
        lab.tick();
        *lab.world.behind.borrow_mut() = false;
        lab.world.containers.borrow_mut()[0].1 = "3";
        lab.tick();
        assert_eq!(lab.state("a").0, Standing::Current);
        let seen = lab.board.seen(&target("a").reference);
        assert_eq!(seen, Some(digest('3').to_string()));
    }

    #[test]
    fn an_image_without_containers_waits_too() {
        let mut lab = Lab::new(FirstSight::Seed);
        lab.tick();
        lab.set("a", Ok(digest('3')));
        lab.world.waits.borrow_mut().push("a");
        *lab.world.behind.borrow_mut() = true;
        assert!(lab.tick().is_empty());
        assert_eq!(lab.state("a").0, Standing::Waiting);
        lab.world.waits.borrow_mut().clear();
        assert_eq!(lab.tick(), ["a"]);
    }

    #[test]
    fn catching_up_waits_too() {
        let mut lab = Lab::new(FirstSight::CatchUp);
        two_containers(&lab);
        lab.world.waits.borrow_mut().extend(["a1", "a2"]);
        *lab.world.behind.borrow_mut() = true;
        assert_eq!(lab.tick(), ["b"]);
        assert_eq!(lab.state("a").0, Standing::Waiting);
        assert!(lab.tick().is_empty());
        lab.world.waits.borrow_mut().clear();
        assert_eq!(lab.tick(), ["a"]);
    }

    #[test]
    fn a_container_that_started_with_an_older_image_waits_too() {
        let mut lab = Lab::new(FirstSight::Seed);
        two_containers(&lab);
        lab.tick();
        lab.world.waits.borrow_mut().push("a1");
        lab.world.containers.borrow_mut()[0].1 = "3";
        lab.world.old.borrow_mut().push("a1");
        for _ in 0..2 {
            assert!(lab.tick().is_empty());
            assert_eq!(lab.state("a").0, Standing::Waiting);
        }
        lab.world.waits.borrow_mut().clear();
        assert_eq!(lab.tick(), ["a: a1"]);
    }

    #[test]
    fn a_tag_that_moved_while_nobody_looked_is_followed() {
        let mut lab = Lab::new(FirstSight::Seed);
        let (a, b) = (target("a").reference, target("b").reference);
        let sightings = Arc::new(Sightings::default());
        let now = std::time::UNIX_EPOCH;
        sightings.see(&a, &digest('1'), now);
        sightings.settle(&a.to_string(), digest('1').as_str());
        sightings.see(&b, &digest('2'), now);
        sightings.settle(&b.to_string(), digest('2').as_str());
        let board = Arc::new(Board::with(Arc::clone(&sightings)));
        *lab.world.board.borrow_mut() = Some(Arc::clone(&board));
        lab.board = Arc::clone(&board);
        lab.watcher.board = board;
        *lab.world.containers.borrow_mut() = vec![("b1", "1", true, Consent::Notify)];
        lab.world.old.borrow_mut().push("b1");
        lab.set("a", Ok(digest('3')));
        *lab.world.engine_is_down.borrow_mut() = true;
        assert_eq!(lab.tick(), [""; 0]);
        *lab.world.engine_is_down.borrow_mut() = false;
        // Whoever is behind is told, as at each start.
        assert_eq!(lab.tick(), ["a", "b: b1"]);
        assert_eq!(
            sightings.settled(&a.to_string()),
            Some(digest('3').to_string())
        );
        assert!(lab.tick().is_empty());
    }

    #[test]
    fn what_was_built_here_stays_so_while_the_engine_hangs() {
        let mut lab = Lab::new(FirstSight::Seed);
        *lab.world.names.borrow_mut() = vec!["a", "b"];
        for name in ["a", "b"] {
            let refused = Error::refused("HEAD", 404, "no", None);
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
}
