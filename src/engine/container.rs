//! A container as the Engine shows it: a few fields are read by name. The rest stays JSON, so that unknown
//! fields survive.

use crate::labels;
use serde_json::Map;
use serde_json::Value;
use std::time::Duration;

/// The start time of a container that was never started.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The settings that may name another container.
const NEEDED: [&str; 4] = ["NetworkMode", "PidMode", "IpcMode", "Links"];

/// The state of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The container's process runs.
    Running,
    /// The process exited, and the restart policy will start it again.
    Restarting,
    /// The process is frozen.
    Paused,
    /// The container was never started.
    Created,
    /// The process exited. Podman shows this state between two runs of a crash loop as well.
    Exited,
    /// The container is being removed, or broken beyond use.
    Gone,
}

impl State {
    /// Reads the Engine's word.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "running" => Self::Running,
            "restarting" => Self::Restarting,
            "paused" => Self::Paused,
            "created" | "configured" | "initialized" => Self::Created,
            "removing" | "dead" => Self::Gone,
            _ => Self::Exited,
        }
    }

    /// Whether the state is neither running, restarting nor paused.
    pub(super) fn is_stopped(self) -> bool {
        matches!(self, Self::Created | Self::Exited | Self::Gone)
    }
}

/// The answer of `GET /containers/{id}/json`.
#[derive(Debug, Clone)]
pub struct Container {
    json: Value,
}

impl Container {
    /// Takes the answer as it came.
    #[must_use]
    pub fn new(json: Value) -> Self {
        Self { json }
    }

    /// The container with only what decides whether and when it is updated: its id, name, image id, state and time to
    /// stop, the containers that it needs, and the labels about updates. That is what is kept of hundreds of
    /// containers. As JSON in memory a whole one takes 50 KB, and each object at least 600 bytes, so that the labels
    /// stand beside the other fields.
    #[must_use]
    pub fn outline(&self) -> Self {
        if self.is_outline() {
            return self.clone();
        }
        let mut outline = Map::new();
        copy(object(&self.json), &mut outline, &["Id", "Name", "Image"]);
        copy(self.config(), &mut outline, &["StopTimeout"]);
        outline.insert("State".to_owned(), self.state_name().into());
        for (name, value) in self.labels().filter(|(name, _)| is_outlined(name)) {
            outline.insert(name.to_owned(), value.into());
        }
        let mut needed = Map::new();
        copy(self.host_config(), &mut needed, &NEEDED);
        if !needed.is_empty() {
            outline.insert("HostConfig".to_owned(), needed.into());
        }
        Self {
            json: outline.into(),
        }
    }

    /// Whether this is only an outline.
    #[must_use]
    pub fn is_outline(&self) -> bool {
        self.json["State"].is_string()
    }

    /// The whole answer.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// The 64-digit id.
    #[must_use]
    pub fn id(&self) -> &str {
        text(&self.json["Id"])
    }

    /// The first twelve digits of the id, which the Engine uses as a default host name.
    #[must_use]
    pub fn short_id(&self) -> &str {
        self.id().get(..12).unwrap_or(self.id())
    }

    /// The name without the Engine's slash.
    #[must_use]
    pub fn name(&self) -> &str {
        text(&self.json["Name"]).trim_start_matches('/')
    }

    /// The id of the container's image.
    #[must_use]
    pub fn image_id(&self) -> &str {
        text(&self.json["Image"])
    }

    /// The reference that the container was created from, as its owner wrote it, even if it was recreated from the
    /// image's id since. Podman then shows a name of the image instead of the id: one with its digest, or another tag.
    #[must_use]
    pub fn image_name(&self) -> &str {
        let name = text(&self.json["Config"]["Image"]);
        let bare = |id: &str| id.trim_start_matches("sha256:").to_owned();
        let is_id = || bare(name) == bare(self.image_id());
        let is_pinned = |followed: &str| {
            let pinned = name.split_once('@');
            pinned.is_some_and(|(repository, _)| followed.starts_with(repository))
        };
        // The label alone proves nothing: an image that was committed from a container inherits it.
        match self.label(labels::FOLLOWED) {
            Some(followed) if is_id() || is_pinned(followed) || name.starts_with(followed) => {
                followed
            }
            _ => name,
        }
    }

    /// Whether the container has an entry point or a command.
    #[must_use]
    pub fn has_command(&self) -> bool {
        ["Entrypoint", "Cmd"].iter().any(|key| {
            let words = self.json["Config"][key].as_array();
            words.is_some_and(|words| !words.is_empty())
        })
    }

    /// The command line that the container runs: its entry point and command, resolved.
    pub fn command(&self) -> impl Iterator<Item = &str> {
        let args = self.json["Args"].as_array().into_iter().flatten();
        std::iter::once(text(&self.json["Path"])).chain(args.map(text))
    }

    /// The settings that owner, image and Engine made together.
    #[must_use]
    pub fn config(&self) -> &Map<String, Value> {
        object(&self.json["Config"])
    }

    /// The owner's settings about the host.
    #[must_use]
    pub fn host_config(&self) -> &Map<String, Value> {
        object(&self.json["HostConfig"])
    }

    /// The networks of the container, by name.
    #[must_use]
    pub fn networks(&self) -> &Map<String, Value> {
        object(&self.json["NetworkSettings"]["Networks"])
    }

    /// The mounts of the container, volumes and binds alike.
    #[must_use]
    pub fn mounts(&self) -> &[Value] {
        self.json["Mounts"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The value of one label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.label_map().get(name)?.as_str()
    }

    /// The names and values of all labels.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        // Beside the labels of an outline there are fields, whose names have no dot.
        let is_outline = self.is_outline();
        let labels = self.label_map().iter();
        let labels = labels.filter(move |(name, _)| !is_outline || name.contains('.'));
        labels.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
    }

    fn label_map(&self) -> &Map<String, Value> {
        if self.is_outline() {
            object(&self.json)
        } else {
            object(&self.json["Config"]["Labels"])
        }
    }

    /// The container's state.
    #[must_use]
    pub fn state(&self) -> State {
        State::of(self.state_name())
    }

    /// Whether the Engine shows the container as neither running nor restarting.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        !self.state_name().is_empty() && self.state().is_stopped()
    }

    /// The container's state, in the Engine's word.
    #[must_use]
    pub fn state_name(&self) -> &str {
        let state = &self.json["State"];
        state.as_str().unwrap_or_else(|| text(&state["Status"]))
    }

    /// The exit code of the last run.
    #[must_use]
    pub fn exit_code(&self) -> i64 {
        self.json["State"]["ExitCode"].as_i64().unwrap_or(0)
    }

    /// Whether the kernel ended the last run for want of memory.
    #[must_use]
    pub fn was_out_of_memory(&self) -> bool {
        self.json["State"]["OOMKilled"] == true
    }

    /// Whether the restart policy starts the container again after such an end. (The policy may limit the number of
    /// tries. That limit is not looked at.)
    #[must_use]
    pub fn starts_again(&self) -> bool {
        match self.restart_policy()["Name"].as_str() {
            Some("always" | "unless-stopped") => true,
            Some("on-failure") => self.exit_code() != 0,
            _ => false,
        }
    }

    /// The Engine's own words on why the container does not run.
    #[must_use]
    pub fn error(&self) -> &str {
        text(&self.json["State"]["Error"])
    }

    /// Whether the Engine knows a process of the container.
    #[must_use]
    pub fn has_process(&self) -> bool {
        self.json["State"]["Pid"]
            .as_u64()
            .is_some_and(|pid| pid > 0)
    }

    /// The time of the last start, in the Engine's format.
    #[must_use]
    pub fn started_at(&self) -> &str {
        text(&self.json["State"]["StartedAt"])
    }

    /// The end of the last run, in the Engine's format.
    #[must_use]
    pub fn finished_at(&self) -> &str {
        text(&self.json["State"]["FinishedAt"])
    }

    /// Whether this container was created after another one.
    #[must_use]
    pub fn is_younger_than(&self, other: &Self) -> bool {
        is_later(text(&self.json["Created"]), text(&other.json["Created"]))
    }

    /// Whether the container was ever started.
    #[must_use]
    pub fn was_started(&self) -> bool {
        !matches!(self.started_at(), "" | NEVER)
    }

    /// Whether the container has a network namespace of its own, or is still giving it back.
    ///
    /// Docker 20.10 shows the namespace of a container that is stopped for good, but no endpoint in it
    /// any more. Podman shows no ids for either.
    #[must_use]
    pub fn holds_network(&self) -> bool {
        let settings = &self.json["NetworkSettings"];
        let networks = settings["Networks"].as_object().into_iter().flatten();
        let mut endpoints = networks.map(|(_, network)| text(&network["EndpointID"]));
        let is_left_over = !text(&settings["SandboxID"]).is_empty() && endpoints.all(str::is_empty);
        !text(&settings["SandboxKey"]).is_empty() && !is_left_over
    }

    /// How often the restart policy started the container.
    #[must_use]
    pub fn restart_count(&self) -> u64 {
        self.json["RestartCount"].as_u64().unwrap_or(0)
    }

    /// The health: `starting`, `healthy` or `unhealthy`; `None` without a health check.
    #[must_use]
    pub fn health(&self) -> Option<&str> {
        let status = self.json["State"]["Health"]["Status"].as_str()?;
        (!matches!(status, "" | "none")).then_some(status)
    }

    /// Whether a health check was made since the start.
    #[must_use]
    pub fn was_checked(&self) -> bool {
        let log = self.json["State"]["Health"]["Log"].as_array();
        log.is_some_and(|log| !log.is_empty())
    }

    /// The output of the last health check.
    #[must_use]
    pub fn health_output(&self) -> &str {
        let log = self.json["State"]["Health"]["Log"].as_array();
        log.and_then(|log| log.last())
            .map_or("", |last| text(&last["Output"]))
    }

    /// The stop signal in Watchtower's label.
    #[must_use]
    pub fn stop_signal_label(&self) -> Option<&str> {
        let signal = labels::signal(self.label(labels::WATCHTOWER_STOP_SIGNAL)?)?;
        (!signal.is_empty()).then_some(signal)
    }

    /// The time between the stop signal and the kill: the owner's, or the Engine's own 10 s. "Never" (negative)
    /// counts as an hour. After that, the real state is looked at.
    #[must_use]
    pub fn stop_time(&self) -> Duration {
        const NEVER: u64 = 3600;
        let of_outline = || self.json["StopTimeout"].as_i64();
        let seconds = self.json["Config"]["StopTimeout"].as_i64();
        let seconds = seconds.or_else(of_outline).unwrap_or(10);
        Duration::from_secs(u64::try_from(seconds).map_or(NEVER, |seconds| seconds.min(NEVER)))
    }

    /// Whether the Engine removes the container when it stops (`--rm`).
    #[must_use]
    pub fn is_auto_removed(&self) -> bool {
        self.json["HostConfig"]["AutoRemove"] == true
    }

    /// The restart policy, as the Engine wants it back.
    #[must_use]
    pub fn restart_policy(&self) -> Value {
        self.json["HostConfig"]["RestartPolicy"].clone()
    }
}

/// Whether a time of the Engine is later than another one. (It omits zeros at the end of a second's fraction.)
#[must_use]
fn is_later(one: &str, other: &str) -> bool {
    one.trim_end_matches('Z') > other.trim_end_matches('Z')
}

/// Whether an outline has a label of this name: ours, Watchtower's, and Compose's about dependencies.
fn is_outlined(name: &str) -> bool {
    let compose = name.strip_prefix("com.docker.compose.");
    compose.is_some_and(|rest| matches!(rest, "project" | "service" | "depends_on"))
        || (labels::is_kept(name) && name != labels::TRANSACTION)
}

/// Copies the values of these keys. Of settings, only those that name another container count.
fn copy(from: &Map<String, Value>, to: &mut Map<String, Value>, keys: &[&str]) {
    for key in keys {
        let is_kept = |value: &&Value| match value {
            Value::Null => false,
            Value::String(text) => !NEEDED.contains(key) || text.starts_with("container:"),
            Value::Array(links) => !links.is_empty(),
            _ => true,
        };
        if let Some(value) = from.get(*key).filter(is_kept) {
            to.insert((*key).to_owned(), value.clone());
        }
    }
}

/// The string, or an empty one.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The object, or an empty one: the Engine writes `null` for settings that are not set.
pub(super) fn object(value: &Value) -> &Map<String, Value> {
    static EMPTY: std::sync::OnceLock<Map<String, Value>> = std::sync::OnceLock::new();
    value
        .as_object()
        .unwrap_or_else(|| EMPTY.get_or_init(Map::new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_is_missing_that_the_engine_left_out() {
        let container = Container::new(Value::Null);
        assert_eq!(container.name(), "");
        assert_eq!(container.state(), State::Exited);
        assert!(container.networks().is_empty());
        assert_eq!(container.health(), None);
    }

    #[test]
    fn the_label_of_a_followed_reference_counts_only_for_a_container_made_from_an_id() {
        let id = "a".repeat(64);
        let named = |name: &str| {
            let config = json!({"Image": name, "Labels": {labels::FOLLOWED: "a.b/app:1"}});
            let json = json!({"Image": format!("sha256:{id}"), "Config": config});
            Container::new(json).image_name().to_owned()
        };
        for (name, expected) in [
            (&*format!("sha256:{id}"), "a.b/app:1"),
            (&id, "a.b/app:1"),
            // As Podman shows it.
            (&format!("a.b/app@sha256:{id}"), "a.b/app:1"),
            ("a.b/app:1-imagewatch-previous", "a.b/app:1"),
            // Made from an image that was committed from such a container.
            ("a.b/app:mine", "a.b/app:mine"),
            ("mine:1", "mine:1"),
            (
                &format!("a.b/other@sha256:{id}"),
                &format!("a.b/other@sha256:{id}"),
            ),
        ] {
            assert_eq!(named(name), expected, "{name}");
        }
    }

    #[test]
    fn an_outline_has_what_decides_on_an_update_and_no_more() {
        let labels = json!({"imagewatch.mode": "notify", "io.imagewatch.txn": "{}", "a": "b",
            "com.docker.compose.service": "web", "com.docker.compose.version": "2",
            "com.docker.compose.depends_on": "db:service_started:true"});
        let whole = Container::new(json!({
            "Id": "1", "Name": "/web", "Image": "sha256:2", "Mounts": [{"Source": "/"}],
            "State": {"Status": "running", "Pid": 1},
            "Config": {"Image": "nginx", "Env": ["A=B"], "StopTimeout": 3, "Labels": labels},
            "HostConfig": {"NetworkMode": "container:db", "PidMode": "", "IpcMode": "private",
                "Links": null, "Binds": []},
        }));
        let outline = json!({
            "Id": "1", "Name": "/web", "Image": "sha256:2", "State": "running", "StopTimeout": 3,
            "HostConfig": {"NetworkMode": "container:db"}, "imagewatch.mode": "notify",
            "com.docker.compose.service": "web",
            "com.docker.compose.depends_on": "db:service_started:true",
        });
        assert_eq!(*whole.outline().json(), outline);
        assert_eq!(*whole.outline().outline().json(), outline);
        let outline = whole.outline();
        assert_eq!(outline.state(), State::Running);
        assert_eq!(outline.stop_time(), whole.stop_time());
        assert_eq!(outline.label("imagewatch.mode"), Some("notify"));
        assert_eq!(outline.labels().count(), 3);
        assert!(outline.is_outline() && !whole.is_outline());
        assert!(!Container::new(Value::Null).is_outline());
    }

    #[test]
    fn a_stopped_container_has_given_its_network_back_whatever_is_shown_of_it() {
        for (what, id, key, endpoint, held) in [
            ("Docker, running", "5a", "/run/docker/netns/5a", "e0", true),
            (
                "Docker 20.10, exited",
                "5a",
                "/run/docker/netns/5a",
                "",
                false,
            ),
            ("Docker 28.5, exited", "", "", "", false),
            ("Podman, running", "", "/run/netns/netns-5a", "", true),
            ("Podman, exited", "", "", "", false),
        ] {
            let container = Container::new(json!({"NetworkSettings": {
                "SandboxID": id, "SandboxKey": key, "Networks": {"net": {"EndpointID": endpoint}},
            }}));
            assert_eq!(container.holds_network(), held, "{what}");
        }
    }
}
