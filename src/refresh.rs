//! A refresh: pull images, then renew the containers that run older ones.
//!
//! One image after the other, one container after the other, each accepted before the next. One
//! bad image or container never stops the others; only within one image the first roll-back ends
//! it, because the next container would fare no better.

use crate::config::Recreate;
use crate::config::Runtime;
use crate::credentials::Credentials;
use crate::engine::Engine;
use crate::engine::Image;
use crate::engine::Removal;
use crate::error::Result;
use crate::gate::Gate;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::report::Reasoned;
use crate::report::Report;
use crate::select::Consent;
use crate::select::Managed;
use crate::select::Selection;
use crate::swap::Acceptance;
use crate::swap::Blame;
use crate::swap::Outcome;
use crate::swap::Swap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

/// An image to refresh, and what it is called in reports: a runtime's name, or its reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The name.
    pub name: String,
    /// The image.
    pub reference: Reference,
}

impl From<&Runtime> for Target {
    fn from(runtime: &Runtime) -> Self {
        Self {
            name: runtime.name.clone(),
            reference: runtime.reference.clone(),
        }
    }
}

/// How far a refresh goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Pull, and leave the containers alone.
    Pull,
    /// Renew what runs an older image.
    Recreate,
    /// Renew everything, rejected images included.
    Force,
}

/// One refresh to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Which images.
    pub targets: Vec<Target>,
    /// How far.
    pub extent: Extent,
}

/// What came of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All is as it should be.
    Done,
    /// Some part failed; another try may help.
    Retry(String),
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
    /// Which containers are managed.
    pub selection: Selection,
    /// How they are renewed.
    pub recreate: Recreate,
    /// When a successor is accepted.
    pub acceptance: Acceptance,
    /// Platform to pull and create for, where one is forced.
    pub platform: Option<String>,
    /// Closed when the program stops.
    pub gate: Arc<Gate>,
    /// Images that did not come up.
    pub rejected: Rejections,
}

/// By reference, the image that did not come up and why.
#[derive(Debug, Default)]
pub struct Rejections(Mutex<HashMap<Reference, (String, String)>>);

impl Rejections {
    /// Why `image` is rejected. Another image on the same reference clears the verdict.
    fn reason(&self, reference: &Reference, image: &str) -> Option<String> {
        let mut rejected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (bad, reason) = rejected.get(reference)?;
        if bad == image {
            return Some(reason.clone());
        }
        rejected.remove(reference);
        None
    }

    fn add(&self, reference: &Reference, image: &str, reason: &str) {
        let mut rejected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rejected.insert(reference.clone(), (image.to_owned(), reason.to_owned()));
    }

    fn clear(&self, reference: &Reference) {
        let mut rejected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rejected.remove(reference);
    }
}

impl Refresher {
    /// Does one refresh. `alive` is called whenever something moves.
    #[must_use]
    pub fn run(&self, order: &Order, alive: &dyn Fn()) -> Outcomes {
        let mut outcomes = Outcomes::default();
        let pulled = self.pull_all(order, &mut outcomes, alive);
        if order.extent == Extent::Pull {
            let done = |target: &&Target| (target.reference.clone(), Verdict::Done);
            outcomes.verdicts.extend(pulled.iter().map(done));
            return outcomes;
        }
        let managed = match self.selection.managed(&self.engine) {
            Ok(managed) => managed,
            Err(error) => {
                log::warn!("container list: {error}");
                let retry = Verdict::Retry(format!("container list: {error}"));
                let verdict = |target: &&Target| (target.reference.clone(), retry.clone());
                outcomes.verdicts.extend(pulled.iter().map(verdict));
                outcomes.list_error = Some(error.to_string());
                return outcomes;
            }
        };
        for target in pulled {
            let of_target = managed.iter().filter(|m| m.reference == target.reference);
            let report = &mut outcomes.report;
            let verdict = self.renew(target, of_target, order.extent, report, alive);
            outcomes.verdicts.push((target.reference.clone(), verdict));
        }
        outcomes
    }

    /// Whether a container, or the local image, of `reference` is older than `digest`.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    pub fn is_behind(&self, reference: &Reference, digest: &Digest) -> Result<bool> {
        let image = match self.engine.image(&reference.to_string()) {
            Ok(image) => image,
            // Never pulled here: there is nothing that could be behind.
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error),
        };
        if !is_at(&image, reference, digest) {
            return Ok(true);
        }
        let managed = self.selection.managed(&self.engine)?;
        let mut of_reference = managed.iter().filter(|m| m.reference == *reference);
        Ok(of_reference.any(|m| m.container.image_id() != image.id()))
    }

    /// The targets whose image is here now.
    fn pull_all<'o>(
        &self,
        order: &'o Order,
        outcomes: &mut Outcomes,
        alive: &dyn Fn(),
    ) -> Vec<&'o Target> {
        let mut pulled = Vec::new();
        for target in &order.targets {
            let Target { name, reference } = target;
            let begun = Instant::now();
            match self.pull(reference, alive) {
                Ok(()) => {
                    log::info!("pulled image={reference} took={:.1?}", begun.elapsed());
                    outcomes.report.pulled.push(name.clone());
                    pulled.push(target);
                }
                Err(error) => {
                    log::warn!("{name} could not be pulled: {error}");
                    outcomes.report.failed.push(name.clone());
                    let verdict = Verdict::Retry(error.to_string());
                    outcomes.verdicts.push((reference.clone(), verdict));
                }
            }
        }
        pulled
    }

    fn pull(&self, reference: &Reference, alive: &dyn Fn()) -> Result<()> {
        let login = self.credentials.for_registry(reference.registry());
        let auth = login.map(|login| login.registry_auth(reference.registry()));
        let platform = self.platform.as_deref();
        self.engine
            .pull(reference, platform, auth.as_ref(), |_| alive())
    }

    /// Renews every container of one image.
    fn renew<'m>(
        &self,
        target: &Target,
        managed: impl Iterator<Item = &'m Managed>,
        extent: Extent,
        report: &mut Report,
        alive: &dyn Fn(),
    ) -> Verdict {
        let image = match self.engine.image(&target.reference.to_string()) {
            Ok(image) => image,
            Err(error) => {
                log::warn!("{}: {error}", target.name);
                return Verdict::Retry(error.to_string());
            }
        };
        if extent == Extent::Force {
            self.rejected.clear(&target.reference);
        }
        let rejected = self.rejected.reason(&target.reference, image.id());
        let mut verdict = match &rejected {
            Some(reason) => Verdict::Rejected(reason.clone()),
            None => Verdict::Done,
        };
        let mut ended = rejected.map(|reason| format!("this image was rejected: {reason}"));
        for one in managed {
            alive();
            let name = one.container.name();
            if one.container.image_id() == image.id() && extent != Extent::Force {
                report.unchanged.push(name.to_owned());
                continue;
            }
            if let Some(reason) = ended.clone().or_else(|| refusal(one)) {
                report.skipped.push(Reasoned::new(name, reason));
                continue;
            }
            let new_verdict = self.renew_one(one, &image, report);
            if matches!(verdict, Verdict::Done) {
                verdict = new_verdict;
            }
            if report
                .rolled_back
                .last()
                .is_some_and(|last| last.name == name)
            {
                ended = Some(format!("not tried, because {name} was rolled back"));
            }
        }
        if let Verdict::Rejected(reason) = &verdict {
            self.rejected.add(&target.reference, image.id(), reason);
        }
        verdict
    }

    /// Renews one container and enters what came of it in the report.
    fn renew_one(&self, one: &Managed, image: &Image, report: &mut Report) -> Verdict {
        let name = one.container.name();
        let Some(_pass) = self.gate.enter() else {
            let reason = "imagewatch is stopping";
            report.skipped.push(Reasoned::new(name, reason));
            return Verdict::Retry(reason.to_owned());
        };
        if self.recreate == Recreate::Remove {
            return self.remove_one(one, report);
        }
        let swap = Swap {
            engine: &self.engine,
            acceptance: self.acceptance,
            platform: self.platform.as_deref(),
        };
        let (old, new) = (short(one.container.image_id()), short(image.id()));
        match swap.run(&one.container, image) {
            Outcome::Recreated { downtime } => {
                let downtime = downtime.map_or_else(
                    || "none (it was not running)".to_owned(),
                    |downtime| format!("{downtime:.1?}"),
                );
                log::info!(
                    "recreated container={name} image={} old={old} new={new} downtime={downtime}",
                    one.reference
                );
                report.recreated.push(name.to_owned());
                Verdict::Done
            }
            Outcome::RolledBack { reason, blame } => {
                log::error!("rolled back container={name} image={new}: {reason}");
                report.rolled_back.push(Reasoned::new(name, &*reason));
                match blame {
                    Blame::Image => Verdict::Rejected(reason),
                    Blame::Circumstances => Verdict::Retry(reason),
                }
            }
            Outcome::NotBegun { reason } => {
                log::warn!("not recreated container={name}, it runs on: {reason}");
                report.skipped.push(Reasoned::new(name, &*reason));
                Verdict::Retry(reason)
            }
            Outcome::Skipped { reason } => {
                log::info!("left alone container={name}: {reason}");
                report.skipped.push(Reasoned::new(name, reason));
                Verdict::Done
            }
        }
    }

    /// For a platform that provisions again by itself.
    fn remove_one(&self, one: &Managed, report: &mut Report) -> Verdict {
        let name = one.container.name();
        match self.engine.remove(one.container.id(), Removal::Force) {
            Ok(()) => {
                log::info!("removed container={name} image={}", one.reference);
                report.recreated.push(name.to_owned());
                Verdict::Done
            }
            Err(error) => {
                log::warn!("not removed container={name}: {error}");
                report.skipped.push(Reasoned::new(name, error.to_string()));
                Verdict::Retry(error.to_string())
            }
        }
    }
}

/// Why a managed container is not renewed though it is behind.
fn refusal(one: &Managed) -> Option<String> {
    if one.consent == Consent::Notify {
        return Some("a newer image is there, but its mode is notify".to_owned());
    }
    let dependent = one.dependent.as_ref()?;
    Some(format!(
        "{dependent} lives in its network and would lose it: recreate both by hand"
    ))
}

/// Whether the image was pulled as, or is, `digest`.
fn is_at(image: &Image, reference: &Reference, digest: &Digest) -> bool {
    let same = |entry: &str| {
        entry.split_once('@').is_some_and(|(name, found)| {
            let name = name.parse::<Reference>().map(|name| name.name());
            found == digest.as_str() && name.as_deref() == Ok(reference.name().as_str())
        })
    };
    image.id() == digest.as_str() || image.repo_digests().any(same)
}

/// An id for people: algorithm and twelve digits.
fn short(id: &str) -> &str {
    id.get(..19).unwrap_or(id)
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

    #[test]
    fn a_rejection_lasts_until_the_tag_moves_on() {
        let reference: Reference = "nginx".parse().expect("valid");
        let rejected = Rejections::default();
        rejected.add(&reference, "bad", "it exited");
        assert_eq!(
            rejected.reason(&reference, "bad"),
            Some("it exited".to_owned())
        );
        assert_eq!(rejected.reason(&reference, "good"), None);
        assert_eq!(rejected.reason(&reference, "bad"), None);
    }
}
