//! Updates the containers of a refresh, in the order of their dependencies.

use super::Extent;
use super::Recreate;
use super::Refresher;
use super::find;
use super::managed::Managed;
use super::neighbours::Neighbours;
use super::round::Round;
use super::round::Work;
use super::round::may_be_updated;
use super::round::with_versions;
use super::select::Consent;
use super::select::STOPPED;
use super::side_by_side::Shared;
use crate::engine::Image;
use crate::engine::Summary;
use crate::error::Result;
use crate::error::headline;
use crate::journal::Event;
use crate::journal::Outcome as Told;
use crate::journal::Reasoned;
use crate::journal::Step;
use crate::journal::Verdict;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::Target;
use crate::swap;
use crate::swap::Blame;
use crate::swap::LOCK_NAME;
use crate::swap::Lock;
use crate::swap::Outcome;
use crate::swap::Part;
use crate::swap::in_order;
use std::collections::HashSet;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::PoisonError;

/// The reason not to touch a container whose last swap is half done.
pub(super) const HALF_DONE: &str = "an earlier swap of it is not settled yet";
/// The reason to begin nothing more.
pub(super) const STOPPING: &str = "imagewatch is stopping";

impl Refresher {
    /// Makes the work of one image. An image that was rejected before gets no updates.
    pub(super) fn work_on<'o>(&self, target: &'o Target, image: Image, extent: Extent) -> Work<'o> {
        let tried = self.rejected.other_than(&target.reference, image.id());
        if extent == Extent::Force {
            self.rejected.clear(&target.reference);
        }
        let rejected = self.rejected.reason(&target.reference, image.id());
        Work {
            target,
            image,
            digest: None,
            tagged: None,
            only: None,
            ended: rejected
                .as_ref()
                .map(|reason| format!("this image was rejected: {reason}")),
            verdict: rejected.map_or(Verdict::Done, Verdict::Rejected),
            tried,
        }
    }

    /// Updates every container of these images, one at a time, under the lock. Half-done swaps are recovered
    /// first, and dependencies are updated before their dependents. `before` is the list from before the pulls.
    ///
    /// # Errors
    /// When the containers cannot be listed.
    #[cold]
    pub(super) fn update_all(&self, round: &mut Round, before: Option<Vec<Summary>>) -> Result<()> {
        let mut list = match before {
            Some(list) => list,
            None => self.engine.containers()?,
        };
        let mut managed = self.choose_among(&list, round)?;
        self.find_equal_images(&managed, round);
        if !round.is_any_due(&managed) {
            // Containers may have come during the pulls.
            if !self.list_again(&mut list)? {
                managed = self.choose_among(&list, round)?;
                self.find_equal_images(&managed, round);
            }
        }
        if round.is_any_due(&managed) && !self.may_swap(round) {
            let shared = Shared::new(round, Neighbours::default());
            for one in managed {
                self.update_one(&one, &shared);
            }
            return Ok(());
        }
        let image = self.image_of_lock(&list, &managed, round);
        // A stop of the program waits until the lock is released.
        let pass = image.as_ref().and_then(|_| self.shutdown.enter());
        let mut lock = None;
        match (&image, &pass) {
            (None, _) => {}
            (Some(_), None) => round.put_off(STOPPING),
            (Some(image), Some(_)) => match self.lock(image, &managed, round.on) {
                Ok(held) => {
                    self.look_under_lock(&held, &mut list, &mut managed, round)?;
                    lock = Some(held);
                }
                Err(reason) => {
                    log::warn!("nothing is recreated now: {reason}");
                    round.put_off(&reason);
                }
            },
        }
        round.skip_unreadable();
        let is_wanted = |one: &&Managed| may_be_updated(one) && self.waits_in(round, one).is_none();
        let wanted = managed.iter().filter(is_wanted);
        round.updates = wanted.map(|one| one.container.name().to_owned()).collect();
        let known = managed.iter().map(|one| &one.container);
        let neighbours = Neighbours::new(list, known);
        // A stopped container cannot show that an image comes up, so running containers are first.
        let (stopped, running): (Vec<_>, Vec<_>) = managed
            .into_iter()
            .partition(|one| one.container.is_stopped());
        let mut all = in_order(running, |one| &one.container);
        all.extend(in_order(stopped, |one| &one.container));
        self.update_side_by_side(all, lock, &Shared::new(round, neighbours));
        Ok(())
    }

    /// Lists the containers again. Returns whether they are the same as before.
    fn list_again(&self, list: &mut Vec<Summary>) -> Result<bool> {
        let before = shape_of(&std::mem::take(list));
        *list = self.engine.containers()?;
        Ok(shape_of(list) == before)
    }

    /// Recovers half-done swaps, and looks again at whatever changed before the lock was taken.
    #[cold]
    fn look_under_lock(
        &self,
        held: &Lock,
        list: &mut Vec<Summary>,
        managed: &mut Vec<Managed>,
        round: &mut Round,
    ) -> Result<()> {
        let before = shape_of(list);
        self.list_again(list)?;
        if !swap::is_clean(list) {
            let (acceptance, shutdown) = (self.acceptance, &self.shutdown);
            // Swaps that stay half done are reported by the recovery that tries again later.
            swap::recover_with_lock(&self.engine, list, acceptance, shutdown, held, round.on)?;
            *list = self.engine.containers()?;
        }
        if shape_of(list) != before {
            *managed = self.choose_among(list, round)?;
        }
        self.skip_half_done(list, round)?;
        self.find_equal_images(managed, round);
        Ok(())
    }

    /// Returns the containers that this refresh is about.
    #[cold]
    fn choose_among(&self, list: &[Summary], round: &mut Round) -> Result<Vec<Managed>> {
        if let Some(names) = &round.only {
            return self.selection.named_among(list, names, &self.engine);
        }
        let works = round.works.iter();
        let of: HashSet<&Reference> = works.map(|work| &work.target.reference).collect();
        let (mut managed, mut unreadable) =
            self.selection.managed_among(list, &of, &self.engine)?;
        let is_meant = |reference: &Reference, name: &str| {
            let only = round.work(reference).and_then(|work| work.only.as_ref());
            only.is_none_or(|only| only.iter().any(|one| one == name))
        };
        managed.retain(|one| is_meant(&one.reference, one.container.name()));
        unreadable.retain(|one| is_meant(&one.reference, &one.name));
        round.unreadable = unreadable;
        Ok(managed)
    }

    /// Reports the containers whose swap is still half done. They are not updated, but the next round tries again.
    fn skip_half_done(&self, list: &[Summary], round: &mut Round) -> Result<()> {
        let half_done = swap::half_done(list);
        for (name, reference) in find::in_mid_swap(list, &self.engine)? {
            let is_meant = round.only.as_ref().is_none_or(|only| only.contains(&name));
            let Some(&index) = round.index.get(&reference).filter(|_| is_meant) else {
                continue;
            };
            match list.iter().find(|one| one.name() == name) {
                None => round.report.skipped.push(Reasoned::new(&name, HALF_DONE)),
                Some(holder) if half_done.contains(holder.id()) => {}
                // Another container has taken the name, so only the owner can help.
                Some(_) => continue,
            }
            let verdict = &mut round.works[index].verdict;
            if *verdict == Verdict::Done {
                *verdict = Verdict::Retry(format!("{name}: {HALF_DONE}"));
            }
        }
        Ok(())
    }

    /// Returns the image to make the lock of, or nothing if the lock is not needed.
    fn image_of_lock(
        &self,
        list: &[Summary],
        managed: &[Managed],
        round: &mut Round,
    ) -> Option<Image> {
        let due = managed.iter().find_map(|one| round.image_due(one));
        if due.is_some() || !swap::needs_recovery(list) {
            return due.cloned();
        }
        let work = round.works.first_mut()?;
        self.complete(work);
        work.image.has_settings().then(|| work.image.clone())
    }

    /// Updates one container, or reports why not.
    #[cold]
    pub(super) fn update_one(&self, one: &Managed, shared: &Shared) {
        (shared.on)(&Step::Alive);
        let due = due(one, &mut shared.round());
        let Some((index, image)) = due else {
            return;
        };
        let verdict = self.replace(one, &image, shared);
        let mut round = shared.round();
        let work = &mut round.works[index];
        let so_far = std::mem::replace(&mut work.verdict, Verdict::Done);
        work.verdict = so_far.or_worse(verdict);
    }

    /// Replaces one container, and reports the outcome.
    #[cold]
    fn replace(&self, one: &Managed, image: &Image, shared: &Shared) -> Verdict {
        if self.shutdown.is_closed() {
            let reason = STOPPING.to_owned();
            return (shared.round()).skip_quietly(one, image, reason, Told::Skipped);
        }
        // The window may have closed since the order was given.
        let waits = self.waits_in(&shared.round(), one);
        if let Some(waiting) = waits {
            let (name, reason) = (one.container.name(), waiting.in_words());
            if self.is_news_of(name, &reason) {
                log::info!("{name}: {reason}");
            }
            (shared.round()).skip_quietly(one, image, reason, Told::LeftAlone);
            return Verdict::NotYet(vec![waiting]);
        }
        if self.recreate == Recreate::Remove {
            return self.remove_one(one, image, shared);
        }
        match swap::is_itself(&one.container, &self.engine) {
            Ok(true) => return self.note_itself(one, image, shared),
            Ok(false) => {}
            Err(error) => {
                let reason = error.to_string();
                return (shared.round()).skip(one, image, reason, Told::Skipped);
            }
        }
        match self.swap(one, image, shared) {
            Ok(outcome) => self.report_outcome(one, image, outcome, &mut shared.round()),
            Err(error) => {
                let reason = error.to_string();
                (shared.round()).skip(one, image, reason, Told::Skipped)
            }
        }
    }

    /// Reports the outcome of a swap, and returns the verdict on the image.
    #[cold]
    fn report_outcome(
        &self,
        one: &Managed,
        image: &Image,
        outcome: Outcome,
        round: &mut Round,
    ) -> Verdict {
        let name = one.container.name();
        let part = Part::new(&one.container, image);
        match outcome {
            Outcome::Recreated { .. } => {
                let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
                said.remove(name);
                Verdict::Done
            }
            Outcome::RolledBack { reason, blame, .. } => {
                self.rolled_back(&part, &one.reference, &reason, blame, round);
                let reason = headline(&reason).0.to_owned();
                match blame {
                    Blame::Image => Verdict::Rejected(reason),
                    Blame::Circumstances => Verdict::Later(reason),
                }
            }
            Outcome::Down { reason, .. } => self.report_down(&part, one, &reason, round),
            Outcome::NotBegun { reason } => round.skip(one, image, reason, Told::Skipped),
            Outcome::Waits { reason } => {
                let is_news = self.is_news_of(name, &reason);
                if is_news {
                    log::warn!("left alone container={name}: {reason}");
                }
                round.skip_quietly(one, image, reason.clone(), Told::Skipped);
                Verdict::Waits(reason)
            }
            Outcome::Skipped { reason } => {
                round.skip(one, image, reason, Told::LeftAlone);
                Verdict::Noticed
            }
        }
    }

    /// Ends the updates of an image whose swap left a container down. If only a dependent is down, the container itself
    /// was rolled back.
    fn report_down(&self, part: &Part, one: &Managed, reason: &str, round: &mut Round) -> Verdict {
        let name = part.old.name();
        let mut reported = round.report.rolled_back.iter();
        if !reported.any(|other| other.name == name) {
            self.rolled_back(part, &one.reference, reason, Blame::Circumstances, round);
        }
        // A call may be forbidden now that was allowed at the last try.
        self.permissions.forget();
        if let Some(&index) = round.index.get(&one.reference) {
            round.works[index].ended =
                Some(format!("not tried, because {name} is down after its swap"));
        }
        Verdict::Later(headline(reason).0.to_owned())
    }

    /// Whether the reason to leave a container alone differs from the last one.
    pub fn is_news_of(&self, name: &str, reason: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert(name.to_owned(), reason.to_owned()).as_deref() != Some(reason)
    }
}

/// Returns the image that a container is to be updated to, with the place of its work. If there is none, the reason is
/// reported.
fn due(one: &Managed, round: &mut Round) -> Option<(usize, Image)> {
    let name = one.container.name();
    let &index = round.index.get(&one.reference)?;
    let is_newest = round.is_newest(one, &round.works[index].image);
    // The container may have been recreated already, with a dependency.
    let is_done = round.report.recreated.iter().any(|done| done == name);
    if is_newest && round.extent != Extent::Force {
        if !is_done {
            round.report.unchanged.push(name.to_owned());
        }
        return None;
    }
    if one.stays_stopped {
        // Not worth a message in any round, so only the report shows the container.
        if !is_done {
            round.report.skipped.push(Reasoned::new(name, STOPPED));
        }
        return None;
    }
    let image = round.works[index].image.clone();
    if let Some(reason) = one.left_alone.clone() {
        round.skip(one, &image, reason, Told::LeftAlone);
        return None;
    }
    if one.consent == Consent::Notify {
        let digest = round.works[index].digest.as_ref();
        let newest = digest.map_or(image.id(), Digest::as_str);
        let event = Event::of(Told::Behind, name, &one.reference.to_string());
        let event = with_versions(event.to(newest), round.old_image_of(one), &image);
        round.tell_quietly(event);
        return None;
    }
    if is_done {
        return None;
    }
    if let Some(reason) = round.works[index].ended.clone() {
        round.skip_quietly(one, &image, reason, Told::LeftAlone);
        return None;
    }
    Some((index, image))
}

/// A number that is the same for lists of the same containers in the same states. It saves keeping a second list.
fn shape_of(list: &[Summary]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for one in list.iter().filter(|one| one.name() != LOCK_NAME) {
        [one.id(), one.name(), one.image_id(), one.state()].hash(&mut hasher);
    }
    hasher.finish()
}
