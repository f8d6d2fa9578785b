//! What the Engine says of containers and images: the few fields we read by name, and the rest as
//! the JSON it came in, so that what we do not know survives.

use crate::reference::Reference;
use serde_json::Map;
use serde_json::Value;
use std::time::Duration;

/// Watchtower's: what a container wants to be stopped with.
pub const STOP_SIGNAL_LABEL: &str = "com.centurylinklabs.watchtower.stop-signal";
/// Names the reference that a container follows which had to be made from an id: its tag meant another
/// image by then.
pub const FOLLOWED_LABEL: &str = "io.imagewatch.image";
/// When a container that was never started was started.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its process runs.
    Running,
    /// Its process exited and the restart policy will start it again.
    Restarting,
    /// Frozen.
    Paused,
    /// Never started.
    Created,
    /// Not running.
    Exited,
    /// Being removed, or broken beyond use.
    Gone,
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

    /// All of the answer.
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

    /// The id of the image it runs.
    #[must_use]
    pub fn image_id(&self) -> &str {
        text(&self.json["Image"])
    }

    /// The reference it was made from, as its owner wrote it, even if it was made anew from that
    /// image's id since.
    #[must_use]
    pub fn image_name(&self) -> &str {
        let name = text(&self.json["Config"]["Image"]);
        let bare = |id: &str| id.trim_start_matches("sha256:").to_owned();
        match self.label(FOLLOWED_LABEL) {
            Some(followed) if bare(name) == bare(self.image_id()) => followed,
            _ => name,
        }
    }

    /// Whether it says what to run.
    #[must_use]
    pub fn has_command(&self) -> bool {
        ["Entrypoint", "Cmd"].iter().any(|key| {
            let words = self.json["Config"][key].as_array();
            words.is_some_and(|words| !words.is_empty())
        })
    }

    /// What it runs: its entry point and command, resolved.
    pub fn command(&self) -> impl Iterator<Item = &str> {
        let args = self.json["Args"].as_array().into_iter().flatten();
        std::iter::once(text(&self.json["Path"])).chain(args.map(text))
    }

    /// What its owner, the image and the Engine agreed on.
    #[must_use]
    pub fn config(&self) -> &Map<String, Value> {
        object(&self.json["Config"])
    }

    /// What its owner wants of the host.
    #[must_use]
    pub fn host_config(&self) -> &Map<String, Value> {
        object(&self.json["HostConfig"])
    }

    /// The networks it is in, by name.
    #[must_use]
    pub fn networks(&self) -> &Map<String, Value> {
        object(&self.json["NetworkSettings"]["Networks"])
    }

    /// What is mounted, named volumes and binds alike.
    #[must_use]
    pub fn mounts(&self) -> &[Value] {
        self.json["Mounts"].as_array().map_or(&[], Vec::as_slice)
    }

    /// A label's value.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.json["Config"]["Labels"][name].as_str()
    }

    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> State {
        let state = &self.json["State"];
        match text(&state["Status"]) {
            "running" => State::Running,
            "restarting" => State::Restarting,
            "paused" => State::Paused,
            "created" | "configured" | "initialized" => State::Created,
            "removing" | "dead" => State::Gone,
            _ => State::Exited,
        }
    }

    /// What it is doing, in the Engine's word.
    #[must_use]
    pub fn state_name(&self) -> &str {
        text(&self.json["State"]["Status"])
    }

    /// The exit code of its last run.
    #[must_use]
    pub fn exit_code(&self) -> i64 {
        self.json["State"]["ExitCode"].as_i64().unwrap_or(0)
    }

    /// Whether the Engine starts it again, now that it ended like this. (It stops doing so after as many tries
    /// as its policy may name.)
    #[must_use]
    pub fn starts_again(&self) -> bool {
        match self.restart_policy()["Name"].as_str() {
            Some("always" | "unless-stopped") => true,
            Some("on-failure") => self.exit_code() != 0,
            _ => false,
        }
    }

    /// The Engine's own words on why it does not run.
    #[must_use]
    pub fn error(&self) -> &str {
        text(&self.json["State"]["Error"])
    }

    /// When its process was last started, in the Engine's format.
    #[must_use]
    pub fn started_at(&self) -> &str {
        text(&self.json["State"]["StartedAt"])
    }

    /// Whether it was ever started.
    #[must_use]
    pub fn was_started(&self) -> bool {
        !matches!(self.started_at(), "" | NEVER)
    }

    /// Whether it has a network namespace of its own, or is still giving it back.
    ///
    /// Docker 20.10 shows the namespace of a container that is stopped for good, but no endpoint in it
    /// any more; Podman gives neither an id.
    #[must_use]
    pub fn holds_network(&self) -> bool {
        let settings = &self.json["NetworkSettings"];
        let networks = settings["Networks"].as_object().into_iter().flatten();
        let mut endpoints = networks.map(|(_, network)| text(&network["EndpointID"]));
        let is_left_over = !text(&settings["SandboxID"]).is_empty() && endpoints.all(str::is_empty);
        !text(&settings["SandboxKey"]).is_empty() && !is_left_over
    }

    /// How often the restart policy started it.
    #[must_use]
    pub fn restart_count(&self) -> u64 {
        self.json["RestartCount"].as_u64().unwrap_or(0)
    }

    /// `starting`, `healthy` or `unhealthy`; `None` without a health check.
    #[must_use]
    pub fn health(&self) -> Option<&str> {
        let status = self.json["State"]["Health"]["Status"].as_str()?;
        (!matches!(status, "" | "none")).then_some(status)
    }

    /// Whether there was a health check since its start.
    #[must_use]
    pub fn was_checked(&self) -> bool {
        let log = self.json["State"]["Health"]["Log"].as_array();
        log.is_some_and(|log| !log.is_empty())
    }

    /// What the last health check printed.
    #[must_use]
    pub fn health_output(&self) -> &str {
        let log = self.json["State"]["Health"]["Log"].as_array();
        log.and_then(|log| log.last())
            .map_or("", |last| text(&last["Output"]))
    }

    /// The signal that Watchtower's label wants it stopped with.
    #[must_use]
    pub fn stop_signal_label(&self) -> Option<&str> {
        let signal = self.label(STOP_SIGNAL_LABEL)?.trim();
        let plain = signal
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'+');
        (plain && !signal.is_empty()).then_some(signal)
    }

    /// Time between the stop signal and the kill: its owner's, or the Engine's own 10 s. "Never" (negative)
    /// counts as an hour, after which its real state is looked at.
    #[must_use]
    pub fn stop_time(&self) -> Duration {
        const NEVER: u64 = 3600;
        let seconds = self.json["Config"]["StopTimeout"].as_i64().unwrap_or(10);
        Duration::from_secs(u64::try_from(seconds).map_or(NEVER, |seconds| seconds.min(NEVER)))
    }

    /// Whether the Engine removes it when it stops (`--rm`).
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

/// The answer of `GET /images/{name}/json`.
#[derive(Debug, Clone)]
pub struct Image {
    json: Value,
}

impl Image {
    /// Takes the answer as it came.
    #[must_use]
    pub fn new(json: Value) -> Self {
        Self { json }
    }

    /// The id: the digest of its configuration, or on the containerd store of its index.
    #[must_use]
    pub fn id(&self) -> &str {
        text(&self.json["Id"])
    }

    /// What it gives to a container whose owner does not say otherwise.
    #[must_use]
    pub fn config(&self) -> &Map<String, Value> {
        object(&self.json["Config"])
    }

    /// When it was built (RFC 3339).
    #[must_use]
    pub fn created(&self) -> &str {
        text(&self.json["Created"])
    }

    /// E.g. `linux/arm64/v8`.
    #[must_use]
    pub fn platform(&self) -> String {
        let parts = ["Os", "Architecture", "Variant"].map(|key| text(&self.json[key]));
        parts.join("/").trim_end_matches('/').to_owned()
    }

    /// Its platform, if it is for another architecture than the Engine's `arch`, as far as either is known.
    #[must_use]
    pub fn foreign_platform(&self, arch: &str) -> Option<String> {
        let own = text(&self.json["Architecture"]);
        (!own.is_empty() && !arch.is_empty() && own != arch).then(|| self.platform())
    }

    /// Whether any tag names it.
    #[must_use]
    pub fn is_tagged(&self) -> bool {
        let tags = self.json["RepoTags"].as_array();
        let is_real = |tag: &Value| text(tag) != "<none>:<none>";
        tags.is_some_and(|tags| tags.iter().any(is_real))
    }

    /// Whether both are the same image for one platform, under whatever index: on the containerd store
    /// an id is an index's digest, which moves for other platforms as well.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        let same = |key| !self.json[key].is_null() && self.json[key] == other.json[key];
        let alike = |key| self.json[key] == other.json[key];
        same("Architecture")
            && same("RootFS")
            && same("Config")
            && ["Os", "Variant", "Created", "Author"]
                .into_iter()
                .all(alike)
    }

    /// As which digests it was pulled from the repository of `reference`. These may be several: that of
    /// an index and of the manifest in it, or of two indexes that hold the same manifest.
    pub fn digests_of(&self, reference: &Reference) -> impl Iterator<Item = &str> {
        let own = reference.name();
        self.repo_digests().filter_map(move |entry| {
            let (name, digest) = entry.split_once('@')?;
            let name = name.parse::<Reference>().ok()?.name();
            (name == own).then_some(digest)
        })
    }

    /// Whether it comes from no registry, as far as the Engine knows.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.repo_digests().next().is_none()
    }

    /// `name@digest` of everything it was pulled as.
    fn repo_digests(&self) -> impl Iterator<Item = &str> {
        let list = self.json["RepoDigests"].as_array();
        list.into_iter().flatten().filter_map(Value::as_str)
    }
}

/// A string, or nothing.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// An object, or an empty one: the Engine writes `null` for what is not set.
fn object(value: &Value) -> &Map<String, Value> {
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
