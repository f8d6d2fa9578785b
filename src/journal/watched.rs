//! One watched reference, as the status shows it.

use super::standing::Judged;
use super::standing::Standing;
use super::standing::Survey;
use super::verdict::Found;
use super::verdict::Verdict;
use super::versions::Versions;
use super::waiting::Waiting;
use crate::reference::Digest;
use crate::time::rfc3339;
use serde::Serialize;
use std::time::SystemTime;

/// One watched reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Watched {
    /// The reference in canonical form.
    pub reference: String,
    /// The name in reports: the runtime's, or the reference again.
    pub name: String,
    /// The digest that needs no refresh any more.
    pub seen_digest: Option<String>,
    /// The digest that the registry answered last.
    pub registry_digest: Option<String>,
    /// The state of the reference.
    pub state: Standing,
    /// The updates that wait for their time, each with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Waiting>,
    /// The last error, until a look-up or a refresh succeeds.
    pub last_error: Option<String>,
    /// When the registry was asked last (RFC 3339).
    pub last_check: Option<String>,
    /// The digest that the last survey compared with, and what it found out about the images of the containers.
    #[serde(skip)]
    pub surveyed: Option<(String, Vec<Judged>)>,
    /// The facts that the images tell about themselves.
    #[serde(rename = "version", skip_serializing_if = "Versions::is_empty")]
    pub versions: Versions,
    /// The tag of a newer version in the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newer: Option<String>,
}

impl Watched {
    /// Whether a container with this image runs another image than the registry has, as far as the last survey tells.
    #[must_use]
    pub fn is_behind(&self, image_id: &str) -> Option<bool> {
        let (digest, judged) = self.surveyed.as_ref()?;
        let mut judged = judged.iter();
        let found = judged.find(|one| one.image_id == image_id)?;
        (self.registry_digest.as_ref() == Some(digest)).then_some(found.is_behind)
    }

    /// Takes over the findings of a survey.
    pub fn survey(&mut self, survey: &Survey, digest: &Digest) {
        self.state = self.shown(survey.standing);
        self.last_error.clone_from(&survey.rejection);
        self.surveyed = Some((digest.to_string(), survey.judged.clone()));
        self.versions.clone_from(&survey.versions);
    }

    /// The state to show: an update that waits is no reason to worry.
    fn shown(&self, standing: Standing) -> Standing {
        match standing {
            Standing::Outdated if !self.waiting.is_empty() => Standing::Waiting,
            standing => standing,
        }
    }

    /// Takes over the updates that wait.
    pub fn wait(&mut self, waiting: Vec<Waiting>) {
        self.waiting = waiting;
        self.state = match self.state {
            Standing::Waiting if self.waiting.is_empty() => Standing::Outdated,
            Standing::Rejected | Standing::Local => self.state,
            _ if self.waiting.is_empty() => self.state,
            _ => Standing::Waiting,
        };
    }

    pub(super) fn new(reference: String, name: String, seen_digest: Option<String>) -> Self {
        Self {
            reference,
            name,
            seen_digest,
            waiting: Vec::new(),
            registry_digest: None,
            state: Standing::Unknown,
            last_error: None,
            last_check: None,
            surveyed: None,
            versions: Versions::default(),
            newer: None,
        }
    }

    pub(super) fn apply(&mut self, verdict: &Verdict, found: Option<&Found>) {
        match verdict {
            Verdict::NotYet(waiting) => self.waiting.clone_from(waiting),
            Verdict::Done | Verdict::Rejected(_) if found.is_some_and(|found| found.is_of_all) => {
                self.waiting.clear();
            }
            _ => {}
        }
        let survey = found.and_then(|found| found.survey.as_ref());
        let standing = survey.map(|survey| survey.standing);
        let rejection = || survey.and_then(|survey| survey.rejection.clone());
        (self.state, self.last_error) = match verdict {
            Verdict::Done => (standing.unwrap_or(Standing::Current), rejection()),
            Verdict::Noticed => (standing.unwrap_or(Standing::Outdated), rejection()),
            Verdict::NotYet(_) => (standing.unwrap_or(Standing::Outdated), rejection()),
            Verdict::Local => (Standing::Local, None),
            Verdict::Rejected(reason) => (Standing::Rejected, Some(reason.clone())),
            Verdict::Unverified(error) => {
                (Standing::not_pulled(error), Some(error.words().to_owned()))
            }
            Verdict::Retry(reason)
            | Verdict::Later(reason)
            | Verdict::Waits(reason)
            | Verdict::Stale(reason) => {
                // A pull that failed does not change what runs.
                let before = match self.state {
                    Standing::Refreshing => Standing::Outdated,
                    before => before,
                };
                (standing.unwrap_or(before), Some(reason.clone()))
            }
        };
        self.state = self.shown(self.state);
        let Some(found) = found else { return };
        let digest = found.digest.to_string();
        self.surveyed = survey.map(|survey| (digest.clone(), survey.judged.clone()));
        if let Some(survey) = survey {
            self.versions.clone_from(&survey.versions);
        }
        self.last_check = Some(rfc3339(SystemTime::now()));
        self.registry_digest = Some(digest.clone());
        let is_over = matches!(
            verdict,
            Verdict::Done | Verdict::Noticed | Verdict::Rejected(_)
        );
        if found.is_of_all && is_over {
            self.seen_digest = Some(digest);
        }
    }
}
