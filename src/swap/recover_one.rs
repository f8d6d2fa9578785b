//! The recovery of one half-done swap: the swap is finished or undone, and reported.

use super::Acceptance;
use super::Blame;
use super::Failure;
use super::Swap;
use super::acceptance::accept_all;
use super::dependencies::lives_in;
use super::half_done::is_left_over;
use super::itself::Itself;
use super::record::is_alive;
use super::steps::Steps;
use super::take_over::finish;
use super::turn::Turn;
use super::undo::Pair;
use super::undo::Stop;
use super::undo::Undone;
use super::undo::owners_replacement;
use super::undo::undo;
use crate::engine::Container;
use crate::engine::Removal;
use crate::engine::Summary;
use crate::error::Error;
use crate::error::Result;
use crate::journal::Event;
use crate::journal::Outcome;
use crate::journal::Step;
use std::time::Duration;
use std::time::SystemTime;

/// For how long after its creation a successor has to be accepted like a new one.
const FRESH: Duration = Duration::from_secs(600);

/// Whether a successor was created so long ago that only its present state counts. Such a successor may have new
/// data.
fn serves_for_long(list: &[Summary], id: &str) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let created = list.iter().find(|one| one.id() == id).map(Summary::created);
    let created = created.and_then(|created| u64::try_from(created).ok());
    created.is_some_and(|created| created > 0 && now.saturating_sub(created) > FRESH.as_secs())
}

/// Finishes or undoes one half-done swap, and returns the result in words. The first of `members` is the
/// provider.
#[cold]
pub(super) fn recover_one(
    steps: Steps,
    list: &[Summary],
    acceptance: Acceptance,
    members: &mut [Pair],
    itself: &Itself,
    on: &(dyn Fn(&Step) + Sync),
) -> Result<&'static str> {
    let found = find(steps, members)?;
    let was_committed = is_committed(steps, &found)?;
    let (mut reason, mut committed) = (None, was_committed);
    if !committed && found.iter().all(Found::has_taken_over) {
        reason = why_not_accepted(steps, list, acceptance, members).map(|failure| {
            if failure.blame == Blame::Image {
                on(&Step::Swap {
                    container: members[0].record.name.clone(),
                    phase: "undo",
                });
            }
            failure.reason
        });
        committed = reason.is_none();
    }
    refuse_own_container(itself, members, committed, reason.as_deref())?;
    let undone = if committed {
        remove_unstartable(steps, list, members)?;
        finish(steps, members, None)?;
        Undone::TakenOver
    } else {
        undo_found(steps, acceptance, members, &found)?
    };
    // Only an acceptance just above shows that the successor comes up. The process that was killed may have found
    // that the successor does not.
    let is_unproven = was_committed || !committed;
    if undone == Undone::TakenOver && is_unproven && members[0].record.was_running {
        let left = acceptance.await_standing(steps, &members[0].new);
        reason = left.err().map(|failure| failure.reason);
        if let Some(reason) = &reason {
            let name = &members[0].record.name;
            log::error!("{name}: {reason}");
        }
    }
    found
        .iter()
        .for_each(|one| one.report(undone, reason.as_deref(), on));
    Ok(match undone {
        Undone::TakenOver if reason.is_some() => {
            "is over: the old container was gone, and what is left does not come up"
        }
        Undone::TakenOver if committed => "is finished now",
        Undone::TakenOver => "is finished now: the old container was gone",
        Undone::Back => "is undone now: the old container is back",
        Undone::ReplacedByOwner => "is over: somebody else had replaced the container",
    })
}

fn find(steps: Steps, members: &[Pair]) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for pair in members {
        found.push(Found {
            pair: pair.clone(),
            old: steps.look_for_way_back(&pair.record)?,
            new: steps.look(&pair.new)?,
        });
    }
    Ok(found)
}

/// Whether the swap can only be finished.
///
/// The old containers are removed once all successors are accepted, the provider's last. So a missing old
/// container shows that they were accepted, unless its owner removed it before the successors had taken over.
fn is_committed(steps: Steps, found: &[Found]) -> Result<bool> {
    let was_reached = |one: &Found| {
        let record = &one.pair.record;
        one.new.as_ref().is_none_or(|new| {
            let has_name = new.name() == record.name || record.is_renamed(new);
            has_name || record.was_running && new.was_started()
        })
    };
    let is_old_gone = found.first().is_some_and(|one| one.old.is_none())
        || found.iter().any(|one| one.old.is_none()) && found.iter().all(was_reached);
    let is_one_way = found.iter().any(|one| one.pair.record.is_one_way);
    let is_owners = owners_replacement(steps, &found[0].pair)?.is_some();
    Ok((is_old_gone || is_one_way) && !is_owners)
}

/// Why successors that have taken over are not accepted, if so.
fn why_not_accepted(
    steps: Steps,
    list: &[Summary],
    acceptance: Acceptance,
    members: &[Pair],
) -> Option<Failure> {
    let accept = |pair: &Pair| {
        let accepted = if serves_for_long(list, &pair.new) {
            acceptance.await_standing(steps, &pair.new)
        } else {
            acceptance.await_acceptance(steps, &pair.new)
        };
        Ok(accepted?.standing)
    };
    let (part, failure) = accept_all(steps, members, &accept).err()?;
    log::warn!("{}: {}", members[part].record.name, failure.reason);
    Some(failure)
}

/// Undoes the swap. Old containers that are removed meanwhile are made again.
#[cold]
fn undo_found(
    steps: Steps,
    acceptance: Acceptance,
    members: &mut [Pair],
    found: &[Found],
) -> Result<Undone> {
    let turn = Turn::alone();
    let swap = Swap {
        phase: &|_, _| {},
        failed: &|_| {},
        accepted: &|_| {},
        engine: steps.engine,
        shutdown: steps.shutdown,
        about: &steps.engine.about()?,
        acceptance,
        platform: None,
        images: &[],
        turn: &turn,
        // A recovery reports no pull. Without the old image, the successor takes over.
        fetch: &|name, _| {
            Err(Error::malformed(
                format!("pull {name}"),
                "a recovery pulls nothing",
            ))
        },
    };
    let mut kept = Vec::new();
    for one in found {
        kept.push(swap.member_to_remake(&one.pair, one.old.as_ref().or(one.new.as_ref()))?);
    }
    let remake = |pairs: &[Pair], index: usize| {
        // The owner may have removed a container that was already gone when this recovery began. But a dependent
        // has to be made again if its provider was.
        let is_ours = found[index].old.is_some() || index > 0 && pairs[0].record.was_made_again();
        let remade = match kept.get(index).and_then(Option::as_ref) {
            Some(member) if is_ours => swap.remake_old(member, pairs, index)?,
            _ => None,
        };
        Ok(remade.map(|remade| remade.id))
    };
    undo(steps, members, Stop::MayBeUnderWay, &remake)
}

/// Removes old containers that can never be started again: their owner replaced them, and the container they live
/// in is removed now. Podman refuses to remove that container before them.
#[cold]
pub(super) fn remove_unstartable(steps: Steps, list: &[Summary], members: &[Pair]) -> Result<()> {
    for one in list.iter().filter(|one| is_left_over(list, one)) {
        let Some(left_over) = steps.look(one.id())? else {
            continue;
        };
        for pair in members {
            let provider = steps.look(&pair.record.old)?;
            let lives_in_it = |provider: Container| lives_in(&left_over, &provider);
            if !is_alive(&left_over) && provider.is_some_and(lives_in_it) {
                log::warn!(
                    "{}: removed, because its owner replaced it and what it lived in is gone; its volumes stay",
                    left_over.name()
                );
                steps.ensure_gone(left_over.id(), Removal::KeepVolumes)?;
                break;
            }
        }
    }
    Ok(())
}

/// Refuses to stop or remove the container that this process runs in: the process would not live to start the
/// other container. A process outside of it can do that. If the successor is accepted later, the swap is finished
/// then.
fn refuse_own_container(
    itself: &Itself,
    members: &[Pair],
    committed: bool,
    reason: Option<&str>,
) -> Result<()> {
    let is_removed = |pair: &&Pair| {
        itself.may_be(if committed {
            &pair.record.old
        } else {
            &pair.new
        })
    };
    let Some(own) = members.iter().find(is_removed) else {
        return Ok(());
    };
    let (which, deed) = if committed {
        ("old container", "remove")
    } else {
        ("successor", "undo")
    };
    Err(Error::malformed(
        format!("{deed} {}", own.record.name),
        format!(
            "its {which} is imagewatch itself{} (`imagewatch refresh` run outside of it can)",
            reason.map_or_else(String::new, |reason| format!(", {reason}"))
        ),
    ))
}

/// A container of a half-done swap and its successor, as the recovery found them.
struct Found {
    pair: Pair,
    old: Option<Container>,
    new: Option<Container>,
}

impl Found {
    fn has_taken_over(&self) -> bool {
        let record = &self.pair.record;
        let was_reached = |new: &Container| new.was_started() || !record.was_running;
        let has_name = |new: &Container| new.name() == record.name || record.is_renamed(new);
        let fits = |new: &Container| has_name(new) && was_reached(new);
        self.new.as_ref().is_some_and(fits)
    }

    /// Reports the outcome of the container, because the process that began the swap was killed. If the old container
    /// is gone, that process may have reported the swap, and the old image is no longer known.
    fn report(&self, undone: Undone, reason: Option<&str>, on: &(dyn Fn(&Step) + Sync)) {
        let Some(new) = &self.new else {
            return;
        };
        let image = self.old.as_ref().unwrap_or(new).image_name();
        let name = &self.pair.record.name;
        let report = |event| on(&Step::Outcome(event));
        let failed = |reason: String| {
            let event = Event::of(Outcome::Skipped, name, image);
            report(event.to(new.image_id()).because(&reason));
        };
        match (undone, &self.old, reason) {
            (Undone::TakenOver, _, Some(reason)) => failed(format!(
                "its swap was found half done, the old container was gone, and the new one does not come up \
                 ({reason})"
            )),
            (Undone::TakenOver, Some(old), None) => {
                let event = Event::of(Outcome::Recreated, name, image);
                report(event.from_to(old.image_id(), new.image_id()));
            }
            (Undone::Back, Some(_), reason) => {
                failed(format!(
                    "its swap was found half done, and undone{}",
                    in_brackets(reason)
                ));
                report(Event::of(Outcome::Back, name, image));
            }
            (Undone::TakenOver | Undone::Back, None, _) | (Undone::ReplacedByOwner, ..) => {}
        }
    }
}

fn in_brackets(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}
