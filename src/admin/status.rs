//! The status: the watcher, each reference, and each managed container as it is now.

use super::Admin;
use super::reply::Reply;
use crate::engine::Image;
use crate::error::Kind;
use crate::journal::AllDecisions;
use crate::journal::Held;
use crate::journal::Snapshot;
use crate::journal::Standing;
use crate::journal::Waiting;
use crate::reference::Reference;
use crate::update::Seen;
use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;
use serde_json::Value;
use serde_json::json;
use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

/// How long an answer may take for new surveys. If more tags have moved, their surveys are left to the next answers.
const SURVEYING: Duration = Duration::from_millis(20);

impl Admin {
    #[cold]
    pub(super) fn status(&self) -> Reply {
        let snapshot = self.board.snapshot();
        let decisions = self.history.decisions().current(SystemTime::now());
        let (engine, containers) = match self.engine.ask_about() {
            Ok(about) => {
                let containers = self.containers(&snapshot, &decisions.held);
                let error = containers.as_ref().err().cloned();
                let engine = json!({
                    "endpoint": self.engine.endpoint().to_string(),
                    "reachable": true, "name": about.name, "version": about.version,
                    "api_version": about.api.to_string(), "error": error,
                });
                (engine, containers.unwrap_or_default())
            }
            Err(error) => {
                let engine = json!({
                    "endpoint": self.engine.endpoint().to_string(),
                    "reachable": false, "error": error.to_string(),
                });
                (engine, Vec::new())
            }
        };
        let status = Status {
            admin: self,
            engine,
            snapshot,
            decisions,
            containers,
        };
        Reply::new(200, &status)
    }

    /// Returns every managed container as it is now.
    #[cold]
    pub(super) fn containers(
        &self,
        snapshot: &Snapshot,
        held: &[Held],
    ) -> Result<Vec<Shown>, String> {
        let seen = self.refresher.selection.seen(&self.engine);
        let seen = seen.map_err(|error| error.to_string())?;
        let images = self.images(&seen).map_err(|error| error.to_string())?;
        let behind = self.behind(snapshot, &seen);
        let waiting = snapshot.references.iter().flat_map(|entry| &entry.waiting);
        let waiting: HashMap<&str, _> = waiting.map(|one| (one.name.as_str(), one)).collect();
        let itself = self.refresher.itself.id();
        let entry = |one: Seen| {
            let held = held.iter().find(|held| held.container == one.name);
            let held = held.cloned();
            let (mut image_created, mut image_digests, mut version) = (None, None, None);
            if let Some(image) = images.get(one.image_id.as_str()) {
                image_created = Some(image.created().to_owned());
                version = image.provenance().version;
                image_digests = Some(match &one.made_from {
                    Ok(reference) => image.digests_of(reference).map(str::to_owned).collect(),
                    Err(_) => Vec::new(),
                });
            }
            let behind = one
                .made_from
                .as_ref()
                .ok()
                .and_then(|from| behind.get(from));
            let waiting = waiting
                .get(one.name.as_str())
                .filter(|_| one.made_from.is_ok());
            let (image, left_alone) = match &one.made_from {
                Ok(reference) => (reference.to_string(), None),
                Err(reason) => (one.image_name, Some(reason.clone())),
            };
            Shown {
                behind: behind.map(|behind| behind.contains(&one.name)),
                held,
                image,
                image_created,
                image_digests,
                image_id: one.image_id,
                left_alone,
                waiting: waiting.map(|waiting| (*waiting).clone()),
                name: one.name,
                group: one.group,
                itself: (itself == Some(&one.id)).then_some(true),
                service: one.service.is_some().then_some(true),
                state: one.state,
                version,
            }
        };
        let entries = seen.into_iter().map(entry).collect();
        let mut kept = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(images.into_values());
        Ok(entries)
    }

    /// Takes the images of these containers, by id. Each image is inspected once, at the first look that shows it.
    fn images(&self, seen: &[Seen]) -> crate::error::Result<HashMap<String, Image>> {
        let mut kept = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        let known = std::mem::take(&mut *kept).into_iter();
        let mut known: HashMap<String, Image> =
            known.map(|image| (image.id().to_owned(), image)).collect();
        let mut images = HashMap::new();
        for one in seen {
            if images.contains_key(&one.image_id) || one.service.is_some() {
                continue;
            }
            let image = match known.remove(&one.image_id) {
                Some(image) => image,
                None => match self.engine.image(&one.image_id) {
                    Ok(image) => image.outline(),
                    // One image that cannot be read does not hide the others.
                    Err(error)
                        if matches!(error.kind(), Kind::Refused { .. } | Kind::Malformed) =>
                    {
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            images.insert(one.image_id.clone(), image);
        }
        Ok(images)
    }

    /// Returns, for each reference, the containers that run another image than its registry had at the last
    /// look-up. The last survey tells. A new one is made, if there is time, where it does not know the digest or an image.
    #[cold]
    fn behind(&self, snapshot: &Snapshot, seen: &[Seen]) -> HashMap<Reference, Vec<String>> {
        let mut of: HashMap<&Reference, Vec<&Seen>> = HashMap::new();
        for one in seen.iter().filter(|one| !one.stays_stopped) {
            if let Ok(reference) = &one.made_from {
                of.entry(reference).or_default().push(one);
            }
        }
        let (mut behind, begun) = (HashMap::new(), Instant::now());
        for entry in &snapshot.references {
            let (Some(digest), false) = (
                &entry.registry_digest,
                matches!(entry.state, Standing::Unknown | Standing::Local),
            ) else {
                continue;
            };
            let Ok(reference) = entry.reference.parse() else {
                continue;
            };
            let users = of.remove(&reference).unwrap_or_default();
            let known = users.iter().map(|one| entry.is_behind(&one.image_id));
            let names = match (entry.state, known.collect::<Option<Vec<bool>>>()) {
                (Standing::Current | Standing::Absent, _) => Vec::new(),
                (_, Some(known)) => {
                    let behind = users.iter().zip(known).filter(|(_, is_behind)| *is_behind);
                    behind.map(|(one, _)| one.name.clone()).collect()
                }
                (_, None) if begun.elapsed() > SURVEYING => continue,
                (_, None) => {
                    let Ok(digest) = digest.parse() else {
                        continue;
                    };
                    let Ok(survey) = self.refresher.survey(&reference, &digest, seen) else {
                        continue;
                    };
                    self.board.surveyed(&reference, &digest, &survey);
                    survey.behind.into_iter().map(|one| one.name).collect()
                }
            };
            behind.insert(reference, names);
        }
        behind
    }
}

/// A container in the status.
#[derive(Serialize)]
pub(super) struct Shown {
    /// Whether it runs another image than its registry has, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    pub image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_digests: Option<Vec<String>>,
    pub image_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_alone: Option<String>,
    /// The Compose project or the stack that the container belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whether imagewatch runs in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub itself: Option<bool>,
    pub name: String,
    /// Whether it is a Swarm service. Then the state says how many tasks run, and how many should.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<bool>,
    pub state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// The status. It is written as it is, because a copy of thousands of entries as one value would take long.
struct Status<'a> {
    admin: &'a Admin,
    engine: Value,
    snapshot: Snapshot,
    decisions: AllDecisions,
    containers: Vec<Shown>,
}

impl Serialize for Status<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (admin, snapshot) = (self.admin, &self.snapshot);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("version", env!("CARGO_PKG_VERSION"))?;
        map.serialize_entry("engine", &self.engine)?;
        map.serialize_entry("watcher", &snapshot.watcher)?;
        map.serialize_entry("references", &snapshot.references)?;
        map.serialize_entry("put_off", &admin.registry.put_offs())?;
        map.serialize_entry("containers", &self.containers)?;
        map.serialize_entry("under_way", &snapshot.under_way)?;
        map.serialize_entry("down", &admin.down.list())?;
        map.serialize_entry("rejected", &admin.history.rejected().list())?;
        map.serialize_entry("held", &self.decisions.held)?;
        map.serialize_entry("skipped", &self.decisions.skipped)?;
        map.serialize_entry("refreshes", &snapshot.refreshes)?;
        map.serialize_entry("history", &admin.history.entries())?;
        map.end()
    }
}
