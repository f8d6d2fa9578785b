//! Undo: the old containers run again as they were, whatever state a swap was left in.
//!
//! Undo remembers only ids and the record. Every step looks at the real state and does only the
//! missing part. So an undo may be repeated, interrupted, and continued by another process at any
//! point. The successor carries the record, so it is removed last.

use super::put_back::expect_there;
use super::put_back::put_back;
use super::put_back::put_back_unrecorded;
use super::record::Record;
use super::record::is_alive;
use super::steps::Steps;
use super::steps::has_policy;
use super::steps::same_policy;
use super::tag;
use super::take_over::finish;
use crate::engine::Container;
use crate::engine::Removal;
use crate::error::Result;

/// How often the whole undo is tried.
const TRIES: u32 = 3;

/// A container and its successor.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// The record on the successor's label.
    pub(super) record: Record,
    /// The successor's id.
    pub(super) new: String,
    /// The id of the provider for which the old container was made again, if it was.
    pub(super) remade_in: Option<String>,
}

impl Pair {
    pub(super) const fn new(record: Record, new: String) -> Self {
        Self {
            record,
            new,
            remade_in: None,
        }
    }
}

/// Whether the Engine may still be stopping an old container. The last call of a killed process goes on in
/// the Engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Done,
    MayBeUnderWay,
}

/// How an undo ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undone {
    /// The old containers are back.
    Back,
    /// Somebody had removed an old container, so only the successors were left, and they took over.
    TakenOver,
    /// The owner had replaced the first container. The owner's container is untouched.
    ReplacedByOwner,
}

/// Makes an old container again that somebody removed, and returns its id. The number is the place of its
/// pair. The result is `None` if the container cannot be made again.
pub(super) type Remake<'a> = &'a dyn Fn(&[Pair], usize) -> Result<Option<String>>;

/// Undoes a swap. The first of `pairs` is the provider.
///
/// # Errors
/// The error says which part could not be undone. Everything that the next try needs is still there.
#[cold]
pub(super) fn undo(steps: Steps, pairs: &mut [Pair], stop: Stop, remake: Remake) -> Result<Undone> {
    let mut tries = 0;
    loop {
        tries += 1;
        match undo_once(steps, pairs, stop, remake) {
            // An obstacle that keeps the old container from starting outlasts these tries.
            Err(error)
                if tries < TRIES && error.obstacle().is_none() && !steps.shutdown.is_closed() =>
            {
                log::warn!("undo: {error}; trying again");
            }
            outcome => return outcome,
        }
    }
}

/// The places of the containers that ran before the swap and do not run now. A container that the Engine
/// cannot show counts as running.
pub(super) fn down(steps: Steps, pairs: &[Pair]) -> Vec<usize> {
    let is_alive = |id: &str| {
        let found = steps.find(id);
        found.map_or(true, |found| found.is_some_and(|found| is_alive(&found)))
    };
    let is_owners = |pair: &Pair| owners_replacement(steps, pair).is_ok_and(|own| own.is_some());
    let is_down = |pair: &Pair| {
        let serves = pair.record.is_one_way && is_alive(&pair.new);
        let is_lost = !is_alive(&pair.record.old) && !is_alive(&pair.new);
        let is_old_down =
            matches!(steps.find(&pair.record.old), Ok(Some(_))) && !is_alive(&pair.record.old);
        pair.record.was_running && !serves && (is_lost || is_old_down) && !is_owners(pair)
    };
    let all = pairs.iter().enumerate();
    let down = all.filter(|(_, pair)| is_down(pair));
    down.map(|(place, _)| place).collect()
}

/// The container that the owner created in mid-swap to replace this one, if any. The sign of that: a third container
/// has the name, and the old container or its successor is gone.
#[cold]
pub(super) fn owners_replacement(steps: Steps, pair: &Pair) -> Result<Option<Container>> {
    let Pair { record, new, .. } = pair;
    let holder = steps.look_by_name(&record.name)?;
    let strangers = holder.filter(|holder| holder.id() != record.old && holder.id() != new);
    let is_half_gone = || Ok(steps.look(new)?.is_none() || steps.look(&record.origin)?.is_none());
    match strangers {
        Some(own) if is_half_gone()? => Ok(Some(own)),
        _ => Ok(None),
    }
}

/// The old containers of a swap, as an undo finds them.
struct Olds {
    /// The place of the pair, and its old container.
    there: Vec<(usize, Container)>,
    /// Whether the owner replaced the first container.
    is_first_replaced: bool,
}

#[cold]
fn undo_once(steps: Steps, pairs: &mut [Pair], stop: Stop, remake: Remake) -> Result<Undone> {
    let Some(found) = find_olds(steps, pairs, remake)? else {
        return finish(steps, pairs, None);
    };
    let olds: Vec<(&Pair, Container)> = found
        .there
        .into_iter()
        .map(|(index, old)| (&pairs[index], old))
        .collect();
    let unrecorded = stop_successors(steps, &olds)?;
    let mut trouble = Ok(());
    for (pair, old) in &olds {
        let outcome = if unrecorded.contains(&old.id()) {
            put_back_unrecorded(steps, &pair.record)
        } else {
            put_back(steps, pair, old, stop)
        };
        if let Err(error) = outcome {
            trouble = trouble.and(Err(error));
        }
    }
    trouble?;
    for (pair, old) in &olds {
        start_refused(steps, &pair.record)?;
        if let Some(new) = steps.look(&pair.new)? {
            tag::put_back(steps, old, &new);
        }
    }
    remove_successors(steps, pairs, &olds)?;
    Ok(if found.is_first_replaced {
        Undone::ReplacedByOwner
    } else {
        Undone::Back
    })
}

/// Finds the old containers, and makes missing ones again where that is possible. The result is `None` if the
/// first one is gone: then there is no way back.
#[cold]
fn find_olds(steps: Steps, pairs: &mut [Pair], remake: Remake) -> Result<Option<Olds>> {
    let mut olds = Olds {
        there: Vec::new(),
        is_first_replaced: false,
    };
    // `old` in these copies is the container that is there after the undo, be it the owner's.
    let mut current = pairs.to_vec();
    for index in 0..pairs.len() {
        if let Some(owners) = owners_replacement(steps, &pairs[index])? {
            leave_to_owner(steps, &pairs[index])?;
            current[index].record.old = owners.id().to_owned();
            olds.is_first_replaced |= index == 0;
            continue;
        }
        let found = old_of(steps, pairs, &current, index, remake)?;
        current[index]
            .record
            .old
            .clone_from(&pairs[index].record.old);
        match found {
            Some(old) => olds.there.push((index, old)),
            // Somebody removed the old container, or it was removed because its successor was accepted.
            None if index == 0 => return Ok(None),
            // Only a dependent is gone. The provider must not be lost for that.
            None => {
                let pair = &pairs[index];
                log::warn!(
                    "{}: somebody removed it in mid-swap, so its successor is removed",
                    pair.record.name
                );
                steps.ensure_stopped(&pair.new)?;
            }
        }
    }
    Ok(Some(olds))
}

/// Stops the successors, dependents first. Returns the ids of the old containers whose successor, and with it
/// the record, is gone now.
#[cold]
fn stop_successors<'o>(steps: Steps, olds: &'o [(&Pair, Container)]) -> Result<Vec<&'o str>> {
    let mut unrecorded = Vec::new();
    for (pair, old) in olds.iter().rev() {
        // The successor gives its name back before it is stopped. Otherwise our stop would look like the
        // owner's stop, and a stopped successor like one that took over.
        let named = steps.ensure_name(&pair.new, &pair.record.new_name());
        steps.ensure_stopped(&pair.new)?;
        // Docker 20.10 renames no container that is in a crash loop.
        let is_there = named.or_else(|_| steps.ensure_name(&pair.new, &pair.record.new_name()))?;
        if !is_there {
            unrecorded.push(old.id());
        } else if may_start_itself(steps, pair, old)? {
            // The stop may have taken long, so the old container is looked at again.
            let is_there = steps.look_for_way_back(&pair.record)?.is_some();
            expect_there(is_there, &pair.record)?;
            if let Some(new) = steps.look(&pair.new)? {
                tag::put_back(steps, old, &new);
            }
            steps.ensure_gone(&pair.new, Removal::ForceWithAnonymousVolumes)?;
            unrecorded.push(old.id());
        }
    }
    Ok(unrecorded)
}

fn remove_successors(steps: Steps, pairs: &[Pair], olds: &[(&Pair, Container)]) -> Result<()> {
    for pair in pairs.iter().rev() {
        // If the old container is gone, Podman takes its volumes for anonymous ones of the successor.
        let is_back = olds.iter().any(|(one, _)| one.new == pair.new);
        let how = if is_back {
            Removal::ForceWithAnonymousVolumes
        } else {
            Removal::Force
        };
        steps.ensure_gone(&pair.new, how)?;
    }
    Ok(())
}

/// Starts an old container again that an Engine, restarted meanwhile, tried to start before its provider.
fn start_refused(steps: Steps, record: &Record) -> Result<()> {
    let seen = steps.look(&record.old)?;
    let was_refused = |seen: &Container| !is_alive(seen) && !seen.error().is_empty();
    if record.was_running && seen.is_some_and(|seen| was_refused(&seen)) {
        expect_there(steps.ensure_running(&record.old)?, record)?;
    }
    Ok(())
}

/// Takes our old container out of the way of the container that the owner created instead.
fn leave_to_owner(steps: Steps, pair: &Pair) -> Result<()> {
    let record = &pair.record;
    log::warn!(
        "{}: its owner replaced it in mid-swap; our successor goes",
        record.name
    );
    let Some(old) = steps.look(&record.old)? else {
        return Ok(());
    };
    if record.was_made_again() {
        return steps.ensure_gone(old.id(), Removal::KeepVolumes);
    }
    if old.name() == record.old_name() {
        return steps.ensure_stopped(old.id()).map(drop);
    }
    // The owner gave the old container another name, so it stays under that name.
    steps.ensure_policy(old.id(), &record.restart)?;
    if record.was_running {
        steps.ensure_running(old.id())?;
    }
    Ok(())
}

/// The old container of a pair. If somebody removed that container or its provider, it is made again. `current`
/// are the pairs with the containers that are there now.
fn old_of(
    steps: Steps,
    pairs: &mut [Pair],
    current: &[Pair],
    index: usize,
    remake: Remake,
) -> Result<Option<Container>> {
    let found = steps.look_for_way_back(&pairs[index].record)?;
    let provider = &current[0].record;
    let pair = &pairs[index];
    let lives_there = match &pair.remade_in {
        Some(id) => *id == provider.old,
        None => pair.record.was_made_again(),
    };
    let is_stranded =
        index > 0 && provider.was_made_again() && !lives_there && pair.record.was_running;
    if let Some(found) = &found {
        if !is_stranded {
            return Ok(Some(found.clone()));
        }
        // The container that is made again gets the old container's name, and a name is given only once.
        let name = pairs[index].record.old_name_of(found.id());
        steps.ensure_name(found.id(), &name)?;
    }
    let Some(id) = remake(current, index)? else {
        return Ok(found);
    };
    pairs[index].record.old.clone_from(&id);
    pairs[index].remade_in = Some(provider.old.clone());
    if let Some(stranded) = found {
        steps.ensure_gone(stranded.id(), Removal::KeepVolumes)?;
    }
    steps.look(&id)
}

/// Whether a successor in a crash loop may be started again by the Engine, and take the port or the address.
/// Such an Engine cannot take a restart policy away (Podman before 5.1). So the old container kept its
/// policy as well, and does not need the record on the successor's label.
fn may_start_itself(steps: Steps, pair: &Pair, old: &Container) -> Result<bool> {
    let new = steps.look(&pair.new)?;
    let has_policy = new.is_some_and(|new| has_policy(&new) && new.was_started());
    Ok(has_policy && same_policy(&old.restart_policy(), &pair.record.restart))
}
