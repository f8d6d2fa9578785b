//! Who needs whom: which containers live in another one, and in which order to go.
//!
//! Sources: inspect's `container:` modes and links (Docker Engine API v1.41); the label
//! `com.docker.compose.depends_on`, `service:condition:restart` separated by commas (Compose 2);
//! Watchtower's label `com.centurylinklabs.watchtower.depends-on`, names separated by commas.

use crate::engine::Container;
use crate::engine::Summary;
use serde_json::Value;

const COMPOSE_PROJECT: &str = "com.docker.compose.project";
const COMPOSE_SERVICE: &str = "com.docker.compose.service";
const COMPOSE_DEPENDS_ON: &str = "com.docker.compose.depends_on";
const WATCHTOWER_DEPENDS_ON: &str = "com.centurylinklabs.watchtower.depends-on";

/// Whether `one` cannot go on, or not be started again, once `provider` has another id: it shares
/// its network, processes or IPC, or is linked to it.
#[must_use]
pub fn lives_in(one: &Container, provider: &Container) -> bool {
    let shares = ["NetworkMode", "PidMode", "IpcMode"].iter().any(|key| {
        let mode = one.host_config().get(*key).and_then(Value::as_str);
        let target = mode.and_then(|mode| mode.strip_prefix("container:"));
        target.is_some_and(|target| names(target, provider))
    });
    shares || links(one).any(|linked| linked == provider.name())
}

/// Whether [`lives_in`] or [`restarts_with`] can be true of it at all.
#[must_use]
pub fn needs_others(one: &Container) -> bool {
    let shares = ["NetworkMode", "PidMode", "IpcMode"].iter().any(|key| {
        let mode = one.host_config().get(*key).and_then(Value::as_str);
        mode.is_some_and(|mode| mode.starts_with("container:"))
    });
    shares || links(one).next().is_some() || one.label(COMPOSE_DEPENDS_ON).is_some()
}

/// Everything that lives in `provider`, and in that, and so on; each after what it lives in.
#[must_use]
pub fn dependents<'a>(provider: &Container, all: &'a [Container]) -> Vec<&'a Container> {
    let mut found: Vec<&Container> = Vec::new();
    let mut next = 0;
    let mut home = Some(provider);
    while let Some(current) = home {
        for one in all.iter().filter(|one| lives_in(one, current)) {
            let known = one.id() == provider.id() || found.iter().any(|f| f.id() == one.id());
            if !known {
                found.push(one);
            }
        }
        home = found.get(next).copied();
        next += 1;
    }
    found
}

/// Sorts so that each comes after what it depends on; otherwise, and where they depend on each
/// other in a circle, the order stays.
#[must_use]
pub fn in_order<T>(items: Vec<T>, container: impl Fn(&T) -> &Container) -> Vec<T> {
    let mut waiting = items;
    let mut sorted = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let is_free = |one: &T| {
            let one = container(one);
            waiting
                .iter()
                .map(&container)
                .all(|other| other.id() == one.id() || !depends_on(one, other))
        };
        let next = waiting.iter().position(is_free).unwrap_or(0);
        sorted.push(waiting.remove(next));
    }
    sorted
}

fn depends_on(one: &Container, other: &Container) -> bool {
    let named = one.label(WATCHTOWER_DEPENDS_ON).unwrap_or_default();
    let mut named = named
        .split(',')
        .map(|name| name.trim().trim_start_matches('/'));
    lives_in(one, other)
        || compose_dependency(one, other).is_some()
        || named.any(|name| name == other.name())
}

/// Whether its owner wants `one` restarted after `other` was recreated (`restart: true` in Compose).
#[must_use]
pub fn restarts_with(one: &Container, other: &Container) -> bool {
    compose_dependency(one, other).is_some_and(|rest| rest.ends_with(":true"))
}

/// Whether [`restarts_with`] can be true of it, as far as the list tells.
#[must_use]
pub fn may_restart_with_others(one: &Summary) -> bool {
    let entries = one.label(COMPOSE_DEPENDS_ON).unwrap_or_default();
    entries
        .split(',')
        .any(|entry| entry.trim().ends_with(":true"))
}

/// What `one`'s Compose label says of `other`: `condition:restart`.
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

/// The names of the containers it is linked to: inspect shows `/provider:/consumer/alias`.
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
    fn what_is_depended_on_goes_first() {
        let compose = |service: &str, depends: &str| json!({COMPOSE_PROJECT: "p", COMPOSE_SERVICE: service, COMPOSE_DEPENDS_ON: depends});
        let all = vec![
            container(
                "web",
                json!({}),
                compose("web", "db:service_healthy:false,cache:service_started:true"),
            ),
            container("side", json!({}), json!({WATCHTOWER_DEPENDS_ON: "web"})),
            container("cache", json!({}), compose("cache", "")),
            container("db", json!({}), compose("db", "")),
        ];
        assert!(restarts_with(&all[0], &all[2]));
        assert!(!restarts_with(&all[0], &all[3]));
        let order: Vec<String> = in_order(all, |one| one)
            .iter()
            .map(|one| one.name().to_owned())
            .collect();
        assert_eq!(order, ["cache", "db", "web", "side"]);
        let circle = vec![
            container("a", json!({}), json!({WATCHTOWER_DEPENDS_ON: "b"})),
            container("b", json!({}), json!({WATCHTOWER_DEPENDS_ON: "a"})),
        ];
        assert_eq!(in_order(circle, |one| one).len(), 2);
    }
}
