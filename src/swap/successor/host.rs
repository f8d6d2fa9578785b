//! The successor's `HostConfig`: volumes, links, and namespaces that are shared with other containers.

use super::Facts;
use super::is_blank;
use super::neighbours::is_id_of;
use super::neighbours::plain_links;
use super::neighbours::successor;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::path::Path;

/// The settings in which the Engine writes `container:<id>` for a namespace of another container.
const SHARED: [&str; 3] = ["NetworkMode", "IpcMode", "PidMode"];

pub(super) fn config(facts: &Facts) -> Map<String, Value> {
    let mut host = facts.old.host_config().clone();
    host.remove("ContainerIDFile");
    if let Some(links) = plain_links(facts, host.get("Links")) {
        host.insert("Links".to_owned(), links);
    }
    for key in SHARED {
        if let Some(new_id) = provider(&host, key).and_then(|text| successor(facts, text)) {
            host.insert(key.to_owned(), json!(format!("container:{new_id}")));
        }
    }
    volumes_from(facts, &mut host);
    volumes(facts, &mut host);
    host
}

/// The other container whose namespace the container shares, if any.
fn provider<'a>(host: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    host.get(key)?.as_str()?.strip_prefix("container:")
}

/// Rewrites `VolumesFrom`. A provider that no longer exists cannot be named again, so its volumes are carried
/// as binds. A provider that is replaced too and was named by its id is named by its successor's id. A name still
/// holds.
fn volumes_from(facts: &Facts, host: &mut Map<String, Value>) {
    let Some(Value::Array(entries)) = host.get_mut("VolumesFrom") else {
        return;
    };
    entries.retain(|entry| {
        let gone = &facts.gone_providers;
        !gone.iter().any(|gone| entry == gone.as_str())
    });
    for entry in entries {
        let text = entry.as_str().unwrap_or_default();
        let (id, mode) = text.split_at(text.find(':').unwrap_or(text.len()));
        let mut moved = facts.moved.iter();
        if let Some(moved) = moved.find(|moved| is_id_of(id, moved.old_id)) {
            *entry = json!(format!("{}{mode}", moved.new_id));
        }
    }
}

/// Carries anonymous volumes over by the name that the Engine gave them. Otherwise their data would stay behind.
fn volumes(facts: &Facts, host: &mut Map<String, Value>) {
    let mut added = Vec::new();
    for mount in facts.old.mounts() {
        let source = match mount["Type"].as_str() {
            Some("volume") => &mount["Name"],
            Some("bind") if !facts.gone_providers.is_empty() => &mount["Source"],
            _ => continue,
        };
        let (Some(source), Some(target)) = (source.as_str(), mount["Destination"].as_str()) else {
            continue;
        };
        if is_inherited(facts, mount) || is_bound(host, target) {
            continue;
        }
        if let Some(own) = declared_mount(host, target) {
            if is_blank(own.get("Source")) && own["Type"] == "volume" {
                own["Source"] = json!(source);
            }
            continue;
        }
        let read_only = if mount["RW"] == false { ":ro" } else { "" };
        added.push(json!(format!("{source}:{target}{read_only}")));
    }
    if added.is_empty() {
        return;
    }
    match host.get_mut("Binds") {
        Some(Value::Array(binds)) => binds.extend(added),
        _ => drop(host.insert("Binds".to_owned(), Value::Array(added))),
    }
}

/// Whether a mount belongs to another container, and so comes again with `VolumesFrom`.
fn is_inherited(facts: &Facts, mount: &Value) -> bool {
    let same = |other: &Value, key: &str| other[key] == mount[key];
    let mut inherited = facts.inherited.iter();
    inherited
        .any(|other| same(other, "Destination") && same(other, "Name") && same(other, "Source"))
}

/// Whether a bind (`source:target[:options]`) covers the target.
fn is_bound(host: &Map<String, Value>, target: &str) -> bool {
    let binds = host.get("Binds").and_then(Value::as_array);
    let mut targets = binds
        .into_iter()
        .flatten()
        .filter_map(|bind| bind.as_str()?.split(':').nth(1));
    targets.any(|bound| Path::new(bound) == Path::new(target))
}

/// The owner's own entry in `Mounts` for a target. The Engine keeps it as it was written, so a trailing
/// slash makes no difference.
fn declared_mount<'a>(host: &'a mut Map<String, Value>, target: &str) -> Option<&'a mut Value> {
    let mounts = host.get_mut("Mounts")?.as_array_mut()?;
    let is_there = |mount: &Value| {
        let declared = mount["Target"].as_str();
        declared.is_some_and(|declared| Path::new(declared) == Path::new(target))
    };
    mounts.iter_mut().find(|mount| is_there(mount))
}

#[cfg(test)]
mod tests {
    use super::super::Moved;
    use super::super::Successor;
    use super::super::testing::OLD_ID;
    use super::super::testing::body;
    use super::super::testing::container;
    use super::super::testing::facts;
    use super::*;
    use crate::engine::ApiVersion;

    #[test]
    fn every_volume_is_carried_by_name_once() {
        let old = container(json!({
            "HostConfig": {
                "Binds": ["named:/named", "/tmp:/bind:ro"],
                "Mounts": [{"Type": "volume", "Target": "/declared/"},
                           {"Type": "tmpfs", "Target": "/tmpfs"}],
            },
            "Mounts": [
                {"Type": "volume", "Name": "named", "Destination": "/named", "RW": true},
                {"Type": "bind", "Source": "/tmp", "Destination": "/bind", "RW": false},
                {"Type": "volume", "Name": "anon1", "Destination": "/declared", "RW": true},
                {"Type": "volume", "Name": "anon2", "Destination": "/data", "RW": true},
                {"Type": "volume", "Name": "anon3", "Destination": "/frozen", "RW": false},
                {"Type": "volume", "Name": "inherited", "Destination": "/from", "RW": true},
                {"Type": "volume", "Name": "own", "Destination": "/other", "RW": true},
                {"Type": "tmpfs", "Destination": "/tmpfs"},
            ],
        }));
        let inherited = [
            json!({"Type": "volume", "Name": "inherited", "Destination": "/from"}),
            json!({"Type": "volume", "Name": "another", "Destination": "/other"}),
        ];
        let facts = Facts {
            inherited: &inherited,
            ..facts(&old, ApiVersion(1, 41))
        };
        let host = &Successor::of(&facts).body["HostConfig"];
        assert_eq!(
            host["Binds"],
            json!([
                "named:/named",
                "/tmp:/bind:ro",
                "anon2:/data",
                "anon3:/frozen:ro",
                "own:/other"
            ])
        );
        assert_eq!(host["Mounts"][0]["Source"], "anon1");
    }

    #[test]
    fn null_and_empty_lists_keep_their_difference() {
        let host = json!({"MaskedPaths": [], "ReadonlyPaths": null, "NetworkMode": "default"});
        let body = body(ApiVersion(1, 44), json!({}), json!({"HostConfig": host}));
        assert_eq!(body["HostConfig"]["MaskedPaths"], json!([]));
        assert_eq!(body["HostConfig"]["ReadonlyPaths"], Value::Null);
    }

    #[test]
    fn what_came_from_a_provider_that_is_gone_is_carried() {
        let old = container(json!({
            "HostConfig": {"VolumesFrom": ["gone:ro", "there"], "Binds": null},
            "Mounts": [
                {"Type": "volume", "Name": "v1", "Destination": "/v1", "RW": false},
                {"Type": "bind", "Source": "/tmp", "Destination": "/b", "RW": true},
                {"Type": "volume", "Name": "v2", "Destination": "/v2", "RW": true},
                {"Type": "bind", "Source": "/srv", "Destination": "/srv", "RW": true},
            ],
        }));
        let inherited = [
            json!({"Type": "volume", "Name": "v2", "Destination": "/v2"}),
            json!({"Type": "bind", "Source": "/srv", "Destination": "/srv"}),
        ];
        let facts = Facts {
            inherited: &inherited,
            gone_providers: &["gone:ro".to_owned()],
            ..facts(&old, ApiVersion(1, 41))
        };
        let host = &Successor::of(&facts).body["HostConfig"];
        assert_eq!(host["VolumesFrom"], json!(["there"]));
        assert_eq!(host["Binds"], json!(["v1:/v1:ro", "/tmp:/b"]));
    }

    #[test]
    fn what_is_shared_with_a_container_that_moves_is_shared_with_its_successor() {
        let moved = [Moved {
            old_id: OLD_ID,
            old_name: "base",
            new_id: "new-id",
            new_name: "base.iw-new-01234567",
        }];
        let shared = |text: &str| json!(format!("container:{text}"));
        for (meant, expected) in [
            (OLD_ID, "new-id"),
            (&OLD_ID[..12], "new-id"),
            ("base", "new-id"),
            ("0123", "0123"),
            ("other", "other"),
        ] {
            let old = container(json!({"HostConfig": {
                "NetworkMode": shared(meant), "IpcMode": shared(meant), "PidMode": shared(meant)}}));
            let facts = Facts {
                moved: &moved,
                ..facts(&old, ApiVersion(1, 44))
            };
            let host = &Successor::of(&facts).body["HostConfig"];
            for key in SHARED {
                assert_eq!(host[key], shared(expected), "{key} {meant}");
            }
        }
        let old = container(json!({
            "HostConfig": {"Links": ["/base:/web/lb", "/other:/web/o"], "IpcMode": "private",
                           "VolumesFrom": [format!("{OLD_ID}:ro"), "base", "other"]},
            "NetworkSettings": {"Networks": {"bridge": {"Links": ["base:lb", "other:o"]}}},
        }));
        let facts = Facts {
            moved: &moved,
            ..facts(&old, ApiVersion(1, 44))
        };
        let body = Successor::of(&facts).body;
        let links = json!(["base.iw-new-01234567:lb", "other:o"]);
        assert_eq!(body["HostConfig"]["Links"], links);
        let endpoint = &body["NetworkingConfig"]["EndpointsConfig"]["bridge"];
        assert_eq!(endpoint["Links"], links);
        assert_eq!(
            body["HostConfig"]["VolumesFrom"],
            json!(["new-id:ro", "base", "other"])
        );
        assert_eq!(body["HostConfig"]["IpcMode"], "private");
    }

    #[test]
    fn links_are_written_as_create_wants_them() {
        let old = container(json!({}));
        let facts = facts(&old, ApiVersion(1, 44));
        for (links, expected) in [
            (json!(["/db:/web/database"]), Some(json!(["db:database"]))),
            (
                json!(["db:database", "db"]),
                Some(json!(["db:database", "db:db"])),
            ),
            (json!([]), None),
            (json!(null), None),
        ] {
            assert_eq!(plain_links(&facts, Some(&links)), expected);
        }
    }
}
