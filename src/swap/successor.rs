//! The settings of a container's successor: a pure function from the Engine's inspect to the body of the
//! create call.
//!
//! The rule: the owner's settings are carried over. The old image's settings are left out, so that the
//! new image gives its own. The Engine's inspect shows both mixed, so the old image's configuration
//! is subtracted. `Config` and `HostConfig` stay JSON, and only keys that are named here are touched.
//! So fields that this program does not know survive.

mod host;
mod neighbours;
mod network;
mod podman;
#[cfg(test)]
mod testing;

pub use neighbours::Moved;
pub(crate) use podman::is_between_runs;
pub use podman::lost_on_podman;

use crate::engine::ApiVersion;
use crate::engine::Container;
use crate::engine::Image;
use crate::labels::FOLLOWED;
use crate::labels::TRANSACTION;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// Compose compares this label with the image's id to decide whether a container is up to date.
const COMPOSE_IMAGE_LABEL: &str = "com.docker.compose.image";
/// Settings of an image that an owner cannot set on a container.
const IMAGE_ONLY: [&str; 3] = ["Shell", "OnBuild", "ArgsEscaped"];

/// All facts that decide the settings of the successor.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The old container, inspected while it runs: a stopped container no longer shows its MAC
    /// addresses.
    pub old: &'a Container,
    /// The image that the old container was created from. If it is gone (`None`), all settings count as the owner's.
    pub old_image: Option<&'a Image>,
    /// The id of the image that the successor will run.
    pub new_image_id: &'a str,
    /// The API version both sides speak.
    pub api: ApiVersion,
    /// On Podman: its own inspect (`GET /libpod/containers/{id}/json`), for settings that its Docker API spells
    /// differently.
    pub podman: Option<&'a Value>,
    /// The mounts of the containers that `VolumesFrom` names, as far as they exist.
    pub inherited: &'a [Value],
    /// The entries of `VolumesFrom` whose container no longer exists.
    pub gone_providers: &'a [String],
    /// The containers that are replaced together with this one.
    pub moved: &'a [Moved<'a>],
}

/// The request for a successor, ready for the Engine.
#[derive(Debug, Clone)]
pub struct Successor {
    /// The old container, as Docker would show it.
    pub old: Container,
    /// The body of `POST /containers/create`.
    pub body: Value,
    /// The networks to join after creation, with their settings. An older Engine takes only one at creation.
    pub connect: Vec<(String, Value)>,
}

impl Successor {
    /// Works out the successor.
    #[must_use]
    #[cold]
    pub fn of(facts: &Facts) -> Self {
        let old = match facts.podman {
            Some(libpod) => podman::as_docker(facts, libpod),
            None => facts.old.clone(),
        };
        let facts = &Facts {
            old: &old,
            ..*facts
        };
        let mut config = config(facts);
        let mut host = host::config(facts);
        let networks = network::endpoints(facts, &mut config, &mut host);
        let mut body = Value::Object(config);
        body["HostConfig"] = Value::Object(host);
        if !networks.first.is_empty() {
            body["NetworkingConfig"] = json!({ "EndpointsConfig": networks.first });
        }
        Self {
            body,
            connect: networks.later,
            old,
        }
    }

    /// Puts a label on the successor.
    pub fn label(&mut self, name: &str, value: String) {
        if !self.body["Labels"].is_object() {
            self.body["Labels"] = json!({});
        }
        self.body["Labels"][name] = Value::String(value);
    }
}

fn config(facts: &Facts) -> Map<String, Value> {
    let empty = Map::new();
    let image = facts.old_image.map_or(&empty, Image::config);
    let mut config = facts.old.config().clone();
    for key in IMAGE_ONLY {
        config.remove(key);
    }
    for key in ["User", "WorkingDir", "StopSignal"] {
        if same(config.get(key), image.get(key)) {
            config.remove(key);
        }
    }
    host_name(facts, &mut config);
    command(&mut config, image);
    environment(&mut config, image);
    labels(facts, &mut config, image);
    exposed_ports(facts, &mut config, image);
    health_check(facts, &mut config, image);
    // Volumes of the old image are carried over by name, as binds. The new image adds its own.
    config.insert("Volumes".to_owned(), json!({}));
    config
}

/// Removes a host name that is not the owner's. A host name that is only the old id must not be kept. A host name that
/// belongs to another container or, with its UTS namespace, to the host is refused by the Engine. In the host's
/// network the name is kept: if the owner set none there, the Engine wrote the host's name down.
fn host_name(facts: &Facts, config: &mut Map<String, Value>) {
    let borrowed = network::shares_container(facts.old)
        || facts.old.host_config().get("UTSMode") == Some(&json!("host"));
    let is_id = config.get("Hostname").and_then(Value::as_str) == Some(facts.old.short_id());
    if borrowed || is_id {
        config.remove("Hostname");
    }
    if borrowed {
        config.remove("Domainname");
    }
}

/// Decides on entrypoint and command together, because the Engine takes the image's command only together
/// with the image's entrypoint.
fn command(config: &mut Map<String, Value>, image: &Map<String, Value>) {
    let own_entrypoint = !same(config.get("Entrypoint"), image.get("Entrypoint"));
    let own_command = !same(config.get("Cmd"), image.get("Cmd"));
    if own_entrypoint {
        // `--entrypoint ""` shows as null, but null would bring the image's entrypoint back.
        if is_empty(config.get("Entrypoint")) {
            config.insert("Entrypoint".to_owned(), json!([""]));
        }
        return;
    }
    // An owner who gives the image's own entrypoint clears the image's command, so the entrypoint is kept.
    let cleared = is_empty(config.get("Cmd")) && own_command;
    if !cleared || is_empty(config.get("Entrypoint")) {
        config.remove("Entrypoint");
    }
    if !own_command {
        config.remove("Cmd");
    }
}

/// Removes entries that equal the image's. (An owner who set the same value on purpose cannot be told apart.)
fn environment(config: &mut Map<String, Value>, image: &Map<String, Value>) {
    let given = image.get("Env").and_then(Value::as_array);
    if let Some(Value::Array(entries)) = config.get_mut("Env") {
        entries.retain(|entry| !given.is_some_and(|given| given.contains(entry)));
    }
}

fn labels(facts: &Facts, config: &mut Map<String, Value>, image: &Map<String, Value>) {
    let Some(Value::Object(labels)) = config.get_mut("Labels") else {
        return;
    };
    let given = image.get("Labels").and_then(Value::as_object);
    labels.retain(|key, value| {
        key != TRANSACTION
            && key != FOLLOWED
            && given.and_then(|given| given.get(key)) != Some(value)
    });
    if let Some(label) = labels.get_mut(COMPOSE_IMAGE_LABEL) {
        if label == facts.old.image_id() {
            *label = json!(facts.new_image_id);
        }
    }
}

fn exposed_ports(facts: &Facts, config: &mut Map<String, Value>, image: &Map<String, Value>) {
    if network::shares_container(facts.old) {
        // The Engine refuses exposed ports there, even if they come from an image that is gone by now.
        config.remove("ExposedPorts");
    }
    let published = facts.old.host_config().get("PortBindings");
    let given = image.get("ExposedPorts");
    if let Some(Value::Object(ports)) = config.get_mut("ExposedPorts") {
        ports.retain(|port, _| {
            let has = |list: Option<&Value>| list.is_some_and(|list| list.get(port).is_some());
            !has(given) || has(published)
        });
    }
}

/// Removes the image's part of the health check. Docker merges health checks field by field, so only the fields
/// that differ are the owner's. Podman refuses a health check without a command, so all fields are kept there, or none.
fn health_check(facts: &Facts, config: &mut Map<String, Value>, image: &Map<String, Value>) {
    let given = image.get("Healthcheck").and_then(Value::as_object);
    if let Some(Value::Object(check)) = config.get_mut("Healthcheck") {
        let is_own =
            |key: &str, value: &Value| given.and_then(|given| given.get(key)) != Some(value);
        let any = check.iter().any(|(key, value)| is_own(key, value));
        if !any {
            config.remove("Healthcheck");
        } else if facts.podman.is_none() {
            check.retain(|key, value| is_own(key, value));
        }
    }
}

/// Whether two settings are equal. Absent, null and empty all mean "not set".
fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    (is_blank(a) && is_blank(b)) || a == b
}

fn is_empty(value: Option<&Value>) -> bool {
    is_blank(value) || value == Some(&json!([""]))
}

/// Whether a field is not set, in any of the Engine's spellings.
pub(crate) fn is_blank(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::testing::body;
    use super::*;

    fn config(image: Value, config: Value) -> Value {
        body(ApiVersion(1, 44), image, json!({ "Config": config }))
    }

    #[test]
    fn what_the_image_gave_is_left_out_and_what_the_owner_set_is_kept() {
        let body = config(
            json!({"Env": ["PATH=/bin", "A=image", "KEEP=same"], "User": "app", "WorkingDir": "/app",
                   "StopSignal": "SIGINT", "Labels": {"v": "1", "mine": "image"},
                   "ExposedPorts": {"80/tcp": {}, "90/tcp": {}}, "Cmd": ["run"], "Entrypoint": ["/e"],
                   "Volumes": {"/data": {}}}),
            json!({"Env": ["A=1", "PATH=/bin", "KEEP=same", "B=2"], "User": "app", "WorkingDir": "/tmp",
                   "StopSignal": "SIGINT", "Labels": {"v": "1", "mine": "owner", "x": "y"},
                   "ExposedPorts": {"80/tcp": {}, "90/tcp": {}, "9999/tcp": {}},
                   "Cmd": ["run"], "Entrypoint": ["/e"], "Volumes": {"/data": {}},
                   "Image": "a/b:c", "Hostname": "0123456789ab", "Shell": ["sh"], "OnBuild": null,
                   "StopTimeout": 3, "Unknown": {"deep": [1]}}),
        );
        assert_eq!(body["Env"], json!(["A=1", "B=2"]));
        assert_eq!(body["WorkingDir"], "/tmp");
        assert_eq!(body["Labels"], json!({"mine": "owner", "x": "y"}));
        assert_eq!(body["ExposedPorts"], json!({"9999/tcp": {}}));
        assert_eq!(body["Volumes"], json!({}));
        assert_eq!(body["Image"], "a/b:c");
        assert_eq!(body["StopTimeout"], 3);
        assert_eq!(body["Unknown"], json!({"deep": [1]}));
        for gone in [
            "User",
            "StopSignal",
            "Cmd",
            "Entrypoint",
            "Hostname",
            "Shell",
            "OnBuild",
        ] {
            assert_eq!(body.get(gone), None, "{gone}");
        }
    }

    #[test]
    fn entrypoint_and_command_are_decided_together() {
        for (image, own, expected) in [
            // Nothing set.
            (
                json!([["/e"], ["c"]]),
                json!([["/e"], ["c"]]),
                json!([null, null]),
            ),
            // Only the command set.
            (
                json!([["/e"], ["c"]]),
                json!([["/e"], ["x"]]),
                json!([null, ["x"]]),
            ),
            // Another entrypoint: the command is the owner's too, even if it looks like the image's.
            (
                json!([["/e"], ["c"]]),
                json!([["/x"], ["c"]]),
                json!([["/x"], ["c"]]),
            ),
            // The entrypoint taken away.
            (
                json!([["/e"], ["c"]]),
                json!([null, ["x"]]),
                json!([[""], ["x"]]),
            ),
            // The image's own entrypoint given again, which clears the command.
            (
                json!([["/e"], ["c"]]),
                json!([["/e"], null]),
                json!([["/e"], null]),
            ),
            // An image without either.
            (
                json!([null, null]),
                json!([null, ["x"]]),
                json!([null, ["x"]]),
            ),
            (
                json!([null, ["c"]]),
                json!([null, ["c"]]),
                json!([null, null]),
            ),
        ] {
            let pair = |pair: &Value| json!({"Entrypoint": pair[0], "Cmd": pair[1]});
            let body = config(pair(&image), pair(&own));
            let seen = json!([body.get("Entrypoint"), body.get("Cmd")]);
            assert_eq!(seen, expected, "{image} {own}");
        }
    }

    #[test]
    fn of_a_health_check_only_the_fields_that_differ_are_the_owners() {
        let image = json!({"Healthcheck": {"Test": ["CMD", "a"], "Interval": 1, "Retries": 2}});
        let own = json!({"Healthcheck": {"Test": ["CMD", "a"], "Interval": 9, "Retries": 2}});
        assert_eq!(
            config(image.clone(), own)["Healthcheck"],
            json!({"Interval": 9})
        );
        assert_eq!(
            config(image.clone(), image.clone()).get("Healthcheck"),
            None
        );
        let none = json!({"Healthcheck": {"Test": ["NONE"]}});
        assert_eq!(
            config(image, none.clone())["Healthcheck"],
            none["Healthcheck"]
        );
    }

    #[test]
    fn a_published_port_stays_exposed() {
        let ports = json!({"ExposedPorts": {"80/tcp": {}}});
        let container = json!({"Config": ports, "HostConfig": {"PortBindings": {"80/tcp": [{}]}}});
        let body = body(ApiVersion(1, 41), ports, container);
        assert_eq!(body["ExposedPorts"], json!({"80/tcp": {}}));
        assert_eq!(body["HostConfig"]["PortBindings"], json!({"80/tcp": [{}]}));
    }

    #[test]
    fn a_borrowed_host_name_is_not_sent() {
        for host in [
            json!({"NetworkMode": "container:abc"}),
            json!({"UTSMode": "host"}),
        ] {
            let own = json!({"Hostname": "box", "Domainname": "example.org"});
            let container = json!({"Config": own, "HostConfig": host});
            let body = body(ApiVersion(1, 41), json!({}), container);
            assert_eq!(body.get("Hostname"), None, "{host}");
            assert_eq!(body.get("Domainname"), None, "{host}");
        }
        let own = config(json!({}), json!({"Hostname": "box"}));
        assert_eq!(own["Hostname"], "box");
        let container =
            json!({"Config": {"Hostname": "box"}, "HostConfig": {"NetworkMode": "host"}});
        let body = body(ApiVersion(1, 41), json!({}), container);
        assert_eq!(body["Hostname"], "box");
    }

    #[test]
    fn labels_of_compose_follow_the_image_and_ours_are_not_inherited() {
        let body = config(
            json!({}),
            json!({"Labels": {COMPOSE_IMAGE_LABEL: "sha256:old", TRANSACTION: "{}", FOLLOWED: "nginx",
                              "com.docker.compose.config-hash": "h"}}),
        );
        assert_eq!(
            body["Labels"],
            json!({COMPOSE_IMAGE_LABEL: "sha256:new", "com.docker.compose.config-hash": "h"})
        );
    }

    #[test]
    fn no_json_panics() {
        let odd = [
            json!(null),
            json!(true),
            json!(7),
            json!("x"),
            json!([]),
            json!([null, 7, "x", {}]),
            json!({}),
            json!({"x": null}),
            json!({"x": [7]}),
            json!({"x": {"x": "x"}}),
        ];
        let keys = [
            (
                "Config",
                "Env Labels ExposedPorts Healthcheck Hostname Cmd Entrypoint MacAddress StopSignal",
            ),
            (
                "HostConfig",
                "NetworkMode IpcMode Links VolumesFrom Binds Mounts Annotations Tmpfs \
                            PortBindings Ulimits Devices LogConfig CpuQuota StopTimeout",
            ),
            ("NetworkSettings", "Networks"),
            (
                "",
                "Config HostConfig NetworkSettings Mounts State Id Name Image",
            ),
        ];
        for (part, names) in keys {
            for name in names.split_whitespace() {
                for value in &odd {
                    let mut container = testing::container(json!({})).json().clone();
                    if part.is_empty() {
                        container[name] = value.clone();
                    } else {
                        container[part][name] = value.clone();
                    }
                    let libpod =
                        json!({"Config": value, "HostConfig": {"LogConfig": {"Size": "1"}}});
                    let old = Container::new(container);
                    let image = Image::new(json!({"Config": {name: value}}));
                    for podman in [None, Some(&libpod), Some(value)] {
                        let facts = Facts {
                            old_image: Some(&image),
                            podman,
                            ..testing::facts(&old, ApiVersion(1, 44))
                        };
                        Successor::of(&facts).label("x", "y".to_owned());
                    }
                    let _ = lost_on_podman(&libpod);
                }
            }
        }
    }
}
