//! Recovery: swaps that another process left half done are finished or undone.
//!
//! A recovery holds the lock, so no living process works on the half-done swaps. The action follows from the
//! containers on the Engine:
//!
//! | on the Engine | action |
//! |---|---|
//! | a successor whose old container is gone | the successor was accepted: its name is put right if needed |
//! | all successors of a swap have taken over | the successors are accepted or not, as in any swap |
//! | anything else | the swap is undone |
//! | an old container put aside, and no successor | the container gets its name back and is started |
//! | the same, and its owner has created another one of that name | the container stays aside; one warning says so |

use super::Acceptance;
use super::half_done::is_clean;
use super::half_done::is_left_over;
use super::half_done::is_orphan;
use super::half_done::needs_recovery;
use super::half_done::open_pairs;
use super::half_done::replaced_provider;
use super::itself;
use super::itself::Itself;
use super::lock::Attempt;
use super::lock::Lock;
use super::lock::NAME as LOCK;
use super::put_back::bring_back;
use super::record::Aside;
use super::record::Record;
use super::record::marks_swap;
use super::record::name_before;
use super::recover_one::recover_one;
use super::steps::Steps;
use super::undo::Pair;
use super::undo::down;
use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Summary;
use crate::error::Error;
use crate::error::Result;
use crate::journal::Event;
use crate::journal::Outcome;
use crate::journal::Step;
use crate::logging::debug;
use crate::thread::Shutdown;
use std::sync::Mutex;
use std::sync::PoisonError;

/// The result of a recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// No swap is half done any more.
    All,
    /// Another living process holds the lock, so the half-done swaps are its work.
    Held,
    /// These swaps could be neither finished nor undone.
    Left(Vec<Left>),
}

/// A swap that could be neither finished nor undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The failure and its reason, on one line.
    pub trouble: String,
    /// The containers that are down because of it.
    pub down: Vec<String>,
}

impl Recovered {
    /// Logs the failures. For callers that do not try again.
    pub fn log(&self) {
        if let Self::Left(troubles) = self {
            for Left { trouble, .. } in troubles {
                log::error!("{trouble}");
            }
        }
    }
}

/// Finishes or undoes every half-done swap on the Engine, for a command that neither tries again nor records
/// events.
///
/// # Errors
/// See [`recover`].
pub fn recover_once(engine: &Engine, acceptance: Acceptance, shutdown: &Shutdown) -> Result<()> {
    recover(engine, acceptance, shutdown, &|_| {}).map(|recovered| recovered.log())
}

/// Finishes or undoes every half-done swap on the Engine. `on` gets the outcome of each container.
///
/// # Errors
/// When the Engine cannot be asked. A failure of one swap does not stop the others.
pub fn recover(
    engine: &Engine,
    acceptance: Acceptance,
    shutdown: &Shutdown,
    on: &(dyn Fn(&Step) + Sync),
) -> Result<Recovered> {
    let list = engine.containers()?;
    list.iter()
        .filter(|one| is_left_over(&list, one))
        .for_each(warn_of_left_over);
    if !needs_recovery(&list) {
        return Ok(Recovered::All);
    }
    let Some(image) = image_for_lock(engine, &list)? else {
        return Lock::sweep(engine).map(|()| Recovered::All);
    };
    let Some(_pass) = shutdown.enter() else {
        return Ok(Recovered::All);
    };
    match Lock::attempt(engine, std::slice::from_ref(&image))? {
        Attempt::Held(who) => {
            debug(format_args!("{who} is at work on a swap"));
            Ok(Recovered::Held)
        }
        Attempt::Mine(lock) => {
            let list = engine.containers()?;
            recover_with_lock(engine, &list, acceptance, shutdown, &lock, on)
        }
    }
}

/// An image for the lock: that of a container of a half-done swap, because an image in use cannot be gone.
fn image_for_lock(engine: &Engine, list: &[Summary]) -> Result<Option<crate::engine::Image>> {
    for one in list
        .iter()
        .filter(|one| marks_swap(one.name()) || Record::of_summary(one).is_some())
        .filter(|one| one.name() != LOCK)
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

/// Finishes or undoes every half-done swap. The caller holds the lock and has just made this list.
///
/// # Errors
/// See [`recover`].
#[cold]
pub fn recover_with_lock(
    engine: &Engine,
    list: &[Summary],
    acceptance: Acceptance,
    shutdown: &Shutdown,
    lock: &Lock,
    on: &(dyn Fn(&Step) + Sync),
) -> Result<Recovered> {
    let steps = Steps { engine, shutdown };
    if is_clean(list) {
        return Ok(Recovered::All);
    }
    let pairs = open_pairs(list);
    let itself = itself::find(engine)?;
    let mut left = Vec::new();
    let mut done: Vec<&str> = Vec::new();
    for swap in pairs.iter().map(|pair| pair.record.swap()) {
        if done.contains(&swap) {
            continue;
        }
        if !done.is_empty() && lock.is_over() {
            left.push(Left {
                trouble:
                    "a swap was found half done and is left for now: somebody removed the lock"
                        .to_owned(),
                down: Vec::new(),
            });
            return Ok(Recovered::Left(left));
        }
        done.push(swap);
        let mut members = members_of(swap, list, &pairs);
        let name = members.first().map(|pair| pair.record.name.clone());
        let name = name.unwrap_or_default();
        match recover_one(steps, list, acceptance, &mut members, &itself, on) {
            Ok(how) => log::warn!("{name}: a swap was found half done and {how}"),
            Err(error) => left.push(Left {
                trouble: format!(
                    "{name}: a swap was found half done and could not be settled: {error}"
                ),
                down: report_down(steps, &members, &itself, &error, on),
            }),
        }
    }
    left.extend(put_orphans_back(steps, list, &pairs));
    Ok(if left.is_empty() {
        Recovered::All
    } else {
        Recovered::Left(left)
    })
}

/// The pairs of one swap: the provider first, then the others in the order of their creation.
fn members_of(swap: &str, list: &[Summary], pairs: &[Pair]) -> Vec<Pair> {
    let of_swap = pairs
        .iter()
        .filter(|pair| pair.record.swap() == swap)
        .cloned();
    let (mut members, dependents): (Vec<Pair>, Vec<Pair>) =
        of_swap.partition(|pair| pair.record.provider.is_none());
    if members.is_empty() {
        members.extend(replaced_provider(list, swap));
    }
    members.extend(dependents);
    members
}

/// Puts back every old container whose successor is gone, and returns the failures.
fn put_orphans_back(steps: Steps, list: &[Summary], pairs: &[Pair]) -> Vec<Left> {
    let mut left = Vec::new();
    for orphan in list.iter().filter(|one| is_orphan(one, pairs)) {
        match put_orphan_back(steps, orphan) {
            Ok(true) => log::warn!("{}: was put aside by a swap, put back", orphan.name()),
            Ok(false) => warn_of_left_over(orphan),
            Err(error) => left.push(Left {
                trouble: format!(
                    "{}: was put aside by a swap and could not be put back: {error}",
                    orphan.name()
                ),
                down: Vec::new(),
            }),
        }
    }
    left
}

/// Reports the old containers that should run and do not, and returns their names. The container of this process is not
/// down, whatever state its swap is in.
fn report_down(
    steps: Steps,
    pairs: &[Pair],
    itself: &Itself,
    error: &Error,
    on: &(dyn Fn(&Step) + Sync),
) -> Vec<String> {
    let report = |place: usize| {
        let record = &pairs[place].record;
        let old = steps.find(&record.old).ok().flatten();
        let image = old.as_ref().map_or("", Container::image_name);
        let event = Event::of(Outcome::Down, &record.name, image);
        on(&Step::Outcome(event.because(&error.to_string())));
        record.name.clone()
    };
    let is_down = |place: &usize| !itself.may_be(&pairs[*place].new);
    let down = down(steps, pairs).into_iter();
    down.filter(is_down).map(report).collect()
}

/// Puts an old container back according to its name. `Ok(false)`: its owner has created another container of that
/// name.
fn put_orphan_back(steps: Steps, orphan: &Summary) -> Result<bool> {
    let Some(aside) = Aside::parse(orphan.name()) else {
        return Ok(true);
    };
    if steps.look_by_name(aside.name)?.is_some() {
        return Ok(false);
    }
    if let Some(policy) = &aside.restart {
        steps.ensure_policy(orphan.id(), policy)?;
    }
    if aside.was_running {
        bring_back(steps, orphan.id(), aside.name)?;
    } else {
        steps.ensure_name(orphan.id(), aside.name)?;
    }
    Ok(true)
}

/// Warns of a container that a swap left over, once in the life of this process.
fn warn_of_left_over(one: &Summary) {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if !said.iter().any(|id| id == one.id()) {
        said.push(one.id().to_owned());
        let name = name_before(one.name()).unwrap_or_default();
        log::warn!(
            "{}: left over from a swap, because there is another container named {name} by now (docker rm it, if \
             you do not want it)",
            one.name()
        );
    }
}
