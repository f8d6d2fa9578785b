//! Updates the Swarm services of a refresh. Swarm pulls and replaces, so the images that only services use are not
//! pulled here.

use super::Consent;
use super::Refresher;
use super::Seen;
use super::choose::Chosen;
use super::choose_services::Group;
use super::order::Extent;
use super::order::Order;
use crate::engine::Service;
use crate::error::headline;
use crate::journal::Event;
use crate::journal::Outcome as Told;
use crate::journal::Outcomes;
use crate::journal::Reasoned;
use crate::journal::Step;
use crate::journal::Verdict;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::Target;
use crate::reference::short;
use crate::service::Marker;
use crate::service::Outcome;
use crate::service::PAUSE;
use crate::service::Rollout;
use crate::service::SECOND_PATIENCE;
use crate::service::Update;
use crate::swap;
use std::sync::PoisonError;

/// The reason to leave everything else for the next round.
const OWN_FIRST: &str = "imagewatch's own service is updated first";

/// An update on its way, with the place of its group.
pub(super) type Open = (usize, Seen, Update);

impl Group {
    fn add(&mut self, verdict: Verdict) {
        let so_far = std::mem::replace(&mut self.verdict, Verdict::Done);
        self.verdict = so_far.or_worse(verdict);
    }
}

impl Refresher {
    /// Updates the services of the chosen images, and takes the images out of the choice that no container uses.
    /// Returns the verdicts.
    #[cold]
    pub(super) fn update_services(
        &self,
        order: &Order,
        chosen: &mut Chosen,
        digests: &mut Vec<(Reference, Digest)>,
        outcomes: &mut Outcomes,
        on: &(dyn Fn(&Step) + Sync),
    ) -> Vec<(Reference, Verdict)> {
        if self.engine.has_no_services() {
            return Vec::new();
        }
        let mut groups = match self.groups(order, chosen, outcomes, on) {
            Ok(groups) => groups,
            Err(error) => {
                log::warn!("service list: {error}");
                outcomes.list_error = Some(error.to_string());
                // Another image may be one of services only.
                let is_runtime = |one: &Target| self.catalogue.all().contains(one);
                chosen.targets.retain(is_runtime);
                return Vec::new();
            }
        };
        if groups.is_empty() {
            return Vec::new();
        }
        let mut is_own_due = false;
        if let Some(own) = self.own_group(&mut groups) {
            let (was, name) = (
                own.services[0].image_id.clone(),
                own.services[0].name.clone(),
            );
            let mut first = vec![own];
            self.roll_out(Some(order), &mut first, Vec::new(), outcomes, on);
            let own = first.remove(0);
            // Whatever comes of it, this process will be replaced.
            is_own_due = was != own.digest.as_str()
                && (own.verdict == Verdict::Done || self.is_known_open(&name));
            groups.push(own);
        }
        if is_own_due {
            for group in &mut groups {
                for one in std::mem::take(&mut group.services) {
                    let event = Event::of(Told::Skipped, &one.name, &group.reference.to_string());
                    self.tell(event.because(OWN_FIRST), outcomes, on);
                    group.add(Verdict::Retry(OWN_FIRST.to_owned()));
                }
            }
            for one in std::mem::take(&mut chosen.targets) {
                let verdict = Verdict::Retry(OWN_FIRST.to_owned());
                outcomes.verdicts.push((one.reference, verdict));
            }
        }
        self.roll_out(Some(order), &mut groups, Vec::new(), outcomes, on);
        let mut verdicts = Vec::new();
        for group in groups {
            digests.push((group.reference.clone(), group.digest));
            verdicts.push((group.reference, group.verdict));
        }
        verdicts
    }

    /// Takes the own service out, into a group of its own.
    #[cold]
    fn own_group(&self, groups: &mut [Group]) -> Option<Group> {
        let own = swap::own_service(&self.engine)?;
        for group in groups {
            if let Some(place) = group.services.iter().position(|one| one.id == own) {
                let one = group.services.remove(place);
                let is_due = one.image_id != group.digest.as_str();
                if is_due
                    && one
                        .service
                        .as_ref()
                        .is_some_and(|one| !one.rolls_back_itself())
                {
                    log::warn!(
                        "service={}: imagewatch itself, and a bad image of it would stay (set update_config: \
                         failure_action: rollback)",
                        one.name
                    );
                }
                return Some(Group {
                    reference: group.reference.clone(),
                    digest: group.digest.clone(),
                    services: vec![one],
                    verdict: Verdict::Done,
                });
            }
        }
        None
    }

    /// Follows the open updates, and begins those that wait, as many at a time as the owner allows. Services of one image
    /// are updated one after the other, because the first roll-back ends the updates to that image.
    #[cold]
    pub(super) fn roll_out(
        &self,
        order: Option<&Order>,
        groups: &mut [Group],
        mut open: Vec<Open>,
        outcomes: &mut Outcomes,
        on: &(dyn Fn(&Step) + Sync),
    ) {
        let rollout = self.rollout();
        loop {
            for (place, group) in groups.iter_mut().enumerate() {
                while open.len() < self.parallel
                    && !open.iter().any(|one| one.0 == place)
                    && let Some(one) = group.services.pop()
                {
                    match self.begin_service(order, group, &one, outcomes, on) {
                        Ok(update) => open.push((place, one, update)),
                        Err(verdict) => group.add(verdict),
                    }
                }
            }
            let mut next = 0;
            while let Some((place, one, update)) = open.get_mut(next) {
                if let Some(outcome) = rollout.step(update) {
                    let group = &mut groups[*place];
                    let verdict = self.report_service(one, group, outcome, outcomes, on);
                    group.add(verdict);
                    open.swap_remove(next);
                } else {
                    next += 1;
                }
            }
            if open.is_empty() && groups.iter().all(|group| group.services.is_empty()) {
                return;
            }
            if !open.is_empty() {
                std::thread::sleep(PAUSE);
            }
        }
    }

    pub(super) fn rollout(&self) -> Rollout<'_> {
        Rollout {
            engine: &self.engine,
            shutdown: &self.shutdown,
            settle: self.acceptance.settle,
        }
    }

    /// Begins the update of one service, or reports why not.
    #[cold]
    fn begin_service(
        &self,
        order: Option<&Order>,
        group: &Group,
        one: &Seen,
        outcomes: &mut Outcomes,
        on: &(dyn Fn(&Step) + Sync),
    ) -> std::result::Result<Update, Verdict> {
        let (reference, digest) = (&group.reference, &group.digest);
        let event = |told| {
            let event = Event::of(told, &one.name, &reference.to_string());
            event.from_to(&one.image_id, digest.as_str())
        };
        let is_there = one.image_id == digest.as_str();
        if one.consent == Consent::Notify && !order.is_some_and(|order| order.images.are_named()) {
            if !is_there {
                let event = event(Told::Behind);
                outcomes.report.add(&event);
                if self.is_news_of(&one.name, digest.as_str()) {
                    event.log();
                    on(&Step::Outcome(event));
                }
            }
            return Err(Verdict::Noticed);
        }
        if is_there && !self.is_open(one) {
            outcomes.report.unchanged.push(one.name.clone());
            return Err(Verdict::Done);
        }
        if is_there {
            // Nothing is written, and the judgement goes on.
            return Ok(Update::written(&one.id, digest, SECOND_PATIENCE));
        }
        if let Some(verdict) =
            order.and_then(|order| self.held_service(order, group, one, outcomes, on))
        {
            return Err(verdict);
        }
        let login = self.swarm_auth.then(|| self.credentials.login(reference));
        let auth = login
            .flatten()
            .map(|login| login.registry_auth(reference.registry()));
        // A login that is refused must not reach the nodes: each task would fail there.
        if auth.is_some() && !matches!(self.registry.holds(reference, digest), Ok(true)) {
            let short = digest.short();
            let words = format!("its registry does not hand out {short} with this login");
            self.tell(event(Told::Skipped).because(&words), outcomes, on);
            return Err(Verdict::Retry(words));
        }
        Ok(Update::new(&one.id, digest, auth))
    }

    /// The verdict on a service whose image is rejected, or whose time has not come.
    #[cold]
    fn held_service(
        &self,
        order: &Order,
        group: &Group,
        one: &Seen,
        outcomes: &mut Outcomes,
        on: &(dyn Fn(&Step) + Sync),
    ) -> Option<Verdict> {
        let (reference, digest) = (&group.reference, &group.digest);
        if order.extent == Extent::Force {
            self.rejected.clear(reference);
        } else if let Some(reason) = self.rejection_of(one, reference, digest) {
            let words = format!("this image was rejected: {reason}");
            let event = Event::of(Told::LeftAlone, &one.name, &reference.to_string());
            self.tell(event.to(digest.as_str()).because(&words), outcomes, on);
            return Some(Verdict::Rejected(reason));
        }
        if let Some(waiting) = self.waits(
            &one.name,
            order.asked(),
            reference,
            Some(digest),
            &one.rules,
        ) {
            let words = waiting.in_words();
            outcomes
                .report
                .skipped
                .push(Reasoned::new(&one.name, words));
            return Some(Verdict::NotYet(vec![waiting]));
        }
        if self.shutdown.is_closed() {
            return Some(Verdict::Retry(super::renew::STOPPING.to_owned()));
        }
        None
    }

    /// Whether the update of a service is ours and not judged yet.
    fn is_open(&self, one: &Seen) -> bool {
        let state = one.service.as_deref().map_or("", Service::state);
        let is_ours = || one.service.as_deref().and_then(Marker::of).is_some();
        self.is_known_open(&one.name) || (matches!(state, "updating" | "paused") && is_ours())
    }

    fn is_known_open(&self, name: &str) -> bool {
        let open = self.open_services.lock();
        open.unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    fn note_open(&self, name: &str, outcome: &Outcome) {
        let open = self.open_services.lock();
        let mut open = open.unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Outcome::Open(_) => open.insert(name.to_owned()),
            _ => open.remove(name),
        };
    }

    /// Reports the outcome of a service's update, and returns the verdict on the image.
    #[cold]
    pub(super) fn report_service(
        &self,
        one: &Seen,
        group: &Group,
        outcome: Outcome,
        outcomes: &mut Outcomes,
        on: &(dyn Fn(&Step) + Sync),
    ) -> Verdict {
        let (reference, digest) = (&group.reference, &group.digest);
        let reject = |reason: &str| {
            let (reason, image) = (headline(reason).0.to_owned(), digest.as_str());
            self.rejected.add(reference, image, Some(digest), &reason);
            Verdict::Rejected(reason)
        };
        self.note_open(&one.name, &outcome);
        let (told, reason, verdict) = match outcome {
            Outcome::Unchanged => {
                outcomes.report.unchanged.push(one.name.clone());
                return Verdict::Done;
            }
            Outcome::Updated(note) => {
                if let Some(note) = &note {
                    log::warn!("service={}: {note}", one.name);
                    outcomes
                        .report
                        .warnings
                        .push(Reasoned::new(&one.name, note));
                }
                (Told::Recreated, note, Verdict::Done)
            }
            Outcome::RolledBack(reason) => {
                let verdict = reject(&reason);
                (Told::RolledBack, Some(reason), verdict)
            }
            Outcome::Left(reason) => {
                let verdict = reject(&reason);
                (Told::Skipped, Some(reason), verdict)
            }
            Outcome::Later(reason) | Outcome::Open(reason) if self.shutdown.is_closed() => {
                // The next process tells what comes of it.
                let entry = Reasoned::new(&one.name, reason.as_str());
                outcomes.report.skipped.push(entry);
                return Verdict::Retry(reason);
            }
            Outcome::Later(reason) | Outcome::Open(reason) => {
                (Told::Skipped, Some(reason.clone()), Verdict::Retry(reason))
            }
            Outcome::Alone(reason) => (Told::LeftAlone, Some(reason), Verdict::Noticed),
        };
        let event = Event::of(told, &one.name, &reference.to_string());
        let mut event = event.from_to(&one.image_id, digest.as_str());
        event.reason = reason;
        self.tell(event, outcomes, on);
        verdict
    }

    pub(super) fn tell(&self, event: Event, outcomes: &mut Outcomes, on: &(dyn Fn(&Step) + Sync)) {
        match event.outcome {
            // Nobody knows how long which task was away.
            Told::Recreated => {
                let name =
                    |id: &Option<String>| short(id.as_deref().unwrap_or_default()).to_owned();
                let (old, new) = (name(&event.old), name(&event.new));
                let service = event.subject();
                log::info!(
                    "updated service={service} image={} old={old} new={new}",
                    event.image
                );
            }
            _ => event.log(),
        }
        outcomes.report.add(&event);
        on(&Step::Outcome(event));
    }

    /// Why `digest` is rejected for a service: it is known here, or Swarm remembers the roll-back.
    pub(super) fn rejection_of(
        &self,
        one: &Seen,
        reference: &Reference,
        digest: &Digest,
    ) -> Option<String> {
        let known = self.rejected.reason_of_digest(reference, digest);
        let remembered = || {
            let marker = Marker::rolled_back(one.service.as_deref()?)?;
            (marker.to == digest.as_str()).then(|| format!("{} was rolled back", one.name))
        };
        known.or_else(remembered)
    }
}
