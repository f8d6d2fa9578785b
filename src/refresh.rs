//! A refresh: pull images, then renew the containers that run older ones.
//!
//! One image after the other, one container after the other, each accepted before the next. One
//! bad image or container never stops the others; only within one image the first roll-back ends
//! it, because the next container would fare no better.

use crate::claim;
use crate::claim::Attempt;
use crate::claim::Claim;
use crate::cleanup;
use crate::config::Recreate;
use crate::config::Runtime;
use crate::credentials::Credentials;
use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Image;
use crate::engine::Removal;
use crate::engine::State;
use crate::error::Result;
use crate::gate::Gate;
use crate::hooks;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::rejections::Rejections;
use crate::relations::dependents;
use crate::relations::in_order;
use crate::relations::restarts_with;
use crate::report::Reasoned;
use crate::report::Report;
use crate::select::Consent;
use crate::select::Managed;
use crate::select::Seen;
use crate::select::Selection;
use crate::swap;
use crate::swap::Acceptance;
use crate::swap::Blame;
use crate::swap::Outcome;
use crate::swap::Part;
use crate::swap::Swap;
use std::collections::BTreeSet;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

/// How long another imagewatch at work is waited for.
const CLAIM_PATIENCE: Duration = Duration::from_secs(600);
/// Between two attempts.
const CLAIM_PAUSE: Duration = Duration::from_millis(250);

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

/// Which images a refresh is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Images {
    /// These.
    These(Vec<Target>),
    /// Those that managed containers were made from; if any are named, only those.
    Managed(Vec<Wanted>),
}

/// Images that are meant by a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What was named.
    pub reference: Reference,
    /// Whether no tag was, so that any will do.
    pub any_tag: bool,
}

impl Wanted {
    fn is(&self, reference: &Reference) -> bool {
        self.reference == *reference || (self.any_tag && self.reference.name() == reference.name())
    }
}

/// One refresh to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Which images.
    pub images: Images,
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
    pub rejected: Rejections,
}

impl Refresher {
    /// Does one refresh. `alive` is called whenever something moves.
    #[must_use]
    pub fn run(&self, order: &Order, alive: &dyn Fn()) -> Outcomes {
        let mut outcomes = Outcomes::default();
        let targets = match self.targets(&order.images) {
            Ok(targets) => targets,
            Err(error) => {
                log::warn!("container list: {error}");
                outcomes.list_error = Some(error.to_string());
                return outcomes;
            }
        };
        let pulled = self.pull_all(&targets, &mut outcomes, alive);
        if order.extent == Extent::Pull {
            let done = |target: &&Target| (target.reference.clone(), Verdict::Done);
            outcomes.verdicts.extend(pulled.iter().map(done));
            return outcomes;
        }
        let mut works: Vec<Work> = pulled
            .into_iter()
            .map(|t| self.work_on(t, order.extent))
            .collect();
        let mut round = Round {
            extent: order.extent,
            works: &mut works,
            report: &mut outcomes.report,
            replaced: BTreeSet::new(),
            alive,
        };
        if let Err(error) = self.renew_all(&mut round) {
            log::warn!("container list: {error}");
            round.put_off(&format!("container list: {error}"));
            outcomes.list_error = Some(error.to_string());
        }
        if self.cleanup {
            cleanup::remove_unused(&self.engine, &round.replaced);
        }
        for work in works {
            if let (Verdict::Rejected(reason), Some(image)) = (&work.verdict, &work.image) {
                self.rejected
                    .add(&work.target.reference, image.id(), reason);
            }
            outcomes
                .verdicts
                .push((work.target.reference.clone(), work.verdict));
        }
        outcomes
    }

    /// Whether a container among those `seen`, or the local image, of `reference` is older than
    /// `digest`.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    pub fn is_behind(&self, reference: &Reference, digest: &Digest, seen: &[Seen]) -> Result<bool> {
        let image = match self.engine.image(&reference.to_string()) {
            Ok(image) => image,
            // Never pulled here: there is nothing that could be behind.
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error),
        };
        if !is_at(&image, reference, digest) {
            return Ok(true);
        }
        Ok(seen
            .iter()
            .filter(|one| one.made_from.as_ref() == Ok(reference))
            .any(|one| one.image_id != image.id()))
    }

    /// Whether the image of `reference` is here and from no registry, as far as the Engine knows.
    #[must_use]
    pub fn is_local(&self, reference: &Reference) -> bool {
        let image = self.engine.image(&reference.to_string());
        image.is_ok_and(|image| image.repo_digests().next().is_none())
    }

    /// The catalogue, and whatever else the managed containers were made from.
    #[must_use]
    pub fn watched(&self, seen: &[Seen]) -> Vec<Target> {
        let mut targets = self.catalogue.clone();
        self.add_seen(seen, &mut targets);
        targets
    }

    fn add_seen(&self, seen: &[Seen], targets: &mut Vec<Target>) {
        let mut known: HashSet<Reference> = targets.iter().map(|t| t.reference.clone()).collect();
        for reference in seen.iter().filter_map(|one| one.made_from.as_ref().ok()) {
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

    fn targets(&self, images: &Images) -> Result<Vec<Target>> {
        let mut targets = Vec::new();
        match images {
            Images::These(these) => targets.clone_from(these),
            Images::Managed(only) => {
                self.add_seen(&self.selection.seen(&self.engine)?, &mut targets);
                targets.retain(|target| {
                    only.is_empty() || only.iter().any(|wanted| wanted.is(&target.reference))
                });
            }
        }
        Ok(targets)
    }

    /// The targets whose image is here now.
    fn pull_all<'o>(
        &self,
        targets: &'o [Target],
        outcomes: &mut Outcomes,
        alive: &dyn Fn(),
    ) -> Vec<&'o Target> {
        let mut pulled = Vec::new();
        for target in targets {
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
        let login = self.credentials.login(reference);
        let auth = login.map(|login| login.registry_auth(reference.registry()));
        // What its owner once pulled for another platform must stay on that: the Engine would take
        // its own.
        let mut platform = self.platform.clone();
        if platform.is_none() {
            let local = self.engine.image(&reference.to_string()).ok();
            platform = match local {
                Some(image) => image.foreign_platform(&self.engine.about()?.arch),
                None => None,
            };
        }
        self.engine
            .pull(reference, platform.as_deref(), auth.as_ref(), |_| alive())
    }

    /// What there is to know of an image before its containers are looked at.
    fn work_on<'o>(&self, target: &'o Target, extent: Extent) -> Work<'o> {
        let mut work = Work {
            target,
            image: None,
            verdict: Verdict::Done,
            ended: None,
        };
        match self.engine.image(&target.reference.to_string()) {
            Ok(image) => {
                if extent == Extent::Force {
                    self.rejected.clear(&target.reference);
                }
                if let Some(reason) = self.rejected.reason(&target.reference, image.id()) {
                    work.ended = Some(format!("this image was rejected: {reason}"));
                    work.verdict = Verdict::Rejected(reason);
                }
                work.image = Some(image);
            }
            Err(error) => {
                log::warn!("{}: {error}", target.name);
                work.verdict = Verdict::Retry(error.to_string());
            }
        }
        work
    }

    /// Renews every container of these images: what is depended on first, one at a time, under the
    /// claim, and after everything that was left half done has been settled.
    ///
    /// # Errors
    /// When the containers cannot be listed.
    fn renew_all(&self, round: &mut Round) -> Result<()> {
        let list = self.engine.containers()?;
        let works = round.works.iter();
        let of: Vec<&Reference> = works.map(|work| &work.target.reference).collect();
        let mut managed = self.selection.managed_among(&list, &of, &self.engine)?;
        let due = managed.iter().find_map(|one| round.image_due(one));
        let image = match due {
            Some(image) => Some(image),
            None if swap::is_needed(&list) => round.works.iter().find_map(|w| w.image.as_ref()),
            None => None,
        };
        // A stop waits for what is being done under the claim, and for its release.
        let _pass = image.and_then(|_| self.gate.enter());
        let mut claim = None;
        if let Some(image) = image {
            match self.claim(image, round.alive) {
                Ok(held) => {
                    swap::settle(&self.engine, self.acceptance, &held)?;
                    managed = self.selection.managed(&of, &self.engine)?;
                    claim = Some(held);
                }
                Err(reason) => {
                    log::warn!("nothing is recreated now: {reason}");
                    round.put_off(&reason);
                }
            }
        }
        let mut neighbours = Vec::new();
        if claim.is_some() && self.recreate == Recreate::Swap {
            neighbours = self.everybody()?;
        }
        for one in in_order(managed, |one| &one.container) {
            let old_claim = claim.as_ref().is_some_and(Claim::is_old);
            if let (true, Some(image)) = (old_claim, round.image_due(&one).cloned()) {
                drop(claim.take());
                match self.claim(&image, round.alive) {
                    Ok(held) => claim = Some(held),
                    Err(reason) => round.put_off(&reason),
                }
            }
            self.renew(&one, round, &mut neighbours);
        }
        Ok(())
    }

    /// Waits for the claim while somebody else who lives holds it.
    fn claim(&self, image: &Image, alive: &dyn Fn()) -> std::result::Result<Claim<'_>, String> {
        let begun = Instant::now();
        let mut said = false;
        loop {
            let who = match Claim::attempt(&self.engine, image) {
                Ok(Attempt::Mine(claim)) => return Ok(claim),
                Ok(Attempt::Held(who)) => who,
                Err(error) => return Err(claim::explain(&error)),
            };
            if self.gate.is_closed() {
                return Err("imagewatch is stopping".to_owned());
            }
            if begun.elapsed() > CLAIM_PATIENCE {
                return Err(format!("{who} is at work on this Engine"));
            }
            if !said {
                log::info!("waiting: {who} is at work on this Engine");
                said = true;
            }
            alive();
            std::thread::sleep(CLAIM_PAUSE);
        }
    }

    /// Every container there is, as it is now.
    fn everybody(&self) -> Result<Vec<Container>> {
        let list = self.engine.containers()?;
        let found = list
            .iter()
            .filter_map(|one| self.engine.find(one.id()).transpose());
        found.collect()
    }

    /// Looks after one container.
    fn renew(&self, one: &Managed, round: &mut Round, neighbours: &mut Vec<Container>) {
        (round.alive)();
        let name = one.container.name();
        let Some(index) = round
            .works
            .iter()
            .position(|w| w.target.reference == one.reference)
        else {
            return;
        };
        let Some(image) = round.works[index].image.clone() else {
            return;
        };
        // It may have been recreated with a container that it lives in.
        if round.report.recreated.iter().any(|done| done == name) {
            return;
        }
        if one.container.image_id() == image.id() && round.extent != Extent::Force {
            round.report.unchanged.push(name.to_owned());
            return;
        }
        if let Some(reason) = round.works[index].ended.clone().or_else(|| refusal(one)) {
            round.report.skipped.push(Reasoned::new(name, reason));
            return;
        }
        let verdict = self.renew_one(one, &image, round, neighbours);
        let work = &mut round.works[index];
        if matches!(work.verdict, Verdict::Done) {
            work.verdict = verdict;
        }
        if round
            .report
            .rolled_back
            .last()
            .is_some_and(|last| last.name == name)
        {
            work.ended = Some(format!("not tried, because {name} was rolled back"));
        }
    }

    /// Renews one container and enters what came of it in the report.
    fn renew_one(
        &self,
        one: &Managed,
        image: &Image,
        round: &mut Round,
        neighbours: &mut Vec<Container>,
    ) -> Verdict {
        let name = one.container.name();
        if self.gate.is_closed() {
            return round.skip(name, "imagewatch is stopping");
        }
        if self.recreate == Recreate::Remove {
            return self.remove_one(one, round.report);
        }
        let outcome = match self.swap(one, image, round, neighbours) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::NotBegun {
                reason: error.to_string(),
            },
        };
        let (old, new) = (short(one.container.image_id()), short(image.id()));
        match outcome {
            Outcome::Recreated { downtime } => {
                let downtime = downtime.map_or_else(
                    || "none (it was not running)".to_owned(),
                    |downtime| format!("{downtime:.1?}"),
                );
                log::info!(
                    "recreated container={name} image={} old={old} new={new} downtime={downtime}",
                    one.reference
                );
                Verdict::Done
            }
            Outcome::RolledBack { reason, blame } => {
                log::error!("rolled back container={name} image={new}: {reason}");
                round.report.rolled_back.push(Reasoned::new(name, &*reason));
                match blame {
                    Blame::Image => Verdict::Rejected(reason),
                    Blame::Circumstances => Verdict::Retry(reason),
                }
            }
            Outcome::NotBegun { reason } => {
                log::warn!("not recreated container={name}, it runs on: {reason}");
                round.skip(name, &reason)
            }
            Outcome::Skipped { reason } => {
                log::info!("left alone container={name}: {reason}");
                round.report.skipped.push(Reasoned::new(name, reason));
                Verdict::Done
            }
        }
    }

    /// Swaps one container and what lives in it, as they are now; restarts what is to be restarted.
    fn swap(
        &self,
        one: &Managed,
        image: &Image,
        round: &mut Round,
        neighbours: &mut Vec<Container>,
    ) -> Result<Outcome> {
        let Some(old) = self.engine.find(one.container.id())? else {
            let reason = "it was removed in the meantime".to_owned();
            return Ok(Outcome::NotBegun { reason });
        };
        let mut tenants = Vec::new();
        for tenant in dependents(&old, neighbours) {
            if let Some(tenant) = self.engine.find(tenant.id())? {
                let image = self.image_of_tenant(&tenant, round)?;
                tenants.push((tenant, image));
            }
        }
        for one in std::iter::once(&old).chain(tenants.iter().map(|(tenant, _)| tenant)) {
            if let Err(reason) = hooks::before(&self.engine, one) {
                return Ok(Outcome::NotBegun { reason });
            }
        }
        let mut parts = vec![Part { old: &old, image }];
        parts.extend(tenants.iter().map(|(old, image)| Part { old, image }));
        let swap = Swap {
            engine: &self.engine,
            about: &self.engine.about()?,
            acceptance: self.acceptance,
            platform: self.platform.as_deref(),
        };
        let outcome = swap.run(&parts);
        if matches!(outcome, Outcome::Recreated { .. }) {
            for part in &parts {
                let name = part.old.name();
                round.report.recreated.push(name.to_owned());
                if part.old.image_id() != part.image.id() {
                    round.replaced.insert(part.old.image_id().to_owned());
                }
                neighbours.retain(|other| other.id() != part.old.id());
                if let Some(new) = self.engine.find(name).ok().flatten() {
                    hooks::after(&self.engine, &new);
                    neighbours.push(new);
                }
            }
            self.restart_after(&old, &parts, neighbours);
        }
        Ok(outcome)
    }

    /// Something that lives in another container and is recreated with it keeps its image, unless a
    /// newer one is due for it anyway.
    fn image_of_tenant(&self, tenant: &Container, round: &Round) -> Result<Image> {
        let reference = tenant.image_name().parse::<Reference>().ok();
        let due = round
            .works
            .iter()
            .find(|work| Some(&work.target.reference) == reference.as_ref());
        match due.and_then(|work| work.image.clone()) {
            Some(image) => Ok(image),
            None => self.engine.image(tenant.image_id()),
        }
    }

    /// Restarts what its owner wants restarted after `provider` was recreated.
    fn restart_after(&self, provider: &Container, parts: &[Part], neighbours: &[Container]) {
        let is_part = |one: &Container| parts.iter().any(|part| part.old.name() == one.name());
        let wants = |one: &&Container| {
            one.state() == State::Running && !is_part(one) && restarts_with(one, provider)
        };
        for one in neighbours.iter().filter(wants) {
            match self.engine.restart(one) {
                Ok(()) => log::info!(
                    "restarted container={} after {}",
                    one.name(),
                    provider.name()
                ),
                Err(error) => log::warn!("not restarted container={}: {error}", one.name()),
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

/// One image of a refresh, while it goes on.
struct Work<'o> {
    target: &'o Target,
    /// What is behind its reference on the Engine; `None` if that cannot be known.
    image: Option<Image>,
    verdict: Verdict,
    /// Why no more containers are renewed.
    ended: Option<String>,
}

/// A refresh after the pulls.
struct Round<'r, 'o> {
    extent: Extent,
    works: &'r mut [Work<'o>],
    report: &'r mut Report,
    /// The ids of images that containers no longer run.
    replaced: BTreeSet<String>,
    alive: &'r dyn Fn(),
}

impl Round<'_, '_> {
    /// The newest image of a container that is to be renewed.
    fn image_due(&self, one: &Managed) -> Option<&Image> {
        let mut works = self.works.iter();
        let work = works.find(|work| work.target.reference == one.reference)?;
        let image = work.image.as_ref()?;
        let behind = one.container.image_id() != image.id() || self.extent == Extent::Force;
        (behind && work.ended.is_none() && refusal(one).is_none()).then_some(image)
    }

    /// Nothing is renewed; the next round tries again.
    fn put_off(&mut self, reason: &str) {
        for work in self.works.iter_mut().filter(|work| work.ended.is_none()) {
            work.ended = Some(reason.to_owned());
            work.verdict = Verdict::Retry(reason.to_owned());
        }
    }

    fn skip(&mut self, name: &str, reason: &str) -> Verdict {
        self.report.skipped.push(Reasoned::new(name, reason));
        Verdict::Retry(reason.to_owned())
    }
}

/// Why a managed container is not renewed though it is behind.
fn refusal(one: &Managed) -> Option<String> {
    let notify = one.consent == Consent::Notify;
    notify.then(|| "a newer image is there, but its mode is notify".to_owned())
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
}
