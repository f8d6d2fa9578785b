//! Containers and facts for the tables of cases.

use super::Facts;
use super::Successor;
use crate::engine::ApiVersion;
use crate::engine::Container;
use crate::engine::Image;
use serde_json::Value;
use serde_json::json;

pub(super) const OLD_ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A running container of the default bridge, changed as given; `null` takes a field away.
pub(super) fn container(change: Value) -> Container {
    let mut json = json!({
        "Id": OLD_ID, "Name": "/web", "Image": "sha256:old",
        "State": {"Status": "running"},
        "Config": {}, "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": {"bridge": {}}}, "Mounts": [],
    });
    merge(&mut json, change);
    let networks = json["NetworkSettings"]["Networks"].as_object_mut();
    networks
        .into_iter()
        .for_each(|all| all.retain(|_, shown| !shown.is_null()));
    Container::new(json)
}

/// The facts that most containers have.
pub(super) fn facts(old: &Container, api: ApiVersion) -> Facts<'_> {
    Facts {
        old,
        old_image: None,
        new_image_id: "sha256:new",
        api,
        podman: None,
        inherited: &[],
        gone_providers: &[],
        moved: &[],
    }
}

/// The create body for such a container, of an image with the given `Config`.
pub(super) fn body(api: ApiVersion, image: Value, change: Value) -> Value {
    body_on(api, None, image, change)
}

/// The same, on Podman if Podman's own inspect is given.
pub(super) fn body_on(
    api: ApiVersion,
    podman: Option<&Value>,
    image: Value,
    change: Value,
) -> Value {
    let old = container(change);
    let image = Image::new(json!({ "Config": image }));
    let facts = Facts {
        old_image: Some(&image),
        podman,
        ..facts(&old, api)
    };
    Successor::of(&facts).body
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
