//! The admin endpoint: HTTP in, JSON out, no decisions. One page shows the status to people.
//!
//! `guard` stands before this endpoint, and lets in only whole, well-formed, small requests. Nothing here
//! waits: slow work is answered later, from the thread that did the work.

mod access;
mod check;
mod find;
mod guard;
mod hook;
mod owner;
mod page;
mod query;
mod refresh;
mod reply;
mod route;
mod status;
mod stream;
mod summary;

pub use access::Tokens;
pub use guard::Guard;
pub use guard::Stopper;

use crate::engine::Engine;
use crate::engine::Image;
use crate::journal::Board;
use crate::journal::Down;
use crate::journal::FORMAT;
use crate::journal::History;
use crate::journal::Metrics;
use crate::reference::Digest;
use crate::reference::Target;
use crate::registry::Registry;
use crate::secret::Secret;
use crate::thread::Executor;
use crate::update::Images;
use crate::update::Jobs;
use crate::update::Pushes;
use crate::update::Refresher;
use reply::Reply;
use reply::respond;
use route::Action;
use serde_json::json;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use tiny_http::Request;

/// How long the last ping of the Engine is used again. Health checks need no token, so this limit keeps a
/// flood of them from becoming a flood of pings.
const PING_IS_FRESH: Duration = Duration::from_secs(1);

/// The admin endpoint: everything that an answer needs.
#[derive(Debug)]
pub struct Admin {
    /// The tokens of which callers must show one.
    pub tokens: Tokens,
    /// The secret of push hooks; `None` switches them off.
    pub hook_secret: Option<Secret>,
    /// The repositories that something was pushed to.
    pub pushes: Arc<Pushes>,
    /// The time of the last wrong proof that was logged.
    pub last_wrong_proof: Mutex<Option<Instant>>,
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
    /// Works out the plan of the container with this id, and returns its outline as JSON. The registry's image with this
    /// digest counts, if it is here.
    pub plan: fn(&Refresher, &str, Option<Digest>) -> Result<String, String>,
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

/// The values of all `Accept` headers.
fn accepted(request: &Request) -> String {
    let headers = request.headers().iter();
    let accept = headers.filter(|header| header.field.equiv("Accept"));
    let accept: Vec<&str> = accept.map(|header| header.value.as_str()).collect();
    accept.join(",")
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
        let accept = accepted(&request);
        let asked = route::Asked {
            method: request.method().as_str(),
            target: request.url(),
            authorization: header("Authorization"),
            origin: header("Origin"),
            host: header("Host"),
            accept: Some(&accept),
        };
        match route::action(&asked, &self.tokens, &self.catalogue) {
            Err(reply) => respond(request, reply),
            Ok(Action::Refresh(..) | Action::Decide(_)) if self.refresher.itself.is_under_way() => {
                respond(request, Reply::updating_itself());
            }
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
                let is_slow = wish.is_slow();
                let answer = move |admin: &Self, request: Request| admin.decide(request, wish);
                match is_slow {
                    true => self.on_own_thread(request, answer),
                    false => self.later(&self.status_executor, request, answer),
                }
            }
            Ok(Action::Hook(query)) => self.hook(request, &query),
            Ok(Action::Job(id)) => respond(request, self.job(&id)),
            Ok(Action::Metrics) => respond(request, self.metrics()),
            Ok(Action::Page) => page::respond(request),
            Ok(Action::Health) => self.later(&self.health_executor, request, |admin, request| {
                respond(request, admin.health());
            }),
            Ok(Action::Check) => self.on_own_thread(request, |admin, request| {
                respond(request, admin.checked());
            }),
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
                respond(request, Reply::error(503, &"too many requests are waiting"));
            }
        }
    }

    fn job(&self, id: &str) -> Reply {
        match self.jobs.find(id) {
            Some(known) => Reply::new(200, &known),
            None => Reply::error(404, &"no such job, or one long past"),
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

    fn metrics(&self) -> Reply {
        let page = self.metrics.render(
            &self.board.snapshot(),
            &self.registry.put_offs(),
            self.history.rejected().list().len(),
            self.down.list().len(),
            &self.refresher.verified.counts(),
            &self.refresher.selection.replicas(),
        );
        Reply::text(FORMAT, &page)
    }
}

fn take<T>(shared: &Mutex<Option<T>>) -> Option<T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner).take()
}
