//! The way back: whatever state a swap was left in, and by whom, the old containers run again as
//! they were.
//!
//! Nothing is remembered but ids and the record; every step looks at what is really there and does
//! only what is missing. So it may be repeated, broken off and taken up by another process at any
//! point. The successor, which carries the record, goes last.

use super::record::Record;
use super::record::is_up;
use super::steps::PAUSE;
use super::steps::Steps;
use super::steps::is_armed;
use super::steps::same_policy;
use crate::engine::Container;
use crate::engine::Removal;
use crate::error::Result;
use std::time::Duration;
use std::time::Instant;

/// How often the whole is tried.
const TRIES: u32 = 3;
/// Added to a container's stop time, when one may be under way.
const STOP_SLACK: Duration = Duration::from_secs(2);

/// A container and its successor.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// What the successor's label says.
    pub(super) record: Record,
    /// The successor's id.
    pub(super) new: String,
}

/// Whether a stop of an old container may have been asked for and not be done yet: a killed process's last
/// call goes on in the Engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Settled,
    InDoubt,
}

/// How an undo ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undone {
    /// The old containers are back.
    Back,
    /// Somebody had removed an old one, so the successors took over: they are all that is left.
    TakenOver,
    /// Somebody had replaced the old one himself; his is untouched.
    ByOthers,
}

/// Undoes a swap; `pairs` begin with the provider.
///
/// # Errors
/// What could not be made right. Nothing is removed then that the next try needs.
pub(super) fn undo(steps: Steps, pairs: &[Pair], stop: Stop) -> Result<Undone> {
    let mut tries = 0;
    loop {
        tries += 1;
        match undo_once(steps, pairs, stop) {
            Err(error) if tries < TRIES => log::warn!("undo: {error}; trying again"),
            outcome => return outcome,
        }
    }
}

fn undo_once(steps: Steps, pairs: &[Pair], stop: Stop) -> Result<Undone> {
    let mut olds = Vec::new();
    for pair in pairs {
        match steps.look(&pair.record.old)? {
            Some(old) => olds.push((pair, old)),
            // Somebody removed it, or it was removed because all was well: there is no way back.
            None => return finish(steps, pairs),
        }
    }
    let mut unrecorded = Vec::new();
    for (pair, old) in olds.iter().rev() {
        steps.ensure_stopped(&pair.new)?;
        if comes_back(steps, pair, old)? {
            steps.ensure_gone(&pair.new, Removal::ForceWithAnonymousVolumes)?;
            unrecorded.push(old.id());
        } else {
            steps.ensure_name(&pair.new, &pair.record.new_name())?;
        }
    }
    let mut trouble = Ok(());
    for (pair, old) in &olds {
        let outcome = if unrecorded.contains(&old.id()) {
            put_back_unrecorded(steps, &pair.record, old)
        } else {
            put_back(steps, &pair.record, old, stop)
        };
        if let Err(error) = outcome {
            trouble = trouble.and(Err(error));
        }
    }
    trouble?;
    for pair in pairs.iter().rev() {
        steps.ensure_gone(&pair.new, Removal::ForceWithAnonymousVolumes)?;
    }
    Ok(Undone::Back)
}

/// Whether a successor in a crash loop may be started again, and take the port or the address, because
/// the Engine can take no restart policy away (Podman before 5.1). Nor did it take the old one's then, so
/// nothing is lost with what the successor's label says of that.
fn comes_back(steps: Steps, pair: &Pair, old: &Container) -> Result<bool> {
    let new = steps.look(&pair.new)?;
    let is_armed = new.is_some_and(|new| is_armed(&new) && new.was_started());
    Ok(is_armed && same_policy(&old.restart_policy(), &pair.record.restart))
}

/// The old container gets its name, its policy and its state back. Its name may be taken by somebody
/// else by now; it runs all the same.
fn put_back(steps: Steps, record: &Record, old: &Container, stop: Stop) -> Result<()> {
    let named = steps.ensure_name(&record.old, &record.name);
    steps.ensure_policy(&record.old, &record.restart)?;
    if record.was_running {
        steps.ensure_running(&record.old)?;
        // It was not even disarmed if it shows its policy, so nobody had begun to stop it.
        let touched = !(is_armed(old) && same_policy(&old.restart_policy(), &record.restart));
        if stop == Stop::InDoubt && touched && is_up(old) {
            outlast_stop(steps, old)?;
        }
    }
    named.map(drop)
}

/// The same where no successor is left to tell of the swap: the name does, until the container runs.
/// Podman tells its neighbours a name only when it starts, hence the restart: one call, which the Engine ends
/// without us as well.
fn put_back_unrecorded(steps: Steps, record: &Record, old: &Container) -> Result<()> {
    steps.ensure_policy(&record.old, &record.restart)?;
    if record.was_running {
        steps.ensure_running(&record.old)?;
    }
    steps.ensure_name(&record.old, &record.name)?;
    if record.was_running && old.name() != record.name {
        steps.engine.restart(old)?;
    }
    Ok(())
}

/// Starts the container again if a stop that is still under way gets it.
fn outlast_stop(steps: Steps, old: &Container) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < old.stop_time() + STOP_SLACK {
        std::thread::sleep(PAUSE);
        match steps.look(old.id())? {
            Some(seen) if !is_up(&seen) => return steps.ensure_running(old.id()).map(drop),
            Some(_) => {}
            None => return Ok(()),
        }
    }
    Ok(())
}

/// Makes the successors take over, and removes the old containers: the dependents' first, because
/// Podman removes no provider before them.
pub(super) fn finish(steps: Steps, pairs: &[Pair]) -> Result<Undone> {
    let mut replaced = Vec::new();
    for pair in pairs {
        if take_over(steps, pair)? {
            replaced.push(pair);
        }
    }
    for pair in replaced.iter().rev() {
        steps.ensure_gone(&pair.record.old, Removal::KeepVolumes)?;
    }
    let all = replaced.len() == pairs.len();
    Ok(if all {
        Undone::TakenOver
    } else {
        Undone::ByOthers
    })
}

/// Answers whether the successor has taken over; if somebody else has its name, it goes.
fn take_over(steps: Steps, pair: &Pair) -> Result<bool> {
    let Pair { record, new } = pair;
    let holder = steps.look(&record.name)?;
    if holder
        .as_ref()
        .is_some_and(|holder| holder.id() == record.old)
    {
        steps.ensure_stopped(&record.old)?;
        steps.ensure_name(&record.old, &record.old_name())?;
    } else if holder.is_some_and(|holder| holder.id() != new) {
        log::warn!(
            "{}: replaced by somebody else in mid-swap; our successor goes",
            record.name
        );
        steps.ensure_gone(new, Removal::ForceWithAnonymousVolumes)?;
        return Ok(false);
    }
    let there = steps.ensure_name(new, &record.name)?;
    steps.ensure_policy(new, &record.restart)?;
    if record.was_running {
        steps.ensure_running(new)?;
    }
    Ok(there)
}
