//! One container, the image it is made from, and what is to become of both.

use crate::support::images::ImageSpec;

use serde_json::Value;
use serde_json::json;

/// An image that gives nothing but its command, and one that gives all there is.
pub(crate) const PLAIN: &str = "plain";
pub(crate) const RICH: &str = "rich";
/// Runs until it is told to stop, whatever the signal.
pub(crate) const WAIT: &str =
    "trap 'exit 0' TERM INT QUIT USR1; while sleep 1 & wait $!; do :; done";

pub(crate) fn plain(version: &str) -> ImageSpec {
    ImageSpec::new(version).with("Cmd", json!(["/bin/busybox", "sh", "-c", WAIT]))
}

/// Each default of v2 is another one than v1's.
pub(crate) fn rich(version: &str, podman: bool) -> ImageSpec {
    let number: u64 = if version == "v1" { 1 } else { 2 };
    let script = format!("/{version}.sh");
    let mut image = ImageSpec::new(version)
        .with("Entrypoint", json!(["/bin/busybox", "sh", script]))
        .with("Cmd", json!([version]))
        .with("User", json!(format!("100{number}:100{number}")))
        .with("WorkingDir", json!(format!("/work/{version}")))
        .with(
            "StopSignal",
            json!(["SIGINT", "SIGQUIT"][number as usize - 1]),
        )
        .with(
            "Env",
            json!([
                "PATH=/bin",
                format!("VERSION={version}"),
                "KEEP=same",
                format!("{version}=1")
            ]),
        )
        .with(
            "Labels",
            json!({"version": version, version: "x", "img.mine": version}),
        )
        .with(
            "ExposedPorts",
            json!({format!("800{number}/tcp"): {}, "80/tcp": {}}),
        )
        .with(
            "Volumes",
            json!({"/data": {}, format!("/only-{version}"): {}}),
        );
    if !podman {
        // Outside of systemd, Podman never runs a health check.
        let check = json!({"Test": ["CMD", "/bin/true", version], "Interval": 1_000_000_000_u64,
                           "Timeout": number * 5_000_000_000, "Retries": number});
        image = image.with("Healthcheck", check);
    }
    let script = (format!("{version}.sh"), 0o755, WAIT.as_bytes().to_vec());
    image.files.push(script);
    image
}
/// One container, and what is to become of it. In texts, `@` is the test's prefix and `#1`, `#2`
/// are the first three numbers of its networks' addresses.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) image: &'static str,
    pub(crate) body: Value,
    /// Networks it joins after its creation.
    pub(crate) joins: Vec<(&'static str, Value)>,
    /// What its twin is made from, where it cannot be the same.
    pub(crate) twin: Option<Value>,
    /// The first API version that knows what the case is about.
    pub(crate) since: u64,
    /// Why it is left out on Podman.
    pub(crate) not_on_podman: &'static str,
    /// Fields of `Config` and `HostConfig` that Podman is known not to give back as they were.
    pub(crate) lost_on_podman: &'static [&'static str],
    /// What it does before the refresh.
    pub(crate) state: &'static str,
    /// The list of the report it is on, or nothing.
    pub(crate) outcome: &'static str,
    /// What inspect shows afterwards.
    pub(crate) shows: Vec<(&'static str, Value)>,
    /// What inspect shows before and afterwards.
    pub(crate) keeps: Vec<&'static str>,
    /// What a command prints in it afterwards.
    pub(crate) prints: Vec<(&'static str, &'static str)>,
}

pub(crate) fn case(name: &'static str, image: &'static str, body: Value) -> Case {
    Case {
        name,
        image,
        body,
        joins: Vec::new(),
        twin: None,
        since: 41,
        not_on_podman: "",
        lost_on_podman: &[],
        state: "running",
        outcome: "recreated",
        shows: Vec::new(),
        keeps: Vec::new(),
        prints: Vec::new(),
    }
}

impl Case {
    pub(crate) fn joins(mut self, network: &'static str, endpoint: Value) -> Self {
        self.joins.push((network, endpoint));
        self
    }

    pub(crate) fn twin(mut self, body: Value) -> Self {
        self.twin = Some(body);
        self
    }

    pub(crate) fn since(mut self, minor: u64) -> Self {
        self.since = minor;
        self
    }

    pub(crate) fn not_on_podman(mut self, why: &'static str) -> Self {
        self.not_on_podman = why;
        self
    }

    pub(crate) fn lost_on_podman(mut self, fields: &'static [&'static str]) -> Self {
        self.lost_on_podman = fields;
        self
    }

    pub(crate) fn state(mut self, state: &'static str) -> Self {
        self.state = state;
        self
    }

    pub(crate) fn outcome(mut self, list: &'static str) -> Self {
        self.outcome = list;
        self
    }

    pub(crate) fn shows(mut self, pointer: &'static str, value: Value) -> Self {
        self.shows.push((pointer, value));
        self
    }

    pub(crate) fn keeps(mut self, pointer: &'static str) -> Self {
        self.keeps.push(pointer);
        self
    }

    pub(crate) fn prints(mut self, command: &'static str, text: &'static str) -> Self {
        self.prints.push((command, text));
        self
    }
}
