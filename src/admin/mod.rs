//! The admin endpoint: HTTP in, JSON out, no decisions; and one page that shows it to people.
//!
//! [`guard`] stands before it and lets only whole, well-formed, small requests in. Nothing here
//! waits: what takes time is answered later, from the thread that did it.

pub mod guard;
mod page;
mod query;
mod reply;
mod route;
mod stream;

use crate::clerk::Clerk;
use crate::credentials::Secret;
use crate::debug::debug;
use crate::engine::Engine;
use crate::engine::Image;
use crate::error::Error;
use crate::history::History;
use crate::jobs::Answer;
use crate::jobs::Asker;
use crate::jobs::Jobs;
use crate::jobs::Listener;
use crate::metrics::FORMAT;
use crate::metrics::Metrics;
use crate::refresh::Order;
use crate::refresh::Target;
use crate::registry::Registry;
use crate::report::Report;
use crate::select::Seen;
use crate::select::Selection;
use crate::status::Board;
use reply::Reply;
use route::Action;
use route::Answering;
use route::JOBS;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use stream::Stream;
use tiny_http::Header;
use tiny_http::Request;
use tiny_http::Response;

/// How long an answer of the Engine counts as "lately". It also keeps a flood of health questions,
/// which need no token, from becoming a flood of pings.
const LATELY: Duration = Duration::from_secs(1);

/// Answers requests.
#[derive(Debug)]
pub struct Admin {
    /// What callers must show.
    pub token: Option<Secret>,
    /// The catalogue.
    pub catalogue: Vec<Target>,
    /// Takes refreshes.
    pub jobs: Jobs,
    /// What everybody may know.
    pub board: Arc<Board>,
    /// What came of refreshes, and the rejected images.
    pub history: Arc<History>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// The Engine.
    pub engine: Arc<Engine>,
    /// The registries.
    pub registry: Arc<Registry>,
    /// Which containers are managed.
    pub selection: Selection,
    /// Asks the Engine how it is.
    pub health_clerk: Clerk,
    /// Asks the Engine what it runs.
    pub status_clerk: Clerk,
    /// When the Engine was asked last, and what was wrong with it.
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
            Ok(Action::Refresh(order, answering)) => self.refresh(request, order, answering),
            Ok(Action::Job(id)) => respond(
                request,
                match self.jobs.find(&id) {
                    Some(known) => Reply::new(200, &known),
                    None => Reply::error(404, "no such job, or one long past"),
                },
            ),
            Ok(Action::Metrics) => respond(request, self.metrics()),
            Ok(Action::Page) => page::respond(request),
            Ok(Action::Health) => self.later(&self.health_clerk, request, Self::health),
            Ok(Action::Status) => self.later(&self.status_clerk, request, Self::status),
        }
    }

    fn refresh(&self, request: Request, order: Order, answering: Answering) {
        let listener: Box<dyn Listener> = match answering {
            Answering::Report => {
                Box::new(|answer: &Answer| respond(request, refresh_reply(answer)))
            }
            Answering::Stream => match Stream::begin(request) {
                Ok(stream) => Box::new(stream),
                Err(error) => return log::warn!("no progress is shown: {error}"),
            },
            Answering::Job => {
                let id = self
                    .jobs
                    .submit(order, Asker::Admin, Box::new(|_: &Answer| ()));
                let mut reply = Reply::new(202, &json!({ "job": id }));
                reply.location = Some(format!("{JOBS}{id}"));
                return respond(request, reply);
            }
        };
        self.jobs.submit(order, Asker::Admin, listener);
    }

    /// Has a clerk work out the answer.
    fn later(self: &Arc<Self>, clerk: &Clerk, request: Request, answer: fn(&Self) -> Reply) {
        let admin = Arc::clone(self);
        // The request is shared with the clerk's question, so that it is still here to be answered
        // if the clerk has no time for it.
        let shared = Arc::new(Mutex::new(Some(request)));
        let for_clerk = Arc::clone(&shared);
        let asked = clerk.ask(Box::new(move || {
            if let Some(request) = take(&for_clerk) {
                respond(request, answer(&admin));
            }
        }));
        if asked.is_err() {
            if let Some(request) = take(&shared) {
                respond(request, Reply::error(503, "too many requests are waiting"));
            }
        }
    }

    fn health(&self) -> Reply {
        match self.engine_trouble().or_else(|| self.board.stalled()) {
            None => Reply::new(200, &json!({"status": "ok"})),
            Some(reason) => Reply::new(503, &json!({"status": "unhealthy", "error": reason})),
        }
    }

    /// What is wrong with the Engine, if it did not answer lately.
    fn engine_trouble(&self) -> Option<String> {
        let mut last = self
            .last_ping
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, outcome)) = last.as_ref().filter(|(asked, _)| asked.elapsed() < LATELY)
        {
            debug_assert!(asked.elapsed() < LATELY);
            return outcome.clone();
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
        let (engine, containers) = match self.engine.about() {
            Ok(about) => {
                let containers = self.containers();
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
        let status = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "engine": engine,
            "watcher": snapshot.watcher,
            "references": snapshot.references,
            "put_off": self.registry.put_offs(),
            "containers": containers,
            "rejected": self.history.rejected().list(),
            "refreshes": snapshot.refreshes,
            "history": self.history.entries(),
        });
        Reply::new(200, &status)
    }

    fn metrics(&self) -> Reply {
        let page = self.metrics.render(
            &self.board.snapshot(),
            &self.registry.put_offs(),
            self.history.rejected().list().len(),
        );
        Reply::text(FORMAT, &page)
    }

    fn containers(&self) -> Result<Vec<Value>, String> {
        let seen = self.selection.seen(&self.engine);
        let seen = seen.map_err(|error| error.to_string())?;
        // Many containers may run one image; it is asked about once.
        let mut images: HashMap<&str, Option<Image>> = HashMap::new();
        for one in &seen {
            if !images.contains_key(one.image_id.as_str()) {
                let image = match self.engine.image(&one.image_id) {
                    Ok(image) => Some(image),
                    // Others can still be had.
                    Err(Error::Refused { .. } | Error::Malformed { .. }) => None,
                    Err(error) => return Err(error.to_string()),
                };
                images.insert(&one.image_id, image);
            }
        }
        let entry = |one: &Seen| {
            let mut entry = json!({
                "name": one.name,
                "image": one.image_name,
                "image_id": one.image_id,
                "state": one.state,
            });
            if let Some(Some(image)) = images.get(one.image_id.as_str()) {
                entry["image_created"] = json!(image.created());
                entry["image_digests"] = match &one.made_from {
                    Ok(reference) => json!(image.digests_of(reference).collect::<Vec<_>>()),
                    Err(_) => json!([]),
                };
            }
            match &one.made_from {
                Ok(reference) => entry["image"] = json!(reference.to_string()),
                Err(reason) => entry["left_alone"] = json!(reason),
            }
            entry
        };
        Ok(seen.iter().map(entry).collect())
    }
}

/// The answer to a refresh whose containers could not be listed.
#[derive(Serialize)]
struct Partial<'a> {
    error: String,
    partial_result: &'a Report,
}

/// The answer to a refresh.
fn refresh_reply(answer: &Answer) -> Reply {
    match answer {
        Err(reason) => Reply::error(500, reason),
        Ok(outcomes) => match &outcomes.list_error {
            None => Reply::new(200, &outcomes.report),
            Some(error) => Reply::new(
                500,
                &Partial {
                    error: format!("container list: {error}"),
                    partial_result: &outcomes.report,
                },
            ),
        },
    }
}

fn take<T>(shared: &Mutex<Option<T>>) -> Option<T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Sends the answer. A client that is gone is none of our business.
fn respond(request: Request, reply: Reply) {
    let mut response =
        Response::from_string(format!("{}\n", reply.body)).with_status_code(reply.status);
    let headers = [
        ("Content-Type", reply.kind),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ];
    let allow = reply.allow.map(|methods| ("Allow", methods));
    let location = reply.location.as_deref().map(|path| ("Location", path));
    let challenge = (reply.status == 401).then_some(("WWW-Authenticate", "Bearer"));
    for (name, value) in headers
        .into_iter()
        .chain(allow)
        .chain(location)
        .chain(challenge)
    {
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    if let Err(error) = request.respond(response) {
        debug(format_args!("an answer was not taken: {error}"));
    }
}
