//! The books of a refresh, from its pulls to its report.

use super::Extent;
use super::Images;
use super::Target;
use super::Verdict;
use super::is_at;
use crate::engine::Image;
use crate::progress::Step;
use crate::reference::Reference;
use crate::report::Reasoned;
use crate::report::Report;
use crate::select::Consent;
use crate::select::Managed;
use std::collections::BTreeSet;
use std::collections::HashMap;

/// One image of a refresh, while it goes on.
pub(super) struct Work<'o> {
    pub(super) target: &'o Target,
    /// What is behind its reference on the Engine.
    pub(super) image: Image,
    pub(super) verdict: Verdict,
    /// Why no more containers are renewed.
    pub(super) ended: Option<String>,
    /// The id of the image that was behind the reference before, and did not come up.
    pub(super) tried: Option<String>,
}

impl Work<'_> {
    /// What came of it. A mirror that the Engine pulls from may be behind its registry by hours; what it
    /// has is no less good for that, but the last word on what moved is not spoken.
    pub(super) fn verdict_on(self, images: &Images) -> Verdict {
        let reference = &self.target.reference;
        let (Images::Moved(moved), Verdict::Done | Verdict::Rejected(_)) = (images, &self.verdict)
        else {
            return self.verdict;
        };
        let mut missed = None;
        for (_, digest) in moved
            .iter()
            .filter(|(target, _)| target.reference == *reference)
        {
            if is_at(&self.image, reference, digest) {
                return self.verdict;
            }
            missed = Some(digest);
        }
        // Where the Engine knows no digest, nothing can be said.
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
    pub(super) index: HashMap<Reference, usize>,
    /// Pairs of an older and a newest image, by id, and whether they are the same but for that.
    pub(super) twins: HashMap<(String, String), bool>,
    pub(super) report: &'r mut Report,
    /// The only containers to renew, if there is such a choice.
    pub(super) only: Option<Vec<String>>,
    /// The containers that may be renewed, by name.
    pub(super) updates: BTreeSet<String>,
    /// The ids of images that containers no longer run, or never will.
    pub(super) replaced: BTreeSet<String>,
    pub(super) on: &'r dyn Fn(&Step),
}

impl<'r, 'o> Round<'r, 'o> {
    pub(super) fn new(
        extent: Extent,
        works: &'r mut [Work<'o>],
        report: &'r mut Report,
        on: &'r dyn Fn(&Step),
    ) -> Self {
        let numbered = works.iter().enumerate();
        // To collect them would sort them first, which is 5 KB of code.
        let mut replaced = BTreeSet::new();
        replaced.extend(works.iter().filter_map(|work| work.tried.clone()));
        let index = numbered.map(|(number, work)| (work.target.reference.clone(), number));
        Self {
            extent,
            index: index.collect(),
            twins: HashMap::new(),
            only: None,
            works,
            report,
            updates: BTreeSet::new(),
            replaced,
            on,
        }
    }

    /// What there is to know of an image, if this round is about it.
    pub(super) fn work(&self, reference: &Reference) -> Option<&Work<'o>> {
        self.works.get(*self.index.get(reference)?)
    }

    /// Whether a container runs the newest image already, or one that differs from it in nothing.
    pub(super) fn is_newest(&self, one: &Managed, image: &Image) -> bool {
        let old = one.container.image_id();
        let pair = (old.to_owned(), image.id().to_owned());
        old == image.id() || self.twins.get(&pair).is_some_and(|is_twin| *is_twin)
    }

    /// The newest image of a container that is to be renewed.
    pub(super) fn image_due(&self, one: &Managed) -> Option<&Image> {
        let work = self.work(&one.reference)?;
        let behind = !self.is_newest(one, &work.image) || self.extent == Extent::Force;
        let may = work.ended.is_none() && one.consent == Consent::Update;
        (behind && may).then_some(&work.image)
    }

    /// Nothing is renewed; the next round tries again.
    pub(super) fn put_off(&mut self, reason: &str) {
        for work in self.works.iter_mut().filter(|work| work.ended.is_none()) {
            work.ended = Some(reason.to_owned());
            work.verdict = Verdict::Retry(reason.to_owned());
        }
    }

    /// A container is not renewed. `failed` tells whether another try may help.
    pub(super) fn skip(
        &mut self,
        one: &Managed,
        image: &Image,
        reason: String,
        failed: bool,
    ) -> Verdict {
        let name = one.container.name();
        self.report.skipped.push(Reasoned::new(name, &*reason));
        (self.on)(&Step::Skipped {
            container: name.to_owned(),
            image: one.reference.to_string(),
            new: image.id().to_owned(),
            reason: reason.clone(),
            failed,
        });
        Verdict::Retry(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Digest;
    use serde_json::json;

    #[test]
    fn what_was_pulled_is_compared_with_what_moved() {
        let target = Target {
            name: "a".to_owned(),
            reference: "a".parse().expect("valid"),
        };
        let digest = |of: char| format!("sha256:{}", of.to_string().repeat(64));
        let moved = |to: char| (target.clone(), digest(to).parse().expect("valid"));
        let verdict = |pulled: &[String], verdict: Verdict, moved: &[(Target, Digest)]| {
            let work = Work {
                target: &target,
                image: Image::new(json!({"Id": "sha256:x", "RepoDigests": pulled})),
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
            // It was not the new image that did not come up.
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
