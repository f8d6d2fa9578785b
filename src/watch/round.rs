//! One round of the watcher: acts on the result of each look-up.

use super::Backend;
use super::FirstSight;
use super::followed::Followed;
use super::under_way::UnderWay;
use crate::error::Error;
use crate::error::Result;
use crate::journal::Board;
use crate::journal::Standing;
use crate::journal::Survey;
use crate::logging::debug;
use crate::reference::Digest;
use crate::reference::Target;
use crate::reference::short;
use crate::time::rfc3339;
use crate::update::Consent;
use std::time::SystemTime;

/// The state of one round.
pub(super) struct Round<'a, H> {
    pub(super) backend: &'a H,
    pub(super) first_sight: FirstSight,
    pub(super) board: &'a Board,
    /// The Engine's first failure in this round. The Engine gets no more questions then, because each one could
    /// cost a deadline.
    pub(super) trouble: Option<Error>,
    /// The names of containers that this round found behind.
    pub(super) behind: Vec<String>,
    /// The names of images whose state this round could not find out.
    pub(super) unknown: Vec<String>,
    /// The refreshes that this round began. Look-ups go on meanwhile.
    pub(super) under_way: Vec<UnderWay<'a>>,
    /// Whether this is a look between two rounds.
    pub(super) is_partial: bool,
}

impl<'a, H: Backend> Round<'a, H> {
    /// Asks the Engine a question about a reference, unless an earlier question got no answer.
    fn ask<T>(
        &mut self,
        followed: &mut Followed,
        question: impl FnOnce(&H, &Followed) -> Result<T>,
    ) -> Result<T> {
        if let Some(error) = &self.trouble {
            return Err(error.clone());
        }
        let outcome = question(self.backend, followed);
        followed.is_unanswered = outcome.as_ref().is_err_and(Error::is_unreachable);
        if followed.is_unanswered {
            self.trouble = outcome.as_ref().err().cloned();
        }
        outcome
    }

    /// Checks whether images that were built here have been pulled since. Without an answer, nothing changes.
    pub(super) fn check_local(&mut self, followed: &mut [Followed]) {
        for one in followed.iter_mut().filter(|one| one.is_local) {
            one.is_local = self.is_local(one).unwrap_or(true);
        }
    }

    /// Puts the result of one look-up on the board, and acts on it.
    pub(super) fn handle(&mut self, followed: &'a mut Followed, outcome: Result<Digest>) {
        let digest = match outcome {
            Ok(digest) => digest,
            Err(error) => return self.failed(followed, &error),
        };
        let reference = &followed.target.reference;
        followed.is_failing = false;
        let had_trouble = followed.complaint.end();
        let seen = self.board.seen(reference);
        self.board.saw(reference, &digest);
        // The image may have been rejected since the last survey.
        let is_doubtful = self.backend.may_be_rejected(reference);
        let mut is_due = false;
        self.board.update(reference, |entry| {
            // A survey is due if there was none yet, or if the last one is in doubt.
            is_due = match entry.state {
                Standing::Unknown | Standing::Waiting => true,
                Standing::Rejected => had_trouble,
                Standing::Outdated => entry.last_error.is_some() || is_doubtful,
                _ => false,
            };
            entry.last_check = Some(rfc3339(SystemTime::now()));
            entry.registry_digest = Some(digest.to_string());
            let is_unchanged = seen.as_deref() == Some(digest.as_str());
            if is_unchanged {
                entry.waiting.clear();
                if entry.state != Standing::Rejected {
                    entry.last_error = None;
                }
            }
        });
        match seen {
            // An earlier process remembered this digest.
            Some(seen) if seen == digest.as_str() && followed.is_new => {
                self.first_sight(followed, digest);
            }
            Some(seen) if seen == digest.as_str() => {
                self.unchanged(followed, digest, is_due);
            }
            None => self.first_sight(followed, digest),
            Some(_) if self.waits(followed, &digest) => {}
            Some(seen) => {
                let moved = format!("digest moved {} → {}", short(&seen), digest.short());
                self.follow(followed, digest, &moved);
            }
        }
    }

    /// Handles a tag that did not move. A survey is made if containers changed, or if one is due.
    fn unchanged(&mut self, followed: &'a mut Followed, digest: Digest, is_due: bool) {
        debug(format_args!("{}: unchanged", followed.target.name));
        let came_again = followed.waits.came_again();
        if came_again || is_due || followed.has_changed {
            match self.survey(followed, &digest) {
                Ok(Some(survey)) => self.update_started(followed, digest, &survey),
                Ok(None) => {}
                Err(error) => debug(format_args!("{}: {error}", followed.target.reference)),
            }
        }
    }

    /// Whether to let this round pass without a refresh of the reference.
    fn waits(&self, followed: &mut Followed, digest: &Digest) -> bool {
        if self.is_partial && followed.waits.is_waiting(digest) {
            return true;
        }
        self.goes_back(followed, digest) || followed.skips_round(digest)
    }

    /// Whether the tag went back to an image that was replaced lately, and is not followed yet. Two pipelines that
    /// disagree, or two copies of a registry, would otherwise cost an outage in each round.
    fn goes_back(&self, followed: &mut Followed, digest: &Digest) -> bool {
        let Target { name, reference } = &followed.target;
        if !self.backend.was_replaced(reference, digest) {
            followed.waits.moved_on();
            return false;
        }
        let Some(awaited) = followed.waits.went_back(digest) else {
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
    fn first_sight(&mut self, followed: &'a mut Followed, digest: Digest) {
        let catches_up = self.first_sight == FirstSight::CatchUp || self.backend.catches_up();
        let outcome = self.survey(followed, &digest);
        let Target { name, reference } = &followed.target;
        let survey = match outcome {
            Ok(survey) => survey,
            // A digest that is remembered now would never be caught up with. A rejected image would be shown as
            // current. The next round may have an answer.
            Err(error) if catches_up || self.backend.may_be_rejected(reference) => {
                self.board.update(reference, |entry| {
                    entry.last_error = Some(error.to_string());
                });
                self.unknown.push(name.clone());
                return followed.survey_complaint.complain(&error);
            }
            Err(error) => {
                debug(format_args!("{reference}: {error}"));
                self.unknown.push(name.clone());
                None
            }
        };
        followed.survey_complaint.end();
        followed.is_new = false;
        let standing = survey.as_ref().map(|survey| survey.standing);
        // A refresh begins with a recovery, which a swap of a killed process needs.
        let is_in_mid_swap = standing.is_none() && self.backend.is_in_mid_swap(reference);
        match standing {
            Some(Standing::Rejected) => {
                let rejection = survey.and_then(|survey| survey.rejection);
                followed.say_rejected(&digest, &rejection.unwrap_or_default());
                self.remember(followed, &digest);
            }
            Some(Standing::Outdated) if catches_up && self.waits(followed, &digest) => {}
            standing if catches_up && (is_in_mid_swap || standing == Some(Standing::Outdated)) => {
                let moved = format!("is behind {}", digest.short());
                self.follow(followed, digest, &moved);
            }
            _ => {
                let name = &followed.target.name;
                debug(format_args!("{name}: seeded with {}", digest.short()));
                self.remember(followed, &digest);
                let Some(survey) = survey else { return };
                for one in &survey.behind {
                    if one.consent == Consent::Notify {
                        followed.started.insert(one.name.clone());
                        followed.has_changed = true;
                    }
                }
                self.update_started(followed, digest, &survey);
            }
        }
    }

    /// Surveys a reference, and puts the state on the board. Returns `None` during a half-done swap, because its
    /// containers may change, and for an image that was built here.
    pub(super) fn survey(
        &mut self,
        followed: &mut Followed,
        digest: &Digest,
    ) -> Result<Option<Survey>> {
        let survey = self.ask(followed, |backend, one| {
            backend.survey(&one.target.reference, digest, &one.containers)
        })?;
        let target = &followed.target;
        if survey.standing != Standing::Rejected && self.backend.is_in_mid_swap(&target.reference) {
            return Ok(None);
        }
        if survey.standing == Standing::Local {
            self.leave_local(followed);
            return Ok(None);
        }
        self.behind.extend(survey.names(target).map(str::to_owned));
        self.board.update(&target.reference, |entry| {
            entry.survey(&survey, digest);
        });
        Ok(Some(survey))
    }

    /// Updates containers that started with an older image than the local one, although the tag did not move.
    /// Reports containers in mode notify that are behind.
    fn update_started(&mut self, followed: &'a mut Followed, digest: Digest, survey: &Survey) {
        let is_rejected = survey.standing == Standing::Rejected;
        let (mut due, mut older) = (Vec::new(), Vec::new());
        for one in survey.behind.iter().filter(|_| !is_rejected) {
            let is_told = one.consent == Consent::Notify;
            if followed.started.contains(&one.name) && (is_told || one.is_older_than_here) {
                due.push(one.name.clone());
                if !is_told {
                    older.push(one.name.as_str());
                }
            }
        }
        if due.is_empty() {
            return followed.done();
        }
        if !older.is_empty() {
            let target = &followed.target;
            let permit = (self.backend).permit(target, &digest, &followed.containers);
            let mut waiting = permit.waiting;
            waiting.retain(|one| older.contains(&&*one.name));
            let waits = |name: &str| waiting.iter().any(|one| one.name == name);
            due.retain(|name| !waits(name));
            older.retain(|name| !waits(name));
            self.board
                .update(&target.reference, |entry| entry.wait(waiting));
            if due.is_empty() {
                return;
            }
        }
        if followed.skips_round(&digest) {
            return;
        }
        if !older.is_empty() {
            log::info!(
                "image-auto-refresh: {}: started with an older image than the one here, refreshing: {}",
                followed.target.name,
                older.join(", ")
            );
        }
        self.refresh(followed, digest, Some(due));
    }

    pub(super) fn remember(&self, followed: &Followed, digest: &Digest) {
        self.board.update(&followed.target.reference, |entry| {
            entry.seen_digest = Some(digest.to_string());
        });
    }

    fn is_local(&mut self, followed: &mut Followed) -> Result<bool> {
        self.ask(followed, |backend, one| {
            backend.is_local(&one.target.reference)
        })
    }

    /// Leaves an image alone that was built here. The image is not looked up while that holds.
    pub(super) fn leave_local(&self, followed: &mut Followed) {
        let reference = &followed.target.reference;
        log::info!("{reference}: built here, so it is left alone until a refresh names it");
        self.board.update(reference, |entry| {
            entry.state = Standing::Local;
            entry.last_error = None;
        });
        followed.is_local = true;
    }

    /// Handles a look-up that failed. The remembered digest stays.
    fn failed(&mut self, followed: &mut Followed, error: &Error) {
        followed.is_failing = error.was_asked();
        let is_refused = matches!(error.status(), Some(401 | 403 | 404));
        if is_refused && self.is_local(followed).unwrap_or(false) {
            return self.leave_local(followed);
        }
        let Target { name, reference } = &followed.target;
        self.unknown.push(name.clone());
        self.board.update(reference, |entry| {
            entry.last_check = Some(rfc3339(SystemTime::now()));
            entry.last_error = Some(error.to_string());
        });
        followed.complaint.complain(error);
    }
}
