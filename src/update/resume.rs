//! Judges the updates of services whose process was killed, and tells of each once.

use super::Refresher;
use super::Seen;
use super::choose_services::Group;
use crate::engine::Service;
use crate::journal::Outcome as Told;
use crate::journal::Outcomes;
use crate::journal::Step;
use crate::journal::Verdict;
use crate::reference::Digest;
use crate::service;
use crate::service::Marker;
use crate::service::Outcome;
use crate::service::Update;
use crate::swap;
use crate::time::parse_rfc3339;
use std::time::Duration;
use std::time::SystemTime;

/// How long an update that is still open is waited for. After that, rounds look again.
const PATIENCE: Duration = Duration::from_secs(60);
/// An update that is older than this is no news, whatever the history holds.
const OLD_NEWS: Duration = Duration::from_secs(86_400);
/// How old an update may be whose tasks do not all run, if no history says whether it was judged.
const SICK: Duration = Duration::from_secs(3600);

/// How long after the update of its own service a process takes up what the one before it held back.
const HELD_BACK: Duration = Duration::from_secs(3600);

impl Refresher {
    /// Whether imagewatch's own service was updated a moment ago. The process that did that has left all other updates to
    /// this one, which would take them for old news.
    #[must_use]
    pub fn was_held_back(&self, seen: &[Seen]) -> bool {
        let is_fresh = |one: &&Seen| {
            let marker = one.service.as_deref().and_then(Marker::of);
            let at = marker.and_then(|marker| parse_rfc3339(&marker.at));
            let age = at.and_then(|at| SystemTime::now().duration_since(at).ok());
            age.is_some_and(|age| age < HELD_BACK)
        };
        let mut fresh = seen.iter().filter(is_fresh).peekable();
        fresh.peek().is_some()
            && swap::own_service(&self.engine).is_some_and(|own| fresh.any(|one| one.id == own))
    }

    /// Finishes the judgement of updates whose process was killed, and tells of them once. Returns whether to be called
    /// again, because the Engine did not answer.
    #[cold]
    pub fn resume_services(&self, on: &(dyn Fn(&Step) + Sync)) -> bool {
        let Ok(seen) = self.selection.choose_services(None, &self.engine) else {
            return true;
        };
        let (mut outcomes, mut groups, mut open) = (Outcomes::default(), Vec::new(), Vec::new());
        for mut one in seen {
            let (Some(service), Ok(reference)) = (one.service.clone(), one.made_from.clone())
            else {
                continue;
            };
            let is_back = service.state().starts_with("rollback_");
            let Some((from, to, at)) = self.last_update(&service, is_back) else {
                continue;
            };
            let Ok(digest) = to.parse::<Digest>() else {
                continue;
            };
            let group = Group {
                reference,
                digest,
                services: Vec::new(),
                verdict: Verdict::Done,
            };
            let rejection = self
                .rejected
                .reason_of_digest(&group.reference, &group.digest);
            let is_told = rejection.is_some() || self.is_told(&one.name, &service, &to, &at);
            if is_back && is_told {
                if !self.rejected.concern(&group.reference) {
                    let (words, digest) = (rolled_back(&one.name), &group.digest);
                    self.rejected
                        .add(&group.reference, digest.as_str(), Some(digest), &words);
                }
            } else if is_back {
                let outcome = Outcome::RolledBack(rolled_back(&one.name));
                self.report_service(&one, &group, outcome, &mut outcomes, on);
            } else if !is_told {
                one.image_id = from;
                let update = Update::written(&one.id, &group.digest, PATIENCE);
                open.push((groups.len(), one, update));
                groups.push(group);
            }
        }
        self.roll_out(None, &mut groups, open, &mut outcomes, on);
        false
    }

    /// The last update of a service as far as Swarm remembers it, if it was ours or is rolled back: the digests before
    /// and of it, and when it was written.
    fn last_update(&self, service: &Service, is_back: bool) -> Option<(String, String, String)> {
        let marker = match is_back {
            true => Marker::rolled_back(service),
            false => Marker::of(service),
        };
        if let Some(marker) = marker {
            return Some((marker.from.unwrap_or_default(), marker.to, marker.at));
        }
        // After a roll-back of its own, Swarm keeps no spec of the update. Only the tasks that failed show it.
        if !is_back || service.previous().is_some() {
            return None;
        }
        let tasks = self.engine.tasks(service.id()).ok()?;
        let failed = service::digest_that_failed(service, &tasks)?;
        Some((String::new(), failed.to_owned(), String::new()))
    }

    /// Whether an earlier process has told of an update, as far as the history or the times show.
    fn is_told(&self, name: &str, service: &Service, to: &str, at: &str) -> bool {
        let age = |time: &str| {
            let time = parse_rfc3339(time)?;
            SystemTime::now().duration_since(time).ok()
        };
        let ended = Some(service.completed()).filter(|time| !time.is_empty());
        let age = age(ended.unwrap_or(at));
        let is_older = |limit| age.is_none_or(|age| age > limit);
        if self.history.is_kept() {
            // An update that was only begun, or that a stop interrupted, is not told to its end.
            let is_end = |outcome| matches!(outcome, Told::Recreated | Told::RolledBack);
            let entries = self.history.entries();
            let is_known = entries.iter().any(|entry| {
                let event = &entry.event;
                event.container.as_deref() == Some(name)
                    && event.new.as_deref() == Some(to)
                    && is_end(event.outcome)
                    && entry.last.as_str() >= at
            });
            return is_known || is_older(OLD_NEWS);
        }
        let is_open = matches!(service.state(), "updating" | "paused");
        let (running, wanted) = service.running();
        let is_well = running >= wanted || service.state().starts_with("rollback_");
        let last_words = match is_well {
            true => self.acceptance.settle + Duration::from_secs(5),
            false => SICK,
        };
        !is_open && is_older(last_words)
    }
}

fn rolled_back(name: &str) -> String {
    format!("{name} was rolled back")
}
