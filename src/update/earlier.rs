//! The earlier images of a reference, which a roll-back by hand needs. They get tags of their own, so that neither a
//! cleanup nor `docker image prune` takes them.

use super::Refresher;
use crate::engine::Image;
use crate::error::Result;
use crate::journal::Outcome;
use crate::logging::debug;
use crate::reference::Reference;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// The end of the tag of the image that ran before. A number follows for the one before that.
pub(super) const PREVIOUS: &str = "-imagewatch-previous";

impl Refresher {
    /// Notes that a container was updated away from an image, so that the image gets its tag later.
    pub(super) fn note_earlier(&self, reference: &Reference, id: &str) {
        let mut noted = self.noted();
        noted.retain(|one| one.1 != id);
        noted.insert(0, (reference.clone(), id.to_owned()));
    }

    /// The ids of the images that were replaced under a reference, the latest first. Some may be gone.
    #[cold]
    pub(super) fn earlier_images(&self, reference: &Reference) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        let noted = self.noted();
        let mut add = |id: &str| {
            if !ids.iter().any(|known| known == id) {
                ids.push(id.to_owned());
            }
        };
        let now = noted.iter().filter(|(of, _)| of == reference);
        now.for_each(|(_, id)| add(id));
        for entry in self.history.entries() {
            let event = entry.event;
            let is_update = matches!(event.outcome, Outcome::Recreated | Outcome::Restored);
            let is_of_it = event.image.parse().as_ref() == Ok(reference);
            if let Some(old) = event.old.filter(|_| is_update && is_of_it) {
                add(&old);
            }
        }
        ids
    }

    /// The latest image that has the tag of an earlier one, unless it is `now`. Another process may have done the update,
    /// or this one does not remember it.
    #[must_use]
    #[cold]
    pub fn tagged_earlier(&self, reference: &Reference, now: &str) -> Option<Image> {
        let tag = previous(reference, 0)?;
        let found = self.engine.find_image(&tag.to_string()).ok().flatten();
        found.filter(|image| image.id() != now)
    }

    /// Gives tags to the images that were replaced since the last call, as many as are kept of each reference. The
    /// updates are over by then, so that this adds no time to them. What fails is tried again at the next call.
    pub fn keep_earlier(&self) {
        let mut references: Vec<Reference> = Vec::new();
        for (reference, _) in self.noted().iter() {
            if !references.contains(reference) {
                references.push(reference.clone());
            }
        }
        if self.keep > 0 && !references.is_empty() && self.may_tag() {
            references.retain(|reference| match self.tag_earlier(reference) {
                Ok(()) => true,
                Err(error) => {
                    debug(format_args!("{error}"));
                    false
                }
            });
        }
        self.noted().retain(|one| !references.contains(&one.0));
    }

    fn tag_earlier(&self, reference: &Reference) -> Result<()> {
        let newest = self.engine.find_image(&reference.to_string())?;
        let ids = self.earlier_images(reference).into_iter();
        let ids = ids.filter(|id| newest.as_ref().is_none_or(|newest| newest.id() != id));
        let mut place = 0;
        for id in ids {
            let tag = (place < self.keep).then(|| previous(reference, place));
            let Some(tag) = tag.flatten() else { break };
            match self.engine.tag(&id, &tag) {
                Ok(()) => place += 1,
                // Somebody has removed it.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn noted(&self) -> MutexGuard<'_, Vec<(Reference, String)>> {
        self.earlier.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tag of an earlier image. `None` if the tag would be too long.
fn previous(reference: &Reference, place: usize) -> Option<Reference> {
    let number = match place {
        0 => String::new(),
        _ => format!("-{}", place + 1),
    };
    format!("{reference}{PREVIOUS}{number}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_image_has_a_tag_that_people_understand() {
        let nginx: Reference = "nginx:1".parse().expect("valid");
        let tag = |place| previous(&nginx, place).map(|tag| tag.to_string());
        let first = "docker.io/library/nginx:1-imagewatch-previous";
        assert_eq!(tag(0).as_deref(), Some(first));
        assert_eq!(tag(1), Some(format!("{first}-2")));
        let long = format!("nginx:{}", "1".repeat(120));
        assert_eq!(previous(&long.parse().expect("valid"), 0), None);
    }
}
