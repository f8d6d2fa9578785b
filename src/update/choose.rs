//! Chooses the images of a refresh.

use super::Refresher;
use super::order::Images;
use super::order::Moved;
use super::order::Wanted;
use super::select::Consent;
use super::select::Seen;
use crate::engine::Summary;
use crate::error::Result;
use crate::journal::Event;
use crate::journal::Outcome as Told;
use crate::journal::Outcomes;
use crate::journal::Reasoned;
use crate::journal::Step;
use crate::journal::Verdict;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::Target;
use std::collections::HashMap;
use std::collections::HashSet;

/// The choice at the beginning of a refresh.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// Images to pull.
    pub(super) targets: Vec<Target>,
    /// Newer images that are not pulled.
    pub(super) notify_only: Vec<NotifyOnly>,
    /// Containers that are left alone, each with the reason.
    pub(super) left_alone: Vec<Reasoned>,
    /// The digests behind tags that were looked up for the choice.
    pub(super) digests: HashMap<Reference, Digest>,
    /// The containers that there are.
    pub(super) list: Option<Vec<Summary>>,
}

/// A newer image whose containers are all in mode notify.
#[derive(Debug)]
pub(super) struct NotifyOnly {
    pub(super) target: Target,
    pub(super) digest: Digest,
    /// The names of the containers, and the ids of their images.
    pub(super) containers: Vec<(String, String)>,
}

impl Refresher {
    #[cold]
    pub(super) fn choose(&self, images: &Images) -> Result<Chosen> {
        let mut chosen = Chosen::default();
        let list = match (self.engine.containers(), images) {
            (Ok(list), _) => list,
            (Err(_), Images::These(these) | Images::Named(these)) => {
                // A list after the pulls reports the error.
                chosen.targets.clone_from(these);
                return Ok(chosen);
            }
            (Err(error), _) => return Err(error),
        };
        match images {
            Images::These(these) | Images::Named(these) => {
                // The pulls will move the tags.
                self.selection.remember_tags(&list);
                chosen.targets.clone_from(these);
            }
            Images::Moved(moved) => self.choose_moved(moved, &list, &mut chosen)?,
            Images::Containers(_) | Images::Approved(_) | Images::Back(_) => {
                let names = images.containers().unwrap_or_default();
                let seen = self.selection.named(&names, &list, &self.engine)?;
                chosen.targets = self.made_from(&seen);
                for one in &seen {
                    if let Err(reason) = &one.made_from {
                        let entry = Reasoned::new(&one.name, reason.as_str());
                        chosen.left_alone.push(entry);
                    }
                }
            }
            Images::Managed(only) => self.choose_managed(only, &list, &mut chosen)?,
        }
        chosen.list = Some(list);
        Ok(chosen)
    }

    /// Chooses the images of managed containers; of those that `only` names, if it names any.
    fn choose_managed(&self, only: &[Wanted], list: &[Summary], chosen: &mut Chosen) -> Result<()> {
        let seen = self.selection.seen_among(list, &self.engine)?;
        let wanted = seen.iter().filter(|one| one.consent == Consent::Update);
        self.add_seen(wanted, &mut chosen.targets);
        let is_meant = |reference: &Reference| {
            only.is_empty() || only.iter().any(|wanted| wanted.is(reference))
        };
        chosen.targets.retain(|target| is_meant(&target.reference));
        let pulled: HashSet<&Reference> = chosen.targets.iter().map(|t| &t.reference).collect();
        for one in &seen {
            let Ok(reference) = &one.made_from else {
                continue;
            };
            let is_left = one.consent == Consent::Notify && !pulled.contains(reference);
            if is_left && is_meant(reference) {
                let reason = "its mode is notify (imagewatch refresh NAME updates it)";
                chosen.left_alone.push(Reasoned::new(&one.name, reason));
            }
        }
        Ok(())
    }

    /// Chooses among images whose tags moved. An image is not pulled if all its containers are in mode notify.
    fn choose_moved(&self, moved: &[Moved], list: &[Summary], chosen: &mut Chosen) -> Result<()> {
        let is_runtime = |target: &Target| self.catalogue.find(&target.reference).is_some();
        // The platform starts new containers from the runtimes' images, so these are always pulled.
        let is_pulled = |one: &Moved| one.only.is_none() && is_runtime(&one.target);
        let mut all = HashMap::new();
        if !moved.iter().all(is_pulled) {
            all = by_reference(self.selection.seen_among(list, &self.engine)?);
        }
        for one in moved {
            let mut seen = all.remove(&one.target.reference).unwrap_or_default();
            if let Some(only) = &one.only {
                seen.retain(|container| only.contains(&container.name));
            }
            // A message about a stopped container would tell its owner nothing useful.
            seen.retain(|container| {
                container.consent == Consent::Update || !container.stays_stopped
            });
            let wants_it = |container: &Seen| container.consent == Consent::Update;
            if is_pulled(one) || seen.iter().any(wants_it) {
                chosen.targets.push(one.target.clone());
            } else if !seen.is_empty() {
                chosen.notify_only.push(NotifyOnly {
                    target: one.target.clone(),
                    digest: one.digest.clone(),
                    containers: seen
                        .into_iter()
                        .map(|one| (one.name, one.image_id))
                        .collect(),
                });
            }
        }
        Ok(())
    }
}

impl Refresher {
    /// Reports the newer images whose containers are all in mode notify.
    pub(super) fn report_all_behind(
        &self,
        chosen: &mut Chosen,
        digests: &mut Vec<(Reference, Digest)>,
        outcomes: &mut Outcomes,
        on: &(dyn Fn(&Step) + Sync),
    ) {
        for one in std::mem::take(&mut chosen.notify_only) {
            if self.is_local(&one.target.reference).unwrap_or(false) {
                self.skip_local(&one.target, outcomes);
                continue;
            }
            digests.push((one.target.reference.clone(), one.digest.clone()));
            self.report_behind(one, outcomes, on);
        }
    }

    /// Reports the containers that are behind and whose update is left to their owners.
    #[cold]
    fn report_behind(
        &self,
        notify_only: NotifyOnly,
        outcomes: &mut Outcomes,
        on: &(dyn Fn(&Step) + Sync),
    ) {
        let NotifyOnly {
            target: Target { reference, .. },
            digest,
            containers,
        } = notify_only;
        let newest = self.newest_provenance(&reference, &digest);
        for (name, image_id) in containers {
            let event = Event::of(Told::Behind, &name, &reference.to_string());
            let old = self.engine.find_image(&image_id).ok().flatten();
            let old = old.and_then(|image| image.provenance().version);
            let (version, source) = (newest.version.clone(), newest.source.clone());
            let event = event.to(digest.as_str()).versions(old, version, source);
            outcomes.report.add(&event);
            // The next round looks once more, because a container may have been down meanwhile.
            if self.is_news_of(&name, digest.as_str()) {
                event.log();
                on(&Step::Outcome(event));
            }
        }
        outcomes.verdicts.push((reference, Verdict::Noticed));
    }
}

/// Returns the containers by the reference that each follows.
pub(super) fn by_reference(seen: Vec<Seen>) -> HashMap<Reference, Vec<Seen>> {
    let mut all: HashMap<Reference, Vec<Seen>> = HashMap::new();
    for one in seen {
        if let Ok(reference) = &one.made_from {
            all.entry(reference.clone()).or_default().push(one);
        }
    }
    all
}
