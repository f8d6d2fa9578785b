//! A refresh: pull images, then renew the containers that run older ones.
//!
//! One image after the other, one container after the other, each accepted before the next. One
//! bad image or container never stops the others; only within one image the first roll-back ends
//! it, because the next container would fare no better.

mod neighbours;
mod order;
mod pull;
mod renew;
mod round;

pub use order::Extent;
pub use order::Images;
pub use order::Order;
pub use order::Target;
pub use order::Wanted;

use crate::cleanup;
use crate::config::Recreate;
use crate::credentials::Credentials;
use crate::engine::Engine;
use crate::engine::Image;
use crate::error::Result;
use crate::gate::Gate;
use crate::progress::Step;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::rejections::Rejections;
use crate::report::Reasoned;
use crate::report::Report;
use crate::select::Consent;
use crate::select::Seen;
use crate::select::Selection;
use crate::swap::Acceptance;
use round::Round;
use round::Work;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

/// What came of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All is as it should be.
    Done,
    /// Some part failed; another try may help.
    Retry(String),
    /// What was pulled is not what the registry has, whatever came of it.
    Stale(String),
    /// There is a newer image, and the owners of what runs the old one only want to know.
    Noticed,
    /// The image does not come up; another try would only mean another outage.
    Rejected(String),
}

/// What came of a refresh.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcomes {
    /// What was done.
    pub report: Report,
    /// Why the containers could not be listed, if so.
    pub list_error: Option<String>,
    /// By image.
    pub verdicts: Vec<(Reference, Verdict)>,
}

impl Outcomes {
    /// What came of `reference`; an image nobody decided on is worth another try.
    #[must_use]
    pub fn verdict(&self, reference: &Reference) -> Verdict {
        let found = self.verdicts.iter().find(|(other, _)| other == reference);
        found.map_or_else(
            || Verdict::Retry("not refreshed".to_owned()),
            |(_, verdict)| verdict.clone(),
        )
    }
}

/// Does refreshes, one at a time.
#[derive(Debug)]
pub struct Refresher {
    /// The Engine.
    pub engine: Arc<Engine>,
    /// Logins for pulls.
    pub credentials: Credentials,
    /// The runtimes.
    pub catalogue: Vec<Target>,
    /// Which containers are managed.
    pub selection: Selection,
    /// Whether a replaced image is removed when nothing uses it.
    pub cleanup: bool,
    /// How they are renewed.
    pub recreate: Recreate,
    /// When a successor is accepted.
    pub acceptance: Acceptance,
    /// Platform to pull and create for, where one is forced.
    pub platform: Option<String>,
    /// Closed when the program stops.
    pub gate: Arc<Gate>,
    /// Images that did not come up.
    pub rejected: Arc<Rejections>,
}

impl Refresher {
    /// Does one refresh, and tells `on` of each step.
    #[must_use]
    pub fn run(&self, order: &Order, on: &dyn Fn(&Step)) -> Outcomes {
        let mut outcomes = Outcomes::default();
        let Chosen {
            targets,
            noticed,
            only,
            unfollowed,
        } = match self.choose(&order.images) {
            Ok(chosen) => chosen,
            Err(error) => {
                log::warn!("container list: {error}");
                outcomes.list_error = Some(error.to_string());
                return outcomes;
            }
        };
        outcomes.report.skipped = unfollowed;
        for (target, digest, containers) in noticed {
            let reference = &target.reference;
            for name in containers {
                log::info!(
                    "behind container={name} image={reference} new={}",
                    digest.short()
                );
                let reason = renew::ONLY_NOTIFY;
                outcomes.report.skipped.push(Reasoned::new(&name, reason));
                on(&Step::Behind {
                    container: name,
                    image: reference.to_string(),
                    new: digest.to_string(),
                });
            }
            let verdict = (reference.clone(), Verdict::Noticed);
            outcomes.verdicts.push(verdict);
        }
        let pulled = self.pull_all(&targets, &mut outcomes, on);
        if order.extent == Extent::Pull {
            let done = pulled.iter().map(|(target, _)| target.reference.clone());
            let verdicts = done.map(|reference| (reference, Verdict::Done));
            outcomes.verdicts.extend(verdicts);
            return outcomes;
        }
        let mut works: Vec<Work> = pulled
            .into_iter()
            .map(|(target, image)| self.work_on(target, image, order.extent))
            .collect();
        let mut round = Round::new(order.extent, &mut works, &mut outcomes.report, on);
        round.only = only;
        if let Err(error) = self.renew_all(&mut round) {
            log::warn!("container list: {error}");
            round.put_off(&format!("container list: {error}"));
            outcomes.list_error = Some(error.to_string());
        }
        if self.cleanup {
            cleanup::remove_unused(&self.engine, &round.replaced);
        }
        for work in works {
            let reference = work.target.reference.clone();
            let verdict = work.verdict_on(&order.images);
            outcomes.verdicts.push((reference, verdict));
        }
        outcomes
    }

    /// Whether a container among those `seen`, or the local image, of `reference` is older than
    /// `digest`.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    pub fn is_behind(&self, reference: &Reference, digest: &Digest, seen: &[Seen]) -> Result<bool> {
        let newest = self.engine.find_image(&reference.to_string())?;
        let newest = match newest {
            Some(image) if !is_at(&image, reference, digest) => return Ok(true),
            other => other,
        };
        let made_of_it = seen
            .iter()
            .filter(|one| one.made_from.as_ref() == Ok(reference));
        for one in made_of_it {
            let is_current = match &newest {
                Some(newest) if one.image_id == newest.id() => true,
                Some(newest) => self.is_twin(&one.image_id, newest)?,
                // The image lost its name, to `docker rmi` for one; what runs it goes on.
                None => self.runs(&one.image_id, reference, digest)?,
            };
            if !is_current {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the image with this id is still here, and `digest`.
    fn runs(&self, id: &str, reference: &Reference, digest: &Digest) -> Result<bool> {
        let image = self.engine.find_image(id)?;
        Ok(image.is_some_and(|image| is_at(&image, reference, digest)))
    }

    /// Whether the image with this id is `newest` in all but that.
    fn is_twin(&self, id: &str, newest: &Image) -> Result<bool> {
        let image = self.engine.find_image(id)?;
        Ok(image.is_some_and(|image| image.is_same_as(newest)))
    }

    /// Why `digest`, which the registry has, is not tried: it was pulled once and did not come up.
    ///
    /// # Errors
    /// When the Engine cannot be asked which image was pulled.
    pub fn rejection(&self, reference: &Reference, digest: &Digest) -> Result<Option<String>> {
        if !self.rejected.concern(reference) {
            return Ok(None);
        }
        let image = self.engine.find_image(&reference.to_string())?;
        let image = image.filter(|image| is_at(image, reference, digest));
        Ok(image.and_then(|image| self.rejected.reason(reference, image.id())))
    }

    /// Whether the image of `reference` that is here is `digest`.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    pub fn has(&self, reference: &Reference, digest: &Digest) -> Result<bool> {
        let image = self.engine.find_image(&reference.to_string())?;
        Ok(image.is_some_and(|image| is_at(&image, reference, digest)))
    }

    /// Whether the image of `reference` is here and from no registry, as far as the Engine knows.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    pub fn is_local(&self, reference: &Reference) -> Result<bool> {
        let image = self.engine.find_image(&reference.to_string())?;
        Ok(image.is_some_and(|image| image.is_local()))
    }

    /// The catalogue, and whatever else the managed containers were made from.
    #[must_use]
    pub fn watched(&self, seen: &[Seen]) -> Vec<Target> {
        let mut targets = self.catalogue.clone();
        self.add_seen(seen, &mut targets);
        targets
    }

    /// What these containers were made from.
    #[must_use]
    pub fn made_from(&self, seen: &[Seen]) -> Vec<Target> {
        let mut targets = Vec::new();
        self.add_seen(seen, &mut targets);
        targets
    }

    fn add_seen<'s>(&self, seen: impl IntoIterator<Item = &'s Seen>, targets: &mut Vec<Target>) {
        let mut known: HashSet<Reference> = targets.iter().map(|t| t.reference.clone()).collect();
        for reference in seen
            .into_iter()
            .filter_map(|one| one.made_from.as_ref().ok())
        {
            if known.insert(reference.clone()) {
                let mut catalogue = self.catalogue.iter();
                let runtime = catalogue.find(|runtime| runtime.reference == *reference);
                targets.push(Target {
                    name: runtime.map_or_else(|| reference.to_string(), |r| r.name.clone()),
                    reference: reference.clone(),
                });
            }
        }
    }

    fn choose(&self, images: &Images) -> Result<Chosen> {
        let mut chosen = Chosen::default();
        match images {
            Images::These(these) => chosen.targets.clone_from(these),
            Images::Moved(moved) => self.choose_moved(moved, &mut chosen)?,
            Images::Containers(names) => {
                let seen = self.selection.named(names, &self.engine)?;
                chosen.targets = self.made_from(&seen);
                for one in &seen {
                    if let Err(reason) = one.made_from {
                        chosen.unfollowed.push(Reasoned::new(&one.name, reason));
                    }
                }
                chosen.only = Some(names.clone());
            }
            Images::Managed(only) => {
                let seen = self.selection.seen(&self.engine)?;
                let wanted = seen.iter().filter(|one| one.consent == Consent::Update);
                self.add_seen(wanted, &mut chosen.targets);
                let is_meant = |reference: &Reference| {
                    only.is_empty() || only.iter().any(|wanted| wanted.is(reference))
                };
                chosen.targets.retain(|target| is_meant(&target.reference));
                let pulled: HashSet<&Reference> =
                    chosen.targets.iter().map(|t| &t.reference).collect();
                for one in &seen {
                    let Ok(reference) = &one.made_from else {
                        continue;
                    };
                    let is_left = one.consent == Consent::Notify && !pulled.contains(reference);
                    if is_left && is_meant(reference) {
                        let reason = "its mode is notify (imagewatch refresh NAME updates it)";
                        chosen.unfollowed.push(Reasoned::new(&one.name, reason));
                    }
                }
            }
        }
        Ok(chosen)
    }

    /// Nothing is pulled only to tell somebody that it is there.
    fn choose_moved(&self, moved: &[(Target, Digest)], chosen: &mut Chosen) -> Result<()> {
        let is_runtime = |target: &Target| {
            let mut catalogue = self.catalogue.iter();
            catalogue.any(|runtime| runtime.reference == target.reference)
        };
        // The runtimes are pulled whoever runs them: that is what the platform starts from.
        let mut by_reference: HashMap<Reference, Vec<Seen>> = HashMap::new();
        if !moved.iter().all(|(target, _)| is_runtime(target)) {
            for one in self.selection.seen(&self.engine)? {
                if let Ok(reference) = &one.made_from {
                    by_reference.entry(reference.clone()).or_default().push(one);
                }
            }
        }
        for (target, digest) in moved {
            let seen = by_reference.remove(&target.reference).unwrap_or_default();
            let wants_it = |one: &Seen| one.consent == Consent::Update;
            if is_runtime(target) || seen.iter().any(wants_it) {
                chosen.targets.push(target.clone());
            } else if !seen.is_empty() {
                let names = seen.into_iter().map(|one| one.name).collect();
                let noticed = (target.clone(), digest.clone(), names);
                chosen.noticed.push(noticed);
            }
        }
        Ok(())
    }
}

/// What a refresh is about.
#[derive(Debug, Default)]
struct Chosen {
    /// Images to pull.
    targets: Vec<Target>,
    /// Images that nobody wants pulled, their new digests, and who wants to know of them.
    noticed: Vec<(Target, Digest, Vec<String>)>,
    /// The only containers to renew, if there is such a choice.
    only: Option<Vec<String>>,
    /// Containers that are left alone, and why.
    unfollowed: Vec<Reasoned>,
}

/// Whether the image was pulled as, or is, `digest`.
fn is_at(image: &Image, reference: &Reference, digest: &Digest) -> bool {
    let digest = digest.as_str();
    image.id() == digest || image.digests_of(reference).any(|found| found == digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_digest_counts_only_for_its_own_repository() {
        let digest: Digest = format!("sha256:{}", "a".repeat(64)).parse().expect("valid");
        let image = |name: &str| Image::new(json!({"RepoDigests": [format!("{name}@{digest}")]}));
        let reference: Reference = "nginx".parse().expect("valid");
        assert!(is_at(&image("nginx"), &reference, &digest));
        assert!(is_at(
            &image("docker.io/library/nginx"),
            &reference,
            &digest
        ));
        assert!(!is_at(&image("quay.io/library/nginx"), &reference, &digest));
        let by_id = Image::new(json!({"Id": digest.as_str()}));
        assert!(is_at(&by_id, &reference, &digest));
    }
}
