//! `imagewatch refresh`: does one refresh from a terminal. A server may run beside it.

use super::progress_bar::ProgressBar;
use super::signals;
use super::wiring::Wiring;
use crate::config::Config;
use crate::journal::History;
use crate::journal::Outcomes;
use crate::journal::Verdict;
use crate::reference::Reference;
use crate::reference::Target;
use crate::swap;
use crate::swap::Recovered;
use crate::text::did_you_mean;
use crate::thread::queue;
use crate::thread::start;
use crate::update::Consent;
use crate::update::Extent;
use crate::update::Images;
use crate::update::Order;
use crate::update::Refresher;
use crate::update::find_named;
use crate::update::find_service;
use crate::update::names_and_references;
use signal_hook::iterator::Signals;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// The time for an interrupted refresh to report.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The arguments of the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Runtimes, containers or references. An empty list means all watched references.
    pub names: Vec<String>,
    /// How far the refresh goes.
    pub extent: Extent,
    /// Whether to pull a reference that no container runs.
    pub pull: bool,
}

/// The end of the refresh.
#[derive(Debug)]
pub enum Ended {
    /// The refresh is over. The second part has one line for each swap left half done, and for each named container
    /// that was not updated.
    Done(Box<Outcomes>, Vec<String>),
    /// A signal ended the refresh, after the current swap was finished or undone.
    Interrupted,
    /// A bug ended the refresh.
    Broken,
}

/// Does one refresh, and shows its progress on the standard error.
///
/// # Errors
/// Why nothing was done, on one line.
#[cold]
pub fn refresh(config: &Config, wish: &Wish) -> Result<Ended, String> {
    let mut signals =
        Signals::new(signals::signals()).map_err(|error| format!("signals: {error}"))?;
    let history = Arc::new(History::open(config.state.as_deref())?);
    let wiring = Wiring::of(config, &history);
    let say = |error: crate::error::Error| error.to_string();
    swap::recover_once(
        &wiring.engine,
        wiring.refresher.acceptance,
        &wiring.shutdown,
    )
    .map_err(say)?;
    let (images, extent) = (images(&wiring, wish)?, wish.extent);
    let order = Order { images, extent };
    let (inlet, ended) = queue();
    let (refresher, for_signals) = (Arc::clone(&wiring.refresher), inlet.clone());
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        start(name, work).map_err(|error| format!("thread {name}: {error}"))
    };
    spawn(
        "refresh",
        Box::new(move || {
            let bar = Mutex::new(ProgressBar::on_stderr());
            let lock = || bar.lock().unwrap_or_else(PoisonError::into_inner);
            let run = || refresher.run(&order, &|step| lock().step(step));
            let outcome = catch_unwind(AssertUnwindSafe(run));
            lock().end();
            refresher.keep_earlier();
            inlet.push(match outcome {
                Ok(outcomes) => {
                    let mut troubles = left_over(&refresher);
                    troubles.extend(hand_over(&refresher));
                    troubles.extend(unmet(&order.images, &outcomes));
                    Ended::Done(Box::new(outcomes), troubles)
                }
                Err(_) => Ended::Broken,
            });
        }),
    )?;
    spawn(
        "signals",
        Box::new(move || {
            if signals.forever().next().is_some() {
                for_signals.push(Ended::Interrupted);
            }
        }),
    )?;
    match ended.pop() {
        Some(Ended::Interrupted) | None => {
            // A swap under way is finished or undone first.
            wiring.shutdown.close();
            Ok(ended.pop_within(LAST_WORDS).unwrap_or(Ended::Interrupted))
        }
        Some(done) => Ok(done),
    }
}

/// Lets a helper update imagewatch's own container, if that is due. Returns a line for the caller.
fn hand_over(refresher: &Refresher) -> Option<String> {
    match refresher.hand_over_itself() {
        Ok(false) => None,
        Ok(true) => Some("imagewatch itself is updated by imagewatch.helper now".to_owned()),
        Err(error) => Some(format!("imagewatch itself is not updated: {error}")),
    }
}

/// Returns one line for each container that the caller named and that waits for something its owner has to do.
fn unmet(images: &Images, outcomes: &Outcomes) -> Vec<String> {
    let mut verdicts = outcomes.verdicts.iter();
    let waits =
        verdicts.any(|(_, verdict)| matches!(verdict, Verdict::Waits(_) | Verdict::NotYet(_)));
    if !waits || !matches!(images, Images::Containers(_)) {
        return Vec::new();
    }
    let skipped = outcomes.report.skipped.iter();
    skipped
        .map(|one| format!("{}: named, but not updated", one.name))
        .collect()
}

/// Returns one line for each swap that is still half done, for example because the Engine forbids a removal.
fn left_over(refresher: &Refresher) -> Vec<String> {
    let Refresher {
        engine,
        acceptance,
        shutdown,
        ..
    } = refresher;
    match swap::recover(engine, *acceptance, shutdown, &|_| {}) {
        Ok(Recovered::All | Recovered::Held) => Vec::new(),
        Ok(Recovered::Left(troubles)) => {
            let lines = troubles.into_iter();
            lines
                .map(|one| format!("left half done: {}", one.trouble))
                .collect()
        }
        Err(error) => vec![format!("cannot look for swaps left half done: {error}")],
    }
}

/// Resolves the names. A runtime comes before a container, and a container before a reference.
#[cold]
pub(super) fn images(wiring: &Wiring, wish: &Wish) -> Result<Images, String> {
    let names = &wish.names;
    let refresher = &wiring.refresher;
    let say = |error: crate::error::Error| error.to_string();
    if names.is_empty() {
        let mut seen = refresher.selection.seen(&wiring.engine).map_err(say)?;
        // Nothing is pulled for a container that is only reported.
        seen.retain(|one| one.consent == Consent::Update);
        return Ok(Images::These(refresher.watched(&seen)));
    }
    let (mut targets, mut containers): (Vec<Target>, Vec<String>) = Default::default();
    for name in names {
        let runtime = refresher.catalogue.all().iter().find(|t| t.name == *name);
        if let Some(runtime) = runtime {
            targets.retain(|target| target != runtime);
            targets.push(runtime.clone());
        } else if let Some(container) = find_named(&wiring.engine, name).map_err(say)? {
            // The caller may have given an id, so the name is taken from the Engine.
            let container = container.name().to_owned();
            containers.retain(|other| *other != container);
            containers.push(container);
        } else if find_service(&wiring.engine, name).map_err(say)?.is_some() {
            containers.push(name.clone());
        } else {
            targets.push(Target {
                name: name.clone(),
                reference: reference(wiring, name, wish.pull)?,
            });
        }
    }
    match (targets.is_empty(), containers.is_empty()) {
        (_, true) => Ok(Images::Named(targets)),
        (true, false) => Ok(Images::Containers(containers)),
        (false, false) => Err(
            "containers and images in one call: name only containers, or only images".to_owned(),
        ),
    }
}

/// Resolves a name to a reference that a container here was made from. With `pull`, any reference will do.
fn reference(wiring: &Wiring, name: &str, pull: bool) -> Result<Reference, String> {
    let parsed = name.parse::<Reference>();
    let unknown =
        |why: String| format!("{name:?} is no runtime, no container, and no reference {why}");
    if pull {
        return parsed.map_err(|error| unknown(format!("either: {error}")));
    }
    let say = |error: crate::error::Error| error.to_string();
    let (mut known, references) = names_and_references(&wiring.engine).map_err(say)?;
    let catalogue = wiring.refresher.catalogue.all();
    let mut all = references
        .iter()
        .chain(catalogue.iter().map(|t| &t.reference));
    if let Some(reference) = parsed.ok().filter(|parsed| all.any(|one| one == parsed)) {
        return Ok(reference);
    }
    known.extend(catalogue.iter().map(|target| target.name.clone()));
    known.extend(references.iter().map(Reference::to_string));
    let near = did_you_mean(name, known.iter().map(String::as_str));
    Err(unknown(format!(
        "that anything here runs{near} (refresh --pull pulls an image that nobody runs)"
    )))
}
