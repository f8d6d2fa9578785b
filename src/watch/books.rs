//! What becomes of the look-ups of one round.

use super::FirstSight;
use super::Hands;
use super::MOST_ROUNDS;
use super::Pending;
use super::Stale;
use crate::debug::debug;
use crate::error::Error;
use crate::error::Result;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::refresh::Target;
use crate::refresh::Verdict;
use crate::status::Board;
use crate::status::Standing;
use crate::time::rfc3339;
use std::collections::HashMap;
use std::collections::HashSet;
use std::time::SystemTime;

/// The part of a watcher that changes while a round is on.
pub(super) struct Books<'a, H> {
    pub(super) hands: &'a H,
    pub(super) first_sight: FirstSight,
    pub(super) board: &'a Board,
    pub(super) seen: &'a mut HashMap<Reference, Digest>,
    pub(super) complaints: &'a mut HashMap<String, String>,
    pub(super) local: &'a mut HashSet<Reference>,
    pub(super) failing: &'a mut HashSet<Reference>,
    pub(super) unanswered: &'a mut HashSet<Reference>,
    pub(super) stale: &'a mut Vec<Stale>,
    /// Why the Engine is asked nothing more in this round: each further question could cost a deadline.
    pub(super) trouble: Option<Error>,
    /// What was begun in this round: the look-ups go on meanwhile.
    pub(super) under_way: Vec<(Target, Digest, Pending)>,
}

impl<H: Hands> Books<'_, H> {
    /// Asks the Engine something about a reference, unless it has left a question unanswered.
    fn ask<T>(
        &mut self,
        reference: &Reference,
        question: impl FnOnce(&H) -> Result<T>,
    ) -> Result<T> {
        if let Some(error) = &self.trouble {
            return Err(error.clone());
        }
        let outcome = question(self.hands);
        if let Err(error @ Error::Unreachable { .. }) = &outcome {
            self.trouble = Some(error.clone());
            self.unanswered.insert(reference.clone());
        } else {
            self.unanswered.remove(reference);
        }
        outcome
    }

    /// What was built here may have been pulled since. What cannot be known stays as it is.
    pub(super) fn check_local(&mut self) {
        for reference in self.local.clone() {
            let is_local = self.ask(&reference, |hands| hands.is_local(&reference));
            if matches!(is_local, Ok(false)) {
                self.local.remove(&reference);
            }
        }
    }

    /// Enters what one look-up found, and acts on it.
    pub(super) fn enter(&mut self, target: &Target, outcome: Result<Digest>) {
        let digest = match outcome {
            Ok(digest) => digest,
            Err(error) => return self.failed(target, &error),
        };
        let reference = &target.reference;
        self.failing.remove(reference);
        let trouble = self.complaints.remove(&reference.to_string());
        let seen = self.seen.get(reference).cloned();
        self.board.update(reference, |entry| {
            entry.last_check = Some(rfc3339(SystemTime::now()));
            entry.registry_digest = Some(digest.to_string());
            if seen.as_ref() == Some(&digest) && entry.state != Standing::Rejected {
                entry.last_error = None;
            }
        });
        match seen {
            Some(seen) if seen == digest => {
                debug(format_args!("{}: unchanged", target.name));
                match self.board.standing(reference) {
                    Some(Standing::Unknown) => self.tell_standing(reference, &digest),
                    Some(Standing::Rejected) if trouble.is_some() => {
                        self.tell_rejection(reference, &digest);
                    }
                    _ => {}
                }
            }
            _ if self.lets_pass(reference, &digest) => {
                debug(format_args!("{}: not pulled again yet", target.name));
            }
            Some(seen) => {
                log::info!(
                    "image-auto-refresh: {} digest moved {} → {}, refreshing",
                    target.name,
                    seen.short(),
                    digest.short()
                );
                self.refresh(target, digest);
            }
            None => self.first_sight(target, digest),
        }
    }

    /// Lets this round pass, if the Engine got something older when it was last asked for this and is not to be
    /// asked again yet.
    fn lets_pass(&mut self, reference: &Reference, digest: &Digest) -> bool {
        let mut all = self.stale.iter_mut();
        let is_it = |one: &&mut Stale| one.reference == *reference && one.digest == *digest;
        let Some(stale) = all.find(is_it).filter(|one| one.left > 0) else {
            return false;
        };
        stale.left -= 1;
        true
    }

    /// The Engine got something older; it is asked again ever less often.
    fn put_off(&mut self, target: &Target, digest: Digest, reason: &str) {
        let reference = &target.reference;
        let mut before = self.stale.iter();
        let before = before.find(|one| one.reference == *reference && one.digest == digest);
        let waited = before.map(|before| MOST_ROUNDS.min(before.waited.max(1) * 2));
        if waited.is_none() {
            log::warn!("{}: {reason}; pulled again later", target.name);
        }
        self.forget_stale(reference);
        let rounds = waited.unwrap_or(0);
        self.stale.push(Stale {
            reference: reference.clone(),
            digest,
            waited: rounds,
            left: rounds,
        });
    }

    fn forget_stale(&mut self, reference: &Reference) {
        self.stale.retain(|one| one.reference != *reference);
    }

    fn first_sight(&mut self, target: &Target, digest: Digest) {
        let Target { name, reference } = target;
        let about = format!("{reference} at first sight");
        if self.hands.may_be_rejected(reference) {
            match self.ask(reference, |hands| hands.rejection(reference, &digest)) {
                Ok(None) => drop(self.complaints.remove(&about)),
                Ok(Some(reason)) => return self.judge(target, digest, Verdict::Rejected(reason)),
                // Seeding it now would call it current; the next round may know more.
                Err(error) => {
                    self.board.update(reference, |entry| {
                        entry.last_error = Some(error.to_string());
                    });
                    return complain(self.complaints, &about, &error);
                }
            }
        }
        if self.first_sight == FirstSight::CatchUp {
            if self.trouble.is_some() {
                return;
            }
            // A refresh begins with putting right what a killed process left half done.
            let is_behind = if self.hands.is_in_mid_swap(reference) {
                Ok(true)
            } else {
                self.ask(reference, |hands| hands.is_behind(reference, &digest))
            };
            match is_behind {
                Ok(false) => drop(self.complaints.remove(&about)),
                Ok(true) => {
                    self.complaints.remove(&about);
                    log::info!(
                        "image-auto-refresh: {name} is behind {}, refreshing",
                        digest.short()
                    );
                    return self.refresh(target, digest);
                }
                // Seeded now, it would never be caught up with.
                Err(error) => return complain(self.complaints, &about, &error),
            }
        }
        self.tell_standing(reference, &digest);
        self.remember(reference, digest.clone());
        debug(format_args!("{name}: seeded with {}", digest.short()));
    }

    /// How things stand with a digest that is not acted on.
    fn tell_standing(&mut self, reference: &Reference, digest: &Digest) {
        if self.trouble.is_some() || self.hands.is_in_mid_swap(reference) {
            return;
        }
        let standing = match self.ask(reference, |hands| hands.is_behind(reference, digest)) {
            Ok(true) => Standing::Outdated,
            Ok(false) => Standing::Current,
            Err(error) => {
                debug(format_args!("{reference}: {error}"));
                Standing::Unknown
            }
        };
        self.board.update(reference, |entry| {
            entry.state = standing;
            entry.last_error = None;
        });
    }

    /// Why it is rejected, once the trouble that was told in place of that is over.
    fn tell_rejection(&mut self, reference: &Reference, digest: &Digest) {
        let rejection = self.ask(reference, |hands| hands.rejection(reference, digest));
        if let Ok(Some(reason)) = rejection {
            self.board
                .update(reference, |entry| entry.last_error = Some(reason));
        }
    }

    fn refresh(&mut self, target: &Target, digest: Digest) {
        self.board.update(&target.reference, |entry| {
            entry.state = Standing::Refreshing;
        });
        let pending = self.hands.refresh(target, &digest);
        self.under_way.push((target.clone(), digest, pending));
    }

    /// Waits for what was begun.
    pub(super) fn close(&mut self) {
        for (target, digest, pending) in std::mem::take(&mut self.under_way) {
            self.judge(&target, digest, pending());
        }
    }

    /// Remembers the digest only if there is nothing left to do about it.
    fn judge(&mut self, target: &Target, digest: Digest, verdict: Verdict) {
        let reference = &target.reference;
        self.board.judge(reference, &verdict);
        match verdict {
            Verdict::Done | Verdict::Noticed => self.remember(reference, digest),
            Verdict::Retry(_) => {}
            Verdict::Stale(reason) => self.put_off(target, digest, &reason),
            Verdict::Rejected(reason) => {
                log::error!(
                    "image-auto-refresh: {} {} is rejected until the tag moves on: {reason}",
                    target.name,
                    digest.short()
                );
                self.remember(reference, digest);
            }
        }
    }

    fn remember(&mut self, reference: &Reference, digest: Digest) {
        let shown = digest.to_string();
        self.board
            .update(reference, |entry| entry.seen_digest = Some(shown));
        self.forget_stale(reference);
        self.seen.insert(reference.clone(), digest);
    }

    /// What was seen stays as it is.
    fn failed(&mut self, target: &Target, error: &Error) {
        if error.was_asked() {
            self.failing.insert(target.reference.clone());
        } else {
            self.failing.remove(&target.reference);
        }
        let is_refused = matches!(error.status(), Some(401 | 403 | 404));
        let is_local = |hands: &H| hands.is_local(&target.reference);
        if is_refused && self.ask(&target.reference, is_local).unwrap_or(false) {
            log::info!(
                "{}: built here, so there is nothing to look up",
                target.name
            );
            self.board.update(&target.reference, |entry| {
                entry.state = Standing::Local;
                entry.last_error = None;
            });
            self.local.insert(target.reference.clone());
            return;
        }
        self.board.update(&target.reference, |entry| {
            entry.last_check = Some(rfc3339(SystemTime::now()));
            entry.last_error = Some(error.to_string());
        });
        complain(self.complaints, &target.reference.to_string(), error);
    }
}

/// Says a trouble when it begins or changes, not each round that it lasts.
pub(super) fn complain(complaints: &mut HashMap<String, String>, about: &str, error: &Error) {
    if !error.was_asked() {
        // What its host is in trouble with was said of the host, or of those that were asked for.
        debug(format_args!("{error}"));
        complaints.entry(about.to_owned()).or_default();
        return;
    }
    let kind = error.to_string();
    if complaints.get(about) == Some(&kind) {
        debug(format_args!("{error}"));
    } else {
        log::warn!("{error}");
        complaints.insert(about.to_owned(), kind);
    }
}
