//! The reports about the update of imagewatch's own container, by the process that runs there afterwards.

use super::Refresher;
use super::Server;
use super::cleanup;
use super::round::with_versions;
use crate::engine::Container;
use crate::journal::Event;
use crate::journal::Outcome;
use crate::journal::Step;
use crate::reference::Reference;
use crate::swap::Helper;
use crate::swap::OwnUpdate;
use std::time::Duration;

impl Refresher {
    pub(super) fn event(
        &self,
        container: &Container,
        update: &OwnUpdate,
        outcome: Outcome,
    ) -> Event {
        let event = Event::of(outcome, container.name(), container.image_name());
        let event = event.from_to(&update.from, &update.to);
        let find = |id: &str| self.engine.find_image(id).ok().flatten();
        match find(&update.to) {
            Some(new) => with_versions(event, find(&update.from).as_ref(), &new),
            None => event,
        }
    }

    pub(super) fn tell_done(&self, container: &Container, helper: &Helper, on: &dyn Fn(&Step)) {
        let update = &helper.update;
        let outcome = match update.back_by {
            Some(_) => Outcome::Restored,
            None => Outcome::Recreated,
        };
        let downtime = helper.said(&self.engine).downtime_seconds;
        let downtime = downtime.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let mut event = self.event(container, update, outcome).after(downtime);
        event.reason = update.back_by.as_ref().map(|by| format!("by {by}"));
        if let Ok(reference) = container.image_name().parse::<Reference>() {
            let old = self.engine.find_image(&update.from).ok().flatten();
            let digests = || old.iter().flat_map(|old| old.digests_of(&reference));
            event.old_digest = digests().last().map(str::to_owned);
            self.replaced.add(&reference, &update.from, digests());
            self.note_earlier(&reference, &update.from);
        }
        tell(event, on);
        self.history.save();
    }

    /// Registers a rejection, which only its helper may record, and reports it once.
    pub(super) fn tell_failed(
        &self,
        container: &Container,
        helper: &Helper,
        is_rejected: bool,
        is_news: bool,
        server: &Server,
    ) {
        let update = &helper.update;
        let reason = helper.said(&self.engine).reason;
        let reason =
            reason.unwrap_or_else(|| "imagewatch.helper ended without a reason".to_owned());
        let reference = container.image_name().parse::<Reference>();
        if let (true, Ok(reference)) = (is_rejected, &reference) {
            let digest = update
                .digest
                .as_ref()
                .and_then(|digest| digest.parse().ok());
            if self.rejected.reason(reference, &update.to).is_none() {
                (self.rejected).add(reference, &update.to, digest.as_ref(), &reason);
            }
            (server.rejected)(reference, &reason);
            if update.back_by.is_some() && is_news {
                self.history.decisions().unskip(reference);
            }
        }
        let outcome = match is_rejected {
            true => Outcome::RolledBack,
            false => Outcome::Skipped,
        };
        if is_news || !is_rejected {
            tell(
                self.event(container, update, outcome).because(&reason),
                server.on,
            );
        }
        self.history.save();
    }

    /// Keeps the earlier image of the own container, and removes those before it, as after any update.
    pub(super) fn keep_replaced(&self, container: &Container) {
        let Ok(reference) = container.image_name().parse::<Reference>() else {
            return;
        };
        if self.cleanup {
            let earlier = self.earlier_images(&reference).into_iter();
            let excess = earlier.skip(self.keep).collect();
            self.keep_earlier();
            cleanup::remove_unused(&self.engine, &excess);
        }
    }
}

pub(super) fn tell(event: Event, on: &dyn Fn(&Step)) {
    event.log();
    on(&Step::Outcome(event));
}
