//! Pulls the images of a refresh.

use super::Images;
use super::Refresher;
use super::is_at;
use super::origin::BUILT_HERE;
use super::pulls::End;
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
use std::time::Instant;

/// An image that was pulled.
pub(super) struct Pulled<'o> {
    pub(super) target: &'o Target,
    pub(super) image: Image,
    /// The image that was here before under the same name, if it is another one.
    pub(super) before: Option<Image>,
    /// The digest that the registry has under the tag, if it was asked.
    pub(super) digest: Option<Digest>,
}

impl Refresher {
    /// Reports the ends of pulls. Returns the images that are here now.
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
    pub(super) fn pull_for<'o>(
        &self,
        images: &Images,
        target: &'o Target,
        on: &(dyn Fn(&Step) + Sync),
    ) -> Result<Option<Pulled<'o>>> {
        let reference = &target.reference;
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
        let digest = images.digest_of(reference).cloned();
        if let Some(before) = &before
            && let Some(digest) = self.digest_of_newest(before, reference, digest.as_ref())
        {
            debug(format_args!("{reference}: already here as {digest}"));
            return Ok(Some(Pulled {
                target,
                image: before.clone(),
                before: None,
                digest: Some(digest),
            }));
        }
        let begun = Instant::now();
        let name = reference.to_string();
        on(&Step::Pulling {
            image: name.clone(),
        });
        self.fetch(reference, before.as_ref(), on)?;
        // A failed inspection counts as a failed pull, because no container could be created from the image.
        let image = self.engine.image(&name)?;
        log::info!("pulled image={reference} took={:.1?}", begun.elapsed());
        on(&Step::Pulled {
            image: name,
            seconds: begun.elapsed().as_secs_f64(),
        });
        self.origins.remember(reference, image.id());
        let before = before.filter(|before| before.id() != image.id());
        Ok(Some(Pulled {
            target,
            image,
            before,
            digest,
        }))
    }

    /// Returns the digest behind the tag, if the image that is here has that digest and the right platform. The
    /// registry is asked if the digest is not known. If it does not answer, the Engine may still know a way to the
    /// image.
    fn digest_of_newest(
        &self,
        image: &Image,
        reference: &Reference,
        known: Option<&Digest>,
    ) -> Option<Digest> {
        let has = image.platform();
        let forced = self.platform.as_deref();
        let is_meant =
            forced.is_none_or(|wanted| has.starts_with(wanted) || wanted.starts_with(&has));
        if !is_meant {
            return None;
        }
        let known = known.cloned();
        let digest = known.or_else(|| self.registry.digest(reference).ok())?;
        is_at(image, reference, &digest).then_some(digest)
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
        if self.catalogue.contains(target) {
            // The platform starts new containers from this image.
            return None;
        }
        let list = self.engine.containers().ok()?;
        let seen = match images {
            Images::Containers(names) => self.selection.named(names, &list, &self.engine),
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
            let pinned = format!("{}@{digest}", reference.name()).parse()?;
            outcome = self.fetch(&pinned, Some(image), on);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Pulls with the configured login. After a denial, it pulls without a login, because an expired login hides
    /// even public images. `before` is the image that is here, or was.
    fn fetch(
        &self,
        reference: &Reference,
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
        let pull_as = |login: Option<&Login>| {
            let auth = login.map(|login| login.registry_auth(reference.registry()));
            self.engine
                .pull(reference, platform.as_deref(), auth.as_ref(), on_line)
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
