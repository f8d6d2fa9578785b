//! A roll-back by hand: containers run the image again that they ran before.
//!
//! The image that is left is skipped first, because the next round would undo the roll-back otherwise. A killed process
//! leaves at most that: a skipped image which its containers still run.

use super::Extent;
use super::Images;
use super::Order;
use super::Refresher;
use super::is_at;
use super::order::Approved;
use super::order::Back;
use super::pull::Pulled;
use crate::engine::Image;
use crate::error::Result;
use crate::journal::Outcomes;
use crate::journal::Skipped;
use crate::journal::Step;
use crate::journal::Verdict;
use crate::reference::Digest;
use crate::reference::Reference;
use std::collections::HashMap;
use std::time::SystemTime;

impl Refresher {
    /// Rolls containers back. Without the earlier image, nothing is begun, and the outcomes say why.
    #[cold]
    pub(super) fn run_back(
        &self,
        back: &Back,
        order: &Order,
        on: &(dyn Fn(&Step) + Sync),
    ) -> Outcomes {
        if back.is_service {
            return self.run_service_back(back, order, on);
        }
        let mut outcomes = Outcomes::default();
        let reference = &back.target.reference;
        let (image, tagged) = match self
            .refusal(back)
            .map_or_else(|| self.earlier(back, on), Err)
        {
            Ok(found) => found,
            Err(reason) => {
                outcomes.refused = Some(format!("{}: {reason}", back.containers.join(", ")));
                return outcomes;
            }
        };
        let before = self.history.decisions().skipped(reference);
        let newest = self.registry.digest(reference).ok();
        let left = self.digest_left(back, newest.as_ref());
        if let Some(left) = &left {
            (self.history.decisions()).skip(reference, left, &back.by, SystemTime::now());
            self.history.save();
        }
        let pulled = Pulled {
            target: &back.target,
            image,
            before: None,
            digest: None,
            tagged,
        };
        self.update_pulled(order, vec![pulled], None, &mut outcomes, on);
        let is_own = back.containers.iter().any(|name| self.is_own_update(name));
        if left.is_some() && outcomes.report.recreated.is_empty() && !is_own {
            self.put_back_skipped(reference, before);
            self.history.save();
        }
        // The verdict on the earlier image tells nothing about the registry's.
        outcomes.verdicts = vec![(reference.clone(), Verdict::Noticed)];
        let digests = newest.or(left).map(|digest| (reference.clone(), digest));
        let digests = digests.into_iter().collect();
        self.survey_again(order, digests, HashMap::new(), &mut outcomes);
        outcomes
    }

    /// Why the roll-back is not what its caller meant any more: other orders ran before it.
    fn refusal(&self, back: &Back) -> Option<String> {
        for name in &back.containers {
            match self.engine.find(name) {
                Ok(Some(found)) if found.image_id() == back.from => {}
                Ok(_) => return Some(format!("{name} runs another image by now")),
                Err(error) => return Some(error.to_string()),
            }
            let held = self.history.decisions().hold_on(name, SystemTime::now());
            if let Some(held) = held {
                return Some(format!("{name} is held by {}", held.by));
            }
        }
        None
    }

    /// Why an approved update is refused: its tag points at another digest than the one that the owner has seen.
    #[cold]
    pub(super) fn moved_on(&self, images: &Images) -> Option<String> {
        let Images::Approved(Approved { container, digest }) = images else {
            return None;
        };
        let found = self.engine.find(container).ok().flatten()?;
        let reference: Reference = found.image_name().parse().ok()?;
        match self.registry.digest(&reference) {
            Ok(newest) if newest == *digest => None,
            Ok(newest) => Some(format!(
                "{reference} moved on: the newest digest is {newest}, not {digest}"
            )),
            Err(error) => Some(format!("{container}: {error}")),
        }
    }

    /// Returns the earlier image, which is pulled again if it is gone. The second value is the image that the tag means
    /// now, if that is another one.
    ///
    /// # Errors
    /// The reason why the image cannot be had.
    fn earlier(
        &self,
        back: &Back,
        on: &(dyn Fn(&Step) + Sync),
    ) -> std::result::Result<(Image, Option<String>), String> {
        let reference = &back.target.reference;
        let image = self
            .fetch_earlier(back, on)
            .map_err(|error| format!("its earlier image cannot be had any more: {error}"))?;
        let now = self.engine.find_image(&reference.to_string());
        let now = now.map_err(|error| error.to_string())?;
        let tagged = now.as_ref().map_or("", Image::id).to_owned();
        if tagged == image.id() {
            return Ok((image, None));
        }
        if !self.may_tag() {
            return Err("the tag cannot be given back (allow POST /images/{id}/tag)".to_owned());
        }
        Ok((image, Some(tagged)))
    }

    #[cold]
    fn fetch_earlier(&self, back: &Back, on: &(dyn Fn(&Step) + Sync)) -> Result<Image> {
        let reference = &back.target.reference;
        if let Some(image) = self.engine.find_image(&back.to)? {
            return Ok(image);
        }
        // In the containerd store, the id is a digest.
        let known = back.digest.as_ref().map_or(&*back.to, Digest::as_str);
        let digest: Digest = known.parse()?;
        if let Some(image) = self.image_at(reference, &digest)? {
            return Ok(image);
        }
        let seen = self.labelled(Some(back.containers.clone()));
        self.vouch(&seen, reference, Some(digest.clone()))?;
        self.pull(reference, Some(&digest), None, on)
    }

    /// The digest of the image that is left: the newest one, or the last one that the image was pulled as.
    fn digest_left(&self, back: &Back, newest: Option<&Digest>) -> Option<Digest> {
        let reference = &back.target.reference;
        let left = self.engine.find_image(&back.from).ok().flatten()?;
        let newest = newest.filter(|digest| is_at(&left, reference, digest));
        newest.cloned().or_else(|| {
            let last = left.digests_of(reference).last();
            last.and_then(|digest| digest.parse().ok())
        })
    }

    pub(super) fn put_back_skipped(&self, reference: &Reference, before: Option<Skipped>) {
        self.history.decisions().unskip(reference);
        if let Some(before) = before
            && let Ok(digest) = before.digest.parse()
        {
            (self.history.decisions()).skip(reference, &digest, &before.by, SystemTime::now());
        }
    }
}

impl Back {
    /// The order for this roll-back.
    #[must_use]
    pub fn order(self) -> Order {
        Order {
            images: Images::Back(Box::new(self)),
            extent: Extent::Recreate,
        }
    }
}
