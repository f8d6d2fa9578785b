//! The admin endpoint: HTTP in, JSON out, no decisions. One page shows the status to people.
//!
//! `guard` stands before this endpoint, and lets in only whole, well-formed, small requests. Nothing here
//! waits: slow work is answered later, from the thread that did the work.

mod check;
mod guard;
mod owner;
mod page;
mod query;
mod refresh;
mod reply;
mod route;
mod stream;
mod summary;

pub use guard::Guard;
pub use guard::Stopper;

use crate::engine::Engine;
use crate::engine::Image;
use crate::error::Error;
use crate::journal::AllDecisions;
use crate::journal::Board;
use crate::journal::Down;
use crate::journal::FORMAT;
use crate::journal::Held;
use crate::journal::History;
use crate::journal::Metrics;
use crate::journal::Snapshot;
use crate::journal::Standing;
use crate::reference::Target;
use crate::registry::Registry;
use crate::secret::Secret;
use crate::thread::Executor;
use crate::update::Images;
use crate::update::Jobs;
use crate::update::Refresher;
use crate::update::Seen;
use reply::Reply;
use reply::respond;
use route::Action;
use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;
use serde_json::Value;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use tiny_http::Request;

/// How long an answer may take for new surveys. If more tags have moved, their surveys are left to the next answers.
const SURVEYING: Duration = Duration::from_millis(20);
/// How long the last ping of the Engine is used again. Health checks need no token, so this limit keeps a
/// flood of them from becoming a flood of pings.
const PING_IS_FRESH: Duration = Duration::from_secs(1);

/// The admin endpoint: everything that an answer needs.
#[derive(Debug)]
pub struct Admin {
    /// The token that callers must show; `None` serves this box only.
    pub token: Option<Secret>,
    /// The runtimes that the platform names, and their images.
    pub catalogue: Vec<Target>,
    /// The queue that refreshes go into.
    pub jobs: Jobs,
    /// The state of the watcher and of each reference.
    pub board: Arc<Board>,
    /// The outcomes of past refreshes, and the rejected images.
    pub history: Arc<History>,
    /// The containers that should run and do not.
    pub down: Arc<Down>,
    /// The counters for Prometheus.
    pub metrics: Arc<Metrics>,
    /// The Engine, for pings and for the list of containers.
    pub engine: Arc<Engine>,
    /// The registries, for the hosts that are put off.
    pub registry: Arc<Registry>,
    /// The selection of managed containers, and their survey.
    pub refresher: Arc<Refresher>,
    /// Looks up every followed reference, and returns the JSON that `imagewatch check --json` prints.
    pub check: fn(&Refresher) -> Result<String, String>,
    /// Locked while a check runs.
    pub checks: Mutex<()>,
    /// The thread that pings the Engine for `/health`.
    pub health_executor: Executor,
    /// The thread that lists containers for the status, and before a refresh of named images.
    pub status_executor: Executor,
    /// The images of the managed containers at the last look, without their settings.
    pub images: Mutex<Vec<Image>>,
    /// The time of the last ping, and the trouble that it found.
    pub last_ping: Mutex<Option<(Instant, Option<String>)>>,
}

impl Admin {
    /// Answers one request, now or later, and never blocks.
    pub fn handle(self: &Arc<Self>, request: Request) {
        let header = |name: &str| {
            let found = request
                .headers()
                .iter()
                .find(|header| header.field.as_str().as_str().eq_ignore_ascii_case(name));
            found.map(|header| header.value.as_str())
        };
        let accept: Vec<&str> = request
            .headers()
            .iter()
            .filter(|header| header.field.equiv("Accept"))
            .map(|header| header.value.as_str())
            .collect();
        let accept = accept.join(",");
        let asked = route::Asked {
            method: request.method().as_str(),
            target: request.url(),
            authorization: header("Authorization"),
            origin: header("Origin"),
            host: header("Host"),
            accept: Some(&accept),
        };
        match route::action(&asked, self.token.as_ref(), &self.catalogue) {
            Err(reply) => respond(request, reply),
            Ok(Action::Refresh(order, answering)) => match &order.images {
                Images::Managed(only) if !only.is_empty() => {
                    let answer = move |admin: &Self, request: Request| {
                        admin.refresh_named(request, order, answering);
                    };
                    self.later(&self.status_executor, request, answer);
                }
                _ => self.refresh(request, order, answering),
            },
            Ok(Action::Decide(wish)) => {
                let answer = move |admin: &Self, request: Request| admin.decide(request, wish);
                self.later(&self.status_executor, request, answer);
            }
            Ok(Action::Job(id)) => respond(
                request,
                match self.jobs.find(&id) {
                    Some(known) => Reply::new(200, &known),
                    None => Reply::error(404, "no such job, or one long past"),
                },
            ),
            Ok(Action::Metrics) => respond(request, self.metrics()),
            Ok(Action::Page) => page::respond(request),
            Ok(Action::Health) => self.later(&self.health_executor, request, |admin, request| {
                respond(request, admin.health());
            }),
            Ok(Action::Check) => self.check_now(request),
            Ok(Action::Summary) => self.later(&self.status_executor, request, |admin, request| {
                respond(request, admin.summary());
            }),
            Ok(Action::Status) => self.later(&self.status_executor, request, |admin, request| {
                respond(request, admin.status());
            }),
        }
    }

    /// Lets an executor answer, or answers 503 if the executor has too much to do.
    fn later(
        self: &Arc<Self>,
        executor: &Executor,
        request: Request,
        answer: impl FnOnce(&Self, Request) + Send + 'static,
    ) {
        let admin = Arc::clone(self);
        // The executor drops a task that it cannot take. The request is shared, so that it can still be
        // answered then.
        let shared = Arc::new(Mutex::new(Some(request)));
        let for_executor = Arc::clone(&shared);
        let accepted = executor.ask(Box::new(move || {
            if let Some(request) = take(&for_executor) {
                answer(&admin, request);
            }
        }));
        if accepted.is_err() {
            if let Some(request) = take(&shared) {
                respond(request, Reply::error(503, "too many requests are waiting"));
            }
        }
    }

    fn health(&self) -> Reply {
        let trouble = self
            .engine_trouble()
            .or_else(|| self.down.in_words())
            .or_else(|| self.board.stalled());
        match trouble {
            None => Reply::new(200, &json!({"status": "ok"})),
            Some(reason) => Reply::new(503, &json!({"status": "unhealthy", "error": reason})),
        }
    }

    /// Returns the trouble that the last ping found. Pings again if that ping is too old.
    fn engine_trouble(&self) -> Option<String> {
        let mut last = self
            .last_ping
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, trouble)) = last
            .as_ref()
            .filter(|(asked, _)| asked.elapsed() < PING_IS_FRESH)
        {
            return trouble.clone();
        }
        let trouble = self
            .engine
            .trouble()
            .map(|error| format!("engine: {error}"));
        *last = Some((Instant::now(), trouble.clone()));
        trouble
    }

    fn status(&self) -> Reply {
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

    fn metrics(&self) -> Reply {
        let page = self.metrics.render(
            &self.board.snapshot(),
            &self.registry.put_offs(),
            self.history.rejected().list().len(),
            self.down.list().len(),
        );
        Reply::text(FORMAT, &page)
    }

    fn containers(&self, snapshot: &Snapshot, held: &[Held]) -> Result<Vec<Value>, String> {
        let seen = self.refresher.selection.seen(&self.engine);
        let seen = seen.map_err(|error| error.to_string())?;
        let images = self.images(&seen).map_err(|error| error.to_string())?;
        let behind = self.behind(snapshot, &seen);
        let entry = |one: &Seen| {
            let mut entry = json!({
                "name": one.name,
                "image": one.image_name,
                "image_id": one.image_id,
                "state": one.state,
            });
            if let Some(held) = held.iter().find(|held| held.container == one.name) {
                entry["held"] = json!(held);
            }
            if let Some(image) = images.get(one.image_id.as_str()) {
                entry["image_created"] = json!(image.created());
                if let Some(version) = image.provenance().version {
                    entry["version"] = json!(version);
                }
                entry["image_digests"] = match &one.made_from {
                    Ok(reference) => json!(image.digests_of(reference).collect::<Vec<_>>()),
                    Err(_) => json!([]),
                };
            }
            match &one.made_from {
                Ok(reference) => {
                    let reference = reference.to_string();
                    let mut references = snapshot.references.iter();
                    let watched = references.find(|entry| entry.reference == reference);
                    let waiting = watched.iter().flat_map(|entry| &entry.waiting);
                    if let Some(waiting) = waiting.clone().find(|other| other.name == one.name) {
                        entry["waiting"] = json!(waiting);
                    }
                    if let Some(behind) = behind.get(reference.as_str()) {
                        entry["behind"] = json!(behind.contains(&one.name));
                    }
                    entry["image"] = json!(reference);
                }
                Err(reason) => entry["left_alone"] = json!(reason),
            }
            entry
        };
        let entries = seen.iter().map(entry).collect();
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
            if images.contains_key(&one.image_id) {
                continue;
            }
            let image = match known.remove(&one.image_id) {
                Some(image) => image,
                None => match self.engine.image(&one.image_id) {
                    Ok(image) => image.outline(),
                    // One image that cannot be read does not hide the others.
                    Err(Error::Refused { .. } | Error::Malformed { .. }) => continue,
                    Err(error) => return Err(error),
                },
            };
            images.insert(one.image_id.clone(), image);
        }
        Ok(images)
    }

    /// Returns, for each reference, the containers that run another image than its registry had at the last
    /// look-up. The last survey tells. A new one is made, if there is time, where it does not know the digest or an image.
    fn behind<'s>(&self, snapshot: &'s Snapshot, seen: &[Seen]) -> HashMap<&'s str, Vec<String>> {
        let mut of: HashMap<String, Vec<&Seen>> = HashMap::new();
        for one in seen.iter().filter(|one| !one.stays_stopped) {
            if let Ok(reference) = &one.made_from {
                of.entry(reference.to_string()).or_default().push(one);
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
            let users = of.remove(&entry.reference).unwrap_or_default();
            let known = users.iter().map(|one| entry.is_behind(&one.image_id));
            let names = match (entry.state, known.collect::<Option<Vec<bool>>>()) {
                (Standing::Current | Standing::Absent, _) => Vec::new(),
                (_, Some(known)) => {
                    let behind = users.iter().zip(known).filter(|(_, is_behind)| *is_behind);
                    behind.map(|(one, _)| one.name.clone()).collect()
                }
                (_, None) if begun.elapsed() > SURVEYING => continue,
                (_, None) => {
                    let (Ok(reference), Ok(digest)) = (entry.reference.parse(), digest.parse())
                    else {
                        continue;
                    };
                    let Ok(survey) = self.refresher.survey(&reference, &digest, seen) else {
                        continue;
                    };
                    self.board.surveyed(&reference, &digest, &survey);
                    survey.behind.into_iter().map(|one| one.name).collect()
                }
            };
            behind.insert(entry.reference.as_str(), names);
        }
        behind
    }
}

/// The status. It is written as it is, because a copy of thousands of entries as one value would take long.
struct Status<'a> {
    admin: &'a Admin,
    engine: Value,
    snapshot: Snapshot,
    decisions: AllDecisions,
    containers: Vec<Value>,
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
        map.serialize_entry("down", &admin.down.list())?;
        map.serialize_entry("rejected", &admin.history.rejected().list())?;
        map.serialize_entry("held", &self.decisions.held)?;
        map.serialize_entry("skipped", &self.decisions.skipped)?;
        map.serialize_entry("refreshes", &snapshot.refreshes)?;
        map.serialize_entry("history", &admin.history.entries())?;
        map.end()
    }
}

fn take<T>(shared: &Mutex<Option<T>>) -> Option<T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner).take()
}
