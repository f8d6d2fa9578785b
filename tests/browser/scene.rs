//! A box with a bit of everything, as the status shows it. Its clock stands still.

use super::digest;
use serde_json::Value;
use serde_json::json;

/// The time of the box, as a `Date` header.
pub(super) const DATE: &str = "Sun, 01 Mar 2026 09:12:00 GMT";
const LAST_WORDS: &str = "it exited with code 1 within 2 s;
it said:
2026-03-01 09:01:12.114 UTC [1] FATAL:  database files are incompatible with server
2026-03-01 09:01:12.114 UTC [1] DETAIL:  The data directory was initialized by PostgreSQL version 16";

/// What an update changes of a container that runs the newest image.
pub(super) fn no_plan() -> Value {
    with(
        plan(),
        json!({"image": {"now": digest("b"), "then": digest("b")}, "with": [], "changes": []}),
    )
}

/// What an update of `shop-api-1` changes.
pub(super) fn plan() -> Value {
    json!({
        "container": "shop-api-1", "reference": "ghcr.io/acme/shop-api:stable",
        "image": {"now": digest("2"), "then": digest("e")},
        "skipped": null, "with": ["shop-worker-1"], "files": [],
        "changes": [
            {"field": "Config.Env.VERSION", "now": "1.3.9", "then": "1.4.0"},
            {"field": "Config.Cmd", "now": ["serve"], "then": ["serve", "--http2"]},
            {"field": "Config.ExposedPorts.9090/tcp", "now": null, "then": {}},
        ],
    })
}

fn reference(reference: &str, state: &str, versions: &[(&str, &str)]) -> Value {
    let version: serde_json::Map<String, Value> = versions
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect();
    json!({"name": reference, "reference": reference, "seen_digest": digest("a"), "registry_digest": digest("b"),
           "state": state, "last_error": null, "last_check": "2026-03-01T09:10:00Z", "version": version})
}

/// A container with its group, its image, and the image that it runs: `a` is behind, and `b` is not.
fn container(name: &str, group: &str, image: &str, runs: &str, made: &str) -> Value {
    let mut one = json!({"name": name, "image": image, "image_id": digest(runs), "image_digests": [digest(runs)],
           "image_created": format!("2026-02-{made}T09:00:00Z"), "state": "running", "behind": runs == "a"});
    if !group.is_empty() {
        one["group"] = json!(group);
    }
    one
}

fn with(mut one: Value, more: Value) -> Value {
    if let (Value::Object(one), Value::Object(more)) = (&mut one, more) {
        one.extend(more);
    }
    one
}

/// An empty box.
pub(super) fn empty() -> Value {
    json!({
        "version": "0.1.0",
        "engine": {"endpoint": "unix:///var/run/docker.sock", "reachable": true, "name": "Docker Engine",
                   "version": "28.5.2", "api_version": "1.51", "error": null},
        "watcher": {"enabled": true, "interval": "5m", "last_round": "2026-03-01T09:10:00Z",
                    "next_round": "2026-03-01T09:15:04Z", "rounds": 17, "last_hook": null},
        "references": [], "put_off": [], "containers": [], "down": [], "rejected": [], "held": [], "skipped": [],
        "refreshes": [], "history": [], "under_way": null,
    })
}

/// The box.
pub(super) fn status() -> Value {
    let (api, db) = (
        "ghcr.io/acme/shop-api:stable",
        "docker.io/library/postgres:17",
    );
    let (web, cache) = ("docker.io/library/nginx:1.29", "docker.io/library/redis:8");
    let (blog, own) = ("ghcr.io/acme/blog:latest", "ghcr.io/acme/imagewatch:1");
    let (front, grafana) = ("ghcr.io/acme/front:2", "docker.io/grafana/grafana:12");
    let until = json!({"name": "shop-cache-1", "until": "2026-03-02T02:00:00Z", "reason": "for its window",
                       "text": "waits until Mon 02:00 UTC for its window"});
    let source = ("source", "https://github.com/acme/shop-api");
    let event = |minute: &str, outcome: &str, container: &str, image: &str| {
        let at = format!("2026-03-01T{minute}:00Z");
        json!({"first": at, "last": at, "times": 1, "outcome": outcome, "container": container, "image": image})
    };
    with(
        empty(),
        json!({
            "references": [
                with(reference(db, "rejected", &[("running", "16.4"), ("registry", "17.0")]),
                     json!({"last_error": LAST_WORDS})),
                with(reference(api, "outdated", &[("running", "1.3.9"), ("registry", "1.4.0"), source, ("revision", "1b2c3d4")]),
                     json!({"newer": "2.0.0"})),
                reference(web, "current", &[("running", "1.29.1"), ("registry", "1.29.1")]),
                reference(cache, "waiting", &[("running", "8.0.1"), ("registry", "8.0.2")]),
                reference(grafana, "current", &[]),
                reference(blog, "outdated", &[]),
                reference(own, "current", &[("running", "0.1.0")]),
                reference(front, "current", &[("running", "2.3.0")]),
            ],
            "containers": [
                container("shop-api-1", "shop", api, "a", "20"),
                container("shop-db-1", "shop", db, "a", "01"),
                with(container("shop-cache-1", "shop", cache, "a", "11"), json!({"waiting": until})),
                container("shop-web-1", "shop", web, "b", "26"),
                with(container("prod_front", "prod", front, "b", "27"), json!({"service": true, "state": "3/3", "image_created": null, "image_digests": null})),
                with(container("grafana", "", grafana, "b", "24"), json!({"held":
                    {"container": "grafana", "since": "2026-03-01T07:00:00Z", "until": "2026-03-07T21:12:00Z", "by": "admin"}})),
                with(container("imagewatch", "", own, "b", "26"), json!({"itself": true})),
                container("blog", "", blog, "a", "28"),
                {"name": "legacy", "image": format!("docker.io/library/alpine@{}", digest("c")), "image_id": digest("8"),
                 "state": "running", "left_alone": "pinned to a digest"},
            ],
            "history": [
                with(event("09:01", "rolled_back", "shop-db-1", db), json!({"old": digest("a"), "new": digest("e"),
                     "reason": LAST_WORDS, "old_version": "16.4", "new_version": "17.0"})),
                with(event("07:00", "decided", "grafana", ""), json!({"reason": "held by admin until 2026-03-07T21:12:00Z"})),
                with(event("02:10", "recreated", "shop-web-1", web), json!({"old": digest("f"), "new": digest("b"),
                     "old_version": "1.29.0", "new_version": "1.29.1", "downtime_seconds": 0.8})),
                with(event("02:09", "recreated", "blog", blog), json!({"old": digest("f"), "new": digest("a"),
                     "downtime_seconds": 1.2})),
            ],
        }),
    )
}

/// The box in the middle of a round.
pub(super) fn busy() -> Value {
    with(
        status(),
        json!({"under_way": {
            "asked_by": "watcher", "started": "2026-03-01T09:11:40Z",
            "pulls": [{"image": "ghcr.io/acme/shop-api:stable", "layers": 7, "ready": 3, "percent": 56}],
            "swaps": [{"container": "blog", "phase": "accept"}],
        }}),
    )
}

/// The box while its Engine is away.
pub(super) fn lost() -> Value {
    let error = "GET unix:///var/run/docker.sock /version: connection refused";
    with(
        status(),
        json!({"containers": [], "engine": {"endpoint": "unix:///var/run/docker.sock", "reachable": false, "error": error}}),
    )
}
