//! Renewing the containers of a refresh.

use super::Extent;
use super::Refresher;
use super::Target;
use super::Verdict;
use super::neighbours::Neighbours;
use super::round::Round;
use super::round::Work;
use crate::claim;
use crate::claim::Attempt;
use crate::claim::Claim;
use crate::config::Recreate;
use crate::debug::debug;
use crate::engine::Container;
use crate::engine::Image;
use crate::engine::Removal;
use crate::engine::State;
use crate::engine::Summary;
use crate::error::Result;
use crate::hooks;
use crate::progress::Step;
use crate::reference::Reference;
use crate::reference::short;
use crate::relations::dependents;
use crate::relations::in_order;
use crate::relations::restarts_with;
use crate::report::Reasoned;
use crate::select;
use crate::select::Consent;
use crate::select::Managed;
use crate::swap;
use crate::swap::Blame;
use crate::swap::Outcome;
use crate::swap::Part;
use crate::swap::Swap;
use std::cell::Cell;
use std::time::Duration;
use std::time::Instant;

/// How long another imagewatch at work is waited for.
const CLAIM_PATIENCE: Duration = Duration::from_secs(600);
/// Between two attempts.
const CLAIM_PAUSE: Duration = Duration::from_millis(250);
/// Why a container is left as an earlier swap left it.
const UNSETTLED: &str = "an earlier swap of it is not settled yet";
/// Why nothing more is begun.
const STOPPING: &str = "imagewatch is stopping";
/// Why a container in notify mode is left as it is.
pub(super) const ONLY_NOTIFY: &str = "a newer image is there, but its mode is notify";

impl Refresher {
    /// What there is to know of an image before its containers are looked at.
    pub(super) fn work_on<'o>(&self, target: &'o Target, image: Image, extent: Extent) -> Work<'o> {
        let tried = self.rejected.other_than(&target.reference, image.id());
        if extent == Extent::Force {
            self.rejected.clear(&target.reference);
        }
        let rejected = self.rejected.reason(&target.reference, image.id());
        Work {
            target,
            image,
            ended: rejected
                .as_ref()
                .map(|reason| format!("this image was rejected: {reason}")),
            verdict: rejected.map_or(Verdict::Done, Verdict::Rejected),
            tried,
        }
    }

    /// Renews every container of these images: what is depended on first, one at a time, under the
    /// claim, and after everything that was left half done has been settled.
    ///
    /// # Errors
    /// When the containers cannot be listed.
    pub(super) fn renew_all(&self, round: &mut Round) -> Result<()> {
        let list = self.engine.containers()?;
        let works = round.works.iter();
        let of: Vec<&Reference> = works.map(|work| &work.target.reference).collect();
        let mut managed = self.choose_among(&list, &of, round)?;
        self.note_twins(&managed, round);
        let due = managed.iter().find_map(|one| round.image_due(one));
        let image = match due {
            Some(image) => Some(image),
            None if swap::is_needed(&list) => round.works.iter().next().map(|work| &work.image),
            None => None,
        };
        // A stop waits for what is being done under the claim, and for its release.
        let pass = image.and_then(|_| self.gate.enter());
        let mut claim = None;
        if image.is_some() && pass.is_none() {
            round.put_off(STOPPING);
        } else if let Some(image) = image {
            match self.claim(image, round.on) {
                Ok(held) => {
                    swap::settle(&self.engine, self.acceptance, &held, round.on)?.tell();
                    let list = self.engine.containers()?;
                    managed = self.choose_among(&list, &of, round)?;
                    self.note_unsettled(&list, round)?;
                    self.note_twins(&managed, round);
                    claim = Some(held);
                }
                Err(reason) => {
                    log::warn!("nothing is recreated now: {reason}");
                    round.put_off(&reason);
                }
            }
        }
        let wanted = managed.iter().filter(|one| one.consent == Consent::Update);
        round.updates = wanted.map(|one| one.container.name().to_owned()).collect();
        let mut neighbours = Neighbours::default();
        for one in in_order(managed, |one| &one.container) {
            let old_claim = claim.as_ref().is_some_and(Claim::is_old);
            if let (true, Some(image)) = (old_claim, round.image_due(&one).cloned()) {
                drop(claim.take());
                match self.claim(&image, round.on) {
                    Ok(held) => claim = Some(held),
                    Err(reason) => round.put_off(&reason),
                }
            }
            self.renew(&one, round, &mut neighbours);
        }
        Ok(())
    }

    /// The containers this is about.
    fn choose_among(
        &self,
        list: &[Summary],
        of: &[&Reference],
        round: &Round,
    ) -> Result<Vec<Managed>> {
        match &round.only {
            Some(names) => self.selection.named_among(list, names, &self.engine),
            None => self.selection.managed_among(list, of, &self.engine),
        }
    }

    /// A container that is still aside is none to renew. It must not be forgotten for that.
    fn note_unsettled(&self, list: &[Summary], round: &mut Round) -> Result<()> {
        let half_done = swap::half_done(list);
        for (name, reference) in select::in_mid_swap(list, &self.engine)? {
            let is_meant = round.only.as_ref().is_none_or(|only| only.contains(&name));
            let Some(&index) = round.index.get(&reference).filter(|_| is_meant) else {
                continue;
            };
            match list.iter().find(|one| one.name() == name) {
                None => round.report.skipped.push(Reasoned::new(&name, UNSETTLED)),
                Some(holder) if half_done.contains(holder.id()) => {}
                // There is nothing to wait for but its owner.
                Some(_) => continue,
            }
            let verdict = &mut round.works[index].verdict;
            if *verdict == Verdict::Done {
                *verdict = Verdict::Retry(format!("{name}: {UNSETTLED}"));
            }
        }
        Ok(())
    }

    /// Notes which older images are the newest in all but their id. One that cannot be looked at counts as
    /// older: that costs a restart, and nothing else.
    fn note_twins(&self, managed: &[Managed], round: &mut Round) {
        for one in managed {
            let old = one.container.image_id();
            let Some(image) = round.work(&one.reference).map(|work| &work.image) else {
                continue;
            };
            let pair = (old.to_owned(), image.id().to_owned());
            if old != image.id() && !round.twins.contains_key(&pair) {
                let is_twin = self.is_twin(old, image).unwrap_or_else(|error| {
                    debug(format_args!("{error}"));
                    false
                });
                round.twins.insert(pair, is_twin);
            }
        }
    }

    /// Waits for the claim while somebody else who lives holds it.
    fn claim(&self, image: &Image, on: &dyn Fn(&Step)) -> std::result::Result<Claim<'_>, String> {
        let begun = Instant::now();
        let mut said = false;
        loop {
            let who = match Claim::attempt(&self.engine, image) {
                Ok(Attempt::Mine(claim)) => return Ok(claim),
                Ok(Attempt::Held(who)) => who,
                Err(error) => return Err(claim::explain(&error)),
            };
            if self.gate.is_closed() {
                return Err(STOPPING.to_owned());
            }
            if begun.elapsed() > CLAIM_PATIENCE {
                return Err(format!("{who} is at work on this Engine"));
            }
            if !said {
                log::info!("waiting: {who} is at work on this Engine");
                said = true;
            }
            on(&Step::Alive);
            std::thread::sleep(CLAIM_PAUSE);
        }
    }

    /// Looks after one container.
    fn renew(&self, one: &Managed, round: &mut Round, neighbours: &mut Neighbours) {
        (round.on)(&Step::Alive);
        let name = one.container.name();
        let Some(&index) = round.index.get(&one.reference) else {
            return;
        };
        let image = round.works[index].image.clone();
        // It may have been recreated with a container that it lives in.
        let is_done = round.report.recreated.iter().any(|done| done == name);
        if round.is_newest(one, &image) && round.extent != Extent::Force {
            if !is_done {
                round.report.unchanged.push(name.to_owned());
            }
            return;
        }
        if one.consent == Consent::Notify {
            round.report.skipped.push(Reasoned::new(name, ONLY_NOTIFY));
            (round.on)(&Step::Behind {
                container: name.to_owned(),
                image: one.reference.to_string(),
                new: image.id().to_owned(),
            });
            return;
        }
        if is_done {
            return;
        }
        if let Some(reason) = round.works[index].ended.clone() {
            round.skip(one, &image, reason, false);
            return;
        }
        let verdict = self.renew_one(one, &image, round, neighbours);
        let work = &mut round.works[index];
        if matches!(work.verdict, Verdict::Done) {
            work.verdict = verdict;
        }
    }

    /// Renews one container and enters what came of it in the report.
    fn renew_one(
        &self,
        one: &Managed,
        image: &Image,
        round: &mut Round,
        neighbours: &mut Neighbours,
    ) -> Verdict {
        let name = one.container.name();
        if self.gate.is_closed() {
            return round.skip(one, image, STOPPING.to_owned(), true);
        }
        if self.recreate == Recreate::Remove {
            return self.remove_one(one, image, round);
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
            Outcome::RolledBack { reason, blame, .. } => {
                let part = Part {
                    old: &one.container,
                    image,
                };
                self.rolled_back(&part, &one.reference, &reason, blame, round);
                match blame {
                    Blame::Image => Verdict::Rejected(reason),
                    Blame::Circumstances => Verdict::Retry(reason),
                }
            }
            Outcome::NotBegun { reason } => {
                log::warn!("not recreated container={name}, left as it is: {reason}");
                round.skip(one, image, reason, true)
            }
            Outcome::Skipped { reason } => {
                log::info!("left alone container={name}: {reason}");
                round.skip(one, image, reason, false);
                Verdict::Done
            }
        }
    }

    /// Enters in the report that a container was rolled back, which ends what is done about its image.
    fn rolled_back(
        &self,
        part: &Part,
        reference: &Reference,
        reason: &str,
        blame: Blame,
        round: &mut Round,
    ) {
        let (name, image) = (part.old.name(), part.image.id());
        log::error!(
            "rolled back container={name} image={}: {reason}",
            short(image)
        );
        // Before anybody is told, so that whoever keeps books on it finds both.
        if blame == Blame::Image {
            self.rejected.add(reference, image, reason);
        }
        (round.on)(&Step::RolledBack {
            container: name.to_owned(),
            image: reference.to_string(),
            old: part.old.image_id().to_owned(),
            new: image.to_owned(),
            reason: reason.to_owned(),
        });
        round.report.rolled_back.push(Reasoned::new(name, reason));
        if let Some(&index) = round.index.get(reference) {
            round.works[index].ended = Some(format!("not tried, because {name} was rolled back"));
        }
    }

    /// A container that lives in another one did not come up with a newer image of its own: that image
    /// is at fault and not the other one's, which gets another try without it.
    fn tenant_rolled_back(
        &self,
        tenant: &Part,
        reason: &str,
        round: &mut Round,
    ) -> Option<Outcome> {
        let reference: Reference = tenant.old.image_name().parse().ok()?;
        let index = *round.index.get(&reference)?;
        self.rolled_back(tenant, &reference, reason, Blame::Image, round);
        let name = tenant.old.name();
        round.works[index].verdict = Verdict::Rejected(reason.to_owned());
        Some(Outcome::NotBegun {
            reason: format!("{name}, which lives in it, was rolled back: {reason}"),
        })
    }

    /// Swaps one container and what lives in it, as they are now; restarts what is to be restarted.
    fn swap(
        &self,
        one: &Managed,
        image: &Image,
        round: &mut Round,
        neighbours: &mut Neighbours,
    ) -> Result<Outcome> {
        let Some(old) = self.engine.find(one.container.id())? else {
            let reason = "it was removed in the meantime".to_owned();
            return Ok(Outcome::NotBegun { reason });
        };
        neighbours.look(&self.engine)?;
        let mut tenants = Vec::new();
        for tenant in dependents(&old, neighbours.needy()) {
            if let Some(tenant) = self.engine.find(tenant.id())? {
                let image = self.image_of_tenant(&tenant, round)?;
                tenants.push((tenant, image));
            }
        }
        let all = || std::iter::once(&old).chain(tenants.iter().map(|(tenant, _)| tenant));
        if let Some(one) = all().find(|one| neighbours.are_swapping(one)) {
            let reason = format!("{}: {UNSETTLED}", one.name());
            return Ok(Outcome::NotBegun { reason });
        }
        for one in all() {
            if let Err(reason) = hooks::before(&self.engine, one) {
                return Ok(Outcome::NotBegun { reason });
            }
        }
        let mut parts = vec![Part { old: &old, image }];
        parts.extend(tenants.iter().map(|(old, image)| Part { old, image }));
        let phase = |name: &str, phase| {
            (round.on)(&Step::Swap {
                container: name.to_owned(),
                phase,
            });
        };
        let on = round.on;
        let told = Cell::new(false);
        let accepted = |downtime: Option<Duration>| {
            let renewed = |part| on(&recreated(part, downtime));
            parts.iter().for_each(renewed);
            told.set(true);
        };
        let swap = Swap {
            phase: &phase,
            accepted: &accepted,
            engine: &self.engine,
            about: &self.engine.about()?,
            acceptance: self.acceptance,
            platform: self.platform.as_deref(),
        };
        let mut outcome = swap.run(&parts);
        if let Outcome::RolledBack {
            reason,
            blame: Blame::Image,
            part,
        } = &outcome
        {
            let part = &parts[*part];
            let is_renewed_tenant =
                part.old.id() != old.id() && part.old.image_id() != part.image.id();
            if is_renewed_tenant {
                let put_off = self.tenant_rolled_back(part, reason, round);
                outcome = put_off.unwrap_or(outcome);
            }
        }
        if let Outcome::Recreated { downtime } = outcome {
            if !told.get() {
                accepted(downtime);
            }
            for part in &parts {
                let name = part.old.name();
                round.report.recreated.push(name.to_owned());
                if part.old.image_id() != part.image.id() {
                    round.replaced.insert(part.old.image_id().to_owned());
                }
                if let Some(new) = self.engine.find(name).ok().flatten() {
                    hooks::after(&self.engine, &new);
                }
            }
            match neighbours.look(&self.engine) {
                Ok(()) => self.restart_after(&old, &parts, neighbours.needy()),
                Err(error) => log::warn!("not known what to restart after {}: {error}", old.name()),
            }
        }
        Ok(outcome)
    }

    /// Something that lives in another container and is recreated with it keeps its image, unless a
    /// newer one is due for it anyway.
    fn image_of_tenant(&self, tenant: &Container, round: &Round) -> Result<Image> {
        let reference = tenant.image_name().parse::<Reference>().ok();
        let due = reference.and_then(|reference| round.work(&reference));
        // Nor one that was rejected, or was just rolled back, or that nobody wants here.
        let is_wanted = round.updates.contains(tenant.name());
        let due = due.filter(|work| work.ended.is_none() && is_wanted);
        match due.map(|work| work.image.clone()) {
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
            // Its owner may have stopped it since it was looked at.
            let now = self.engine.find(one.id()).ok().flatten();
            if now.is_none_or(|now| now.state() != State::Running) {
                continue;
            }
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
    fn remove_one(&self, one: &Managed, image: &Image, round: &mut Round) -> Verdict {
        let name = one.container.name();
        match swap::must_stay(&one.container, &self.engine) {
            Ok(None) => {}
            Ok(Some(reason)) => {
                round.skip(one, image, reason.to_owned(), false);
                return Verdict::Done;
            }
            Err(error) => return round.skip(one, image, error.to_string(), true),
        }
        match self.engine.remove(one.container.id(), Removal::Force) {
            Ok(()) => {
                log::info!("removed container={name} image={}", one.reference);
                round.report.recreated.push(name.to_owned());
                (round.on)(&Step::Recreated {
                    container: name.to_owned(),
                    image: one.reference.to_string(),
                    old: one.container.image_id().to_owned(),
                    new: image.id().to_owned(),
                    downtime_seconds: None,
                });
                Verdict::Done
            }
            Err(error) => {
                log::warn!("not removed container={name}: {error}");
                round.skip(one, image, error.to_string(), true)
            }
        }
    }
}

fn recreated(part: &Part, downtime: Option<Duration>) -> Step {
    Step::Recreated {
        container: part.old.name().to_owned(),
        image: part.old.image_name().to_owned(),
        old: part.old.image_id().to_owned(),
        new: part.image.id().to_owned(),
        downtime_seconds: downtime.map(|downtime| downtime.as_secs_f64()),
    }
}
