//! The decisions of the owner: containers that are held where they are, and images that are never applied.

use crate::reference::Digest;
use crate::reference::Reference;
use crate::time::parse_rfc3339;
use crate::time::rfc3339;
use serde::Serialize;
use serde_json::Value;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::SystemTime;

/// The most holds, and the most skipped images, that are remembered.
const MOST: usize = 1_000;

/// A container that stays where it is, whatever comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The container's name.
    pub container: String,
    /// When the hold began (RFC 3339).
    pub since: String,
    /// The end of the hold (RFC 3339); `None` for a hold without an end.
    pub until: Option<String>,
    /// The origin of the decision: `admin`.
    pub by: String,
}

/// An image that is never applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The reference of the image.
    pub reference: String,
    /// The digest of the image in the registry.
    pub digest: String,
    /// When the decision was taken (RFC 3339).
    pub since: String,
    /// The origin of the decision: `admin`.
    pub by: String,
}

/// All decisions. Each container has one hold at most, and each reference one skipped image.
#[derive(Debug, Default)]
pub struct Decisions(Mutex<All>);

/// The decisions, as the state file has them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct All {
    /// The holds, the oldest first.
    pub held: Vec<Held>,
    /// The skipped images, the oldest first.
    pub skipped: Vec<Skipped>,
}

impl Held {
    /// Reads a hold of the state file; `None` if the value is none.
    #[must_use]
    pub fn read(found: &Value) -> Option<Self> {
        let text = |key: &str| found[key].as_str().map(str::to_owned);
        Some(Self {
            container: text("container")?,
            since: text("since")?,
            until: text("until"),
            by: text("by")?,
        })
    }

    /// The end of the hold.
    #[must_use]
    pub fn end(&self) -> Option<SystemTime> {
        parse_rfc3339(self.until.as_deref()?)
    }

    fn is_over(&self, now: SystemTime) -> bool {
        self.end().is_some_and(|end| end <= now)
    }
}

impl Skipped {
    /// Reads a skipped image of the state file; `None` if the value is none.
    #[must_use]
    pub fn read(found: &Value) -> Option<Self> {
        let text = |key: &str| found[key].as_str().map(str::to_owned);
        Some(Self {
            reference: text("reference")?,
            digest: text("digest")?,
            since: text("since")?,
            by: text("by")?,
        })
    }
}

impl Decisions {
    /// Restores the decisions of an earlier process.
    #[must_use]
    pub fn restore(all: All) -> Self {
        Self(Mutex::new(all))
    }

    /// All decisions. A hold may be over.
    #[must_use]
    pub fn all(&self) -> All {
        self.lock().clone()
    }

    /// Forgets the holds that are over, and returns all decisions that still count.
    #[must_use]
    pub fn current(&self, now: SystemTime) -> All {
        let mut all = self.lock();
        all.held.retain(|one| !one.is_over(now));
        all.clone()
    }

    /// Holds a container until `end`, or without an end. An earlier hold is replaced.
    pub fn hold(&self, container: &str, end: Option<SystemTime>, by: &str, now: SystemTime) {
        let mut all = self.lock();
        all.held.retain(|one| one.container != container);
        make_room(&mut all.held);
        all.held.push(Held {
            container: container.to_owned(),
            since: rfc3339(now),
            until: end.map(rfc3339),
            by: by.to_owned(),
        });
    }

    /// Ends the hold of a container. Returns whether there was one.
    pub fn release(&self, container: &str, now: SystemTime) -> bool {
        let mut all = self.lock();
        let found = all.held.iter().position(|one| one.container == container);
        found.is_some_and(|place| !all.held.remove(place).is_over(now))
    }

    /// The hold on a container.
    #[must_use]
    pub fn hold_on(&self, container: &str, now: SystemTime) -> Option<Held> {
        let all = self.lock();
        let found = all.held.iter().find(|one| one.container == container);
        found.filter(|one| !one.is_over(now)).cloned()
    }

    /// Never applies this digest of the reference. An earlier skipped digest of the reference is forgotten.
    pub fn skip(&self, reference: &Reference, digest: &Digest, by: &str, now: SystemTime) {
        let reference = reference.to_string();
        let mut all = self.lock();
        all.skipped.retain(|one| one.reference != reference);
        make_room(&mut all.skipped);
        all.skipped.push(Skipped {
            reference,
            digest: digest.to_string(),
            since: rfc3339(now),
            by: by.to_owned(),
        });
    }

    /// Forgets the skipped digest of a reference, and returns it.
    pub fn unskip(&self, reference: &Reference) -> Option<Skipped> {
        let reference = reference.to_string();
        let mut all = self.lock();
        let place = all
            .skipped
            .iter()
            .position(|one| one.reference == reference)?;
        Some(all.skipped.remove(place))
    }

    /// The skipped image of a reference.
    #[must_use]
    pub fn skipped(&self, reference: &Reference) -> Option<Skipped> {
        let reference = reference.to_string();
        let all = self.lock();
        let found = all.skipped.iter().find(|one| one.reference == reference);
        found.cloned()
    }

    /// Remembers that a tag points at `digest` now: a skipped image counts until its tag moves on.
    pub fn see(&self, reference: &Reference, digest: &Digest) {
        let (reference, digest) = (reference.to_string(), digest.as_str());
        let stays = |one: &Skipped| one.reference != reference || one.digest == digest;
        self.lock().skipped.retain(stays);
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the oldest decision if there are too many.
fn make_room<T>(list: &mut Vec<T>) {
    if list.len() >= MOST {
        list.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::to_value;
    use std::time::Duration;

    fn digest(of: char) -> Digest {
        let text = format!("sha256:{}", of.to_string().repeat(64));
        text.parse().expect("valid")
    }

    #[test]
    fn a_hold_counts_until_its_end() {
        let decisions = Decisions::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let later = now + Duration::from_secs(60);
        decisions.hold("web", None, "admin", now);
        assert!(decisions.hold_on("web", later).is_some());
        decisions.hold("web", Some(later), "admin", now);
        assert!(decisions.hold_on("web", now).is_some());
        assert_eq!(decisions.hold_on("web", later), None);
        assert_eq!(decisions.hold_on("db", now), None);
        assert_eq!(decisions.current(now).held.len(), 1);
        assert_eq!(decisions.current(later).held, []);
        decisions.hold("web", Some(later), "admin", now);
        assert!(decisions.release("web", now));
        assert!(!decisions.release("web", now));
    }

    #[test]
    fn a_skipped_image_counts_until_the_tag_moves_on() {
        let decisions = Decisions::default();
        let nginx: Reference = "nginx".parse().expect("valid");
        let now = SystemTime::UNIX_EPOCH;
        decisions.skip(&nginx, &digest('a'), "admin", now);
        decisions.see(&nginx, &digest('a'));
        let found = decisions.skipped(&nginx).expect("skipped");
        assert_eq!(found.digest, digest('a').to_string());
        decisions.see(&"other".parse().expect("valid"), &digest('b'));
        assert!(decisions.skipped(&nginx).is_some());
        decisions.see(&nginx, &digest('b'));
        assert_eq!(decisions.skipped(&nginx), None);
        decisions.skip(&nginx, &digest('b'), "admin", now);
        assert!(decisions.unskip(&nginx).is_some());
        assert_eq!(decisions.unskip(&nginx), None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let decisions = Decisions::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        decisions.hold("a", None, "admin", now);
        decisions.hold("b", Some(now + Duration::from_secs(9)), "admin", now);
        decisions.skip(&"nginx".parse().expect("valid"), &digest('a'), "admin", now);
        let all = decisions.current(now);
        let written = to_value(&all).expect("JSON");
        let list = |key: &str| written[key].as_array().expect("a list").clone();
        let held: Vec<Held> = list("held").iter().filter_map(Held::read).collect();
        let skipped: Vec<Skipped> = list("skipped").iter().filter_map(Skipped::read).collect();
        assert_eq!(All { held, skipped }, all);
        assert_eq!(Held::read(&Value::Null), None);
        assert_eq!(Skipped::read(&Value::Null), None);
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let decisions = Decisions::default();
        for number in 0..=MOST {
            let name = number.to_string();
            decisions.hold(&name, None, "admin", SystemTime::UNIX_EPOCH);
        }
        assert_eq!(decisions.current(SystemTime::UNIX_EPOCH).held.len(), MOST);
    }
}
