//! Images that did not come up: trying one again would only mean another outage.

use crate::reference::Reference;
use crate::time::rfc3339;
use serde::Serialize;
use serde_json::Value;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::SystemTime;

/// As many are remembered: a reference that nobody uses any more would otherwise stay for ever.
const MOST: usize = 200;

/// By reference, the image that did not come up and why.
#[derive(Debug, Default)]
pub struct Rejections(Mutex<Vec<Rejection>>);

/// One verdict, as people and the state file read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// The reference.
    pub reference: String,
    /// The id of its image that did not come up.
    pub image: String,
    /// Why, on one line.
    pub reason: String,
    /// Since when it is rejected (RFC 3339).
    pub since: String,
}

impl Rejection {
    /// What was written earlier; `None` if it is something else.
    #[must_use]
    pub fn read(found: &Value) -> Option<Self> {
        let text = |key: &str| found[key].as_str().map(str::to_owned);
        Some(Self {
            reference: text("reference")?,
            image: text("image")?,
            reason: text("reason")?,
            since: text("since")?,
        })
    }
}

impl Rejections {
    /// Those of an earlier process.
    #[must_use]
    pub fn restore(list: Vec<Rejection>) -> Self {
        Self(Mutex::new(list))
    }

    /// All of them, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Rejection> {
        self.lock().clone()
    }

    /// Whether some image of `reference` is rejected.
    #[must_use]
    pub fn concern(&self, reference: &Reference) -> bool {
        place(&self.lock(), reference).is_some()
    }

    /// Why `image` is rejected. Another image on the same reference clears the verdict.
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

    /// The image of `reference` that did not come up, if that is not `image`.
    #[must_use]
    pub fn other_than(&self, reference: &Reference, image: &str) -> Option<String> {
        let rejected = self.lock();
        let one = &rejected[place(&rejected, reference)?];
        (one.image != image).then(|| one.image.clone())
    }

    /// Notes that `image` did not come up.
    pub fn add(&self, reference: &Reference, image: &str, reason: &str) {
        self.clear(reference);
        let mut rejected = self.lock();
        if rejected.len() >= MOST {
            rejected.remove(0);
        }
        rejected.push(Rejection {
            reference: reference.to_string(),
            image: image.to_owned(),
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
        rejected.add(&reference, "bad", "it exited");
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
    fn rejections_are_restored_as_they_were_listed() {
        let (a, b): (Reference, Reference) =
            ("a".parse().expect("valid"), "b".parse().expect("valid"));
        let rejected = Rejections::default();
        rejected.add(&b, "bad", "it exited");
        rejected.add(&a, "worse", "it is unhealthy");
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
            rejected.add(&reference, "bad", "it exited");
        }
        assert_eq!(rejected.list().len(), MOST);
    }
}
