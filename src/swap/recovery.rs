//! Recovery: swaps that another process left half done are finished or undone.
//!
//! Whoever does this holds the claim, so every half-done swap there is belongs to nobody. What is to
//! be done follows from what the Engine shows:
//!
//! | what is there | then |
//! |---|---|
//! | a successor whose old container is gone | it was accepted: nothing, or its name is put right |
//! | all successors of a swap have taken over and run | they are accepted or not, as always |
//! | anything else | the swap is undone |
//! | an old container put aside, and no successor | it gets its name back and is started |

use super::Acceptance;
use super::record::Record;
use super::record::is_alive;
use super::record::is_aside;
use super::record::is_transient_name;
use super::record::name_before;
use super::steps::Steps;
use super::undo::Pair;
use super::undo::Stop;
use super::undo::Undone;
use super::undo::bring_back;
use super::undo::finish;
use super::undo::undo;
use crate::claim::Attempt;
use crate::claim::Claim;
use crate::claim::NAME as CLAIM;
use crate::debug::debug;
use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Summary;
use crate::error::Error;
use crate::error::Result;
use crate::gate::Gate;
use crate::progress::Step;
use std::collections::HashSet;
use std::time::Duration;
use std::time::SystemTime;

/// How long after it was made a successor is judged as a new one.
const FRESH: Duration = Duration::from_secs(600);

/// Whether the list shows anything half done, or a claim.
#[must_use]
pub fn is_needed(list: &[Summary]) -> bool {
    list.iter().any(|one| is_transient_name(one.name())) || !open_pairs(list).is_empty()
}

/// What came of a recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// Nothing is half done any more.
    All,
    /// Somebody who lives is at work, and what is half done therefore his.
    Held,
    /// What could not be settled, and why, each on one line.
    Left(Vec<String>),
}

impl Recovered {
    /// For whoever has no further try.
    pub fn tell(&self) {
        if let Self::Left(troubles) = self {
            for trouble in troubles {
                log::error!("{trouble}");
            }
        }
    }
}

/// Finishes or undoes every half-done swap on the Engine, for a command that has no further try and no
/// books to keep.
///
/// # Errors
/// See [`recover`].
pub fn recover_once(engine: &Engine, acceptance: Acceptance, gate: &Gate) -> Result<()> {
    recover(engine, acceptance, gate, &|_| {}).map(|recovered| recovered.tell())
}

/// Finishes or undoes every half-done swap on the Engine; `on` hears what came of each container.
///
/// # Errors
/// When the Engine cannot be asked. What is wrong with one swap does not keep the others from being
/// settled.
pub fn recover(
    engine: &Engine,
    acceptance: Acceptance,
    gate: &Gate,
    on: &dyn Fn(&Step),
) -> Result<Recovered> {
    let list = engine.containers()?;
    if !is_needed(&list) {
        return Ok(Recovered::All);
    }
    let Some(image) = image_for_claim(engine, &list)? else {
        return Claim::sweep(engine).map(|()| Recovered::All);
    };
    let Some(_pass) = gate.enter() else {
        return Ok(Recovered::All);
    };
    match Claim::attempt(engine, &image)? {
        Attempt::Held(who) => {
            debug(format_args!("a swap is under way by {who}"));
            Ok(Recovered::Held)
        }
        Attempt::Mine(claim) => settle(engine, acceptance, &claim, on),
    }
}

/// The image of any container there is: it cannot be gone.
fn image_for_claim(engine: &Engine, list: &[Summary]) -> Result<Option<crate::engine::Image>> {
    for one in list
        .iter()
        .filter(|one| is_transient_name(one.name()) || Record::of_summary(one).is_some())
        .filter(|one| one.name() != CLAIM)
    {
        if let Some(container) = engine.find(one.id())? {
            match engine.image(container.image_id()) {
                Err(error) if error.is_not_found() => {}
                outcome => return outcome.map(Some),
            }
        }
    }
    Ok(None)
}

/// The same, for whoever holds the claim.
///
/// # Errors
/// See [`recover`].
pub fn settle(
    engine: &Engine,
    acceptance: Acceptance,
    _claim: &Claim,
    on: &dyn Fn(&Step),
) -> Result<Recovered> {
    let mut left = Vec::new();
    let steps = Steps { engine };
    let list = engine.containers()?;
    let pairs = open_pairs(&list);
    let mut settled: Vec<&str> = Vec::new();
    for swap in pairs.iter().map(|pair| pair.record.swap()) {
        if settled.contains(&swap) {
            continue;
        }
        settled.push(swap);
        // The provider first, the others in the order they were made.
        let of_swap = pairs
            .iter()
            .filter(|pair| pair.record.swap() == swap)
            .cloned();
        let (mut members, tenants): (Vec<Pair>, Vec<Pair>) =
            of_swap.partition(|pair| pair.record.provider.is_none());
        members.extend(tenants);
        let name = members.first().map_or("", |pair| &*pair.record.name);
        match settle_one(steps, &list, acceptance, &members, on) {
            Ok(how) => log::warn!("{name}: a swap was found half done and {how}"),
            Err(error) => left.push(format!(
                "{name}: a swap was found half done and could not be settled: {error}"
            )),
        }
    }
    for orphan in list.iter().filter(|one| is_orphan(one, &pairs)) {
        match adopt(steps, orphan) {
            Ok(()) => log::warn!("{}: was put aside by a swap, put back", orphan.name()),
            Err(error) => left.push(format!(
                "{}: was put aside by a swap and could not be put back: {error}",
                orphan.name()
            )),
        }
    }
    Ok(if left.is_empty() {
        Recovered::All
    } else {
        Recovered::Left(left)
    })
}

/// The ids of all containers of swaps that are not over: nobody may begin another one with them.
#[must_use]
pub fn half_done(list: &[Summary]) -> HashSet<String> {
    let aside = list.iter().filter(|one| is_aside(one.name()));
    let aside = aside.map(|one| one.id().to_owned());
    let both = |pair: Pair| [pair.record.old, pair.new];
    let pairs = open_pairs(list).into_iter();
    let open = pairs.filter(|pair| !is_all_but_removed(list, pair));
    open.flat_map(both).chain(aside).collect()
}

/// Whether all there is left to do is that the Engine removes the old container, which it could not (`dead`).
fn is_all_but_removed(list: &[Summary], pair: &Pair) -> bool {
    let find = |id: &str| list.iter().find(|one| one.id() == id);
    let is_dying = |old: &Summary| matches!(old.state(), "dead" | "removing");
    find(&pair.record.old).is_some_and(is_dying)
        && find(&pair.new).is_some_and(|new| new.name() == pair.record.name)
}

/// Successors of swaps that are not over: the old container is still there, or a name is not right yet.
fn open_pairs(list: &[Summary]) -> Vec<Pair> {
    let is_there = |id: &str| list.iter().any(|one| one.id() == id);
    let pair = |one: &Summary| {
        let record = Record::of_summary(one)?;
        let open =
            is_there(&record.old) || is_there(record.swap()) || one.name() == record.new_name();
        open.then(|| Pair {
            record,
            new: one.id().to_owned(),
        })
    };
    // The list begins with the newest; what lives in others was made after them.
    list.iter().rev().filter_map(pair).collect()
}

/// Whether a successor was made so long ago that it matters only how it is now: it may have new data.
fn serves_for_long(list: &[Summary], id: &str) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let created = list.iter().find(|one| one.id() == id).map(Summary::created);
    let created = created.and_then(|created| u64::try_from(created).ok());
    created.is_some_and(|created| created > 0 && now.saturating_sub(created) > FRESH.as_secs())
}

fn settle_one(
    steps: Steps,
    list: &[Summary],
    acceptance: Acceptance,
    members: &[Pair],
    on: &dyn Fn(&Step),
) -> Result<&'static str> {
    let mut found = Vec::new();
    for pair in members {
        found.push(Found {
            pair,
            old: steps.look_for_way_back(&pair.record)?,
            new: steps.look(&pair.new)?,
        });
    }
    // The old containers go once all are accepted, the provider's last: one that is missing says so, unless its
    // owner removed it before the successors had taken over.
    let had_its_turn = |one: &Found| {
        let record = &one.pair.record;
        one.new
            .as_ref()
            .is_none_or(|new| new.name() == record.name || record.was_running && new.was_started())
    };
    let mut committed = found.first().is_some_and(|one| one.old.is_none())
        || found.iter().any(|one| one.old.is_none()) && found.iter().all(had_its_turn);
    let mut reason = None;
    if !committed && found.iter().all(Found::has_taken_over) {
        reason = members.iter().find_map(|pair| {
            let is_started = pair.record.was_running;
            let accept = || {
                if serves_for_long(list, &pair.new) {
                    acceptance.await_standing(steps.engine, &pair.new)
                } else {
                    acceptance.await_acceptance(steps.engine, &pair.new)
                }
            };
            let accepted = is_started.then(accept);
            let failure = accepted?.err()?;
            log::warn!("{}: {}", pair.record.name, failure.reason);
            Some(failure.reason)
        });
        committed = reason.is_none();
    }
    let undone = if committed {
        finish(steps, members)?;
        Undone::TakenOver
    } else {
        undo(steps, members, Stop::InDoubt)?
    };
    found
        .iter()
        .for_each(|one| one.tell(undone, reason.as_deref(), on));
    Ok(match undone {
        Undone::TakenOver if committed => "is finished now",
        Undone::TakenOver => "is finished now: the old container was gone",
        Undone::Back => "is undone now: the old container is back",
        Undone::ByOthers => "is over: somebody else had replaced the container",
    })
}

/// A container of a half-done swap and its successor, as they were found.
struct Found<'p> {
    pair: &'p Pair,
    old: Option<Container>,
    new: Option<Container>,
}

impl Found<'_> {
    fn has_taken_over(&self) -> bool {
        let record = &self.pair.record;
        let fits =
            |new: &Container| new.name() == record.name && (is_alive(new) || !record.was_running);
        self.new.as_ref().is_some_and(fits)
    }

    /// What came of it; whoever began the swap did not live to tell. Of an old container that is gone he
    /// may have told, and nobody knows any more what it ran.
    fn tell(&self, undone: Undone, reason: Option<&str>, on: &dyn Fn(&Step)) {
        let (Some(old), Some(new)) = (&self.old, &self.new) else {
            return;
        };
        let container = self.pair.record.name.clone();
        let (image, new) = (old.image_name().to_owned(), new.image_id().to_owned());
        match undone {
            Undone::TakenOver => on(&Step::Recreated {
                container,
                image,
                old: old.image_id().to_owned(),
                new,
                downtime_seconds: None,
            }),
            Undone::Back => on(&Step::Skipped {
                container,
                image,
                new,
                reason: format!(
                    "its swap was found half done, and undone{}",
                    in_brackets(reason)
                ),
                failed: true,
            }),
            Undone::ByOthers => {}
        }
    }
}

fn in_brackets(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}

/// An old container put aside whose successor somebody removed.
fn is_orphan(one: &Summary, pairs: &[Pair]) -> bool {
    name_before(one.name()).is_some() && pairs.iter().all(|pair| pair.record.old != one.id())
}

/// It was running, most likely: the successor of one that was not exists for a moment only.
fn adopt(steps: Steps, orphan: &Summary) -> Result<()> {
    let name = name_before(orphan.name()).unwrap_or_default();
    if let Some(stranger) = steps.look_by_name(name)? {
        return Err(Error::Malformed {
            request: format!("rename {} to {name}", orphan.name()),
            reason: format!(
                "container {} has that name (remove the one you do not want)",
                stranger.short_id()
            ),
        });
    }
    bring_back(steps, orphan.id(), name).map(drop)
}
