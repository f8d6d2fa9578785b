//! The decisions of an owner: update one container, roll it back, hold it, or skip an image.
//!
//! The Engine and the registries are asked here, so these requests are answered by an executor.

use super::Admin;
use super::reply::Reply;
use super::reply::respond;
use super::route::Answering;
use crate::journal::Event;
use crate::journal::Outcome;
use crate::journal::Step;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::service::digest_before;
use crate::time::rfc3339;
use crate::update::Approved;
use crate::update::Back;
use crate::update::Extent;
use crate::update::Images;
use crate::update::Order;
use crate::update::Seen;
use serde_json::json;
use std::time::Duration;
use std::time::SystemTime;
use tiny_http::Request;

/// The origin of the decisions that come by this endpoint.
const BY: &str = "admin";
/// What every answer says if a restart forgets the decision.
const FORGOTTEN: &str = "a restart forgets this, because IMAGEWATCH_STATE is not set";

/// The decision that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// Update a container now, if the digest is still the newest. By force: also to a rejected image.
    Update(String, Option<Digest>, Extent, Answering),
    /// Show what an update of a container changes.
    Plan(String),
    /// Roll a container back, alone or with the containers that were updated with it.
    RollBack(String, bool, Answering),
    /// Hold a container, for a time or without an end.
    Hold(String, Option<Duration>),
    /// End the hold of a container.
    Release(String),
    /// Never apply the newest image of a reference.
    Skip(String, Option<Digest>),
    /// Forget the skipped image of a reference.
    Unskip(String, Option<Digest>),
}

impl Wish {
    /// Whether a registry is asked before the answer, or each container is inspected.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self, Self::Skip(..) | Self::Update(..) | Self::Plan(_))
    }
}

impl Admin {
    /// Answers a request of an owner.
    #[cold]
    pub(super) fn decide(&self, request: Request, wish: Wish) {
        let (order, answering) = match wish {
            Wish::Update(name, digest, extent, answering) => {
                (self.update_one(&name, digest, extent), answering)
            }
            Wish::Plan(name) => return respond(request, self.planned(&name)),
            Wish::RollBack(name, only, answering) => (self.back(&name, only), answering),
            Wish::Hold(name, lasting) => return respond(request, self.hold(&name, lasting)),
            Wish::Release(name) => return respond(request, self.release(&name)),
            Wish::Skip(image, digest) => return respond(request, self.skip(&image, digest)),
            Wish::Unskip(image, digest) => return respond(request, self.unskip(&image, digest)),
        };
        match order {
            Ok(order) => self.refresh(request, order, answering),
            Err(reply) => respond(request, reply),
        }
    }

    #[cold]
    fn planned(&self, name: &str) -> Reply {
        let (seen, reference) = match self.find(name) {
            Ok(found) => found,
            Err(reply) => return reply,
        };
        if seen.service.is_some() {
            let error = format!(
                "{name} is a service, and a plan is only for a container (docker service inspect {name})"
            );
            return Reply::error(409, &error);
        }
        let reference = reference.to_string();
        let mut entries = self.board.snapshot().references.into_iter();
        let entry = entries.find(|entry| entry.reference == reference);
        let digest = entry.and_then(|entry| entry.registry_digest?.parse().ok());
        let plan = (self.plan)(&self.refresher, &seen.id, digest);
        plan.map_or_else(
            |error| Reply::error(503, &error),
            |plan| Reply::text("application/json", &plan),
        )
    }

    fn update_one(
        &self,
        name: &str,
        digest: Option<Digest>,
        extent: Extent,
    ) -> Result<Order, Reply> {
        let (seen, reference) = self.find(name)?;
        self.refuse_held(&seen.name)?;
        if let Some(skipped) = self.history.decisions().skipped(&reference) {
            let newest = match &digest {
                Some(digest) => Ok(digest.clone()),
                None => self.registry.digest(&reference),
            };
            if newest.is_ok_and(|newest| newest.as_str() == skipped.digest) {
                let by = skipped.by;
                let reason = format!("{}: this image is skipped by {by}", seen.name);
                return Err(Reply::error(409, &reason));
            }
        }
        let container = seen.name;
        Ok(Order {
            images: match digest {
                Some(digest) => Images::Approved(Approved { container, digest }),
                None => Images::Containers(vec![container]),
            },
            extent,
        })
    }

    /// Makes the order for a roll-back by hand. The history tells which image the container ran before.
    #[cold]
    fn back(&self, name: &str, only: bool) -> Result<Order, Reply> {
        let (seen, reference) = self.find(name)?;
        self.refuse_held(&seen.name)?;
        if let Some(service) = &seen.service {
            let to = digest_before(service).map_err(|reason| {
                let name = &seen.name;
                Reply::error(409, &format_args!("{name}: {reason}"))
            })?;
            return Ok(self.service_back(seen, &reference, to));
        }
        let entries = self.history.entries();
        // An image that a roll-back brought back is no step forward, so such a step is not undone again.
        let updates = entries.iter().map(|entry| &entry.event);
        let updates = updates.filter(|event| {
            let is_update = event.outcome == Outcome::Recreated && event.old != event.new;
            is_update && event.new.as_deref() == Some(&*seen.image_id)
        });
        let updated = |name: &str| {
            let mut of_it = updates.clone();
            of_it.find(|event| event.container.as_deref() == Some(name))
        };
        let known = updated(&seen.name).and_then(|update| {
            let digest = update.old_digest.as_deref();
            Some((update.old.clone()?, digest.map(str::to_owned)))
        });
        let Some((old, digest)) = known.or_else(|| self.kept(&seen, &reference)) else {
            let reason = format!(
                "{}: no update to the image that it runs is in the history, so its earlier image is not known",
                seen.name
            );
            return Err(Reply::error(409, &reason));
        };
        let mut containers = vec![seen.name.clone()];
        if !only {
            let others = self.refresher.selection.seen(&self.engine);
            let was_with_it = |one: &Seen| {
                let is_of_it = one.made_from.as_ref() == Ok(&reference);
                let moved = updated(&one.name).and_then(|update| update.old.as_ref());
                is_of_it && one.image_id == seen.image_id && moved == Some(&old)
            };
            let others = others.unwrap_or_default().into_iter();
            let others = others.filter(|one| was_with_it(one) && one.name != seen.name);
            containers.extend(others.map(|one| one.name));
        }
        let back = Back {
            target: self.target(&reference),
            from: seen.image_id,
            to: old,
            digest: digest.and_then(|text| text.parse().ok()),
            containers,
            by: BY.to_owned(),
            is_service: false,
        };
        Ok(back.order())
    }

    /// The earlier image that is kept under a tag of its own, and its digest, for a container of whose image the history
    /// tells nothing. After a roll-back the kept image may be the registry's newest one, which is no way back.
    fn kept(&self, seen: &Seen, reference: &Reference) -> Option<(String, Option<String>)> {
        let is_told = self.history.entries().into_iter().any(|entry| {
            let event = entry.event;
            event.new.as_ref() == Some(&seen.image_id)
                && event.container.as_ref() == Some(&seen.name)
        });
        if is_told {
            return None;
        }
        let image = self.refresher.tagged_earlier(reference, &seen.image_id)?;
        let newest = self.registry.digest(reference).ok()?;
        let is_newest = image
            .digests_of(reference)
            .any(|one| one == newest.as_str());
        let digest = image.digests_of(reference).last().map(str::to_owned);
        (!is_newest).then(|| (image.id().to_owned(), digest))
    }

    #[cold]
    fn service_back(&self, seen: Seen, reference: &Reference, to: String) -> Order {
        let back = Back {
            target: self.target(reference),
            from: seen.image_id,
            to,
            digest: None,
            containers: vec![seen.name],
            by: BY.to_owned(),
            is_service: true,
        };
        back.order()
    }

    #[cold]
    fn hold(&self, name: &str, lasting: Option<Duration>) -> Reply {
        let name = match self.name_of(name) {
            Ok(name) => name,
            Err(reply) => return reply,
        };
        let now = SystemTime::now();
        let until = lasting.and_then(|time| now.checked_add(time));
        self.history.decisions().hold(&name, until, BY, now);
        let words = match until {
            Some(until) => format!("held by {BY} until {}", rfc3339(until)),
            None => format!("held by {BY}"),
        };
        self.record(Event::of(Outcome::Decided, &name, ""), &words);
        let held = self.history.decisions().hold_on(&name, now);
        self.decided(&json!({"container": name, "held": held}))
    }

    #[cold]
    fn release(&self, name: &str) -> Reply {
        // A hold may outlive its container.
        if self.history.decisions().release(name, SystemTime::now()) {
            self.record(Event::of(Outcome::Decided, name, ""), "released by admin");
        } else if let Err(reply) = self.name_of(name) {
            return reply;
        }
        self.decided(&json!({"container": name, "held": null}))
    }

    #[cold]
    fn skip(&self, image: &str, digest: Option<Digest>) -> Reply {
        let reference = match self.reference_of(image) {
            Ok(reference) => reference,
            Err(reply) => return reply,
        };
        let newest = match self.registry.digest(&reference) {
            Ok(newest) => newest,
            Err(error) => return Reply::error(503, &format_args!("not skipped: {error}")),
        };
        if let Some(digest) = digest.filter(|digest| *digest != newest) {
            let reason =
                format!("{reference} moved on: the newest digest is {newest}, not {digest}");
            return Reply::error(409, &reason);
        }
        let decisions = self.history.decisions();
        decisions.skip(&reference, &newest, BY, SystemTime::now());
        let event = Event::pull_failed(&reference.to_string(), "").to(newest.as_str());
        let event = Event {
            outcome: Outcome::Decided,
            ..event
        };
        self.record(event, "skipped by admin");
        self.decided(
            &json!({"image": reference.to_string(), "skipped": decisions.skipped(&reference)}),
        )
    }

    #[cold]
    fn unskip(&self, image: &str, digest: Option<Digest>) -> Reply {
        let decisions = self.history.decisions();
        let all = decisions.all().skipped;
        let parsed = image.parse().map(|one: Reference| one.to_string());
        let known = all.iter().find(|one| Ok(&one.reference) == parsed.as_ref());
        // A skipped image may outlive its containers.
        let reference = match known.map(|one| one.reference.parse()) {
            Some(Ok(reference)) => reference,
            _ => match self.reference_of(image) {
                Ok(reference) => reference,
                Err(reply) => return reply,
            },
        };
        let found = decisions.skipped(&reference);
        if let (Some(digest), Some(found)) = (&digest, &found)
            && found.digest != digest.as_str()
        {
            let reason = format!(
                "{reference}: the skipped digest is {}, not {digest}",
                found.digest
            );
            return Reply::error(409, &reason);
        }
        if let Some(found) = decisions.unskip(&reference) {
            let event = Event::pull_failed(&reference.to_string(), "").to(&found.digest);
            let event = Event {
                outcome: Outcome::Decided,
                ..event
            };
            self.record(event, "no longer skipped by admin");
        }
        self.decided(&json!({"image": reference.to_string(), "skipped": null}))
    }

    /// Puts a decision into the log and the history, and into the state file.
    fn record(&self, event: Event, words: &str) {
        let event = event.because(words);
        event.log();
        self.history.record(&Step::Outcome(event));
        self.history.save();
    }

    fn decided(&self, body: &serde_json::Value) -> Reply {
        let mut body = body.clone();
        if !self.history.is_kept() {
            body["note"] = json!(FORGOTTEN);
        }
        Reply::new(200, &body)
    }

    fn refuse_held(&self, name: &str) -> Result<(), Reply> {
        let held = self.history.decisions().hold_on(name, SystemTime::now());
        match held {
            None => Ok(()),
            Some(held) => {
                let until = held.until.map(|until| format!(" until {until}"));
                let until = until.unwrap_or_default();
                let by = held.by;
                let reason = format!("{name} is held by {by}{until} (DELETE its hold first)");
                Err(Reply::error(409, &reason))
            }
        }
    }
}
