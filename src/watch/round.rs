//! One round of the watcher: acts on the result of each look-up.

use super::Backend;
use super::FirstSight;
use super::complaints::Complaints;
use super::put_off::Waits;
use super::runs::Runs;
use super::under_way::UnderWay;
use crate::error::Error;
use crate::error::Result;
use crate::journal::Board;
use crate::journal::Standing;
use crate::journal::Survey;
use crate::logging::debug;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::Target;
use crate::reference::short;
use crate::time::rfc3339;
use crate::update::Consent;
use crate::update::Seen;
use crate::update::summary;
use std::collections::HashSet;
use std::time::SystemTime;

/// The state of one round, and the parts of the watcher that the round changes.
pub(super) struct Round<'a, H> {
    pub(super) backend: &'a H,
    pub(super) first_sight: FirstSight,
    pub(super) board: &'a Board,
    pub(super) seen: &'a [Seen],
    pub(super) runs: &'a mut Runs,
    pub(super) waits: &'a mut Waits,
    pub(super) complaints: &'a mut Complaints,
    pub(super) local: &'a mut HashSet<Reference>,
    pub(super) failing: &'a mut HashSet<Reference>,
    pub(super) unanswered: &'a mut HashSet<Reference>,
    /// The Engine's first failure in this round. The Engine gets no more questions then, because each one could
    /// cost a deadline.
    pub(super) trouble: Option<Error>,
    /// The names of containers that this round found behind.
    pub(super) behind: Vec<String>,
    /// The names of images whose state this round could not find out.
    pub(super) unknown: Vec<String>,
    /// The refreshes that this round began. Look-ups go on meanwhile.
    pub(super) under_way: Vec<UnderWay>,
}

impl<H: Backend> Round<'_, H> {
    /// Asks the Engine a question about a reference, unless an earlier question got no answer.
    fn ask<T>(
        &mut self,
        reference: &Reference,
        question: impl FnOnce(&H) -> Result<T>,
    ) -> Result<T> {
        if let Some(error) = &self.trouble {
            return Err(error.clone());
        }
        let outcome = question(self.backend);
        if let Err(error @ Error::Unreachable { .. }) = &outcome {
            self.trouble = Some(error.clone());
            self.unanswered.insert(reference.clone());
        } else {
            self.unanswered.remove(reference);
        }
        outcome
    }

    /// Checks whether images that were built here have been pulled since. Without an answer, nothing changes.
    pub(super) fn check_local(&mut self) {
        for reference in self.local.clone() {
            let is_local = self.ask(&reference, |backend| backend.is_local(&reference));
            if matches!(is_local, Ok(false)) {
                self.local.remove(&reference);
            }
        }
    }

    /// Returns the references in the order of their look-ups. References that failed come last, so that they do not
    /// keep others of their host waiting in each round. References that were not asked for come first.
    pub(super) fn references(&self, targets: &[Target]) -> Vec<Reference> {
        let (failed, mut references): (Vec<Reference>, Vec<Reference>) = targets
            .iter()
            .map(|target| target.reference.clone())
            .filter(|reference| !self.local.contains(reference))
            .partition(|reference| self.failing.contains(reference));
        references.extend(failed);
        references
    }

    /// Puts the result of one look-up on the board, and acts on it.
    pub(super) fn handle(&mut self, target: &Target, outcome: Result<Digest>) {
        let digest = match outcome {
            Ok(digest) => digest,
            Err(error) => return self.failed(target, &error),
        };
        let reference = &target.reference;
        self.failing.remove(reference);
        let had_trouble = self.complaints.end(&reference.to_string());
        let seen = self.board.seen(reference);
        let mut is_due = false;
        self.board.update(reference, |entry| {
            // A survey is due if there was none yet, or if the last one is in doubt.
            is_due = match entry.state {
                Standing::Unknown => true,
                Standing::Rejected => had_trouble,
                Standing::Outdated => entry.last_error.is_some(),
                _ => false,
            };
            entry.last_check = Some(rfc3339(SystemTime::now()));
            entry.registry_digest = Some(digest.to_string());
            let is_unchanged = seen.as_deref() == Some(digest.as_str());
            if is_unchanged && entry.state != Standing::Rejected {
                entry.last_error = None;
            }
        });
        match seen {
            Some(seen) if seen == digest.as_str() => {
                self.unchanged(target, &digest, is_due);
            }
            None => self.first_sight(target, digest),
            Some(_) if self.waits(target, &digest) => {}
            Some(seen) => {
                log::info!(
                    "image-auto-refresh: {} digest moved {} → {}, refreshing",
                    target.name,
                    short(&seen),
                    digest.short()
                );
                self.refresh(target, digest, None);
            }
        }
    }

    /// Handles a tag that did not move. A survey is made if containers changed, or if one is due.
    fn unchanged(&mut self, target: &Target, digest: &Digest, is_due: bool) {
        let reference = &target.reference;
        debug(format_args!("{}: unchanged", target.name));
        let came_again = self.waits.came_again(reference);
        if came_again || is_due || self.runs.have_changed(reference) {
            match self.survey(target, digest) {
                Ok(Some(survey)) => self.update_started(target, digest, &survey),
                Ok(None) => {}
                Err(error) => debug(format_args!("{reference}: {error}")),
            }
        }
    }

    /// Whether to let this round pass without a refresh of the reference.
    fn waits(&mut self, target: &Target, digest: &Digest) -> bool {
        if self.goes_back(target, digest) {
            return true;
        }
        let passes = self.waits.skips_round(&target.reference, digest);
        if passes {
            debug(format_args!("{}: not tried again yet", target.name));
        }
        passes
    }

    /// Whether the tag went back to an image that was replaced lately, and is not followed yet. Two pipelines that
    /// disagree, or two copies of a registry, would otherwise cost an outage in each round.
    fn goes_back(&mut self, target: &Target, digest: &Digest) -> bool {
        let Target { name, reference } = target;
        if !self.backend.was_replaced(reference, digest) {
            self.waits.moved_on(reference);
            return false;
        }
        let Some(awaited) = self.waits.went_back(reference, digest) else {
            return false;
        };
        let when = match awaited.rounds {
            1 => "the next round".to_owned(),
            rounds => format!("{rounds} rounds"),
        };
        let reason = format!(
            "the tag went back to {}, which was replaced here within the last day; it is followed in {when} if the tag stays there",
            digest.short()
        );
        if awaited.is_news {
            log::warn!("image-auto-refresh: {name}: {reason}");
        } else {
            debug(format_args!("{name}: {reason}"));
        }
        self.board.update(reference, |entry| {
            entry.state = Standing::Outdated;
            entry.last_error = Some(reason);
        });
        true
    }

    /// Handles the first digest of a reference: remembers the digest, or begins a refresh if catching up.
    fn first_sight(&mut self, target: &Target, digest: Digest) {
        let Target { name, reference } = target;
        let about = format!("{reference} at first sight");
        let catches_up = self.first_sight == FirstSight::CatchUp;
        let survey = match self.survey(target, &digest) {
            Ok(survey) => survey,
            // A digest that is remembered now would never be caught up with. A rejected image would be shown as
            // current. The next round may have an answer.
            Err(error) if catches_up || self.backend.may_be_rejected(reference) => {
                self.board.update(reference, |entry| {
                    entry.last_error = Some(error.to_string());
                });
                self.unknown.push(name.clone());
                return self.complaints.complain(&about, &error);
            }
            Err(error) => {
                debug(format_args!("{reference}: {error}"));
                self.unknown.push(name.clone());
                None
            }
        };
        self.complaints.end(&about);
        let standing = survey.as_ref().map(|survey| survey.standing);
        // A refresh begins with a recovery, which a swap of a killed process needs.
        let is_in_mid_swap = standing.is_none() && self.backend.is_in_mid_swap(reference);
        match standing {
            Some(Standing::Rejected) => {
                let rejection = survey.and_then(|survey| survey.rejection);
                self.say_rejected(target, &digest, &rejection.unwrap_or_default());
                self.remember(reference, &digest);
            }
            Some(Standing::Outdated) if catches_up && self.waits(target, &digest) => {}
            standing if catches_up && (is_in_mid_swap || standing == Some(Standing::Outdated)) => {
                log::info!(
                    "image-auto-refresh: {name} is behind {}, refreshing",
                    digest.short()
                );
                self.refresh(target, digest, None);
            }
            _ => {
                debug(format_args!("{name}: seeded with {}", digest.short()));
                self.remember(reference, &digest);
                let Some(survey) = survey else { return };
                for one in &survey.behind {
                    if one.consent == Consent::Notify {
                        self.runs.mark(reference, &one.name);
                    }
                }
                self.update_started(target, &digest, &survey);
            }
        }
    }

    /// Surveys a reference, and puts the state on the board. Returns `None` during a half-done swap, because its
    /// containers may change, and for an image that was built here.
    fn survey(&mut self, target: &Target, digest: &Digest) -> Result<Option<Survey>> {
        let reference = &target.reference;
        let seen = self.seen;
        let survey = self.ask(reference, |backend| backend.survey(reference, digest, seen))?;
        if survey.standing != Standing::Rejected && self.backend.is_in_mid_swap(reference) {
            return Ok(None);
        }
        if survey.standing == Standing::Local {
            self.leave_local(reference);
            return Ok(None);
        }
        self.behind.extend(survey.names(target).map(str::to_owned));
        self.board.update(reference, |entry| {
            entry.state = survey.standing;
            entry.last_error.clone_from(&survey.rejection);
        });
        Ok(Some(survey))
    }

    /// Updates containers that started with an older image than the local one, although the tag did not move.
    /// Reports containers in mode notify that are behind.
    fn update_started(&mut self, target: &Target, digest: &Digest, survey: &Survey) {
        let Target { name, reference } = target;
        let is_rejected = survey.standing == Standing::Rejected;
        let (mut due, mut older) = (Vec::new(), Vec::new());
        for one in survey.behind.iter().filter(|_| !is_rejected) {
            let is_told = one.consent == Consent::Notify;
            if self.runs.has_started(reference, &one.name) && (is_told || one.is_older_than_here) {
                due.push(one.name.clone());
                if !is_told {
                    older.push(one.name.as_str());
                }
            }
        }
        if due.is_empty() {
            self.waits.done(reference);
            return self.runs.done(reference);
        }
        if self.waits.skips_round(reference, digest) {
            return debug(format_args!("{name}: not tried again yet"));
        }
        if !older.is_empty() {
            log::info!(
                "image-auto-refresh: {name}: started with an older image than the one here, refreshing: {}",
                older.join(", ")
            );
        }
        self.refresh(target, digest.clone(), Some(due));
    }

    /// Logs the summary of the first round.
    pub(super) fn say_summary(&self, images: usize) {
        log::info!(
            "{}",
            summary(self.seen, images, &self.behind, &self.unknown)
        );
    }

    fn remember(&mut self, reference: &Reference, digest: &Digest) {
        self.board.update(reference, |entry| {
            entry.seen_digest = Some(digest.to_string());
        });
    }

    fn is_local(&mut self, reference: &Reference) -> bool {
        let is_local = self.ask(reference, |backend| backend.is_local(reference));
        is_local.unwrap_or(false)
    }

    /// Leaves an image alone that was built here. The image is not looked up while that holds.
    pub(super) fn leave_local(&mut self, reference: &Reference) {
        log::info!("{reference}: built here, so it is left alone until a refresh names it");
        self.board.update(reference, |entry| {
            entry.state = Standing::Local;
            entry.last_error = None;
        });
        self.local.insert(reference.clone());
    }

    /// Handles a look-up that failed. The remembered digest stays.
    fn failed(&mut self, target: &Target, error: &Error) {
        if error.was_asked() {
            self.failing.insert(target.reference.clone());
        } else {
            self.failing.remove(&target.reference);
        }
        let is_refused = matches!(error.status(), Some(401 | 403 | 404));
        if is_refused && self.is_local(&target.reference) {
            return self.leave_local(&target.reference);
        }
        self.unknown.push(target.name.clone());
        self.board.update(&target.reference, |entry| {
            entry.last_check = Some(rfc3339(SystemTime::now()));
            entry.last_error = Some(error.to_string());
        });
        let about = target.reference.to_string();
        self.complaints.complain(&about, error);
    }
}
