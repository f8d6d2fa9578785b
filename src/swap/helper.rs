//! The helper: a short-lived container that updates imagewatch's own one.
//!
//! A published port belongs to one running container. So the successor can start only once the old container has
//! stopped, and the process in the old one cannot start it. The helper runs the *old* image, whose code is known to
//! work, and does one ordinary swap (`imagewatch swap NAME IMAGE`). The Engine supervises it: after a kill, the restart
//! policy starts the helper again, and the recovery goes on. The policy is also the only memory of the helper:
//!
//! | restart policy | stage |
//! |---|---|
//! | `on-failure`; on Podman `always`, because nothing else is started after a boot there | the swap is to be done |
//! | `unless-stopped` | the image did not come up, and the old container is being put back |
//! | `no` | the image did not come up, and the old container is back. The helper runs until that is reported |
//! | `on-failure`, at most twice | the same, and imagewatch has reported it. The helper stays as the record of that |
//! | `on-failure`, at most once | the swap was not done, for another reason |
//!
//! A helper whose swap is done waits to be removed by the new imagewatch, which reports the update. An older imagewatch
//! does not know helpers, so the helper removes itself after a while.

use super::itself;
use super::never_replaced::managed_by_others;
use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Removal;
use crate::engine::State;
use crate::error::Result;
use crate::json;
use crate::labels::HELPER;
use serde_json::Value;
use serde_json::json;

/// The name of the helper's container.
pub(crate) const NAME: &str = "imagewatch.helper";
/// The command of the helper.
pub const COMMAND: &str = "swap";
/// How many of the helper's last lines are searched for its result.
const LINES: u32 = 30;

/// An update of imagewatch's own container, as the label of its helper holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnUpdate {
    /// The name of the container.
    pub name: String,
    /// The id of the image that it runs.
    pub from: String,
    /// The id of the image that it is to run.
    pub to: String,
    /// The digest of the new image in its registry, if known.
    pub digest: Option<String>,
    /// Who asked for an earlier image, if the update is a roll-back by hand.
    pub back_by: Option<String>,
}

impl OwnUpdate {
    /// Reads a label. The result is `None` if the label holds no update.
    fn parse(label: &str) -> Option<Self> {
        let json: Value = json::parse(label).ok()?;
        let text = |key: &str| json[key].as_str().map(str::to_owned);
        Some(Self {
            name: text("name")?,
            from: text("from")?,
            to: text("to")?,
            digest: text("digest"),
            back_by: text("by"),
        })
    }

    pub(super) fn to_label(&self) -> String {
        json::print(
            &json!({"v": 1, "name": self.name, "from": self.from, "to": self.to, "digest": self.digest,
                    "by": self.back_by}),
        )
    }
}

/// The stage of a helper's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The swap is to be done, is under way, or is done.
    AtWork,
    /// The image did not come up, and the old container is being put back.
    PuttingBack,
    /// The image did not come up, and the old container is back.
    Rejected,
    /// The same, and the imagewatch in that container has reported it.
    Reported,
    /// The swap was not done, for a reason other than the image.
    GivenUp,
}

impl Stage {
    fn of(policy: &Value) -> Self {
        match (policy["Name"].as_str(), &policy["MaximumRetryCount"]) {
            (Some("unless-stopped"), _) => Self::PuttingBack,
            (Some("on-failure"), most) if *most == 1 => Self::GivenUp,
            (Some("on-failure"), most) if *most == 2 => Self::Reported,
            (Some("on-failure" | "always"), _) => Self::AtWork,
            _ => Self::Rejected,
        }
    }

    pub(super) fn policy(self, is_podman: bool) -> Value {
        let (name, most) = match self {
            Self::AtWork if is_podman => ("always", 0),
            Self::AtWork => ("on-failure", 0),
            Self::PuttingBack => ("unless-stopped", 0),
            Self::Rejected => ("no", 0),
            Self::GivenUp => ("on-failure", 1),
            Self::Reported => ("on-failure", 2),
        };
        json!({"Name": name, "MaximumRetryCount": most})
    }
}

/// What a helper says at its end, on a line of its own.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Said {
    /// Why the swap was not done, or was undone.
    pub reason: Option<String>,
    /// For how many seconds the container did not run.
    pub downtime_seconds: Option<f64>,
}

impl Said {
    /// The line. JSON, so that it differs from a line of the log.
    #[must_use]
    pub fn line(&self) -> String {
        json::print(&json!({"reason": self.reason, "downtime_seconds": self.downtime_seconds}))
    }

    /// Finds the line in the last lines of a log.
    fn find(lines: &str) -> Self {
        let read = |line: &str| {
            let json: Value = json::parse(line).ok()?;
            json.get("downtime_seconds")?;
            Some(Self {
                reason: json["reason"].as_str().map(str::to_owned),
                downtime_seconds: json["downtime_seconds"].as_f64(),
            })
        };
        lines.lines().rev().find_map(read).unwrap_or_default()
    }
}

/// A helper, as the Engine shows it.
#[derive(Debug)]
pub struct Helper {
    container: Container,
    /// The update that it does.
    pub update: OwnUpdate,
    /// The stage of its work.
    pub stage: Stage,
}

impl Helper {
    fn of(container: Container) -> Option<Self> {
        let update = OwnUpdate::parse(container.label(HELPER)?)?;
        let stage = Stage::of(&container.restart_policy());
        Some(Self {
            container,
            update,
            stage,
        })
    }

    /// Finds the helper on an Engine.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    #[cold]
    pub fn find(engine: &Engine) -> Result<Option<Self>> {
        Ok(engine.find(NAME)?.and_then(Self::of))
    }

    /// The helper whose process this is, if it is one.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    #[cold]
    pub fn own(engine: &Engine) -> Result<Option<Self>> {
        Ok(itself::running(engine)?.and_then(Self::of))
    }

    /// Whether the helper runs, or will run again in a moment.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.container.state(), State::Running | State::Restarting)
    }

    /// Starts the helper if nobody has yet, because the process that created it was killed. Returns whether it did.
    ///
    /// # Errors
    /// When the Engine refuses.
    #[cold]
    pub fn start_if_new(&self, engine: &Engine) -> Result<bool> {
        if self.container.was_started() {
            return Ok(false);
        }
        engine.start(self.container.id()).map(|()| true)
    }

    /// What the helper said at its end.
    #[must_use]
    #[cold]
    pub fn said(&self, engine: &Engine) -> Said {
        let lines = engine.last_lines(self.container.id(), LINES);
        Said::find(&lines.unwrap_or_default())
    }

    /// Notes the stage of the work, so that it outlasts a kill.
    ///
    /// # Errors
    /// When the Engine refuses.
    #[cold]
    pub fn note(&self, engine: &Engine, stage: Stage) -> Result<()> {
        let policy = stage.policy(engine.about()?.is_podman());
        engine.set_restart_policy(self.container.id(), &policy)
    }

    /// Removes the helper.
    ///
    /// # Errors
    /// When the Engine refuses.
    #[cold]
    pub fn remove(&self, engine: &Engine) -> Result<()> {
        let how = Removal::ForceWithAnonymousVolumes;
        match engine.remove(self.container.id(), how) {
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            outcome => outcome,
        }
    }
}

/// The container in which this process runs, if it is known.
///
/// # Errors
/// When the Engine cannot be asked.
#[cold]
pub fn own_container(engine: &Engine) -> Result<Option<Container>> {
    itself::running(engine)
}

/// Whether this process runs in the container, as far as that is certain.
///
/// # Errors
/// When the Engine cannot be asked.
#[cold]
pub fn is_itself(container: &Container, engine: &Engine) -> Result<bool> {
    Ok(itself::find(engine)?.id() == Some(container.id()))
}

/// Why imagewatch's own container cannot be updated by a helper, if so.
#[must_use]
#[cold]
pub fn why_itself_stays(own: &Container) -> Option<&'static str> {
    let mode = own.host_config().get("NetworkMode").and_then(Value::as_str);
    let program = std::env::current_exe().unwrap_or_default();
    let is_mounted = |mount: &Value| {
        let target = mount["Destination"].as_str().unwrap_or("/");
        program.starts_with(target)
    };
    if mode.is_some_and(|mode| mode.starts_with("container:")) {
        Some("imagewatch itself lives in the network of another container: recreate both by hand")
    } else if own.mounts().iter().any(is_mounted) {
        Some("the program of imagewatch itself is mounted, and not part of its image")
    } else {
        managed_by_others(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_restart_policy_tells_the_stage() {
        for (stage, is_podman) in [
            (Stage::AtWork, false),
            (Stage::AtWork, true),
            (Stage::PuttingBack, false),
            (Stage::Rejected, true),
            (Stage::Reported, false),
            (Stage::Reported, true),
            (Stage::GivenUp, false),
        ] {
            assert_eq!(Stage::of(&stage.policy(is_podman)), stage);
        }
        // Podman shows no policy as an empty word.
        assert_eq!(Stage::of(&json!({"Name": ""})), Stage::Rejected);
    }

    #[test]
    fn an_update_is_read_from_its_label() {
        let update = OwnUpdate {
            name: "iw".to_owned(),
            from: "a".to_owned(),
            to: "b".to_owned(),
            digest: Some("sha256:c".to_owned()),
            back_by: Some("cli".to_owned()),
        };
        assert_eq!(OwnUpdate::parse(&update.to_label()), Some(update));
        for rubbish in [
            "",
            "{}",
            "[]",
            "{\"name\": 1}",
            "{\"name\":\"iw\",\"from\":\"a\"}",
        ] {
            assert_eq!(OwnUpdate::parse(rubbish), None, "{rubbish}");
        }
    }

    #[test]
    fn the_result_is_found_among_the_lines_of_a_log() {
        let said = Said {
            reason: Some("it exited".to_owned()),
            downtime_seconds: None,
        };
        let log = format!(
            "2026 INFO x\n{}\n{{\"a\":1}}\n2026 WARN {{}}\n",
            said.line()
        );
        assert_eq!(Said::find(&log), said);
        assert_eq!(Said::find("{}\nno"), Said::default());
    }
}
