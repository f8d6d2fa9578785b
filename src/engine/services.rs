//! Swarm services, as a manager shows and changes them.

use super::Engine;
use super::LIST_LIMIT;
use super::lock;
use super::request::Call;
use super::segment;
use crate::error::Result;
use crate::http;
use crate::labels;
use crate::secret::Secret;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;
use std::time::Instant;
use ureq::http::Method;

/// A service of a swarm. In a list, it has only the fields that this file reads.
#[derive(Debug, Clone)]
pub struct Service(Value);

impl Service {
    /// A service as the Engine shows it.
    #[must_use]
    pub fn new(json: Value) -> Self {
        Self(json)
    }

    fn text(&self, pointer: &str) -> &str {
        let found = self.0.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_default()
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.text("/ID")
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text("/Spec/Name")
    }

    /// The number that changes with each change of the service.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0["Version"]["Index"].as_u64().unwrap_or_default()
    }

    /// What its owner set.
    #[must_use]
    pub fn spec(&self) -> &Value {
        &self.0["Spec"]
    }

    /// The image of its tasks, usually `NAME:TAG@DIGEST`.
    #[must_use]
    pub fn image(&self) -> &str {
        self.text("/Spec/TaskTemplate/ContainerSpec/Image")
    }

    /// Names and values of its labels. Its own labels come before those of its containers.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = self.0["Spec"]["Labels"].as_object();
        let of_tasks = self.0["Spec"]["TaskTemplate"]["ContainerSpec"]["Labels"].as_object();
        let is_own = move |name: &String| own.is_some_and(|own| own.contains_key(name));
        let inherited = of_tasks.into_iter().flatten();
        let inherited = inherited.filter(move |(name, _)| !is_own(name));
        let all = own.into_iter().flatten().chain(inherited);
        all.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
    }

    /// The value of one label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels().find(|(key, _)| *key == name).map(|one| one.1)
    }

    /// The name of the stack that it belongs to.
    #[must_use]
    pub fn stack(&self) -> Option<&str> {
        self.label(labels::STACK)
    }

    /// Whether its tasks run to an end.
    #[must_use]
    pub fn is_job(&self) -> bool {
        let mode = self.0["Spec"]["Mode"].as_object();
        mode.is_some_and(|mode| mode.keys().any(|key| key.ends_with("Job")))
    }

    /// How many tasks its owner wants; 0 for a service with a task on each node.
    #[must_use]
    pub fn replicas(&self) -> usize {
        let wanted = self.0["Spec"]["Mode"]["Replicated"]["Replicas"].as_u64();
        usize::try_from(wanted.unwrap_or_default()).unwrap_or_default()
    }

    /// How many tasks run, and how many should, as a list shows it.
    #[must_use]
    pub fn running(&self) -> (u64, u64) {
        let count = |name: &str| self.0["ServiceStatus"][name].as_u64().unwrap_or_default();
        (count("RunningTasks"), count("DesiredTasks"))
    }

    /// The state of its last update, in Swarm's word; empty if there is none.
    #[must_use]
    pub fn state(&self) -> &str {
        self.text("/UpdateStatus/State")
    }

    /// When its last update began.
    #[must_use]
    pub fn started(&self) -> &str {
        self.text("/UpdateStatus/StartedAt")
    }

    /// When its last update ended.
    #[must_use]
    pub fn completed(&self) -> &str {
        self.text("/UpdateStatus/CompletedAt")
    }

    /// Whether Swarm rolls a failed update back by itself.
    #[must_use]
    pub fn rolls_back_itself(&self) -> bool {
        self.text("/Spec/UpdateConfig/FailureAction") == "rollback"
    }

    /// The service before its last change, if Swarm keeps it.
    #[must_use]
    pub fn previous(&self) -> Option<Self> {
        let spec = self.0.get("PreviousSpec").filter(|spec| !spec.is_null())?;
        Some(Self(json!({ "Spec": spec })))
    }

    /// The fields that this file reads, and the labels that imagewatch reads.
    fn outline(mut self) -> Self {
        for spec in ["/Spec", "/PreviousSpec"] {
            keep(&mut self.0, &format!("{spec}/Labels"), labels::is_kept);
            let template = format!("{spec}/TaskTemplate");
            let container = format!("{template}/ContainerSpec");
            keep(&mut self.0, &format!("{container}/Labels"), labels::is_kept);
            keep(&mut self.0, &container, is_read);
            keep(&mut self.0, &template, is_read);
            keep(&mut self.0, spec, is_read);
        }
        keep(&mut self.0, "", is_read);
        self
    }
}

/// Whether this file reads a field of a service or of its spec.
fn is_read(name: &str) -> bool {
    const READ: [&str; 13] = [
        "ID",
        "Version",
        "Spec",
        "PreviousSpec",
        "UpdateStatus",
        "ServiceStatus",
        "Name",
        "Labels",
        "Mode",
        "UpdateConfig",
        "TaskTemplate",
        "ContainerSpec",
        "Image",
    ];
    READ.contains(&name)
}

/// Drops all other members of an object, if it is there.
fn keep(json: &mut Value, pointer: &str, is_kept: fn(&str) -> bool) {
    if let Some(Value::Object(members)) = json.pointer_mut(pointer) {
        members.retain(|name, _| is_kept(name));
    }
}

/// How long an Engine that is no manager is not asked for services again. Docker writes a line of its log for each such
/// question, and a node is promoted rarely.
const NO_MANAGER: Duration = Duration::from_secs(600);

/// What an Engine has answered to the question for services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manager {
    /// It is a manager of a swarm.
    Yes,
    /// It was one before. A demotion may not last, and a proxy without a backend answers likewise.
    NotNow,
    /// It was none at this time.
    No(Instant),
}

impl Engine {
    /// Whether the Engine is no manager of a swarm, as far as it was asked. It is asked again after each lost connection,
    /// and once in a while.
    #[must_use]
    pub fn has_no_services(&self) -> bool {
        match *lock(&self.manager) {
            Some(Manager::No(asked)) => asked.elapsed() < NO_MANAGER,
            _ => false,
        }
    }

    /// Whether the Engine is a manager of a swarm, as far as it was asked.
    #[must_use]
    pub fn is_manager(&self) -> bool {
        *lock(&self.manager) == Some(Manager::Yes)
    }

    /// All services (`GET /services`); none if the Engine is no manager of a swarm, or a proxy hides them.
    #[cold]
    pub fn services(&self) -> Result<Vec<Service>> {
        if self.has_no_services() {
            return Ok(Vec::new());
        }
        let path = "/services?status=true";
        let call = Call::new(Method::GET, path, self.deadlines.call);
        let answer = self.read(&call, LIST_LIMIT);
        match answer {
            Ok(bytes) => {
                *lock(&self.manager) = Some(Manager::Yes);
                let mut services = Vec::new();
                if let Value::Array(list) = self.parse(&Method::GET, path, &bytes)? {
                    for one in list {
                        services.push(Service(one).outline());
                    }
                }
                Ok(services)
            }
            // Docker outside of a swarm answers 503, Podman 404, and a proxy may forbid the call.
            Err(error) if matches!(error.status(), Some(401..=406 | 501 | 503)) => {
                let mut manager = lock(&self.manager);
                if *manager == Some(Manager::Yes) {
                    log::warn!(
                        "{error} (no service is updated until this Engine is a manager again)"
                    );
                }
                *manager = Some(match *manager {
                    Some(Manager::Yes | Manager::NotNow) => Manager::NotNow,
                    _ => Manager::No(Instant::now()),
                });
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    /// One service, by id or name (`GET /services/{id}`); `None` if there is no such service.
    #[cold]
    pub fn service(&self, id: &str) -> Result<Option<Service>> {
        let path = format!("/services/{}", segment(id));
        match self.get(&path, self.deadlines.call) {
            Ok(found) => Ok(Some(Service(found))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The tasks of a service (`GET /tasks`).
    #[cold]
    pub fn tasks(&self, id: &str) -> Result<Vec<Value>> {
        let filter = format!(r#"{{"service":{{"{id}":true}}}}"#);
        let path = format!("/tasks?filters={}", http::percent_encode(&filter, ""));
        match self.get(&path, self.deadlines.call)? {
            Value::Array(tasks) => Ok(tasks),
            _ => Ok(Vec::new()),
        }
    }

    /// Gives a service a new spec, if it is still the one that was read (`POST /services/{id}/update`). The login goes
    /// into the store of each node with a task.
    #[cold]
    pub fn update_service(
        &self,
        service: &Service,
        spec: &Value,
        auth: Option<&Secret>,
    ) -> Result<()> {
        let (id, version) = (segment(service.id()), service.version());
        let path = format!("/services/{id}/update?version={version}");
        let call = Call {
            body: Some(spec),
            auth,
            ..Call::new(Method::POST, &path, self.deadlines.call)
        };
        self.finish(&call).map(drop)
    }

    /// Has Swarm bring back the spec before the last change, if the service is still the one that was read.
    #[cold]
    pub fn roll_back_service(&self, service: &Service) -> Result<()> {
        let (id, version) = (segment(service.id()), service.version());
        let path = format!("/services/{id}/update?version={version}&rollback=previous");
        let call = Call {
            body: Some(service.spec()),
            ..Call::new(Method::POST, &path, self.deadlines.call)
        };
        self.finish(&call).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labels_of_a_service_come_before_those_of_its_containers() {
        let service = Service(json!({"Spec": {
            "Labels": {"imagewatch.mode": "notify", "other": "x"},
            "TaskTemplate": {"ContainerSpec": {"Labels": {
                "imagewatch.mode": "update", "imagewatch.enable": "true",
            }}},
        }}));
        assert_eq!(service.label("imagewatch.mode"), Some("notify"));
        assert_eq!(service.label("imagewatch.enable"), Some("true"));
        let outline = service.outline();
        assert_eq!(outline.label("imagewatch.mode"), Some("notify"));
        assert_eq!(outline.label("other"), None);
        assert!(outline.previous().is_none());
    }

    #[test]
    fn a_job_is_known_by_its_mode() {
        for (mode, is_job) in [
            (json!({"Replicated": {"Replicas": 3}}), false),
            (json!({"Global": {}}), false),
            (json!({"ReplicatedJob": {}}), true),
            (json!({"GlobalJob": {}}), true),
        ] {
            let service = Service(json!({"Spec": {"Mode": mode}}));
            assert_eq!(service.is_job(), is_job, "{mode}");
        }
    }
}
