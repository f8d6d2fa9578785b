//! Containers that somebody removes in mid-swap are made again.
//!
//! During a swap, one of its two containers is stopped, and for a moment both are. So anybody's
//! `docker container prune` can remove both. This process still has their settings, and the volumes are left.

use super::Member;
use super::Part;
use super::Swap;
use super::files::Copies;
use super::successor::Moved;
use super::successor::Successor;
use super::tag;
use super::undo::Pair;
use super::undo::owners_replacement;
use crate::engine::Container;
use crate::engine::Image;
use crate::engine::Removal;
use crate::error::Error;
use crate::error::Result;
use crate::labels::TRANSACTION;
use crate::reference::Reference;

/// How often a successor is made again.
const TRIES: u32 = 3;

/// An old container that was made again.
pub(super) struct Remade {
    pub(super) id: String,
    /// The text to add to the reason of the roll-back.
    pub(super) words: String,
}

impl Swap<'_> {
    /// Gives a successor the container's own name, and starts it if the old container ran.
    pub(super) fn put_in_place(&self, members: &mut [Member], index: usize) -> Result<()> {
        let mut tries = 0;
        loop {
            let Pair { record, new, .. } = &members[index].pair;
            let mut outcome = self.steps().rename(new, &record.name);
            if outcome.is_ok() && record.was_running {
                outcome = self.start(new);
            }
            let Err(error) = outcome else {
                return Ok(());
            };
            let is_lost = tries < TRIES && self.is_gone(new, &error)?;
            if !is_lost || owners_replacement(self.steps(), &members[index].pair)?.is_some() {
                return Err(error);
            }
            if !record.was_running && self.steps().look(&record.old)?.is_none() {
                // The container was stopped before the swap. A removal of a stopped container was intended.
                return Ok(());
            }
            tries += 1;
            self.remake_successor(members, index)?;
        }
    }

    /// Makes the successor again if it is gone. The successor must exist before the old container is touched, because
    /// only the record on its label tells another process how the old container was.
    pub(super) fn expect_successor(&self, members: &mut [Member], index: usize) -> Result<()> {
        if self.is_there(&members[index])? {
            return Ok(());
        }
        for index in 0..members.len() {
            if !self.is_there(&members[index])? {
                self.remake_successor(members, index)?;
            }
        }
        Ok(())
    }

    fn is_there(&self, member: &Member) -> Result<bool> {
        Ok(self.steps().look(&member.pair.new)?.is_some())
    }

    /// Ignores an error that means that somebody removed the old container: the successor takes over all the same.
    pub(super) fn ignore_if_gone(&self, id: &str, outcome: Result<()>) -> Result<()> {
        match outcome {
            Err(error) if self.is_gone(id, &error)? => Ok(()),
            outcome => outcome,
        }
    }

    fn is_gone(&self, id: &str, error: &Error) -> Result<bool> {
        Ok(error.is_not_found() && self.steps().look(id)?.is_none())
    }

    #[cold]
    fn remake_successor(&self, members: &mut [Member], index: usize) -> Result<()> {
        let (before, rest) = members.split_at_mut(index);
        let Some((member, after)) = rest.split_first_mut() else {
            return Ok(());
        };
        let record = &member.pair.record;
        log::warn!(
            "{}: somebody removed its successor in mid-swap, so it is made again",
            record.name
        );
        let moved: Vec<Moved> = (before.iter())
            .map(|member| Moved {
                old_id: member.old.id(),
                old_name: member.old.name(),
                new_id: &member.pair.new,
                new_name: &member.pair.record.name,
            })
            .collect();
        let part = Part::new(member.old, &member.image);
        let moves_along = record.provider.is_some();
        let mut replacement = self.shape(&part, &moved, &member.origin, moves_along);
        replacement.label(TRANSACTION, record.to_label());
        let made = self.make(&record.new_name(), &replacement, member, &member.image)?;
        member.pair.new = made.ok_or_else(|| {
            Error::malformed(
                format!("swap of {}", record.name),
                "somebody removed its successor and the new image",
            )
        })?;
        if index == 0 {
            // The other successors were created to live in the one that is gone.
            for one in after {
                self.steps().ensure_gone(&one.pair.new, Removal::Force)?;
            }
        }
        Ok(())
    }

    /// Makes the old container again, under the name of a container put aside. The result is `None` if the container
    /// was stopped, somebody else has its name, or no image is left.
    #[cold]
    pub(super) fn remake_old(
        &self,
        member: &Member,
        pairs: &[Pair],
        index: usize,
    ) -> Result<Option<Remade>> {
        let pair = &pairs[index];
        let record = &pair.record;
        let holder = self.steps().look_by_name(&record.name)?;
        let is_strangers = holder.is_some_and(|one| one.id() != pair.new);
        if !record.was_running || is_strangers {
            return Ok(None);
        }
        let is_there = self.steps().look(&record.old)?.is_some();
        let mut names = Vec::new();
        for provider in &pairs[..index] {
            let found = self.steps().look(&provider.record.old)?;
            names.push(found.map_or_else(String::new, |found| found.name().to_owned()));
        }
        // The settings may come from the successor, which lives in the successors of the providers.
        let moved: Vec<Moved> = (pairs[..index].iter().zip(&names))
            .flat_map(|(provider, name)| {
                [&provider.record.origin, &provider.new].map(|old_id| Moved {
                    old_id,
                    old_name: &provider.record.name,
                    new_id: &provider.record.old,
                    new_name: name,
                })
            })
            .collect();
        let made_from = |image: &Image, is_on_new: bool| {
            let part = Part::new(member.old, image);
            let replacement = self.shape(&part, &moved, &member.origin, true);
            let made = self.make(&record.old_name(), &replacement, member, image)?;
            let words = words_on(&record.name, is_there, is_on_new);
            Ok(made.map(|id| Remade { id, words }))
        };
        // With its tag, the old image has the name that its container follows.
        let new = self.steps().look(&pair.new)?;
        let from = new.as_ref().map_or(member.image.id(), Container::image_id);
        tag::give_back(self.steps(), member.old, from, member.old.image_id());
        let on_old = member.origin.image.as_ref();
        if let Some(remade) = on_old.map_or(Ok(None), |image| made_from(image, false))? {
            return Ok(Some(remade));
        }
        if self.steps().look(&pair.new)?.is_some() {
            return Ok(None);
        }
        // Only the new image is left.
        made_from(&member.image, true)
    }

    /// The facts needed to make a container again, for a recovery after a killed process.
    pub(super) fn member_to_remake<'c>(
        &self,
        pair: &Pair,
        from: Option<&'c Container>,
    ) -> Result<Option<Member<'c>>> {
        let Some(from) = from else {
            return Ok(None);
        };
        let origin = self.origin(from)?;
        let Some(image) = origin.image.clone() else {
            return Ok(None);
        };
        Ok(Some(Member {
            old: from,
            pair: pair.clone(),
            platform: image.foreign_platform(&self.about.arch),
            image,
            origin,
            copies: Copies::default(),
        }))
    }

    /// Whether the Engine still has the digest of this image under that name, if it had one before.
    fn is_still_known(&self, name: &str, image: &Image) -> Result<bool> {
        let Ok(reference) = name.parse::<Reference>() else {
            return Ok(true);
        };
        let has_digest = |image: &Image| image.digests_of(&reference).next().is_some();
        let now = self.engine.find_image(image.id())?;
        Ok(!has_digest(image) || now.is_some_and(|now| has_digest(&now)))
    }

    /// Creates the container, and fetches its image again if that was removed as well. The result is `None` if the image
    /// cannot be fetched.
    #[cold]
    fn make(
        &self,
        name: &str,
        replacement: &Successor,
        member: &Member,
        image: &Image,
    ) -> Result<Option<String>> {
        let create = || {
            let made = (self.engine).create(name, member.platform.as_deref(), &replacement.body);
            match made {
                // The answer was lost, so the call may have created the container.
                Err(error) if error.is_ambiguous() => match self.steps().look_by_name(name)? {
                    Some(found) => Ok(found.id().to_owned()),
                    None => Err(error),
                },
                outcome => outcome,
            }
        };
        let mut made = create();
        if made.as_ref().is_err_and(Error::is_conflict) {
            match self.steps().look_by_name(name)? {
                // A killed process created this container, and did not come to its networks and files.
                Some(found) if !found.was_started() => {
                    self.steps().ensure_gone(found.id(), Removal::Force)?;
                    made = create();
                }
                // The process was killed after the start.
                Some(found) => return Ok(Some(found.id().to_owned())),
                None => {}
            }
        }
        if made.is_err() && self.engine.find_image(image.id())?.is_none() {
            if let Err(error) = (self.fetch)(member.old.image_name(), image) {
                log::warn!("{}: its image is gone as well: {error}", member.old.name());
                return Ok(None);
            }
            made = create();
        }
        let id = made?;
        // A prune may have removed the image, or its name, while the container was being created.
        if !self.is_still_known(member.old.image_name(), image)? {
            let fetched = (self.fetch)(member.old.image_name(), image);
            if let Err(error) = fetched {
                log::warn!("{}: its image was removed: {error}", member.old.name());
            }
        }
        for (network, endpoint) in &replacement.connect {
            self.engine.connect(network, &id, endpoint)?;
        }
        member.copies.put(self.engine, &id)?;
        Ok(Some(id))
    }
}

/// Says that a container was made again.
fn words_on(name: &str, is_there: bool, is_on_new: bool) -> String {
    let on = if is_on_new {
        " on its new image, because the old one is gone"
    } else {
        ""
    };
    if is_there {
        format!("; {name} was made again to live in what there is now")
    } else {
        format!("; somebody removed {name} meanwhile, so it was made again{on}")
    }
}
