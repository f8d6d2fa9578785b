//! Remembers images that were replaced lately. A tag that goes back to one of them may flap.

use crate::reference::Digest;
use crate::reference::Reference;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// The longest time that counts as "lately".
const LATELY: Duration = Duration::from_secs(24 * 3600);
/// How many images are remembered.
const MOST: usize = 500;
/// How many digests of each image are remembered. An image gets another digest when its index moves for another
/// platform.
const MOST_DIGESTS: usize = 16;

/// The images that ran here, the latest last.
#[derive(Debug, Default)]
pub struct Replaced(Mutex<Vec<Known>>);

/// An image that a tag has pointed at here.
#[derive(Debug)]
struct Known {
    reference: Reference,
    id: String,
    /// The digests that the image was pulled as.
    digests: Vec<String>,
    /// The time of the last update of a container away from this image.
    at: Option<Instant>,
}

impl Replaced {
    /// Remembers the digests of an image while its tag points at it. Podman forgets them once the tag moves.
    pub fn remember_digests<'d>(
        &self,
        reference: &Reference,
        id: &str,
        digests: impl Iterator<Item = &'d str>,
    ) {
        self.remember(reference, id, digests, None);
    }

    /// Remembers that a container was updated away from this image just now.
    pub fn add<'d>(&self, reference: &Reference, id: &str, digests: impl Iterator<Item = &'d str>) {
        self.remember(reference, id, digests, Some(Instant::now()));
    }

    fn remember<'d>(
        &self,
        reference: &Reference,
        id: &str,
        digests: impl Iterator<Item = &'d str>,
        at: Option<Instant>,
    ) {
        let mut all = self.lock();
        let mut places = all.iter();
        let place = places.position(|one| one.id == id && one.reference == *reference);
        let mut known = match place {
            Some(place) => all.remove(place),
            None => Known {
                reference: reference.clone(),
                id: id.to_owned(),
                digests: Vec::new(),
                at: None,
            },
        };
        known.at = at.or(known.at);
        for digest in digests {
            if !known.digests.iter().any(|other| other == digest) {
                known.digests.push(digest.to_owned());
            }
        }
        let excess = known.digests.len().saturating_sub(MOST_DIGESTS);
        known.digests.drain(..excess);
        if all.len() >= MOST {
            all.remove(0);
        }
        all.push(known);
    }

    /// Whether an image with this digest was replaced within the last day.
    #[must_use]
    pub fn contains(&self, reference: &Reference, digest: &Digest) -> bool {
        let digest = digest.as_str();
        self.lock().iter().any(|one| {
            let is_it = one.id == digest || one.digests.iter().any(|other| other == digest);
            let is_lately = one.at.is_some_and(|at| at.elapsed() < LATELY);
            is_it && is_lately && one.reference == *reference
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::iter::empty;
    use std::iter::once;

    #[test]
    fn what_was_replaced_is_remembered_for_a_day() {
        let replaced = Replaced::default();
        let digest: Digest = format!("sha256:{}", "a".repeat(64)).parse().expect("valid");
        let nginx: Reference = "nginx".parse().expect("valid");
        let other: Reference = "other".parse().expect("valid");
        replaced.remember_digests(&nginx, "id", once(digest.as_str()));
        assert!(!replaced.contains(&nginx, &digest), "it runs still");
        // The Engine has forgotten the digests by now.
        replaced.add(&nginx, "id", empty());
        assert!(replaced.contains(&nginx, &digest));
        assert!(!replaced.contains(&other, &digest));
        replaced.remember_digests(&nginx, "id", empty());
        assert!(replaced.contains(&nginx, &digest));
        // An id may be a digest itself.
        replaced.add(&other, digest.as_str(), empty());
        assert!(replaced.contains(&other, &digest));
        let a_day_ago = Instant::now().checked_sub(LATELY);
        if let (Some(a_day_ago), Some(last)) = (a_day_ago, replaced.lock().last_mut()) {
            last.at = Some(a_day_ago);
        }
        assert_eq!(replaced.contains(&other, &digest), a_day_ago.is_none());
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let replaced = Replaced::default();
        let nginx: Reference = "nginx".parse().expect("valid");
        for number in 0..MOST + 5 {
            replaced.add(&nginx, &number.to_string(), empty());
        }
        for number in 0..MOST_DIGESTS + 5 {
            replaced.remember_digests(&nginx, "id", once(number.to_string().as_str()));
        }
        let all = replaced.lock();
        assert_eq!(all.len(), MOST);
        assert_eq!(all[MOST - 1].digests.len(), MOST_DIGESTS);
    }
}
