//! What survives a restart, and what becomes of a state file that is no good.

use crate::support::Folder;
use crate::support::eventually;
use crate::support::program::Program;
use crate::support::program::run;
use crate::support::pulled_image;
use crate::support::server::Answer;
use crate::support::server::Server;
use serde_json::Value;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

const FILE: &str = "imagewatch.json";

/// An Engine that knows one image, and whose pulls go as told.
pub(crate) struct Fake {
    pub(crate) server: Server,
    pub(crate) host: String,
    _folder: Folder,
}

impl Fake {
    /// `pull` answers each pull; `image` is what every reference means; `containers` are there.
    pub(crate) fn new(
        pull: impl Fn() -> Answer + Send + Sync + 'static,
        image: Value,
        containers: Value,
    ) -> Self {
        let folder = Folder::new();
        let socket = folder.path().join("engine.sock");
        let server = Server::unix(&socket, move |seen| match seen.target.as_str() {
            "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
            "/v1.41/version" => Answer::json(200, &json!({"Version": "20.10.24"})),
            "/v1.41/containers/json?all=1" => Answer::json(200, &containers),
            other if other.ends_with("/changes") => Answer::json(200, &Value::Null),
            other if other.contains("/images/create?") => pull(),
            // An image that was here once.
            other if other.contains("sha256:0000") => refusal("no such image"),
            other if other.contains("/images/") && image["RepoDigests"].is_null() => {
                let id = image["Id"].as_str().expect("an id");
                Answer::json(200, &pulled_image(id, other))
            }
            other if other.contains("/images/") => Answer::json(200, &image),
            other if other.contains("/containers/") => Answer::json(200, &containers[0]["Inspect"]),
            other => panic!("unexpected: {other}"),
        });
        Self {
            server,
            host: format!("unix://{}", socket.display()),
            _folder: folder,
        }
    }

    /// One whose every pull fails, and which has nothing to run.
    pub(crate) fn without_pulls() -> Self {
        let image = json!({"Id": "sha256:x"});
        Self::new(|| refusal("no such manifest"), image, json!([]))
    }

    fn pulls(&self) -> usize {
        let lines = self.server.lines();
        lines
            .iter()
            .filter(|line| line.contains("/images/create?"))
            .count()
    }
}

fn refusal(words: &str) -> Answer {
    Answer::json(404, &json!({"message": words}))
}

fn start(fake: &Fake, state: &Folder, more: &[(&str, &str)]) -> Program {
    let mut vars = vec![
        ("DOCKER_HOST", fake.host.as_str()),
        ("IMAGEWATCH_STATE", state.path().to_str().expect("UTF-8")),
    ];
    vars.extend(more);
    Program::start(&vars)
}

fn status(program: &Program) -> Value {
    program.ask("GET", "/admin/status").1
}

fn on_disk(state: &Folder) -> Value {
    let bytes = std::fs::read(state.path().join(FILE)).expect("the state file");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// What is in the folder, in alphabetical order.
fn names(state: &Folder) -> Vec<String> {
    let list = std::fs::read_dir(state.path()).expect("a folder");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<String> = list
        .map(|entry| name(entry).into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

#[test]
fn outcomes_and_how_often_they_came_survive_a_restart() {
    let (fake, state) = (Fake::without_pulls(), Folder::new());
    let mut program = start(&fake, &state, &[]);
    assert_eq!(status(&program)["history"], json!([]));
    assert!(names(&state).is_empty(), "nothing happened yet");
    program.refresh("?runtime=hermes");
    let mode = std::fs::metadata(state.path().join(FILE)).expect("written");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    program.refresh("?runtime=hermes");
    program.refresh("?runtime=hermes");
    let before = status(&program)["history"].clone();
    assert_eq!(before.as_array().map(Vec::len), Some(1), "{before}");
    let entry = &before[0];
    assert_eq!(
        (&entry["outcome"], &entry["times"]),
        (&json!("pull_failed"), &json!(3))
    );
    let reason = entry["reason"].as_str().expect("a reason");
    assert!(reason.contains("no such manifest"), "{reason}");
    program.signal("TERM");
    program.await_exit();
    assert_eq!(names(&state), [FILE]);
    assert_eq!(on_disk(&state)["version"], 1);

    let mut program = start(&fake, &state, &[]);
    assert_eq!(status(&program)["history"], before);
    program.refresh("?runtime=crewai");
    let before = status(&program)["history"].clone();
    assert_eq!(before.as_array().map(Vec::len), Some(2), "{before}");
    program.kill();
    let program = start(&fake, &state, &[]);
    assert_eq!(
        status(&program)["history"],
        before,
        "nor does a kill lose it"
    );
}

#[test]
fn a_torn_or_a_foreign_file_is_set_aside_and_is_no_reason_not_to_start() {
    let fake = Fake::without_pulls();
    for contents in [
        "",
        r#"{"version":1,"history":[{"first":"2026-01-01T00:00:"#,
        r#"{"somebody": "else's"}"#,
        r#"{"version":2,"history":[],"rejected":[]}"#,
        "\0\0\0\0",
        &"x".repeat(2_000_000),
    ] {
        let state = Folder::new();
        state.write(FILE, contents);
        let program = start(&fake, &state, &[]);
        let line = program.await_line("renamed to imagewatch.json.bad");
        assert!(line.contains("WARN"), "{line}");
        assert_eq!(names(&state), ["imagewatch.json.bad"]);
        let kept = std::fs::read_to_string(state.path().join("imagewatch.json.bad"));
        assert_eq!(kept.expect("kept"), contents);
        program.refresh("?runtime=hermes");
        assert_eq!(on_disk(&state)["history"][0]["outcome"], "pull_failed");
    }
}

#[test]
fn a_file_that_cannot_be_moved_away_is_not_written_over() {
    let (fake, state) = (Fake::without_pulls(), Folder::new());
    state.write(FILE, "precious");
    // Nothing can be renamed over a folder.
    let bad = state.path().join("imagewatch.json.bad");
    std::fs::create_dir(bad).expect("a folder");
    let program = start(&fake, &state, &[]);
    program.await_line("so nothing is kept over a restart");
    program.refresh("?runtime=hermes");
    let kept = std::fs::read_to_string(state.path().join(FILE));
    assert_eq!(kept.expect("kept"), "precious");
    assert_eq!(status(&program)["history"][0]["outcome"], "pull_failed");
}

#[test]
fn without_the_folder_it_does_not_start() {
    let fake = Fake::without_pulls();
    let vars = [
        ("DOCKER_HOST", fake.host.as_str()),
        ("IMAGEWATCH_LISTEN", "127.0.0.1:0"),
        ("IMAGEWATCH_STATE", "/no/such/folder"),
    ];
    let (code, _, complaint) = run(&[], &vars);
    assert_eq!(code, Some(2), "{complaint}");
    let last = complaint.lines().last().unwrap_or_default();
    assert!(
        last.contains(
            "IMAGEWATCH_STATE=\"/no/such/folder\": expected a folder that is there (No such file"
        ),
        "{complaint}"
    );
}

#[test]
fn a_folder_that_goes_away_is_said_once_and_ends_nothing() {
    let (fake, state) = (Fake::without_pulls(), Folder::new());
    let program = start(&fake, &state, &[]);
    std::fs::remove_dir_all(state.path()).expect("removable");
    for runtime in ["hermes", "crewai"] {
        let (code, report) = program.refresh(&format!("?runtime={runtime}"));
        assert_eq!((code, &report["failed"]), (200, &json!([runtime])));
    }
    let log = program.log();
    assert_eq!(
        log.matches("imagewatch.json: not written").count(),
        1,
        "{log}"
    );
    std::fs::create_dir(state.path()).expect("a folder");
    program.refresh("?runtime=openclaw");
    assert_eq!(on_disk(&state)["history"].as_array().map(Vec::len), Some(3));
}

#[test]
fn two_processes_with_one_folder_never_leave_half_a_file() {
    let count = AtomicUsize::new(0);
    // Another outcome each time, so that each is written.
    let pull = move || refusal(&format!("no. {}", count.fetch_add(1, Ordering::SeqCst)));
    let fake = Fake::new(pull, json!({"Id": "sha256:x"}), json!([]));
    let state = Folder::new();
    let programs = [start(&fake, &state, &[]), start(&fake, &state, &[])];
    std::thread::scope(|scope| {
        for program in &programs {
            scope.spawn(|| (0..3).for_each(|_| drop(program.refresh(""))));
        }
    });
    let history = on_disk(&state)["history"].clone();
    assert_eq!(history.as_array().map(Vec::len), Some(24), "{history}");
    assert_eq!(names(&state), [FILE]);
}

/// `{"Id": …}` of an image that was pulled as `digest`.
fn image(repository: &str, digest: &str) -> Value {
    json!({"Id": "sha256:bad", "RepoDigests": [format!("{repository}@{digest}")]})
}

fn rejected(reference: &str) -> String {
    let rejection = json!({"reference": reference, "image": "sha256:bad",
                           "reason": "it exited with 1", "since": "2026-01-01T00:00:00Z"});
    json!({"version": 1, "history": [], "rejected": [rejection]}).to_string()
}

#[test]
fn a_rejected_image_is_not_tried_again_after_a_restart() {
    let digest = Arc::new(Mutex::new(format!("sha256:{}", "a".repeat(64))));
    let answered = Arc::clone(&digest);
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
    let bad = image(&repository, &digest.lock().expect("no panic"));
    let pull = || Answer::new(200, &[], "{\"status\":\"ok\"}\n");
    let fake = Fake::new(pull, bad, json!([container]));
    let state = Folder::new();
    state.write(FILE, rejected(&reference));
    let template = reference.replace("hermes", "{runtime}");
    let program = start(
        &fake,
        &state,
        &[
            ("IMAGE_AUTO_REFRESH", "true"),
            ("IMAGEWATCH_INTERVAL", "1s"),
            ("IMAGEWATCH_CATCH_UP", "true"),
            ("IMAGEWATCH_RUNTIMES", "hermes"),
            ("IMAGEWATCH_IMAGE", &template),
        ],
    );
    program.await_lines("hermes: unchanged", 2);
    let seen = status(&program);
    assert_eq!(seen["references"][0]["state"], "rejected", "{seen}");
    assert_eq!(seen["references"][0]["last_error"], "it exited with 1");
    assert_eq!(seen["rejected"][0]["reference"], json!(reference));
    assert_eq!(fake.pulls(), 0);
    // Who asks for a refresh learns why there is none.
    let (_, report) = program.refresh("");
    let reason = "this image was rejected: it exited with 1";
    assert_eq!(
        report["skipped"],
        json!([{"name": "ws-1", "reason": reason}])
    );
    assert_eq!(status(&program)["references"][0]["state"], "rejected");
    // The tag moves on.
    *digest.lock().expect("no panic") = format!("sha256:{}", "b".repeat(64));
    program.await_line("hermes digest moved");
    eventually("the second pull", || (fake.pulls() == 2).then_some(()));
}

#[test]
fn a_rejection_that_was_lifted_by_force_does_not_come_back() {
    let fake = Fake::new(
        || Answer::new(200, &[], "{\"status\":\"ok\"}\n"),
        json!({"Id": "sha256:bad"}),
        json!([]),
    );
    let state = Folder::new();
    state.write(FILE, rejected("ghcr.io/acme/hermes:latest"));
    let vars = [("IMAGEWATCH_IMAGE", "ghcr.io/acme/{runtime}")];
    let mut program = start(&fake, &state, &vars);
    assert_eq!(status(&program)["rejected"][0]["image"], "sha256:bad");
    program.refresh("?runtime=hermes&force=true");
    assert_eq!(status(&program)["rejected"], json!([]));
    program.kill();
    let program = start(&fake, &state, &vars);
    assert_eq!(status(&program)["rejected"], json!([]));
}
