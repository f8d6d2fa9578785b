//! Images that did not come up: trying one again would only mean another outage.

use crate::reference::Reference;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;

/// By reference, the image that did not come up and why.
#[derive(Debug, Default)]
pub struct Rejections(Mutex<HashMap<Reference, (String, String)>>);

impl Rejections {
    /// Why `image` is rejected. Another image on the same reference clears the verdict.
    #[must_use]
    pub fn reason(&self, reference: &Reference, image: &str) -> Option<String> {
        let mut rejected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (bad, reason) = rejected.get(reference)?;
        if bad == image {
            return Some(reason.clone());
        }
        rejected.remove(reference);
        None
    }

    /// Notes that `image` did not come up.
    pub fn add(&self, reference: &Reference, image: &str, reason: &str) {
        let mut rejected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rejected.insert(reference.clone(), (image.to_owned(), reason.to_owned()));
    }

    /// Gives the reference's images another chance.
    pub fn clear(&self, reference: &Reference) {
        let mut rejected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rejected.remove(reference);
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
}
