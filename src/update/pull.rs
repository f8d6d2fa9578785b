//! Pulls the images of a refresh.

use super::Extent;
use super::Images;
use super::Order;
use super::Recreate;
use super::Refresher;
use super::is_at;
use super::origin::BUILT_HERE;
use super::pulls::End;
use super::select::Seen;
use crate::credentials::Login;
use crate::credentials::Refused;
use crate::engine::Image;
use crate::engine::PullLine;
use crate::engine::is_denial;
use crate::error::Result;
use crate::journal::Event;
use crate::journal::Outcomes;
use crate::journal::Reasoned;
use crate::journal::Step;
use crate::journal::Verdict;
use crate::logging::debug;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::Target;
use crate::swap;
use std::collections::HashMap;
use std::time::Instant;

/// An image that was pulled.
pub(super) struct Pulled<'o> {
    pub(super) target: &'o Target,
    /// The image that is here now; its outline, if it was here before.
    pub(super) image: Image,
    /// The image that was here before under the same name, if it is another one.
    pub(super) before: Option<Image>,
    /// The digest that the registry has under the tag, if it was asked.
    pub(super) digest: Option<Digest>,
    /// If the tag does not mean the image yet: the id of the image that the tag means, or an empty text.
    pub(super) tagged: Option<String>,
}

impl Refresher {
    /// Reports the ends of pulls. Returns the images that are here now.
    #[cold]
    pub(super) fn report_pulls<'o>(
        &self,
        targets: &'o [Target],
        ends: Vec<End<'o>>,
        images: &Images,
        outcomes: &mut Outcomes,
        on: &(dyn Fn(&Step) + Sync),
    ) -> Vec<Pulled<'o>> {
        let mut pulled = Vec::new();
        for (place, end) in ends {
            let target = &targets[place];
            let Target { name, reference } = target;
            let image = reference.to_string();
            match end {
                Ok(None) => self.skip_local(target, outcomes),
                Ok(Some(found)) => {
                    outcomes.report.pulled.push(name.clone());
                    pulled.push(found);
                }
                Err(error) => {
                    if let Some(left_alone) = self.all_left_alone(target, images) {
                        log::info!(
                            "{name} could not be pulled, but all its containers are left alone anyway: {error}"
                        );
                        outcomes.report.skipped.extend(left_alone);
                        let verdict = (reference.clone(), Verdict::Noticed);
                        outcomes.verdicts.push(verdict);
                        continue;
                    }
                    if self.report_unverified(target, &error, outcomes, on) {
                        continue;
                    }
                    log::warn!("{name} could not be pulled: {error}");
                    on(&Step::Outcome(Event::pull_failed(
                        &image,
                        &error.to_string(),
                    )));
                    outcomes.report.failed.push(name.clone());
                    let verdict = Verdict::Retry(error.to_string());
                    outcomes.verdicts.push((reference.clone(), verdict));
                }
            }
        }
        pulled
    }

    /// Pulls one image, unless it is here already. Returns nothing if the image was built here and no caller named it.
    #[cold]
    pub(super) fn pull_for<'o>(
        &self,
        (order, known): (&Order, &HashMap<Reference, Digest>),
        seen: &Result<Vec<Seen>>,
        target: &'o Target,
        on: &(dyn Fn(&Step) + Sync),
    ) -> Result<Option<Pulled<'o>>> {
        let (images, reference) = (&order.images, &target.reference);
        let before = match self.engine.find_image(&reference.to_string()) {
            // A pull may mend an image that the Engine cannot inspect.
            Err(_) if images.are_named() => None,
            before => before?,
        };
        let asks_for_origin = before.as_ref().filter(|_| !images.are_named());
        if let Some(before) = asks_for_origin
            && self.locality(reference, before)??
        {
            return Ok(None);
        }
        let known = images
            .digest_of(reference)
            .or(known.get(reference))
            .cloned();
        let digest = known.or_else(|| self.registry.digest(reference).ok());
        if let (Some(before), Some(digest)) = (&before, &digest)
            && self.is_wanted(before, reference, digest)
        {
            debug(format_args!("{reference}: already here as {digest}"));
            return Ok(Some(Pulled {
                target,
                // Most images of a refresh are here already, and are not needed whole.
                image: before.outline(),
                before: None,
                digest: Some(digest.clone()),
                tagged: None,
            }));
        }
        let digest = self.vouch(seen, reference, digest)?;
        self.pull_newest(order, target, (digest, before), on)
            .map(Some)
    }

    /// Pulls an image that is not here. The first of `known` is its digest, if the registry answered, and the second the
    /// image that is here under the same tag.
    #[cold]
    fn pull_newest<'o>(
        &self,
        order: &Order,
        target: &'o Target,
        (digest, before): (Option<Digest>, Option<Image>),
        on: &(dyn Fn(&Step) + Sync),
    ) -> Result<Pulled<'o>> {
        let reference = &target.reference;
        let begun = Instant::now();
        on(&Step::Pulling {
            image: reference.to_string(),
        });
        let pinned = digest.clone().filter(|_| self.may_tag());
        let is_pinned = pinned.is_some();
        let (image, digest) = match pinned {
            Some(digest) => self.pull_digest(order, reference, digest, before.as_ref(), on)?,
            // The Engine may know a way to the image that this program does not know.
            None => (self.pull(reference, None, before.as_ref(), on)?, digest),
        };
        log::info!("pulled image={reference} took={:.1?}", begun.elapsed());
        on(&Step::Pulled {
            image: reference.to_string(),
            seconds: begun.elapsed().as_secs_f64(),
        });
        self.origins.remember(reference, image.id());
        let before = before.filter(|before| before.id() != image.id());
        let id_before = || before.as_ref().map_or("", Image::id).to_owned();
        let mut tagged = is_pinned.then(id_before);
        // Without a swap of ours, the tag decides which image the next container is created from.
        if is_pinned && (order.extent == Extent::Pull || self.recreate == Recreate::Remove) {
            self.engine.tag(image.id(), reference)?;
            tagged = None;
        }
        Ok(Pulled {
            target,
            image,
            before,
            digest,
            tagged,
        })
    }

    /// Whether the image here has the digest and the right platform.
    fn is_wanted(&self, image: &Image, reference: &Reference, digest: &Digest) -> bool {
        let has = image.platform();
        let forced = self.platform.as_deref();
        let is_meant =
            forced.is_none_or(|wanted| has.starts_with(wanted) || wanted.starts_with(&has));
        is_meant && is_at(image, reference, digest)
    }

    /// Pulls the image that was looked up, and leaves the tag where it is. A registry may have deleted the image
    /// meanwhile, so the digest is looked up once more after a failure. Returns the image and its digest.
    fn pull_digest(
        &self,
        order: &Order,
        reference: &Reference,
        digest: Digest,
        before: Option<&Image>,
        on: &(dyn Fn(&Step) + Sync),
    ) -> Result<(Image, Option<Digest>)> {
        let pull = |digest: &Digest| self.pull(reference, Some(digest), before, on);
        // A rejected image is here already, and so may be one that was fetched ahead of its window.
        let is_rejected = self.rejected.reason_of_digest(reference, &digest).is_some();
        if (is_rejected || self.fetches_ahead)
            && let Ok(Some(image)) = self.image_at(reference, &digest)
        {
            return Ok((image, Some(digest)));
        }
        match pull(&digest) {
            Ok(image) => Ok((image, Some(digest))),
            Err(error) => match self.registry.digest(reference) {
                Ok(newer) if newer != digest => {
                    let seen = self.labelled(order.images.containers());
                    self.vouch(&seen, reference, Some(newer.clone()))?;
                    Ok((pull(&newer)?, Some(newer)))
                }
                _ => Err(error),
            },
        }
    }

    /// Returns the image with this digest, if the image is here. Its tag may mean another image.
    pub(super) fn image_at(&self, reference: &Reference, digest: &Digest) -> Result<Option<Image>> {
        let pinned = reference.pinned_to(digest);
        self.engine.find_image(&pinned.to_string())
    }

    /// Pulls and inspects an image. A failed inspection counts as a failed pull, because no container could be created
    /// from the image.
    pub(super) fn pull(
        &self,
        reference: &Reference,
        digest: Option<&Digest>,
        before: Option<&Image>,
        on: &(dyn Fn(&Step) + Sync),
    ) -> Result<Image> {
        self.fetch(reference, digest, before, on)?;
        let pinned = digest.map(|digest| reference.pinned_to(digest));
        self.engine
            .image(&pinned.as_ref().unwrap_or(reference).to_string())
    }

    /// Reports the containers whose image was built here as skipped.
    pub(super) fn skip_local(&self, target: &Target, outcomes: &mut Outcomes) {
        let reference = &target.reference;
        log::info!("left alone image={reference}: {BUILT_HERE}");
        let seen = self.selection.seen(&self.engine).unwrap_or_default();
        let of_it = seen
            .iter()
            .filter(|one| one.made_from.as_ref() == Ok(reference));
        let mut names: Vec<&str> = of_it.map(|one| one.name.as_str()).collect();
        if names.is_empty() {
            names.push(&target.name);
        }
        let entries = names.iter().map(|name| Reasoned::new(name, BUILT_HERE));
        outcomes.report.skipped.extend(entries);
        outcomes.verdicts.push((reference.clone(), Verdict::Local));
    }

    /// Returns the containers of an image if all of them are left alone anyway, each with the reason. A failed
    /// pull is no failure then. Returns `None` if one of them would be updated, or if that is not known.
    fn all_left_alone(&self, target: &Target, images: &Images) -> Option<Vec<Reasoned>> {
        if self.catalogue.all().contains(target) {
            // The platform starts new containers from this image.
            return None;
        }
        let list = self.engine.containers().ok()?;
        let seen = match images {
            named if named.containers().is_some() => {
                let names = named.containers().unwrap_or_default();
                self.selection.named(&names, &list, &self.engine)
            }
            _ => self.selection.seen_among(&list, &self.engine),
        };
        let seen = seen.ok()?;
        let of_it = seen
            .iter()
            .filter(|one| one.made_from.as_ref() == Ok(&target.reference));
        let left_alone = of_it.map(|one| {
            let container = self.engine.find(&one.name).ok()??;
            let reason = swap::left_alone(&container, &self.engine).ok()??;
            Some(Reasoned::new(&one.name, reason))
        });
        let left_alone: Vec<Reasoned> = left_alone.collect::<Option<_>>()?;
        (!left_alone.is_empty()).then_some(left_alone)
    }

    /// Returns the digest behind the tag of an image that was just pulled. If the Engine knows several digests,
    /// of indexes and of their manifest, the registry is asked.
    pub(super) fn digest_of_pulled(&self, image: &Image, reference: &Reference) -> Option<Digest> {
        let known: Vec<&str> = image.digests_of(reference).collect();
        match known.as_slice() {
            [] => None,
            [only] => only.parse().ok(),
            several if several.contains(&image.id()) => image.id().parse().ok(),
            _ => self.registry.digest(reference).ok(),
        }
    }

    /// Pulls an image by its digest, after the image was removed here.
    ///
    /// # Errors
    /// When no digest of the image can be pulled any more.
    #[cold]
    pub(super) fn fetch_again(
        &self,
        name: &str,
        image: &Image,
        on: &(dyn Fn(&Step) + Sync),
    ) -> Result<()> {
        let reference: Reference = name.parse()?;
        // An image without a tag may have no digests. On the containerd store its id is a digest.
        let own = image.manifest_digest().unwrap_or(image.id());
        let digests = image.digests_of(&reference).chain([own]);
        let mut outcome = Ok(());
        for digest in digests {
            outcome = self.fetch(&reference, Some(&digest.parse()?), Some(image), on);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Pulls a tag, or a digest, with the configured login. After a denial, it pulls without a login, because an expired login hides
    /// even public images. `before` is the image that is here, or was.
    #[cold]
    fn fetch(
        &self,
        reference: &Reference,
        digest: Option<&Digest>,
        before: Option<&Image>,
        on: &(dyn Fn(&Step) + Sync),
    ) -> Result<()> {
        // An image that was pulled for another platform stays on that platform. Without this, the Engine would
        // pull for its own.
        let mut platform = self.platform.clone();
        if let (None, Some(before)) = (&platform, before) {
            platform = before.foreign_platform(&self.engine.about()?.arch);
        }
        let image = reference.to_string();
        let on_line = |line: &PullLine| {
            on(&Step::Layer {
                image: image.clone(),
                layer: line.id.clone(),
                status: line.status.clone(),
                current: line.current,
                total: line.total,
            });
        };
        let pinned = digest.map(|digest| reference.pinned_to(digest));
        let pull_as = |login: Option<&Login>| {
            let auth = login.map(|login| login.registry_auth(reference.registry()));
            self.engine.pull(
                pinned.as_ref().unwrap_or(reference),
                platform.as_deref(),
                auth.as_ref(),
                on_line,
            )
        };
        let login = self.credentials.login(reference);
        let outcome = pull_as(login.as_ref());
        match (outcome, login) {
            (Err(error), Some(login)) if is_denial(&error) => {
                if pull_as(None).is_ok() {
                    self.credentials.refuse(reference, login, Refused::Here);
                    return Ok(());
                }
                Err(error)
            }
            (outcome, _) => outcome,
        }
    }
}
