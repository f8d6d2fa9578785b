//! `imagewatch check`: compares the containers with the registries, and shows which are behind. Never pulls.

use super::table::LeftAlone;
use super::table::Row;
use super::table::Table;
use super::wiring::Wiring;
use crate::config::Config;
use crate::engine::Image;
use crate::error::Error;
use crate::journal::History;
use crate::journal::Standing;
use crate::journal::Survey;
use crate::journal::Versions;
use crate::reference::DOCKER_HUB;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::Target;
use crate::sort::sort;
use crate::swap;
use crate::update::LocalImages;
use crate::update::Refresher;
use crate::update::STOPPED;
use crate::update::Seen;
use crate::update::summary;
use crate::update::wishes;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

/// Looks up every watched reference.
///
/// # Errors
/// Why there is no answer, on one line.
#[cold]
pub fn check(config: &Config) -> Result<Table, String> {
    let history = Arc::new(History::open(config.state.as_deref())?);
    let wiring = Wiring::of(config, &history);
    let refresher = &wiring.refresher;
    swap::recover_once(&wiring.engine, refresher.acceptance, &wiring.shutdown)
        .map_err(|error| error.to_string())?;
    look(refresher)
}

/// Looks up every watched reference, for a server too.
#[cold]
pub(super) fn look(refresher: &Refresher) -> Result<Table, String> {
    let seen = refresher.selection.seen(&refresher.engine).map_err(say)?;
    let targets = refresher.watched(&seen);
    let references: Vec<Reference> = targets.iter().map(|t| t.reference.clone()).collect();
    let mut found = HashMap::new();
    refresher
        .registry
        .digests(&references, |reference, outcome| {
            found.insert(reference.clone(), outcome);
        });
    let images = LocalImages::list(&refresher.engine);
    let mut newer = refresher.newer_now(&wishes(&seen));
    let row = |target: &Target| {
        let unknown = || Err("not looked up".to_owned());
        let outcome = found
            .remove(&target.reference)
            .map_or_else(unknown, |outcome| outcome.map_err(say));
        let row = row(refresher, target, outcome, &seen, &images).map_err(say)?;
        let mut found = newer.iter();
        let place = found.position(|(reference, _)| *reference == target.reference);
        Ok(Row {
            newer: place.map(|place| newer.swap_remove(place).1),
            ..row
        })
    };
    let references: Vec<Row> = targets.iter().map(row).collect::<Result<_, String>>()?;
    let left_alone = seen.iter().filter_map(|one| {
        let stopped = one.stays_stopped.then(|| STOPPED.to_owned());
        Some(LeftAlone {
            container: one.name.clone(),
            image: one.image_name.clone(),
            reason: one.made_from.as_ref().err().cloned().or(stopped)?,
        })
    });
    Ok(Table {
        summary: summarise(&seen, &references),
        left_alone: left_alone.collect(),
        services: refresher.selection.replicas(),
        references,
    })
}

/// Makes the summary of the table.
fn summarise(seen: &[Seen], rows: &[Row]) -> String {
    let (mut behind, mut unknown) = (Vec::new(), Vec::new());
    for row in rows {
        match row.state {
            Standing::Failed => unknown.push(row.name.clone()),
            standing if standing.is_behind() && row.behind.is_empty() => {
                behind.push(row.name.clone())
            }
            _ => behind.extend(row.behind.iter().cloned()),
        }
    }
    let containers = seen.iter().filter(|one| one.is_watched()).count();
    summary(containers, rows.len(), &behind, &unknown)
}

#[cold]
fn row(
    refresher: &Refresher,
    target: &Target,
    outcome: Result<Digest, String>,
    seen: &[Seen],
    images: &LocalImages,
) -> crate::error::Result<Row> {
    let reference = &target.reference;
    let is_of_it = |one: &&Seen| one.made_from.as_ref() == Ok(reference);
    let of: Vec<&Seen> = seen.iter().filter(is_of_it).collect();
    let here = images.named(reference, &refresher.engine)?;
    let running_digests = running(refresher, reference, &of, images, here.as_ref())?;
    let (mut behind, mut waiting, mut versions) = (Vec::new(), Vec::new(), Versions::default());
    let mut refused = None;
    let state = match &outcome {
        Err(_) if refresher.is_local(reference).unwrap_or(false) => Standing::Local,
        Err(_) => Standing::Failed,
        Ok(digest) => {
            let survey = refresher.survey_of(reference, digest, seen, here)?;
            waiting = refresher.waiting(target, digest, seen, &survey);
            versions = with_version(refresher, reference, digest, &survey);
            let vet = || refresher.vet(reference, digest, seen).err();
            refused = survey.is_due_from_registry().then(vet).flatten();
            behind.extend(survey.behind.iter().map(|one| one.name.clone()));
            match &refused {
                Some(error) => Standing::not_pulled(error),
                None if survey.waits(&waiting) => Standing::Waiting,
                None => survey.standing,
            }
        }
    };
    let (registry_digest, error) = match outcome {
        Ok(digest) => (Some(digest.to_string()), refused.map(say)),
        Err(_) if state == Standing::Local => (None, None),
        Err(reason) => (None, Some(reason)),
    };
    Ok(Row {
        reference: reference.to_string(),
        name: target.name.clone(),
        containers: of.iter().map(|one| one.name.clone()).collect(),
        running_digests,
        registry_digest,
        behind,
        waiting,
        state,
        versions,
        newer: None,
        error,
    })
}

/// The digests that the containers run. Without containers, the digest of the local image.
fn running(
    refresher: &Refresher,
    reference: &Reference,
    of: &[&Seen],
    images: &LocalImages,
    here: Option<&Image>,
) -> crate::error::Result<Vec<String>> {
    let mut digests = HashSet::new();
    let ids = of.iter().map(|one| one.image_id.as_str());
    // A container can go on running after its image was removed.
    for id in ids.collect::<HashSet<_>>() {
        let image = images.with_id(id, &refresher.engine)?;
        digests.insert(image.map_or(id.to_owned(), |image| digest_of(&image, reference)));
    }
    if let (true, Some(image)) = (of.is_empty(), here) {
        digests.insert(digest_of(image, reference));
    }
    Ok(in_order(digests))
}

fn say(error: Error) -> String {
    error.to_string()
}

fn in_order(texts: HashSet<String>) -> Vec<String> {
    let mut texts: Vec<String> = texts.into_iter().collect();
    sort(&mut texts, |one, other| one < other);
    texts
}

/// Returns the versions, and asks for that of the registry's image if it is not known. Docker Hub is not asked, because
/// it counts that as a pull, and a check must cost no pull.
fn with_version(
    refresher: &Refresher,
    reference: &Reference,
    digest: &Digest,
    survey: &Survey,
) -> Versions {
    let mut versions = survey.versions.clone();
    let is_unknown = survey.standing.is_behind() && versions.digest.is_none();
    if is_unknown && reference.registry() != DOCKER_HUB {
        versions.registry = refresher.release(reference, digest).unwrap_or_default();
    }
    versions
}

/// Returns a digest that the image was pulled as, or else its id.
fn digest_of(image: &Image, reference: &Reference) -> String {
    let pulled = image.digests_of(reference).next();
    pulled.unwrap_or(image.id()).to_owned()
}
