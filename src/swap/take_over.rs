//! Take over: the successors keep the names, and the old containers are removed.

use super::itself;
use super::put_back::bring_back;
use super::record::Record;
use super::record::is_alive;
use super::steps::Steps;
use super::steps::has_policy;
use super::steps::same_policy;
use super::undo::Pair;
use super::undo::Undone;
use crate::engine::Container;
use crate::engine::Removal;
use crate::error::Error;
use crate::error::Result;

/// Makes the successors take over, and removes the old containers. The old dependents are removed first,
/// because Podman removes no provider before its dependents. `last_seen` is a successor that was accepted just now.
#[cold]
pub(super) fn finish(
    steps: Steps,
    pairs: &[Pair],
    last_seen: Option<&Container>,
) -> Result<Undone> {
    let mut replaced = Vec::new();
    let mut is_provider_up = true;
    for (index, pair) in pairs.iter().enumerate() {
        let is_in_place = last_seen.is_some_and(|seen| is_in_place(pair, seen));
        if is_in_place || take_over(steps, pair, is_provider_up)? {
            replaced.push(pair);
        }
        if index == 0 && pairs.len() > 1 {
            // The owner may have stopped the provider meanwhile. Then its dependents cannot be started.
            is_provider_up = steps
                .look(&pair.new)?
                .is_none_or(|provider| is_alive(&provider));
        }
    }
    for pair in replaced.iter().rev() {
        let old = &pair.record.old;
        // Nearly always the old container is stopped, and the call is enough.
        if steps.engine.remove(old, Removal::KeepVolumes).is_err() {
            steps.ensure_gone(old, Removal::KeepVolumes)?;
        }
    }
    let all = replaced.len() == pairs.len();
    Ok(if all {
        Undone::TakenOver
    } else {
        Undone::ReplacedByOwner
    })
}

/// Whether this is the successor, and has the name and a policy: nothing is left to do for it.
fn is_in_place(Pair { record, new, .. }: &Pair, seen: &Container) -> bool {
    let has_policy = has_policy(seen) || same_policy(&seen.restart_policy(), &record.restart);
    seen.id() == new && seen.name() == record.name && has_policy
}

/// Makes one successor take over, and returns whether it did. If somebody else's container has the name, the successor
/// is removed.
#[cold]
pub(super) fn take_over(steps: Steps, pair: &Pair, may_start: bool) -> Result<bool> {
    let Pair { record, new, .. } = pair;
    let holder = steps.look_by_name(&record.name)?;
    let renamed = match &holder {
        Some(holder) if holder.id() == new => None,
        _ => steps.look(new)?.filter(|new| record.is_renamed(new)),
    };
    if let Some(found) = renamed {
        log::info!(
            "{}: its owner renamed it to {} in mid-swap, so it keeps that name",
            record.name,
            found.name()
        );
        restore_missing_policy(steps, pair, &found)?;
        return Ok(true);
    }
    let found = match holder {
        Some(holder) if holder.id() == record.old => {
            steps.ensure_stopped(&record.old)?;
            steps.ensure_name(&record.old, &record.old_name())?;
            steps.look(new)?
        }
        Some(holder) if holder.id() == new => Some(holder),
        Some(_) => return give_way(steps, pair),
        None => steps.look(new)?,
    };
    let Some(found) = found else {
        return without_successor(steps, record, may_start);
    };
    restore_missing_policy(steps, pair, &found)?;
    // If a successor that has taken over does not run, somebody stopped it on purpose.
    let has_taken_over = found.name() == record.name && found.was_started();
    if record.was_running && may_start && !has_taken_over {
        bring_back(steps, new, &record.name)
    } else if found.name() == record.name {
        Ok(true)
    } else {
        steps.ensure_name(new, &record.name)
    }
}

/// Gives a successor its restart policy if it has none: an undo that failed may have taken it away. Any other policy
/// is the owner's wish.
fn restore_missing_policy(steps: Steps, pair: &Pair, found: &Container) -> Result<()> {
    if !has_policy(found) && !same_policy(&found.restart_policy(), &pair.record.restart) {
        steps.ensure_policy(&pair.new, &pair.record.restart)?;
    }
    Ok(())
}

/// Removes the successor, because somebody else's container has the name. It did not take over (`false`).
fn give_way(steps: Steps, pair: &Pair) -> Result<bool> {
    let Pair { record, new, .. } = pair;
    if itself::find(steps.engine)?.may_be(new) {
        return Err(Error::malformed(
            format!("swap of {}", record.name),
            "somebody else has its name, and its successor is imagewatch itself: remove one of them",
        ));
    }
    log::warn!(
        "{}: replaced by somebody else in mid-swap; our successor goes",
        record.name
    );
    // If the old container is gone, its volumes belong to the successor only, so they are kept.
    steps.ensure_gone(new, Removal::Force)?;
    Ok(false)
}

/// Fails because the successor is gone, unless both containers were removed on purpose (`false`).
fn without_successor(steps: Steps, record: &Record, may_start: bool) -> Result<bool> {
    let reason = match steps.look(&record.old)? {
        // The container was stopped before the swap. A removal of a stopped container was intended.
        None if !record.was_running => return Ok(false),
        None => {
            "neither it nor its successor is there any more (somebody removed both, `docker container \
             prune` for one: create it again; its volumes are still there)"
        }
        Some(_) if record.provider.is_some() => {
            return keep_old(steps, record, may_start).map(|()| false);
        }
        Some(_) => "somebody removed its successor; the old container is there",
    };
    Err(Error::malformed(format!("swap of {}", record.name), reason))
}

/// The old container of a dependent stays, because its successor is gone: it has its name and its policy again
/// before its start is tried.
fn keep_old(steps: Steps, record: &Record, may_start: bool) -> Result<()> {
    log::warn!(
        "{}: somebody removed its successor in mid-swap; the old container stays",
        record.name
    );
    steps.ensure_name(&record.old, &record.name)?;
    steps.ensure_policy(&record.old, &record.restart)?;
    if record.was_running && may_start {
        steps.ensure_running(&record.old)?;
    }
    Ok(())
}
