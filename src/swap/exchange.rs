//! The second phase of a swap: the old containers are stopped and renamed, the successors started and accepted.

use super::Blame;
use super::Failure;
use super::Member;
use super::Swap;
use super::acceptance;
use super::acceptance::Accepted;
use super::acceptance::Standing;
use super::dependencies::wants_healthy;
use super::steps;
use super::undo::Pair;
use super::undo::Stop;
use crate::engine::Container;
use crate::error::Error;
use crate::error::Obstacle;
use crate::error::Result;
use crate::logging::debug;
use std::cell::RefCell;
use std::time::Duration;
use std::time::Instant;

/// An exchange whose successors are all accepted.
pub(super) struct Exchanged {
    /// From the call that stopped the provider until its successor was started.
    pub(super) downtime: Option<Duration>,
    /// The successor that was looked at last, as it was then.
    pub(super) last_seen: Option<Container>,
}

impl Swap<'_> {
    /// Stops the old containers, starts the successors, and waits until they are accepted. An error comes with the
    /// place of its container.
    #[cold]
    pub(super) fn exchange(
        &self,
        members: &mut [Member],
        stop: &mut Stop,
    ) -> std::result::Result<Exchanged, (usize, Failure)> {
        let begun = self
            .stop_all(members, stop)
            .map_err(|error| (0, Failure::of_engine(&error)))?;
        let mut downtime = None;
        let mut provider = Standing::Up;
        for index in 0..members.len() {
            let record = &members[index].pair.record;
            // Between stop and start there are only two renames, because each further call adds to the downtime.
            if record.was_running && provider == Standing::StoppedByOwner {
                self.leave_stopped(members, index)?;
                continue;
            }
            if record.was_running {
                (self.phase)(&record.name, "start");
            }
            if let Err(error) = self.put_in_place(members, index) {
                provider = self.explain_refused_start(members, index, &error)?;
                self.leave_stopped(members, index)?;
                continue;
            }
            if index == 0 && members[0].pair.record.was_running {
                downtime = Some(begun.elapsed());
                if waits_for_health(members) {
                    self.turn.pause();
                    let accepted = self.accept(&members[0].pair.new);
                    self.turn.to_exchange();
                    provider = accepted.map_err(|failure| (index, failure))?.standing;
                }
            }
        }
        let last_seen = match provider {
            Standing::Up => {
                self.turn.pause();
                self.accept_all(members)?
            }
            Standing::StoppedByOwner => None,
        };
        Ok(Exchanged {
            downtime,
            last_seen,
        })
    }

    /// Stops the old containers and puts them aside, the provider last. Returns the moment when the provider's stop
    /// began. Each container is put aside as soon as it is stopped. If somebody removes the successor, that
    /// name tells how to put the old container back.
    #[cold]
    fn stop_all(&self, members: &mut [Member], stop: &mut Stop) -> Result<Instant> {
        let steps = self.steps();
        let mut begun = Instant::now();
        for index in (0..members.len()).rev() {
            // The last successor was looked at just now. Each stop takes time.
            if index + 1 < members.len() {
                self.expect_successor(members, index)?;
            }
            let member = &members[index];
            let record = &member.pair.record;
            if record.was_running {
                // With its policy, a reboot in mid-swap would start both containers, and the old one could get the
                // port or the address first.
                self.ignore_if_gone(&record.old, steps.suspend_policy(member.old))?;
                (self.phase)(&record.name, "stop");
                begun = Instant::now();
                let stopped = self.ignore_if_gone(&record.old, steps.stop(member.old));
                if stopped.is_err() {
                    *stop = Stop::MayBeUnderWay;
                }
                stopped?;
            }
            let aside = steps.rename(&record.old, &record.old_name());
            self.ignore_if_gone(&record.old, aside)?;
        }
        Ok(begun)
    }

    /// Waits until all successors are accepted. Returns the one that was looked at last.
    #[cold]
    pub(super) fn accept_all(
        &self,
        members: &[Member],
    ) -> std::result::Result<Option<Container>, (usize, Failure)> {
        let last_seen = RefCell::new(None);
        let accept = |pair: &Pair| {
            let name = &pair.record.name;
            debug(format_args!(
                "{name}: started, waiting for it to be accepted"
            ));
            (self.phase)(name, "accept");
            let Accepted { standing, seen } = self.accept(&pair.new)?;
            last_seen.replace(Some(seen));
            Ok(standing)
        };
        let pairs: Vec<Pair> = members.iter().map(|member| member.pair.clone()).collect();
        acceptance::accept_all(self.steps(), &pairs, &accept)?;
        let last_seen = last_seen.take();
        if let (Some(seen), [only]) = (&last_seen, members)
            && seen.image_id() != only.image.id()
        {
            let reason =
                "the tag moved in the meantime, so it was made from another image".to_owned();
            let blame = Blame::Circumstances;
            return Err((0, Failure { reason, blame }));
        }
        Ok(last_seen)
    }

    /// Finds the member that did not come up when the start of one was refused. The provider of the refused container may
    /// have ended already. Then the provider did not come up, and the provider's output counts. If the owner
    /// stopped the provider, nothing failed.
    #[cold]
    pub(super) fn explain_refused_start(
        &self,
        members: &[Member],
        index: usize,
        error: &Error,
    ) -> std::result::Result<Standing, (usize, Failure)> {
        let failure = start_failure(error);
        if failure.blame == Blame::Circumstances {
            for (provider, member) in members[..index].iter().enumerate() {
                let Pair { record, new, .. } = &member.pair;
                if !record.was_running || !self.steps().has_ended(new) {
                    continue;
                }
                let accepted = self.accept(new).map_err(|failure| (provider, failure))?;
                if accepted.standing == Standing::StoppedByOwner {
                    return Ok(accepted.standing);
                }
            }
        }
        Err((index, failure))
    }

    /// Gives a successor its name without starting it.
    fn leave_stopped(
        &self,
        members: &[Member],
        index: usize,
    ) -> std::result::Result<(), (usize, Failure)> {
        let Pair { record, new, .. } = &members[index].pair;
        log::warn!(
            "{}: not started, because it lives in {}, which its owner stopped meanwhile",
            record.name,
            members[0].old.name()
        );
        let named = self.steps().ensure_name(new, &record.name);
        named
            .map(drop)
            .map_err(|error| (index, Failure::of_engine(&error)))
    }

    #[cold]
    pub(super) fn accept(&self, new: &str) -> std::result::Result<Accepted, Failure> {
        let accepted = self.acceptance.await_acceptance(self.steps(), new);
        accepted.map_err(|failure| Failure {
            reason: format!("{}{}", failure.reason, self.last_words(new)),
            blame: failure.blame,
        })
    }

    /// Starts a successor. An address or a port that the old container held may take a moment to be free.
    pub(super) fn start(&self, id: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            match self.steps().start(id) {
                Err(error)
                    if error.obstacle() == Some(Obstacle::Taken)
                        && begun.elapsed() < steps::START_PATIENCE
                        && !self.shutdown.is_closed() =>
                {
                    std::thread::sleep(steps::PAUSE);
                }
                outcome => return outcome,
            }
        }
    }
}

/// Blames the image if the image is the obstacle to the start: each further try would only cost the owner another
/// outage.
fn start_failure(error: &Error) -> Failure {
    let blame = match error.obstacle() {
        Some(Obstacle::Image) => Blame::Image,
        _ => Blame::Circumstances,
    };
    Failure {
        reason: error.to_string(),
        blame,
    }
}

/// Whether a dependent of the first member must start only once that is healthy. Other dependents start at once:
/// as long as they are stopped, anybody's `docker container prune` removes them.
fn waits_for_health(members: &[Member]) -> bool {
    let Some((first, others)) = members.split_first() else {
        return false;
    };
    let wants = |one: &Member| one.pair.record.was_running && wants_healthy(one.old, first.old);
    others.iter().any(wants)
}
