//! The networks a container is in, its names there, and its MAC addresses.

use super::Facts;
use super::is_blank;
use super::neighbours::is_id_of;
use super::neighbours::plain_links;
use crate::engine::ApiVersion;
use crate::engine::Container;
use crate::engine::State;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// From this version on, inspect shows the aliases the owner gave and no others.
const OWN_ALIASES: ApiVersion = ApiVersion(1, 45);
/// From this version on, an endpoint has a gateway priority.
const GATEWAY_PRIORITY: ApiVersion = ApiVersion(1, 48);

/// The container or host whose network the container shares, or the network that it was created in.
fn mode(container: &Container) -> &str {
    let mode = container.host_config().get("NetworkMode");
    mode.and_then(Value::as_str).unwrap_or_default()
}

/// Whether the container shares the network of another container.
pub(super) fn shares_container(container: &Container) -> bool {
    mode(container).starts_with("container:")
}

/// Whether the container shares the network of another container, or of the host.
pub(super) fn is_borrowed(container: &Container) -> bool {
    mode(container) == "host" || shares_container(container)
}

/// Whether the container has networks of its own, and does not share the host's, another
/// container's, or none at all.
fn has_own(container: &Container) -> bool {
    !is_borrowed(container) && mode(container) != "none"
}

/// The name of the network that the container was created in, if it is still in that network.
fn main(container: &Container) -> Option<&String> {
    let name = match mode(container) {
        "" | "default" | "bridge" => "bridge",
        other => other,
    };
    let is_it = |endpoint: &Value| {
        let id = endpoint["NetworkID"].as_str();
        id.is_some_and(|id| is_id_of(name, id))
    };
    let networks = container.networks();
    let named = networks.get_key_value(name);
    let found = named.or_else(|| networks.iter().find(|(_, endpoint)| is_it(endpoint)));
    found.map(|(network, _)| network)
}

/// The networks to give at creation, and those to join afterwards.
#[derive(Default)]
pub(super) struct Networks {
    pub(super) first: Map<String, Value>,
    pub(super) later: Vec<(String, Value)>,
}

/// The networks of the successor. Each endpoint is built from the settings that an owner can make. Everything else
/// that inspect shows is state.
pub(super) fn endpoints(
    facts: &Facts,
    config: &mut Map<String, Value>,
    host: &mut Map<String, Value>,
) -> Networks {
    let mac = if facts.api < ApiVersion::MANY_NETWORKS {
        None
    } else {
        config.remove("MacAddress")
    };
    let mut networks = Networks::default();
    let shown = facts.old.networks();
    if !has_own(facts.old) {
        return networks;
    }
    let made_in = main(facts.old);
    let Some(main) = made_in.or_else(|| shown.keys().next()) else {
        return networks;
    };
    // The owner took the container out of the network that it was created in, so that network must not come back.
    if made_in.is_none() {
        host.insert("NetworkMode".to_owned(), json!(main));
    }
    for (name, shown) in shown {
        let mut endpoint = endpoint(facts, shown);
        if let Some(mac) = own_mac(facts, name == main, mac.as_ref(), shown) {
            endpoint.insert("MacAddress".to_owned(), mac.clone());
        }
        if facts.api >= ApiVersion::MANY_NETWORKS || name == main {
            networks.first.insert(name.clone(), Value::Object(endpoint));
        } else {
            networks.later.push((name.clone(), Value::Object(endpoint)));
        }
    }
    networks
}

fn endpoint(facts: &Facts, shown: &Value) -> Map<String, Value> {
    let mut endpoint = Map::new();
    for key in ["IPAMConfig", "DriverOpts"] {
        if !is_blank(shown.get(key)) {
            endpoint.insert(key.to_owned(), shown[key].clone());
        }
    }
    if let Some(links) = plain_links(facts, shown.get("Links")) {
        endpoint.insert("Links".to_owned(), links);
    }
    let aliases = aliases(facts, shown);
    if !aliases.is_empty() {
        endpoint.insert("Aliases".to_owned(), Value::Array(aliases));
    }
    if facts.api >= GATEWAY_PRIORITY && shown["GwPriority"].as_i64().unwrap_or(0) != 0 {
        endpoint.insert("GwPriority".to_owned(), shown["GwPriority"].clone());
    }
    endpoint
}

/// The aliases that the owner set. Older Engines, and Podman, add the short id and the host name. If these were
/// carried over, they would pile up with every update, and dead ids would keep resolving.
fn aliases(facts: &Facts, shown: &Value) -> Vec<Value> {
    let host_name = facts.old.config().get("Hostname");
    let adds_host_name = facts.api < OWN_ALIASES && facts.podman.is_none();
    let mut aliases: Vec<Value> = Vec::new();
    for alias in shown["Aliases"].as_array().into_iter().flatten() {
        let added_by_engine =
            alias == facts.old.short_id() || (adds_host_name && Some(alias) == host_name);
        if !added_by_engine && !aliases.contains(alias) {
            aliases.push(alias.clone());
        }
    }
    aliases
}

/// The MAC address to give to an endpoint, from API 1.44 on. Before, it stays in `Config`, which Podman
/// has never obeyed.
///
/// For the first network, Docker shows the owner's address in `Config` (until API 1.51). For the other
/// networks, and on Podman, the owner's address cannot be told from a random one. A random one is kept: that does no
/// harm, because its holder is gone.
fn own_mac<'a>(
    facts: &Facts,
    is_main: bool,
    set: Option<&'a Value>,
    shown: &'a Value,
) -> Option<&'a Value> {
    let mac = if facts.podman.is_none() && facts.api < ApiVersion::MANY_NETWORKS {
        None
    } else if is_main && facts.podman.is_none() {
        set
    } else if facts.old.state() == State::Running {
        shown.get("MacAddress")
    } else {
        None
    };
    // Engines 25.0.0 to 25.0.2 show the assigned address as if it were the owner's.
    mac.filter(|mac| {
        let is_assigned = is_derived_mac(shown) && shown["MacAddress"] == **mac;
        !is_assigned && !is_blank(Some(mac))
    })
}

/// Whether the MAC address is derived from the IPv4 address, as Engines before 28 do. The owner did not set such an
/// address.
fn is_derived_mac(shown: &Value) -> bool {
    let address = shown["IPAddress"].as_str().and_then(|ip| ip.parse().ok());
    let Some(address): Option<std::net::Ipv4Addr> = address else {
        return false;
    };
    let [a, b, c, d] = address.octets();
    shown["MacAddress"] == format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

#[cfg(test)]
mod tests {
    use super::super::Successor;
    use super::super::testing::body;
    use super::super::testing::container;
    use super::super::testing::facts;
    use super::*;

    #[test]
    fn an_old_engine_gets_one_network_at_creation_and_the_rest_later() {
        let old = container(json!({
            "Config": {"MacAddress": "02:00:00:00:00:01", "Hostname": "box"},
            "HostConfig": {"NetworkMode": "n1"},
            "NetworkSettings": {"Networks": {
                "bridge": null,
                "a-second": {"Aliases": ["m2"], "IPAMConfig": {"IPv4Address": "10.0.0.9"},
                             "MacAddress": "ca:fe:00:00:00:02", "IPAddress": "10.0.0.9"},
                "n1": {"Aliases": ["a", "0123456789ab", "box", "a"], "IPAMConfig": null,
                       "IPAddress": "10.1.0.2", "Gateway": "10.1.0.1", "NetworkID": "x"},
            }},
        }));
        let mut second = json!({"Aliases": ["m2"], "IPAMConfig": {"IPv4Address": "10.0.0.9"}});
        let before = Successor::of(&facts(&old, ApiVersion(1, 41)));
        assert_eq!(
            before.body["NetworkingConfig"]["EndpointsConfig"],
            json!({"n1": {"Aliases": ["a"]}})
        );
        assert_eq!(before.body["MacAddress"], "02:00:00:00:00:01");
        assert_eq!(before.connect, [("a-second".to_owned(), second.clone())]);
        let after = Successor::of(&facts(&old, ApiVersion(1, 44)));
        second["MacAddress"] = json!("ca:fe:00:00:00:02");
        assert_eq!(
            after.body["NetworkingConfig"]["EndpointsConfig"],
            json!({"n1": {"Aliases": ["a"], "MacAddress": "02:00:00:00:00:01"}, "a-second": second})
        );
        assert_eq!(after.body.get("MacAddress"), None);
        assert!(after.connect.is_empty());
    }

    #[test]
    fn an_alias_that_is_the_host_name_is_the_owners_where_the_engine_adds_none() {
        let change = json!({
            "Config": {"Hostname": "box"}, "HostConfig": {"NetworkMode": "n1"},
            "NetworkSettings": {"Networks": {
                "bridge": null, "n1": {"Aliases": ["box", "0123456789ab"]}}},
        });
        for (api, expected) in [(44, Value::Null), (45, json!(["box"]))] {
            let body = body(ApiVersion(1, api), json!({}), change.clone());
            let n1 = &body["NetworkingConfig"]["EndpointsConfig"]["n1"];
            assert_eq!(n1["Aliases"], expected, "1.{api}");
        }
    }

    #[test]
    fn the_network_it_was_made_in_may_be_named_by_its_id() {
        let id = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
        for mode in [id, &id[..12]] {
            let change = json!({
                "HostConfig": {"NetworkMode": mode},
                "NetworkSettings": {"Networks": {
                    "bridge": null, "a": {"NetworkID": "x"}, "b": {"NetworkID": id}}},
            });
            let old = container(change);
            let replacement = Successor::of(&facts(&old, ApiVersion(1, 41)));
            let body = replacement.body;
            assert_eq!(body["HostConfig"]["NetworkMode"], mode);
            assert_eq!(
                body["NetworkingConfig"]["EndpointsConfig"],
                json!({"b": {}})
            );
        }
    }

    #[test]
    fn a_network_it_was_taken_out_of_does_not_come_back() {
        let change = json!({
            "HostConfig": {"NetworkMode": "left"},
            "NetworkSettings": {"Networks": {"bridge": null, "joined": {}}},
        });
        let body = body(ApiVersion(1, 44), json!({}), change);
        assert_eq!(body["HostConfig"]["NetworkMode"], "joined");
        assert_eq!(
            body["NetworkingConfig"]["EndpointsConfig"],
            json!({"joined": {}})
        );
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
}
