//! A refresh: pull images, then update the containers that run older ones.
//!
//! Three images at a time are pulled, before the first update. Containers that share nothing are updated side by side;
//! each of an image is accepted before the next. One bad image or container never stops the others. Only the first
//! roll-back of an image ends the updates to that image, because the next container would fail too.

mod back;
mod back_service;
mod catalogue;
mod choose;
mod choose_services;
mod cleanup;
mod companions;
mod compare;
mod earlier;
mod find;
mod itself;
mod jobs;
mod lifecycle;
mod local_images;
mod lock;
mod managed;
mod neighbours;
mod newer;
mod order;
mod origin;
mod own_outcome;
mod permissions;
mod permit;
mod pull;
mod pulls;
mod pushes;
mod releases;
mod renew;
mod replace;
mod replaced;
mod resume;
mod round;
mod select;
mod services;
mod side_by_side;
mod stopped;
mod survey;
mod tags;
mod verify;
mod worker;

pub use select::Consent;
pub use select::OPTED_OUT;
pub use select::STOPPED;
pub use select::Seen;
pub use select::Select;
pub use select::Selection;

pub use catalogue::Catalogue;
pub use find::find_named;
pub use find::find_service;
pub use find::in_mid_swap;
pub use find::names_and_references;

pub use itself::Itself;
pub use itself::Server;
pub use lifecycle::has_any;
pub use local_images::LocalImages;

pub use jobs::Answer;
pub use jobs::Backlog;
pub use jobs::Jobs;
pub use jobs::Listener;
pub use jobs::MOST_WAITING;

pub use newer::Newer;
pub use newer::NewerTags;
pub use newer::Wish;
pub use newer::wishes;

pub use order::Approved;
pub use order::Back;
pub use order::Extent;
pub use order::Images;
pub use order::Moved;
pub use order::Order;
pub use order::Recreate;
pub use order::Wanted;
pub use origin::Origins;
pub use permissions::Permissions;
pub use permit::Permit;
pub use pushes::Pushes;
pub use releases::Releases;
pub use survey::summary;
pub use verify::Verified;
pub use worker::Worker;

use crate::credentials::Credentials;
use crate::engine::Engine;
use crate::engine::Image;
use crate::engine::Summary;
use crate::journal::Found;
use crate::journal::History;
use crate::journal::Outcomes;
use crate::journal::Rejections;
use crate::journal::Step;
use crate::journal::Verdict;
use crate::policy::Rules;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::Target;
use crate::registry::Registry;
use crate::swap::Acceptance;
use crate::thread::Shutdown;
use choose::by_reference;
use pull::Pulled;
use replaced::Replaced;
use round::Round;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;

/// Does refreshes, one at a time.
#[derive(Debug)]
pub struct Refresher {
    /// The Engine whose containers are updated.
    pub engine: Arc<Engine>,
    /// The registries, asked for digests that the Engine does not know.
    pub registry: Arc<Registry>,
    /// Which images came from a registry, and which were built here.
    pub origins: Origins,
    /// Logins for pulls.
    pub credentials: Credentials,
    /// The runtimes of the platform, with their references.
    pub catalogue: Catalogue,
    /// The choice of managed containers.
    pub selection: Selection,
    /// Whether a replaced image is removed when nothing uses it.
    pub cleanup: bool,
    /// Whether images are fetched ahead of their windows.
    pub fetches_ahead: bool,
    /// How many earlier images of each reference are kept for a roll-back by hand.
    pub keep: usize,
    /// The images that were replaced since the last [`Self::keep_earlier`], the latest first.
    pub earlier: Mutex<Vec<(Reference, String)>>,
    /// Whether an older container is swapped, or only removed.
    pub recreate: Recreate,
    /// When a successor is accepted.
    pub acceptance: Acceptance,
    /// How many containers may wait to be accepted at the same time.
    pub parallel: usize,
    /// The platform to pull and create for, if one is forced.
    pub platform: Option<String>,
    /// Closed when the program stops.
    pub shutdown: Arc<Shutdown>,
    /// Images that did not come up.
    pub rejected: Arc<Rejections>,
    /// The outcomes, the owner's decisions, and the sights of digests.
    pub history: Arc<History>,
    /// Minimum age and window of containers whose labels hold none.
    pub rules: Rules,
    /// Which images need a signature, and which were verified.
    pub verified: Verified,
    /// What the newest images in their registries tell about themselves.
    pub releases: Releases,
    /// Images that were replaced lately.
    pub replaced: Arc<Replaced>,
    /// Whether the Engine lets through the calls of a swap.
    pub permissions: Permissions,
    /// The update of the own container.
    pub itself: Itself,
    /// The reason, by container name, why a container waits for its owner. Each reason is logged once.
    pub said: Mutex<HashMap<String, String>>,
    /// The names of services whose update has not been judged to its end.
    pub open_services: Mutex<HashSet<String>>,
    /// Whether logins go to Swarm with the update of a service.
    pub swarm_auth: bool,
}

impl Refresher {
    /// Does one refresh, and calls `on` for each step.
    #[must_use]
    #[cold]
    pub fn run(&self, order: &Order, on: &(dyn Fn(&Step) + Sync)) -> Outcomes {
        if let Images::Back(back) = &order.images {
            return self.run_back(back, order, on);
        }
        let mut outcomes = Outcomes::default();
        if order.extent == Extent::Fetch && !self.may_tag() {
            return outcomes;
        }
        if let Some(reason) = self.moved_on(&order.images) {
            outcomes.refused = Some(reason);
            return outcomes;
        }
        let mut chosen = match self.choose(&order.images) {
            Ok(chosen) => chosen,
            Err(error) => {
                log::warn!("container list: {error}");
                outcomes.list_error = Some(error.to_string());
                return outcomes;
            }
        };
        let (mut digests, mut here) = (Vec::new(), HashMap::new());
        self.hold_back(order, &mut chosen, &mut outcomes, &mut digests);
        outcomes.report.skipped.append(&mut chosen.left_alone);
        self.report_all_behind(&mut chosen, &mut digests, &mut outcomes, on);
        let more = self.update_services(order, &mut chosen, &mut digests, &mut outcomes, on);
        let (targets, images) = (&chosen.targets, &order.images);
        let mut list = chosen.list;
        self.pull_all(targets, (order, &chosen.digests), on, |ends| {
            let mut pulled = self.report_pulls(targets, ends, images, &mut outcomes, on);
            for one in &mut pulled {
                let reference = &one.target.reference;
                if one.digest.is_none() {
                    one.digest = self.digest_of_pulled(&one.image, reference);
                }
                let digest = one.digest.clone();
                digests.extend(digest.map(|digest| (reference.clone(), digest)));
            }
            if order.extent == Extent::Fetch {
                digests.clear();
            } else if order.extent == Extent::Pull {
                here.extend(pulled.into_iter().map(|one| {
                    let reference = one.target.reference.clone();
                    outcomes.verdicts.push((reference.clone(), Verdict::Done));
                    (reference, one.image.outline())
                }));
            } else {
                here.extend(self.update_pulled(order, pulled, list.take(), &mut outcomes, on));
            }
        });
        outcomes.add(more);
        self.survey_again(order, digests, here, &mut outcomes);
        outcomes
    }

    /// Updates the containers of the pulled images. `list` is from before the pulls. Returns the images by reference,
    /// without their settings.
    #[cold]
    fn update_pulled(
        &self,
        order: &Order,
        pulled: Vec<Pulled>,
        list: Option<Vec<Summary>>,
        outcomes: &mut Outcomes,
        on: &(dyn Fn(&Step) + Sync),
    ) -> Vec<(Reference, Image)> {
        let (mut works, mut old_images) = (Vec::new(), Vec::new());
        for Pulled {
            target,
            image,
            before,
            digest,
            tagged,
        } in pulled
        {
            old_images.extend(before);
            let mut work = self.work_on(target, image, order.extent);
            work.digest = digest;
            work.tagged = tagged;
            work.only = order.images.only(&target.reference);
            works.push(work);
        }
        let mut round = Round::new(order.extent, &mut works, &mut outcomes.report, on);
        round.old_images = old_images;
        round.only = order.images.containers();
        if let Images::Back(back) = &order.images {
            round.back_by = Some(back.by.clone());
        }
        round.asked = order.asked();
        if let Err(error) = self.update_all(&mut round, list) {
            log::warn!("container list: {error}");
            round.put_off(&format!("container list: {error}"));
            outcomes.list_error = Some(error.to_string());
        }
        if self.cleanup {
            let references = round.works.iter().map(|work| &work.target.reference);
            let earlier = references.map(|reference| self.earlier_images(reference));
            let excess = earlier.flat_map(|ids| ids.into_iter().skip(self.keep));
            round.replaced.extend(excess);
            // The tag of an image that is kept no longer moves on.
            self.keep_earlier();
            cleanup::remove_unused(&self.engine, &round.replaced);
        }
        let mut here = Vec::new();
        for mut work in works {
            let reference = work.target.reference.clone();
            self.settle_tag(&mut work);
            if work.tagged.is_none() {
                here.push((reference.clone(), work.image.outline()));
            }
            let verdict = work.verdict_on(&order.images);
            outcomes.verdicts.push((reference, verdict));
        }
        here
    }

    /// Surveys each reference once more after the updates. Failures are ignored, because the next round
    /// surveys again. `here` are images that were pulled just now.
    #[cold]
    fn survey_again(
        &self,
        order: &Order,
        mut digests: Vec<(Reference, Digest)>,
        mut here: HashMap<Reference, Image>,
        outcomes: &mut Outcomes,
    ) {
        verify::add_unverified(outcomes, &mut digests);
        let seen = match self.selection.seen(&self.engine) {
            Ok(seen) if outcomes.list_error.is_none() => Some(by_reference(seen)),
            _ => None,
        };
        for (reference, digest) in digests {
            let image = here.remove(&reference);
            let survey = seen.as_ref().and_then(|seen| {
                let seen = seen.get(&reference).map_or(&[][..], Vec::as_slice);
                match image {
                    Some(image) => self.survey_of(&reference, &digest, seen, Some(image)).ok(),
                    None => self.survey(&reference, &digest, seen).ok(),
                }
            });
            let is_of_all = order.extent != Extent::Pull && order.images.only(&reference).is_none();
            let found = Found {
                digest,
                survey,
                is_of_all,
            };
            outcomes.found.push((reference, found));
        }
    }

    /// Returns the runtimes that are watched, and the other references that managed containers were made from.
    #[must_use]
    pub fn watched(&self, seen: &[Seen]) -> Vec<Target> {
        let mut targets = self.catalogue.watched(seen, &self.engine);
        self.add_seen(seen, &mut targets);
        targets
    }

    /// Returns the references that these containers were made from.
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
                let runtime = self.catalogue.find(reference);
                targets.push(Target {
                    name: runtime.map_or_else(|| reference.to_string(), |r| r.name.clone()),
                    reference: reference.clone(),
                });
            }
        }
    }
}

/// Whether `digest` is the image's id, or one of the digests that the image was pulled as.
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
