//! Tags that moved, and whose updates have to wait for their time.

use super::Backend;
use super::followed::Followed;
use super::round::Round;
use crate::journal::Standing;
use crate::journal::Waiting;
use crate::logging::debug;
use crate::reference::Digest;
use crate::update::Permit;
use std::collections::HashSet;

/// A digest that not every container may be updated to yet.
#[derive(Debug)]
pub(super) struct Delayed {
    pub(super) digest: Digest,
    /// The names of the containers that were updated already.
    pub(super) done: HashSet<String>,
    /// Whether the survey of this digest is still to be made.
    is_survey_due: bool,
    /// Whether the image was ordered ahead of its window.
    is_fetched: bool,
}

impl<'a, H: Backend> Round<'a, H> {
    /// Begins the refresh of a reference, as far as the policy allows it now. `moved` says how its tag moved.
    pub(super) fn follow(&mut self, followed: &'a mut Followed, digest: Digest, moved: &str) {
        if self.was_rejected(followed, &digest) {
            return;
        }
        let target = &followed.target;
        let permit = (self.backend).permit(target, &digest, &followed.containers);
        if may_come(&permit) && self.is_unverified(followed, &digest) {
            return;
        }
        let target = &followed.target;
        if permit.waiting.is_empty() {
            log::info!("image-auto-refresh: {} {moved}, refreshing", target.name);
            return self.refresh_all(followed, digest);
        }
        if self.begins_to_wait(followed, &digest) {
            let first = Waiting::first(&permit.waiting);
            let words = first.map_or(String::new(), |one| one.in_words());
            log::info!(
                "image-auto-refresh: {} {moved}, {words}",
                followed.target.name
            );
        }
        if self.has_nothing_to_do(followed, &digest) {
            return;
        }
        let waiting = self.of_those_behind(followed, &permit);
        if waiting.is_empty() {
            return self.refresh_all(followed, digest);
        }
        let is_ripe = waiting.iter().any(|one| one.is_ripe);
        self.board.update(&followed.target.reference, |entry| {
            entry.last_error = None;
            entry.wait(waiting);
        });
        if let Some(delayed) = &mut followed.delayed
            && is_ripe
            && !std::mem::replace(&mut delayed.is_fetched, true)
        {
            self.backend.fetch(&followed.target, &digest);
        }
        let done = followed.delayed.as_ref().map(|delayed| &delayed.done);
        let is_done = |name: &String| done.is_some_and(|done| done.contains(name));
        let due: Vec<String> = permit
            .now
            .into_iter()
            .filter(|name| !is_done(name))
            .collect();
        if !due.is_empty() {
            let (name, list) = (&followed.target.name, due.join(", "));
            log::info!("image-auto-refresh: {name}: refreshing those whose time has come: {list}");
            self.refresh(followed, digest, Some(due));
        }
    }

    /// Whether the image needs a signature first. A container may run it already, for example after a pull by hand.
    #[cold]
    fn is_unverified(&mut self, followed: &mut Followed, digest: &Digest) -> bool {
        let Followed {
            target, containers, ..
        } = &*followed;
        let Some(verdict) = self.backend.verify(target, digest, containers) else {
            return false;
        };
        let survey = self.survey(followed, digest);
        let standing = survey.ok().flatten().map(|survey| survey.standing);
        if standing == Some(Standing::Current) {
            followed.done();
            self.remember(followed, digest);
            return true;
        }
        self.board.update(&followed.target.reference, |entry| {
            entry.waiting.clear();
            entry.state = Standing::Outdated;
        });
        self.board.apply(&followed.target, &verdict, None);
        true
    }

    /// Whether an earlier process rejected the image, and was killed before it remembered the digest.
    fn was_rejected(&mut self, followed: &mut Followed, digest: &Digest) -> bool {
        let may_be = self.backend.may_be_rejected(&followed.target.reference);
        if !std::mem::replace(&mut followed.is_new, false) || !may_be {
            return false;
        }
        match self.survey(followed, digest) {
            Ok(Some(survey)) if survey.standing == Standing::Rejected => {
                followed.say_rejected(digest, &survey.rejection.unwrap_or_default());
                followed.done();
                self.remember(followed, digest);
                true
            }
            _ => false,
        }
    }

    fn refresh_all(&mut self, followed: &'a mut Followed, digest: Digest) {
        followed.delayed = None;
        self.board
            .update(&followed.target.reference, |entry| entry.waiting.clear());
        self.refresh(followed, digest, None);
    }

    /// Whether the wait for this digest is news.
    fn begins_to_wait(&self, followed: &mut Followed, digest: &Digest) -> bool {
        let delayed = followed.delayed.as_ref();
        if delayed.is_some_and(|delayed| delayed.digest == *digest) {
            return false;
        }
        followed.delayed = Some(Delayed {
            digest: digest.clone(),
            done: HashSet::new(),
            is_survey_due: true,
            is_fetched: false,
        });
        true
    }

    /// Whether nothing waits after all, because every container runs the image already, or never will.
    fn has_nothing_to_do(&mut self, followed: &mut Followed, digest: &Digest) -> bool {
        let is_due = |delayed: &Delayed| delayed.is_survey_due;
        if !followed.has_changed && !followed.delayed.as_ref().is_some_and(is_due) {
            return false;
        }
        let survey = match self.survey(followed, digest) {
            Ok(survey) => survey,
            Err(error) => {
                debug(format_args!("{}: {error}", followed.target.reference));
                return false;
            }
        };
        if followed.is_local {
            return true;
        }
        let Some(survey) = survey else { return false };
        if let Some(delayed) = &mut followed.delayed {
            delayed.is_survey_due = false;
        }
        followed.has_changed = false;
        match survey.standing {
            Standing::Current => {}
            Standing::Rejected => {
                followed.say_rejected(digest, &survey.rejection.unwrap_or_default())
            }
            _ => return false,
        }
        followed.delayed = None;
        followed.done();
        self.remember(followed, digest);
        true
    }

    /// The waiting updates of containers that are behind, as far as the last survey tells.
    fn of_those_behind(&self, followed: &Followed, permit: &Permit) -> Vec<Waiting> {
        let mut waiting = permit.waiting.clone();
        self.board.update(&followed.target.reference, |entry| {
            waiting.retain(|one| {
                let mut containers = followed.containers.iter();
                let found = containers.find(|container| container.name == one.name);
                let is_behind = found.and_then(|container| entry.is_behind(&container.image_id));
                is_behind != Some(false)
            });
        });
        waiting
    }
}

/// Whether any container may be updated, now or later.
fn may_come(permit: &Permit) -> bool {
    let mut waiting = permit.waiting.iter();
    !permit.now.is_empty() || permit.waiting.is_empty() || waiting.any(|one| one.until.is_some())
}
