//! The tags of a refresh: which image each tag means here, while the newest image waits for its swap.

use super::Refresher;
use super::round::Round;
use super::round::Work;
use crate::engine::Container;
use crate::journal::Verdict;
use crate::reference::Reference;
use crate::swap::Outcome;
use crate::swap::Part;

impl Refresher {
    /// Gives the tag to the newest image if no container is left whose swap would do that. New containers start from the
    /// newest image then.
    #[cold]
    pub(super) fn settle_tag(&self, work: &mut Work) {
        let is_over =
            work.ended.is_none() && matches!(work.verdict, Verdict::Done | Verdict::Noticed);
        if !is_over || work.tagged.is_none() {
            return;
        }
        match self.engine.tag(work.image.id(), &work.target.reference) {
            Ok(()) => work.tagged = None,
            Err(error) => {
                log::warn!(
                    "{}: the tag still means an older image: {error}",
                    work.target.reference
                );
                work.verdict = Verdict::Retry(error.to_string());
            }
        }
    }
}

impl Round<'_, '_> {
    /// The id of the image that the tag of a container means, if the tag does not mean the newest image yet.
    pub(super) fn tagged(&self, container: &Container) -> Option<String> {
        let reference = container.image_name().parse().ok()?;
        self.work(&reference)?.tagged.clone()
    }

    /// Notes the image that the tags of these containers mean since their swap.
    pub(super) fn note_tags(&mut self, parts: &[Part], outcome: &Outcome) {
        for part in parts {
            let Ok(reference) = part.old.image_name().parse::<Reference>() else {
                continue;
            };
            let Some(&index) = self.index.get(&reference) else {
                continue;
            };
            let work = &mut self.works[index];
            let id = part.image.id();
            if id != work.image.id() || id == part.old.image_id() {
                continue;
            }
            match outcome {
                Outcome::Recreated { .. } => work.tagged = None,
                Outcome::RolledBack { .. } | Outcome::Down { .. } => {
                    work.tagged = Some(part.old.image_id().to_owned());
                }
                _ => {}
            }
        }
    }
}
