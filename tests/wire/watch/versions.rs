//! Versions of images, and newer version tags: in messages, status, history and `check`.

use crate::support::Folder;
use crate::support::eventually;
use crate::support::program::Program;
use crate::support::program::run;
use crate::support::server::Answer;
use crate::support::server::Server;
use crate::wire::registry::config::Files;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::sync::Mutex;

const SOURCE: &str = "https://github.com/acme/api";

/// A registry with one repository, and an Engine whose only container runs an image of it. The Engine refuses every
/// pull.
struct World {
    registry: Server,
    engine: Server,
    host: String,
    tags: Arc<Mutex<Answer>>,
    digest: Arc<Mutex<String>>,
    _folder: Folder,
}

fn labels(version: &str) -> Value {
    json!({"org.opencontainers.image.version": version, "org.opencontainers.image.source": SOURCE})
}

impl World {
    /// The container was made from `tag`, and has these labels.
    fn new(tag: &'static str, container_labels: Value) -> Self {
        let mut files = Files::default();
        let newest = files.image(&labels("1.4.0"));
        let newest = files.index(&[(&newest, "amd64")]);
        let old = format!("sha256:{}", "a".repeat(64));
        let digest = Arc::new(Mutex::new(newest));
        let tags = json!({"tags": ["latest", "1.3.9", "1.3.10", "1.4.2", "2.0.0", "1.5.0-rc1"]});
        let tags = Arc::new(Mutex::new(Answer::json(200, &tags)));
        let (for_digest, for_tags) = (Arc::clone(&digest), Arc::clone(&tags));
        let registry = Server::tcp(move |seen| match (seen.method.as_str(), &seen.target) {
            ("HEAD", target) if target.ends_with(tag) => {
                let digest = for_digest.lock().expect("no panic");
                Answer::new(200, &[("Docker-Content-Digest", &digest)], "")
            }
            ("HEAD", _) => Answer::new(200, &[("Docker-Content-Digest", &old)], ""),
            ("GET", target) if target.contains("/tags/list") => {
                for_tags.lock().expect("no panic").clone()
            }
            ("GET", target) => files.answer(target),
            other => panic!("{other:?}"),
        });
        let name = format!("{}/acme/api", registry.host());
        let folder = Folder::new();
        let socket = folder.path().join("engine.sock");
        let engine = Server::unix(&socket, move |seen| {
            let image = json!({
                "Id": "sha256:old", "Created": "2026-01-01T00:00:00Z", "Os": "linux", "Architecture": "amd64",
                "RepoDigests": [format!("{name}@sha256:{}", "a".repeat(64))],
                "Config": {"Labels": labels("1.3.9")},
            });
            let container = json!({
                "Id": "c1", "Names": ["/web"], "Image": format!("{name}:{tag}"), "ImageID": "sha256:old",
                "State": "running", "Labels": container_labels,
            });
            match seen.target.as_str() {
                "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
                "/v1.41/version" => {
                    Answer::json(200, &json!({"Version": "20.10.24", "Arch": "amd64"}))
                }
                "/v1.41/containers/json?all=1" => Answer::json(200, &json!([container])),
                "/v1.41/containers/c1/json" | "/v1.41/containers/web/json" => {
                    let config =
                        json!({"Image": container["Image"], "Labels": container["Labels"]});
                    let state = json!({"Status": "running"});
                    Answer::json(
                        200,
                        &json!({
                            "Id": "c1", "Name": "/web", "Image": "sha256:old", "Config": config, "State": state,
                            "HostConfig": {},
                        }),
                    )
                }
                "/v1.41/images/json" => Answer::json(200, &json!([])),
                other if other.contains("/images/create?") => {
                    Answer::json(500, &json!({"message": "no pull"}))
                }
                other if other.contains("/images/") => Answer::json(200, &image),
                other => panic!("unexpected: {other}"),
            }
        });
        Self {
            registry,
            engine,
            host: format!("unix://{}", socket.display()),
            tags,
            digest,
            _folder: folder,
        }
    }

    fn start(&self, more: &[(&str, &str)]) -> Program {
        let mut vars = vec![
            ("DOCKER_HOST", self.host.as_str()),
            ("IMAGE_AUTO_REFRESH", "true"),
            ("IMAGEWATCH_INTERVAL", "1s"),
            ("IMAGEWATCH_RUNTIMES", "none"),
            ("IMAGEWATCH_SELECT", "all"),
        ];
        vars.extend(more);
        Program::start(&vars)
    }

    fn gets(&self) -> Vec<String> {
        let lines = self.registry.lines().into_iter();
        lines.filter(|line| line.starts_with("GET ")).collect()
    }

    fn pulls(&self) -> usize {
        let lines = self.engine.lines();
        lines
            .iter()
            .filter(|line| line.contains("/images/create"))
            .count()
    }
}

fn reference(program: &Program) -> Value {
    program.ask("GET", "/admin/status").1["references"][0].clone()
}

/// Waits for this many rounds to end.
fn await_rounds(program: &Program, count: u64) {
    eventually("the rounds", || {
        let (_, status) = program.ask("GET", "/admin/status");
        (status["watcher"]["rounds"].as_u64() > Some(count)).then_some(())
    });
}

/// A receiver, and the messages that it got.
fn receiver() -> (Server, String) {
    let server = Server::tcp(|_| Answer::new(200, &[], ""));
    let url = format!("http://{}/", server.host());
    (server, url)
}

fn messages(receiver: &Server) -> Vec<Value> {
    let seen = receiver.seen().into_iter();
    seen.map(|seen| serde_json::from_slice(&seen.body).expect("JSON"))
        .collect()
}

#[test]
fn the_owner_who_only_wants_to_know_is_told_both_versions_and_the_source() {
    let world = World::new("latest", json!({}));
    let (receiver, url) = receiver();
    let program = world.start(&[("IMAGEWATCH_MODE", "notify"), ("IMAGEWATCH_NOTIFY", &url)]);
    let message = eventually("the message", || messages(&receiver).into_iter().next());
    assert_eq!(message["event"], "behind");
    assert_eq!(message["container"], "web");
    assert_eq!(message["old_version"], "1.3.9");
    assert_eq!(message["new_version"], "1.4.0");
    assert_eq!(message["source"], SOURCE);
    let expected = json!({"running": "1.3.9", "registry": "1.4.0", "source": SOURCE});
    eventually("the versions", || {
        (reference(&program)["version"] == expected).then_some(())
    });
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["containers"][0]["version"], "1.3.9");
    assert_eq!(status["containers"][0]["behind"], true);
    assert_eq!(status["references"][0]["state"], "outdated");
    assert_eq!(status["history"][0]["new_version"], "1.4.0");
    await_rounds(&program, 3);
    assert_eq!(
        world.gets().len(),
        3,
        "an index, a manifest and a configuration"
    );
    assert_eq!(world.pulls(), 0, "a mode that only tells pulls nothing");
    assert_eq!(messages(&receiver).len(), 1);
}

#[test]
fn a_label_wins_over_the_mode_of_all() {
    let world = World::new("latest", json!({"imagewatch.mode": "update"}));
    let program = world.start(&[
        ("IMAGEWATCH_MODE", "notify"),
        ("IMAGEWATCH_CATCH_UP", "true"),
    ]);
    eventually("the pull", || (world.pulls() > 0).then_some(()));
    program.await_line("could not be pulled: ");
}

#[test]
fn what_is_behind_at_the_first_look_shows_its_versions_without_a_pull() {
    let world = World::new("latest", json!({}));
    let program = world.start(&[]);
    eventually("the version", || {
        (reference(&program)["version"]["registry"] == "1.4.0").then_some(())
    });
    await_rounds(&program, 3);
    assert_eq!(world.gets().len(), 3);
    assert_eq!(world.pulls(), 0);
    // The tag goes back to what runs, so nothing is behind.
    *world.digest.lock().expect("no panic") = format!("sha256:{}", "a".repeat(64));
    let version = eventually("the other digest", || {
        let reference = reference(&program);
        (reference["state"] == "current").then(|| reference["version"].clone())
    });
    assert_eq!(version["registry"], "1.3.9");
    assert_eq!(world.gets().len(), 3);
}

#[test]
fn a_registry_that_tells_no_version_is_asked_once_and_nothing_else_suffers() {
    let world = World::new("latest", json!({}));
    *world.digest.lock().expect("no panic") = format!("sha256:{}", "b".repeat(64));
    let program = world.start(&[]);
    program.await_line("its version is not known: ");
    await_rounds(&program, 3);
    let reference = reference(&program);
    assert_eq!(reference["state"], "outdated");
    assert_eq!(reference["last_error"], Value::Null);
    assert_eq!(
        reference["version"],
        json!({"running": "1.3.9", "source": SOURCE})
    );
    assert_eq!(world.gets().len(), 1);
}

#[test]
fn a_newer_version_is_told_once_and_never_applied() {
    let world = World::new("1.3.9", json!({"imagewatch.newer": "minor"}));
    *world.digest.lock().expect("no panic") = format!("sha256:{}", "a".repeat(64));
    let (receiver, url) = receiver();
    let state = Folder::new();
    let folder = state.path().to_str().expect("UTF-8");
    let vars = [
        ("IMAGEWATCH_NOTIFY", url.as_str()),
        ("IMAGEWATCH_STATE", folder),
    ];
    let mut program = world.start(&vars);
    let message = eventually("the message", || messages(&receiver).into_iter().next());
    assert_eq!(message["event"], "newer");
    let name = format!("{}/acme/api:1.3.9", world.registry.host());
    assert_eq!(message["image"], name);
    let text = message["text"].as_str().expect("a text");
    let words = format!("{name}: 1.4.2 exists, you run 1.3.9");
    assert!(text.contains(&words), "{text}");
    assert_eq!(reference(&program)["newer"], "1.4.2");
    await_rounds(&program, 3);
    assert_eq!(reference(&program)["newer"], "1.4.2");
    assert_eq!(reference(&program)["state"], "current");
    assert_eq!(world.gets().len(), 1, "once a day");
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["history"].as_array().map(Vec::len), Some(1));
    program.kill();
    // The next process knows from the state that it was told.
    let program = world.start(&vars);
    eventually("the newer version", || {
        (reference(&program)["newer"] == "1.4.2").then_some(())
    });
    await_rounds(&program, 2);
    assert_eq!(messages(&receiver).len(), 1);
    assert_eq!(world.gets().len(), 2);
    assert_eq!(world.pulls(), 0);
}

#[test]
fn a_list_of_tags_that_cannot_be_read_is_no_trouble() {
    let world = World::new("1.3.9", json!({"imagewatch.newer": "major"}));
    *world.digest.lock().expect("no panic") = format!("sha256:{}", "a".repeat(64));
    *world.tags.lock().expect("no panic") = Answer::new(405, &[], "");
    let program = world.start(&[]);
    program.await_line("tags: ");
    await_rounds(&program, 3);
    let reference = reference(&program);
    assert_eq!(reference["state"], "current");
    assert_eq!(reference["last_error"], Value::Null);
    assert_eq!(reference.get("newer"), None);
    assert_eq!(world.gets().len(), 1);
    assert_eq!(program.ask("GET", "/health").0, 200);
}

/// `imagewatch check` with these arguments: its exit code and its output.
fn check(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let vars = [
        ("DOCKER_HOST", world.host.as_str()),
        ("IMAGEWATCH_RUNTIMES", "none"),
        ("IMAGEWATCH_SELECT", "all"),
    ];
    let (code, text, _) = run(&[&["check"], arguments].concat(), &vars);
    (code, text)
}

#[test]
fn a_check_shows_versions_and_newer_tags() {
    let world = World::new("latest", json!({"imagewatch.newer": "Major"}));
    let (code, text) = check(&world, &[]);
    assert_eq!(code, Some(10));
    assert!(text.contains("1.3.9 → 1.4.0\n"), "{text}");
    assert!(
        text.contains("acme/api:latest: 2.0.0 exists, you run 1.3.9\n"),
        "{text}"
    );
    let (_, json) = check(&world, &["--json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let row = &json["references"][0];
    let expected = json!({"running": "1.3.9", "registry": "1.4.0", "source": SOURCE});
    assert_eq!(row["version"], expected);
    assert_eq!(row["newer"], "2.0.0");
    assert_eq!(world.pulls(), 0);
}

#[test]
fn without_the_label_nobody_asks_for_tags() {
    let world = World::new("1.3.9", json!({}));
    *world.digest.lock().expect("no panic") = format!("sha256:{}", "a".repeat(64));
    let (code, text) = check(&world, &[]);
    assert_eq!(code, Some(0));
    assert!(!text.contains("exists"), "{text}");
    assert_eq!(world.gets(), [""; 0]);
}
