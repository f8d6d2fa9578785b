//! Replaces one container of a refresh, together with its dependents.

use super::Refresher;
use super::lifecycle;
use super::managed::Managed;
use super::neighbours::FRESH;
use super::neighbours::Neighbours;
use super::renew::HALF_DONE;
use super::round::Round;
use super::stopped::lost_by;
use crate::engine::Container;
use crate::engine::Image;
use crate::engine::Removal;
use crate::engine::State;
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
use crate::swap::dependents;
use crate::swap::restarts_with;
use std::cell::RefCell;
use std::time::Duration;

impl Refresher {
    /// Reports that a container was rolled back. If the image is at fault, its other containers are not updated.
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
        round.tell(event.from_to(part.old.image_id(), image).because(reason));
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
    pub(super) fn swap(
        &self,
        one: &Managed,
        image: &Image,
        round: &mut Round,
        neighbours: &mut Neighbours,
    ) -> Result<Outcome> {
        let id = one.container.id();
        let outcome = self.swap_now(one, id, image, round, neighbours)?;
        match outcome {
            Some(outcome) => Ok(outcome),
            // The container was recreated to join another one, so its id has changed.
            None => {
                let name = one.container.name();
                let outcome = self.swap_now(one, name, image, round, neighbours)?;
                let reason = "a container that it needs was replaced once more".to_owned();
                Ok(outcome.unwrap_or(Outcome::NotBegun { reason }))
            }
        }
    }

    /// The same. Returns nothing if the container was recreated with its old image first.
    fn swap_now(
        &self,
        one: &Managed,
        id: &str,
        image: &Image,
        round: &mut Round,
        neighbours: &mut Neighbours,
    ) -> Result<Option<Outcome>> {
        let not_begun = |reason| Ok(Some(Outcome::NotBegun { reason }));
        let old = match self.find_unchanged(one, id)? {
            Ok(old) => old,
            Err(reason) => return not_begun(reason.to_owned()),
        };
        neighbours.look(&self.engine)?;
        let dependents = self.dependents_of(&old, round, neighbours)?;
        let mut parts = vec![Part { old: &old, image }];
        parts.extend(dependents.iter().map(|(old, image)| Part { old, image }));
        if let Some(reason) = why_not_now(&parts, neighbours) {
            return not_begun(reason);
        }
        let on = round.on;
        let phase = |name: &str, phase| {
            on(&Step::Swap {
                container: name.to_owned(),
                phase,
            });
        };
        let told = RefCell::new(Vec::new());
        let accepted = |downtime: Option<Duration>| {
            for event in parts.iter().map(|part| recreated(part, downtime)) {
                on(&Step::Outcome(event.clone()));
                told.borrow_mut().push(event);
            }
        };
        let swap = Swap {
            phase: &phase,
            accepted: &accepted,
            engine: &self.engine,
            shutdown: &self.shutdown,
            about: &self.engine.about()?,
            acceptance: self.acceptance,
            platform: self.platform.as_deref(),
            images: &round.old_images,
            fetch: &|name, image| self.fetch_again(name, image, on),
        };
        let is_first = id == one.container.id();
        let Some(outcome) = self.run_swap(&swap, &parts, is_first)? else {
            return Ok(None);
        };
        let outcome = self.report_failure(outcome, &parts, round);
        if let Outcome::Recreated { downtime } = outcome {
            if told.borrow().is_empty() {
                accepted(downtime);
            }
            self.finish(&parts, told.take(), round);
            // A container that came during the swap has seen the successor, so the older list is enough.
            self.restart_after(&old, &parts, neighbours.dependents());
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
        if id == one.container.id() && one.seen.elapsed() < FRESH {
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

    /// Returns the dependents of a container as they are now, each with the image for its successor.
    fn dependents_of(
        &self,
        provider: &Container,
        round: &Round,
        neighbours: &Neighbours,
    ) -> Result<Vec<(Container, Image)>> {
        let mut found = Vec::new();
        for dependent in dependents(provider, neighbours.dependents()) {
            if let Some(dependent) = self.engine.find(dependent.id())? {
                let image = self.image_of_dependent(&dependent, round)?;
                found.push((dependent, image));
            }
        }
        Ok(found)
    }

    /// Runs the `pre-update` commands, at the first try, and the swap. Returns nothing if the containers were
    /// recreated with their old images first.
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
    fn report_failure(&self, outcome: Outcome, parts: &[Part], round: &mut Round) -> Outcome {
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
    fn finish(&self, parts: &[Part], told: Vec<Event>, round: &mut Round) {
        for event in told {
            event.log();
            round.report.enter(&event);
        }
        for part in parts {
            let name = part.old.name();
            if let Some(lost) = lost_by(part.old) {
                log::warn!("{name}: {lost}");
                round.report.warnings.push(Reasoned::new(name, lost));
            }
            if part.old.image_id() != part.image.id() {
                round.replaced.insert(part.old.image_id().to_owned());
                let image = round.old_image(part.old.image_id());
                self.remember_replaced(part.old, image);
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
            .map(|(Part { old, .. }, image)| Part { old, image })
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

    /// Returns the image for a dependent: a newer image that is due for the dependent, or else the old image.
    fn image_of_dependent(&self, dependent: &Container, round: &Round) -> Result<Image> {
        let reference = dependent.image_name().parse::<Reference>().ok();
        let due = reference.and_then(|reference| round.work(&reference));
        // An image that was rejected, or that the owner's labels do not allow, is not due.
        let is_wanted = round.updates.contains(dependent.name());
        let due = due.filter(|work| work.ended.is_none() && is_wanted);
        match due.map(|work| work.image.clone()) {
            Some(image) => Ok(image),
            None => self.engine.image(dependent.image_id()),
        }
    }

    /// Restarts the containers whose labels ask for a restart after `provider` was recreated.
    fn restart_after(&self, provider: &Container, parts: &[Part], neighbours: &[Container]) {
        let is_part = |one: &Container| parts.iter().any(|part| part.old.name() == one.name());
        let wants = |one: &&Container| {
            one.state() == State::Running && !is_part(one) && restarts_with(one, provider)
        };
        for one in neighbours.iter().filter(wants) {
            // The owner may have stopped the container meanwhile.
            let now = self.engine.find(one.id()).ok().flatten();
            if now.is_none_or(|now| now.state() != State::Running) {
                continue;
            }
            match self.engine.restart(one) {
                Ok(()) => log::info!(
                    "restarted container={} after {}",
                    one.name(),
                    provider.name()
                ),
                Err(error) => log::warn!("not restarted container={}: {error}", one.name()),
            }
        }
    }

    /// Removes one container, for a platform that provisions its containers again.
    pub(super) fn remove_one(&self, one: &Managed, image: &Image, round: &mut Round) -> Verdict {
        let name = one.container.name();
        match swap::must_stay(&one.container, &self.engine) {
            Ok(None) => {}
            Ok(Some(reason)) => {
                round.skip_quietly(one, image, reason.to_owned(), Told::LeftAlone);
                return Verdict::Done;
            }
            Err(error) => return round.skip(one, image, error.to_string(), Told::Skipped),
        }
        match self.engine.remove(one.container.id(), Removal::Force) {
            Ok(()) => {
                log::info!("removed container={name} image={}", one.reference);
                if one.container.image_id() != image.id() {
                    self.remember_replaced(&one.container, None);
                }
                let event = Event::of(Told::Recreated, name, &one.reference.to_string());
                round.tell_quietly(event.from_to(one.container.image_id(), image.id()));
                Verdict::Done
            }
            Err(error) => {
                log::warn!("not removed container={name}: {error}");
                round.skip_quietly(one, image, error.to_string(), Told::Skipped)
            }
        }
    }
}

/// Returns the reason not to begin the swap, if the parts have unknown dependents or half-done swaps.
fn why_not_now(parts: &[Part], neighbours: &Neighbours) -> Option<String> {
    let all = || parts.iter().map(|part| part.old);
    let unknown = all().find_map(|one| neighbours.unknown_dependent(one));
    unknown.or_else(|| {
        let one = all().find(|one| neighbours.is_in_swap(one))?;
        Some(format!("{}: {HALF_DONE}", one.name()))
    })
}

fn recreated(part: &Part, downtime: Option<Duration>) -> Event {
    Event::of(Told::Recreated, part.old.name(), part.old.image_name())
        .from_to(part.old.image_id(), part.image.id())
        .after(downtime)
}
