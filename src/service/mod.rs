//! One Swarm service updated through Swarm itself: one write, and then a judgement by its tasks.
//!
//! Swarm does the rollout. imagewatch writes the image (`NAME:TAG@DIGEST`) and a label that says so, in one call that
//! the service's version guards. Every other field goes back as it came. If the rollout fails, Swarm is asked once to
//! bring the earlier spec back. A process that is killed leaves nothing to repair: the next one reads the label, the
//! state and the tasks.

mod judge;
mod marker;

pub use marker::Marker;

use crate::engine::Engine;
use crate::engine::Service;
use crate::error::Result;
use crate::labels;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::secret::Secret;
use crate::thread::Shutdown;
use judge::Tasks;
use serde_json::Value;
use std::time::Duration;
use std::time::Instant;

/// The time between two looks at a service.
const PAUSE: Duration = Duration::from_millis(500);
/// How long Swarm may take to show that an update began. With nothing to roll out, it never does.
const LATE: Duration = Duration::from_secs(5);
/// How long an update is waited for. After that it is looked at again in each round.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long an update that an earlier round waited for is waited for.
const SECOND_PATIENCE: Duration = Duration::from_secs(20);

/// The outcome of a service's update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The tasks run the new image. The words are worth a warning.
    Updated(Option<String>),
    /// The tasks did not come up, and Swarm brought the earlier image back, or was asked to.
    RolledBack(String),
    /// The tasks did not come up, and the service stays as it is.
    Left(String),
    /// Nothing was changed. Another round tries again.
    Later(String),
    /// The update is written, and its end is not known yet. Another round looks again.
    Open(String),
    /// The service is left alone for this reason.
    Alone(String),
    /// The service runs this digest already, and nobody waits for a judgement.
    Unchanged,
}

/// The digest in the name of an image.
#[must_use]
pub fn digest_of(image: &str) -> Option<&str> {
    image.split_once('@').map(|(_, digest)| digest)
}

/// The tag that a service follows.
///
/// # Errors
/// The reason to leave the service alone.
pub fn followed(service: &Service) -> std::result::Result<Reference, String> {
    if service.is_job() {
        return Err("a job of Swarm: an update would run it again".to_owned());
    }
    let name = service.image().split('@').next().unwrap_or_default();
    let reference: Reference = name
        .parse()
        .map_err(|_| "made from an image name that is no reference".to_owned())?;
    if name.len() < service.image().len() && !has_tag(name) {
        return Err("pinned to a digest".to_owned());
    }
    Ok(reference)
}

fn has_tag(name: &str) -> bool {
    name.rsplit('/')
        .next()
        .is_some_and(|last| last.contains(':'))
}

/// The image to write: the owner's spelling, its tag, and the digest.
#[must_use]
pub fn pinned(image: &str, digest: &Digest) -> String {
    let name = image.split('@').next().unwrap_or_default();
    let tag = if has_tag(name) { "" } else { ":latest" };
    format!("{name}{tag}@{digest}")
}

/// The spec of a service with another image and the label, and nothing else changed.
#[must_use]
pub fn changed(service: &Service, image: &str, marker: &Marker) -> Value {
    let mut spec = service.spec().clone();
    spec["TaskTemplate"]["ContainerSpec"]["Image"] = Value::from(image);
    if !spec["Labels"].is_object() {
        spec["Labels"] = Value::Object(serde_json::Map::new());
    }
    spec["Labels"][labels::UPDATE] = Value::from(marker.text());
    spec
}

/// Updates services, one at a time.
#[derive(Debug)]
pub struct Rollout<'a> {
    /// A manager of the swarm.
    pub engine: &'a Engine,
    /// Closed when the program stops.
    pub shutdown: &'a Shutdown,
    /// How long all tasks must stay up.
    pub settle: Duration,
}

impl Rollout<'_> {
    /// Updates a service to `digest`, and judges the update.
    ///
    /// # Errors
    /// When the Engine does not answer before the write.
    #[cold]
    pub fn update(&self, id: &str, digest: &Digest, auth: Option<&Secret>) -> Result<Outcome> {
        let Some(service) = self.engine.service(id)? else {
            return Ok(Outcome::Alone("it was removed in the meantime".to_owned()));
        };
        let ours = Marker::of(&service);
        if digest_of(service.image()) == Some(digest.as_str()) {
            return Ok(match ours {
                Some(_) => self.judge(id, digest, SECOND_PATIENCE),
                None => Outcome::Unchanged,
            });
        }
        if let Err(reason) = followed(&service) {
            return Ok(Outcome::Alone(reason));
        }
        if matches!(
            service.state(),
            "updating" | "paused" | "rollback_started" | "rollback_paused"
        ) {
            let whose = if ours.is_some() {
                "an earlier update"
            } else {
                "its owner's update"
            };
            let reason = format!(
                "{whose} is {} (docker service inspect shows more)",
                service.state()
            );
            return Ok(Outcome::Later(reason));
        }
        let marker = Marker::new(digest_of(service.image()), digest);
        let image = pinned(service.image(), digest);
        let written =
            self.engine
                .update_service(&service, &changed(&service, &image, &marker), auth);
        if let Err(error) = written {
            // The call may have taken effect, or another writer was faster.
            let now = self.engine.service(id)?;
            if now.as_ref().and_then(Marker::of).as_ref() != Some(&marker) {
                return Ok(Outcome::Later(error.to_string()));
            }
        }
        log::info!(
            "service={}: image={image}, Swarm rolls it out",
            service.name()
        );
        Ok(self.judge(id, digest, PATIENCE))
    }

    /// Waits for the end of an update that was written, and judges it. A deadline is no reason to roll back.
    #[cold]
    pub fn judge(&self, id: &str, to: &Digest, patience: Duration) -> Outcome {
        let begun = Instant::now();
        let mut watch = Watch::default();
        let mut last = "Swarm does not answer".to_owned();
        while begun.elapsed() < patience || watch.is_settling(self.settle) {
            if self.shutdown.is_closed() {
                return Outcome::Open("imagewatch is stopping, and Swarm goes on".to_owned());
            }
            match self.look(id) {
                Ok(Some((service, tasks))) => {
                    let tasks = Tasks::of(&service, &tasks, to.as_str());
                    match watch.see(
                        &service,
                        &tasks,
                        to.as_str(),
                        begun.elapsed() > LATE,
                        self.settle,
                    ) {
                        Seen::Rolling(words) => last = words,
                        Seen::Failed(words) => return self.roll_back(&service, to, &words),
                        Seen::Over(outcome) => return outcome,
                    }
                }
                Ok(None) => return Outcome::Alone("it was removed in the meantime".to_owned()),
                Err(error) => {
                    watch = Watch::default();
                    last = error.to_string();
                }
            }
            std::thread::sleep(PAUSE);
        }
        Outcome::Open(format!("still rolling out: {last}"))
    }

    fn look(&self, id: &str) -> Result<Option<(Service, Vec<Value>)>> {
        let Some(service) = self.engine.service(id)? else {
            return Ok(None);
        };
        let tasks = self.engine.tasks(id)?;
        Ok(Some((service, tasks)))
    }

    /// Asks Swarm for the earlier spec, unless its owner wants the pause. The version lets only one such call through.
    #[cold]
    fn roll_back(&self, service: &Service, to: &Digest, words: &str) -> Outcome {
        let wanted = service.label(labels::ROLLBACK).and_then(labels::switch);
        if wanted == Some(false) {
            let label = labels::ROLLBACK;
            return Outcome::Left(format!("{words} (left so: {label}=false)"));
        }
        let from = Marker::of(service).and_then(|marker| marker.from);
        let previous = service.previous();
        let way_back = previous
            .as_ref()
            .map(|previous| digest_of(previous.image()));
        if way_back != Some(from.as_deref()) {
            return Outcome::Left(format!(
                "{words} (Swarm no longer has the spec from before the update)"
            ));
        }
        log::warn!("service={}: {words}; Swarm rolls it back", service.name());
        let asked = self.engine.roll_back_service(service);
        let begun = Instant::now();
        let mut trouble = asked.err().map(|error| error.to_string());
        while begun.elapsed() < PATIENCE && !self.shutdown.is_closed() {
            match self.engine.service(service.id()) {
                Ok(Some(now)) => match now.state() {
                    "rollback_completed" => return Outcome::RolledBack(words.to_owned()),
                    "rollback_paused" => {
                        return Outcome::RolledBack(format!(
                            "{words} (the roll-back is paused too: docker service ps says why)"
                        ));
                    }
                    _ if now.version() == service.version() => {
                        if let Some(trouble) = trouble {
                            return Outcome::Open(format!(
                                "{words}, and not rolled back: {trouble}"
                            ));
                        }
                    }
                    "rollback_started" => {}
                    _ if digest_of(now.image()) == Some(to.as_str()) && begun.elapsed() > LATE => {
                        return Outcome::Open(format!("{words}, and not rolled back yet"));
                    }
                    _ => {}
                },
                Ok(None) => return Outcome::Alone("it was removed in the meantime".to_owned()),
                Err(error) => trouble = Some(error.to_string()),
            }
            std::thread::sleep(PAUSE);
        }
        Outcome::RolledBack(format!("{words} (Swarm still rolls it back)"))
    }
}

/// What the looks so far have shown.
#[derive(Debug, Default)]
struct Watch {
    /// Since when Swarm calls the update ended.
    ended: Option<Instant>,
    /// Since when all tasks are well.
    well: Option<Instant>,
    /// How many tasks had failed when Swarm called the update ended.
    failed: usize,
}

/// What one look shows.
enum Seen {
    Rolling(String),
    Failed(String),
    Over(Outcome),
}

impl Watch {
    fn is_settling(&self, settle: Duration) -> bool {
        self.ended.is_some_and(|ended| ended.elapsed() < settle * 2)
    }

    fn see(
        &mut self,
        service: &Service,
        tasks: &Tasks,
        to: &str,
        is_late: bool,
        settle: Duration,
    ) -> Seen {
        let state = service.state();
        let words = tasks.words.clone();
        let words = words.unwrap_or_else(|| format!("Swarm's state is {state:?}"));
        match state {
            "rollback_started" => return Seen::Rolling(words),
            "rollback_completed" => {
                return Seen::Over(Outcome::RolledBack(format!(
                    "{words} (Swarm rolled it back)"
                )));
            }
            "rollback_paused" => {
                return Seen::Over(Outcome::RolledBack(format!(
                    "{words} (the roll-back is paused too)"
                )));
            }
            _ if digest_of(service.image()) != Some(to) => {
                return Seen::Over(Outcome::Alone(
                    "its owner changed it in the meantime".to_owned(),
                ));
            }
            "completed" | "paused" => {}
            "" if is_late => {}
            _ => return Seen::Rolling(words),
        }
        let now = Instant::now();
        if self.ended.is_none() {
            (self.ended, self.failed) = (Some(now), tasks.failed);
        }
        let ended = self.ended.unwrap_or(now);
        if tasks.are_well {
            let since = *self.well.get_or_insert(now);
            if now.duration_since(since) >= settle && tasks.failed == self.failed {
                let is_paused = state == "paused";
                let note = is_paused
                    .then(|| "Swarm has paused the update, although all tasks run".to_owned());
                return Seen::Over(Outcome::Updated(note));
            }
        } else {
            self.well = None;
        }
        // A task that fails after the end, or is not well when the time is up, failed with the new image.
        let is_over = now.duration_since(ended) >= settle;
        if tasks.failed > self.failed || (is_over && !tasks.are_well && tasks.failed > 0) {
            return Seen::Failed(words);
        }
        if state == "paused" && tasks.failed > 0 && !tasks.are_well {
            return Seen::Failed(words);
        }
        Seen::Rolling(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const OLD: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const NEW: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn service(image: &str) -> Service {
        Service::new(json!({"Spec": {
            "Name": "web",
            "Labels": {"com.docker.stack.image": "a:1"},
            "TaskTemplate": {"ContainerSpec": {"Image": image, "Env": ["A=b"]}, "ForceUpdate": 3},
            "Mode": {"Replicated": {"Replicas": 1}},
        }}))
    }

    #[test]
    fn the_tag_is_followed_and_kept_beside_the_new_digest() {
        let digest: Digest = NEW.parse().expect("valid");
        for (image, reference, written) in [
            ("a.b/c:1@sha256:x", Some("a.b/c:1"), "a.b/c:1"),
            ("a.b/c:1", Some("a.b/c:1"), "a.b/c:1"),
            (
                "nginx",
                Some("docker.io/library/nginx:latest"),
                "nginx:latest",
            ),
            ("h:5000/c@sha256:x", None, "h:5000/c:latest"),
        ] {
            let found = followed(&service(image))
                .ok()
                .map(|found| found.to_string());
            let expected: Option<Reference> = reference.map(|text| text.parse().expect("valid"));
            assert_eq!(found, expected.map(|one| one.to_string()), "{image}");
            assert_eq!(pinned(image, &digest), format!("{written}@{NEW}"));
        }
        let job = json!({"Spec": {"Mode": {"GlobalJob": {}},
            "TaskTemplate": {"ContainerSpec": {"Image": "a:1"}}}});
        assert!(followed(&Service::new(job)).is_err());
    }

    #[test]
    fn an_update_changes_the_image_and_one_label() {
        let before = service("a:1@sha256:x");
        let digest: Digest = NEW.parse().expect("valid");
        let marker = Marker::new(Some(OLD), &digest);
        let mut spec = changed(&before, "a:1@new", &marker);
        let label = spec["Labels"][labels::UPDATE].take();
        spec["Labels"]
            .as_object_mut()
            .expect("labels")
            .remove(labels::UPDATE);
        let image = spec["TaskTemplate"]["ContainerSpec"]["Image"].take();
        assert_eq!(image, "a:1@new");
        spec["TaskTemplate"]["ContainerSpec"]["Image"] = json!("a:1@sha256:x");
        assert_eq!(&spec, before.spec());
        // It is ours as long as the image is the one it names.
        let with = |image: &str| {
            Service::new(json!({"Spec": {
                "Labels": {labels::UPDATE: label},
                "TaskTemplate": {"ContainerSpec": {"Image": image}},
            }}))
        };
        assert_eq!(Marker::of(&with(&format!("a:1@{NEW}"))), Some(marker));
        assert_eq!(Marker::of(&with(&format!("a:1@{OLD}"))), None);
    }

    fn tasks(are_well: bool, failed: usize) -> Tasks {
        let words = (failed > 0).then(|| "a task is failed".to_owned());
        Tasks {
            are_well,
            failed,
            words,
        }
    }

    fn in_state(state: &str, image: &str) -> Service {
        Service::new(json!({
            "Spec": {"TaskTemplate": {"ContainerSpec": {"Image": format!("a:1@{image}")}}},
            "UpdateStatus": {"State": state},
        }))
    }

    /// What the last of some looks shows, with no time to settle.
    fn shown(looks: &[(&str, &str, Tasks)], is_late: bool) -> String {
        let mut watch = Watch::default();
        let mut last = String::new();
        for (state, image, tasks) in looks {
            last = match watch.see(&in_state(state, image), tasks, NEW, is_late, Duration::ZERO) {
                Seen::Rolling(_) => "rolling".to_owned(),
                Seen::Failed(_) => "failed".to_owned(),
                Seen::Over(outcome) => format!("{outcome:?}"),
            };
        }
        last
    }

    #[test]
    fn an_update_is_judged_by_its_tasks_and_not_by_swarms_word() {
        for (state, image, tasks, is_late, expected) in [
            ("updating", NEW, tasks(false, 0), false, "rolling"),
            ("updating", NEW, tasks(false, 2), false, "rolling"),
            ("", NEW, tasks(true, 0), false, "rolling"),
            ("", NEW, tasks(true, 0), true, "Updated(None)"),
            ("completed", NEW, tasks(true, 0), false, "Updated(None)"),
            ("completed", NEW, tasks(false, 3), false, "failed"),
            ("completed", NEW, tasks(false, 0), false, "rolling"),
            ("paused", NEW, tasks(false, 1), false, "failed"),
            ("paused", NEW, tasks(false, 0), false, "rolling"),
            (
                "paused",
                NEW,
                tasks(true, 1),
                false,
                r#"Updated(Some("Swarm has paused the update, although all tasks run"))"#,
            ),
            (
                "completed",
                OLD,
                tasks(false, 0),
                false,
                r#"Alone("its owner changed it in the meantime")"#,
            ),
            ("rollback_started", OLD, tasks(false, 1), false, "rolling"),
            (
                "rollback_completed",
                OLD,
                tasks(false, 1),
                false,
                r#"RolledBack("a task is failed (Swarm rolled it back)")"#,
            ),
        ] {
            let found = shown(&[(state, image, tasks)], is_late);
            assert_eq!(found, expected, "{state}");
        }
    }

    #[test]
    fn a_task_that_fails_after_the_end_is_a_failure() {
        let mut watch = Watch::default();
        let settle = Duration::from_secs(60);
        let mut see =
            |tasks: &Tasks| watch.see(&in_state("completed", NEW), tasks, NEW, false, settle);
        assert!(matches!(see(&tasks(true, 1)), Seen::Rolling(_)));
        assert!(matches!(see(&tasks(true, 1)), Seen::Rolling(_)));
        assert!(matches!(see(&tasks(true, 2)), Seen::Failed(_)));
    }
}
