//! One Swarm service updated through Swarm itself: one write, and then a judgement by its tasks.
//!
//! Swarm does the rollout. imagewatch writes the image (`NAME:TAG@DIGEST`) and a label that says so, in one call that
//! the service's version guards. Every other field goes back as it came. If the rollout fails, Swarm is asked once to
//! bring the earlier spec back. A process that is killed leaves nothing to repair: the next one reads the label, the
//! state and the tasks.

mod judge;
mod marker;
mod watch;

pub use judge::digest_that_failed;
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
use watch::Seen;
use watch::Watch;

/// The time between two looks at services.
pub const PAUSE: Duration = Duration::from_millis(500);
/// How long Swarm may take to show that an update began. With nothing to roll out, it never does.
const LATE: Duration = Duration::from_secs(5);
/// How long an update is waited for. After that it is looked at again in each round.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long an update that an earlier round waited for is waited for.
pub const SECOND_PATIENCE: Duration = Duration::from_secs(20);

const REMOVED: &str = "it was removed in the meantime";
const CHANGED: &str = "its owner changed it in the meantime";

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

/// The digest that a roll-back by hand leads to.
///
/// # Errors
/// Why there is none.
#[cold]
pub fn digest_before(service: &Service) -> std::result::Result<String, &'static str> {
    if service.state().starts_with("rollback_") {
        return Err("it was rolled back already, and Swarm would roll it forward again");
    }
    if service.state() == "updating" {
        return Err("an update of it is under way");
    }
    let previous = service.previous();
    let previous = previous
        .as_ref()
        .and_then(|previous| digest_of(previous.image()));
    match previous {
        Some(before) if Some(before) != digest_of(service.image()) => Ok(before.to_owned()),
        _ => Err("Swarm does not know an earlier image of it"),
    }
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

/// Updates services. Each step asks Swarm once, so that one thread can follow many updates.
#[derive(Debug)]
pub struct Rollout<'a> {
    /// A manager of the swarm.
    pub engine: &'a Engine,
    /// Closed when the program stops.
    pub shutdown: &'a Shutdown,
    /// How long all tasks must stay up.
    pub settle: Duration,
}

/// The update of one service on its way.
#[derive(Debug)]
pub struct Update {
    id: String,
    to: Digest,
    auth: Option<Secret>,
    /// The label of this update, once it was seen on the service.
    marker: Option<Marker>,
    stage: Stage,
    begun: Instant,
    patience: Duration,
    watch: Watch,
    last: String,
}

#[derive(Debug)]
enum Stage {
    /// Nothing is written yet.
    Write,
    /// Swarm replaces the tasks.
    Roll,
    /// Swarm was asked for the earlier spec. The words say why, and what went wrong with that call.
    Back(String, Option<String>),
}

impl Update {
    /// An update to begin. The login goes to the nodes.
    #[must_use]
    pub fn new(id: &str, to: &Digest, auth: Option<Secret>) -> Self {
        Self {
            id: id.to_owned(),
            to: to.clone(),
            auth,
            marker: None,
            stage: Stage::Write,
            begun: Instant::now(),
            patience: PATIENCE,
            watch: Watch::default(),
            last: "Swarm does not answer".to_owned(),
        }
    }

    /// An update that was written before, by whichever process.
    #[must_use]
    pub fn written(id: &str, to: &Digest, patience: Duration) -> Self {
        Self {
            stage: Stage::Roll,
            patience,
            ..Self::new(id, to, None)
        }
    }

    /// A roll-back by hand that Swarm was asked for.
    #[must_use]
    pub fn going_back(id: &str, from: &Digest) -> Self {
        Self {
            stage: Stage::Back("by hand".to_owned(), None),
            ..Self::new(id, from, None)
        }
    }

    fn is_there(&self, image: &str) -> bool {
        digest_of(image) == Some(self.to.as_str())
    }
}

impl Rollout<'_> {
    /// Goes one step on, and returns the outcome if that was the last one. A deadline is no reason to roll back.
    #[cold]
    pub fn step(&self, update: &mut Update) -> Option<Outcome> {
        if self.shutdown.is_closed() {
            let words = "imagewatch is stopping, and Swarm goes on".to_owned();
            return Some(match update.stage {
                Stage::Write => Outcome::Later(words),
                _ => Outcome::Open(words),
            });
        }
        let asked = self.engine.service(&update.id);
        let stepped = asked.and_then(|found| match found {
            Some(service) => self.step_on(update, &service),
            None => Ok(Some(Outcome::Alone(REMOVED.to_owned()))),
        });
        match stepped {
            Ok(None) => {}
            Ok(outcome) => return outcome,
            Err(error) if matches!(update.stage, Stage::Write) => {
                return Some(Outcome::Later(error.to_string()));
            }
            Err(error) => {
                update.watch = Watch::default();
                update.last = error.to_string();
            }
        }
        if update.begun.elapsed() < update.patience || update.watch.is_settling(self.settle) {
            return None;
        }
        Some(match &update.stage {
            Stage::Back(words, _) => {
                Outcome::RolledBack(format!("{words} (Swarm still rolls it back)"))
            }
            _ => Outcome::Open(format!("still rolling out: {}", update.last)),
        })
    }

    fn step_on(&self, update: &mut Update, service: &Service) -> Result<Option<Outcome>> {
        match &update.stage {
            Stage::Write => self.write(update, service),
            Stage::Back(words, trouble) => {
                let is_late = update.begun.elapsed() > LATE;
                Ok(went_back(
                    service,
                    update,
                    words,
                    trouble.as_deref(),
                    is_late,
                ))
            }
            Stage::Roll => {
                let marker = Marker::of(service);
                let is_back = service.state().starts_with("rollback_");
                if update.marker.is_none() {
                    update.marker = marker;
                } else if !is_back && marker != update.marker {
                    // Somebody wrote the service anew, perhaps with the same image. What comes of that is not ours.
                    return Ok(Some(Outcome::Alone(CHANGED.to_owned())));
                }
                let tasks = self.engine.tasks(&update.id)?;
                let tasks = Tasks::of(service, &tasks, update.to.as_str());
                let is_late = update.begun.elapsed() > LATE;
                let to = update.to.as_str();
                match update.watch.see(service, &tasks, to, is_late, self.settle) {
                    Seen::Rolling(words) => update.last = words,
                    Seen::Failed(words) => return Ok(self.roll_back(update, service, words)),
                    Seen::Over(outcome) => return Ok(Some(outcome)),
                }
                Ok(None)
            }
        }
    }

    /// Writes the image, if nothing speaks against it.
    #[cold]
    fn write(&self, update: &mut Update, service: &Service) -> Result<Option<Outcome>> {
        let ours = Marker::of(service);
        if update.is_there(service.image()) {
            if ours.is_none() {
                return Ok(Some(Outcome::Unchanged));
            }
            update.patience = SECOND_PATIENCE;
        } else {
            if let Err(reason) = followed(service) {
                return Ok(Some(Outcome::Alone(reason)));
            }
            let state = service.state();
            let is_stuck = state == "paused" && ours.is_some();
            if matches!(
                state,
                "updating" | "paused" | "rollback_started" | "rollback_paused"
            ) && !is_stuck
            {
                let whose = ours.map_or("its owner's update", |_| "an earlier update");
                let reason = format!("{whose} is {state} (docker service inspect shows more)");
                return Ok(Some(Outcome::Later(reason)));
            }
            // The way back from an update on top of one that failed would lead to that one.
            let from = digest_of(service.image()).filter(|_| !is_stuck);
            let marker = Marker::new(from, &update.to);
            let image = pinned(service.image(), &update.to);
            let spec = changed(service, &image, &marker);
            let written = self
                .engine
                .update_service(service, &spec, update.auth.as_ref());
            if let Err(error) = written {
                // The call may have taken effect, or another writer was faster.
                let now = self.engine.service(&update.id)?;
                if now.as_ref().and_then(Marker::of).as_ref() != Some(&marker) {
                    return Ok(Some(Outcome::Later(error.to_string())));
                }
            }
            log::info!(
                "service={}: image={image}, Swarm rolls it out",
                service.name()
            );
            update.marker = Some(marker);
        }
        update.stage = Stage::Roll;
        update.begun = Instant::now();
        Ok(None)
    }

    /// Asks Swarm for the earlier spec, unless its owner wants the pause. The version lets only one such call through.
    #[cold]
    fn roll_back(&self, update: &mut Update, service: &Service, words: String) -> Option<Outcome> {
        let label = labels::ROLLBACK;
        if service.label(label).and_then(labels::switch) == Some(false) {
            return Some(Outcome::Left(format!("{words} (left so: {label}=false)")));
        }
        let from = Marker::of(service).and_then(|marker| marker.from);
        let previous = service.previous();
        let way_back = previous
            .as_ref()
            .map(|previous| digest_of(previous.image()));
        if way_back != Some(from.as_deref()) {
            let why = "Swarm no longer has the spec from before the update";
            return Some(Outcome::Left(format!("{words} ({why})")));
        }
        log::warn!("service={}: {words}; Swarm rolls it back", service.name());
        let asked = self.engine.roll_back_service(service);
        let trouble = asked.err().map(|error| error.to_string());
        update.stage = Stage::Back(words, trouble);
        (update.begun, update.patience) = (Instant::now(), PATIENCE);
        None
    }
}

/// What came of a roll-back that Swarm was asked for, as far as its service shows.
fn went_back(
    service: &Service,
    update: &Update,
    words: &str,
    trouble: Option<&str>,
    is_late: bool,
) -> Option<Outcome> {
    match service.state() {
        "rollback_completed" => Some(Outcome::RolledBack(words.to_owned())),
        "rollback_paused" => {
            let why = "the roll-back is paused too: docker service ps says why";
            Some(Outcome::RolledBack(format!("{words} ({why})")))
        }
        "rollback_started" => None,
        _ if is_late && update.is_there(service.image()) => {
            let trouble = trouble.unwrap_or("Swarm has not begun yet");
            Some(Outcome::Open(format!(
                "{words}, and not rolled back: {trouble}"
            )))
        }
        _ if is_late => Some(Outcome::Alone(CHANGED.to_owned())),
        _ => None,
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
}
