//! Replaces one container of a refresh, together with its dependents.

use super::Refresher;
use super::lifecycle;
use super::managed::Managed;
use super::neighbours::FRESH;
use super::round::Round;
use super::round::with_versions;
use super::side_by_side::Shared;
use super::stopped::lost_by;
use crate::engine::Container;
use crate::engine::Image;
use crate::engine::Removal;
use crate::error::Result;
use crate::error::headline;
use crate::journal::Event;
use crate::journal::Outcome as Told;
use crate::journal::Reasoned;
use crate::journal::Step;
use crate::journal::Verdict;
use crate::reference::Reference;
use crate::swap;
use crate::swap::Blame;
use crate::swap::Join;
use crate::swap::Outcome;
use crate::swap::Part;
use crate::swap::Swap;
use crate::swap::Turn;
use std::cell::RefCell;
use std::time::Duration;

impl Refresher {
    /// Reports that a container was rolled back. If the image is at fault, its other containers are not updated.
    #[cold]
    pub(super) fn rolled_back(
        &self,
        part: &Part,
        reference: &Reference,
        reason: &str,
        blame: Blame,
        round: &mut Round,
    ) {
        let (name, image) = (part.old.name(), part.image.id());
        let why = headline(reason).0;
        // Added before the event is sent, so that a listener of the event finds the rejection too.
        if blame == Blame::Image {
            let digest = round.work(reference).and_then(|work| work.digest.as_ref());
            self.rejected.add(reference, image, digest, why);
        }
        let event = Event::of(Told::RolledBack, name, &reference.to_string());
        let event = event.from_to(part.old.image_id(), image).because(reason);
        let old = round.old_image(part.old.image_id());
        round.tell(with_versions(event, old, part.image));
        let index = round.index.get(reference).copied();
        if let Some(index) = index.filter(|_| blame == Blame::Image) {
            round.works[index].ended = Some(format!("not tried, because {name} was rolled back"));
        }
    }

    /// Reports a dependent that did not come up with a newer image of its own. That image is at fault, so the
    /// provider gets another try without the newer image of the dependent.
    fn dependent_rolled_back(
        &self,
        dependent: &Part,
        reason: &str,
        round: &mut Round,
    ) -> Option<Outcome> {
        let reference: Reference = dependent.old.image_name().parse().ok()?;
        let index = *round.index.get(&reference)?;
        self.rolled_back(dependent, &reference, reason, Blame::Image, round);
        let name = dependent.old.name();
        round.works[index].verdict = Verdict::Rejected(headline(reason).0.to_owned());
        Some(Outcome::NotBegun {
            reason: format!(
                "{name}, which lives in it, was rolled back: {}",
                headline(reason).0
            ),
        })
    }

    /// Swaps one container and its dependents, and restarts the containers that ask for it.
    pub(super) fn swap(&self, one: &Managed, image: &Image, shared: &Shared) -> Result<Outcome> {
        let id = one.container.id();
        let outcome = self.swap_now(one, id, image, shared)?;
        match outcome {
            Some(outcome) => Ok(outcome),
            // The container was recreated to join another one, so its id has changed.
            None => {
                let name = one.container.name();
                let outcome = self.swap_now(one, name, image, shared)?;
                let reason = "a container that it needs was replaced once more";
                Ok(outcome.unwrap_or_else(|| not_begun(reason)))
            }
        }
    }

    /// The same. Returns nothing if the container was recreated with its old image first.
    #[cold]
    fn swap_now(
        &self,
        one: &Managed,
        id: &str,
        image: &Image,
        shared: &Shared,
    ) -> Result<Option<Outcome>> {
        let turn = Turn::to_create(&shared.turns);
        let old = match self.find_unchanged(one, id)? {
            Ok(old) => old,
            Err(reason) => return Ok(Some(not_begun(reason))),
        };
        let companions = self.companions(&old, shared)?;
        if let Some(reason) = &companions.obstacle {
            return Ok(Some(not_begun(reason)));
        }
        let parts = companions.parts(&old, image);
        let images = shared.round().old_images_of(&parts);
        let on = shared.on;
        let phase = |name: &str, phase| {
            on(&Step::Swap {
                container: name.to_owned(),
                phase,
            });
        };
        let told = RefCell::new(Vec::new());
        let accepted = |downtime: Option<Duration>| {
            let events = recreated(&parts, &images, shared, downtime);
            let told_now = events.iter().cloned().map(Step::Outcome);
            told_now.for_each(|step| on(&step));
            told.replace(events);
        };
        let swap = Swap {
            phase: &phase,
            failed: &|_| {},
            accepted: &accepted,
            engine: &self.engine,
            shutdown: &self.shutdown,
            about: &self.engine.about()?,
            acceptance: self.acceptance,
            platform: self.platform.as_deref(),
            images: &images,
            turn: &turn,
            fetch: &|name, image| self.fetch_again(name, image, on),
        };
        let Some(outcome) = self.run_swap(&swap, &parts, id == one.container.id())? else {
            return Ok(None);
        };
        drop(turn);
        let outcome = self.report_failure(outcome, &parts, &mut shared.round());
        if let Outcome::Recreated { downtime } = outcome {
            if told.borrow().is_empty() {
                accepted(downtime);
            }
            self.finish(&parts, told.take(), shared);
            // A container that came during the swap has seen the successor, so the older list is enough.
            self.restart(&companions.restarted, &old, &parts);
        }
        Ok(Some(outcome))
    }

    /// Finds the container as it is now. The inner error is the reason to leave the container alone.
    fn find_unchanged(
        &self,
        one: &Managed,
        id: &str,
    ) -> Result<std::result::Result<Container, &'static str>> {
        // Just before the stop, the swap looks whether anything has changed.
        let is_known = !one.container.is_outline() && id == one.container.id();
        if is_known && one.seen.elapsed() < FRESH {
            return Ok(Ok(one.container.clone()));
        }
        let Some(old) = self.engine.find(id)? else {
            return Ok(Err("it was removed in the meantime"));
        };
        if !one.container.is_stopped() && swap::is_stopped(&old, &self.engine)? {
            return Ok(Err("it was stopped in the meantime"));
        }
        Ok(Ok(old))
    }

    /// Runs the `pre-update` commands, at the first try, and the swap. Returns nothing if the containers were
    /// recreated with their old images first.
    #[cold]
    fn run_swap(&self, swap: &Swap, parts: &[Part], is_first: bool) -> Result<Option<Outcome>> {
        // Checked before the commands, so that no command runs for nothing.
        if let Some(outcome) = swap.hindrance(parts) {
            return Ok(Some(outcome));
        }
        for part in parts.iter().filter(|_| is_first) {
            if let Err(reason) = lifecycle::before(&self.engine, part.old) {
                return Ok(Some(Outcome::NotBegun { reason }));
            }
        }
        let joins = swap.joins(parts)?;
        if joins.is_empty() {
            return Ok(Some(swap.run(parts)));
        }
        match self.rejoin(swap, parts, &joins)? {
            Outcome::Recreated { .. } => Ok(None),
            outcome => Ok(Some(outcome)),
        }
    }

    /// Reports containers that are down. If a dependent's own new image is at fault, that image is rejected and
    /// the outcome becomes another one.
    #[cold]
    fn report_failure(&self, outcome: Outcome, parts: &[Part], round: &mut Round) -> Outcome {
        round.note_tags(parts, &outcome);
        match &outcome {
            Outcome::Down {
                reason,
                parts: down,
            } => {
                for part in down.iter().map(|&place| &parts[place]) {
                    let event = Event::of(Told::Down, part.old.name(), part.old.image_name());
                    round.tell(event.because(reason));
                }
                outcome
            }
            Outcome::RolledBack {
                reason,
                blame: Blame::Image,
                part,
            } => {
                let (part, provider) = (&parts[*part], parts[0].old);
                let has_own_image =
                    part.old.id() != provider.id() && part.old.image_id() != part.image.id();
                if !has_own_image {
                    return outcome;
                }
                let put_off = self.dependent_rolled_back(part, reason, round);
                put_off.unwrap_or(outcome)
            }
            _ => outcome,
        }
    }

    /// Reports the successors, and runs their `post-update` commands.
    #[cold]
    fn finish(&self, parts: &[Part], told: Vec<Event>, shared: &Shared) {
        for event in told {
            event.log();
            shared.round().report.add(&event);
        }
        for part in parts {
            let name = part.old.name();
            if let Some(lost) = lost_by(part.old) {
                log::warn!("{name}: {lost}");
                let warning = Reasoned::new(name, lost);
                shared.round().report.warnings.push(warning);
            }
            if part.old.image_id() != part.image.id() {
                let id = part.old.image_id();
                if let Ok(reference) = part.old.image_name().parse() {
                    self.note_earlier(&reference, id);
                }
                let image = shared.round().old_image(id).cloned();
                self.remember_replaced(part.old, image.as_ref());
            }
            if lifecycle::may_follow(part.old, part.image)
                && let Some(new) = self.engine.find(name).ok().flatten()
            {
                lifecycle::after(&self.engine, &new);
            }
        }
    }

    /// Recreates containers with their old images, so that they join a dependency that its owner has replaced.
    fn rejoin(&self, swap: &Swap, parts: &[Part], joins: &[Join]) -> Result<Outcome> {
        let images = parts
            .iter()
            .map(|part| self.engine.image(part.old.image_id()));
        let images: Vec<Image> = images.collect::<Result<_>>()?;
        let parts = parts.iter().zip(&images);
        let parts: Vec<Part> = parts
            .map(|(part, image)| Part::new(part.old, image))
            .collect();
        let outcome = swap.rejoin(&parts, joins);
        if let Outcome::Recreated { .. } = outcome {
            let names: Vec<&str> = joins.iter().map(Join::name).collect();
            log::info!(
                "recreated container={} with the image it ran, because {} was replaced by its owner",
                parts[0].old.name(),
                names.join(", ")
            );
        }
        Ok(outcome)
    }

    /// Remembers that the image of a container was replaced. The image is inspected if the caller has not.
    fn remember_replaced(&self, old: &Container, image: Option<&Image>) {
        let Ok(reference) = old.image_name().parse::<Reference>() else {
            return;
        };
        let id = old.image_id();
        let found = match image {
            None => self.engine.find_image(id).ok().flatten(),
            Some(_) => None,
        };
        let image = image.or(found.as_ref());
        let digests = image.iter().flat_map(|image| image.digests_of(&reference));
        self.replaced.add(&reference, id, digests);
    }

    /// Removes one container, for a platform that provisions its containers again.
    #[cold]
    pub(super) fn remove_one(&self, one: &Managed, image: &Image, shared: &Shared) -> Verdict {
        let name = one.container.name();
        let whole = if one.container.is_outline() {
            self.engine.container(one.container.id())
        } else {
            Ok(one.container.clone())
        };
        let must_stay = (whole.as_ref().map_err(Clone::clone))
            .and_then(|whole| swap::must_stay(whole, &self.engine));
        match must_stay {
            Ok(None) => {}
            Ok(Some(reason)) => {
                let reason = reason.to_owned();
                (shared.round()).skip_quietly(one, image, reason, Told::LeftAlone);
                return Verdict::Done;
            }
            Err(error) => {
                let reason = error.to_string();
                return (shared.round()).skip(one, image, reason, Told::Skipped);
            }
        }
        match self.engine.remove(one.container.id(), Removal::Force) {
            Ok(()) => {
                log::info!("removed container={name} image={}", one.reference);
                if let Some(whole) = whole.ok().filter(|old| old.image_id() != image.id()) {
                    self.remember_replaced(&whole, None);
                }
                let event = Event::of(Told::Recreated, name, &one.reference.to_string());
                let event = event.from_to(one.container.image_id(), image.id());
                let mut round = shared.round();
                let event = with_versions(event, round.old_image_of(one), image);
                round.tell_quietly(event);
                Verdict::Done
            }
            Err(error) => {
                log::warn!("not removed container={name}: {error}");
                let reason = error.to_string();
                (shared.round()).skip_quietly(one, image, reason, Told::Skipped)
            }
        }
    }
}

fn not_begun(reason: &str) -> Outcome {
    let reason = reason.to_owned();
    Outcome::NotBegun { reason }
}

/// The events of a swap whose successors are accepted. `images` are the images that were replaced.
#[cold]
fn recreated(
    parts: &[Part],
    images: &[Image],
    shared: &Shared,
    downtime: Option<Duration>,
) -> Vec<Event> {
    let back_by = shared.round().back_by.clone();
    let event = |part: &Part| {
        let (old, image_name) = (part.old.image_id(), part.old.image_name());
        let back_by = back_by.as_ref().filter(|_| old != part.image.id());
        let outcome = back_by.map_or(Told::Recreated, |_| Told::Restored);
        let event = Event::of(outcome, part.old.name(), image_name).from_to(old, part.image.id());
        let mut event = event.after(downtime);
        event.reason = back_by.map(|by| format!("by {by}"));
        let mut images = images.iter();
        let known = images.find(|image| image.id() == old);
        if let (Some(known), Ok(reference)) = (known, image_name.parse()) {
            event.old_digest = known.digests_of(&reference).last().map(str::to_owned);
        }
        with_versions(event, known, part.image)
    };
    parts.iter().map(event).collect()
}
