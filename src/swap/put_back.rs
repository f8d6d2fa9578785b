//! One old container put back: its state, its restart policy and its name.

use super::record::Record;
use super::record::is_alive;
use super::record::is_up;
use super::steps::PAUSE;
use super::steps::Steps;
use super::steps::has_policy;
use super::steps::same_policy;
use super::undo::Pair;
use super::undo::Stop;
use super::undo::owners_replacement;
use crate::engine::Container;
use crate::error::Error;
use crate::error::Result;
use std::time::Duration;
use std::time::Instant;

/// Added to a container's stop time while a stop may be under way.
const STOP_SLACK: Duration = Duration::from_secs(2);
/// How late Podman's clean-up after a run may be.
const LATE_CLEANUP: Duration = Duration::from_secs(5);

/// Gives the old container its name, its state and its policy back. If somebody else has taken the name, the
/// container runs all the same. The policy comes last: a missing policy tells the next process that a stop may
/// be under way.
pub(super) fn put_back(steps: Steps, pair: &Pair, old: &Container, stop: Stop) -> Result<()> {
    let record = &pair.record;
    let named = if record.is_renamed(old) {
        Ok(true)
    } else {
        steps.ensure_name(&record.old, &record.name)
    };
    if named.is_err() && owners_replacement(steps, pair)?.is_some() {
        // The next try leaves the name to the owner.
        return named.map(drop);
    }
    if record.was_running {
        expect_there(steps.ensure_running(&record.old)?, record)?;
        // The policy is taken away before the stop. If the container still shows its policy, no stop had begun.
        let touched = !(has_policy(old) && same_policy(&old.restart_policy(), &record.restart));
        if stop == Stop::MayBeUnderWay && touched && is_up(old) {
            outlast_stop(steps, old)?;
        }
    }
    expect_there(restore_policy(steps, record)?, record)?;
    if record.was_running {
        expect_there(resume(steps, &record.old)?, record)?;
    }
    expect_there(named?, record)
}

/// Puts an old container back whose successor, and with it the record, is gone.
pub(super) fn put_back_unrecorded(steps: Steps, record: &Record) -> Result<()> {
    expect_there(restore_policy(steps, record)?, record)?;
    let is_there = if record.was_running {
        bring_back(steps, &record.old, &record.name)?
    } else {
        steps.ensure_name(&record.old, &record.name)?
    };
    expect_there(is_there, record)
}

/// Starts a container, then gives it its name. The name comes last, because nothing else tells that the
/// container was put aside. `Ok(false)`: it does not exist.
pub(super) fn bring_back(steps: Steps, id: &str, name: &str) -> Result<bool> {
    steps.ensure_running(id)?;
    let Some(found) = steps.look(id)? else {
        return Ok(false);
    };
    let is_there = steps.ensure_name(id, name)?;
    // Podman tells the neighbours a name only at a start. A restart is one call, which the Engine completes even
    // if this process is killed.
    if found.name() != name && is_there && steps.engine.about()?.is_podman() {
        steps.engine.restart(&found)?;
    }
    Ok(is_there)
}

/// Fails if somebody removed the old container while it was put back. The successor must not be removed then:
/// the next try makes the successor take over.
pub(super) fn expect_there(is_there: bool, record: &Record) -> Result<()> {
    if is_there {
        return Ok(());
    }
    Err(Error::malformed(
        format!("undo of the swap of {}", record.name),
        "the old container was removed meanwhile",
    ))
}

/// Gives the old container the policy back that the swap took away. A policy that the owner set meanwhile
/// stays. `Ok(false)`: the container does not exist.
fn restore_policy(steps: Steps, record: &Record) -> Result<bool> {
    match steps.look(&record.old)? {
        None => Ok(false),
        Some(seen) if has_policy(&seen) => Ok(true),
        Some(_) => steps.ensure_policy(&record.old, &record.restart),
    }
}

/// Starts the container again if it ended. A crash loop goes on by itself only if the policy was there when the
/// container ended. `Ok(false)`: the container does not exist.
fn resume(steps: Steps, id: &str) -> Result<bool> {
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

/// Starts the container again if Podman has given it up. Podman runs a clean-up process after each end, which
/// obeys the policy of the moment when that process began. So a late clean-up of a run without the policy can
/// also end the next run, which has the policy.
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

/// Starts the container again if a stop that was still under way ends it.
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
