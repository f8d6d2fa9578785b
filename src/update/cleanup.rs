//! Removes replaced images that nothing uses any more, and never by force.

use crate::engine::Engine;
use crate::error::Result;
use crate::logging::debug;
use std::collections::HashSet;

/// Removes the images, by id, that no container runs and no tag names. A failed removal is only logged.
#[cold]
pub(super) fn remove_unused(engine: &Engine, images: &HashSet<String>) {
    if images.is_empty() {
        return;
    }
    let list = match engine.containers() {
        Ok(list) => list,
        Err(error) => return log::warn!("no old image is removed: {error}"),
    };
    for id in images {
        if list.iter().any(|one| one.image_id() == id) {
            debug(format_args!(
                "{id} is kept, because a container runs this image"
            ));
            continue;
        }
        match remove(engine, id) {
            Ok(true) => log::info!("removed image={id}, which nothing uses any more"),
            Ok(false) => {}
            Err(error) => log::warn!("an old image is kept: {error}"),
        }
    }
}

fn remove(engine: &Engine, id: &str) -> Result<bool> {
    let image = match engine.image(id) {
        Err(error) if error.is_not_found() => return Ok(false),
        outcome => outcome?,
    };
    if image.is_tagged() {
        debug(format_args!("{id} is kept, because this image has a tag"));
        return Ok(false);
    }
    match engine.remove_image(id) {
        Ok(()) => Ok(true),
        // Another program has removed the image meanwhile, or uses the image now.
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(false),
        Err(error) => Err(error),
    }
}
