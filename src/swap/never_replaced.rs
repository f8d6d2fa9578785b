//! Containers that imagewatch never replaces, each with the reason.

use super::itself;
use crate::engine::Container;
use crate::engine::Endpoint;
use crate::engine::Engine;
use crate::engine::State;
use crate::error::Result;
use serde_json::Value;
use std::path::Path;
use std::path::PathBuf;

/// Why a container must not even be stopped, if so: this process could not start it again.
///
/// # Errors
/// When the Engine cannot be asked.
#[cold]
pub fn must_stay(container: &Container, engine: &Engine) -> Result<Option<&'static str>> {
    let itself = itself::find(engine)?;
    if itself.may_be(container.id()) {
        return Ok(Some(
            "this is imagewatch itself: update it with `docker compose up -d --pull always` or the like",
        ));
    }
    if itself.uses_network_of(container.id()) {
        return Ok(Some(
            "imagewatch itself uses its network, and could not go on without: recreate both by hand",
        ));
    }
    let leads_there = match engine.endpoint() {
        Endpoint::Tcp(address) | Endpoint::Tls(address, _) => leads_to_engine(container, address),
        Endpoint::Unix(path) if has_engine_socket(container) => {
            let own = itself.id().map(|id| engine.find(id)).transpose()?;
            offers(container, &on_host(path, own.flatten().as_ref()))
        }
        Endpoint::Unix(_) => false,
    };
    let reason = "the Engine is reached through it (DOCKER_HOST): recreate it by hand";
    Ok(leads_there.then_some(reason))
}

/// The id of the Swarm service to which this process belongs, if it is known.
#[cold]
#[must_use]
pub fn own_service(engine: &Engine) -> Option<String> {
    let itself = itself::find(engine).ok()?;
    let own = engine.find(itself.id()?).ok()??;
    own.label("com.docker.swarm.service.id").map(str::to_owned)
}

/// Why a container is never replaced by this process, if so, as far as its own settings tell.
///
/// # Errors
/// See [`must_stay`].
#[cold]
pub fn left_alone(container: &Container, engine: &Engine) -> Result<Option<&'static str>> {
    let reason = must_stay(container, engine)?;
    Ok(reason.or_else(|| managed_by_others(container)))
}

pub(super) fn managed_by_others(container: &Container) -> Option<&'static str> {
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

/// Whether `address` is that of a socket proxy in this container. Once the proxy is stopped, neither it nor its
/// successor could be started.
fn leads_to_engine(container: &Container, address: &str) -> bool {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let host = host.trim_matches(['[', ']']);
    let is = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        !text.is_empty() && text.eq_ignore_ascii_case(host)
    };
    let is_qualified = container.networks().keys().any(|network| {
        let name = format!("{}.{network}", container.name());
        name.eq_ignore_ascii_case(host)
    });
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
    // A container in the host's network publishes no ports, so its exposed ports count.
    let is_of_host = container.host_config().get("NetworkMode") == Some(&Value::from("host"));
    let listens = container.config().get("ExposedPorts");
    let listens = listens.is_some_and(|ports| ports.get(format!("{port}/tcp")).is_some());
    // For ports of the host, any host name counts.
    container.name().eq_ignore_ascii_case(host)
        || is_named
        || is_qualified
        || is_published
        || is_of_host && listens
}

/// Whether an Engine's socket is mounted in the container.
fn has_engine_socket(container: &Container) -> bool {
    let mut files = container.mounts().iter().filter_map(source);
    files.any(|file| file.ends_with("docker.sock") || file.ends_with("podman.sock"))
}

/// Whether a container may be a proxy that puts `socket`, a path on the host, into a folder that others mount as well.
/// A container that mounts `socket` itself only uses the Engine. A container that mounts a folder further up, for
/// example `/`, has the socket by chance.
fn offers(container: &Container, socket: &Path) -> bool {
    let mounts = container.mounts().iter();
    let mut writable = mounts.filter(|mount| mount["RW"] != false);
    let is_place = |mount: &Value| {
        let is_volume = mount["Type"] == "volume";
        source(mount).is_some_and(|folder| {
            socket.parent() == Some(&*folder) || is_volume && socket.starts_with(folder)
        })
    };
    let mut all = container.mounts().iter().filter_map(source);
    all.all(|other| other != socket) && writable.any(is_place)
}

/// The path on the host of a path in the own container.
fn on_host(path: &Path, own: Option<&Container>) -> PathBuf {
    let path = run_folder(path);
    let mounts = own.map_or(&[][..], Container::mounts).iter();
    let inside = mounts.filter_map(|mount| {
        let destination = run_folder(Path::new(mount["Destination"].as_str()?));
        Some((
            source(mount)?,
            path.strip_prefix(destination).ok()?.to_owned(),
        ))
    });
    let innermost = inside.min_by_key(|(_, rest)| rest.components().count());
    innermost.map_or_else(|| path.clone(), |(source, rest)| source.join(rest))
}

fn source(mount: &Value) -> Option<PathBuf> {
    let source = mount["Source"].as_str().filter(|path| !path.is_empty())?;
    Some(run_folder(Path::new(source)))
}

/// `/var/run` is `/run` wherever there are containers.
pub(super) fn run_folder(path: &Path) -> PathBuf {
    let rest = path.strip_prefix("/var/run");
    rest.map_or_else(|_| path.to_owned(), |rest| Path::new("/run").join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn some_containers_are_left_alone_with_a_reason() {
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
            let reason = managed_by_others(&Container::new(json)).expect("a reason");
            assert!(reason.contains(expected), "{reason}");
        }
        assert_eq!(managed_by_others(&Container::new(json!({"Id": "x"}))), None);
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
        let of_host = Container::new(json!({
            "Name": "/proxy", "HostConfig": {"NetworkMode": "host"},
            "Config": {"ExposedPorts": {"2375/tcp": {}}}
        }));
        assert!(leads_to_engine(&of_host, "127.0.0.1:2375"));
        assert!(!leads_to_engine(&of_host, "127.0.0.1:2376"));
        let named = Container::new(json!({
            "Name": "/proxy", "NetworkSettings": {"Networks": {"inner": {}}}
        }));
        assert!(leads_to_engine(&named, "proxy.inner:2375"));
        assert!(!leads_to_engine(&named, "proxy.outer:2375"));
        assert!(!leads_to_engine(
            &Container::new(json!({"Id": "x"})),
            "proxy:2375"
        ));
    }

    #[test]
    fn nor_is_the_way_through_a_folder_that_is_shared() {
        let with = |mounts: &[Value]| Container::new(json!({ "Mounts": mounts }));
        let engines = json!({"Source": "/var/run/docker.sock", "Destination": "/run/docker.sock", "RW": false});
        let volume = |destination: &str, is_writable: bool| {
            json!({"Type": "volume", "Name": "s", "Source": "/volumes/s/_data", "RW": is_writable,
                   "Destination": destination})
        };
        let own = with(&[volume("/var/run/proxy", false)]);
        let outside = Path::new("/volumes/s/_data/docker.sock");
        let inside = Path::new("/run/proxy/docker.sock");
        assert_eq!(on_host(inside, Some(&own)), outside);
        assert_eq!(on_host(outside, None), outside);
        let is_proxy = |mounts: &[Value], path, own| {
            let container = with(mounts);
            has_engine_socket(&container) && offers(&container, &on_host(path, own))
        };
        let proxys = [engines.clone(), volume("/proxy", true)];
        assert!(is_proxy(&proxys, inside, Some(&own)));
        assert!(is_proxy(&proxys, outside, None));
        assert!(!is_proxy(
            &[engines.clone(), volume("/proxy", false)],
            outside,
            None
        ));
        assert!(!is_proxy(&[volume("/proxy", true)], outside, None));
        // A container that mounts the same socket as imagewatch is no proxy. A container that mounts the whole host is
        // none either.
        let direct = with(std::slice::from_ref(&engines));
        let bind =
            |path: &str| json!({"Type": "bind", "Source": path, "Destination": path, "RW": true});
        let path = Path::new("/var/run/docker.sock");
        for other in ["/run/podman/podman.sock", "/run", "/"] {
            assert!(!is_proxy(
                &[engines.clone(), bind(other)],
                path,
                Some(&direct)
            ));
        }
        for (folder, expected) in [
            ("/", false),
            ("/volumes", false),
            ("/volumes/s/_data", true),
        ] {
            let mounts = [engines.clone(), bind(folder)];
            assert_eq!(is_proxy(&mounts, outside, None), expected, "{folder}");
        }
    }
}
