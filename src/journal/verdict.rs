//! The outcome of a refresh, and the verdict on each of its images.

use super::report::Report;
use super::standing::Survey;
use super::waiting::Waiting;
use crate::error::Error;
use crate::reference::Digest;
use crate::reference::Reference;

/// The outcome of one image, and whether it is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every container is up to date.
    Done,
    /// Something failed, and another try may help.
    Retry(String),
    /// A swap was rolled back for a reason other than the image, or could not begin. Each try may cause an
    /// outage, so tries become less and less frequent.
    Later(String),
    /// Nothing is tried until the owner has acted.
    Waits(String),
    /// The image needs a signature ([`Kind::Unverified`](crate::error::Kind::Unverified)). It is looked for again in each
    /// round.
    Unverified(Error),
    /// The time of some updates has not come.
    NotYet(Vec<Waiting>),
    /// The pulled image is not the registry's.
    Stale(String),
    /// There is a newer image, and the containers of the old one are left alone on purpose.
    Noticed,
    /// The image was built here, so it is left alone.
    Local,
    /// The image did not come up, and another try would only cause another outage.
    Rejected(String),
}

impl Verdict {
    /// Returns the worse of two verdicts on containers of one image. It decides on the next try.
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        let weight = |verdict: &Self| match verdict {
            Self::Done => 0,
            Self::Noticed | Self::Local => 1,
            Self::NotYet(_) => 2,
            Self::Waits(_) => 3,
            Self::Retry(_) | Self::Stale(_) | Self::Unverified(_) => 4,
            Self::Later(_) => 5,
            Self::Rejected(_) => 6,
        };
        if let (Self::NotYet(ours), Self::NotYet(theirs)) = (&self, &other) {
            return Self::NotYet([ours.as_slice(), theirs].concat());
        }
        if weight(&other) > weight(&self) {
            other
        } else {
            self
        }
    }
}

/// The outcome of a refresh.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcomes {
    /// The report for the caller.
    pub report: Report,
    /// The reason why the containers could not be listed, if so.
    pub list_error: Option<String>,
    /// The reason why nothing was begun, if the caller asked for something that is not so any more.
    pub refused: Option<String>,
    /// The verdict on each image.
    pub verdicts: Vec<(Reference, Verdict)>,
    /// The findings on each image.
    pub found: Vec<(Reference, Found)>,
}

/// The findings of a refresh on one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The digest that the image's tag points at.
    pub digest: Digest,
    /// The survey after the refresh, if the Engine could still be asked.
    pub survey: Option<Survey>,
    /// Whether the refresh was for all containers of the image.
    pub is_of_all: bool,
}

impl Outcomes {
    /// The verdict on `reference`, if there is one.
    #[must_use]
    pub fn verdict(&self, reference: &Reference) -> Option<Verdict> {
        let found = self.verdicts.iter().find(|(other, _)| other == reference);
        found.map(|(_, verdict)| verdict.clone())
    }

    /// Adds verdicts on images. The worse of two on one image counts.
    #[cold]
    pub fn add(&mut self, verdicts: Vec<(Reference, Verdict)>) {
        for (reference, verdict) in verdicts {
            let mut known = self.verdicts.iter_mut();
            match known.find(|(other, _)| *other == reference) {
                Some((_, known)) => {
                    let so_far = std::mem::replace(known, Verdict::Done);
                    *known = so_far.or_worse(verdict);
                }
                None => self.verdicts.push((reference, verdict)),
            }
        }
    }

    /// The findings on `reference`, if there are any.
    #[must_use]
    pub fn found(&self, reference: &Reference) -> Option<&Found> {
        let found = self.found.iter().find(|(other, _)| other == reference);
        found.map(|(_, found)| found)
    }
}
