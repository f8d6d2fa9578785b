//! The Engine: one method for each call of the Docker Engine API that we need, and no policy.
//!
//! Paths carry the API version: the newest one both sides know, asked for with `/_ping` and asked
//! for again whenever the connection had to be made anew or the Engine says that it changed.
//! Sources: Docker Engine API v1.41 to v1.51.

mod about;
mod call;
mod container;
mod exec;
mod logs;
mod permission;
mod pull;
mod refusal;
mod socket;
mod summary;

pub use about::About;
pub use about::ApiVersion;
pub use call::Deadlines;
pub use call::Removal;
pub use container::Container;
pub use container::FOLLOWED_LABEL;
pub use container::Image;
pub use container::STOP_SIGNAL_LABEL;
pub use container::State;
pub use pull::PullLine;
pub use refusal::is_denial;
pub use refusal::is_full;
pub use summary::Summary;

use crate::config::Endpoint;
use crate::credentials::Secret;
use crate::debug::debug;
use crate::error::Error;
use crate::error::Result;
use crate::error::one_line;
use crate::http;
use crate::reference::Reference;
use about::NEWEST_API;
use call::Call;
use call::Deadline;
use logs::demultiplexed;
use refusal::hint;
use refusal::is_unsure_of_image;
use refusal::pull_error;
use refusal::refused;
use refusal::said;
use serde_json::Value;
use serde_json::json;
use socket::NoResolver;
use socket::UnixConnector;
use std::cmp::Reverse;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;
use std::time::Instant;
use ureq::Agent;
use ureq::AsSendBody;
use ureq::Body;
use ureq::http::Method;
use ureq::http::Response;

/// The list of containers, stopped ones too.
const LIST: &str = "/containers/json?all=1";
/// Largest list of containers that is read; 1,000 of them make 2 MiB.
const LIST_LIMIT: u64 = 64 * 1024 * 1024;
/// Largest other answer that is read. Real ones are below 100 KiB; as JSON in memory, they may take
/// twenty times as much.
const ANSWER_LIMIT: u64 = 4 * 1024 * 1024;
/// Longest piece of a container's log that is read.
const LOG_LIMIT: u64 = 64 * 1024;
/// A GET that failed this fast met a connection the Engine had just closed, and is sent once more.
const STALE_CONNECTION: Duration = Duration::from_secs(1);
/// How often, and after what pause, an image is asked for again that the Engine is unsure of.
const UNSURE_RETRIES: u32 = 3;
const UNSURE_PAUSE: Duration = Duration::from_millis(300);

/// A client of one Engine. Cheap to share; each thread that calls has its own connection.
#[derive(Debug)]
pub struct Engine {
    endpoint: Endpoint,
    agent: Agent,
    base: String,
    deadlines: Deadlines,
    api: Mutex<Option<ApiVersion>>,
    /// The path of the last GET that was left without an answer, or of the list if that was refused, until
    /// it gets one.
    unanswered: Mutex<Option<String>>,
}

impl Engine {
    /// A client; nothing is sent before the first call.
    #[must_use]
    pub fn new(endpoint: &Endpoint) -> Self {
        Self::with_deadlines(endpoint, Deadlines::default())
    }

    /// The same with other deadlines than the usual ones.
    #[must_use]
    pub fn with_deadlines(endpoint: &Endpoint, deadlines: Deadlines) -> Self {
        let config = http::agent_config().build();
        let (agent, base) = match endpoint {
            Endpoint::Unix(path) => (
                Agent::with_parts(config, UnixConnector::new(path.clone()), NoResolver),
                "http://engine".to_owned(),
            ),
            Endpoint::Tcp(address) => (Agent::new_with_config(config), format!("http://{address}")),
        };
        Self {
            endpoint: endpoint.clone(),
            agent,
            base,
            deadlines,
            api: Mutex::new(None),
            unanswered: Mutex::new(None),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether the Engine answers, and the API version to speak with it (`GET /_ping`).
    ///
    /// # Errors
    /// See [`Error`]; so for every method here.
    pub fn ping(&self) -> Result<ApiVersion> {
        let request = self.named(&Method::GET, "/_ping");
        let answer = self.send(
            &Call::new(Method::GET, "/_ping", self.deadlines.ping),
            "/_ping",
        )?;
        let header = answer.headers().get("api-version");
        let offered = header.and_then(|value| ApiVersion::parse(value.to_str().ok()?));
        if answer.status() != 200 {
            return Err(refused(&request, answer));
        }
        let Some(offered) = offered else {
            return Err(Error::Malformed {
                request,
                reason: "no Api-Version header (is this a Docker Engine?)".to_owned(),
            });
        };
        http::read_body(&request, answer, ANSWER_LIMIT)?;
        let agreed = offered.min(NEWEST_API);
        *lock(&self.api) = Some(agreed);
        Ok(agreed)
    }

    /// What is wrong with the Engine, if it does not answer now. One that answers a ping may hang in
    /// all else, or stand behind somebody who refuses it, so the last question that it left unanswered is
    /// asked again, until it is not.
    #[must_use]
    pub fn trouble(&self) -> Option<Error> {
        if let Err(error) = self.ping() {
            return Some(error);
        }
        let path = lock(&self.unanswered).clone()?;
        let again = Call::new(Method::GET, &path, self.deadlines.ping);
        let error = self.read(&again, LIST_LIMIT).err()?;
        lock(&self.unanswered).is_some().then_some(error)
    }

    /// The API version to speak; asks the Engine if it is not known.
    pub fn api(&self) -> Result<ApiVersion> {
        let known = *lock(&self.api);
        known.map_or_else(|| self.ping(), Ok)
    }

    /// Name and version (`GET /version`). Podman starts other programs to find out, so this is no ping.
    pub fn about(&self) -> Result<About> {
        let json = self.get("/version", self.deadlines.call)?;
        let component = json["Components"][0]["Name"].as_str();
        let name = match component {
            Some("Engine") | None => "Docker Engine",
            Some(other) => other,
        };
        Ok(About {
            name: name.to_owned(),
            version: json["Version"].as_str().unwrap_or_default().to_owned(),
            api: self.api()?,
            arch: json["Arch"].as_str().unwrap_or_default().to_owned(),
        })
    }

    /// Every container, stopped ones too, the newest first (`GET /containers/json`). Podman lists them in any
    /// order; of two that were created in the same second, the Engine's counts.
    pub fn containers(&self) -> Result<Vec<Summary>> {
        let request = self.named(&Method::GET, LIST);
        let call = Call::new(Method::GET, LIST, self.deadlines.call);
        let bytes = self.read(&call, LIST_LIMIT)?;
        let mut list: Vec<Summary> =
            serde_json::from_slice(&bytes).map_err(|error| Error::Malformed {
                request,
                // It quotes what was found, however long that is.
                reason: one_line(&format!("not a list of containers ({error})")),
            })?;
        list.sort_by_key(|one| Reverse(one.created()));
        Ok(list)
    }

    /// One container, by id or name (`GET /containers/{id}/json`).
    pub fn container(&self, id: &str) -> Result<Container> {
        let path = format!("/containers/{}/json", segment(id));
        self.get(&path, self.deadlines.call).map(Container::new)
    }

    /// The same, where it is no error that there is none.
    pub fn find(&self, id: &str) -> Result<Option<Container>> {
        match self.container(id) {
            Ok(container) => Ok(Some(container)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One image, by id or reference (`GET /images/{name}/json`).
    pub fn image(&self, name: &str) -> Result<Image> {
        let path = format!("/images/{}/json", http::percent_encode(name, "/:@"));
        let mut found = self.get(&path, self.deadlines.call);
        for _ in 0..UNSURE_RETRIES {
            if !found.as_ref().is_err_and(is_unsure_of_image) {
                break;
            }
            thread::sleep(UNSURE_PAUSE);
            found = self.get(&path, self.deadlines.call);
        }
        found.map(Image::new)
    }

    /// The same, where it is no error that there is none.
    pub fn find_image(&self, name: &str) -> Result<Option<Image>> {
        match self.image(name) {
            Ok(image) => Ok(Some(image)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One image as Podman itself shows it (`GET /libpod/images/{name}/json`), made to look like
    /// Docker's: the health check, which is only here, moved to where that has it.
    pub fn podman_image(&self, name: &str) -> Result<Image> {
        let path = format!("/libpod/images/{}/json", http::percent_encode(name, "/:@"));
        let mut json = self.get(&path, self.deadlines.call)?;
        let health_check = json.get_mut("Healthcheck").map(Value::take);
        if let Some(Value::Object(config)) = json.get_mut("Config") {
            config.insert("Healthcheck".to_owned(), health_check.unwrap_or_default());
        }
        Ok(Image::new(json))
    }

    /// One container as Podman itself shows it (`GET /libpod/containers/{id}/json`).
    pub fn podman_container(&self, id: &str) -> Result<Value> {
        let path = format!("/libpod/containers/{}/json", segment(id));
        self.get(&path, self.deadlines.call)
    }

    /// Pulls an image (`POST /images/create`) and reads the stream to its end.
    ///
    /// # Errors
    /// Also when the error stands inside the stream of a 200, or when the stream stops for longer
    /// than five minutes.
    pub fn pull(
        &self,
        reference: &Reference,
        platform: Option<&str>,
        auth: Option<&Secret>,
        on_line: impl FnMut(&PullLine),
    ) -> Result<()> {
        let tag = reference.digest().map_or_else(
            || reference.tag().unwrap_or("latest").to_owned(),
            ToString::to_string,
        );
        let mut path = format!(
            "/images/create?fromImage={}&tag={}",
            http::percent_encode(&reference.name(), ""),
            http::percent_encode(&tag, "")
        );
        if let Some(platform) = platform {
            path.push_str(&format!("&platform={}", http::percent_encode(platform, "")));
        }
        let request = format!("pull {reference} at {}", self.endpoint);
        let call = Call {
            method: Method::POST,
            path: &path,
            body: None,
            auth,
            deadline: Deadline::Idle(self.deadlines.silence),
        };
        let answer = self
            .call(&call)
            .map_err(|error| pull_error(error, &request, reference))?;
        match pull::read(answer.into_body().into_reader(), on_line) {
            pull::End::Done => Ok(()),
            pull::End::Failed(words) => {
                let error = Error::Refused {
                    request: request.clone(),
                    status: 200,
                    message: format!("and then: {}", said(&words)),
                    retry_after: None,
                };
                Err(pull_error(error, &request, reference))
            }
            pull::End::Broken(error) => Err(http::read_failure(&request, &error)),
        }
    }

    /// Creates a container and answers its id (`POST /containers/create`). What the Engine warns
    /// of is logged.
    pub fn create(&self, name: &str, platform: Option<&str>, body: &Value) -> Result<String> {
        let mut path = format!("/containers/create?name={}", http::percent_encode(name, ""));
        if let Some(platform) = platform {
            path.push_str(&format!("&platform={}", http::percent_encode(platform, "")));
        }
        let json = self.post_json(&path, body, self.deadlines.heavy)?;
        for warning in json["Warnings"].as_array().into_iter().flatten() {
            debug(format_args!("{name}: the Engine warns: {warning}"));
        }
        match json["Id"].as_str() {
            Some(id) => Ok(id.to_owned()),
            None => Err(Error::Malformed {
                request: self.named(&Method::POST, &path),
                reason: "an answer without an id".to_owned(),
            }),
        }
    }

    /// Starts a container; one that runs already is fine (`POST /containers/{id}/start`).
    pub fn start(&self, id: &str) -> Result<()> {
        let path = format!("/containers/{}/start", segment(id));
        self.post(&path, self.deadlines.heavy)
    }

    /// Stops a container with its owner's signal and timeout; one that is stopped already is fine
    /// (`POST /containers/{id}/stop`). Our deadline is longer than the owner's timeout.
    ///
    /// Before API 1.42, and with Podman, a stop knows no signal, so one asked for by label is sent by
    /// itself (`POST /containers/{id}/kill`), and the stop follows once its time is over
    /// (`POST /containers/{id}/wait`).
    pub fn stop(&self, container: &Container) -> Result<()> {
        let id = segment(container.id());
        let mut path = format!("/containers/{id}/stop");
        if let Some(signal) = container.stop_signal_label() {
            let signal = http::percent_encode(signal, "");
            if self.api()? >= ApiVersion::STOP_SIGNAL && !self.about()?.is_podman() {
                path.push_str(&format!("?signal={signal}"));
            } else if container.state() == State::Running {
                self.post(
                    &format!("/containers/{id}/kill?signal={signal}"),
                    self.deadlines.call,
                )?;
                // Whatever comes of this, the stop goes by what is there then.
                let _ = self.post(&format!("/containers/{id}/wait"), container.stop_time());
            }
        }
        self.post(&path, self.stop_deadline(container))
    }

    /// Stops and starts a container (`POST /containers/{id}/restart`).
    pub fn restart(&self, container: &Container) -> Result<()> {
        let path = format!("/containers/{}/restart", segment(container.id()));
        self.post(&path, self.stop_deadline(container) + self.deadlines.heavy)
    }

    /// Removes an image that nothing uses (`DELETE /images/{name}`, not forced).
    pub fn remove_image(&self, id: &str) -> Result<()> {
        let path = format!("/images/{}", http::percent_encode(id, ":"));
        self.finish(&Call::new(Method::DELETE, &path, self.deadlines.heavy))
            .map(drop)
    }

    /// Renames a container (`POST /containers/{id}/rename`).
    pub fn rename(&self, id: &str, name: &str) -> Result<()> {
        let encoded = http::percent_encode(name, "");
        let path = format!("/containers/{}/rename?name={encoded}", segment(id));
        let outcome = self.post(&path, self.deadlines.call);
        outcome.map_err(|error| match error {
            // Podman does not say which name it is about.
            Error::Refused {
                request,
                status,
                message,
                retry_after,
            } if !message.contains(name) => Error::Refused {
                request,
                status,
                message: format!("to {name:?}: {message}"),
                retry_after,
            },
            other => other,
        })
    }

    /// Joins a container to a network (`POST /networks/{id}/connect`); for Engines that take only
    /// one network at creation, those before API 1.44.
    pub fn connect(&self, network: &str, id: &str, endpoint: &Value) -> Result<()> {
        let path = format!("/networks/{}/connect", segment(network));
        let body = json!({"Container": id, "EndpointConfig": endpoint});
        let call = Call {
            body: Some(&body),
            ..Call::new(Method::POST, &path, self.deadlines.call)
        };
        // Docker answers nothing, Podman 4.3 `OK`.
        self.finish(&call).map(drop)
    }

    /// Changes a container's restart policy (`POST /containers/{id}/update`).
    pub fn set_restart_policy(&self, id: &str, policy: &Value) -> Result<()> {
        let path = format!("/containers/{}/update", segment(id));
        let body = json!({"RestartPolicy": policy});
        self.post_json(&path, &body, self.deadlines.call).map(drop)
    }

    /// Removes a container (`DELETE /containers/{id}`).
    pub fn remove(&self, id: &str, how: Removal) -> Result<()> {
        let query = match how {
            Removal::KeepVolumes => "force=0&v=0",
            Removal::Force => "force=1&v=0",
            Removal::ForceWithAnonymousVolumes => "force=1&v=1",
        };
        let path = format!("/containers/{}?{query}", segment(id));
        let call = Call::new(Method::DELETE, &path, self.deadlines.heavy);
        self.finish(&call).map(drop)
    }

    /// The last lines a container printed, of both streams (`GET /containers/{id}/logs`).
    pub fn last_lines(&self, id: &str, count: u32) -> Result<String> {
        let path = format!(
            "/containers/{}/logs?stdout=1&stderr=1&tail={count}",
            segment(id)
        );
        let call = Call::new(Method::GET, &path, self.deadlines.call);
        let bytes = self.read(&call, LOG_LIMIT)?;
        Ok(String::from_utf8_lossy(&demultiplexed(&bytes)).into_owned())
    }

    fn get(&self, path: &str, deadline: Duration) -> Result<Value> {
        let bytes = self.finish(&Call::new(Method::GET, path, deadline))?;
        self.parse(&Method::GET, path, &bytes)
    }

    fn post(&self, path: &str, deadline: Duration) -> Result<()> {
        self.finish(&Call::new(Method::POST, path, deadline))
            .map(drop)
    }

    fn post_json(&self, path: &str, body: &Value, deadline: Duration) -> Result<Value> {
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

    fn parse(&self, method: &Method, path: &str, bytes: &[u8]) -> Result<Value> {
        serde_json::from_slice(bytes).map_err(|error| Error::Malformed {
            request: self.named(method, path),
            reason: format!("not JSON ({error})"),
        })
    }

    /// Makes the call and reads the whole answer.
    fn finish(&self, call: &Call) -> Result<Vec<u8>> {
        self.read(call, ANSWER_LIMIT)
    }

    /// The same for an answer of another length.
    fn read(&self, call: &Call, limit: u64) -> Result<Vec<u8>> {
        let answer = self.call(call);
        let outcome = answer.and_then(|answer| {
            http::read_body(&self.named(&call.method, call.path), answer, limit)
        });
        if call.method == Method::GET {
            self.remember(call.path, &outcome);
        }
        outcome
    }

    /// Remembers a question that was left without an answer, until it gets one; see `unanswered`.
    fn remember(&self, path: &str, outcome: &Result<Vec<u8>>) {
        let mut unanswered = lock(&self.unanswered);
        let is_unanswered = match outcome {
            Err(Error::Unreachable { .. }) => true,
            Err(Error::Refused { .. }) => path == LIST,
            _ => false,
        };
        if is_unanswered {
            *unanswered = Some(path.to_owned());
        } else if unanswered.as_deref() == Some(path) {
            *unanswered = None;
        }
    }

    /// How long the Engine may take to stop a container.
    fn stop_deadline(&self, container: &Container) -> Duration {
        container.stop_time() + self.deadlines.stop_margin
    }

    /// Makes the call under the agreed version; once more if the Engine turns out to be another
    /// one by now, or had just hung up on an idle connection.
    fn call(&self, call: &Call) -> Result<Response<Body>> {
        let begun = Instant::now();
        match self.call_once(call) {
            Err(Error::Refused {
                status: 400,
                message,
                ..
            }) if message.contains("client version") => {
                self.forget_version();
                self.call_once(call)
            }
            Err(error @ Error::Unreachable { .. }) => {
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
        let path = format!("/v{}{}", self.api()?, call.path);
        let answer = self.send(call, &path)?;
        match answer.status().as_u16() {
            // 304: the container was started, or stopped, already.
            200..=299 | 304 => Ok(answer),
            _ => Err(refused(&self.named(&call.method, call.path), answer)),
        }
    }

    fn send(&self, call: &Call, path: &str) -> Result<Response<Body>> {
        let mut builder = ureq::http::Request::builder()
            .method(&call.method)
            .uri(format!("{}{path}", self.base));
        if let Some(auth) = call.auth {
            builder = builder.header("X-Registry-Auth", auth.reveal());
        }
        // A POST without a body still says so: its length is 0. Without that the Engine would be sent
        // an empty chunked body, which it refuses for a start.
        let sent = if call.method == Method::POST {
            let body = call.body.map(Value::to_string).unwrap_or_default();
            if !body.is_empty() {
                builder = builder.header("Content-Type", "application/json");
            }
            let request = builder.body(body.into_bytes());
            request.map(|request| self.run(request, call.deadline))
        } else {
            let request = builder.body(());
            request.map(|request| self.run(request, call.deadline))
        };
        let sent = sent.map_err(ureq::Error::Http).and_then(|sent| sent);
        let request = || self.named(&call.method, call.path);
        sent.map_err(|error| self.explained(http::failure(&request(), &error)))
    }

    fn run(
        &self,
        request: ureq::http::Request<impl AsSendBody>,
        deadline: Deadline,
    ) -> std::result::Result<Response<Body>, ureq::Error> {
        let configured = self.agent.configure_request(request);
        let request = match deadline {
            Deadline::Total(limit) => configured.timeout_global(Some(limit)),
            // Interim answers (1xx) without end are no silence, but no answer either.
            Deadline::Idle(limit) => configured
                .timeout_connect(Some(limit))
                .timeout_recv_response(Some(limit))
                .timeout_per_read(Some(limit)),
        };
        self.agent.run(request.build())
    }

    fn forget_version(&self) {
        *lock(&self.api) = None;
    }

    /// `METHOD unix:///path /containers/…`, without the query: names and ids say enough.
    fn named(&self, method: &Method, path: &str) -> String {
        let path = path.split('?').next().unwrap_or(path);
        format!("{method} {} {path}", self.endpoint)
    }

    /// Adds what to do about an Engine that cannot be reached.
    fn explained(&self, error: Error) -> Error {
        let Error::Unreachable { request, reason } = error else {
            return error;
        };
        let hint = hint(&self.endpoint, &reason);
        Error::Unreachable {
            request,
            reason: format!("{reason}{hint}"),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One segment of a path.
fn segment(text: &str) -> String {
    http::percent_encode(text, "")
}
