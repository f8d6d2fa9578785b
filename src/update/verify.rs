//! The decision whether an image may be pulled: where its name needs a signature, a good one must be found first.
//!
//! The answer is about a digest, and exactly that digest is pulled. `force`, and an owner who names the image, change
//! nothing here. An image that is here already is not checked.

use super::Refresher;
use super::select::Seen;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::journal::Event;
use crate::journal::Outcomes;
use crate::journal::Reasoned;
use crate::journal::Step;
use crate::journal::VERIFICATIONS;
use crate::journal::Verdict;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::Target;
use crate::registry::Signature;
use crate::trust::Trust;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A signature comes after the push. A missing one is told after this time.
const SIGNING: Duration = Duration::from_secs(15 * 60);
/// How many good images are remembered.
const MOST_KEPT: usize = 1000;

/// What has to be verified, the images that were, and the number of each outcome.
#[derive(Debug)]
pub struct Verified {
    trust: Arc<Trust>,
    good: Mutex<Vec<String>>,
    counts: [AtomicU64; VERIFICATIONS.len()],
}

impl Verified {
    /// Nothing is verified yet.
    #[must_use]
    pub fn new(trust: Arc<Trust>) -> Self {
        Self {
            trust,
            good: Mutex::default(),
            counts: Default::default(),
        }
    }

    /// How often each of [`VERIFICATIONS`] was the outcome.
    pub fn counts(&self) -> [u64; VERIFICATIONS.len()] {
        [0, 1, 2, 3].map(|place: usize| self.counts[place].load(Ordering::Relaxed))
    }

    fn knows(&self, image: &String) -> bool {
        let good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        good.contains(image)
    }

    /// Counts the end of a verification, and remembers a good image.
    fn add(&self, image: &str, outcome: &Result<()>) {
        let place = match outcome.as_ref().map_err(Error::kind) {
            Ok(()) => {
                let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
                if good.len() >= MOST_KEPT {
                    good.remove(0);
                }
                good.push(image.to_owned());
                0
            }
            Err(Kind::Unverified { is_bad }) => 1 + usize::from(*is_bad),
            Err(_) => 3,
        };
        self.counts[place].fetch_add(1, Ordering::Relaxed);
    }
}

/// Adds the digests of images that were not pulled for want of a signature.
#[cold]
pub(super) fn add_unverified(outcomes: &Outcomes, digests: &mut Vec<(Reference, Digest)>) {
    for (reference, verdict) in &outcomes.verdicts {
        if let Verdict::Unverified(error) = verdict
            && let Some(digest) = error.digest()
        {
            digests.push((reference.clone(), digest));
        }
    }
}

impl Refresher {
    /// Checks that the registry has a good signature of the image, if the image needs one. `seen` are the containers
    /// whose labels count.
    ///
    /// # Errors
    /// [`Kind::Unverified`] if there is none. Any other error leaves the question open.
    #[cold]
    pub fn vet(&self, reference: &Reference, digest: &Digest, seen: &[Seen]) -> Result<()> {
        if self.needs_signature(reference, seen) {
            self.verify(reference, digest)
        } else {
            Ok(())
        }
    }

    /// An image needs no signature if the labels of all its containers say so.
    fn needs_signature(&self, reference: &Reference, seen: &[Seen]) -> bool {
        let concerns = self.verified.trust.concerns(reference);
        let of_it = seen
            .iter()
            .filter(|one| one.made_from.as_ref() == Ok(reference));
        let mut needs = of_it.map(|one| one.rules.verify.unwrap_or(concerns));
        needs
            .next()
            .map_or(concerns, |first| first || needs.any(|one| one))
    }

    fn verify(&self, reference: &Reference, digest: &Digest) -> Result<()> {
        let image = reference.pinned_to(digest).to_string();
        if self.verified.knows(&image) {
            return Ok(());
        }
        let (trust, mut remark) = (&self.verified.trust, String::new());
        let mut is_good = |signature: Signature| match signature {
            Signature::Payload(payload, annotations) => {
                Some(trust.approves_payload(digest, payload, annotations, &mut remark))
            }
            Signature::Bundle(bundle) => trust.approves_bundle(digest, bundle, &mut remark),
        };
        let found = self.registry.signatures(reference, digest, &mut is_good);
        let outcome = match found {
            Ok((true, _)) => Ok(()),
            Ok((false, is_bad)) => Err(Error::unverified(&image, is_bad, &remark)),
            Err(error) => Err(error),
        };
        self.verified.add(&image, &outcome);
        outcome
    }

    /// The containers whose labels count for [`Self::vouch`]: those that are selected, and those that the order names. There
    /// are none as long as nobody may sign.
    #[cold]
    pub(super) fn labelled(&self, named: Option<Vec<String>>) -> Result<Vec<Seen>> {
        if !self.verified.trust.has_signers() {
            return Ok(Vec::new());
        }
        let list = self.engine.containers()?;
        let mut seen = self.selection.seen_among(&list, &self.engine)?;
        if let Some(names) = named {
            seen.extend(self.selection.named(&names, &list, &self.engine)?);
        }
        Ok(seen)
    }

    /// The gate before each pull. `seen` are the containers whose labels count. Returns the digest that may be pulled;
    /// nothing stands for the tag.
    ///
    /// # Errors
    /// See [`Self::vet`]. Also if the image cannot be pulled by its digest.
    pub(super) fn vouch(
        &self,
        seen: &Result<Vec<Seen>>,
        reference: &Reference,
        digest: Option<Digest>,
    ) -> Result<Option<Digest>> {
        let seen = seen.as_ref().map_err(Error::clone)?;
        if !self.needs_signature(reference, seen) {
            return Ok(digest);
        }
        let digest = match digest {
            Some(digest) => digest,
            None => self.registry.digest(reference)?,
        };
        self.verify(reference, &digest)?;
        if !self.may_tag() {
            let reason = "it was verified, but the Engine forbids to tag it, so its tag would have to be pulled";
            return Err(Error::reference(reference.to_string(), reason));
        }
        Ok(Some(digest))
    }

    /// Reports an image that was not pulled, because it needs a signature. Returns false for any other error.
    #[cold]
    pub(super) fn report_unverified(
        &self,
        target: &Target,
        error: &Error,
        outcomes: &mut Outcomes,
        on: &(dyn Fn(&Step) + Sync),
    ) -> bool {
        let Some(verdict) = self.unverified(target, error, on) else {
            return false;
        };
        let report = &mut outcomes.report;
        report.failed.push(target.name.clone());
        let entry = Reasoned::new(&target.name, error.to_string());
        report.skipped.push(entry);
        outcomes.verdicts.push((target.reference.clone(), verdict));
        true
    }

    /// The verdict on an image without a good signature; nothing for any other error. Tells the owner once, and of a
    /// signature that is only late not at once.
    #[cold]
    pub fn unverified(
        &self,
        Target { reference, .. }: &Target,
        error: &Error,
        on: &dyn Fn(&Step),
    ) -> Option<Verdict> {
        let Kind::Unverified { is_bad } = *error.kind() else {
            return None;
        };
        let digest = error.digest()?;
        let since = self.history.sightings().since(reference, &digest);
        let age = since.and_then(|since| since.elapsed().ok());
        let is_told = is_bad || age.is_some_and(|age| age >= SIGNING);
        let image = reference.to_string();
        if self.is_news_of(&image, &format!("{error} {is_told}")) {
            let event = Event::unverified(&image, digest.as_str(), is_bad, error.words());
            if is_told {
                event.log();
                on(&Step::Outcome(event));
            } else {
                log::info!("{image}: not pulled yet: {error}");
            }
        }
        Some(Verdict::Unverified(error.clone()))
    }
}
