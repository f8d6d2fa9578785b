//! The swap: one container replaced by its successor, or left as it was.
//!
//! **The old container exists until the new one is accepted.** The successor is created, under a
//! name of its own, before the old container is touched; the old one is renamed, never removed,
//! until the successor runs and has shown that it stays up. Any error leads to `Swap::undo`,
//! which looks at what is really there and brings the old container back.
//!
//! What is going on can be read from the Engine alone: the successor carries
//! [`TRANSACTION_LABEL`], and the two names say how far the swap has come.
//!
//! | step | if everything stops right after it |
//! |---|---|
//! | create the successor as `NAME.iw-new-…` | the old one runs as before |
//! | take the old one's restart policy away | the old one runs |
//! | stop the old one | it is stopped under its own name |
//! | rename the old one to `NAME.iw-old-…` | it is stopped, and its name says whose it is |
//! | rename the successor to `NAME` | the same |
//! | start the successor | it runs, the old one is at hand |
//! | accept it, remove the old one | done |

mod acceptance;

pub use acceptance::Acceptance;

use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Image;
use crate::engine::Removal;
use crate::engine::State;
use crate::error::Error;
use crate::error::Result;
use crate::error::one_line;
use crate::replacement::Facts;
use crate::replacement::Replacement;
use crate::replacement::TRANSACTION_LABEL;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;
use std::time::Instant;

/// How long an undo goes on trying: an Engine that is being restarted is back by then.
const UNDO_PATIENCE: Duration = Duration::from_secs(90);
/// How long a start goes on trying while an address or a port is still being given back.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long the old container's removal goes on trying.
const REMOVE_PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);
/// How many of a failed container's last lines are reported.
const LAST_LINES: u32 = 5;
/// What marks the names of a swap's two containers.
const NEW_MARK: &str = ".iw-new-";
const OLD_MARK: &str = ".iw-old-";

/// What became of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The successor took over.
    Recreated {
        /// From the call that stopped the old one until the successor was started; `None` if the
        /// container was not running.
        downtime: Option<Duration>,
    },
    /// The successor was not accepted; the old container is back as it was.
    RolledBack {
        /// Why.
        reason: String,
        /// Whose fault it was.
        blame: Blame,
    },
    /// It went wrong before the old container was touched. Worth another try.
    NotBegun {
        /// Why.
        reason: String,
    },
    /// This container is left alone on purpose.
    Skipped {
        /// Why.
        reason: String,
    },
}

/// Whose fault a roll-back was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The image: it does not come up. Trying again changes nothing.
    Image,
    /// The Engine, or somebody else: worth another try.
    Circumstances,
}

/// Why a swap is not to be.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    reason: String,
    blame: Blame,
}

impl Failure {
    fn of_engine(error: &Error) -> Self {
        Self {
            reason: error.to_string(),
            blame: Blame::Circumstances,
        }
    }
}

/// The three names of a swap.
struct Names {
    own: String,
    new: String,
    old: String,
}

impl Names {
    fn of(container: &Container) -> Self {
        let own = container.name().to_owned();
        let mark = container.id().get(..8).unwrap_or("00000000");
        Self {
            new: format!("{own}{NEW_MARK}{mark}"),
            old: format!("{own}{OLD_MARK}{mark}"),
            own,
        }
    }
}

/// Whether a name is one that a swap gives for its duration.
#[must_use]
pub fn is_transient_name(name: &str) -> bool {
    [NEW_MARK, OLD_MARK].iter().any(|mark| {
        let tail = name.rsplit_once(mark).map(|(_, tail)| tail);
        tail.is_some_and(|tail| tail.len() == 8 && tail.bytes().all(|b| b.is_ascii_hexdigit()))
    })
}

/// Replaces containers on one Engine.
#[derive(Debug)]
pub struct Swap<'a> {
    /// The Engine.
    pub engine: &'a Engine,
    /// When a successor is accepted.
    pub acceptance: Acceptance,
    /// Platform to create for, where one is forced.
    pub platform: Option<&'a str>,
}

impl Swap<'_> {
    /// Replaces `old` by a container made from `image`, which its own reference points at.
    /// A stopped container's successor is not started.
    #[must_use]
    pub fn run(&self, old: &Container, image: &Image) -> Outcome {
        if let Some(reason) = left_alone(old) {
            return Outcome::Skipped { reason };
        }
        let names = Names::of(old);
        let prepared = self
            .plan(old, image)
            .and_then(|plan| self.prepare(old, image, &names, &plan));
        let new_id = match prepared {
            Ok(id) => id,
            Err(error) => {
                return Outcome::NotBegun {
                    reason: error.to_string(),
                };
            }
        };
        match self.exchange(old, &new_id, &names) {
            Ok(downtime) => {
                self.commit(old, &names);
                Outcome::Recreated { downtime }
            }
            Err(failure) => self.roll_back(old, &new_id, &names, failure),
        }
    }

    /// Works out the successor.
    ///
    /// # Errors
    /// When the Engine cannot be asked for what that takes.
    pub fn plan(&self, old: &Container, image: &Image) -> Result<Replacement> {
        let old_image = match self.engine.image(old.image_id()) {
            Ok(image) => Some(image),
            Err(error) if error.is_not_found() => {
                log::warn!(
                    "{}: its old image is gone, so what that set cannot be told from what you set: \
                     all of it is kept",
                    old.name()
                );
                None
            }
            Err(error) => return Err(error),
        };
        let inherited_volumes = self.inherited_volumes(old)?;
        let mut replacement = Replacement::of(&Facts {
            old,
            old_image: old_image.as_ref(),
            new_image_id: image.id(),
            api: self.engine.api()?,
            inherited_volumes: &inherited_volumes,
        });
        let was = if was_running(old) {
            "running"
        } else {
            "stopped"
        };
        let transaction = json!({"v": 1, "name": old.name(), "old": old.id(), "was": was,
                                 "restart": old.restart_policy()});
        replacement.label(TRANSACTION_LABEL, transaction.to_string());
        Ok(replacement)
    }

    /// Volumes that come with `--volumes-from`, and so again with the successor.
    fn inherited_volumes(&self, old: &Container) -> Result<Vec<String>> {
        let sources = old
            .host_config()
            .get("VolumesFrom")
            .and_then(Value::as_array);
        let mut volumes = Vec::new();
        for source in sources.into_iter().flatten().filter_map(Value::as_str) {
            let id = source.split(':').next().unwrap_or(source);
            let provider = self.engine.container(id)?;
            let names = provider.mounts().iter().filter_map(|m| m["Name"].as_str());
            volumes.extend(names.map(str::to_owned));
        }
        Ok(volumes)
    }

    /// Creates the successor aside and makes sure that it is of the right image.
    fn prepare(
        &self,
        old: &Container,
        image: &Image,
        names: &Names,
        plan: &Replacement,
    ) -> Result<String> {
        let id = self.create(old, names, plan)?;
        let checked = self.finish_preparing(&id, image, plan);
        if checked.is_err() {
            self.discard(&id);
        }
        checked.map(|()| id)
    }

    fn create(&self, old: &Container, names: &Names, plan: &Replacement) -> Result<String> {
        let create = || self.engine.create(&names.new, self.platform, &plan.body);
        match create() {
            Err(error) if error.is_conflict() || error.is_ambiguous() => {
                // Either left over from a swap that was cut off, or made by this very call whose
                // answer was lost. Both are ours, and neither was ever started.
                let Ok(found) = self.engine.container(&names.new) else {
                    return Err(error);
                };
                if transaction_of(&found).is_none_or(|old_id| old_id != old.id()) {
                    return Err(error);
                }
                self.engine
                    .remove(found.id(), Removal::ForceWithAnonymousVolumes)?;
                create()
            }
            outcome => outcome,
        }
    }

    fn finish_preparing(&self, id: &str, image: &Image, plan: &Replacement) -> Result<()> {
        for (network, endpoint) in &plan.connect {
            self.engine.connect(network, id, endpoint)?;
        }
        let created = self.engine.container(id)?;
        if created.image_id() == image.id() {
            return Ok(());
        }
        Err(Error::Malformed {
            request: format!("create {}", created.name()),
            reason: "the tag moved in the meantime, so it was made from another image".to_owned(),
        })
    }

    /// From the old container to the successor, accepted.
    fn exchange(
        &self,
        old: &Container,
        new_id: &str,
        names: &Names,
    ) -> std::result::Result<Option<Duration>, Failure> {
        let engine = |error: Error| Failure::of_engine(&error);
        if !was_running(old) {
            self.engine.rename(old.id(), &names.old).map_err(engine)?;
            self.engine.rename(new_id, &names.own).map_err(engine)?;
            return Ok(None);
        }
        // Else a reboot between here and the end would start both, and the old one could get the
        // port or the address first. Podman before 4.4 cannot do this; then it is left out.
        if let Err(error) = self.disarm(old) {
            if !error.is_not_found() {
                return Err(engine(error));
            }
        }
        // Between stop and start there are two renames and nothing else: this is the downtime.
        let begun = Instant::now();
        self.engine.stop(old).map_err(engine)?;
        self.engine.rename(old.id(), &names.old).map_err(engine)?;
        self.engine.rename(new_id, &names.own).map_err(engine)?;
        self.start(new_id)
            .map_err(|error| Self::start_failure(&error))?;
        let downtime = begun.elapsed();
        log::debug!(
            "{}: started the successor, waiting for it to be accepted",
            names.own
        );
        let accepted = self.acceptance.await_acceptance(self.engine, new_id);
        accepted.map_err(|failure| Failure {
            reason: format!("{}{}", failure.reason, self.last_words(new_id)),
            blame: failure.blame,
        })?;
        Ok(Some(downtime))
    }

    fn disarm(&self, container: &Container) -> Result<()> {
        if !has_restart_policy(container) {
            return Ok(());
        }
        let none = json!({"Name": "no"});
        self.engine.set_restart_policy(container.id(), &none)
    }

    /// An address or a port that the old container held may take a moment to be free.
    fn start(&self, id: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            match self.engine.start(id) {
                Err(error) if begun.elapsed() < START_PATIENCE && is_being_freed(&error) => {
                    std::thread::sleep(PAUSE);
                }
                outcome => return outcome,
            }
        }
    }

    /// A start that is clearly refused is refused again next time; each try would cost the owner
    /// another outage.
    fn start_failure(error: &Error) -> Failure {
        let blame = if error.is_ambiguous() {
            Blame::Circumstances
        } else {
            Blame::Image
        };
        Failure {
            reason: error.to_string(),
            blame,
        }
    }

    /// The old container is no longer needed. Failing here loses nothing: it is stopped and will
    /// not start by itself, and its name says what it is.
    fn commit(&self, old: &Container, names: &Names) {
        let remove = || match self.engine.remove(old.id(), Removal::KeepVolumes) {
            Err(error) if error.is_not_found() => Ok(()),
            outcome => outcome,
        };
        if let Err(error) = insist(REMOVE_PATIENCE, remove) {
            log::warn!(
                "{}: replaced, but the old container {} could not be removed: {error}",
                names.own,
                names.old
            );
        }
    }

    fn roll_back(&self, old: &Container, new_id: &str, names: &Names, failure: Failure) -> Outcome {
        let Failure { mut reason, blame } = failure;
        if let Err(trouble) = self.undo(old, new_id, names) {
            log::error!("{}: could not be put back: {trouble}", names.own);
            reason = format!("{reason}; and putting the old container back failed: {trouble}");
        }
        Outcome::RolledBack { reason, blame }
    }

    /// Brings the old container back from wherever the swap was broken off. Every step looks at
    /// what is there and does nothing if that is right already; the successor, which carries the
    /// record of what is going on, goes last.
    fn undo(&self, old: &Container, new_id: &str, names: &Names) -> Result<()> {
        let there = insist(UNDO_PATIENCE, || self.exists(old.id()))?;
        if !there {
            // Somebody removed it. The successor is all there is, so it stays.
            return insist(UNDO_PATIENCE, || self.ensure_name(new_id, &names.own));
        }
        insist(UNDO_PATIENCE, || self.ensure_out_of_the_way(new_id, names))?;
        let named = insist(UNDO_PATIENCE, || self.ensure_name(old.id(), &names.own));
        insist(UNDO_PATIENCE, || self.ensure_policy(old))?;
        if was_running(old) {
            insist(UNDO_PATIENCE, || self.ensure_running(old.id()))?;
        }
        self.discard(new_id);
        named
    }

    fn exists(&self, id: &str) -> Result<bool> {
        match self.engine.container(id) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn ensure_out_of_the_way(&self, id: &str, names: &Names) -> Result<()> {
        let new = match self.engine.container(id) {
            Ok(new) => new,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        if was_running(&new) {
            // Without its policy first, a crash loop could start it again behind our back.
            if let Err(error) = self.disarm(&new) {
                log::debug!("{}: {error}", names.new);
            }
            self.engine.stop(&new)?;
        }
        if new.name() == names.own {
            self.engine.rename(id, &names.new)?;
        }
        Ok(())
    }

    fn ensure_name(&self, id: &str, name: &str) -> Result<()> {
        if self.engine.container(id)?.name() == name {
            return Ok(());
        }
        self.engine.rename(id, name)
    }

    fn ensure_policy(&self, old: &Container) -> Result<()> {
        let now = self.engine.container(old.id())?;
        if now.restart_policy() == old.restart_policy() {
            return Ok(());
        }
        self.engine
            .set_restart_policy(old.id(), &old.restart_policy())
    }

    fn ensure_running(&self, id: &str) -> Result<()> {
        if self.engine.container(id)?.state() == State::Running {
            return Ok(());
        }
        self.engine.start(id)
    }

    /// Removes a successor that will not be.
    fn discard(&self, id: &str) {
        let remove = || match self.engine.remove(id, Removal::ForceWithAnonymousVolumes) {
            Err(error) if error.is_not_found() => Ok(()),
            outcome => outcome,
        };
        if let Err(error) = insist(REMOVE_PATIENCE, remove) {
            log::warn!("a successor that is not needed could not be removed: {error}");
        }
    }

    /// What a failed container printed last.
    fn last_words(&self, id: &str) -> String {
        match self.engine.last_lines(id, LAST_LINES) {
            Ok(text) if !text.trim().is_empty() => format!("; it said: {}", one_line(&text)),
            _ => String::new(),
        }
    }
}

/// Containers that are not ours to replace, and why.
fn left_alone(container: &Container) -> Option<String> {
    let reason = if own_id().is_some_and(|id| id == container.id()) {
        "this is imagewatch itself: update it with `docker compose up -d --pull always` or the like"
    } else if container.label("com.docker.swarm.task.id").is_some() {
        "a Swarm task: Swarm replaces it (docker service update)"
    } else if container.label("com.docker.compose.oneoff") == Some("True") {
        "a one-off of docker compose run"
    } else if container.label("PODMAN_SYSTEMD_UNIT").is_some() {
        "owned by a systemd unit: use podman auto-update"
    } else if container.is_auto_removed() {
        "started with --rm: stopping it would delete it, with nothing to go back to"
    } else if container.state() == State::Paused {
        "paused"
    } else if container.state() == State::Gone {
        "being removed"
    } else {
        return None;
    };
    Some(reason.to_owned())
}

/// The id of the container this process runs in, from what Docker mounts into it.
fn own_id() -> Option<&'static str> {
    static OWN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let read = || {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        let line = mounts
            .lines()
            .find(|line| line.contains(" /etc/hostname "))?;
        let id = |part: &&str| part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit());
        line.split('/').find(id).map(str::to_owned)
    };
    OWN.get_or_init(read).as_deref()
}

/// The id of the container whose successor this one was made to be.
fn transaction_of(container: &Container) -> Option<String> {
    let record: Value = serde_json::from_str(container.label(TRANSACTION_LABEL)?).ok()?;
    record["old"].as_str().map(str::to_owned)
}

fn was_running(container: &Container) -> bool {
    matches!(container.state(), State::Running | State::Restarting)
}

fn has_restart_policy(container: &Container) -> bool {
    let policy = container.restart_policy();
    !matches!(policy["Name"].as_str(), None | Some("" | "no"))
}

fn is_being_freed(error: &Error) -> bool {
    let text = error.to_string();
    text.contains("already in use") || text.contains("already allocated")
}

/// Tries again for as long as another try may help: the Engine was away, busy or undecided. A
/// clear refusal is final.
fn insist<T>(patience: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Err(error) if begun.elapsed() < patience && may_pass(&error) => {
                std::thread::sleep(PAUSE);
            }
            outcome => return outcome,
        }
    }
}

fn may_pass(error: &Error) -> bool {
    error.is_ambiguous() || error.status().is_some_and(|status| status >= 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transient_names_are_recognised() {
        for (name, expected) in [
            ("web.iw-new-0123abcd", true),
            ("web.iw-old-0123abcd", true),
            ("web", false),
            ("web.iw-new-", false),
            ("web.iw-new-0123abcd.x", false),
            ("web.iw-new-zzzzzzzz", false),
        ] {
            assert_eq!(is_transient_name(name), expected, "{name}");
        }
    }

    #[test]
    fn some_containers_are_left_alone_with_a_reason() {
        for (json, expected) in [
            (
                json!({"Config": {"Labels": {"com.docker.swarm.task.id": "x"}}}),
                "Swarm",
            ),
            (
                json!({"Config": {"Labels": {"PODMAN_SYSTEMD_UNIT": "x"}}}),
                "systemd",
            ),
            (json!({"HostConfig": {"AutoRemove": true}}), "--rm"),
            (json!({"State": {"Status": "paused"}}), "paused"),
            (json!({"State": {"Status": "dead"}}), "removed"),
        ] {
            let reason = left_alone(&Container::new(json)).expect("a reason");
            assert!(reason.contains(expected), "{reason}");
        }
        assert_eq!(left_alone(&Container::new(json!({"Id": "x"}))), None);
    }

    #[test]
    fn a_clear_refusal_is_not_tried_again() {
        let mut tries = 0;
        let outcome: Result<()> = insist(Duration::from_secs(60), || {
            tries += 1;
            Err(Error::Refused {
                request: "POST".into(),
                status: 409,
                message: "no".into(),
                retry_after: None,
            })
        });
        assert!(outcome.is_err());
        assert_eq!(tries, 1);
    }
}
