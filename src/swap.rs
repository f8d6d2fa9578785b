//! The swap: one container replaced by its successor, or left as it was.
//!
//! **The old container exists until the new one is accepted.** The successor is created, under a
//! name of its own, before the old container is touched; the old one is renamed, never removed,
//! until the successor runs and has shown that it stays up. Any error leads to `undo`, which looks
//! at what is really there and brings the old container back. If this process is killed, another
//! one does that ([`recover`]), from what the Engine shows alone.
//!
//! | step | if everything stops right after it |
//! |---|---|
//! | create the successor as `NAME.iw-new-…` | the old one runs as before |
//! | take the old one's restart policy away | the old one runs |
//! | stop the old one | it is stopped under its own name |
//! | rename the old one to `NAME.iw-old-…` | it is stopped, and its name says whose it is |
//! | rename the successor to `NAME` | the same |
//! | start the successor | it runs, the old one is at hand |
//! | accept it, remove the old one | done |
//!
//! Containers that live in this one (`network_mode: container:…`) are replaced with it, in the same
//! swap: all of them are accepted, or all old ones come back.

mod acceptance;
mod exempt;
mod plan;
mod record;
mod recovery;
mod steps;
mod undo;

pub use acceptance::Acceptance;
pub use exempt::must_stay;
pub use plan::Plan;
pub use record::is_aside;
pub use record::is_transient_name;
pub use record::name_of_aside;
pub use recovery::Recovered;
pub use recovery::half_done;
pub use recovery::is_needed;
pub use recovery::recover;
pub use recovery::recover_once;
pub use recovery::settle;

use crate::debug::debug;
use crate::engine::About;
use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Image;
use crate::engine::Removal;
use crate::engine::State;
use crate::engine::is_full;
use crate::error::Error;
use crate::error::Result;
use crate::error::one_line;
use crate::replacement::Moved;
use crate::replacement::TRANSACTION_LABEL;
use crate::replacement::lost_on_podman;
use record::Record;
use record::is_up;
use std::time::Duration;
use std::time::Instant;
use steps::Steps;
use undo::Pair;
use undo::Stop;
use undo::Undone;
use undo::finish;
use undo::undo;

/// How long a start goes on trying while an address or a port is still being given back.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How many of a failed container's last lines are reported.
const LAST_LINES: u32 = 5;

/// What became of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The successor took over.
    Recreated {
        /// From the call that stopped the old one until the successor was started; `None` if the
        /// container was not running.
        downtime: Option<Duration>,
    },
    /// The successor was not accepted; the old container is back as it was.
    RolledBack {
        /// Why.
        reason: String,
        /// Whose fault it was.
        blame: Blame,
        /// Which part did not come up; the first, if none in particular.
        part: usize,
    },
    /// It went wrong before the old container was touched. Worth another try.
    NotBegun {
        /// Why.
        reason: String,
    },
    /// This container is left alone on purpose.
    Skipped {
        /// Why.
        reason: String,
    },
}

/// Whose fault a roll-back was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The image: it does not come up. Trying again changes nothing.
    Image,
    /// The Engine, or somebody else: worth another try.
    Circumstances,
}

/// Why a swap is not to be.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    reason: String,
    blame: Blame,
}

impl Failure {
    fn of_engine(error: &Error) -> Self {
        Self {
            reason: error.to_string(),
            blame: Blame::Circumstances,
        }
    }
}

/// A container to be replaced, and by what.
#[derive(Debug)]
pub struct Part<'a> {
    /// The container, as it is now.
    pub old: &'a Container,
    /// The image its successor is made from.
    pub image: &'a Image,
}

/// One container of a swap that has begun.
struct Member<'a> {
    old: &'a Container,
    pair: Pair,
}

/// Replaces containers on one Engine.
pub struct Swap<'a> {
    /// Told how far it has come: a container's name, and one of `create`, `stop`, `start`, `accept`,
    /// `undo`.
    pub phase: &'a dyn Fn(&str, &'static str),
    /// Told once all successors are accepted, with the downtime: before the old containers go, because
    /// what is killed after that leaves nothing that tells of the swap.
    pub accepted: &'a dyn Fn(Option<Duration>),
    /// The Engine.
    pub engine: &'a Engine,
    /// What it says of itself.
    pub about: &'a About,
    /// When a successor is accepted.
    pub acceptance: Acceptance,
    /// Platform to create for, where one is forced.
    pub platform: Option<&'a str>,
}

impl Swap<'_> {
    /// Replaces the first of `parts` and, in the same swap, the others, which live in it. A stopped
    /// container's successor is not started. The caller holds the claim.
    #[must_use]
    pub fn run(&self, parts: &[Part]) -> Outcome {
        for part in parts {
            let left_alone = match self.left_alone(part.old) {
                Ok(left_alone) => left_alone,
                Err(error) => {
                    return Outcome::NotBegun {
                        reason: error.to_string(),
                    };
                }
            };
            if let Some(reason) = left_alone {
                let name = part.old.name();
                let is_dependent = !std::ptr::eq(part, &parts[0]);
                let who = if is_dependent {
                    format!("{name}, which lives in it, cannot be recreated: ")
                } else {
                    String::new()
                };
                return Outcome::Skipped {
                    reason: who + &reason,
                };
            }
        }
        if let Some(running) = parts.iter().find(|part| is_up(part.old))
            && !is_up(parts[0].old)
        {
            return Outcome::Skipped {
                reason: format!(
                    "it is stopped, but {}, which needs it, runs: start the one or stop the other",
                    running.old.name()
                ),
            };
        }
        (self.phase)(parts[0].old.name(), "create");
        let members = match self.prepare(parts) {
            Ok(members) => members,
            Err(error) => {
                return Outcome::NotBegun {
                    reason: error.to_string(),
                };
            }
        };
        let mut stop = Stop::Settled;
        let pairs: Vec<Pair> = members.iter().map(|member| member.pair.clone()).collect();
        match self.exchange(&members, &mut stop) {
            Ok(downtime) => {
                (self.accepted)(downtime);
                // Failing here loses nothing: the old container is stopped and will not start by
                // itself, and the next refresh or start of this program removes it.
                if let Err(error) = finish(self.steps(), &pairs) {
                    log::warn!(
                        "{}: replaced, but not cleaned up yet: {error}",
                        parts[0].old.name()
                    );
                }
                Outcome::Recreated { downtime }
            }
            Err((part, failure)) => {
                (self.phase)(parts[0].old.name(), "undo");
                self.roll_back(parts[0].old.name(), &pairs, stop, part, failure)
            }
        }
    }

    fn roll_back(
        &self,
        name: &str,
        pairs: &[Pair],
        stop: Stop,
        part: usize,
        failure: Failure,
    ) -> Outcome {
        let Failure { mut reason, blame } = failure;
        match undo(self.steps(), pairs, stop) {
            Ok(Undone::Back) => {}
            Ok(Undone::TakenOver) => {
                log::warn!(
                    "{name}: somebody removed it in mid-swap, so its successor stays ({reason})"
                );
                return Outcome::Recreated { downtime: None };
            }
            Ok(Undone::ByOthers) => {
                return Outcome::Skipped {
                    reason: format!("somebody else replaced it in mid-swap ({reason})"),
                };
            }
            Err(trouble) => {
                log::error!("{name}: could not be put back: {trouble}");
                reason = format!("{reason}; and putting the old container back failed: {trouble}");
            }
        }
        Outcome::RolledBack {
            reason,
            blame,
            part,
        }
    }

    /// Why a container is not ours to replace.
    ///
    /// # Errors
    /// When the Engine cannot be asked for what that takes.
    pub fn left_alone(&self, container: &Container) -> Result<Option<String>> {
        let reason = exempt::left_alone(container, self.engine)?;
        if reason.is_some() || !self.about.is_podman() {
            return Ok(reason.map(str::to_owned));
        }
        let libpod = self.engine.podman_container(container.id())?;
        let lost = lost_on_podman(&libpod);
        Ok(lost.map(|lost| format!("Podman would lose {lost}: recreate it by hand")))
    }

    fn steps(&self) -> Steps<'_> {
        Steps {
            engine: self.engine,
        }
    }

    /// Creates the successors aside; all of them, or none is left.
    fn prepare<'p>(&self, parts: &[Part<'p>]) -> Result<Vec<Member<'p>>> {
        let mut members: Vec<Member> = Vec::new();
        let mut each = parts.iter();
        let outcome = each
            .try_for_each(|part| self.prepare_one(part, &mut members))
            .and_then(|()| members.iter().try_for_each(|one| self.is_as_it_was(one)));
        if let Err(error) = outcome {
            for member in members.iter().rev() {
                self.discard(&member.pair.new);
            }
            return Err(error);
        }
        Ok(members)
    }

    /// Commands on labels and creates take their time, and its owner may have done something meanwhile.
    fn is_as_it_was(&self, member: &Member) -> Result<()> {
        let record = &member.pair.record;
        let now = self.engine.container(&record.old)?;
        let may_be_between_runs = record.was_running && self.about.is_podman();
        let is_running =
            is_up(&now) || may_be_between_runs && self.steps().is_between_runs(&now)?;
        let is_in_between = matches!(now.state(), State::Paused | State::Gone);
        if now.name() == record.name && is_running == record.was_running && !is_in_between {
            return Ok(());
        }
        Err(Error::Malformed {
            request: format!("swap of {}", record.name),
            reason: "somebody stopped, started, paused or renamed it meanwhile".to_owned(),
        })
    }

    fn prepare_one<'p>(&self, part: &Part<'p>, members: &mut Vec<Member<'p>>) -> Result<()> {
        let temporary: Vec<String> = members.iter().map(|m| m.pair.record.new_name()).collect();
        let moved: Vec<Moved> = (members.iter().zip(&temporary))
            .map(|(member, new_name)| Moved {
                old_id: member.old.id(),
                old_name: member.old.name(),
                new_id: &member.pair.new,
                new_name,
            })
            .collect();
        let plan = self.plan(part, &moved)?;
        let new = self.create(&plan)?;
        // From here on it is among those that are discarded.
        members.push(Member {
            old: part.old,
            pair: Pair {
                record: plan.record,
                new: new.clone(),
            },
        });
        for (network, endpoint) in &plan.replacement.connect {
            self.engine.connect(network, &new, endpoint)?;
        }
        let created = self.engine.container(&new)?;
        let reason = if created.image_id() != part.image.id() {
            "the tag moved in the meantime, so it was made from another image"
        } else if !created.has_command() {
            // Docker refuses to create it, Podman only to start it.
            "no command to run: neither you nor its new image says which"
        } else {
            return Ok(());
        };
        Err(Error::Malformed {
            request: format!("create {}", created.name()),
            reason: reason.to_owned(),
        })
    }

    fn create(&self, plan: &Plan) -> Result<String> {
        let name = plan.record.new_name();
        let create = || {
            self.engine
                .create(&name, plan.platform.as_deref(), &plan.replacement.body)
        };
        let outcome = create();
        let Err(error) = outcome else {
            return outcome;
        };
        // Made by this very call, whose answer was lost. What an unsettled swap left says how the old
        // container has to be put back, and differs in that from what is there now.
        match self.steps().look(&name) {
            Ok(Some(found)) if transaction_of(&found).as_ref() == Some(&plan.record) => {
                self.discard(found.id());
                create()
            }
            _ => Err(error),
        }
    }

    /// From the old containers to their successors, accepted. An error names the one it is about by
    /// its place.
    fn exchange(
        &self,
        members: &[Member],
        stop: &mut Stop,
    ) -> std::result::Result<Option<Duration>, (usize, Failure)> {
        let steps = self.steps();
        let engine = |error: Error| (0, Failure::of_engine(&error));
        let running = || {
            let all = members.iter().enumerate();
            all.filter(|(_, member)| member.pair.record.was_running)
        };
        // Else a reboot between here and the end would start both, and the old one could get the
        // port or the address first.
        for (_, member) in running().rev() {
            steps.disarm(member.old).map_err(engine)?;
        }
        let mut begun = Instant::now();
        for (_, member) in running().rev() {
            (self.phase)(&member.pair.record.name, "stop");
            begun = Instant::now();
            if let Err(error) = steps.stop(member.old) {
                *stop = Stop::InDoubt;
                return Err(engine(error));
            }
        }
        let mut downtime = None;
        for (index, member) in members.iter().enumerate() {
            let Pair { record, new } = &member.pair;
            // Between stop and start there are two renames and nothing else.
            steps
                .rename(&record.old, &record.old_name())
                .map_err(engine)?;
            steps.rename(new, &record.name).map_err(engine)?;
            if !record.was_running {
                continue;
            }
            (self.phase)(&record.name, "start");
            self.start(new)
                .map_err(|error| (index, start_failure(&error)))?;
            if index == 0 {
                downtime = Some(begun.elapsed());
            }
            // Those who live in it need it well, not just started.
            let waits = index == 0 && members.len() > 1 && has_health_check(steps, new);
            if waits {
                self.accept(new).map_err(|failure| (index, failure))?;
            }
        }
        for (index, member) in running() {
            debug(format_args!(
                "{}: started, waiting for it to be accepted",
                member.pair.record.name
            ));
            (self.phase)(&member.pair.record.name, "accept");
            self.accept(&member.pair.new)
                .map_err(|failure| (index, failure))?;
        }
        Ok(downtime)
    }

    fn accept(&self, new: &str) -> std::result::Result<(), Failure> {
        let accepted = self.acceptance.await_acceptance(self.engine, new);
        accepted.map_err(|failure| Failure {
            reason: format!("{}{}", failure.reason, self.last_words(new)),
            blame: failure.blame,
        })
    }

    /// An address or a port that the old container held may take a moment to be free.
    fn start(&self, id: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            match self.steps().start(id) {
                Err(error) if begun.elapsed() < START_PATIENCE && is_being_freed(&error) => {
                    std::thread::sleep(steps::PAUSE);
                }
                outcome => return outcome,
            }
        }
    }

    /// Removes a successor that will not be.
    fn discard(&self, id: &str) {
        let outcome = self
            .steps()
            .ensure_gone(id, Removal::ForceWithAnonymousVolumes);
        if let Err(error) = outcome {
            log::warn!("a successor that is not needed could not be removed: {error}");
        }
    }

    /// What a failed container printed last.
    fn last_words(&self, id: &str) -> String {
        match self.engine.last_lines(id, LAST_LINES) {
            Ok(text) if !text.trim().is_empty() => format!("; it said: {}", one_line(&text)),
            _ => String::new(),
        }
    }
}

/// A start that is clearly refused is refused again next time; each try would cost the owner
/// another outage. A disk that is full, or a port or an address that somebody else has, is nothing the image
/// can help.
fn start_failure(error: &Error) -> Failure {
    let blame = if error.is_ambiguous() || is_full(error) || is_being_freed(error) {
        Blame::Circumstances
    } else {
        Blame::Image
    };
    Failure {
        reason: error.to_string(),
        blame,
    }
}

/// The record on a successor.
fn transaction_of(container: &Container) -> Option<Record> {
    container.label(TRANSACTION_LABEL).and_then(Record::parse)
}

fn has_health_check(steps: Steps, id: &str) -> bool {
    matches!(steps.look(id), Ok(Some(container)) if container.health().is_some())
}

fn is_being_freed(error: &Error) -> bool {
    let text = error.to_string();
    text.contains("already in use") || text.contains("already allocated")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_blamed_for_what_it_can_help() {
        for (words, expected) in [
            ("exec: \"/start\": no such file or directory", Blame::Image),
            (
                "Bind for 0.0.0.0:80 failed: port is already allocated",
                Blame::Circumstances,
            ),
            ("bind: address already in use", Blame::Circumstances),
        ] {
            let error = Error::Refused {
                request: "POST".into(),
                status: 400,
                message: words.into(),
                retry_after: None,
            };
            assert_eq!(start_failure(&error).blame, expected, "{words}");
        }
    }
}
