//! Images that did not come up: trying one again would only mean another outage.

use crate::reference::Reference;
use crate::time::rfc3339;
use serde::Deserialize;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::SystemTime;

/// As many are remembered: a reference that nobody uses any more would otherwise stay for ever.
const MOST: usize = 200;

/// By reference, the image that did not come up and why.
#[derive(Debug, Default)]
pub struct Rejections(Mutex<HashMap<Reference, Rejection>>);

/// One verdict, as people and the state file read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

impl Rejections {
    /// Those of an earlier process. One whose reference cannot be read is none.
    #[must_use]
    pub fn restore(list: Vec<Rejection>) -> Self {
        let keyed = |one: Rejection| Some((one.reference.parse().ok()?, one));
        Self(Mutex::new(list.into_iter().filter_map(keyed).collect()))
    }

    /// All of them, by reference.
    #[must_use]
    pub fn list(&self) -> Vec<Rejection> {
        let mut list: Vec<Rejection> = self.lock().values().cloned().collect();
        list.sort_by(|a, b| a.reference.cmp(&b.reference));
        list
    }

    /// Whether some image of `reference` is rejected.
    #[must_use]
    pub fn concern(&self, reference: &Reference) -> bool {
        self.lock().contains_key(reference)
    }

    /// Why `image` is rejected. Another image on the same reference clears the verdict.
    #[must_use]
    pub fn reason(&self, reference: &Reference, image: &str) -> Option<String> {
        let mut rejected = self.lock();
        let found = rejected.get(reference)?;
        if found.image == image {
            return Some(found.reason.clone());
        }
        rejected.remove(reference);
        None
    }

    /// Notes that `image` did not come up.
    pub fn add(&self, reference: &Reference, image: &str, reason: &str) {
        let mut rejected = self.lock();
        if rejected.len() >= MOST && !rejected.contains_key(reference) {
            let oldest = rejected
                .iter()
                .min_by(|(_, a), (_, b)| a.since.cmp(&b.since));
            if let Some(oldest) = oldest.map(|(reference, _)| reference.clone()) {
                rejected.remove(&oldest);
            }
        }
        let rejection = Rejection {
            reference: reference.to_string(),
            image: image.to_owned(),
            reason: reason.to_owned(),
            since: rfc3339(SystemTime::now()),
        };
        rejected.insert(reference.clone(), rejection);
    }

    /// Gives the reference's images another chance.
    pub fn clear(&self, reference: &Reference) {
        self.lock().remove(reference);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Reference, Rejection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let mut list = rejected.list();
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].reference, a.to_string());
        let mut unreadable = list[0].clone();
        unreadable.reference = "Not A Reference".to_owned();
        list.push(unreadable);
        let restored = Rejections::restore(list.clone());
        assert_eq!(restored.list(), list[..2]);
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
