//! The way back: whatever state a swap was left in, and by whom, the old containers run again as
//! they were.
//!
//! Nothing is remembered but ids and the record; every step looks at what is really there and does
//! only what is missing. So it may be repeated, broken off and taken up by another process at any
//! point. The successor, which carries the record, goes last.

use super::record::Record;
use super::record::is_alive;
use super::record::is_up;
use super::steps::PAUSE;
use super::steps::Steps;
use super::steps::is_armed;
use super::steps::same_policy;
use crate::engine::Container;
use crate::engine::Removal;
use crate::error::Error;
use crate::error::Result;
use std::time::Duration;
use std::time::Instant;

/// How often the whole is tried.
const TRIES: u32 = 3;
/// Added to a container's stop time, when one may be under way.
const STOP_SLACK: Duration = Duration::from_secs(2);

/// How late Podman's clean-up after a run may be.
const LATE_CLEANUP: Duration = Duration::from_secs(5);

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
    for (number, pair) in pairs.iter().enumerate() {
        match steps.look_for_way_back(&pair.record)? {
            Some(old) => olds.push((pair, old)),
            // Somebody removed it, or it was removed because all was well: there is no way back.
            None if number == 0 => return finish(steps, pairs),
            // What lived in it is gone; that is no reason to lose what it lived in.
            None => {
                log::warn!(
                    "{}: removed by somebody in mid-swap; our successor goes",
                    pair.record.name
                );
                steps.ensure_stopped(&pair.new)?;
            }
        }
    }
    let mut unrecorded = Vec::new();
    for (pair, old) in olds.iter().rev() {
        steps.ensure_stopped(&pair.new)?;
        if comes_back(steps, pair, old)? {
            // The stop took its time.
            let is_there = steps.look_for_way_back(&pair.record)?.is_some();
            expect_there(is_there, &pair.record)?;
            steps.ensure_gone(&pair.new, Removal::ForceWithAnonymousVolumes)?;
            unrecorded.push(old.id());
        } else if !steps.ensure_name(&pair.new, &pair.record.new_name())? {
            unrecorded.push(old.id());
        }
    }
    let mut trouble = Ok(());
    for (pair, old) in &olds {
        let outcome = if unrecorded.contains(&old.id()) {
            put_back_unrecorded(steps, &pair.record)
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

/// The old container gets its name, its state and its policy back. Its name may be taken by somebody
/// else by now; it runs all the same. The policy comes last: as long as it is missing, whoever goes on
/// from here knows that a stop may be under way.
fn put_back(steps: Steps, record: &Record, old: &Container, stop: Stop) -> Result<()> {
    let named = steps.ensure_name(&record.old, &record.name);
    if record.was_running {
        expect_there(steps.ensure_running(&record.old)?, record)?;
        // It was not even disarmed if it shows its policy, so nobody had begun to stop it.
        let touched = !(is_armed(old) && same_policy(&old.restart_policy(), &record.restart));
        if stop == Stop::InDoubt && touched && is_up(old) {
            outlast_stop(steps, old)?;
        }
    }
    expect_there(steps.ensure_policy(&record.old, &record.restart)?, record)?;
    if record.was_running {
        expect_there(go_on(steps, &record.old)?, record)?;
    }
    expect_there(named?, record)
}

/// An old container that somebody removes while it is put back must not cost its successor too: the next try
/// makes that take over.
fn expect_there(is_there: bool, record: &Record) -> Result<()> {
    if is_there {
        return Ok(());
    }
    Err(Error::Malformed {
        request: format!("undo of the swap of {}", record.name),
        reason: "the old container was removed meanwhile".to_owned(),
    })
}

/// It may be in a crash loop, which goes on only where the policy was there when it ended.
/// `Ok(false)`: it does not exist.
fn go_on(steps: Steps, id: &str) -> Result<bool> {
    let Some(seen) = steps.look(id)? else {
        return Ok(false);
    };
    if is_alive(&seen) {
        return Ok(true);
    }
    let is_there = steps.ensure_running(id)?;
    if is_there && seen.starts_again() && steps.engine.about()?.is_podman() {
        return outlast_cleanup(steps, id);
    }
    Ok(is_there)
}

/// Starts the container again if Podman has given it up. It has each end seen to by a process that goes by the
/// policy there was when it began: a late one takes the next run, which had the policy, for one that had not.
fn outlast_cleanup(steps: Steps, id: &str) -> Result<bool> {
    let begun = Instant::now();
    while begun.elapsed() < LATE_CLEANUP {
        std::thread::sleep(PAUSE);
        let Some(seen) = steps.look(id)? else {
            return Ok(false);
        };
        let goes_on = is_alive(&seen) || !seen.starts_again() || steps.is_between_runs(&seen)?;
        if !goes_on {
            return steps.ensure_running(id);
        }
    }
    Ok(true)
}

/// The same where no successor is left to tell of the swap.
fn put_back_unrecorded(steps: Steps, record: &Record) -> Result<()> {
    expect_there(steps.ensure_policy(&record.old, &record.restart)?, record)?;
    let is_there = if record.was_running {
        bring_back(steps, &record.old, &record.name)?
    } else {
        steps.ensure_name(&record.old, &record.name)?
    };
    expect_there(is_there, record)
}

/// A container runs, and has its name: that comes last, because nothing else tells that it was put aside.
/// `Ok(false)`: it does not exist.
pub(super) fn bring_back(steps: Steps, id: &str, name: &str) -> Result<bool> {
    steps.ensure_running(id)?;
    let Some(found) = steps.look(id)? else {
        return Ok(false);
    };
    let is_there = steps.ensure_name(id, name)?;
    // Podman tells its neighbours a name only when it starts; one call, which the Engine ends without us as well.
    if found.name() != name && is_there && steps.engine.about()?.is_podman() {
        steps.engine.restart(&found)?;
    }
    Ok(is_there)
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
    let holder = steps.look_by_name(&record.name)?;
    if holder
        .as_ref()
        .is_some_and(|holder| holder.id() == record.old)
    {
        steps.ensure_stopped(&record.old)?;
        steps.ensure_name(&record.old, &record.old_name())?;
    } else if holder.as_ref().is_some_and(|holder| holder.id() != new) {
        log::warn!(
            "{}: replaced by somebody else in mid-swap; our successor goes",
            record.name
        );
        steps.ensure_gone(new, Removal::ForceWithAnonymousVolumes)?;
        return Ok(false);
    }
    if !steps.ensure_name(new, &record.name)? {
        let reason = match steps.look(&record.old)? {
            None => {
                "neither it nor its successor is there any more (somebody removed both, `docker container \
                 prune` for one: create it again; its volumes are still there)"
            }
            Some(_) => "somebody removed its successor; the old container is there",
        };
        return Err(Error::Malformed {
            request: format!("swap of {}", record.name),
            reason: reason.to_owned(),
        });
    }
    steps.ensure_policy(new, &record.restart)?;
    if record.was_running {
        steps.ensure_running(new)?;
    }
    Ok(true)
}
