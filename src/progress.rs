//! What a refresh is doing, step by step: for whoever waits for it, and for the books.

use serde::Serialize;

/// One step. As JSON it is a line of an `application/x-ndjson` answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// The work goes on, and there is no more to say of it.
    Alive,
    /// The Engine is asked to pull an image.
    Pulling {
        /// The reference.
        image: String,
    },
    /// It pulls; as often as the Engine says so.
    Layer {
        /// The reference.
        image: String,
        /// The layer's short id, or the tag.
        layer: String,
        /// The Engine's word, e.g. `Downloading`.
        status: String,
        /// Bytes of this layer that are done; 0 where the Engine does not say.
        current: u64,
        /// Bytes it has; 0 where the Engine does not say.
        total: u64,
    },
    /// The image is here.
    Pulled {
        /// The reference.
        image: String,
        /// How long that took.
        seconds: f64,
    },
    /// The image could not be pulled.
    PullFailed {
        /// The reference.
        image: String,
        /// Why, on one line.
        reason: String,
    },
    /// A container is behind, and its owner only wants to know.
    Behind {
        /// The container's name.
        container: String,
        /// The reference.
        image: String,
        /// The newest digest, or the id of the newest image that is here.
        new: String,
    },
    /// A swap has come this far.
    Swap {
        /// The container's name.
        container: String,
        /// `create`, `stop`, `start`, `accept`, `undo`.
        phase: &'static str,
    },
    /// A container runs a newer image now.
    Recreated {
        /// The container's name.
        container: String,
        /// The reference.
        image: String,
        /// The id of the image it ran.
        old: String,
        /// The id of the image it runs.
        new: String,
        /// How long it was not running; `None` if it had not been.
        downtime_seconds: Option<f64>,
    },
    /// A successor was not accepted; the old container runs again.
    RolledBack {
        /// The container's name.
        container: String,
        /// The reference.
        image: String,
        /// The id of the image it runs.
        old: String,
        /// The id of the image that was tried.
        new: String,
        /// Why, on one line.
        reason: String,
    },
    /// A container was not renewed though it is behind.
    Skipped {
        /// The container's name.
        container: String,
        /// The reference.
        image: String,
        /// The id of the image it should run.
        new: String,
        /// Why, on one line.
        reason: String,
        /// Whether another try may help: something failed.
        failed: bool,
    },
}

/// What came of a container, or of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A container runs a newer image now.
    Recreated,
    /// A successor was not accepted; the old container runs again.
    RolledBack,
    /// An image could not be pulled.
    PullFailed,
    /// A container could not be renewed.
    Skipped,
    /// A container is behind, and its owner only wants to know.
    Behind,
}

/// A step that is an outcome.
#[derive(Debug, Clone, Copy)]
pub struct Happened<'s> {
    /// What came of it.
    pub outcome: Outcome,
    /// The container; none for a pull.
    pub container: Option<&'s str>,
    /// The reference.
    pub image: &'s str,
    /// The id of the image the container ran.
    pub old: Option<&'s str>,
    /// The id, or the digest, of the newer one.
    pub new: Option<&'s str>,
    /// Why, on one line.
    pub reason: Option<&'s str>,
    /// How long the container was not running.
    pub downtime_seconds: Option<f64>,
}

impl Step {
    /// What came of it, if that is what this step tells.
    #[must_use]
    pub fn happened(&self) -> Option<Happened<'_>> {
        let (outcome, container, image) = match self {
            Self::Recreated {
                container, image, ..
            } => (Outcome::Recreated, Some(container), image),
            Self::RolledBack {
                container, image, ..
            } => (Outcome::RolledBack, Some(container), image),
            Self::PullFailed { image, .. } => (Outcome::PullFailed, None, image),
            Self::Skipped {
                container,
                image,
                failed: true,
                ..
            } => (Outcome::Skipped, Some(container), image),
            Self::Behind {
                container, image, ..
            } => (Outcome::Behind, Some(container), image),
            _ => return None,
        };
        let (mut old_image, mut new_image, mut why, mut downtime) = (None, None, None, None);
        if let Self::Recreated { old, .. } | Self::RolledBack { old, .. } = self {
            old_image = Some(old.as_str());
        }
        if let Self::Recreated { new, .. }
        | Self::RolledBack { new, .. }
        | Self::Skipped { new, .. }
        | Self::Behind { new, .. } = self
        {
            new_image = Some(new.as_str());
        }
        if let Self::RolledBack { reason, .. }
        | Self::PullFailed { reason, .. }
        | Self::Skipped { reason, .. } = self
        {
            why = Some(reason.as_str());
        }
        if let Self::Recreated {
            downtime_seconds, ..
        } = self
        {
            downtime = *downtime_seconds;
        }
        Some(Happened {
            outcome,
            container: container.map(String::as_str),
            image,
            old: old_image,
            new: new_image,
            reason: why,
            downtime_seconds: downtime,
        })
    }
}

/// So many digits in a row are a number that is another one each time.
const VARYING: usize = 5;

/// A reason without what differs each time: the port of a connection, the name of a temporary file.
/// For telling whether something failed as before, not for showing.
#[must_use]
pub fn steady(reason: &str) -> String {
    let mut steady = String::with_capacity(reason.len());
    let mut rest = reason;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(at);
        let end = number.find(|c: char| !c.is_ascii_digit());
        let (number, after) = number.split_at(end.unwrap_or(number.len()));
        steady.push_str(before);
        steady.push_str(if number.len() < VARYING { number } else { "#" });
        rest = after;
    }
    steady.push_str(rest);
    steady
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_same_with_another_port_or_temporary_file() {
        for (one, other) in [
            (
                "read udp 10.0.0.5:39847->10.0.0.2:53: i/o timeout",
                "read udp 10.0.0.5:60111->10.0.0.2:53: i/o timeout",
            ),
            (
                "write /data/tmp/GetImageBlob402178: no space left on device",
                "write /data/tmp/GetImageBlob99817264: no space left on device",
            ),
        ] {
            assert_eq!(steady(one), steady(other));
        }
        for (one, other) in [
            ("it exited with code 1", "it exited with code 2"),
            ("a:5000", "a:5001"),
        ] {
            assert_ne!(steady(one), steady(other));
        }
        assert_eq!(steady("é 12345 é1"), "é # é1");
    }
}
