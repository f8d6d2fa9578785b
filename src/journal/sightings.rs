//! Since when each tag has pointed at its digest, as seen here, and which digest needs nothing more.
//!
//! Only this clock cannot be forged. It goes by the first sight of a digest behind its tag. Another look, a restart or
//! a new container does not change it.

use crate::reference::Digest;
use crate::reference::Reference;
use crate::time::parse_rfc3339;
use crate::time::print_duration;
use crate::time::rfc3339;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

/// The most references in the state file. All references that are followed are in memory.
const MOST: usize = 2_000;
/// How long a reference is remembered that nothing follows any more.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
/// So many moves in a row, of which none was followed, are said.
const RESTLESS: u64 = 3;

/// The sights of all followed references.
#[derive(Debug, Default)]
pub struct Sightings(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    all: Vec<Sighting>,
    /// The position of each reference in `all`.
    index: HashMap<String, usize>,
    /// Whether anything changed that the state file does not have.
    has_changed: bool,
}

/// The last sight of one reference, as the state file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sighting {
    /// The reference in its full form.
    pub reference: String,
    /// The digest that its tag points at.
    pub digest: String,
    /// When the digest was seen first (RFC 3339).
    pub since: String,
    /// The digest that needs nothing more, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled: Option<String>,
    /// How often the tag moved in a row without being followed.
    pub moves: u64,
    /// When the first of these moves was seen (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moves_since: Option<String>,
    /// Since when nothing follows the reference any more (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<String>,
}

impl Sighting {
    fn new(reference: String, digest: &str, now: SystemTime) -> Self {
        Self {
            reference,
            digest: digest.to_owned(),
            since: rfc3339(now),
            settled: None,
            moves: 0,
            moves_since: None,
            gone: None,
        }
    }

    /// Reads an entry of the state file; `None` if the value is none.
    #[must_use]
    pub fn read(found: &Value) -> Option<Self> {
        let text = |key: &str| found[key].as_str().map(str::to_owned);
        let since = text("since")?;
        parse_rfc3339(&since)?;
        Some(Self {
            reference: text("reference")?,
            digest: text("digest")?,
            since,
            settled: text("settled"),
            moves: found["moves"].as_u64().unwrap_or(0),
            moves_since: text("moves_since"),
            gone: text("gone"),
        })
    }

    fn since(&self) -> Option<SystemTime> {
        parse_rfc3339(&self.since)
    }

    /// The tag moved to another digest.
    fn move_to(&mut self, digest: &str, now: SystemTime) {
        let was_followed = self.settled.as_ref() == Some(&self.digest);
        if was_followed || self.moves == 0 {
            self.moves = 0;
            self.moves_since = Some(rfc3339(now));
        }
        self.moves += 1;
        digest.clone_into(&mut self.digest);
        self.since = rfc3339(now);
    }
}

impl Sightings {
    /// Restores the sights of an earlier process.
    #[must_use]
    pub fn restore(mut list: Vec<Sighting>) -> Self {
        list.truncate(MOST);
        let mut inner = Inner::default();
        inner.set(list);
        Self(Mutex::new(inner))
    }

    /// All sights for the state file. If there are too many, those that are followed come first.
    #[must_use]
    pub fn list(&self) -> Vec<Sighting> {
        let inner = self.lock();
        let (gone, mut list): (Vec<&Sighting>, Vec<&Sighting>) =
            inner.all.iter().partition(|one| one.gone.is_some());
        list.extend(gone);
        list.into_iter().take(MOST).cloned().collect()
    }

    /// Remembers that a tag points at `digest` now.
    pub fn see(&self, reference: &Reference, digest: &Digest, now: SystemTime) {
        let mut inner = self.lock();
        let (name, digest) = (reference.to_string(), digest.as_str());
        let Some(one) = inner.find(&name) else {
            inner.make_room();
            let place = inner.all.len();
            inner.all.push(Sighting::new(name.clone(), digest, now));
            inner.index.insert(name, place);
            inner.has_changed = true;
            return;
        };
        // A time to come was written while the clock was wrong.
        let is_impossible = one.since().is_none_or(|since| since > now);
        if one.digest != digest {
            one.move_to(digest, now);
        } else if is_impossible {
            one.since = rfc3339(now);
        } else {
            return;
        }
        inner.has_changed = true;
    }

    /// Since when the tag has pointed at `digest`. `None` if it was last seen at another one.
    #[must_use]
    pub fn since(&self, reference: &Reference, digest: &Digest) -> Option<SystemTime> {
        let mut inner = self.lock();
        let one = inner.find(&reference.to_string())?;
        (one.digest == digest.as_str()).then(|| one.since())?
    }

    /// The digest of a reference that needs nothing more, also in the eyes of an earlier process.
    #[must_use]
    pub fn settled(&self, reference: &str) -> Option<String> {
        self.lock().find(reference)?.settled.clone()
    }

    /// Remembers that `digest` needs nothing more.
    pub fn settle(&self, reference: &str, digest: &str) {
        let mut inner = self.lock();
        let one = inner.find(reference);
        let is_new = |one: &&mut Sighting| one.moves > 0 || one.settled.as_deref() != Some(digest);
        if let Some(one) = one.filter(is_new) {
            one.settled = Some(digest.to_owned());
            one.moves = 0;
            one.moves_since = None;
            inner.has_changed = true;
        }
    }

    /// Says how often a tag moved without being followed, if that happened several times in a row.
    #[must_use]
    pub fn restless(&self, reference: &Reference, now: SystemTime) -> Option<String> {
        let mut inner = self.lock();
        let one = inner.find(&reference.to_string())?;
        let since = parse_rfc3339(one.moves_since.as_deref()?)?;
        let span = now.duration_since(since).unwrap_or_default().as_secs();
        // More exact than an hour would only be hard to read.
        let span = Duration::from_secs(span.div_ceil(3600) * 3600);
        let moves = one.moves;
        (moves >= RESTLESS).then(|| format!("moved {moves} times in {}", print_duration(span)))
    }

    /// Forgets the settled digests of all other references, because one that comes back counts as new, unless its update
    /// waits. The references themselves are forgotten some time later.
    pub fn keep_only<'r>(&self, followed: impl Iterator<Item = &'r Reference>, now: SystemTime) {
        let followed: HashSet<String> = followed.map(ToString::to_string).collect();
        let mut inner = self.lock();
        for one in &mut inner.all {
            if followed.contains(&one.reference) {
                one.gone = None;
            } else if one.gone.is_none() {
                one.gone = Some(rfc3339(now));
                // An update that waits for days is not lost because its container is away for a moment.
                if one.settled.as_ref() == Some(&one.digest) {
                    one.settled = None;
                }
            }
        }
        let is_kept = |one: &Sighting| {
            let gone = one.gone.as_deref().and_then(parse_rfc3339);
            let gone_for = gone.and_then(|since| now.duration_since(since).ok());
            gone_for.is_none_or(|time| time < KEPT)
        };
        if !inner.all.iter().all(is_kept) {
            let mut all = std::mem::take(&mut inner.all);
            all.retain(is_kept);
            inner.set(all);
        }
    }

    /// Whether anything is new since the last call.
    pub(super) fn take_changes(&self) -> bool {
        std::mem::take(&mut self.lock().has_changed)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn find(&mut self, reference: &str) -> Option<&mut Sighting> {
        let place = *self.index.get(reference)?;
        self.all.get_mut(place)
    }

    fn set(&mut self, all: Vec<Sighting>) {
        let numbered = all.iter().enumerate();
        let index = numbered.map(|(place, one)| (one.reference.clone(), place));
        self.index = index.collect();
        self.all = all;
    }

    /// Forgets one reference that nothing follows, if there are too many.
    fn make_room(&mut self) {
        if self.all.len() < MOST {
            return;
        }
        if let Some(place) = self.all.iter().position(|one| one.gone.is_some()) {
            let mut all = std::mem::take(&mut self.all);
            all.remove(place);
            self.set(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn digest(of: char) -> Digest {
        let digest = format!("sha256:{}", of.to_string().repeat(64));
        digest.parse().expect("valid")
    }

    fn reference(name: &str) -> Reference {
        name.parse().expect("valid")
    }

    fn noon() -> SystemTime {
        parse_rfc3339("2026-11-29T12:00:00Z").expect("a time")
    }

    #[test]
    fn only_a_move_starts_the_clock_anew() {
        let (nginx, one) = (reference("nginx"), Sightings::default());
        assert_eq!(one.since(&nginx, &digest('1')), None);
        one.see(&nginx, &digest('1'), noon());
        assert!(one.take_changes());
        one.see(&nginx, &digest('1'), noon() + HOUR);
        assert!(!one.take_changes(), "another look changes nothing");
        assert_eq!(one.since(&nginx, &digest('1')), Some(noon()));
        assert_eq!(one.since(&nginx, &digest('2')), None);
        let list = one.list();
        let written = serde_json::to_value(&list[0]).expect("JSON");
        assert_eq!(Sighting::read(&written).as_ref(), Some(&list[0]));
        let again = Sightings::restore(list);
        again.keep_only([&nginx].into_iter(), noon() + HOUR);
        again.see(&nginx, &digest('1'), noon() + HOUR);
        assert_eq!(again.since(&nginx, &digest('1')), Some(noon()));
        again.see(&nginx, &digest('2'), noon() + HOUR);
        assert_eq!(again.since(&nginx, &digest('2')), Some(noon() + HOUR));
        // Back again: it may have been withdrawn in between.
        again.see(&nginx, &digest('1'), noon() + HOUR * 2);
        assert_eq!(again.since(&nginx, &digest('1')), Some(noon() + HOUR * 2));
    }

    #[test]
    fn a_time_to_come_is_corrected() {
        let (nginx, one) = (reference("nginx"), Sightings::default());
        one.see(&nginx, &digest('1'), noon() + HOUR * 9000);
        one.see(&nginx, &digest('1'), noon());
        assert_eq!(one.since(&nginx, &digest('1')), Some(noon()));
    }

    #[test]
    fn a_tag_that_moves_too_often_is_said() {
        let (nginx, one) = (reference("nginx"), Sightings::default());
        let (name, mut now) = (nginx.to_string(), noon());
        one.see(&nginx, &digest('1'), now);
        one.settle(&name, digest('1').as_str());
        for (to, expected) in [
            ('2', None),
            ('3', None),
            ('4', Some("moved 3 times in 2d")),
            ('5', Some("moved 4 times in 3d")),
        ] {
            now += HOUR * 24;
            one.see(&nginx, &digest(to), now);
            assert_eq!(one.restless(&nginx, now).as_deref(), expected, "{to}");
        }
        one.settle(&name, digest('5').as_str());
        assert_eq!(one.restless(&nginx, now), None);
        for to in ['6', '7'] {
            one.see(&nginx, &digest(to), now);
            assert_eq!(one.restless(&nginx, now), None);
        }
    }

    #[test]
    fn a_reference_that_comes_back_counts_as_new_but_keeps_its_clock() {
        let (nginx, one) = (reference("nginx"), Sightings::default());
        one.see(&nginx, &digest('1'), noon());
        one.settle(&nginx.to_string(), digest('1').as_str());
        one.keep_only([&nginx].into_iter(), noon());
        let settled = digest('1').to_string();
        assert_eq!(one.settled(&nginx.to_string()), Some(settled));
        one.keep_only([].into_iter(), noon());
        assert_eq!(one.settled(&nginx.to_string()), None);
        let waits = reference("waits");
        one.see(&waits, &digest('1'), noon());
        one.settle(&waits.to_string(), digest('1').as_str());
        one.see(&waits, &digest('2'), noon());
        one.keep_only([].into_iter(), noon());
        let settled = digest('1').to_string();
        assert_eq!(one.settled(&waits.to_string()), Some(settled));
        one.keep_only([].into_iter(), noon() + KEPT - HOUR);
        assert_eq!(one.since(&nginx, &digest('1')), Some(noon()));
        one.keep_only([].into_iter(), noon() + KEPT);
        assert_eq!(one.list(), []);
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let one = Sightings::default();
        for number in 0..MOST + 3 {
            let now = noon() + HOUR * u32::try_from(number).expect("small");
            one.see(&reference(&format!("image-{number}")), &digest('1'), now);
        }
        assert_eq!(one.list().len(), MOST);
        let last = reference(&format!("image-{}", MOST + 2));
        assert!(one.since(&last, &digest('1')).is_some(), "it is followed");
        one.keep_only([&last].into_iter(), noon());
        assert_eq!(one.list()[0].reference, last.to_string());
        one.see(&reference("another"), &digest('1'), noon());
        assert_eq!(one.since(&reference("image-0"), &digest('1')), None);
    }
}
