//! Decides whether an image comes from its registry, or was built here. A pull does not replace an image that
//! was built here, unless a caller names it.
//!
//! An image comes from the registry in four cases: its digest was seen behind the tag; this process pulled it;
//! the registry has its digest; or the Engine remembers the pull. The last case matters because registries
//! delete images that no tag names.

use super::Refresher;
use crate::engine::Image;
use crate::engine::Origin;
use crate::error::Result;
use crate::reference::Digest;
use crate::reference::Reference;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// The reason to leave an image alone that was built here.
pub(super) const BUILT_HERE: &str = "its image was built here, or came from no registry: a refresh that names this container, \
     or its image, replaces it";
/// How many digests of a reference are remembered: tags go back, but seldom far.
const MOST: usize = 8;
/// How many of an image's digests a registry is asked for.
const MOST_ASKED: usize = 3;
/// How long the result "built here" is kept. The image may have been pushed since.
const LEASE: Duration = Duration::from_secs(3600);

/// The known origins of images, by reference.
#[derive(Debug, Default)]
pub struct Origins(Mutex<HashMap<Reference, Known>>);

#[derive(Debug, Default)]
struct Known {
    /// Digests that a registry had under the tag, and ids of images that came from it; the newest last.
    from_registry: VecDeque<String>,
    /// The id of an image that was built here, and the time of that result.
    built: Option<(String, Instant)>,
}

impl Origins {
    /// Remembers that the registry has, or had, this digest under the tag.
    pub fn remember_digest(&self, reference: &Reference, digest: &Digest) {
        self.remember(reference, digest.as_str());
    }

    /// Remembers the digest, or the id, of an image that came from the registry.
    pub(super) fn remember(&self, reference: &Reference, digest_or_id: &str) {
        self.with(reference, |known| {
            if known.from_registry.iter().any(|one| one == digest_or_id) {
                return;
            }
            if known.from_registry.len() == MOST {
                known.from_registry.pop_front();
            }
            known.from_registry.push_back(digest_or_id.to_owned());
        });
    }

    fn remember_local(&self, reference: &Reference, id: &str) {
        self.with(reference, |known| {
            known.built = Some((id.to_owned(), Instant::now()));
        });
    }

    /// Whether the image was built here. `None` if that is not known yet.
    fn is_local(&self, reference: &Reference, image: &Image) -> Option<bool> {
        self.with(reference, |known| {
            let is_from_registry =
                |digest: &str| known.from_registry.iter().any(|one| one == digest);
            if is_from_registry(image.id()) || image.digests_of(reference).any(is_from_registry) {
                return Some(false);
            }
            let (built, since) = known.built.as_ref()?;
            (built == image.id() && since.elapsed() < LEASE).then_some(true)
        })
    }

    fn with<T>(&self, reference: &Reference, look: impl FnOnce(&mut Known) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        look(all.entry(reference.clone()).or_default())
    }
}

impl Refresher {
    /// Whether the image that is here under this name was built here, or comes from no registry for another reason.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub fn is_local(&self, reference: &Reference) -> Result<bool> {
        match self.engine.find_image(&reference.to_string())? {
            Some(image) => self.is_local_image(reference, &image),
            None => Ok(false),
        }
    }

    /// The same for the image that is here under this name. If the registry must be asked and does not answer, the
    /// image does not count as built here.
    pub(super) fn is_local_image(&self, reference: &Reference, image: &Image) -> Result<bool> {
        Ok(self.locality(reference, image)?.unwrap_or(false))
    }

    /// The same with two errors: the outer one is the Engine's, the inner one the registry's.
    pub(super) fn locality(&self, reference: &Reference, image: &Image) -> Result<Result<bool>> {
        if let Some(is_local) = self.origins.is_local(reference, image) {
            return Ok(Ok(is_local));
        }
        let is_local = match self.engine.origin(image, reference)? {
            // The Engine answers this at no cost, so the result is not kept.
            Origin::Here => return Ok(Ok(true)),
            Origin::Registry => false,
            Origin::Unknown => match self.is_built(image, reference) {
                Ok(is_local) => is_local,
                error => return Ok(error),
            },
        };
        if is_local {
            self.origins.remember_local(reference, image.id());
        } else {
            self.origins.remember(reference, image.id());
        }
        Ok(Ok(is_local))
    }

    /// Whether the image counts as built here, if the Engine cannot tell. The registry is asked for its digests.
    fn is_built(&self, image: &Image, reference: &Reference) -> Result<bool> {
        let mut trouble = None;
        let digests = image.digests_of(reference).take(MOST_ASKED);
        for digest in digests.filter_map(|digest| digest.parse::<Digest>().ok()) {
            match self.registry.holds(reference, &digest) {
                Ok(true) => return Ok(false),
                Ok(false) => {}
                Err(error) => trouble = Some(error),
            }
        }
        match (self.engine.remembered_origin(image, reference), trouble) {
            (Origin::Registry, _) => Ok(false),
            (Origin::Unknown, Some(error)) => Err(error),
            (Origin::Here | Origin::Unknown, _) => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_seen_at_a_tag_is_the_registrys_even_once_that_has_deleted_it() {
        let reference: Reference = "a".parse().expect("valid");
        let digest = |of: usize| format!("sha256:{of:064}");
        let image = |of: usize| {
            let digests = [format!("a@{}", digest(of))];
            Image::new(json!({"Id": "sha256:x", "RepoDigests": digests}))
        };
        let origins = Origins::default();
        assert_eq!(origins.is_local(&reference, &image(0)), None);
        origins.remember_local(&reference, "sha256:x");
        assert_eq!(origins.is_local(&reference, &image(0)), Some(true));
        for of in 0..=MOST {
            origins.remember_digest(&reference, &digest(of).parse().expect("valid"));
        }
        assert_eq!(origins.is_local(&reference, &image(MOST)), Some(false));
        assert_eq!(origins.is_local(&reference, &image(1)), Some(false));
        assert_eq!(
            origins.is_local(&reference, &image(0)),
            Some(true),
            "forgotten"
        );
        let other = "b".parse().expect("valid");
        assert_eq!(origins.is_local(&other, &image(1)), None);
    }
}
