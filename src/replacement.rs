//! What a container's successor is created from: pure, from what the Engine shows to what it is
//! asked to make.
//!
//! The rule: what the owner set is carried over, what the old image gave is left out, so that the
//! new image gives it anew. The Engine's inspect shows both mixed, so the old image's configuration
//! is subtracted. `Config` and `HostConfig` stay the JSON they came as; only keys that are named
//! here are touched, so fields this program has never heard of survive.

use crate::engine::ApiVersion;
use crate::engine::Container;
use crate::engine::Image;
use crate::engine::State;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// The label on a successor that tells a later start of this program what was going on.
pub const TRANSACTION_LABEL: &str = "io.imagewatch.txn";
/// Compose compares this label with the image's id to decide whether a container is up to date.
const COMPOSE_IMAGE_LABEL: &str = "com.docker.compose.image";
/// From this version on, all networks are given at creation, and the MAC address with its network.
const MANY_NETWORKS: ApiVersion = ApiVersion(1, 44);
/// From this version on, an endpoint has a gateway priority.
const GATEWAY_PRIORITY: ApiVersion = ApiVersion(1, 48);
/// Settings of an image that no container has of its own.
const IMAGE_ONLY: [&str; 3] = ["Shell", "OnBuild", "ArgsEscaped"];

/// All that decides how the successor looks.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The container as it is, inspected while it runs: a stopped one no longer shows its MAC
    /// addresses.
    pub old: &'a Container,
    /// The image it was made from; `None` if that is gone, then everything counts as the owner's.
    pub old_image: Option<&'a Image>,
    /// The id of the image it is to run.
    pub new_image_id: &'a str,
    /// The API version both sides speak.
    pub api: ApiVersion,
    /// Names of volumes that it has through `--volumes-from`.
    pub inherited_volumes: &'a [String],
    /// Containers that are replaced in the same swap.
    pub moved: &'a [Moved<'a>],
}

/// A container that is replaced in the same swap as another.
#[derive(Debug, Clone, Copy)]
pub struct Moved<'a> {
    /// Its id.
    pub old_id: &'a str,
    /// Its name.
    pub old_name: &'a str,
    /// Its successor's id.
    pub new_id: &'a str,
    /// The name its successor has for now.
    pub new_name: &'a str,
}

/// What to ask the Engine for.
#[derive(Debug, Clone, PartialEq)]
pub struct Replacement {
    /// The body of `POST /containers/create`.
    pub body: Value,
    /// Networks to join after creation, with their settings, because the Engine takes only one at
    /// creation.
    pub connect: Vec<(String, Value)>,
}

impl Replacement {
    /// Works out the successor.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        let mut config = config(facts);
        let host_config = host_config(facts);
        let (mut endpoints, main) = endpoints(facts);
        if facts.api >= MANY_NETWORKS {
            move_mac_address(facts, &mut config, &mut endpoints, main.as_deref());
        }
        let mut connect = Vec::new();
        if facts.api < MANY_NETWORKS {
            let is_main = |name: &String| Some(name.as_str()) == main.as_deref();
            let (first, later): (Vec<_>, Vec<_>) =
                endpoints.into_iter().partition(|(name, _)| is_main(name));
            endpoints = first.into_iter().collect();
            connect = later;
        }
        let mut body = Value::Object(config);
        body["HostConfig"] = Value::Object(host_config);
        if !endpoints.is_empty() {
            body["NetworkingConfig"] = json!({ "EndpointsConfig": endpoints });
        }
        Self { body, connect }
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
    health_check(&mut config, image);
    // Volumes of the old image are carried by name as binds; the new image adds its own.
    config.insert("Volumes".to_owned(), json!({}));
    config
}

/// A host name that is only the old id must not stick, and one that belongs to another container
/// or to the host is refused by the Engine.
fn host_name(facts: &Facts, config: &mut Map<String, Value>) {
    let mode = network_mode(facts.old);
    let borrowed = mode == "host"
        || mode.starts_with("container:")
        || facts.old.host_config().get("UTSMode") == Some(&json!("host"));
    let is_id = config.get("Hostname").and_then(Value::as_str) == Some(facts.old.short_id());
    if borrowed || is_id {
        config.remove("Hostname");
    }
    if borrowed {
        config.remove("Domainname");
    }
}

/// The Engine takes the image's command only together with the image's entrypoint, so the two are
/// decided together.
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
    // The same entrypoint given again clears the image's command: keep it given.
    let cleared = is_empty(config.get("Cmd")) && own_command;
    if !cleared || is_empty(config.get("Entrypoint")) {
        config.remove("Entrypoint");
    }
    if !own_command {
        config.remove("Cmd");
    }
}

/// An entry that equals the image's is the image's. (That the owner set the same value on purpose
/// cannot be told apart.)
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
        key != TRANSACTION_LABEL && given.and_then(|given| given.get(key)) != Some(value)
    });
    if let Some(label) = labels.get_mut(COMPOSE_IMAGE_LABEL) {
        if label == facts.old.image_id() {
            *label = json!(facts.new_image_id);
        }
    }
}

fn exposed_ports(facts: &Facts, config: &mut Map<String, Value>, image: &Map<String, Value>) {
    let published = facts.old.host_config().get("PortBindings");
    let given = image.get("ExposedPorts");
    if let Some(Value::Object(ports)) = config.get_mut("ExposedPorts") {
        ports.retain(|port, _| {
            let has = |list: Option<&Value>| list.is_some_and(|list| list.get(port).is_some());
            !has(given) || has(published)
        });
    }
}

/// The Engine merges health checks field by field, so only the fields that differ are the owner's.
fn health_check(config: &mut Map<String, Value>, image: &Map<String, Value>) {
    let given = image.get("Healthcheck").and_then(Value::as_object);
    if let Some(Value::Object(check)) = config.get_mut("Healthcheck") {
        check.retain(|key, value| given.and_then(|given| given.get(key)) != Some(value));
        if check.is_empty() {
            config.remove("Healthcheck");
        }
    }
}

fn host_config(facts: &Facts) -> Map<String, Value> {
    let mut host = facts.old.host_config().clone();
    host.remove("ContainerIDFile");
    if let Some(Value::Array(links)) = host.get_mut("Links") {
        for link in links {
            *link = json!(plain_link(link.as_str().unwrap_or_default()));
        }
    }
    name_volumes(facts, &mut host);
    let networks = facts.old.networks();
    let mode = network_mode(facts.old);
    // Its owner took it out of the network it was made in: that network must not come back.
    if has_own_networks(&mode) && main_network(facts.old).is_none() {
        if let Some(network) = networks.keys().next() {
            host.insert("NetworkMode".to_owned(), json!(network));
        }
    }
    host
}

/// `/provider:/consumer/alias` as inspect shows it → `provider:alias` as create wants it.
fn plain_link(link: &str) -> String {
    let (provider, alias) = link.split_once(':').unwrap_or((link, link));
    let alias = alias.rsplit('/').next().unwrap_or(alias);
    format!("{}:{alias}", provider.trim_start_matches('/'))
}

/// Anonymous volumes are carried by the name the Engine gave them, or their data would stay behind.
fn name_volumes(facts: &Facts, host: &mut Map<String, Value>) {
    let mut added = Vec::new();
    for mount in facts.old.mounts() {
        let (Some(name), Some(target)) = (mount["Name"].as_str(), mount["Destination"].as_str())
        else {
            continue;
        };
        let is_volume = mount["Type"] == "volume";
        let inherited = facts.inherited_volumes.iter().any(|volume| volume == name);
        if !is_volume || inherited || is_bound(host, target) {
            continue;
        }
        if let Some(own) = declared_mount(host, target) {
            if is_blank(own.get("Source")) && own["Type"] == "volume" {
                own["Source"] = json!(name);
            }
            continue;
        }
        let read_only = if mount["RW"] == false { ":ro" } else { "" };
        added.push(json!(format!("{name}:{target}{read_only}")));
    }
    if added.is_empty() {
        return;
    }
    match host.get_mut("Binds") {
        Some(Value::Array(binds)) => binds.extend(added),
        _ => drop(host.insert("Binds".to_owned(), Value::Array(added))),
    }
}

/// Whether a bind (`source:target[:options]`) covers the target.
fn is_bound(host: &Map<String, Value>, target: &str) -> bool {
    let binds = host.get("Binds").and_then(Value::as_array);
    let mut targets = binds
        .into_iter()
        .flatten()
        .filter_map(|bind| bind.as_str()?.split(':').nth(1));
    targets.any(|bound| bound.trim_end_matches('/') == target.trim_end_matches('/'))
}

fn declared_mount<'a>(host: &'a mut Map<String, Value>, target: &str) -> Option<&'a mut Value> {
    let mounts = host.get_mut("Mounts")?.as_array_mut()?;
    mounts.iter_mut().find(|mount| mount["Target"] == target)
}

fn network_mode(container: &Container) -> String {
    let mode = container.host_config().get("NetworkMode");
    mode.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Whether the container has networks of its own, and does not share the host's, another
/// container's, or none at all.
fn has_own_networks(mode: &str) -> bool {
    !(mode == "host" || mode == "none" || mode.starts_with("container:"))
}

/// The network that the container was made in, by name, if it is still in it.
fn main_network(container: &Container) -> Option<String> {
    let mode = network_mode(container);
    let name = match mode.as_str() {
        "" | "default" | "bridge" => "bridge",
        other => other,
    };
    let networks = container.networks();
    if networks.contains_key(name) {
        return Some(name.to_owned());
    }
    let by_id = |endpoint: &Value| endpoint["NetworkID"] == name;
    networks
        .iter()
        .find(|(_, endpoint)| by_id(endpoint))
        .map(|(network, _)| network.clone())
}

/// Each endpoint is built afresh from what an owner can set; the rest of what inspect shows is
/// state.
fn endpoints(facts: &Facts) -> (Map<String, Value>, Option<String>) {
    let mode = network_mode(facts.old);
    if !has_own_networks(&mode) {
        return (Map::new(), None);
    }
    let networks = facts.old.networks();
    let main = main_network(facts.old).or_else(|| networks.keys().next().cloned());
    let fresh = networks
        .iter()
        .map(|(name, shown)| (name.clone(), endpoint(facts, name, shown, main.as_deref())));
    (fresh.collect(), main)
}

fn endpoint(facts: &Facts, name: &str, shown: &Value, main: Option<&str>) -> Value {
    let mut endpoint = Map::new();
    for key in ["IPAMConfig", "DriverOpts"] {
        if !is_blank(shown.get(key)) {
            endpoint.insert(key.to_owned(), shown[key].clone());
        }
    }
    if let Some(Value::Array(links)) = shown.get("Links").filter(|links| !is_blank(Some(links))) {
        let links: Vec<String> = links
            .iter()
            .map(|link| plain_link(link.as_str().unwrap_or_default()))
            .collect();
        endpoint.insert("Links".to_owned(), json!(links));
    }
    let aliases = aliases(facts.old, shown);
    if !aliases.is_empty() {
        endpoint.insert("Aliases".to_owned(), json!(aliases));
    }
    if facts.api >= GATEWAY_PRIORITY && shown["GwPriority"].as_i64().unwrap_or(0) != 0 {
        endpoint.insert("GwPriority".to_owned(), shown["GwPriority"].clone());
    }
    if facts.api >= MANY_NETWORKS && Some(name) != main && !is_derived_mac(shown) {
        if let Some(mac) = shown["MacAddress"].as_str().filter(|mac| !mac.is_empty()) {
            if facts.old.state() == State::Running {
                endpoint.insert("MacAddress".to_owned(), json!(mac));
            }
        }
    }
    Value::Object(endpoint)
}

/// Older Engines add the short id and the host name to the aliases; carried over, they would pile
/// up with every generation and keep dead ids resolving.
fn aliases(container: &Container, shown: &Value) -> Vec<String> {
    let host_name = container.config().get("Hostname").and_then(Value::as_str);
    let mut aliases: Vec<String> = Vec::new();
    for alias in shown["Aliases"].as_array().into_iter().flatten() {
        let Some(alias) = alias.as_str() else {
            continue;
        };
        let added_by_engine = alias == container.short_id() || Some(alias) == host_name;
        if !added_by_engine && !aliases.iter().any(|known| known == alias) {
            aliases.push(alias.to_owned());
        }
    }
    aliases
}

/// Engines before 28 make the MAC address from the IPv4 address; such a one is nobody's wish.
fn is_derived_mac(shown: &Value) -> bool {
    let address = shown["IPAddress"].as_str().and_then(|ip| ip.parse().ok());
    let Some(address): Option<std::net::Ipv4Addr> = address else {
        return false;
    };
    let [a, b, c, d] = address.octets();
    shown["MacAddress"] == format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// From API 1.44 on, the owner's MAC address belongs to the endpoint of the first network.
fn move_mac_address(
    facts: &Facts,
    config: &mut Map<String, Value>,
    endpoints: &mut Map<String, Value>,
    main: Option<&str>,
) {
    let Some(mac) = config
        .remove("MacAddress")
        .filter(|mac| !is_blank(Some(mac)))
    else {
        return;
    };
    let Some(endpoint) = main.and_then(|main| endpoints.get_mut(main)) else {
        return;
    };
    // Engines 25.0.0 to 25.0.2 show the assigned address as if it were the owner's.
    let shown = main.and_then(|main| facts.old.networks().get(main));
    let assigned = shown.is_some_and(|shown| is_derived_mac(shown) && shown["MacAddress"] == mac);
    if !assigned {
        endpoint["MacAddress"] = mac;
    }
}

/// Equal, where absent, null and empty are all "not set".
fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    (is_blank(a) && is_blank(b)) || a == b
}

fn is_empty(value: Option<&Value>) -> bool {
    is_blank(value) || value == Some(&json!([""]))
}

fn is_blank(value: Option<&Value>) -> bool {
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
    use super::*;

    const OLD_ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    /// A container with the given `Config` and `HostConfig`, of an image with the given config.
    fn body(api: ApiVersion, image: Value, container: Value) -> Value {
        let mut json = json!({
            "Id": OLD_ID, "Name": "/web", "Image": "sha256:old",
            "State": {"Status": "running"},
            "Config": {}, "HostConfig": {"NetworkMode": "default"},
            "NetworkSettings": {"Networks": {"bridge": {}}}, "Mounts": [],
        });
        merge(&mut json, container);
        let old = Container::new(json);
        let image = Image::new(json!({ "Config": image }));
        let replacement = Replacement::of(&Facts {
            old: &old,
            old_image: Some(&image),
            new_image_id: "sha256:new",
            api,
            inherited_volumes: &["inherited".to_owned()],
            moved: &[],
        });
        let mut body = replacement.body;
        body["connect"] = json!(replacement.connect);
        body
    }

    fn merge(into: &mut Value, from: Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from,
        }
    }

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
            json!({"NetworkMode": "host"}),
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
    }

    #[test]
    fn labels_of_compose_follow_the_image_and_ours_are_not_inherited() {
        let body = config(
            json!({}),
            json!({"Labels": {COMPOSE_IMAGE_LABEL: "sha256:old", TRANSACTION_LABEL: "{}",
                              "com.docker.compose.config-hash": "h"}}),
        );
        assert_eq!(
            body["Labels"],
            json!({COMPOSE_IMAGE_LABEL: "sha256:new", "com.docker.compose.config-hash": "h"})
        );
    }

    #[test]
    fn every_volume_is_carried_by_name_once() {
        let container = json!({
            "HostConfig": {
                "Binds": ["named:/named", "/tmp:/bind:ro"],
                "Mounts": [{"Type": "volume", "Target": "/declared"},
                           {"Type": "tmpfs", "Target": "/tmpfs"}],
            },
            "Mounts": [
                {"Type": "volume", "Name": "named", "Destination": "/named", "RW": true},
                {"Type": "bind", "Source": "/tmp", "Destination": "/bind", "RW": false},
                {"Type": "volume", "Name": "anon1", "Destination": "/declared", "RW": true},
                {"Type": "volume", "Name": "anon2", "Destination": "/data", "RW": true},
                {"Type": "volume", "Name": "anon3", "Destination": "/frozen", "RW": false},
                {"Type": "volume", "Name": "inherited", "Destination": "/from", "RW": true},
                {"Type": "tmpfs", "Destination": "/tmpfs"},
            ],
        });
        let host = &body(ApiVersion(1, 41), json!({}), container)["HostConfig"];
        assert_eq!(
            host["Binds"],
            json!([
                "named:/named",
                "/tmp:/bind:ro",
                "anon2:/data",
                "anon3:/frozen:ro"
            ])
        );
        assert_eq!(host["Mounts"][0]["Source"], "anon1");
    }

    #[test]
    fn an_old_engine_gets_one_network_at_creation_and_the_rest_later() {
        let container = json!({
            "Config": {"MacAddress": "02:00:00:00:00:01", "Hostname": "box"},
            "HostConfig": {"NetworkMode": "n1"},
            "NetworkSettings": {"Networks": {
                "bridge": null,
                "a-second": {"Aliases": ["m2"], "IPAMConfig": {"IPv4Address": "10.0.0.9"},
                             "MacAddress": "ca:fe:00:00:00:02", "IPAddress": "10.0.0.9"},
                "n1": {"Aliases": ["a", "0123456789ab", "box", "a"], "IPAMConfig": null,
                       "IPAddress": "10.1.0.2", "Gateway": "10.1.0.1", "NetworkID": "x"},
            }},
        });
        let mut without_bridge = container;
        without_bridge["NetworkSettings"]["Networks"]["bridge"].take();
        let old = |api| {
            let mut json = without_bridge.clone();
            let networks = json["NetworkSettings"]["Networks"].as_object_mut();
            networks.expect("an object").remove("bridge");
            let mut base = json!({"Id": OLD_ID, "Name": "/web", "Image": "sha256:old",
                                  "State": {"Status": "running"}});
            merge(&mut base, json);
            let old = Container::new(base);
            Replacement::of(&Facts {
                old: &old,
                old_image: None,
                new_image_id: "sha256:new",
                api,
                inherited_volumes: &[],
                moved: &[],
            })
        };
        let second = json!({"Aliases": ["m2"], "IPAMConfig": {"IPv4Address": "10.0.0.9"}});
        let before = old(ApiVersion(1, 41));
        assert_eq!(
            before.body["NetworkingConfig"]["EndpointsConfig"],
            json!({"n1": {"Aliases": ["a"]}})
        );
        assert_eq!(before.body["MacAddress"], "02:00:00:00:00:01");
        assert_eq!(before.connect, [("a-second".to_owned(), second.clone())]);
        let after = old(ApiVersion(1, 44));
        let mut second = second;
        second["MacAddress"] = json!("ca:fe:00:00:00:02");
        assert_eq!(
            after.body["NetworkingConfig"]["EndpointsConfig"],
            json!({"n1": {"Aliases": ["a"], "MacAddress": "02:00:00:00:00:01"}, "a-second": second})
        );
        assert_eq!(after.body.get("MacAddress"), None);
        assert!(after.connect.is_empty());
    }

    #[test]
    fn shared_networks_are_not_configured() {
        for mode in ["host", "none", "container:abc"] {
            let container = json!({"HostConfig": {"NetworkMode": mode},
                                   "NetworkSettings": {"Networks": {mode: {}}}});
            let body = body(ApiVersion(1, 44), json!({}), container);
            assert_eq!(body.get("NetworkingConfig"), None, "{mode}");
        }
    }

    #[test]
    fn a_mac_address_the_engine_made_is_not_pinned() {
        let shown = json!({"MacAddress": "02:42:ac:11:00:02", "IPAddress": "172.17.0.2"});
        assert!(is_derived_mac(&shown));
        let container = json!({"Config": {"MacAddress": "02:42:ac:11:00:02"},
                               "NetworkSettings": {"Networks": {"bridge": shown}}});
        let body = body(ApiVersion(1, 44), json!({}), container);
        assert_eq!(
            body["NetworkingConfig"]["EndpointsConfig"],
            json!({"bridge": {}})
        );
    }

    #[test]
    fn links_are_written_as_create_wants_them() {
        assert_eq!(plain_link("/db:/web/database"), "db:database");
        assert_eq!(plain_link("db:database"), "db:database");
    }

    #[test]
    fn null_and_empty_lists_keep_their_difference() {
        let host = json!({"MaskedPaths": [], "ReadonlyPaths": null, "NetworkMode": "default"});
        let body = body(ApiVersion(1, 44), json!({}), json!({"HostConfig": host}));
        assert_eq!(body["HostConfig"]["MaskedPaths"], json!([]));
        assert_eq!(body["HostConfig"]["ReadonlyPaths"], Value::Null);
    }
}
