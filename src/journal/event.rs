//! The steps of a refresh, and the events among them: the outcome of a container or of a pull.

use crate::error::headline;
use crate::reference::short;
use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;
use std::time::Duration;

/// One step. As JSON, a step is a line of an `application/x-ndjson` answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The work goes on, without anything to report.
    Alive,
    /// The Engine is asked to pull an image.
    Pulling {
        /// The reference of the image.
        image: String,
    },
    /// The Engine reports the progress of one layer.
    Layer {
        /// The reference of the image.
        image: String,
        /// The layer's short id, or the tag.
        layer: String,
        /// The Engine's word, e.g. `Downloading`.
        status: String,
        /// The bytes of this layer that are done; 0 if the Engine does not say.
        current: u64,
        /// The bytes of the whole layer; 0 if the Engine does not say.
        total: u64,
    },
    /// The image was pulled.
    Pulled {
        /// The reference of the image.
        image: String,
        /// The duration of the pull.
        seconds: f64,
    },
    /// A swap begins a phase.
    Swap {
        /// The container's name.
        container: String,
        /// The phase: `create`, `stop`, `start`, `accept` or `undo`. A recovery has the last one only, if the image is at
        /// fault.
        phase: &'static str,
    },
    /// A container or a pull has its outcome.
    Outcome(Event),
}

/// The outcome of a container, or of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The container runs a newer image now.
    Recreated,
    /// The successor was not accepted, and the old container runs again.
    RolledBack,
    /// The image could not be pulled.
    PullFailed,
    /// The container could not be updated. Another try may help.
    Skipped,
    /// The container is behind, and is left alone on purpose.
    LeftAlone,
    /// The container is behind, and its owner only wants a message.
    Behind,
    /// The container should run and does not: neither the successor nor the old container could be started.
    Down,
    /// An old container that a swap had stopped runs again.
    Back,
    /// The repository has a newer version under another tag. The event is about an image, not a container.
    Newer,
    /// The container runs the image again that it ran before, because its owner asked for that.
    Restored,
    /// The image needs a signature, and has none for a while. The event is about an image.
    Unsigned,
    /// The image needs a signature, and has none that is good. The event is about an image.
    BadlySigned,
    /// The owner decided about a container or an image. The reason says what: a hold, a skipped image, or the end of one.
    Decided,
}

impl Outcome {
    /// Each outcome and its name. `LeftAlone` has the name of `Skipped`; in JSON the two differ in `failed`.
    pub const ALL: [(Self, &str); 13] = [
        (Self::Recreated, "recreated"),
        (Self::RolledBack, "rolled_back"),
        (Self::PullFailed, "pull_failed"),
        (Self::Skipped, "skipped"),
        (Self::LeftAlone, "skipped"),
        (Self::Behind, "behind"),
        (Self::Down, "down"),
        (Self::Back, "back"),
        (Self::Newer, "newer"),
        (Self::Restored, "restored"),
        (Self::Unsigned, "unsigned"),
        (Self::BadlySigned, "badly_signed"),
        (Self::Decided, "decided"),
    ];

    /// The name in the API and in the state file.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The outcome of this name.
    pub(super) fn called(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, other)| *other == name);
        found.map(|(outcome, _)| *outcome)
    }
}

/// The outcome of a container or of a pull, with all its facts. Report, log, history, messages, counters and
/// the stream of a refresh are derived from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The kind of the outcome.
    pub outcome: Outcome,
    /// The container's name; `None` for a pull and a newer version.
    pub container: Option<String>,
    /// The reference of the image.
    pub image: String,
    /// The id of the image that the container ran, and runs again after a roll-back.
    pub old: Option<String>,
    /// The id of the image that the container runs, should run, or was tried with. For `Behind`, the newest
    /// digest.
    pub new: Option<String>,
    /// The digest of the old image in its registry, if it is known. After a prune, the image is pulled by it again.
    pub old_digest: Option<String>,
    /// The reason on one line. The last words of a container that did not come up follow below.
    pub reason: Option<String>,
    /// How long the container did not run; `None` if it did not run before either.
    pub downtime_seconds: Option<f64>,
    /// The version of the old image, if the image tells one. For `Newer`, the version in use.
    pub old_version: Option<String>,
    /// The version of the new image, if the image tells one. For `Newer`, the tag of the newer version.
    pub new_version: Option<String>,
    /// The link to the source of the new image, if the image tells one.
    pub source: Option<String>,
}

impl Event {
    /// An event of a container, without further facts.
    #[must_use]
    pub fn of(outcome: Outcome, container: &str, image: &str) -> Self {
        Self {
            outcome,
            container: Some(container.to_owned()),
            image: image.to_owned(),
            old: None,
            new: None,
            reason: None,
            downtime_seconds: None,
            old_version: None,
            new_version: None,
            source: None,
            old_digest: None,
        }
    }

    /// An event of a failed pull.
    #[must_use]
    pub fn pull_failed(image: &str, reason: &str) -> Self {
        Self {
            container: None,
            ..Self::of(Outcome::PullFailed, "", image)
        }
        .because(reason)
    }

    /// An event of an image that was not pulled, because it needs a signature.
    #[must_use]
    pub fn unverified(image: &str, digest: &str, is_bad: bool, reason: &str) -> Self {
        let outcome = [Outcome::Unsigned, Outcome::BadlySigned][usize::from(is_bad)];
        let event = Self::pull_failed(image, reason).to(digest);
        Self { outcome, ..event }
    }

    /// An event of a newer version of `image`.
    #[must_use]
    pub fn newer(image: &str, running: &str, newest: &str) -> Self {
        Self {
            container: None,
            ..Self::of(Outcome::Newer, "", image)
        }
        .versions(Some(running.to_owned()), Some(newest.to_owned()), None)
    }

    /// Adds the ids of the old and the new image.
    #[must_use]
    pub fn from_to(mut self, old: &str, new: &str) -> Self {
        self.old = Some(old.to_owned());
        self.to(new)
    }

    /// Adds the id of the new image.
    #[must_use]
    pub fn to(mut self, new: &str) -> Self {
        self.new = Some(new.to_owned());
        self
    }

    /// Adds a reason.
    #[must_use]
    pub fn because(mut self, reason: &str) -> Self {
        self.reason = Some(reason.to_owned());
        self
    }

    /// Adds the time in which the container did not run.
    #[must_use]
    pub fn after(mut self, downtime: Option<Duration>) -> Self {
        self.downtime_seconds = downtime.map(|downtime| downtime.as_secs_f64());
        self
    }

    /// Adds what the images tell of themselves: the two versions, and the link to the new image's source.
    #[must_use]
    pub fn versions(
        mut self,
        old: Option<String>,
        new: Option<String>,
        source: Option<String>,
    ) -> Self {
        (self.old_version, self.new_version, self.source) = (old, new, source);
        self
    }

    /// Whether history, messages and counters take the event. A container that is left alone is no news.
    #[must_use]
    pub fn is_news(&self) -> bool {
        self.outcome != Outcome::LeftAlone
    }

    /// The subject of the event: the container, or for a pull the image.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.container.as_deref().unwrap_or(&self.image)
    }

    /// Logs the event.
    #[cold]
    pub fn log(&self) {
        let (subject, image) = (self.subject(), &self.image);
        let old = short(self.old.as_deref().unwrap_or_default());
        let new = short(self.new.as_deref().unwrap_or_default());
        let (reason, words) = headline(self.reason.as_deref().unwrap_or_default());
        match self.outcome {
            Outcome::Recreated | Outcome::Restored => {
                let downtime = self.downtime_seconds.map(Duration::try_from_secs_f64);
                let downtime = match downtime {
                    Some(downtime) => format!("{:.1?}", downtime.unwrap_or_default()),
                    None => "none (it was not running)".to_owned(),
                };
                let verb = if self.outcome == Outcome::Restored {
                    "restored"
                } else {
                    "recreated"
                };
                let by = if reason.is_empty() { "" } else { " " };
                log::info!(
                    "{verb} container={subject} image={image} old={old} new={new} downtime={downtime}{by}{reason}"
                );
            }
            Outcome::RolledBack => {
                log::error!("rolled back container={subject} image={new}: {reason}");
                // A command's report shows these words too, so they are only `info`.
                if !words.is_empty() {
                    log::info!("rolled back container={subject}: {words}");
                }
            }
            Outcome::PullFailed => log::warn!("{subject} could not be pulled: {reason}"),
            Outcome::Unsigned | Outcome::BadlySigned => {
                log::warn!("not pulled image={image} new={new}: {reason}");
            }
            Outcome::Skipped => {
                log::warn!("not recreated container={subject}, left as it is: {reason}");
            }
            Outcome::LeftAlone => log::info!("left alone container={subject}: {reason}"),
            Outcome::Behind => log::info!("behind container={subject} image={image} new={new}"),
            Outcome::Down => log::error!("down container={subject}: {reason}"),
            Outcome::Back => log::info!("back container={subject}: the old one runs again"),
            Outcome::Decided => log::info!("{subject}: {reason}"),
            Outcome::Newer => {
                let newest = self.new_version.as_deref().unwrap_or_default();
                let running = self.old_version.as_deref().unwrap_or_default();
                log::info!("newer image={image}: {newest} exists, you run {running}");
            }
        }
    }

    /// The known facts, under the names of the API and in its order.
    pub fn texts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("container", self.container.as_deref()),
            ("image", Some(self.image.as_str())),
            ("old", self.old.as_deref()),
            ("new", self.new.as_deref()),
            ("old_version", self.old_version.as_deref()),
            ("new_version", self.new_version.as_deref()),
            ("source", self.source.as_deref()),
            ("old_digest", self.old_digest.as_deref()),
            ("reason", self.reason.as_deref()),
        ];
        all.into_iter().filter_map(|(key, text)| Some((key, text?)))
    }
}

impl Step {
    /// The event of this step, if the step is an outcome.
    #[must_use]
    pub fn event(&self) -> Option<&Event> {
        match self {
            Self::Outcome(event) => Some(event),
            _ => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Pulling { .. } => "pulling",
            Self::Layer { .. } => "layer",
            Self::Pulled { .. } => "pulled",
            Self::Swap { .. } => "swap",
            Self::Outcome(event) => event.outcome.name(),
        }
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("step", self.name())?;
        match self {
            Self::Alive => {}
            Self::Pulling { image } => map.serialize_entry("image", image)?,
            Self::Layer {
                image,
                layer,
                status,
                current,
                total,
            } => {
                map.serialize_entry("image", image)?;
                map.serialize_entry("layer", layer)?;
                map.serialize_entry("status", status)?;
                map.serialize_entry("current", current)?;
                map.serialize_entry("total", total)?;
            }
            Self::Pulled { image, seconds } => {
                map.serialize_entry("image", image)?;
                map.serialize_entry("seconds", seconds)?;
            }
            Self::Swap { container, phase } => {
                map.serialize_entry("container", container)?;
                map.serialize_entry("phase", phase)?;
            }
            Self::Outcome(event) => {
                for (key, text) in event.texts() {
                    map.serialize_entry(key, text)?;
                }
                match event.outcome {
                    Outcome::Recreated | Outcome::Restored => {
                        map.serialize_entry("downtime_seconds", &event.downtime_seconds)?;
                    }
                    Outcome::Skipped => map.serialize_entry("failed", &true)?,
                    Outcome::LeftAlone => map.serialize_entry("failed", &false)?,
                    _ => {}
                }
            }
        }
        map.end()
    }
}

/// A number with so many digits differs each time, for example a port.
const VARYING: usize = 5;

/// Removes the parts of a reason that differ each time: the port of a connection, the name of a temporary
/// file. Two failures are the same if their steady reasons are. The result is not shown to people.
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
    fn each_outcome_has_its_name() {
        for (outcome, name) in Outcome::ALL {
            assert_eq!(outcome.name(), name);
            let called = Outcome::called(name).expect("one of ours");
            assert!(called == outcome || outcome == Outcome::LeftAlone, "{name}");
        }
    }

    #[test]
    fn an_update_of_what_did_not_run_has_no_downtime() {
        let event = Event::of(Outcome::Recreated, "web", "i").from_to("a", "b");
        let line = serde_json::to_string(&Step::Outcome(event)).expect("JSON");
        assert_eq!(
            line,
            r#"{"step":"recreated","container":"web","image":"i","old":"a","new":"b","downtime_seconds":null}"#
        );
    }

    #[test]
    fn versions_are_told_if_they_are_known() {
        let text = |text: &str| Some(text.to_owned());
        let event = Event::of(Outcome::Behind, "web", "i");
        let event = event.versions(text("1.3.9"), text("1.4.0"), None);
        let line = serde_json::to_string(&Step::Outcome(event)).expect("JSON");
        assert_eq!(
            line,
            r#"{"step":"behind","container":"web","image":"i","old_version":"1.3.9","new_version":"1.4.0"}"#
        );
    }

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
