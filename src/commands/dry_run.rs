//! `imagewatch refresh --dry-run`: shows the effect of a refresh. Asks the registries, and pulls nothing.

use super::refresh::Wish;
use super::refresh::images;
use super::wiring::Wiring;
use crate::config::Config;
use crate::journal::History;
use crate::journal::ONLY_NOTIFY;
use crate::journal::Reasoned;
use crate::journal::Standing;
use crate::journal::add_names;
use crate::journal::add_reasons;
use crate::policy::Asked;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::Target;
use crate::swap;
use crate::swap::Swap;
use crate::update::Consent;
use crate::update::Extent;
use crate::update::Images;
use crate::update::Order;
use crate::update::STOPPED;
use crate::update::Seen;
use serde::Serialize;
use std::sync::Arc;

/// The effect that a refresh would have.
#[derive(Debug, Default, Serialize)]
pub struct DryRun {
    /// References whose newest image is not here yet.
    pub would_pull: Vec<String>,
    /// Containers that would be recreated.
    pub would_recreate: Vec<String>,
    /// Containers that run the newest image already, or that the order leaves alone.
    pub unchanged: Vec<String>,
    /// Containers that are behind but would be skipped, each with the reason.
    pub skipped: Vec<Reasoned>,
    /// References whose registry gave no digest, each with the error.
    pub failed: Vec<Reasoned>,
}

impl DryRun {
    /// Formats the result for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        add_names(&mut text, "would pull", &self.would_pull);
        add_names(&mut text, "would recreate", &self.would_recreate);
        add_names(&mut text, "unchanged", &self.unchanged);
        add_reasons(&mut text, "skipped", &self.skipped);
        add_reasons(&mut text, "failed", &self.failed);
        text
    }

    /// Adds the pull of an image, or the reason why it is not pulled, or not written to services. Returns whether it is.
    fn add_pull(
        &mut self,
        wiring: &Wiring,
        reference: &Reference,
        digest: &Digest,
        seen: &[Seen],
        is_pull: bool,
    ) -> bool {
        let name = reference.to_string();
        let vetted = wiring.refresher.vet(reference, digest, seen);
        match &vetted {
            Ok(()) => self.would_pull.extend(is_pull.then_some(name)),
            Err(error) => self.failed.push(Reasoned::new(&name, error.to_string())),
        }
        vetted.is_ok()
    }

    /// Adds the effect on one reference whose registry has `digest`.
    fn add(
        &mut self,
        wiring: &Wiring,
        order: &Order,
        reference: &Reference,
        digest: &Digest,
        seen: &[Seen],
    ) -> Result<(), String> {
        let (extent, asked) = (order.extent, order.asked());
        let is_named = order.images.are_named();
        let survey = wiring.refresher.survey(reference, digest, seen);
        let survey = survey.map_err(|error| error.to_string())?;
        // An image that was built here is replaced only if the caller names it.
        let is_local = survey.standing == Standing::Local;
        let target = Target {
            name: reference.to_string(),
            reference: reference.clone(),
        };
        let waiting = if asked == Asked::ForAll {
            wiring.refresher.waiting(&target, digest, seen, &survey)
        } else {
            Vec::new()
        };
        let is_pulled = survey.is_pulled || survey.waits(&waiting);
        let wants_pull = !is_pulled && (is_named || !is_local);
        let is_due = wants_pull || (survey.is_due_from_registry() && !survey.waits(&waiting));
        let may_come = !is_due || self.add_pull(wiring, reference, digest, seen, wants_pull);
        let rejection = survey.rejection.as_ref();
        let rejection = rejection.filter(|_| extent != Extent::Force);
        let of_it = seen
            .iter()
            .filter(|one| one.made_from.as_ref() == Ok(reference));
        for one in of_it {
            let name = one.name.clone();
            let is_wanted = match extent {
                Extent::Fetch | Extent::Pull => false,
                _ if is_local => is_named,
                Extent::Force => true,
                Extent::Recreate => survey.is_behind(&name),
            };
            if !is_wanted {
                self.unchanged.push(name);
                continue;
            }
            let waits = waiting.iter().find(|other| other.name == name);
            let reason = match (rejection, waits) {
                _ if !may_come => Some("its image is not pulled".to_owned()),
                (Some(reason), _) => Some(format!("this image was rejected: {reason}")),
                (None, Some(waiting)) => Some(waiting.in_words()),
                (None, None) => why_not(wiring, one)?,
            };
            match reason {
                Some(reason) => self.skipped.push(Reasoned::new(&name, reason)),
                None => self.would_recreate.push(name),
            }
        }
        Ok(())
    }
}

/// Works out the effect of a refresh.
///
/// # Errors
/// Why there is no answer, on one line.
#[cold]
pub fn dry_run(config: &Config, wish: &Wish) -> Result<DryRun, String> {
    let history = Arc::new(History::open(config.state.as_deref())?);
    let wiring = Wiring::of(config, &history);
    let refresher = &wiring.refresher;
    let say = |error: crate::error::Error| error.to_string();
    swap::recover_once(&wiring.engine, refresher.acceptance, &wiring.shutdown).map_err(say)?;
    let images = images(&wiring, wish)?;
    let list = wiring.engine.containers().map_err(say)?;
    let seen = match &images {
        Images::Containers(names) => refresher.selection.named(names, &list, &wiring.engine),
        _ => refresher.selection.seen_among(&list, &wiring.engine),
    };
    let seen = seen.map_err(say)?;
    let order = Order {
        images,
        extent: wish.extent,
    };
    let targets = match &order.images {
        Images::These(targets) | Images::Named(targets) => targets.clone(),
        _ => refresher.made_from(&seen),
    };
    let references: Vec<_> = targets.iter().map(|t| t.reference.clone()).collect();
    let mut found = Vec::new();
    wiring.registry.digests(&references, |reference, outcome| {
        found.push((reference.clone(), outcome));
    });
    let mut dry_run = DryRun::default();
    for (reference, outcome) in found {
        match outcome {
            Ok(digest) => {
                dry_run.add(&wiring, &order, &reference, &digest, &seen)?;
            }
            Err(error) => {
                let entry = Reasoned::new(&reference.to_string(), error.to_string());
                dry_run.failed.push(entry);
            }
        }
    }
    for one in &seen {
        if let Err(reason) = &one.made_from {
            let entry = Reasoned::new(&one.name, reason.as_str());
            dry_run.skipped.push(entry);
        }
    }
    Ok(dry_run)
}

/// Returns the reason why a container that is behind would be skipped.
fn why_not(wiring: &Wiring, one: &Seen) -> Result<Option<String>, String> {
    let say = |error: crate::error::Error| error.to_string();
    if one.consent == Consent::Notify {
        return Ok(Some(ONLY_NOTIFY.to_owned()));
    }
    if one.stays_stopped {
        return Ok(Some(STOPPED.to_owned()));
    }
    if one.service.is_some() {
        return Ok(None);
    }
    let Some(container) = wiring.engine.find(&one.id).map_err(say)? else {
        return Ok(Some("it was removed in the meantime".to_owned()));
    };
    let turn = swap::Turn::alone();
    let swap = Swap {
        phase: &|_, _| (),
        failed: &|_| (),
        accepted: &|_| (),
        engine: &wiring.engine,
        shutdown: &wiring.shutdown,
        about: &wiring.engine.about().map_err(say)?,
        acceptance: wiring.refresher.acceptance,
        platform: wiring.refresher.platform.as_deref(),
        images: &[],
        turn: &turn,
        fetch: &|_, _| Ok(()),
    };
    match swap.why_not(&container).map_err(say)? {
        None => Ok(swap.files(&container).map_err(say)?.left_alone),
        reason => Ok(reason),
    }
}
