//! The state of a refresh between its pulls and its report.

use super::Extent;
use super::Images;
use super::is_at;
use super::managed::Managed;
use super::managed::Unreadable;
use super::select::Consent;
use crate::engine::Image;
use crate::journal::Event;
use crate::journal::Outcome;
use crate::journal::Report;
use crate::journal::Step;
use crate::journal::Verdict;
use crate::policy::Asked;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::Target;
use crate::swap::Part;
use std::collections::HashMap;
use std::collections::HashSet;

/// One image of a refresh, and the updates to it.
pub(super) struct Work<'o> {
    pub(super) target: &'o Target,
    /// The image that the Engine has under the reference. It is an outline until a container is due.
    pub(super) image: Image,
    /// The digest that the registry has, if this refresh saw one.
    pub(super) digest: Option<Digest>,
    /// If the tag does not mean the image yet: the id of the image that the tag means, or an empty text.
    pub(super) tagged: Option<String>,
    /// The names of the only containers to update. `None` means all.
    pub(super) only: Option<Vec<String>>,
    pub(super) verdict: Verdict,
    /// The reason not to update any more containers to this image.
    pub(super) ended: Option<String>,
    /// The id of the earlier image of the reference that did not come up.
    pub(super) tried: Option<String>,
}

impl Work<'_> {
    /// Returns the verdict for the watcher. The Engine may pull from a mirror that is hours behind the registry.
    /// The update to the mirror's image stands, but the digest that moved is still to come.
    pub(super) fn verdict_on(self, images: &Images) -> Verdict {
        let reference = &self.target.reference;
        let (Images::Moved(moved), Verdict::Done | Verdict::Noticed | Verdict::Rejected(_)) =
            (images, &self.verdict)
        else {
            return self.verdict;
        };
        let mut missed = self.digest.as_ref();
        if missed.is_some_and(|digest| is_at(&self.image, reference, digest)) {
            return self.verdict;
        }
        for one in moved
            .iter()
            .filter(|one| one.target.reference == *reference)
        {
            if is_at(&self.image, reference, &one.digest) {
                return self.verdict;
            }
            missed = Some(&one.digest);
        }
        // Without a digest from the Engine there is nothing to compare.
        let found = self.image.digests_of(reference).last();
        let (Some(digest), Some(found)) = (missed, found) else {
            return self.verdict;
        };
        Verdict::Stale(format!(
            "the Engine pulled {reference} as {found}, but its registry has {digest}: is there a mirror that is behind?"
        ))
    }
}

/// A refresh after the pulls.
pub(super) struct Round<'r, 'o> {
    pub(super) extent: Extent,
    pub(super) works: &'r mut [Work<'o>],
    /// The place in `works`, by reference.
    pub(super) index: HashMap<&'o Reference, usize>,
    /// Pairs of image ids, older and newest, and whether both images are equal but for the id.
    pub(super) equal_images: HashMap<(String, String), bool>,
    /// Older images that were inspected, the ones that containers run.
    pub(super) old_images: Vec<Image>,
    pub(super) report: &'r mut Report,
    /// The names of the only containers to update. `None` means all managed ones.
    pub(super) only: Option<Vec<String>>,
    /// Who asked for containers to go back to an earlier image, if that is what this refresh does.
    pub(super) back_by: Option<String>,
    /// The origin of the order.
    pub(super) asked: Asked,
    /// Managed containers that the Engine cannot inspect.
    pub(super) unreadable: Vec<Unreadable>,
    /// The names of the containers that may be updated.
    pub(super) updates: HashSet<String>,
    /// The ids of images that were rejected, and of earlier images that are not kept. Cleanup may remove them.
    pub(super) replaced: HashSet<String>,
    pub(super) on: &'r (dyn Fn(&Step) + Sync),
}

/// Whether the owner's labels, and the container's state, allow an update.
pub(super) fn may_be_updated(one: &Managed) -> bool {
    one.consent == Consent::Update && one.left_alone.is_none() && !one.stays_stopped
}

impl<'r, 'o> Round<'r, 'o> {
    pub(super) fn new(
        extent: Extent,
        works: &'r mut [Work<'o>],
        report: &'r mut Report,
        on: &'r (dyn Fn(&Step) + Sync),
    ) -> Self {
        let numbered = works.iter().enumerate();
        let replaced = works.iter().filter_map(|work| work.tried.clone());
        let replaced = replaced.collect();
        let index = numbered.map(|(number, work)| (&work.target.reference, number));
        Self {
            extent,
            index: index.collect(),
            equal_images: HashMap::new(),
            old_images: Vec::new(),
            only: None,
            back_by: None,
            asked: Asked::ForAll,
            unreadable: Vec::new(),
            works,
            report,
            updates: HashSet::new(),
            replaced,
            on,
        }
    }

    /// Returns the work of a reference, if this refresh is about the reference.
    pub(super) fn work(&self, reference: &Reference) -> Option<&Work<'o>> {
        self.works.get(*self.index.get(reference)?)
    }

    /// Whether a container runs the newest image already, or an image that is equal but for its id.
    pub(super) fn is_newest(&self, one: &Managed, image: &Image) -> bool {
        let old = one.container.image_id();
        let pair = (old.to_owned(), image.id().to_owned());
        old == image.id() || self.equal_images.get(&pair) == Some(&true)
    }

    /// Returns the newest image, if the container is to be updated to it.
    pub(super) fn image_due(&self, one: &Managed) -> Option<&Image> {
        let work = self.work(&one.reference)?;
        let behind = !self.is_newest(one, &work.image) || self.extent == Extent::Force;
        let may = work.ended.is_none() && may_be_updated(one);
        (behind && may).then_some(&work.image)
    }

    /// Whether any of these containers is to be updated.
    pub(super) fn is_any_due(&self, managed: &[Managed]) -> bool {
        managed.iter().any(|one| self.image_due(one).is_some())
    }

    /// Returns an image that a container ran, if it was inspected.
    pub(super) fn old_image(&self, id: &str) -> Option<&Image> {
        self.old_images.iter().find(|image| image.id() == id)
    }

    /// Returns the image that a container ran, if it was inspected.
    pub(super) fn old_image_of(&self, one: &Managed) -> Option<&Image> {
        self.old_image(one.container.image_id())
    }

    /// Returns the images that these containers run, as far as they were inspected.
    pub(super) fn old_images_of(&self, parts: &[Part]) -> Vec<Image> {
        let ids = parts.iter().map(|part| part.old.image_id());
        ids.filter_map(|id| self.old_image(id)).cloned().collect()
    }

    /// Ends all updates of this refresh. The next round tries again.
    pub(super) fn put_off(&mut self, reason: &str) {
        self.put_off_as(Verdict::Retry, reason);
    }

    /// The same with a verdict that says when the next try comes.
    pub(super) fn put_off_as(&mut self, verdict: fn(String) -> Verdict, reason: &str) {
        for work in self.works.iter_mut().filter(|work| work.ended.is_none()) {
            work.ended = Some(reason.to_owned());
            work.verdict = verdict(reason.to_owned());
        }
    }

    /// Reports the containers that the Engine cannot inspect. The next round tries again.
    pub(super) fn skip_unreadable(&mut self) {
        for one in std::mem::take(&mut self.unreadable) {
            let Some(&index) = self.index.get(&one.reference) else {
                continue;
            };
            let work = &mut self.works[index];
            if work.image.id() == one.image_id {
                self.report.unchanged.push(one.name);
                continue;
            }
            let event = Event::of(Outcome::Skipped, &one.name, &one.reference.to_string())
                .to(work.image.id())
                .because(&one.reason);
            if work.verdict == Verdict::Done {
                work.verdict = Verdict::Retry(one.reason);
            }
            self.tell(event);
        }
    }

    /// Puts an event into the log and the report, and passes it on to the listeners.
    pub(super) fn tell(&mut self, event: Event) {
        event.log();
        self.tell_quietly(event);
    }

    /// The same without a log line, for events that have one already.
    pub(super) fn tell_quietly(&mut self, event: Event) {
        self.report.add(&event);
        (self.on)(&Step::Outcome(event));
    }

    /// Reports a container that is not updated.
    pub(super) fn skip(
        &mut self,
        one: &Managed,
        image: &Image,
        reason: String,
        why: Outcome,
    ) -> Verdict {
        skipped(one, image, &reason, why).log();
        self.skip_quietly(one, image, reason, why)
    }

    /// The same without a log line.
    pub(super) fn skip_quietly(
        &mut self,
        one: &Managed,
        image: &Image,
        reason: String,
        why: Outcome,
    ) -> Verdict {
        let event = skipped(one, image, &reason, why);
        self.tell_quietly(with_versions(event, self.old_image_of(one), image));
        Verdict::Retry(reason)
    }
}

/// Adds what the images tell about themselves. `old` is known only if it was inspected.
pub(super) fn with_versions(event: Event, old: Option<&Image>, new: &Image) -> Event {
    let old = old.map(Image::provenance).unwrap_or_default();
    let new = new.provenance();
    event.versions(old.version, new.version, new.source)
}

/// Makes the event of a container that is not updated: `Skipped` if another try may help, `LeftAlone` if not.
fn skipped(one: &Managed, image: &Image, reason: &str, why: Outcome) -> Event {
    Event::of(why, one.container.name(), &one.reference.to_string())
        .to(image.id())
        .because(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::Moved;
    use serde_json::json;

    #[test]
    fn an_event_tells_the_versions_of_both_images() {
        let image = |version: &str| {
            Image::new(json!({"Config": {"Labels": {
                "org.opencontainers.image.version": version,
                "org.opencontainers.image.source": "https://a.example/b",
            }}}))
        };
        let event = || Event::of(Outcome::Recreated, "web", "i");
        let told = with_versions(event(), Some(&image("1.3.9")), &image("1.4.0"));
        assert_eq!(told.old_version.as_deref(), Some("1.3.9"));
        assert_eq!(told.new_version.as_deref(), Some("1.4.0"));
        assert_eq!(told.source.as_deref(), Some("https://a.example/b"));
        let told = with_versions(event(), None, &Image::new(json!({})));
        assert_eq!(told, event());
    }

    #[test]
    fn what_was_pulled_is_compared_with_what_moved() {
        let target = Target {
            name: "a".to_owned(),
            reference: "a".parse().expect("valid"),
        };
        let digest = |of: char| format!("sha256:{}", of.to_string().repeat(64));
        let moved = |to: char| Moved {
            target: target.clone(),
            digest: digest(to).parse().expect("valid"),
            only: None,
        };
        let verdict = |pulled: &[String], verdict: Verdict, moved: &[Moved]| {
            let work = Work {
                target: &target,
                image: Image::new(json!({"Id": "sha256:x", "RepoDigests": pulled})),
                digest: None,
                tagged: None,
                only: None,
                verdict,
                ended: None,
                tried: None,
            };
            work.verdict_on(&Images::Moved(moved.to_vec()))
        };
        let pulled = |of: char| vec![format!("a@{}", digest(of))];
        let rejected = || Verdict::Rejected("it exited".to_owned());
        let retry = || Verdict::Retry("no".to_owned());
        let is_stale = |verdict: &Verdict| matches!(verdict, Verdict::Stale(_));
        for (found, expected) in [
            (
                verdict(&pulled('1'), Verdict::Done, &[moved('1')]),
                Some(Verdict::Done),
            ),
            (verdict(&pulled('1'), Verdict::Done, &[moved('2')]), None),
            // The rejected image is not the one that the tag moved to.
            (verdict(&pulled('1'), rejected(), &[moved('2')]), None),
            (
                verdict(&pulled('1'), rejected(), &[moved('1')]),
                Some(rejected()),
            ),
            (verdict(&pulled('1'), retry(), &[moved('2')]), Some(retry())),
            (
                verdict(&pulled('2'), Verdict::Done, &[moved('1'), moved('2')]),
                Some(Verdict::Done),
            ),
            (
                verdict(&[], Verdict::Done, &[moved('1')]),
                Some(Verdict::Done),
            ),
            (
                verdict(&pulled('1'), Verdict::Done, &[]),
                Some(Verdict::Done),
            ),
        ] {
            match expected {
                Some(expected) => assert_eq!(found, expected),
                None => assert!(is_stale(&found), "{found:?}"),
            }
        }
    }
}
