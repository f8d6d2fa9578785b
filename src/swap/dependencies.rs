//! Dependencies between containers: which containers live in another one, and the order of their updates.
//!
//! A container *lives in* its provider if it uses the provider's network, processes or IPC, or is linked to it.
//! Sources: inspect's `container:` modes and links (Docker Engine API v1.41); the label
//! `com.docker.compose.depends_on`, `service:condition:restart` separated by commas (Compose 2);
//! Watchtower's label `com.centurylinklabs.watchtower.depends-on`, names separated by commas.

use crate::engine::Container;
use crate::engine::Summary;
use crate::labels;
use crate::labels::COMPOSE_PROJECT;
use crate::labels::WATCHTOWER_DEPENDS_ON;
use serde_json::Value;

/// The settings in which the Engine names the container whose namespace is shared.
const SHARED: [(&str, Bond); 3] = [
    ("NetworkMode", Bond::Network),
    ("PidMode", Bond::Processes),
    ("IpcMode", Bond::Ipc),
];

const COMPOSE_SERVICE: &str = "com.docker.compose.service";
const COMPOSE_DEPENDS_ON: &str = "com.docker.compose.depends_on";

/// The way in which a container uses another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bond {
    Network,
    Processes,
    Ipc,
    /// A link in the default network, which gives the other one's address.
    Link,
}

impl Bond {
    /// The bond in words that follow the name of the other container.
    #[must_use]
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::Network => "whose network it uses",
            Self::Processes => "whose process namespace it shares",
            Self::Ipc => "whose IPC namespace it shares",
            Self::Link => "to which it is linked",
        }
    }
}

/// A container without which another one cannot be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dependency<'c> {
    pub bond: Bond,
    /// The id or the name of the container that is needed.
    pub target: &'c str,
}

impl Dependency<'_> {
    /// Whether the container that is needed is this one.
    #[must_use]
    pub(crate) fn is(&self, container: &Container) -> bool {
        names(self.target, container)
    }
}

/// The containers without which `one` cannot be started.
#[must_use]
pub(crate) fn dependencies_of(one: &Container) -> Vec<Dependency<'_>> {
    let shared = SHARED.iter().filter_map(|(key, bond)| {
        let target = shared_with(one, key)?;
        Some(Dependency {
            bond: *bond,
            target,
        })
    });
    let mode = one.host_config().get("NetworkMode").and_then(Value::as_str);
    // In any other network, a link is only a name, and a container starts without it.
    let is_default = matches!(mode, None | Some("" | "default" | "bridge"));
    let linked = links(one).filter(|_| is_default).map(|target| Dependency {
        bond: Bond::Link,
        target,
    });
    shared.chain(linked).collect()
}

/// The container whose namespace `one` shares, if any.
fn shared_with<'c>(one: &'c Container, key: &str) -> Option<&'c str> {
    let mode = one.host_config().get(key)?.as_str()?;
    mode.strip_prefix("container:")
}

/// Whether `one` lives in `provider`. Then `one` cannot go on, or cannot be started again, once the provider has
/// another id.
#[must_use]
pub(crate) fn lives_in(one: &Container, provider: &Container) -> bool {
    let mut shared = SHARED.iter().filter_map(|(key, _)| shared_with(one, key));
    let shares = shared.any(|target| names(target, provider));
    shares || links(one).any(|linked| linked == provider.name())
}

/// Whether `lives_in` or [`restarts_with`] can be true for a container at all.
#[must_use]
pub fn needs_others(one: &Container) -> bool {
    let mut shared = SHARED.iter().filter_map(|(key, _)| shared_with(one, key));
    let has = |label: &str| !label.trim().is_empty();
    shared.next().is_some()
        || links(one).next().is_some()
        // Compose gives this label to every container, mostly without any service in it.
        || one.label(COMPOSE_DEPENDS_ON).is_some_and(has)
}

/// Whether [`depends_on`] can be true for a container at all.
#[must_use]
pub(super) fn may_depend(one: &Container) -> bool {
    needs_others(one) || one.label(WATCHTOWER_DEPENDS_ON).is_some()
}

/// The containers whose namespaces `one` shares, as its settings name them.
pub fn namespaces_of(one: &Container) -> impl Iterator<Item = &str> {
    SHARED.iter().filter_map(|(key, _)| shared_with(one, key))
}

/// Whether a container that cannot be inspected may live in `provider`, whose entry in the list is `entry`. The list
/// shows networks and links. A shared process or IPC namespace shows only as a dependency that Compose wrote down.
#[must_use]
pub fn may_live_in(one: &Summary, provider: &Container, entry: Option<&Summary>) -> bool {
    let shares_network = match one.network_mode() {
        Some(mode) => mode
            .strip_prefix("container:")
            .is_some_and(|target| names(target, provider)),
        // Podman does not list the mode. It lists the provider's id among the aliases of a dependent.
        None if one.aliases().next().is_some() => one.aliases().any(|id| id == provider.short_id()),
        None if one.networks().any(|name| matches!(name, "host" | "none")) => false,
        None => entry.is_none_or(|entry| entry.created() <= one.created()),
    };
    let is_linked = || entry.is_some_and(|entry| entry.consumers().any(|name| name == one.name()));
    let depends = || {
        let service = provider.label(COMPOSE_SERVICE);
        let entries = one.label(COMPOSE_DEPENDS_ON).unwrap_or_default().split(',');
        let mut services = entries.filter_map(|entry| entry.trim().split(':').next());
        service.is_some_and(|service| services.any(|other| other == service))
    };
    shares_network || is_linked() || depends()
}

/// All containers that live in `provider`, directly or indirectly, each after the one that it lives in.
#[must_use]
pub fn dependents<'a>(provider: &Container, all: &'a [Container]) -> Vec<&'a Container> {
    let mut found: Vec<&Container> = Vec::new();
    let mut next = 0;
    let mut upcoming = Some(provider);
    while let Some(current) = upcoming {
        for one in all.iter().filter(|one| lives_in(one, current)) {
            let known = one.id() == provider.id() || found.iter().any(|f| f.id() == one.id());
            if !known {
                found.push(one);
            }
        }
        upcoming = found.get(next).copied();
        next += 1;
    }
    found
}

/// Whether `one` lives in `other`, or its owner wants it updated after `other`.
#[must_use]
pub(super) fn depends_on(one: &Container, other: &Container) -> bool {
    let named = one.label(WATCHTOWER_DEPENDS_ON).and_then(labels::names);
    lives_in(one, other)
        || compose_dependency(one, other).is_some()
        || named.is_some_and(|names| names.contains(&other.name()))
}

/// The names, and ids, of the containers that `one` depends on other than by Compose's label.
pub(super) fn named_by(one: &Container) -> impl Iterator<Item = &str> {
    let named = one.label(WATCHTOWER_DEPENDS_ON).and_then(labels::names);
    let shared = namespaces_of(one).map(|target| target.trim_start_matches('/'));
    shared.chain(links(one)).chain(named.into_iter().flatten())
}

/// The project and the service of a container that Compose made.
pub(super) fn service_of(one: &Container) -> Option<(&str, &str)> {
    one.label(COMPOSE_PROJECT).zip(one.label(COMPOSE_SERVICE))
}

/// The projects and services in Compose's label.
pub(super) fn compose_services(one: &Container) -> impl Iterator<Item = (&str, &str)> {
    let project = one.label(COMPOSE_PROJECT).unwrap_or_default();
    let entries = one.label(COMPOSE_DEPENDS_ON).unwrap_or_default().split(',');
    entries.filter_map(move |entry| Some((project, entry.trim().split_once(':')?.0)))
}

/// Whether the owner wants `one` restarted after `other` was recreated (`restart: true` in Compose).
#[must_use]
pub fn restarts_with(one: &Container, other: &Container) -> bool {
    compose_dependency(one, other).is_some_and(|rest| rest.ends_with(":true"))
}

/// Whether the owner wants `one` started only once `other` is healthy (`condition: service_healthy`).
#[must_use]
pub(crate) fn wants_healthy(one: &Container, other: &Container) -> bool {
    compose_dependency(one, other).is_some_and(|rest| rest.starts_with("service_healthy"))
}

/// Whether [`restarts_with`] can be true for a container, as far as the list tells.
#[must_use]
pub fn may_restart_with_others(one: &Summary) -> bool {
    let entries = one.label(COMPOSE_DEPENDS_ON).unwrap_or_default();
    entries
        .split(',')
        .any(|entry| entry.trim().ends_with(":true"))
}

/// The entry for `other` in the Compose label of `one`: `condition:restart`.
fn compose_dependency<'a>(one: &'a Container, other: &Container) -> Option<&'a str> {
    let project = one.label(COMPOSE_PROJECT)?;
    let service = other
        .label(COMPOSE_SERVICE)
        .filter(|_| other.label(COMPOSE_PROJECT) == Some(project))?;
    let mut entries = one.label(COMPOSE_DEPENDS_ON)?.split(',');
    entries.find_map(|entry| entry.trim().strip_prefix(service)?.strip_prefix(':'))
}

/// Whether `text` (a full id, the beginning of one, or a name) means this container.
fn names(text: &str, container: &Container) -> bool {
    let text = text.trim_start_matches('/');
    let is_id = text.len() >= 12 && container.id().starts_with(text);
    is_id || text == container.name()
}

/// The names of the containers that `one` is linked to. Inspect shows `/provider:/consumer/alias`.
fn links(one: &Container) -> impl Iterator<Item = &str> {
    let links = one.host_config().get("Links").and_then(Value::as_array);
    let links = links.into_iter().flatten().filter_map(Value::as_str);
    links.map(|link| {
        link.split(':')
            .next()
            .unwrap_or(link)
            .trim_start_matches('/')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(name: &str, host: Value, labels: Value) -> Container {
        let id = format!("{name:0<64}");
        Container::new(
            json!({"Id": id, "Name": format!("/{name}"), "HostConfig": host,
                              "Config": {"Labels": labels}}),
        )
    }

    #[test]
    fn living_in_another_has_several_spellings() {
        let provider = container("aaaa", json!({}), json!({}));
        for (host, expected) in [
            (
                json!({"NetworkMode": format!("container:{}", provider.id())}),
                true,
            ),
            (json!({"PidMode": "container:aaaa"}), true),
            (
                json!({"IpcMode": format!("container:{}", &provider.id()[..12])}),
                true,
            ),
            (json!({"Links": ["/aaaa:/x/alias"]}), true),
            (json!({"NetworkMode": "container:aaa"}), false),
            (json!({"NetworkMode": "host"}), false),
            (json!({"Links": null}), false),
        ] {
            assert_eq!(
                lives_in(&container("x", host.clone(), json!({})), &provider),
                expected,
                "{host}"
            );
        }
    }

    #[test]
    fn of_whom_only_the_list_is_known_some_lives_are_ruled_out() {
        let entry = |json: Value| -> Summary { serde_json::from_value(json).expect("an entry") };
        let service = json!({COMPOSE_SERVICE: "db"});
        let provider = container("aaaa", json!({}), service);
        let linked =
            entry(json!({"Id": provider.id(), "Names": ["/aaaa", "/user/db"], "Created": 5}));
        let network = |mode: &str| json!({"NetworkMode": mode});
        let networks = |list: Value| json!({"Networks": list});
        for (name, more, expected) in [
            ("x", json!({"HostConfig": network("bridge")}), false),
            ("x", json!({"HostConfig": network("host")}), false),
            ("x", json!({"HostConfig": network("container:aaaa")}), true),
            ("x", json!({"HostConfig": network("container:bbbb")}), false),
            ("user", json!({"HostConfig": network("bridge")}), true),
            // Entries as Podman lists them.
            (
                "x",
                json!({"NetworkSettings": networks(json!({"n": {"Aliases": ["x"]}}))}),
                false,
            ),
            (
                "x",
                json!({"NetworkSettings": networks(json!({"n": {"Aliases": ["aaaa00000000"]}}))}),
                true,
            ),
            (
                "x",
                json!({"NetworkSettings": networks(json!({"host": {"Aliases": null}}))}),
                false,
            ),
            ("x", json!({"NetworkSettings": networks(json!({}))}), true),
            ("x", json!({"Created": 4}), false),
            (
                "x",
                json!({"HostConfig": network("p_default"),
                       "Labels": {COMPOSE_DEPENDS_ON: "web:service_started:false,db:service_healthy:true"}}),
                true,
            ),
            (
                "x",
                json!({"HostConfig": network("p_default"),
                       "Labels": {COMPOSE_DEPENDS_ON: "db-x:service_started:false"}}),
                false,
            ),
        ] {
            let mut json = json!({"Id": "x", "Names": [format!("/{name}")], "Created": 6});
            for (key, value) in more.as_object().expect("an object") {
                json[key] = value.clone();
            }
            let found = may_live_in(&entry(json.clone()), &provider, Some(&linked));
            assert_eq!(found, expected, "{json}");
        }
    }

    #[test]
    fn dependents_of_dependents_come_after_them() {
        let in_ = |home: &str| json!({"NetworkMode": format!("container:{home}")});
        let all = [
            container("c", in_("b"), json!({})),
            container("b", in_("a"), json!({})),
            container("a", json!({}), json!({})),
            container("x", json!({}), json!({})),
        ];
        let found: Vec<&str> = dependents(&all[2], &all)
            .iter()
            .map(|one| one.name())
            .collect();
        assert_eq!(found, ["b", "c"]);
    }

    #[test]
    fn the_entry_for_a_service_says_what_its_owner_wants() {
        let compose = |service: &str, depends: &str| json!({COMPOSE_PROJECT: "p", COMPOSE_SERVICE: service, COMPOSE_DEPENDS_ON: depends});
        let all = [
            container(
                "web",
                json!({}),
                compose("web", "db:service_healthy:false,cache:service_started:true"),
            ),
            container("cache", json!({}), compose("cache", "")),
            container("db", json!({}), compose("db", "")),
        ];
        assert!(restarts_with(&all[0], &all[1]));
        assert!(!restarts_with(&all[0], &all[2]));
        assert!(wants_healthy(&all[0], &all[2]) && !wants_healthy(&all[0], &all[1]));
    }
}
