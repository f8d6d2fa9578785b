//! The Engine: one method for each call of the Docker Engine API that the program needs, and no policy.
//!
//! Paths carry the API version: the newest one that both sides know. `/_ping` tells the Engine's version. The ping is
//! repeated after each lost connection, and when the Engine says that the version changed.
//! Sources: Docker Engine API v1.41 to v1.51.

mod about;
mod archive;
mod container;
mod endpoint;
mod events;
mod exec;
mod image;
mod images;
mod inspector;
mod logs;
mod origin;
mod permission;
mod pull;
mod refusal;
mod request;
mod services;
mod socket;
mod summary;
mod transport;

pub use about::About;
pub use about::ApiVersion;
pub use archive::Change;
pub use archive::Entry;
pub use archive::PathKind;
pub use archive::PathStat;
pub use container::Container;
pub use container::State;
pub use endpoint::Endpoint;
pub use events::Event;
pub use image::Image;
pub use inspector::Inspector;
pub use origin::Origin;
pub use pull::PullLine;
pub use refusal::is_denial;
pub use request::Deadlines;
pub use request::Removal;
pub use services::Service;
pub use summary::Summary;

use crate::error::Error;
use crate::error::Result;
use crate::http;
use crate::logging::debug;
use crate::sort::sort;
use about::NEWEST_API;
use refusal::refused;
use request::Call;
use request::Deadline;
use serde_json::Value;
use serde_json::json;
use services::Manager;
use socket::UnixConnector;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use transport::ANSWER_LIMIT;
use ureq::Agent;
use ureq::http::Method;

/// The list of containers, stopped ones too.
const LIST: &str = "/containers/json?all=1";
/// Largest list of containers that is read. 1,000 containers make 2 MiB.
const LIST_LIMIT: u64 = 64 * 1024 * 1024;
/// How many names of containers that are gone are remembered.
const MOST_GONE: usize = 1000;

/// A client of one Engine. Threads share it; each thread that calls has its own connection.
#[derive(Debug)]
pub struct Engine {
    endpoint: Endpoint,
    agent: Agent,
    base: String,
    deadlines: Deadlines,
    /// The newest API version that the Engine speaks, once it is known.
    offered: Mutex<Option<ApiVersion>>,
    /// Kind and version of the Engine, once they are known.
    about: Mutex<Option<About>>,
    /// The path of the last GET without an answer, or of the list if it was refused. The path is kept until that
    /// call is answered.
    unanswered: Mutex<Option<String>>,
    /// Whether the Engine is a manager of a swarm, once it is known.
    manager: Mutex<Option<Manager>>,
    /// The names of containers by id, from all lists so far.
    names: Mutex<HashMap<String, String>>,
}

impl Engine {
    /// A client. Nothing is sent before the first call.
    #[must_use]
    pub fn new(endpoint: &Endpoint) -> Self {
        Self::with_deadlines(endpoint, Deadlines::default())
    }

    /// A client with other deadlines than the usual ones.
    #[must_use]
    pub fn with_deadlines(endpoint: &Endpoint, deadlines: Deadlines) -> Self {
        let config = http::agent_config().build();
        let (agent, base) = match endpoint {
            Endpoint::Unix(path) => (
                Agent::with_parts(config, UnixConnector::new(path.clone()), http::NoResolver),
                "http://engine".to_owned(),
            ),
            Endpoint::Tcp(address) => (http::agent(config), format!("http://{address}")),
            Endpoint::Tls(address, tls) => (http::tls_agent(tls), format!("https://{address}")),
        };
        Self {
            endpoint: endpoint.clone(),
            agent,
            base,
            deadlines,
            offered: Mutex::new(None),
            about: Mutex::new(None),
            unanswered: Mutex::new(None),
            manager: Mutex::new(None),
            names: Mutex::default(),
        }
    }

    /// The address at which the Engine listens.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Asks whether the Engine answers, and for the API version to speak with it (`GET /_ping`).
    ///
    /// # Errors
    /// See [`Error`], here and for every other method.
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
            return Err(Error::malformed(
                request,
                "no Api-Version header (is this a Docker Engine?)",
            ));
        };
        http::read_body(&request, answer, ANSWER_LIMIT)?;
        *lock(&self.offered) = Some(offered);
        Ok(offered.min(NEWEST_API))
    }

    /// The error of an Engine that does not answer now. An Engine that answers a ping may hang in all other calls,
    /// and a proxy in front of it may refuse them. So the last unanswered call is made again until it is
    /// answered.
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

    /// The API version to speak. If it is not known, the Engine is asked.
    pub fn api(&self) -> Result<ApiVersion> {
        match self.offered() {
            Some(offered) => Ok(offered.min(NEWEST_API)),
            None => self.ping(),
        }
    }

    /// The newest API version that the Engine speaks, if it is known.
    fn offered(&self) -> Option<ApiVersion> {
        *lock(&self.offered)
    }

    /// Kind and version of the Engine. They are asked again after each restart, which may bring another version.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    pub fn about(&self) -> Result<About> {
        let known = lock(&self.about).clone();
        known.map_or_else(|| self.ask_about(), Ok)
    }

    /// Kind and version, asked now (`GET /version`). Podman starts other programs for that, so this call does not
    /// replace the ping.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    pub fn ask_about(&self) -> Result<About> {
        let json = self.get("/version", self.deadlines.call)?;
        let component = json["Components"][0]["Name"].as_str();
        let name = match component {
            Some("Engine") | None => "Docker Engine",
            Some(other) => other,
        };
        let about = About {
            name: name.to_owned(),
            version: json["Version"].as_str().unwrap_or_default().to_owned(),
            api: self.api()?,
            arch: json["Arch"].as_str().unwrap_or_default().to_owned(),
        };
        *lock(&self.about) = Some(about.clone());
        Ok(about)
    }

    /// Every container, stopped ones too, the newest first (`GET /containers/json`). The list is sorted here, because
    /// Podman lists containers in any order. Containers of the same second stay in the Engine's order.
    pub fn containers(&self) -> Result<Vec<Summary>> {
        let call = Call::new(Method::GET, LIST, self.deadlines.call);
        let mut list: Vec<Summary> = Vec::new();
        self.read_objects(&call, LIST_LIMIT, &mut |one| list.push(one))?;
        sort(&mut list, |one, other| one.created() > other.created());
        self.remember_names(&list);
        Ok(list)
    }

    fn remember_names(&self, list: &[Summary]) {
        let mut names = lock(&self.names);
        if names.len() > list.len() + MOST_GONE {
            names.clear();
        }
        for one in list {
            if names.get(one.id()).is_none_or(|known| known != one.name()) {
                names.insert(one.id().to_owned(), one.name().to_owned());
            }
        }
    }

    /// The last name of a container that is gone, if an earlier list or an event of the Engine shows it.
    pub fn last_name(&self, id: &str) -> Result<Option<String>> {
        let known = lock(&self.names).get(id).cloned();
        if known.is_some() {
            return Ok(known);
        }
        match self.name_in_events(id) {
            // A proxy may forbid this call. Then the name is not known.
            Err(error) if error.is_refusal() => Ok(None),
            outcome => outcome,
        }
    }

    /// One container, by id or name (`GET /containers/{id}/json`).
    pub fn container(&self, id: &str) -> Result<Container> {
        let path = format!("/containers/{}/json", segment(id));
        self.get(&path, self.deadlines.call).map(Container::new)
    }

    /// The same. The result is `None` if there is no such container.
    pub fn find(&self, id: &str) -> Result<Option<Container>> {
        match self.container(id) {
            Ok(container) => Ok(Some(container)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One container as Podman's own API shows it (`GET /libpod/containers/{id}/json`).
    pub fn podman_container(&self, id: &str) -> Result<Value> {
        let path = format!("/libpod/containers/{}/json", segment(id));
        self.get(&path, self.deadlines.call)
    }

    /// Creates a container and returns its id (`POST /containers/create`). Warnings of the Engine are logged.
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
            None => Err(Error::malformed(
                self.named(&Method::POST, &path),
                "an answer without an id",
            )),
        }
    }

    /// Starts a container (`POST /containers/{id}/start`). A container that runs already is no error.
    pub fn start(&self, id: &str) -> Result<()> {
        let path = format!("/containers/{}/start", segment(id));
        self.post(&path, self.deadlines.heavy)
    }

    /// Stops a container with its owner's signal and timeout (`POST /containers/{id}/stop`). A container that is
    /// stopped already is no error. The deadline of the call is longer than the owner's timeout.
    ///
    /// Before API 1.42, and with Podman, a stop takes no signal. There, a signal from a label is sent in a call of
    /// its own (`POST /containers/{id}/kill`). The stop follows after the owner's timeout
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
                // A failed wait does not matter: the stop acts on the state at that time.
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

    /// Renames a container (`POST /containers/{id}/rename`).
    pub fn rename(&self, id: &str, name: &str) -> Result<()> {
        let encoded = http::percent_encode(name, "");
        let path = format!("/containers/{}/rename?name={encoded}", segment(id));
        let outcome = self.post(&path, self.deadlines.call);
        outcome.map_err(|mut error| {
            // Podman's message does not contain the name.
            if error.is_refusal() && !error.words().contains(name) {
                error.words_mut().insert_str(0, &format!("to {name:?}: "));
            }
            error
        })
    }

    /// Joins a container to a network (`POST /networks/{id}/connect`), for Engines before API 1.44, which take only
    /// one network at creation.
    pub fn connect(&self, network: &str, id: &str, endpoint: &Value) -> Result<()> {
        let path = format!("/networks/{}/connect", segment(network));
        let body = json!({"Container": id, "EndpointConfig": endpoint});
        let call = Call {
            body: Some(&body),
            ..Call::new(Method::POST, &path, self.deadlines.call)
        };
        // Docker's answer is empty, Podman 4.3 answers `OK`.
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
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One segment of a path.
fn segment(text: &str) -> String {
    http::percent_encode(text, "")
}
