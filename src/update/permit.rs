//! Asks the policy which containers may be updated now: for the watcher, for orders about everything, and once more
//! before each swap.

use super::Images;
use super::Order;
use super::Refresher;
use super::choose::Chosen;
use super::managed::Managed;
use super::round::Round;
use super::select::Seen;
use crate::engine::Summary;
use crate::journal::AllDecisions;
use crate::journal::Outcomes;
use crate::journal::Reasoned;
use crate::journal::Standing;
use crate::journal::Survey;
use crate::journal::Verdict;
use crate::journal::Waiting;
use crate::labels::Consent;
use crate::labels::MIN_AGE;
use crate::labels::WINDOW;
use crate::policy::Asked;
use crate::policy::Decision;
use crate::policy::Facts;
use crate::policy::Hold;
use crate::policy::OwnRules;
use crate::policy::Rules;
use crate::policy::Why;
use crate::policy::decide;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::Target;
use crate::time::print_duration;
use crate::time::zone;
use std::collections::HashMap;
use std::time::SystemTime;

/// The containers of one image, as far as an update is their owners' wish.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permit {
    /// The names of containers that may be updated now, and of those whose owners only get a message.
    pub now: Vec<String>,
    /// The updates that wait, each with the reason.
    pub waiting: Vec<Waiting>,
}

impl Refresher {
    /// Asks for each container of `target` whether it may be updated to `digest`. If no container is to be updated, the
    /// rules of the configuration say whether the image may be pulled.
    #[must_use]
    pub fn permit(
        &self,
        asked: Asked,
        target: &Target,
        digest: Option<&Digest>,
        seen: &[Seen],
    ) -> Permit {
        let mut permit = Permit::default();
        let reference = &target.reference;
        let mut is_any_updated = false;
        let waits = |name: &str, own: &OwnRules| self.waits(name, asked, reference, digest, own);
        for one in seen {
            if one.stays_stopped || one.made_from.as_ref() != Ok(reference) {
                continue;
            }
            let is_updated = one.consent == Consent::Update;
            is_any_updated |= is_updated;
            match waits(&one.name, &one.rules).filter(|_| is_updated) {
                Some(waiting) => permit.waiting.push(waiting),
                None => permit.now.push(one.name.clone()),
            }
        }
        // An image whose containers are all in mode notify is only pulled if it is a runtime's.
        let is_pulled = permit.now.is_empty() || self.catalogue.find(reference).is_some();
        if !is_any_updated && is_pulled {
            let of_image = waits(&target.name, &OwnRules::default());
            permit.waiting.extend(of_image);
        }
        permit
    }

    /// Why a container is not updated now, if it is its owner's wish to wait.
    pub(super) fn waits(
        &self,
        name: &str,
        asked: Asked,
        reference: &Reference,
        digest: Option<&Digest>,
        own: &OwnRules,
    ) -> Option<Waiting> {
        if let Some(reason) = self.itself.why_it_waits(name) {
            return Some(Waiting {
                name: name.to_owned(),
                until: None,
                reason: reason.to_owned(),
                is_ripe: false,
            });
        }
        let now = SystemTime::now();
        let decisions = self.history.decisions();
        let hold = decisions.hold_on(name, now).map(|held| Hold {
            until: held.end(),
            by: held.by,
        });
        let is_it = |other: &str| digest.is_some_and(|digest| digest.as_str() == other);
        let skipped = decisions.skipped(reference);
        let skipped = skipped.filter(|one| is_it(&one.digest));
        let mut facts = Facts::new(now, zone(), &self.rules, own);
        facts.asked = asked;
        facts.hold = hold.as_ref();
        facts.skipped_by = skipped.as_ref().map(|one| one.by.as_str());
        facts.since = digest.and_then(|digest| self.history.sightings().since(reference, digest));
        let (until, why) = match decide(&facts) {
            Decision::Apply => return None,
            Decision::Wait { until, why } => (Some(until), why),
            Decision::Leave { why } => (None, why),
        };
        let is_ripe = why == Why::Closed;
        let mut reason = why.to_string();
        if let Why::Young { min_age, .. } = why {
            if let Some(restless) = self.history.sightings().restless(reference, now) {
                let age = print_duration(min_age);
                reason = format!("{reason} ({restless}, never for {age} at the same image)");
            }
        }
        Some(Waiting {
            name: name.to_owned(),
            until,
            reason,
            is_ripe,
        })
    }

    /// The same for a container of a refresh.
    pub(super) fn waits_in(&self, round: &Round, one: &Managed) -> Option<Waiting> {
        if round.back_by.is_some() {
            return None;
        }
        let work = round.work(&one.reference)?;
        let name = one.container.name();
        let digest = work.digest.as_ref();
        self.waits(name, round.asked, &one.reference, digest, &one.rules)
    }

    /// The updates of containers of `target` that are behind and have to wait, for commands that only look.
    #[must_use]
    pub fn waiting(
        &self,
        target: &Target,
        digest: &Digest,
        seen: &[Seen],
        survey: &Survey,
    ) -> Vec<Waiting> {
        (self.history.sightings()).see(&target.reference, digest, SystemTime::now());
        if survey.standing != Standing::Outdated {
            return Vec::new();
        }
        let permit = self.permit(Asked::ForAll, target, Some(digest), seen);
        behind_only(&permit.waiting, target, Some(survey))
    }

    /// Takes the images out of an order whose containers all have to wait, and reports them. The watcher has asked
    /// already, and a roll-back by hand asks nobody.
    #[cold]
    pub(super) fn hold_back(
        &self,
        order: &Order,
        chosen: &mut Chosen,
        outcomes: &mut Outcomes,
        digests: &mut Vec<(Reference, Digest)>,
    ) {
        let list = chosen.list.as_deref().unwrap_or_default();
        let has_rule = |one: &Summary| {
            let mut labels = one.labels();
            labels.any(|(name, _)| name == WINDOW || name == MIN_AGE)
        };
        let has_rules = self.rules != Rules::default() || list.iter().any(has_rule);
        let has_decisions = self.history.decisions().all() != AllDecisions::default();
        let is_asked = has_decisions || (has_rules && order.asked() == Asked::ForAll);
        if !is_asked || matches!(order.images, Images::Moved(_) | Images::Back(_)) {
            return;
        }
        let seen = self.selection.seen_among(list, &self.engine);
        let names = order.images.containers();
        let mut of: HashMap<Reference, Vec<Seen>> = HashMap::new();
        for one in seen.unwrap_or_default() {
            let is_meant = (names.as_ref()).is_none_or(|names| names.contains(&one.name));
            if let (Ok(reference), true) = (one.made_from.clone(), is_meant) {
                of.entry(reference).or_default().push(one);
            }
        }
        let references = chosen.targets.iter();
        let references: Vec<Reference> = references.map(|one| one.reference.clone()).collect();
        let mut found = HashMap::new();
        self.registry.digests(&references, |reference, outcome| {
            if let Ok(digest) = outcome {
                (self.history.sightings()).see(reference, &digest, SystemTime::now());
                found.insert(reference.clone(), digest);
            }
        });
        chosen.targets.retain(|target| {
            let reference = &target.reference;
            let (seen, digest) = (
                of.remove(reference).unwrap_or_default(),
                found.get(reference),
            );
            let is_held = self.held_back(order.asked(), target, digest, &seen, outcomes);
            if let Some(digest) = digest.filter(|_| is_held) {
                digests.push((reference.clone(), digest.clone()));
            }
            !is_held
        });
        chosen.digests = found;
    }

    /// Whether every update to this image has to wait. If so, each one is reported.
    #[cold]
    fn held_back(
        &self,
        asked: Asked,
        target: &Target,
        digest: Option<&Digest>,
        seen: &[Seen],
        outcomes: &mut Outcomes,
    ) -> bool {
        let reference = &target.reference;
        let mut permit = self.permit(asked, target, digest, seen);
        let may = |one: &Seen| one.consent == Consent::Update && permit.now.contains(&one.name);
        if permit.waiting.is_empty() || seen.iter().any(may) {
            return false;
        }
        let survey = digest.and_then(|digest| self.survey(reference, digest, seen).ok());
        let standing = survey.as_ref().map(|survey| survey.standing);
        if matches!(standing, Some(Standing::Local | Standing::Rejected)) {
            return false;
        }
        let waiting = behind_only(&permit.waiting, target, survey.as_ref());
        if waiting.is_empty() {
            // Everything is up to date, and the pull will find that out.
            return false;
        }
        permit.waiting.retain(|one| !waiting.contains(one));
        let current = permit.waiting;
        let report = &mut outcomes.report;
        report
            .unchanged
            .extend(current.into_iter().map(|one| one.name));
        for one in &waiting {
            let words = one.in_words();
            report.skipped.push(Reasoned::new(&one.name, words));
        }
        let verdict = Verdict::NotYet(waiting);
        outcomes.verdicts.push((reference.clone(), verdict));
        true
    }
}

/// Leaves out the containers that run the newest image already, and an image that is here already, as far as the survey
/// tells.
fn behind_only(waiting: &[Waiting], target: &Target, survey: Option<&Survey>) -> Vec<Waiting> {
    let is_behind = |one: &&Waiting| {
        let is_old = |survey: &Survey| match one.name == target.name {
            true => !survey.is_pulled,
            false => survey.is_behind(&one.name),
        };
        survey.is_none_or(is_old)
    };
    waiting.iter().filter(is_behind).cloned().collect()
}
