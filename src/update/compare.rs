//! Compares the images that containers run with the newest ones. Only for that are images inspected whole.

use super::Extent;
use super::Refresher;
use super::managed::Managed;
use super::round::Round;
use super::round::Work;
use crate::journal::Verdict;
use crate::logging::debug;

impl Refresher {
    /// Finds the older images that are equal to the newest but for their id. An image that cannot be inspected
    /// counts as different, which costs one restart at most.
    #[cold]
    pub(super) fn find_equal_images(&self, managed: &[Managed], round: &mut Round) {
        for one in managed {
            let old = one.container.image_id();
            let Some(&index) = round.index.get(&one.reference) else {
                continue;
            };
            let is_newest = old == round.works[index].image.id();
            if !is_newest || round.extent == Extent::Force {
                self.complete(&mut round.works[index]);
            }
            let pair = (old.to_owned(), round.works[index].image.id().to_owned());
            if is_newest || round.equal_images.contains_key(&pair) {
                continue;
            }
            self.inspect_old_image(old, round);
            let both = round.old_image(old).zip(round.work(&one.reference));
            let is_equal = both.is_some_and(|(old, work)| old.is_same_as(&work.image));
            round.equal_images.insert(pair, is_equal);
        }
    }

    /// Inspects the newest image, if only its outline is kept. Without its settings, no container is updated to it.
    #[cold]
    pub(super) fn complete(&self, work: &mut Work) {
        if work.image.has_settings() {
            return;
        }
        match self.engine.image(work.image.id()) {
            Ok(image) => work.image = image,
            Err(error) if work.ended.is_none() => {
                work.ended = Some(error.to_string());
                work.verdict = Verdict::Retry(error.to_string());
            }
            Err(_) => {}
        }
    }

    /// Inspects an image that a container runs, if that was not done before.
    fn inspect_old_image(&self, id: &str, round: &mut Round) {
        if round.old_image(id).is_none() {
            match self.engine.find_image(id) {
                Ok(found) => round.old_images.extend(found),
                Err(error) => debug(format_args!("{error}")),
            }
        }
    }
}
