//! What an Engine shows of containers and images: no JSON may panic what reads it, and a successor's
//! successor is made from the same body.

use super::generator::Random;
use super::generator::corpus;
use super::generator::fuzz;
use imagewatch::engine::ApiVersion;
use imagewatch::engine::Container;
use imagewatch::engine::Image;
use imagewatch::engine::Summary;
use imagewatch::swap;
use imagewatch::swap::Facts;
use imagewatch::swap::Moved;
use imagewatch::swap::Successor;
use imagewatch::swap::lost_on_podman;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// Versions on both sides of each at which the rules differ.
const VERSIONS: [ApiVersion; 5] = [
    ApiVersion(1, 41),
    ApiVersion(1, 43),
    ApiVersion(1, 44),
    ApiVersion(1, 47),
    ApiVersion(1, 51),
];

#[test]
fn no_inspect_panics() {
    const WORDS: &[&str] = &[
        "null",
        "true",
        "-1",
        "\"\"",
        "\"é\"",
        "[]",
        "{}",
        "[null]",
        "[\"a:b:c\"]",
        ",",
        ":",
        "\"",
        "\"container:base\"",
        "\"host\"",
        "\"none\"",
        "\"bridge\"",
        "\"always\"",
        "\"volume\"",
        "18446744073709551616",
        "1e300",
        "\\ud800",
        "[[[[[[[[[[[[[[[[",
    ];
    fuzz("inspect", WORDS, |input| {
        // Most changed bytes are no JSON any more; so the same bytes also decide which values of a
        // whole text are exchanged.
        let seed = input.iter().fold(input.len() as u64, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
        });
        let mut random = Random::new(seed);
        let texts = corpus("inspect");
        let mut json = serde_json::from_slice(input).unwrap_or_else(|_| {
            let whole: &Vec<u8> = random.pick(&texts);
            serde_json::from_slice::<Value>(whole).expect("a corpus of JSON")
        });
        for _ in 0..random.below(6) {
            exchange(&mut json, &mut random);
        }
        read_all(&json);
    });
}

/// Puts something else in the place of one value, somewhere.
fn exchange(json: &mut Value, random: &mut Random) {
    let is_here = random.below(4) == 0;
    let inner = match json {
        Value::Object(map) if !is_here => {
            let at = random.below(map.len());
            map.values_mut().nth(at)
        }
        Value::Array(list) if !is_here => {
            let at = random.below(list.len());
            list.get_mut(at)
        }
        _ => None,
    };
    match inner {
        Some(inner) => exchange(inner, random),
        None => {
            let odd = [
                json!(null),
                json!(true),
                json!(-1),
                json!(u64::MAX),
                json!(1e300),
                json!(""),
                json!("é€"),
                json!("container:"),
                json!("a:b:c:d"),
                json!([]),
                json!([null, 7, "x", {}]),
                json!({}),
                json!({"x": null}),
                json!({"": {"": [""]}}),
            ];
            *json = random.pick(&odd).clone();
        }
    }
}

/// Everything that is ever asked of an inspect.
fn read_all(json: &Value) {
    let old = Container::new(json["container"].clone());
    let image = Image::new(json["image"].clone());
    let libpod = &json["libpod"];
    let _ = (
        old.id(),
        old.short_id(),
        old.name(),
        old.image_id(),
        old.image_name(),
    );
    let _ = (
        old.state(),
        old.exit_code(),
        old.error(),
        old.was_started(),
        old.restart_count(),
    );
    let _ = (
        old.health(),
        old.was_checked(),
        old.health_output(),
        old.stop_signal_label(),
    );
    let _ = (
        old.stop_time(),
        old.has_command(),
        old.holds_network(),
        old.restart_policy(),
    );
    let _ = (
        image.id(),
        image.created(),
        image.platform(),
        image.foreign_platform("amd64"),
    );
    let _ = (
        image.is_tagged(),
        image.is_same_as(&image),
        image.digests_of(&"nginx".parse().expect("valid")).count(),
    );
    if let Ok(summary) = serde_json::from_value::<Summary>(json["container"].clone()) {
        let _ = (
            summary.name(),
            summary.image_id(),
            summary.label("imagewatch.enable"),
        );
    }
    let _ = lost_on_podman(libpod);
    let all = [old.clone(), Container::new(libpod.clone())];
    let _ = swap::needs_others(&old);
    let _ = swap::dependents(&old, &all);
    let _ = swap::in_order(all.to_vec(), |one| one);
    let moved = [Moved {
        old_id: "base",
        old_name: "base",
        new_id: "new",
        new_name: "base.iw-new-01234567",
    }];
    let providers = ["base:ro".to_owned()];
    for api in [ApiVersion(1, 41), ApiVersion(1, 51)] {
        for podman in [None, Some(libpod)] {
            let facts = Facts {
                old: &old,
                old_image: Some(&image),
                new_image_id: "sha256:new",
                api,
                podman,
                inherited: old.mounts(),
                gone_providers: &providers,
                moved: &moved,
            };
            let mut replacement = Successor::of(&facts);
            replacement.label("io.imagewatch.txn", "{}".to_owned());
            let _ = swap::changes(&replacement, &image);
        }
    }
}

#[test]
fn the_body_of_a_successors_successor_is_the_same() {
    for text in corpus("inspect") {
        let case: Value = serde_json::from_slice(&text).expect("a corpus of JSON");
        let (image, new_image) = (&case["image"], &case["new_image"]);
        // What is made from Podman's dialect is no longer in it; its own tests have it.
        if !case["libpod"].is_null() || case["new_image"].is_null() {
            continue;
        }
        for api in VERSIONS {
            let first = create(api, &case["container"], image);
            let shown = inspect(api, &first, new_image);
            let second = create(api, &shown, new_image);
            assert_eq!(second.body, first.body, "{api} {shown:#}");
            assert_eq!(second.connect, first.connect, "{api} {shown:#}");
        }
    }
}

fn create(api: ApiVersion, container: &Value, image: &Value) -> Successor {
    let (old, image) = (Container::new(container.clone()), Image::new(image.clone()));
    Successor::of(&Facts {
        old: &old,
        old_image: Some(&image),
        new_image_id: "sha256:new",
        api,
        podman: None,
        inherited: &[],
        gone_providers: &[],
        moved: &[],
    })
}

/// What an Engine shows of a container that was created so (moby, `daemon/commit.go` and
/// `daemon/inspect.go`), as far as a body is made from it.
fn inspect(api: ApiVersion, made: &Successor, image: &Value) -> Value {
    const ID: &str = "abcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcd";
    let mut config = made.body.as_object().expect("a body").clone();
    let host = config.remove("HostConfig").expect("with a HostConfig");
    let mut networks = Map::new();
    if let Some(Value::Object(mut given)) = config.remove("NetworkingConfig") {
        if let Some(Value::Object(first)) = given.remove("EndpointsConfig") {
            networks.extend(first);
        }
    }
    networks.extend(made.connect.iter().cloned());
    merge(&mut config, &image["Config"]);
    if config.get("Entrypoint") == Some(&json!([""])) {
        config.insert("Entrypoint".to_owned(), Value::Null);
    }
    let shares = host["NetworkMode"]
        .as_str()
        .is_some_and(|mode| mode == "host" || mode.starts_with("container:"));
    if !shares {
        let default = json!(&ID[..12]);
        config.entry("Hostname").or_insert(default);
    }
    for (number, (name, shown)) in networks.iter_mut().enumerate() {
        let address = format!("10.{number}.0.3");
        let own = shown.get("MacAddress").cloned();
        // The first network's is shown among the settings, up to API 1.51.
        if *name == host["NetworkMode"] && own.is_some() && api >= ApiVersion(1, 44) {
            config.insert("MacAddress".to_owned(), own.clone().expect("set"));
        }
        let assigned = json!(format!("02:42:0a:{number:02x}:00:03"));
        shown["MacAddress"] = own.unwrap_or(assigned);
        shown["IPAddress"] = json!(address);
        shown["NetworkID"] = json!(format!("{number:064}"));
        if api < ApiVersion(1, 45) && name != "bridge" {
            let mut aliases = shown["Aliases"].as_array().cloned().unwrap_or_default();
            aliases.push(json!(&ID[..12]));
            aliases.push(config.get("Hostname").cloned().unwrap_or_default());
            shown["Aliases"] = json!(aliases);
        }
    }
    let binds = host["Binds"].as_array().into_iter().flatten();
    let mut mounts: Vec<Value> = binds
        .filter_map(|bind| {
            let parts: Vec<&str> = bind.as_str()?.split(':').collect();
            let read_write = parts.get(2) != Some(&"ro");
            Some(if parts[0].starts_with('/') {
                json!({"Type": "bind", "Source": parts[0], "Destination": parts[1], "RW": read_write})
            } else {
                json!({"Type": "volume", "Name": parts[0], "Destination": parts[1], "RW": read_write})
            })
        })
        .collect();
    for own in host["Mounts"].as_array().into_iter().flatten() {
        let target = own["Target"].as_str().unwrap_or_default();
        mounts.push(json!({"Type": own["Type"], "Name": own["Source"],
                           "Destination": target.trim_end_matches('/'), "RW": true}));
    }
    json!({
        "Id": ID, "Name": "/web", "Image": "sha256:new", "State": {"Status": "running"},
        "Config": config, "HostConfig": host, "Mounts": mounts,
        "NetworkSettings": {"Networks": networks},
    })
}

/// The owner's settings over the image's.
fn merge(own: &mut Map<String, Value>, image: &Value) {
    let is_set = |value: Option<&Value>| match value {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(_) => true,
    };
    if !is_set(own.get("Entrypoint")) {
        if !is_set(own.get("Cmd")) && own.get("Entrypoint").is_none() {
            own.insert("Cmd".to_owned(), image["Cmd"].clone());
        }
        own.insert("Entrypoint".to_owned(), image["Entrypoint"].clone());
    }
    for key in ["User", "WorkingDir", "StopSignal"] {
        if !is_set(own.get(key)) {
            own.insert(key.to_owned(), image[key].clone());
        }
    }
    let name = |entry: &Value| {
        let text = entry.as_str().unwrap_or_default();
        text.split('=').next().unwrap_or_default().to_owned()
    };
    let mut environment = own
        .get("Env")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for entry in image["Env"].as_array().into_iter().flatten() {
        if !environment.iter().any(|own| name(own) == name(entry)) {
            environment.push(entry.clone());
        }
    }
    own.insert("Env".to_owned(), json!(environment));
    for key in ["Labels", "ExposedPorts", "Volumes", "Healthcheck"] {
        let mut all = image[key].as_object().cloned().unwrap_or_default();
        let given = own.get(key).and_then(Value::as_object).cloned();
        all.extend(given.unwrap_or_default());
        if !all.is_empty() {
            own.insert(key.to_owned(), Value::Object(all));
        }
    }
}
