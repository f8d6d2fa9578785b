//! The settings of a container that a swap changes. Pure.

use super::successor::Successor;
use super::successor::is_blank;
use crate::engine::Image;
use crate::labels::FOLLOWED;
use crate::labels::TRANSACTION;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// One setting that changes; `null` means "not set".
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// E.g. `Config.Env.VERSION`.
    pub field: String,
    /// The value that inspect shows now.
    pub now: Value,
    /// The value that inspect will show.
    pub then: Value,
}

/// All settings that will be different, except networks and state.
#[must_use]
#[cold]
pub fn changes(replacement: &Successor, image: &Image) -> Vec<Change> {
    let old = &replacement.old;
    let mut changes = Vec::new();
    let mut config = replacement.body.as_object().cloned().unwrap_or_default();
    let host = config.remove("HostConfig").unwrap_or_default();
    config.remove("NetworkingConfig");
    if let Some(Value::Object(labels)) = config.get_mut("Labels") {
        labels.remove(TRANSACTION);
        labels.remove(FOLLOWED);
    }
    let mut now = old.config().clone();
    // The Engine derives this host name from the id.
    if now.get("Hostname") == Some(&json!(old.short_id())) {
        now.remove("Hostname");
    }
    let then = merged(config, image.config());
    compare("Config", &now, &then, &mut changes);
    compare(
        "HostConfig",
        old.host_config(),
        host.as_object().unwrap_or(&Map::new()),
        &mut changes,
    );
    changes
}

/// Merges the owner's settings and the image's as the Engine does (moby, `daemon/commit.go`, `merge`).
fn merged(mut own: Map<String, Value>, image: &Map<String, Value>) -> Map<String, Value> {
    let has_entrypoint = !is_blank(own.get("Entrypoint"));
    for (key, given) in image {
        let set = !is_blank(own.get(key));
        let value = match key.as_str() {
            "Env" => own_over_image(
                &variables(given),
                &variables(own.get(key).unwrap_or(&Value::Null)),
            ),
            "Labels" | "ExposedPorts" | "Volumes" | "Healthcheck" => {
                own_over_image(given, own.get(key).unwrap_or(&Value::Null))
            }
            "Cmd" if set || has_entrypoint => continue,
            "Cmd" | "Entrypoint" | "User" | "WorkingDir" | "StopSignal" if !set => given.clone(),
            _ => continue,
        };
        own.insert(key.clone(), value);
    }
    own
}

fn own_over_image(image: &Value, own: &Value) -> Value {
    let mut both = image.as_object().cloned().unwrap_or_default();
    both.extend(own.as_object().cloned().unwrap_or_default());
    Value::Object(both)
}

/// `["A=1"]` → `{"A": "1"}`.
fn variables(list: &Value) -> Value {
    let Some(entries) = list.as_array() else {
        return list.clone();
    };
    let entries = entries.iter().filter_map(Value::as_str);
    let pair = |entry: &str| {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        (name.to_owned(), json!(value))
    };
    // `collect` would sort first, which is 5 KB of code.
    let mut all = Map::new();
    all.extend(entries.map(pair));
    Value::Object(all)
}

fn compare(
    path: &str,
    now: &Map<String, Value>,
    then: &Map<String, Value>,
    changes: &mut Vec<Change>,
) {
    let mut both = now.clone();
    both.extend(then.clone());
    for key in both.keys() {
        let field = format!("{path}.{key}");
        let is_env = key == "Env";
        let value = |map: &Map<String, Value>| {
            let value = map.get(key).cloned().unwrap_or_default();
            if is_env { variables(&value) } else { value }
        };
        let (now, then) = (value(now), value(then));
        if let (Value::Object(now), Value::Object(then)) = (&now, &then) {
            compare(&field, now, then, changes);
        } else if now != then && !(is_blank(Some(&now)) && is_blank(Some(&then))) {
            changes.push(Change { field, now, then });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Container;

    #[test]
    fn what_the_images_give_changes_and_what_the_owner_set_does_not() {
        let old = Container::new(json!({
            "Config": {"Env": ["V=1", "MINE=x"], "Labels": {"v": "1", "mine": "x"}, "Cmd": ["a"], "User": "",
                       "Tty": false, "Hostname": "box"},
            "HostConfig": {"Memory": 5, "Binds": null},
        }));
        let body = json!({"Env": ["MINE=x"], "Labels": {"mine": "x"}, "Tty": false, "Hostname": "box",
                          "HostConfig": {"Memory": 5, "Binds": ["v:/data"]}});
        let image =
            Image::new(json!({"Config": {"Env": ["V=2"], "Labels": {"v": "2"}, "Cmd": ["b"]}}));
        let replacement = Successor {
            body,
            connect: Vec::new(),
            old,
        };
        let seen: Vec<Value> = changes(&replacement, &image)
            .iter()
            .map(|change| json!([change.field, change.now, change.then]))
            .collect();
        assert_eq!(
            json!(seen),
            json!([
                ["Config.Cmd", ["a"], ["b"]],
                ["Config.Env.V", "1", "2"],
                ["Config.Labels.v", "1", "2"],
                ["HostConfig.Binds", null, ["v:/data"]],
            ])
        );
    }
}
