//! One request to the Engine and its answer, with the agreed version, deadlines, limits and errors.

use super::Engine;
use super::LIST;
use super::container::Container;
use super::endpoint::Endpoint;
use super::lock;
use super::refusal::hint;
use super::refusal::refused;
use super::refusal::tls_hint;
use super::request::Call;
use super::request::Deadline;
use super::services::Manager;
use crate::error::Error;
use crate::error::Result;
use crate::error::one_line;
use crate::http;
use crate::json;
use crate::json::Broken;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use std::time::Instant;
use ureq::AsSendBody;
use ureq::Body;
use ureq::http::Method;
use ureq::http::Response;

/// Largest answer that is read, lists aside. Real answers are below 100 KiB. As JSON in memory, an answer may take
/// twenty times as much.
pub(super) const ANSWER_LIMIT: u64 = 4 * 1024 * 1024;

/// A GET that failed faster than this met a connection that the Engine had just closed. It is sent once more.
const STALE_CONNECTION: Duration = Duration::from_secs(1);

impl Engine {
    pub(super) fn get(&self, path: &str, deadline: Duration) -> Result<Value> {
        let bytes = self.finish(&Call::new(Method::GET, path, deadline))?;
        self.parse(&Method::GET, path, &bytes)
    }

    pub(super) fn post(&self, path: &str, deadline: Duration) -> Result<()> {
        self.finish(&Call::new(Method::POST, path, deadline))
            .map(drop)
    }

    pub(super) fn post_json(&self, path: &str, body: &Value, deadline: Duration) -> Result<Value> {
        let call = Call {
            body: Some(body),
            ..Call::new(Method::POST, path, deadline)
        };
        let bytes = self.finish(&call)?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        self.parse(&Method::POST, path, &bytes)
    }

    pub(super) fn parse(&self, method: &Method, path: &str, bytes: &[u8]) -> Result<Value> {
        serde_json::from_slice(bytes).map_err(|error| {
            Error::malformed(self.named(method, path), format!("not JSON ({error})"))
        })
    }

    /// Makes the call and reads the whole answer.
    pub(super) fn finish(&self, call: &Call) -> Result<Vec<u8>> {
        self.read(call, ANSWER_LIMIT)
    }

    /// Makes the call and reads the whole answer, up to a limit.
    pub(super) fn read(&self, call: &Call, limit: u64) -> Result<Vec<u8>> {
        let answer = self.call(call);
        let outcome = answer.and_then(|answer| {
            http::read_body(&self.named(&call.method, call.path), answer, limit)
        });
        if call.method == Method::GET {
            self.remember(call.path, outcome.as_ref().err());
        }
        outcome
    }

    /// Makes a GET and hands over the objects of its answer, an array, one at a time.
    pub(super) fn read_objects<T: DeserializeOwned>(
        &self,
        call: &Call,
        limit: u64,
        take: &mut dyn FnMut(T),
    ) -> Result<()> {
        let request = self.named(&call.method, call.path);
        let outcome = self.call(call).and_then(|answer| {
            let body = answer.into_body().into_with_config().limit(limit);
            json::objects(&mut body.reader(), take).map_err(|broken| match broken {
                Broken::Source(error) => http::read_failure(&request, &error),
                // The reason quotes the text that was found, which may have any length.
                Broken::Text(reason) => {
                    let reason = one_line(&format!("not a list ({reason})"));
                    Error::malformed(request, reason)
                }
            })
        });
        self.remember(call.path, outcome.as_ref().err());
        outcome
    }

    /// Remembers a call without an answer until it gets one; see `unanswered`.
    fn remember(&self, path: &str, failure: Option<&Error>) {
        let mut unanswered = lock(&self.unanswered);
        let is_unanswered = match failure {
            Some(error) if error.is_refusal() => path == LIST,
            Some(error) => error.is_unreachable(),
            None => false,
        };
        if is_unanswered {
            *unanswered = Some(path.to_owned());
        } else if unanswered.as_deref() == Some(path) {
            *unanswered = None;
        }
    }

    /// How long the Engine may take to stop a container.
    pub(super) fn stop_deadline(&self, container: &Container) -> Duration {
        container.stop_time() + self.deadlines.stop_margin
    }

    /// Makes the call with the agreed version. The call is made once more if the Engine's version has changed, or if the
    /// Engine had just closed an idle connection.
    pub(super) fn call(&self, call: &Call) -> Result<Response<Body>> {
        let begun = Instant::now();
        match self.call_once(call) {
            Err(error)
                if error.status() == Some(400) && error.words().contains("client version") =>
            {
                self.forget_version();
                self.call_once(call)
            }
            Err(error) if error.is_unreachable() => {
                self.forget_version();
                if call.method == Method::GET && begun.elapsed() < STALE_CONNECTION {
                    return self.call_once(call);
                }
                Err(error)
            }
            outcome => outcome,
        }
    }

    fn call_once(&self, call: &Call) -> Result<Response<Body>> {
        let version = call.version.map_or_else(|| self.api(), Ok)?;
        let path = format!("/v{}{}", version, call.path);
        let answer = self.send(call, &path)?;
        match answer.status().as_u16() {
            // 304 means that the container was started, or stopped, already.
            200..=299 | 304 => Ok(answer),
            _ => Err(refused(&self.named(&call.method, call.path), answer)),
        }
    }

    pub(super) fn send(&self, call: &Call, path: &str) -> Result<Response<Body>> {
        let mut builder = ureq::http::Request::builder()
            .method(&call.method)
            .uri(format!("{}{path}", self.base));
        if let Some(auth) = call.auth {
            builder = builder.header("X-Registry-Auth", auth.reveal());
        }
        // A POST without a body is sent with length 0. Otherwise the Engine would get an empty chunked body, which it
        // refuses for a start.
        let sent = if call.method == Method::POST || call.method == Method::PUT {
            let (kind, body) = match (call.body, call.archive) {
                (Some(json), _) => ("application/json", json::print(json).into_bytes()),
                (None, Some(archive)) => ("application/x-tar", archive.to_vec()),
                (None, None) => ("", Vec::new()),
            };
            if !body.is_empty() {
                builder = builder.header("Content-Type", kind);
            }
            let request = builder.body(body);
            request.map(|request| self.run(request, call.deadline))
        } else {
            let request = builder.body(());
            request.map(|request| self.run(request, call.deadline))
        };
        let sent = sent.map_err(ureq::Error::Http).and_then(|sent| sent);
        let request = || self.named(&call.method, call.path);
        sent.map_err(|error| self.explained(http::failure(&request(), &error)))
    }

    pub(super) fn run(
        &self,
        request: ureq::http::Request<impl AsSendBody>,
        deadline: Deadline,
    ) -> std::result::Result<Response<Body>, ureq::Error> {
        let configured = self.agent.configure_request(request);
        let request = match deadline {
            Deadline::Total(limit) => configured.timeout_global(Some(limit)),
            // Endless interim answers (1xx) are no silence, but they are no answer either.
            Deadline::Idle(limit) => configured
                .timeout_connect(Some(limit))
                .timeout_recv_response(Some(limit))
                .timeout_per_read(Some(limit)),
        };
        self.agent.run(request.build())
    }

    fn forget_version(&self) {
        *lock(&self.offered) = None;
        *lock(&self.about) = None;
        let mut manager = lock(&self.manager);
        *manager = manager.filter(|known| !matches!(known, Manager::No(_)));
    }

    /// The call in words, `METHOD unix:///path /containers/…`, without the query: names and ids say enough.
    pub(super) fn named(&self, method: &Method, path: &str) -> String {
        let path = path.split('?').next().unwrap_or(path);
        format!("{method} {} {path}", self.endpoint)
    }

    /// Adds a hint to the error of an Engine that cannot be reached.
    fn explained(&self, mut error: Error) -> Error {
        if error.is_unreachable() {
            if let Endpoint::Tls(..) = self.endpoint {
                tls_hint(error.words_mut());
            }
            let hint = hint(&self.endpoint, error.words());
            error.words_mut().push_str(&hint);
        }
        error
    }
}
