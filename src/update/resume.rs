//! Judges the updates of services whose process was killed, and tells of each once.

use super::Refresher;
use super::Seen;
use crate::engine::Service;
use crate::journal::Event;
use crate::journal::Outcomes;
use crate::journal::Step;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::service;
use crate::service::Marker;
use crate::service::Outcome;
use crate::time::parse_rfc3339;
use std::collections::HashSet;
use std::time::Duration;
use std::time::SystemTime;

/// How long an update that is still open is waited for. After that, rounds look again.
const PATIENCE: Duration = Duration::from_secs(60);
/// An update that is older than this is no news, whatever the history holds.
const OLD_NEWS: Duration = Duration::from_secs(86_400);

impl Refresher {
    /// Finishes the judgement of updates whose process was killed, and tells of them once. Returns whether to be called
    /// again, because the Engine did not answer.
    #[cold]
    pub fn resume_services(&self, on: &(dyn Fn(&Step) + Sync)) -> bool {
        let Ok(seen) = self.selection.services(&self.engine) else {
            return true;
        };
        let mut outcomes = Outcomes::default();
        for one in seen {
            let (Some(service), Ok(reference)) = (one.service.as_deref(), &one.made_from) else {
                continue;
            };
            if let Some(marker) = Marker::rolled_back(service) {
                self.resume_rolled_back(&one, service, reference, &marker, &mut outcomes, on);
            } else if service.state().starts_with("rollback_") && service.previous().is_none() {
                self.reject_failed(&one, reference);
            } else if let Some(marker) = Marker::of(service)
                && let Ok(digest) = marker.to.parse::<Digest>()
                && !self.is_told(&one.name, service, &marker)
            {
                let before = Seen {
                    image_id: marker.from.clone().unwrap_or_default(),
                    ..one.clone()
                };
                let outcome = self.rollout().judge(&one.id, &digest, PATIENCE);
                self.report_service(&before, reference, &digest, outcome, &mut outcomes, on);
            }
        }
        false
    }

    fn resume_rolled_back(
        &self,
        one: &Seen,
        service: &Service,
        reference: &Reference,
        marker: &Marker,
        outcomes: &mut Outcomes,
        on: &(dyn Fn(&Step) + Sync),
    ) {
        let Ok(digest) = marker.to.parse::<Digest>() else {
            return;
        };
        let reason = format!("{} was rolled back", one.name);
        if !self.is_told(&one.name, service, marker) {
            let outcome = Outcome::RolledBack(reason);
            self.report_service(one, reference, &digest, outcome, outcomes, on);
        } else if self.rejected.reason_of_digest(reference, &digest).is_none() {
            self.rejected
                .add(reference, digest.as_str(), Some(&digest), &reason);
        }
    }

    /// Rejects the digest that Swarm itself has rolled back. Only the tasks that failed still show it.
    fn reject_failed(&self, one: &Seen, reference: &Reference) {
        let tasks = self.engine.tasks(&one.id).unwrap_or_default();
        let failed = tasks
            .iter()
            .filter(|task| task["Status"]["State"] != "running");
        let images = failed.filter_map(|task| task["Spec"]["ContainerSpec"]["Image"].as_str());
        let digests: HashSet<&str> = images.filter_map(service::digest_of).collect();
        for digest in digests.into_iter().filter(|digest| *digest != one.image_id) {
            if let (Ok(digest), false) =
                (digest.parse::<Digest>(), self.rejected.concern(reference))
            {
                let reason = format!("Swarm rolled {} back", one.name);
                self.rejected
                    .add(reference, digest.as_str(), Some(&digest), &reason);
            }
        }
    }

    /// Whether an earlier process has told of an update, as far as the history or the times show.
    fn is_told(&self, name: &str, service: &Service, marker: &Marker) -> bool {
        let age = |time: &str| {
            let time = parse_rfc3339(time)?;
            SystemTime::now().duration_since(time).ok()
        };
        if self.history.is_kept() {
            let is_it = |event: &Event| {
                event.container.as_deref() == Some(name) && event.new.as_deref() == Some(&marker.to)
            };
            return self.history.entries().iter().any(|one| is_it(&one.event))
                || age(&marker.at).is_none_or(|age| age > OLD_NEWS);
        }
        let ended = Some(service.completed()).filter(|time| !time.is_empty());
        let is_open = service.state() == "updating" || service.state() == "paused";
        let last_words = self.acceptance.settle + Duration::from_secs(5);
        !is_open && age(ended.unwrap_or(&marker.at)).is_none_or(|age| age > last_words)
    }
}
