//! Learns what an image tells about itself while the image is only in its registry.
//!
//! That costs up to three GET requests. So each digest is asked for once, and only if a container is behind it. Docker
//! Hub counts such a request as a pull, so no registry gets many of them.

use super::Refresher;
use super::is_at;
use crate::error::Result;
use crate::journal::Board;
use crate::logging::debug;
use crate::provenance::Provenance;
use crate::reference::Digest;
use crate::reference::Reference;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// How long nothing is asked again after a failure.
const PAUSE: Duration = Duration::from_secs(3600);
/// How many digests of one registry are asked for in [`PAUSE`]. Docker Hub allows 100 pulls in six hours.
const MOST: usize = 8;
/// How many references are remembered, before those that were asked for long ago are forgotten.
const MOST_KEPT: usize = 1000;

/// The images that were asked for. Only the newest digest of each reference is kept.
#[derive(Debug, Default)]
pub struct Releases(Mutex<Vec<Release>>);

#[derive(Debug)]
struct Release {
    reference: Reference,
    digest: Digest,
    /// `None` after a failure, and while the registry is asked.
    provenance: Option<Provenance>,
    asked: Instant,
}

impl Releases {
    /// The facts about the image with this digest, if they were learnt.
    pub(super) fn known(&self, reference: &Reference, digest: &Digest) -> Option<Provenance> {
        let all = self.lock();
        let known = all.iter().find(|known| known.is(reference, digest))?;
        known.provenance.clone()
    }

    /// Whether the registry may be asked for the image now. Counts that as asked.
    fn may_ask(&self, reference: &Reference, digest: &Digest) -> bool {
        let (mut all, mut lately) = (self.lock(), 0);
        for known in all.iter() {
            let is_late = known.asked.elapsed() < PAUSE;
            if known.is(reference, digest) && (is_late || known.provenance.is_some()) {
                return false;
            }
            lately += usize::from(is_late && known.reference.registry() == reference.registry());
        }
        if lately >= MOST {
            return false;
        }
        let is_full = all.len() >= MOST_KEPT;
        all.retain(|known| {
            known.reference != *reference && (!is_full || known.asked.elapsed() < PAUSE)
        });
        all.push(Release {
            reference: reference.clone(),
            digest: digest.clone(),
            provenance: None,
            asked: Instant::now(),
        });
        true
    }

    fn learn(&self, reference: &Reference, digest: &Digest, provenance: Provenance) {
        for known in self.lock().iter_mut() {
            if known.is(reference, digest) {
                known.provenance = Some(provenance);
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Release>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Release {
    fn is(&self, reference: &Reference, digest: &Digest) -> bool {
        self.reference == *reference && self.digest == *digest
    }
}

impl Refresher {
    /// The facts that the registry's image with this digest tells about itself. The registry is asked if they are not
    /// known, but not too often. A failure is no trouble, because the facts are only shown.
    pub fn release(&self, reference: &Reference, digest: &Digest) -> Option<Provenance> {
        let _ = self.ask_for_release(reference, digest);
        self.releases.known(reference, digest)
    }

    /// The same facts, from the image that is here if it is the registry's.
    pub(super) fn newest_provenance(&self, reference: &Reference, digest: &Digest) -> Provenance {
        let here = self.engine.find_image(&reference.to_string());
        let here = here.ok().flatten();
        match here.filter(|image| is_at(image, reference, digest)) {
            Some(here) => here.provenance(),
            None => self.release(reference, digest).unwrap_or_default(),
        }
    }

    /// Learns the versions of the images that containers are behind, and puts them on the board.
    pub fn learn_versions(&self, board: &Board) {
        let mut lacking = Vec::new();
        board.update_each(&mut |entry| lacking.extend(entry.lacks_version()));
        let mut silent = Vec::new();
        for (reference, digest) in lacking {
            if silent
                .iter()
                .any(|registry| registry == reference.registry())
            {
                continue;
            }
            let asked = self.ask_for_release(&reference, &digest);
            if asked.is_err_and(|error| error.is_unreachable()) {
                silent.push(reference.registry().to_owned());
            }
            if let Some(release) = self.releases.known(&reference, &digest) {
                board.update(&reference, |entry| {
                    entry.versions.registry = release;
                    entry.versions.digest = Some(digest.to_string());
                });
            }
        }
    }

    /// Asks the registry for the facts, if that may be done now.
    #[cold]
    fn ask_for_release(&self, reference: &Reference, digest: &Digest) -> Result<()> {
        if !self.releases.may_ask(reference, digest) {
            return Ok(());
        }
        let platform = match &self.platform {
            Some(forced) => Ok(forced.clone()),
            None => (self.engine.about()).map(|about| format!("linux/{}", about.arch)),
        };
        platform
            .and_then(|platform| self.registry.provenance(reference, digest, &platform))
            .map(|provenance| self.releases.learn(reference, digest, provenance))
            .inspect_err(|error| {
                debug(format_args!(
                    "{reference}: its version is not known: {error}"
                ));
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(number: usize) -> Reference {
        format!("reg.example/app{number}").parse().expect("valid")
    }

    fn digest(of: char) -> Digest {
        let text = format!("sha256:{}", of.to_string().repeat(64));
        text.parse().expect("valid")
    }

    #[test]
    fn each_digest_is_asked_for_once() {
        let (releases, one) = (Releases::default(), reference(1));
        assert!(releases.may_ask(&one, &digest('a')));
        assert!(!releases.may_ask(&one, &digest('a')), "it failed lately");
        assert_eq!(releases.known(&one, &digest('a')), None);
        releases.learn(&one, &digest('a'), Provenance::default());
        assert!(!releases.may_ask(&one, &digest('a')));
        assert!(releases.known(&one, &digest('a')).is_some());
        assert_eq!(releases.known(&one, &digest('b')), None);
        assert!(releases.may_ask(&one, &digest('b')));
        releases.learn(&one, &digest('a'), Provenance::default());
        assert_eq!(releases.known(&one, &digest('b')), None, "the tag moved on");
    }

    #[test]
    fn no_registry_is_asked_much() {
        let releases = Releases::default();
        let asked = (0..MOST + 5).map(|number| releases.may_ask(&reference(number), &digest('a')));
        assert_eq!(asked.filter(|may| *may).count(), MOST);
        let other = "other.example/app".parse().expect("valid");
        assert!(releases.may_ask(&other, &digest('a')));
    }

    #[test]
    fn a_failure_is_tried_again_later() {
        let (releases, one) = (Releases::default(), reference(1));
        assert!(releases.may_ask(&one, &digest('a')));
        let Some(long_ago) = Instant::now().checked_sub(PAUSE) else {
            return;
        };
        for known in releases.lock().iter_mut() {
            known.asked = long_ago;
        }
        assert!(releases.may_ask(&one, &digest('a')));
    }
}
