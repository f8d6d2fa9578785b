//! The state of a reference: the registry's image compared with the image here and with the containers.

use super::versions::Versions;
use super::waiting::Waiting;
use crate::error::Error;
use crate::error::Kind;
use crate::labels::Consent;
use crate::reference::Target;
use serde::Serialize;

/// The state of one reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The registry was not asked yet, or never with success.
    Unknown,
    /// Every container runs the registry's image. Without a container, the image here is the registry's.
    Current,
    /// The containers are being updated to the registry's image.
    Refreshing,
    /// The registry has another digest than a container runs, or than was pulled. An index that moved for other
    /// platforms only is `Current` again once it was pulled.
    Outdated,
    /// The registry has another digest, which needs a signature and has none.
    Unsigned,
    /// The registry has another digest, which needs a signature. None of those that it has is good.
    BadlySigned,
    /// The registry has another digest, which waits for its minimum age, its window, or its owner.
    Waiting,
    /// The registry's image did not come up, and is not tried again. The next image will be tried.
    Rejected,
    /// The image was built here, or comes from no registry for another reason. It is left alone.
    Local,
    /// Neither a container nor an image of this reference is here.
    Absent,
    /// The look-up failed.
    Failed,
}

impl Standing {
    /// Each state and its name.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Absent, "absent"),
        (Self::BadlySigned, "badly_signed"),
        (Self::Current, "current"),
        (Self::Failed, "failed"),
        (Self::Local, "local"),
        (Self::Outdated, "outdated"),
        (Self::Refreshing, "refreshing"),
        (Self::Rejected, "rejected"),
        (Self::Unknown, "unknown"),
        (Self::Unsigned, "unsigned"),
        (Self::Waiting, "waiting"),
    ];

    /// The state of an image that is not pulled for this reason.
    #[must_use]
    pub fn not_pulled(error: &Error) -> Self {
        match error.kind() {
            Kind::Unverified { is_bad: true } => Self::BadlySigned,
            Kind::Unverified { .. } => Self::Unsigned,
            _ => Self::Failed,
        }
    }

    /// Whether the registry has another image than the one in use, and no update runs.
    #[must_use]
    pub fn is_behind(self) -> bool {
        match self {
            Self::Outdated
            | Self::Unsigned
            | Self::BadlySigned
            | Self::Waiting
            | Self::Rejected => true,
            Self::Unknown
            | Self::Current
            | Self::Refreshing
            | Self::Local
            | Self::Absent
            | Self::Failed => false,
        }
    }

    /// The name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(one, _)| *one == self);
        found.map_or("", |(_, name)| *name)
    }
}

/// The findings on a reference whose registry answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The state of the reference.
    pub standing: Standing,
    /// The reason why the registry's image is rejected, if it is.
    pub rejection: Option<String>,
    /// Whether the tag means the registry's image here, too.
    pub is_pulled: bool,
    /// The containers that run another image than the registry has.
    pub behind: Vec<Behind>,
    /// The images of all containers.
    pub judged: Vec<Judged>,
    /// The facts that the images tell about themselves.
    pub versions: Versions,
}

/// An image of a container, compared with the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The image's id.
    pub image_id: String,
    /// Whether the registry has another one.
    pub is_behind: bool,
}

/// A container that runs another image than the registry has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// The container's name.
    pub name: String,
    /// The consent of the container's owner.
    pub consent: Consent,
    /// Whether the container also runs another image than its tag means here.
    pub is_older_than_here: bool,
    /// Whether it is a Swarm service, whose nodes pull for themselves.
    pub is_service: bool,
}

impl Survey {
    /// The names of the containers that are behind. If only the image is behind, the name of the target.
    pub fn names<'s>(&'s self, target: &'s Target) -> impl Iterator<Item = &'s str> {
        let alone = self.behind.is_empty() && self.standing == Standing::Outdated;
        let names = self.behind.iter().map(|one| one.name.as_str());
        names.chain(alone.then_some(target.name.as_str()))
    }

    /// Whether every container that is behind, and whose owner wants updates, is among those that wait.
    #[must_use]
    pub fn waits(&self, waiting: &[Waiting]) -> bool {
        let is_free = |one: &Behind| {
            let is_updated = one.consent == Consent::Update;
            is_updated && !waiting.iter().any(|other| other.name == one.name)
        };
        !waiting.is_empty() && !self.behind.iter().any(is_free)
    }

    /// Whether an update needs an image that is not here, as far as the tag tells.
    #[must_use]
    pub fn is_due_from_registry(&self) -> bool {
        let is_due = self.standing == Standing::Outdated;
        is_due && (!self.is_pulled || self.behind.iter().any(|one| one.is_service))
    }

    /// Whether this container runs another image than the registry has.
    #[must_use]
    pub fn is_behind(&self, container: &str) -> bool {
        self.behind.iter().any(|one| one.name == container)
    }
}
