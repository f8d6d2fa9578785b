//! Finds containers by name, and lists names and references, managed or not.

use super::select::is_hidden;
use super::select::made_from;
use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Service;
use crate::engine::Summary;
use crate::error::Result;
use crate::reference::Reference;
use crate::service::followed;
use crate::swap::is_left_over;
use crate::swap::is_transient_name;
use crate::swap::name_of_aside;

/// The fewest digits of an id that can name a container; the Engine shows as many.
const SHORT_ID: usize = 12;

/// Finds a container by its name, with or without the Engine's slash, or by at least twelve digits of its id.
/// The Engine takes fewer digits, so it could take a misspelt name for another container's id.
///
/// # Errors
/// When the Engine does not answer.
#[cold]
pub fn find_named(engine: &Engine, name: &str) -> Result<Option<Container>> {
    let name = name.trim_start_matches('/');
    let found = engine.find(name)?;
    let is_meant = |one: &Container| {
        one.name() == name || name.len() >= SHORT_ID && one.id().starts_with(name)
    };
    Ok(found.filter(is_meant))
}

/// Returns the names of all containers, managed or not, and the tags that they follow.
///
/// # Errors
/// When the Engine does not answer.
#[cold]
pub fn names_and_references(engine: &Engine) -> Result<(Vec<String>, Vec<Reference>)> {
    let (mut names, mut references) = (Vec::new(), Vec::new());
    for summary in engine.containers()? {
        if is_transient_name(summary.name()) {
            continue;
        }
        names.push(summary.name().to_owned());
        let mut image = summary.image_name().to_owned();
        if is_hidden(&summary) {
            match engine.find(summary.id())? {
                Some(container) => image = container.image_name().to_owned(),
                None => continue,
            }
        }
        references.extend(made_from(&image, summary.image_id()));
    }
    for service in engine.services()? {
        names.push(service.name().to_owned());
        references.extend(followed(&service));
    }
    Ok((names, references))
}

/// Finds a Swarm service by its name.
///
/// # Errors
/// When the Engine does not answer.
#[cold]
pub fn find_service(engine: &Engine, name: &str) -> Result<Option<Service>> {
    let mut services = engine.services()?.into_iter();
    let found = services.find(|service| service.name() == name);
    found.map_or(Ok(None), |found| engine.service(found.id()))
}

/// Returns the containers of half-done swaps: the name that each will have, and the reference it was made from.
///
/// # Errors
/// When the Engine does not answer.
pub fn in_mid_swap(list: &[Summary], engine: &Engine) -> Result<Vec<(String, Reference)>> {
    let mut found: Vec<(String, Reference)> = Vec::new();
    for summary in list.iter().filter(|one| !is_left_over(list, one)) {
        let Some(name) = name_of_aside(summary.name()) else {
            continue;
        };
        let listed = || made_from(summary.image_name(), summary.image_id());
        let reference = match engine.find(summary.id()) {
            Ok(None) => continue,
            Ok(Some(container)) => made_from(container.image_name(), container.image_id()),
            // The Engine cannot inspect the container. The list mostly shows its image name too.
            Err(error) if error.is_refusal() => listed(),
            Err(error) => return Err(error),
        };
        if let Ok(reference) = reference {
            // The old container and the new one of a swap have the same name.
            found.retain(|(other, _)| other != name);
            found.push((name.to_owned(), reference));
        }
    }
    Ok(found)
}
