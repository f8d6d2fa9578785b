//! Updates that wait for their time, with the real program.

use super::journal::Fake;
use crate::support::Folder;
use crate::support::eventually;
use crate::support::program::Program;
use crate::support::program::run;
use crate::support::server::Answer;
use crate::support::server::Server;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

const FILE: &str = "imagewatch.json";

fn digest(of: char) -> String {
    format!("sha256:{}", of.to_string().repeat(64))
}

/// A registry with one tag, which moves as told, and an Engine with one container, whose pulls fail.
struct Scene {
    fake: Fake,
    digest: Arc<Mutex<String>>,
    _registry: Server,
    template: String,
    state: Folder,
}

impl Scene {
    fn new() -> Self {
        let found = Arc::new(Mutex::new(digest('a')));
        let answered = Arc::clone(&found);
        let registry = Server::tcp(move |_| {
            let digest = answered.lock().expect("no panic").clone();
            Answer::new(200, &[("Docker-Content-Digest", &digest)], "")
        });
        let repository = format!("{}/acme/hermes", registry.host());
        let reference = format!("{repository}:latest");
        let container = json!({"Id": "c".repeat(64), "Names": ["/ws-1"], "Image": reference,
            "ImageID": "sha256:old", "State": "running", "Inspect": {
                "Id": "c".repeat(64), "Name": "/ws-1", "Image": "sha256:old",
                "Config": {"Image": reference}, "HostConfig": {}, "State": {"Status": "running"}}});
        let digests = [format!("{repository}@{}", digest('a'))];
        let old = json!({"Id": "sha256:old", "RepoDigests": digests});
        let pull = || Answer::json(404, &json!({"message": "no such manifest"}));
        Self {
            fake: Fake::new(pull, old, json!([container])),
            digest: found,
            _registry: registry,
            template: reference.replace("hermes", "{runtime}"),
            state: Folder::new(),
        }
    }

    fn vars<'s>(&'s self, more: &[(&'s str, &'s str)]) -> Vec<(&'s str, &'s str)> {
        let mut vars = vec![
            ("DOCKER_HOST", self.fake.host.as_str()),
            ("IMAGE_AUTO_REFRESH", "true"),
            ("IMAGEWATCH_INTERVAL", "1s"),
            ("IMAGEWATCH_RUNTIMES", "hermes"),
            ("IMAGEWATCH_IMAGE", &self.template),
            (
                "IMAGEWATCH_STATE",
                self.state.path().to_str().expect("UTF-8"),
            ),
        ];
        vars.extend(more);
        vars
    }

    fn start(&self, more: &[(&str, &str)]) -> Program {
        Program::start(&self.vars(more))
    }

    fn move_tag(&self, to: char) {
        *self.digest.lock().expect("no panic") = digest(to);
    }

    fn pulls(&self) -> usize {
        let lines = self.fake.server.lines();
        let pulls = lines.iter().filter(|line| line.contains("/images/create?"));
        pulls.count()
    }

    fn run(&self, arguments: &[&str], more: &[(&str, &str)]) -> (Option<i32>, Value) {
        let (code, text, _) = run(arguments, &self.vars(more));
        (code, serde_json::from_str(&text).expect("JSON"))
    }
}

fn reference(program: &Program) -> Value {
    let (_, mut status) = program.ask("GET", "/admin/status");
    status["references"][0].take()
}

/// The reference, once it is in this state.
fn in_state(program: &Program, state: &str) -> Value {
    eventually(state, || {
        let found = reference(program);
        (found["state"] == state).then_some(found)
    })
}

#[test]
fn an_image_that_is_too_young_is_not_pulled_and_its_clock_survives_a_restart() {
    let scene = Scene::new();
    let age = [("IMAGEWATCH_MIN_AGE", "1h")];
    let mut program = scene.start(&age);
    program.await_line("hermes: seeded");
    scene.move_tag('b');
    let line = program.await_line("hermes digest moved");
    assert!(
        line.contains(", waits until ") && line.ends_with("UTC for its minimum age of 1h"),
        "{line}"
    );
    let waiting = in_state(&program, "waiting")["waiting"].clone();
    assert_eq!(waiting[0]["name"], "ws-1");
    assert_eq!(waiting[0]["reason"], "for its minimum age of 1h");
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(
        status["containers"][0]["waiting"]["until"],
        waiting[0]["until"]
    );
    let (_, _, metrics) = program.ask_text("GET", "/metrics");
    assert!(
        metrics.contains("imagewatch_references{state=\"waiting\"} 1"),
        "{metrics}"
    );
    // A refresh of everything waits too.
    let (_, report) = program.refresh("");
    let reason = report["skipped"][0]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("waits until "), "{report}");
    assert_eq!(in_state(&program, "waiting")["waiting"], waiting);
    assert_eq!(scene.pulls(), 0);
    let (code, table) = scene.run(&["check", "--json"], &age);
    assert_eq!(
        (code, &table["references"][0]["state"]),
        (Some(10), &json!("waiting"))
    );
    assert_eq!(table["references"][0]["waiting"], waiting);
    assert_eq!(
        program.log().matches("digest moved").count(),
        1,
        "{}",
        program.log()
    );
    let (_, dry_run) = scene.run(&["refresh", "--dry-run", "--json"], &age);
    assert_eq!(dry_run["would_pull"], json!([]));
    let reason = dry_run["skipped"][0]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("waits until "), "{dry_run}");
    program.kill();

    let mut program = scene.start(&age);
    program.await_line("hermes digest moved sha256:aaaaaaaaaaaa");
    assert_eq!(in_state(&program, "waiting")["waiting"], waiting);
    // Its owner's word goes ahead.
    let (_, report) = program.refresh("?runtime=hermes");
    assert_eq!(report["failed"], json!(["hermes"]));
    assert!(scene.pulls() > 0);
    program.kill();

    // Without the rule, the update that waited is followed, although nobody asked to catch up.
    let program = scene.start(&[]);
    let line = program.await_line("hermes digest moved sha256:aaaaaaaaaaaa");
    assert!(line.ends_with("refreshing"), "{line}");
}

#[test]
fn outside_its_window_a_container_is_left_alone() {
    let scene = Scene::new();
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let in_three_days = days[usize::try_from((since.as_secs() / 86_400 + 3) % 7).expect("small")];
    let window = format!("{in_three_days} 02:00-05:00");
    let program = scene.start(&[("IMAGEWATCH_WINDOW", &window)]);
    program.await_line("hermes: seeded");
    // Nothing is behind, so nothing waits.
    let (_, report) = program.refresh("");
    let found = ["pulled", "unchanged", "skipped"].map(|key| report[key].clone());
    let expected = [json!(["hermes"]), json!(["ws-1"]), json!([])];
    assert_eq!(found, expected);
    scene.move_tag('b');
    let line = program.await_line("hermes digest moved");
    let words = format!(", waits until {in_three_days} 02:00 UTC for its window");
    assert!(line.ends_with(&words), "{line}");
    program.refresh("");
    let (_, report) = program.ask("POST", "/v1/update");
    assert_eq!(report["skipped"][0]["name"], "ws-1");
    assert_eq!(scene.pulls(), 0);
    // Force does not wait.
    program.refresh("?force=true");
    assert!(scene.pulls() > 0);
}

#[test]
fn a_container_that_is_held_stays_whoever_asks() {
    let scene = Scene::new();
    let held = json!({"container": "ws-1", "since": "2026-11-29T12:00:00Z", "by": "admin"});
    let page = json!({"version": 1, "history": [], "rejected": [], "held": [held]});
    scene.state.write(FILE, page.to_string());
    let program = scene.start(&[]);
    program.await_line("hermes: seeded");
    scene.move_tag('b');
    let line = program.await_line("hermes digest moved");
    assert!(line.ends_with(", it is held by admin"), "{line}");
    for query in ["", "?runtime=hermes", "?force=true"] {
        let (_, report) = program.refresh(query);
        let expected = json!([{"name": "ws-1", "reason": "it is held by admin"}]);
        assert_eq!(report["skipped"], expected, "{query}");
    }
    assert_eq!(scene.pulls(), 0);
}

#[test]
fn every_time_is_shown_in_the_zone_of_its_owner() {
    let scene = Scene::new();
    let zone = [("TZ", "<+0530>-5:30"), ("IMAGEWATCH_MIN_AGE", "1h")];
    let program = scene.start(&zone);
    let line = program.await_line("hermes: seeded");
    assert_eq!(line.get(19..25), Some("+05:30"), "{line}");
    scene.move_tag('b');
    let line = program.await_line("hermes digest moved");
    assert!(line.contains(" +0530 for its minimum age"), "{line}");
    let found = in_state(&program, "waiting");
    for time in [&found["last_check"], &found["waiting"][0]["until"]] {
        assert!(
            time.as_str().is_some_and(|time| time.ends_with("+05:30")),
            "{found}"
        );
    }
}

#[test]
fn a_window_in_a_zone_that_cannot_be_read_does_not_start() {
    let vars = [
        ("TZ", "Nowhere/Atlantis"),
        ("IMAGEWATCH_WINDOW", "02:00-05:00"),
    ];
    let (code, _, words) = run(&[], &vars);
    assert_eq!(code, Some(2), "{words}");
    assert!(
        words.contains("-v /usr/share/zoneinfo:/usr/share/zoneinfo:ro"),
        "{words}"
    );
}
