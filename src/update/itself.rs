//! The update of imagewatch's own container, which a helper does.
//!
//! A refresh only notes the update. The helper is started once nothing else is to be done. Its swap stops this process,
//! so the outcome is reported by the process that runs in the container afterwards: the new imagewatch, or the old one.

use super::Refresher;
use super::managed::Managed;
use super::own_outcome::tell;
use super::side_by_side::Shared;
use crate::engine::Container;
use crate::engine::Image;
use crate::error::Result;
use crate::journal::Outcome;
use crate::journal::Step;
use crate::journal::Verdict;
use crate::journal::Waiting;
use crate::logging::debug;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::short;
use crate::swap;
use crate::swap::Attempt;
use crate::swap::Helper;
use crate::swap::Lock;
use crate::swap::OwnUpdate;
use crate::swap::Stage;
use crate::swap::Swap;
use crate::swap::Turn;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// Why a refresh does not update the own container.
const LATER: &str =
    "this is imagewatch itself: imagewatch.helper updates it once nothing else is to be done";
const HAS_DEPENDENTS: &str =
    "this is imagewatch itself, and other containers live in it: recreate all of them by hand";
/// How many looks in a row find a helper that ended in mid-work, until it counts as ended. The Engine starts it again.
const LOOKS: u32 = 10;

/// What the update of the own container needs from the server.
pub struct Server<'a> {
    /// Whether nothing else is to be done.
    pub is_free: &'a dyn Fn() -> bool,
    /// Takes outcomes.
    pub on: &'a dyn Fn(&Step),
    /// Takes a rejection that the helper records, with its reason.
    pub rejected: &'a dyn Fn(&Reference, &str),
}

/// The state of the update of the own container.
#[derive(Debug, Default)]
pub struct Itself {
    /// Only the thread that does refreshes takes it, so that nobody waits while the Engine is asked.
    own: Mutex<Own>,
    /// The name of the own container, from the note of an update to its end.
    noted: Mutex<Option<String>>,
    /// The id of the own container, once it is known.
    id: OnceLock<String>,
    is_under_way: AtomicBool,
}

impl std::fmt::Debug for Server<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server")
    }
}

#[derive(Debug, Default)]
struct Own {
    /// The update that the next look begins.
    pending: Option<OwnUpdate>,
    /// Whether the helper was looked for, and nothing more is to be done.
    is_settled: bool,
    /// Whether this process has reported the outcome of the helper.
    is_told: bool,
    /// The reference whose rejection a helper records.
    recorded: Option<Reference>,
    /// The looks in a row that found the helper ended in mid-work.
    lost: u32,
}

impl Itself {
    /// The id of the own container, once it is known.
    #[must_use]
    pub fn id(&self) -> Option<&String> {
        self.id.get()
    }

    /// Whether a helper is at work. Then a caller's order would be cut short.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.is_under_way.load(Ordering::SeqCst)
    }

    /// Why the update of a container waits, if it is the own one and its update is noted or under way.
    pub(super) fn why_it_waits(&self, name: &str) -> Option<&'static str> {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        (noted.as_deref() == Some(name)).then_some(LATER)
    }

    fn note(&self, name: Option<&str>) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        *noted = name.map(str::to_owned);
    }

    /// Notes whether a helper is at work on the own container.
    fn is_now(&self, under_way: bool, name: &str) {
        self.is_under_way.store(under_way, Ordering::SeqCst);
        self.note(under_way.then_some(name));
    }

    fn lock(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refresher {
    /// Whether an update of this container is noted as the own one.
    pub(super) fn is_own_update(&self, name: &str) -> bool {
        let own = self.itself.lock();
        own.pending.as_ref().is_some_and(|own| own.name == name)
    }

    /// Notes the update of the own container, or reports why there is none.
    #[cold]
    pub(super) fn note_itself(&self, one: &Managed, image: &Image, shared: &Shared) -> Verdict {
        let skip = |reason: &str, why| (shared.round()).skip(one, image, reason.to_owned(), why);
        let name = one.container.name();
        if one.container.image_id() == image.id() {
            shared.round().report.unchanged.push(name.to_owned());
            return Verdict::Done;
        }
        let hindrance = match self.hindrance_of_itself(one, shared) {
            Ok(hindrance) => hindrance,
            Err(error) => return skip(&error.to_string(), Outcome::Skipped),
        };
        if let Some(reason) = hindrance {
            skip(reason, Outcome::LeftAlone);
            return Verdict::Noticed;
        }
        let mut round = shared.round();
        let digest = round
            .work(&one.reference)
            .and_then(|work| work.digest.clone());
        let mut own = self.itself.lock();
        own.is_settled = false;
        own.pending = Some(OwnUpdate {
            name: name.to_owned(),
            from: one.container.image_id().to_owned(),
            to: image.id().to_owned(),
            digest: digest.as_ref().map(Digest::to_string),
            back_by: round.back_by.clone(),
        });
        self.itself.note(Some(name));
        round.skip_quietly(one, image, LATER.to_owned(), Outcome::LeftAlone);
        Verdict::NotYet(vec![Waiting {
            name: name.to_owned(),
            until: None,
            reason: LATER.to_owned(),
            is_ripe: false,
        }])
    }

    fn hindrance_of_itself(&self, one: &Managed, shared: &Shared) -> Result<Option<&'static str>> {
        let own = self.engine.container(one.container.id())?;
        if let Some(reason) = swap::why_itself_stays(&own) {
            return Ok(Some(reason));
        }
        let companions = self.companions(&own, shared)?;
        Ok((!companions.dependents.is_empty()).then_some(HAS_DEPENDENTS))
    }

    /// Begins the update of the own container, or follows the helper that does it. Returns whether to be called again a
    /// moment later.
    #[cold]
    pub fn tend_itself(&self, server: &Server) -> bool {
        let mut own = self.itself.lock();
        let recorded = own.recorded.as_ref();
        let is_outdated = recorded.is_some_and(|reference| !self.rejected.concern(reference));
        if own.is_settled && !is_outdated {
            return false;
        }
        let outcome = self.tend(&mut own, server);
        own.is_settled = match outcome {
            Ok(goes_on) => !goes_on,
            Err(error) => {
                debug(format_args!("the own container: {error}"));
                false
            }
        };
        !own.is_settled
    }

    fn tend(&self, own: &mut Own, server: &Server) -> Result<bool> {
        let Some(container) = swap::own_container(&self.engine)? else {
            own.pending = None;
            self.itself.note(None);
            return Ok(false);
        };
        self.itself.id.get_or_init(|| container.id().to_owned());
        let under_way = |is: bool| self.itself.is_now(is, container.name());
        let Some(helper) = Helper::find(&self.engine)? else {
            return self.begin(own, &container, server);
        };
        let update = &helper.update;
        if update.name != container.name() {
            // Another imagewatch updates itself, or did.
            if own.pending.is_some() && !helper.is_up() {
                helper.remove(&self.engine)?;
            }
            return Ok(own.pending.is_some());
        }
        if container.image_id() == update.to {
            let list = self.engine.containers()?;
            if swap::half_done(&list).contains(container.id()) {
                under_way(true);
                return Ok(true);
            }
            if !std::mem::replace(&mut own.is_told, true) {
                self.tell_done(&container, &helper, server.on);
            }
            if !self.dismiss(&helper, &container)? {
                return Ok(true);
            }
            under_way(false);
            own.pending = None;
            self.keep_replaced(&container);
            return Ok(false);
        }
        if helper.start_if_new(&self.engine)? {
            under_way(true);
            return Ok(true);
        }
        own.lost = if helper.is_up() { 0 } else { own.lost + 1 };
        let has_ended = match helper.stage {
            Stage::AtWork | Stage::PuttingBack => own.lost > LOOKS,
            // The helper waits to be told that its rejection was registered.
            Stage::Rejected | Stage::Reported => true,
            Stage::GivenUp => !helper.is_up(),
        };
        if !has_ended {
            under_way(true);
            return Ok(true);
        }
        under_way(false);
        self.settle(own, &container, &helper, server)?;
        self.begin(own, &container, server)
    }

    /// Removes a helper whose swap is done, and returns whether it did. A helper that was killed meanwhile runs again, and
    /// may hold the lock, which nobody would give back for it.
    fn dismiss(&self, helper: &Helper, container: &Container) -> Result<bool> {
        if !helper.is_up() {
            return helper.remove(&self.engine).map(|()| true);
        }
        let image = self.engine.image(container.image_id())?;
        match Lock::attempt(&self.engine, std::slice::from_ref(&image))? {
            Attempt::Held(_) => Ok(false),
            Attempt::Mine(_lock) => helper.remove(&self.engine).map(|()| true),
        }
    }

    /// Reports the end of a helper after which the own container runs its old image. Keeps the helper only as the record
    /// of a rejection.
    fn settle(
        &self,
        own: &mut Own,
        container: &Container,
        helper: &Helper,
        server: &Server,
    ) -> Result<()> {
        let is_rejected = !matches!(helper.stage, Stage::AtWork | Stage::GivenUp);
        let is_news = helper.stage != Stage::Reported;
        let is_told = std::mem::replace(&mut own.is_told, true);
        let reference: Option<Reference> = container.image_name().parse().ok();
        if !is_told {
            self.tell_failed(container, helper, is_rejected, is_news, server);
        }
        let is_over = reference
            .as_ref()
            .is_some_and(|one| !self.rejected.concern(one));
        if is_rejected && own.pending.is_none() && !is_over {
            if is_news {
                helper.note(&self.engine, Stage::Reported)?;
            }
            own.recorded = reference;
            return Ok(());
        }
        helper.remove(&self.engine)?;
        own.recorded = None;
        own.is_told = false;
        if !is_rejected {
            own.pending = None;
        }
        Ok(())
    }

    /// Starts the helper of the update that is noted, if there is one.
    fn begin(&self, own: &mut Own, container: &Container, server: &Server) -> Result<bool> {
        let under_way = |is: bool| self.itself.is_now(is, container.name());
        let is_its = |update: &OwnUpdate| {
            update.name == container.name() && update.from == container.image_id()
        };
        let Some(update) = own.pending.clone().filter(is_its) else {
            own.pending = None;
            under_way(false);
            return Ok(false);
        };
        // From here on, callers are asked to come back later.
        under_way(true);
        if !(server.is_free)() {
            self.itself.is_under_way.store(false, Ordering::SeqCst);
            return Ok(true);
        }
        self.history.save();
        (own.pending, own.is_told, own.lost) = (None, false, 0);
        let Err(error) = self.start_helper(container, &update) else {
            log::info!(
                "{}: updating itself from {} to {} by imagewatch.helper",
                update.name,
                short(&update.from),
                short(&update.to)
            );
            return Ok(true);
        };
        under_way(false);
        let event = self.event(container, &update, Outcome::Skipped);
        tell(event.because(&error.to_string()), server.on);
        Ok(false)
    }

    /// Starts the helper of a noted update at once, for a command that ends with its refresh. Returns whether it did.
    ///
    /// # Errors
    /// When the Engine refuses.
    #[cold]
    pub fn hand_over_itself(&self) -> Result<bool> {
        let mut own = self.itself.lock();
        let Some(update) = own.pending.take() else {
            return Ok(false);
        };
        let Some(container) = swap::own_container(&self.engine)? else {
            return Ok(false);
        };
        if let Some(helper) = Helper::find(&self.engine)?.filter(|helper| !helper.is_up()) {
            helper.remove(&self.engine)?;
        }
        self.start_helper(&container, &update).map(|()| true)
    }

    fn start_helper(&self, container: &Container, update: &OwnUpdate) -> Result<()> {
        let turn = Turn::alone();
        let swap = Swap {
            phase: &|_, _| {},
            failed: &|_| {},
            accepted: &|_| {},
            engine: &self.engine,
            shutdown: &self.shutdown,
            about: &self.engine.about()?,
            acceptance: self.acceptance,
            platform: None,
            images: &[],
            turn: &turn,
            fetch: &|_, _| Ok(()),
        };
        swap.start_helper(container, update)
    }
}
