//! `imagewatch refresh`: one refresh from a terminal, beside a server or without one.

use crate::bars::Bars;
use crate::config::Config;
use crate::history::History;
use crate::kit::Kit;
use crate::queue::queue;
use crate::refresh::Extent;
use crate::refresh::Images;
use crate::refresh::Order;
use crate::refresh::Outcomes;
use crate::refresh::Target;
use crate::report::Reasoned;
use crate::report::add_names;
use crate::report::add_reasons;
use crate::select::Consent;
use crate::stop;
use crate::swap;
use serde::Serialize;
use signal_hook::iterator::Signals;
use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;

/// How long an interrupted refresh has to report.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Runtimes, containers or references; none for all that is watched.
    pub names: Vec<String>,
    /// How far.
    pub extent: Extent,
}

/// What came of it.
#[derive(Debug)]
pub enum Ended {
    /// It was done, well or not.
    Done(Outcomes),
    /// A signal came; what was being done was finished or undone.
    Interrupted,
    /// A bug ended it.
    Broken,
}

/// Does it, showing how far it is on the standard error.
///
/// # Errors
/// Why nothing was done, on one line.
pub fn refresh(config: &Config, wish: &Wish) -> Result<Ended, String> {
    let mut signals = Signals::new(stop::signals()).map_err(|error| format!("signals: {error}"))?;
    let rejected = Arc::clone(History::open(config.state.as_deref())?.rejected());
    let kit = Kit::of(config, rejected);
    let say = |error: crate::error::Error| error.to_string();
    swap::recover_once(&kit.engine, kit.refresher.acceptance, &kit.gate).map_err(say)?;
    let order = Order {
        images: images(&kit, &wish.names)?,
        extent: wish.extent,
    };
    let (inlet, ended) = queue();
    let (refresher, for_signals) = (Arc::clone(&kit.refresher), inlet.clone());
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread
            .spawn(work)
            .map(drop)
            .map_err(|error| format!("thread {name}: {error}"))
    };
    spawn(
        "refresh",
        Box::new(move || {
            let bars = RefCell::new(Bars::on_stderr());
            let run = || refresher.run(&order, &|step| bars.borrow_mut().step(step));
            let outcome = catch_unwind(AssertUnwindSafe(run));
            bars.borrow_mut().end();
            inlet.push(outcome.map_or(Ended::Broken, Ended::Done));
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
            kit.gate.close();
            Ok(ended.pop_within(LAST_WORDS).unwrap_or(Ended::Interrupted))
        }
        Some(done) => Ok(done),
    }
}

/// What the names mean: a runtime before a container before a reference.
fn images(kit: &Kit, names: &[String]) -> Result<Images, String> {
    let refresher = &kit.refresher;
    let say = |error: crate::error::Error| error.to_string();
    if names.is_empty() {
        let mut seen = refresher.selection.seen(&kit.engine).map_err(say)?;
        // Nothing is pulled only to be told of.
        seen.retain(|one| one.consent == Consent::Update);
        return Ok(Images::These(refresher.watched(&seen)));
    }
    let (mut targets, mut containers): (Vec<Target>, Vec<String>) = Default::default();
    for name in names {
        let runtime = refresher.catalogue.iter().find(|t| t.name == *name);
        if let Some(runtime) = runtime {
            targets.retain(|target| target != runtime);
            targets.push(runtime.clone());
        } else if let Some(container) = kit.engine.find(name).map_err(say)? {
            // It may have been named by its id.
            let container = container.name().to_owned();
            containers.retain(|other| *other != container);
            containers.push(container);
        } else {
            let reference = name.parse().map_err(|error| {
                format!("{name:?} is no runtime, no container, and no reference: {error}")
            })?;
            targets.push(Target {
                name: name.clone(),
                reference,
            });
        }
    }
    match (targets.is_empty(), containers.is_empty()) {
        (_, true) => Ok(Images::These(targets)),
        (true, false) => Ok(Images::Containers(containers)),
        (false, false) => {
            Err("containers and images in one call: name either the ones or the others".to_owned())
        }
    }
}

/// What a refresh would do. It asks the registries and pulls nothing.
#[derive(Debug, Default, Serialize)]
pub struct Rehearsal {
    /// References with something newer.
    pub would_pull: Vec<String>,
    /// Containers that would run something newer.
    pub would_recreate: Vec<String>,
    /// Containers that would be left as they are.
    pub unchanged: Vec<String>,
    /// What the registries could not tell.
    pub failed: Vec<Reasoned>,
}

impl Rehearsal {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        add_names(&mut text, "would pull", &self.would_pull);
        add_names(&mut text, "would recreate", &self.would_recreate);
        add_names(&mut text, "unchanged", &self.unchanged);
        add_reasons(&mut text, "failed", &self.failed);
        text
    }
}

/// Works out what [`refresh`] would do.
///
/// # Errors
/// Why nothing can be said, on one line.
pub fn rehearse(config: &Config, wish: &Wish) -> Result<Rehearsal, String> {
    let rejected = Arc::clone(History::open(config.state.as_deref())?.rejected());
    let kit = Kit::of(config, rejected);
    let refresher = &kit.refresher;
    let say = |error: crate::error::Error| error.to_string();
    swap::recover_once(&kit.engine, refresher.acceptance, &kit.gate).map_err(say)?;
    let images = images(&kit, &wish.names)?;
    let seen = match &images {
        Images::Containers(names) => refresher.selection.named(names, &kit.engine),
        _ => refresher.selection.seen(&kit.engine),
    };
    let seen = seen.map_err(say)?;
    let targets = match images {
        Images::These(targets) => targets,
        _ => refresher.made_from(&seen),
    };
    let references: Vec<_> = targets.iter().map(|t| t.reference.clone()).collect();
    let mut found = Vec::new();
    kit.registry.digests(&references, |reference, outcome| {
        found.push((reference.clone(), outcome));
    });
    let mut rehearsal = Rehearsal::default();
    for (reference, outcome) in found {
        let digest = match outcome {
            Ok(digest) => digest,
            Err(error) => {
                let entry = Reasoned::new(&reference.to_string(), error.to_string());
                rehearsal.failed.push(entry);
                continue;
            }
        };
        if !refresher.has(&reference, &digest).map_err(say)? {
            rehearsal.would_pull.push(reference.to_string());
        }
        let rejection = refresher.rejection(&reference, &digest).map_err(say)?;
        for one in seen
            .iter()
            .filter(|s| s.made_from.as_ref() == Ok(&reference))
        {
            let only = std::slice::from_ref(one);
            let is_wanted = match wish.extent {
                Extent::Pull => false,
                Extent::Force => true,
                Extent::Recreate => {
                    let behind = refresher.is_behind(&reference, &digest, only);
                    rejection.is_none() && behind.map_err(say)?
                }
            };
            let is_due = is_wanted && one.consent == Consent::Update;
            let list = if is_due {
                &mut rehearsal.would_recreate
            } else {
                &mut rehearsal.unchanged
            };
            list.push(one.name.clone());
        }
    }
    Ok(rehearsal)
}
