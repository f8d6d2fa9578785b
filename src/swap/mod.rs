//! The swap: one container replaced by its successor, or left as it was.
//!
//! **The old container exists until the new one is accepted.** The successor is created, under a
//! name of its own, before the old container is touched. The old container is renamed, and only removed
//! once the successor runs and has shown that it stays up. After any error, `undo` looks at the real
//! state and brings the old container back. If this process is killed, another one does that
//! ([`recover`]), from the containers on the Engine alone.
//!
//! | step | if everything stops right after it |
//! |---|---|
//! | give the tag to the new image | the old container runs as before |
//! | create the successor as `NAME.iw-new-…` | the old container runs as before |
//! | take the old container's restart policy away | the old container runs |
//! | stop the old container | the old container is stopped under its own name |
//! | rename the old container to `NAME.iw-old-…` | the old container is stopped, and the new name contains its own name |
//! | rename the successor to `NAME` | the same |
//! | start the successor | the successor runs, the old container is still there |
//! | accept the successor, remove the old container | done |
//!
//! Containers that live in this one (`network_mode: container:…`) are replaced with it, in the same
//! swap: all of them are accepted, or all old ones come back.

mod acceptance;
mod dependencies;
mod difference;
mod ending;
mod exchange;
mod files;
mod half_done;
mod hand_over;
mod health;
mod helper;
mod itself;
mod lock;
mod needs;
mod never_replaced;
mod order;
mod plan;
mod prepare;
mod put_back;
mod record;
mod recover_one;
mod recovery;
mod rejoin;
mod remake;
mod roll_back;
mod steps;
mod successor;
mod tag;
mod take_over;
mod turn;
mod undo;

pub use successor::Facts;
pub use successor::Moved;
pub use successor::Successor;
pub use successor::lost_on_podman;

pub use lock::Attempt;
pub use lock::Lock;
pub(crate) use lock::NAME as LOCK_NAME;
pub use lock::explain;

pub use helper::COMMAND;
pub use helper::Helper;
pub use helper::OwnUpdate;
pub use helper::Said;
pub use helper::Stage;
pub use helper::is_itself;
pub use helper::own_container;
pub use helper::why_itself_stays;

pub use difference::Change;
pub use difference::changes;

pub use dependencies::dependents;
pub use dependencies::may_live_in;
pub use dependencies::may_restart_with_others;
pub use dependencies::namespaces_of;
pub use dependencies::needs_others;
pub use dependencies::restarts_with;

pub use acceptance::Acceptance;
pub use files::Files;
pub use half_done::half_done;
pub use half_done::is_clean;
pub use half_done::is_left_over;
pub use half_done::needs_recovery;
pub use needs::Join;
pub use never_replaced::left_alone;
pub use never_replaced::must_stay;
pub use never_replaced::own_service;
pub use order::dependencies_among;
pub use order::in_order;
pub use plan::Plan;
pub use record::is_aside;
pub use record::is_transient_name;
pub use record::name_of_aside;
pub use recovery::Left;
pub use recovery::Recovered;
pub use recovery::recover;
pub use recovery::recover_once;
pub use recovery::recover_with_lock;
pub use steps::is_stopped;
pub use turn::Turn;
pub use turn::Turns;

use crate::engine::About;
use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Image;
use crate::error::Error;
use crate::error::Result;
use crate::labels::TRANSACTION;
use crate::thread::Shutdown;
use exchange::Exchanged;
use files::Copies;
use never_replaced::managed_by_others;
use plan::Origin;
use record::Record;
use recover_one::remove_unstartable;
use std::time::Duration;
use steps::Steps;
use take_over::finish;
use undo::Pair;
use undo::Stop;
use undo::undo;

/// How a swap ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The successor took over.
    Recreated {
        /// From the call that stopped the old container until the successor was started; `None` if the
        /// container was not running.
        downtime: Option<Duration>,
    },
    /// The successor was not accepted; the old container is back as it was.
    RolledBack {
        /// Why the successor was not accepted, with its last words.
        reason: String,
        /// Whether another try may help.
        blame: Blame,
        /// The place of the part that did not come up; the first, if none in particular.
        part: usize,
    },
    /// The successor was not accepted, and these old containers could not be started again. The next process that
    /// holds the lock tries again ([`recover`]).
    Down {
        /// Why the successor was not accepted, and why the old containers do not start.
        reason: String,
        /// The places of the parts that are down.
        parts: Vec<usize>,
    },
    /// The swap failed before the old container was touched. Another try may help.
    NotBegun {
        /// The call that failed, and its error.
        reason: String,
    },
    /// The container could not be started again, so no swap begins until its owner has changed that.
    Waits {
        /// The missing or stopped container that this one needs.
        reason: String,
    },
    /// This container is never replaced, or its owner replaced or removed it.
    Skipped {
        /// Why, in words for the operator.
        reason: String,
    },
}

/// The cause of a roll-back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The image does not come up. Another try changes nothing.
    Image,
    /// The Engine or somebody else. Another try may help.
    Circumstances,
}

/// Why a successor is not accepted.
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

/// A container to be replaced, and the image of its successor.
#[derive(Debug)]
pub struct Part<'a> {
    /// The container, as the Engine shows it before the swap.
    pub old: &'a Container,
    /// The image that its successor is created from.
    pub image: &'a Image,
    /// If the swap has to give the tag to the image: the id of the image that the tag means now. The id is empty if the
    /// tag means none.
    pub tagged: Option<String>,
}

impl<'a> Part<'a> {
    /// A part whose image is under the tag already, or needs no tag.
    #[must_use]
    pub fn new(old: &'a Container, image: &'a Image) -> Self {
        Self {
            old,
            image,
            tagged: None,
        }
    }
}

/// One container of a swap that has begun.
struct Member<'a> {
    old: &'a Container,
    image: Image,
    pair: Pair,
    origin: Origin,
    platform: Option<String>,
    copies: Copies,
}

/// Replaces containers on one Engine.
pub struct Swap<'a> {
    /// Called at each phase, with a container's name and one of `create`, `stop`, `start`, `accept`,
    /// `undo`.
    pub phase: &'a dyn Fn(&str, &'static str),
    /// Called when a successor is not accepted, before the old container is put back.
    pub failed: &'a dyn Fn(Blame),
    /// Called with the downtime once all successors are accepted, before the old containers are removed.
    /// A process that is killed after the removal leaves no trace of the swap.
    pub accepted: &'a dyn Fn(Option<Duration>),
    /// The Engine whose containers are replaced.
    pub engine: &'a Engine,
    /// Closed when the program stops; then failed calls are hardly tried again.
    pub shutdown: &'a Shutdown,
    /// Kind and version of the Engine.
    pub about: &'a About,
    /// When a successor is accepted.
    pub acceptance: Acceptance,
    /// The platform that the operator forces, if any.
    pub platform: Option<&'a str>,
    /// Images that were inspected already. An image with another id is inspected.
    pub images: &'a [Image],
    /// The place among other swaps that go on at the same time.
    pub turn: &'a Turn<'a>,
    /// Pulls an image again, by name, that somebody removed in mid-swap.
    pub fetch: &'a dyn Fn(&str, &Image) -> Result<()>,
}

impl Swap<'_> {
    /// Replaces the first of `parts` and, in the same swap, the others, which live in it. The successor of a
    /// stopped container is not started. The caller holds the lock.
    #[must_use]
    #[cold]
    pub fn run(&self, parts: &[Part]) -> Outcome {
        if let Some(outcome) = self.hindrance(parts) {
            return outcome;
        }
        let files = match self.files_of(parts) {
            Ok(files) => files,
            Err(outcome) => return outcome,
        };
        (self.phase)(parts[0].old.name(), "create");
        let mut members = match self.prepare(parts, &files, &[]) {
            Ok(members) => members,
            Err(error) => {
                return Outcome::NotBegun {
                    reason: error.to_string(),
                };
            }
        };
        let mut stop = Stop::Done;
        let outcome = self.exchange(&mut members, &mut stop);
        let mut pairs: Vec<Pair> = members.iter().map(|member| member.pair.clone()).collect();
        match outcome {
            Ok(Exchanged {
                downtime,
                last_seen,
            }) => {
                (self.accepted)(downtime);
                self.turn.to_exchange();
                // A failure here loses nothing: the old container is stopped and does not start by
                // itself. The next refresh or start of this program removes it.
                if let Err(error) = self.clean_up(&pairs, last_seen.as_ref()) {
                    log::warn!(
                        "{}: replaced, but not cleaned up yet: {error}",
                        parts[0].old.name()
                    );
                }
                Outcome::Recreated { downtime }
            }
            Err((part, failure)) => {
                (self.phase)(parts[0].old.name(), "undo");
                (self.failed)(failure.blame);
                self.roll_back(&members, &mut pairs, stop, part, failure)
            }
        }
    }

    /// Removes the old containers, and before them the containers that can live in nothing else. Those are dependents
    /// that their owner replaced in the middle of this swap.
    #[cold]
    fn clean_up(&self, pairs: &[Pair], last_seen: Option<&Container>) -> Result<()> {
        if pairs.len() > 1 {
            remove_unstartable(self.steps(), &self.engine.containers()?, pairs)?;
        }
        finish(self.steps(), pairs, last_seen).map(drop)
    }

    /// Why a container is never replaced, if so.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    #[cold]
    fn left_alone(&self, container: &Container) -> Result<Option<String>> {
        let must_stay = must_stay(container, self.engine)?;
        let reason = must_stay.or_else(|| managed_by_others(container));
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
            shutdown: self.shutdown,
        }
    }
}

/// The record on a successor.
fn transaction_of(container: &Container) -> Option<Record> {
    container.label(TRANSACTION).and_then(Record::parse)
}
