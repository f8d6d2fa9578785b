//! Updates the Swarm services of a refresh. Swarm pulls and replaces, so the images that only services use are not
//! pulled here.

use super::Consent;
use super::Refresher;
use super::Seen;
use super::choose::Chosen;
use super::order::Extent;
use super::order::Order;
use super::select::by_reference;
use super::select::made_from;
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
use crate::service::Rollout;
use crate::swap;
use std::sync::PoisonError;

/// The reason to leave everything else for the next round.
const OWN_FIRST: &str = "imagewatch's own service is updated first";

/// The services of one image in a refresh.
struct Group {
    target: Target,
    services: Vec<Seen>,
    digest: Digest,
    verdict: Verdict,
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
        let mut groups = self.groups(order, chosen, outcomes);
        let own = (!groups.is_empty())
            .then(|| swap::own_service(&self.engine))
            .flatten();
        let is_own = |one: &Seen| own.as_deref() == Some(one.id.as_str());
        let place = groups
            .iter()
            .position(|group| group.services.iter().any(is_own));
        if let Some(place) = place {
            let mut group = groups.remove(place);
            let place = group.services.iter().position(is_own).unwrap_or_default();
            group.services.swap(0, place);
            groups.insert(0, group);
        }
        let mut is_own_due = false;
        for group in &mut groups {
            for one in std::mem::take(&mut group.services) {
                let verdict = if is_own_due {
                    let event = Event::of(
                        Told::Skipped,
                        &one.name,
                        &group.target.reference.to_string(),
                    );
                    self.tell(event.because(OWN_FIRST), outcomes, on);
                    Verdict::Retry(OWN_FIRST.to_owned())
                } else {
                    self.update_service(order, group, &one, outcomes, on)
                };
                // Whatever comes of it, this process will be replaced.
                is_own_due |= is_own(&one) && one.image_id != group.digest.as_str() && {
                    verdict == Verdict::Done || self.is_known_open(&one.name)
                };
                let so_far = std::mem::replace(&mut group.verdict, Verdict::Done);
                group.verdict = so_far.or_worse(verdict);
            }
        }
        let mut verdicts = Vec::new();
        for group in groups {
            let reference = group.target.reference;
            digests.push((reference.clone(), group.digest));
            verdicts.push((reference, group.verdict));
        }
        if is_own_due {
            let left = std::mem::take(&mut chosen.targets).into_iter();
            verdicts.extend(left.map(|one| (one.reference, Verdict::Retry(OWN_FIRST.to_owned()))));
        }
        verdicts
    }

    /// Finds the services of the chosen images.
    fn groups(&self, order: &Order, chosen: &mut Chosen, outcomes: &mut Outcomes) -> Vec<Group> {
        let services = match order.images.containers() {
            Some(names) => self.selection.named_services(&names, &self.engine),
            None => self.selection.services(&self.engine),
        };
        let services = services.unwrap_or_else(|error| {
            log::warn!("service list: {error}");
            Vec::new()
        });
        let mut of = by_reference(services);
        let mut groups = Vec::new();
        let targets = std::mem::take(&mut chosen.targets);
        for target in targets {
            let reference = &target.reference;
            let mut services = of.remove(reference).unwrap_or_default();
            if let Some(only) = order.images.only(reference) {
                services.retain(|one| only.contains(&one.name));
            }
            if services.is_empty() {
                chosen.targets.push(target);
                continue;
            }
            if self.is_for_containers(order, chosen, reference) {
                chosen.targets.push(target.clone());
            }
            if matches!(order.extent, Extent::Fetch | Extent::Pull) {
                continue;
            }
            let known = order
                .images
                .digest_of(reference)
                .or(chosen.digests.get(reference));
            match known
                .cloned()
                .map_or_else(|| self.registry.digest(reference), Ok)
            {
                Ok(digest) => groups.push(Group {
                    target,
                    services,
                    digest,
                    verdict: Verdict::Done,
                }),
                Err(error) => {
                    outcomes.report.failed.push(target.name.clone());
                    log::warn!("{}: {error}", target.name);
                    outcomes
                        .verdicts
                        .push((reference.clone(), Verdict::Retry(error.to_string())));
                }
            }
        }
        groups
    }

    /// Whether the image is pulled here too: for a container, for the platform, or because a caller named it.
    fn is_for_containers(&self, order: &Order, chosen: &Chosen, reference: &Reference) -> bool {
        if self
            .catalogue
            .iter()
            .any(|runtime| runtime.reference == *reference)
        {
            return true;
        }
        let list = chosen.list.as_deref().unwrap_or_default();
        let names = order.images.containers();
        list.iter().any(|one| {
            let is_meant = match &names {
                Some(names) => names.iter().any(|name| name == one.name()),
                None => self.selection.may_be_managed(one),
            };
            is_meant
                && made_from(one.image_name(), one.image_id())
                    .is_ok_and(|found| found == *reference)
        })
    }

    /// Updates one service, or reports why not.
    #[cold]
    fn update_service(
        &self,
        order: &Order,
        group: &Group,
        one: &Seen,
        outcomes: &mut Outcomes,
        on: &(dyn Fn(&Step) + Sync),
    ) -> Verdict {
        let (reference, digest) = (&group.target.reference, &group.digest);
        let event = |told| {
            let event = Event::of(told, &one.name, &reference.to_string());
            event.from_to(&one.image_id, digest.as_str())
        };
        if one.consent == Consent::Notify && !order.images.are_named() {
            if one.image_id != digest.as_str() {
                self.tell(event(Told::Behind), outcomes, on);
            }
            return Verdict::Noticed;
        }
        if one.image_id == digest.as_str() && !self.is_open(one) {
            outcomes.report.unchanged.push(one.name.clone());
            return Verdict::Done;
        }
        if let Some(verdict) = self.held_service(order, group, one, outcomes, on) {
            return verdict;
        }
        let login = self
            .swarm_auth
            .then(|| self.credentials.login(reference))
            .flatten();
        let auth = login.map(|login| login.registry_auth(reference.registry()));
        // A login that is refused must not reach the nodes: each task would fail there.
        if auth.is_some() && !matches!(self.registry.holds(reference, digest), Ok(true)) {
            let words = format!(
                "its registry does not hand out {} with this login",
                digest.short()
            );
            self.tell(event(Told::Skipped).because(&words), outcomes, on);
            return Verdict::Retry(words);
        }
        let outcome = self.rollout().update(&one.id, digest, auth.as_ref());
        match outcome {
            Ok(outcome) => self.report_service(one, reference, digest, outcome, outcomes, on),
            Err(error) => {
                let words = error.to_string();
                self.tell(event(Told::Skipped).because(&words), outcomes, on);
                Verdict::Retry(words)
            }
        }
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
        let (reference, digest) = (&group.target.reference, &group.digest);
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

    pub(super) fn rollout(&self) -> Rollout<'_> {
        Rollout {
            engine: &self.engine,
            shutdown: &self.shutdown,
            settle: self.acceptance.settle,
        }
    }

    /// Reports the outcome of a service's update, and returns the verdict on the image.
    #[cold]
    pub(super) fn report_service(
        &self,
        one: &Seen,
        reference: &Reference,
        digest: &Digest,
        outcome: Outcome,
        outcomes: &mut Outcomes,
        on: &(dyn Fn(&Step) + Sync),
    ) -> Verdict {
        let reject = |reason: &str| {
            let (reason, image) = (headline(reason).0.to_owned(), digest.as_str());
            self.rejected.add(reference, image, Some(digest), &reason);
            Verdict::Rejected(reason)
        };
        let mut open = self
            .open_services
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Outcome::Open(_) => open.insert(one.name.clone()),
            _ => open.remove(&one.name),
        };
        drop(open);
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

    fn tell(&self, event: Event, outcomes: &mut Outcomes, on: &(dyn Fn(&Step) + Sync)) {
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
