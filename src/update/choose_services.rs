//! The choice of Swarm services. They are chosen like containers, and seen as such.

use super::Refresher;
use super::choose::Chosen;
use super::choose::by_reference;
use super::managed::blocking_label;
use super::order::Extent;
use super::order::Order;
use super::select::Seen;
use super::select::Selection;
use super::select::made_from;
use crate::engine::Engine;
use crate::engine::Service;
use crate::error::Error;
use crate::error::Result;
use crate::journal::Event;
use crate::journal::Outcomes;
use crate::journal::Replicas;
use crate::journal::Step;
use crate::journal::Verdict;
use crate::labels::Enabled;
use crate::labels::Wishes;
use crate::policy::OwnRules;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::Target;
use crate::service::digest_of;
use crate::service::followed;
use crate::sort::sort;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::SystemTime;

/// Stands before the name of a service, which may be a container's too.
pub(super) const SERVICE: &str = "service ";

impl Selection {
    /// Returns the managed services of a swarm, or those with these names. A named service counts as managed, unless its
    /// owner opted out.
    ///
    /// # Errors
    /// When the Engine does not answer.
    #[cold]
    pub fn choose_services(&self, names: Option<&[String]>, engine: &Engine) -> Result<Vec<Seen>> {
        let mut seen = Vec::new();
        for service in engine.services()? {
            let wishes = Wishes::of(&mut service.labels());
            let mut made_from = followed(&service);
            if let Some(names) = names {
                if !names.iter().any(|name| name == service.name()) {
                    continue;
                }
                if let Some(reason) = blocking_label(&wishes) {
                    made_from = Err(reason.to_owned());
                }
            } else {
                let is_workspace = self.select.workspaces
                    && service.name().starts_with(&self.prefix)
                    && made_from
                        .as_ref()
                        .is_ok_and(|found| self.runtimes.contains(found));
                if wishes.enabled == Enabled::No
                    || !(is_workspace || self.selects_any_image(&wishes))
                {
                    continue;
                }
                self.warn_of_labels(&format!("{SERVICE}{}", service.name()), &wishes);
                if let Some(reason) = wishes.unclear.clone() {
                    made_from = Err(reason);
                }
            }
            if let (Ok(_), Some(reason)) = (&made_from, self.lacks_key(&wishes)) {
                made_from = Err(reason);
            }
            seen.push(self.seen_service(service, &wishes, made_from));
        }
        sort(&mut seen, |one, other| one.name < other.name);
        if names.is_none() {
            *self.lock_replicas() = seen.iter().filter_map(replicas).collect();
        }
        Ok(seen)
    }

    /// The tasks of the managed services, as the last look showed them. Nobody is asked.
    #[must_use]
    pub fn replicas(&self) -> Vec<Replicas> {
        self.lock_replicas().clone()
    }

    fn lock_replicas(&self) -> MutexGuard<'_, Vec<Replicas>> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen_service(
        &self,
        service: Service,
        wishes: &Wishes,
        made_from: std::result::Result<Reference, String>,
    ) -> Seen {
        let (running, wanted) = service.running();
        Seen {
            id: service.id().to_owned(),
            name: service.name().to_owned(),
            image_name: service.image().to_owned(),
            image_id: digest_of(service.image()).unwrap_or_default().to_owned(),
            state: format!("{running}/{wanted}"),
            consent: wishes.consent.unwrap_or(self.mode),
            rules: OwnRules::of(wishes),
            newer: wishes.newer,
            stays_stopped: false,
            has_lost_tag: false,
            made_from,
            group: service.stack().map(str::to_owned),
            service: Some(Box::new(service)),
        }
    }
}

fn replicas(seen: &Seen) -> Option<Replicas> {
    let (running, wanted) = seen.service.as_ref()?.running();
    Some(Replicas {
        service: seen.name.clone(),
        running,
        wanted,
    })
}

/// The services of one image in a refresh.
pub(super) struct Group {
    pub(super) reference: Reference,
    pub(super) digest: Digest,
    /// Those that are not begun yet, the last one first.
    pub(super) services: Vec<Seen>,
    pub(super) verdict: Verdict,
}

impl Refresher {
    /// Finds the services of the chosen images, and takes the images out of the choice that no container uses.
    ///
    /// # Errors
    /// When the Engine does not list its services. Without the list, an image of services would be taken for one of
    /// containers.
    #[cold]
    pub(super) fn groups(
        &self,
        order: &Order,
        chosen: &mut Chosen,
        outcomes: &mut Outcomes,
        on: &(dyn Fn(&Step) + Sync),
    ) -> Result<Vec<Group>> {
        let names = order.images.containers();
        let services = (self.selection).choose_services(names.as_deref(), &self.engine)?;
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
            let is_pull = order.extent == Extent::Pull && order.images.are_named();
            let is_for_containers = is_pull || self.is_for_containers(order, chosen, reference);
            if matches!(order.extent, Extent::Fetch | Extent::Pull) {
                chosen.targets.extend(is_for_containers.then_some(target));
                continue;
            }
            match self.digest_for_services(order, chosen, reference, &services) {
                Ok(digest) => {
                    services.reverse();
                    chosen
                        .targets
                        .extend(is_for_containers.then(|| target.clone()));
                    groups.push(Group {
                        reference: target.reference,
                        digest,
                        services,
                        verdict: Verdict::Done,
                    });
                }
                Err(error) => {
                    let is_refused = self.refuse_group(&target, &error, outcomes, on);
                    // The Engine may know a way to the image that this program does not know.
                    let is_pulled = is_for_containers && !is_refused;
                    chosen.targets.extend(is_pulled.then_some(target));
                }
            }
        }
        Ok(groups)
    }

    /// The digest to write to services. It has a good signature, if one of them needs it.
    fn digest_for_services(
        &self,
        order: &Order,
        chosen: &Chosen,
        reference: &Reference,
        services: &[Seen],
    ) -> Result<Digest> {
        let known = order.images.digest_of(reference);
        let digest = match known.or(chosen.digests.get(reference)) {
            Some(known) => known.clone(),
            None => self.registry.digest(reference)?,
        };
        // A minimum age counts from here, if nothing else has looked.
        let sightings = self.history.sightings();
        sightings.see(reference, &digest, SystemTime::now());
        // As with containers, what runs already is not checked.
        if services.iter().any(|one| one.image_id != digest.as_str()) {
            let names = order.images.containers();
            // The nodes of the swarm pull by this digest.
            self.vet(reference, &digest, &self.labelled(names)?)?;
        }
        Ok(digest)
    }

    /// Reports that nothing is written to the services of an image. Returns whether the image needs a signature, so that
    /// nothing is pulled for containers either.
    #[cold]
    fn refuse_group(
        &self,
        target: &Target,
        error: &Error,
        outcomes: &mut Outcomes,
        on: &(dyn Fn(&Step) + Sync),
    ) -> bool {
        if self.report_unverified(target, error, outcomes, on) {
            return true;
        }
        log::warn!("{}: {error}", target.name);
        let reference = &target.reference;
        let words = error.to_string();
        on(&Step::Outcome(Event::pull_failed(
            &reference.to_string(),
            &words,
        )));
        outcomes.report.failed.push(target.name.clone());
        let verdict = Verdict::Retry(words);
        outcomes.verdicts.push((reference.clone(), verdict));
        false
    }

    /// Whether the image is pulled here too: for a container, for the platform, or because a caller named it.
    fn is_for_containers(&self, order: &Order, chosen: &Chosen, reference: &Reference) -> bool {
        if self.catalogue.find(reference).is_some() {
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
}
