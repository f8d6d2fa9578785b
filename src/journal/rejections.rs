//! Rejected images: they did not come up, and another try would only cause another outage.

use crate::reference::Digest;
use crate::reference::Reference;
use crate::time::rfc3339;
use serde::Serialize;
use serde_json::Value;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::SystemTime;

/// The most rejections that are remembered. Otherwise an unused reference would stay for ever.
const MOST: usize = 200;

/// The rejected images. Each reference has one at most.
#[derive(Debug, Default)]
pub struct Rejections(Mutex<Vec<Rejection>>);

/// One rejection, as the status and the state file show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// The reference of the image.
    pub reference: String,
    /// The id of the image.
    pub image: String,
    /// The image's digest in the registry, if known. The digest identifies the image even after a prune.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The reason on one line.
    pub reason: String,
    /// When the image was rejected (RFC 3339).
    pub since: String,
}

impl Rejection {
    /// Reads a rejection of the state file; `None` if the value is none.
    #[must_use]
    pub fn read(found: &Value) -> Option<Self> {
        let text = |key: &str| found[key].as_str().map(str::to_owned);
        Some(Self {
            reference: text("reference")?,
            image: text("image")?,
            digest: text("digest"),
            reason: text("reason")?,
            since: text("since")?,
        })
    }
}

impl Rejections {
    /// Restores the rejections of an earlier process.
    #[must_use]
    pub fn restore(list: Vec<Rejection>) -> Self {
        Self(Mutex::new(list))
    }

    /// All rejections, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Rejection> {
        self.lock().clone()
    }

    /// Whether an image of `reference` is rejected.
    #[must_use]
    pub fn concern(&self, reference: &Reference) -> bool {
        place(&self.lock(), reference).is_some()
    }

    /// The reason why `image` is rejected. If the reference has another image now, its rejection is cleared.
    #[must_use]
    pub fn reason(&self, reference: &Reference, image: &str) -> Option<String> {
        let mut rejected = self.lock();
        let place = place(&rejected, reference)?;
        if rejected[place].image == image {
            return Some(rejected[place].reason.clone());
        }
        rejected.remove(place);
        None
    }

    /// The reason why the registry's image with `digest` is rejected, even if the image was pruned here.
    #[must_use]
    pub fn reason_of_digest(&self, reference: &Reference, digest: &Digest) -> Option<String> {
        let rejected = self.lock();
        let one = &rejected[place(&rejected, reference)?];
        (one.digest.as_deref() == Some(digest.as_str())).then(|| one.reason.clone())
    }

    /// The rejected image of `reference`, if that is another one than `image`.
    #[must_use]
    pub fn other_than(&self, reference: &Reference, image: &str) -> Option<String> {
        let rejected = self.lock();
        let one = &rejected[place(&rejected, reference)?];
        (one.image != image).then(|| one.image.clone())
    }

    /// Rejects `image`, which has `digest` in the registry.
    pub fn add(&self, reference: &Reference, image: &str, digest: Option<&Digest>, reason: &str) {
        self.clear(reference);
        let mut rejected = self.lock();
        if rejected.len() >= MOST {
            rejected.remove(0);
        }
        rejected.push(Rejection {
            reference: reference.to_string(),
            image: image.to_owned(),
            digest: digest.map(Digest::to_string),
            reason: reason.to_owned(),
            since: rfc3339(SystemTime::now()),
        });
    }

    /// Gives the reference's images another chance.
    pub fn clear(&self, reference: &Reference) {
        let mut rejected = self.lock();
        if let Some(place) = place(&rejected, reference) {
            rejected.remove(place);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Rejection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(rejected: &[Rejection], reference: &Reference) -> Option<usize> {
    if rejected.is_empty() {
        return None;
    }
    let reference = reference.to_string();
    rejected.iter().position(|one| one.reference == reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_lasts_until_the_tag_moves_on() {
        let reference: Reference = "nginx".parse().expect("valid");
        let rejected = Rejections::default();
        rejected.add(&reference, "bad", None, "it exited");
        assert_eq!(
            rejected.reason(&reference, "bad"),
            Some("it exited".to_owned())
        );
        assert_eq!(rejected.other_than(&reference, "bad"), None);
        let bad = rejected.other_than(&reference, "good");
        assert_eq!(bad.as_deref(), Some("bad"));
        assert_eq!(rejected.reason(&reference, "good"), None);
        assert_eq!(rejected.reason(&reference, "bad"), None);
    }

    #[test]
    fn a_rejected_image_that_is_pruned_is_told_by_its_digest() {
        let reference: Reference = "nginx".parse().expect("valid");
        let digest =
            |of: &str| -> Digest { format!("sha256:{}", of.repeat(64)).parse().expect("valid") };
        let rejected = Rejections::default();
        rejected.add(&reference, "bad", Some(&digest("b")), "it exited");
        let list = rejected.list();
        let written = serde_json::to_value(&list[0]).expect("JSON");
        assert_eq!(Rejection::read(&written).as_ref(), Some(&list[0]));
        let reason = rejected.reason_of_digest(&reference, &digest("b"));
        assert_eq!(reason.as_deref(), Some("it exited"));
        assert_eq!(rejected.reason_of_digest(&reference, &digest("c")), None);
        let other: Reference = "caddy".parse().expect("valid");
        assert_eq!(rejected.reason_of_digest(&other, &digest("b")), None);
    }

    #[test]
    fn rejections_are_restored_as_they_were_listed() {
        let (a, b): (Reference, Reference) =
            ("a".parse().expect("valid"), "b".parse().expect("valid"));
        let rejected = Rejections::default();
        rejected.add(&b, "bad", None, "it exited");
        rejected.add(&a, "worse", None, "it is unhealthy");
        let list = rejected.list();
        assert_eq!(list[0].reference, b.to_string(), "the oldest first");
        let written = serde_json::to_value(&list[1]).expect("JSON");
        assert_eq!(Rejection::read(&written).as_ref(), Some(&list[1]));
        assert_eq!(Rejection::read(&Value::Null), None);
        let restored = Rejections::restore(list.clone());
        assert_eq!(restored.list(), list);
        assert!(restored.concern(&b));
        assert_eq!(restored.reason(&b, "bad"), Some("it exited".to_owned()));
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let rejected = Rejections::default();
        for number in 0..=MOST {
            let reference: Reference = format!("image-{number}").parse().expect("valid");
            rejected.add(&reference, "bad", None, "it exited");
        }
        assert_eq!(rejected.list().len(), MOST);
    }
}
