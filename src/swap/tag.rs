//! The local tag during a swap. Docker and Podman create a container from the image that its tag means here, so the
//! new image gets the tag just before. Each roll-back gives the tag back to the old image: otherwise the next
//! `docker compose up` would start an image that did not come up.

use super::Part;
use super::Swap;
use super::steps::LOOK_PATIENCE;
use super::steps::Steps;
use super::steps::retry;
use crate::engine::Container;
use crate::error::Result;
use crate::reference::Reference;

impl Swap<'_> {
    /// Gives the tag to the new image, if another image has the tag.
    pub(super) fn move_tag(&self, part: &Part) -> Result<()> {
        match (&part.tagged, part.old.image_name().parse()) {
            (Some(_), Ok(reference)) => self.engine.tag(part.image.id(), &reference),
            _ => Ok(()),
        }
    }

    /// Gives the tags back that [`Self::move_tag`] moved for a swap that is not begun.
    pub(super) fn move_tags_back(&self, parts: &[Part]) {
        for part in parts {
            let before = part.tagged.as_deref().filter(|id| !id.is_empty());
            if let Some(before) = before {
                give_back(self.steps(), part.old, part.image.id(), before);
            }
        }
    }
}

/// Gives the tag of a failed successor back to the image of the old container.
pub(super) fn put_back(steps: Steps, old: &Container, new: &Container) {
    give_back(steps, old, new.image_id(), old.image_id());
}

/// Gives the tag from the image `from` to the image `to`. A tag that means a third image by now stays there. A failure
/// is only logged, because no container depends on the tag.
#[cold]
pub(super) fn give_back(steps: Steps, old: &Container, from: &str, to: &str) {
    let Ok(reference) = old.image_name().parse::<Reference>() else {
        return;
    };
    if from == to || reference.digest().is_some() {
        return;
    }
    let outcome = retry(steps.shutdown, LOOK_PATIENCE, || {
        let now = steps.engine.find_image(&reference.to_string())?;
        match now.filter(|now| now.id() == from) {
            Some(_) => steps.engine.tag(to, &reference),
            None => Ok(()),
        }
    });
    if let Err(error) = outcome {
        log::warn!(
            "{}: the tag of {reference} still means the image that was given up: {error}",
            old.name()
        );
    }
}
