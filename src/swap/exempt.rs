//! Containers that are not ours to replace.

use crate::claim::own_container;
use crate::config::Endpoint;
use crate::engine::Container;
use crate::engine::State;
use serde_json::Value;

/// Why a container must not even be stopped: nobody would be there to start it again.
#[must_use]
pub fn must_stay(container: &Container, engine: &Endpoint) -> Option<&'static str> {
    if own_container().is_some_and(|id| id == container.id()) {
        return Some(
            "this is imagewatch itself: update it with `docker compose up -d --pull always` or the like",
        );
    }
    match engine {
        Endpoint::Tcp(address) if leads_to_engine(container, address) => {
            Some("the Engine is reached through it (DOCKER_HOST): recreate it by hand")
        }
        _ => None,
    }
}

/// Why a container is not ours to replace, as far as it says so itself.
pub(super) fn left_alone(container: &Container, engine: &Endpoint) -> Option<&'static str> {
    must_stay(container, engine).or_else(|| is_anothers(container))
}

fn is_anothers(container: &Container) -> Option<&'static str> {
    let reason = if container.label("com.docker.swarm.task.id").is_some() {
        "a Swarm task: Swarm replaces it (docker service update)"
    } else if container.label("com.docker.compose.oneoff") == Some("True") {
        "a one-off of docker compose run"
    } else if container.label("PODMAN_SYSTEMD_UNIT").is_some() {
        "owned by a systemd unit: use podman auto-update"
    } else if container.is_auto_removed() {
        "started with --rm: stopping it would delete it, with nothing to go back to"
    } else if container.state() == State::Paused {
        "paused"
    } else if container.state() == State::Gone {
        "being removed"
    } else {
        return None;
    };
    Some(reason)
}

/// Whether `address` is that of a socket proxy in this container: once it is stopped, nobody could start
/// it again, or its successor.
fn leads_to_engine(container: &Container, address: &str) -> bool {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let host = host.trim_matches(['[', ']']);
    let is = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        !text.is_empty() && text.eq_ignore_ascii_case(host)
    };
    let mut networks = container.networks().values();
    let is_named = networks.any(|network| {
        let names = [&network["Aliases"], &network["DNSNames"]];
        let mut names = names.into_iter().filter_map(Value::as_array).flatten();
        names.any(is) || is(&network["IPAddress"]) || is(&network["GlobalIPv6Address"])
    });
    let published = container.host_config().get("PortBindings");
    let published = published.and_then(Value::as_object).into_iter().flatten();
    let mut bindings = published
        .filter_map(|(_, bindings)| bindings.as_array())
        .flatten();
    let is_published = bindings.any(|binding| !port.is_empty() && binding["HostPort"] == port);
    // Whatever name the box itself goes by there, the port is enough.
    container.name().eq_ignore_ascii_case(host) || is_named || is_published
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn some_containers_are_left_alone_with_a_reason() {
        let engine = Endpoint::Unix("/s".into());
        for (json, expected) in [
            (
                json!({"Config": {"Labels": {"com.docker.swarm.task.id": "x"}}}),
                "Swarm",
            ),
            (
                json!({"Config": {"Labels": {"PODMAN_SYSTEMD_UNIT": "x"}}}),
                "systemd",
            ),
            (json!({"HostConfig": {"AutoRemove": true}}), "--rm"),
            (json!({"State": {"Status": "paused"}}), "paused"),
            (json!({"State": {"Status": "dead"}}), "removed"),
        ] {
            let reason = left_alone(&Container::new(json), &engine).expect("a reason");
            assert!(reason.contains(expected), "{reason}");
        }
        assert_eq!(
            left_alone(&Container::new(json!({"Id": "x"})), &engine),
            None
        );
    }

    #[test]
    fn the_way_to_the_engine_is_not_cut_off() {
        let container = Container::new(json!({
            "Name": "/stack-proxy-1",
            "HostConfig": {"PortBindings": {"2375/tcp": [{"HostIp": "", "HostPort": "12375"}]}},
            "NetworkSettings": {"Networks": {"stack_default": {
                "Aliases": ["proxy", "abc"], "IPAddress": "172.18.0.2", "GlobalIPv6Address": ""}}},
        }));
        for (address, expected) in [
            ("proxy:2375", true),
            ("stack-proxy-1:2375", true),
            ("172.18.0.2:2375", true),
            ("127.0.0.1:12375", true),
            ("[::1]:12375", true),
            ("elsewhere:2375", false),
            ("127.0.0.1:2375", false),
            (":", false),
        ] {
            assert_eq!(leads_to_engine(&container, address), expected, "{address}");
        }
        assert!(!leads_to_engine(
            &Container::new(json!({"Id": "x"})),
            "proxy:2375"
        ));
    }
}
