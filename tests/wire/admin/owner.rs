//! The decisions of an owner, by API and by command.

use crate::support::Folder;
use crate::support::eventually;
use crate::support::program::Program;
use crate::support::program::run as command;
use crate::support::server::Answer;
use crate::support::server::Server;
use crate::wire::journal::Fake;
use serde_json::Value;
use serde_json::json;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Mutex;

const TOKEN: &str = "t0p-secret";
const FORGOTTEN: &str = "a restart forgets this, because IMAGEWATCH_STATE is not set";

fn digest(of: char) -> String {
    format!("sha256:{}", of.to_string().repeat(64))
}

/// A registry that has `b…`, and an Engine where `web` and `database` run `a…`, and every pull fails.
struct Scene {
    fake: Fake,
    image: String,
    state: Folder,
    _registry: Server,
}

impl Scene {
    fn new() -> Self {
        let headers = ("Docker-Content-Digest", digest('b'));
        let registry = Server::tcp(move |_| Answer::new(200, &[(headers.0, &headers.1)], ""));
        let repository = format!("{}/acme/app", registry.host());
        let image = format!("{repository}:1");
        let container = |id: &str, name: &str| {
            let labels = json!({"imagewatch.enable": "true"});
            json!({"Id": id.repeat(64), "Names": [format!("/{name}")], "Image": image,
                   "ImageID": digest('a'), "State": "running", "Labels": labels, "Inspect": {
                       "Id": id.repeat(64), "Name": format!("/{name}"), "Image": digest('a'),
                       "Config": {"Image": image, "Labels": labels}, "HostConfig": {},
                       "State": {"Status": "running", "Running": true}}})
        };
        let old =
            json!({"Id": digest('a'), "RepoDigests": [format!("{repository}@{}", digest('a'))]});
        let pull = || Answer::json(404, &json!({"message": "no such manifest"}));
        Self {
            fake: Fake::new(
                pull,
                old,
                json!([container("1", "web"), container("2", "database")]),
            ),
            image,
            state: Folder::new(),
            _registry: registry,
        }
    }

    fn start(&self, more: &[(&str, &str)]) -> Program {
        let mut vars = vec![
            ("DOCKER_HOST", self.fake.host.as_str()),
            ("IMAGEWATCH_RUNTIMES", "none"),
        ];
        vars.extend(more);
        Program::start(&vars)
    }

    fn start_with_state(&self) -> Program {
        let folder = self.state.path().to_str().expect("UTF-8");
        self.start(&[("IMAGEWATCH_STATE", folder)])
    }

    fn pulls(&self) -> usize {
        let lines = self.fake.server.lines();
        let pulls = lines.iter().filter(|line| line.contains("/images/create?"));
        pulls.count()
    }
}

/// Asks without a token. Returns the status, `Allow` and the body.
fn ask_raw(program: &Program, method: &str, target: &str) -> (u16, Option<String>, Value) {
    let host = program.host();
    let mut stream = TcpStream::connect(&host).expect("a connection");
    let length = if method == "POST" {
        "Content-Length: 0\r\n"
    } else {
        ""
    };
    let request =
        format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{length}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let allow = head.lines().find_map(|line| line.strip_prefix("Allow: "));
    (
        status.expect("a status"),
        allow.map(str::to_owned),
        serde_json::from_str(body).unwrap_or_default(),
    )
}

fn refused(error: &str) -> Value {
    json!({ "error": error })
}

#[test]
fn a_container_is_held_for_a_time_or_for_ever_and_released() {
    let scene = Scene::new();
    let program = scene.start_with_state();
    let (status, answer) = program.ask("POST", "/admin/containers/web/hold");
    assert_eq!(status, 200, "{answer}");
    let held = answer["held"].clone();
    assert_eq!(answer, json!({"container": "web", "held": held}));
    assert_eq!(
        (&held["container"], &held["until"], &held["by"]),
        (&json!("web"), &Value::Null, &json!("admin"))
    );
    // A percent-encoded name is the same one, and so is one with the Engine's slash.
    let (status, answer) = program.ask("POST", "/admin/containers/%2F%77eb/hold?for=7d");
    assert_eq!(status, 200, "{answer}");
    let held = answer["held"].clone();
    assert!(held["until"].is_string(), "{answer}");
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["held"], json!([held]));
    let containers = status["containers"].as_array().expect("a list");
    let find = |name| containers.iter().find(|one| one["name"] == name);
    assert_eq!(find("web").expect("web")["held"], held);
    assert_eq!(find("database").expect("database").get("held"), None);
    let reason = &status["history"][0]["reason"];
    let expected = format!(
        "held by admin until {}",
        held["until"].as_str().expect("text")
    );
    assert_eq!(reason, &json!(expected));
    drop(program);

    let program = scene.start_with_state();
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["held"], json!([held]), "a restart forgets nothing");
    let (status, answer) = program.ask("DELETE", "/admin/containers/%2Fweb/hold");
    assert_eq!(
        (status, answer),
        (200, json!({"container": "web", "held": null}))
    );
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["held"], json!([]));
    assert_eq!(status["history"][0]["reason"], "released by admin");
    // Nothing is held, so nothing happens.
    let (_, answer) = program.ask("DELETE", "/admin/containers/web/hold");
    assert_eq!(answer, json!({"container": "web", "held": null}));
    let (_, again) = program.ask("GET", "/admin/status");
    assert_eq!(again["history"], status["history"]);
}

#[test]
fn without_a_folder_each_answer_says_that_a_restart_forgets() {
    let scene = Scene::new();
    let program = scene.start(&[]);
    let skip = format!("/admin/images/skip?image={}", scene.image);
    for (method, target) in [
        ("POST", "/admin/containers/web/hold"),
        ("DELETE", "/admin/containers/web/hold"),
        ("POST", &skip),
        ("DELETE", &skip),
    ] {
        let (status, answer) = program.ask(method, target);
        assert_eq!(
            (status, &answer["note"]),
            (200, &json!(FORGOTTEN)),
            "{target}"
        );
    }
}

#[test]
fn a_held_container_is_neither_updated_nor_rolled_back() {
    let scene = Scene::new();
    let program = scene.start(&[]);
    program.ask("POST", "/admin/containers/web/hold");
    for verb in ["update", "rollback", "update?wait=false"] {
        let (status, answer) = program.ask("POST", &format!("/admin/containers/web/{verb}"));
        let error = "web is held by admin (DELETE its hold first)";
        assert_eq!((status, answer), (409, refused(error)), "{verb}");
    }
    assert_eq!(scene.pulls(), 0);
    // The hold is on this one only.
    let (status, report) = program.ask("POST", "/admin/containers/database/update");
    assert_eq!((status, &report["failed"]), (200, &json!([scene.image])));
}

#[test]
fn an_update_goes_to_the_digest_that_its_owner_has_seen_or_nowhere() {
    let scene = Scene::new();
    let program = scene.start(&[]);
    let (a, b) = (digest('a'), digest('b'));
    let update = |digest: &str| {
        let target = format!("/admin/containers/web/update?digest={digest}");
        program.ask("POST", &target)
    };
    let (status, answer) = update(&a);
    let error = format!(
        "{} moved on: the newest digest is {b}, not {a}",
        scene.image
    );
    assert_eq!((status, answer), (409, refused(&error)));
    let (status, answer) = update(&format!("{a}&wait=false"));
    assert_eq!(status, 202, "{answer}");
    let job = format!("/admin/jobs/{}", answer["job"].as_str().expect("an id"));
    let job = eventually("the job is over", || {
        let (_, job) = program.ask("GET", &job);
        (job["state"] == "failed").then_some(job)
    });
    assert_eq!(job["error"], error);
    assert_eq!(scene.pulls(), 0);
    let (status, report) = update(&b);
    assert_eq!((status, &report["failed"]), (200, &json!([scene.image])));
    assert!(scene.pulls() > 0);
}

#[test]
fn an_image_is_skipped_until_its_owner_takes_that_back() {
    let scene = Scene::new();
    let program = scene.start_with_state();
    let (a, b) = (digest('a'), digest('b'));
    let name = scene.image.trim_end_matches(":1");
    let skip = |method: &str, digest: &str| {
        let target = format!("/admin/images/skip?image={name}&digest={digest}");
        program.ask(method, &target)
    };
    let (status, answer) = skip("POST", &a);
    let error = format!(
        "{} moved on: the newest digest is {b}, not {a}",
        scene.image
    );
    assert_eq!((status, answer), (409, refused(&error)));
    let (status, answer) = skip("POST", &b);
    assert_eq!(status, 200, "{answer}");
    let skipped = answer["skipped"].clone();
    assert_eq!(answer, json!({"image": scene.image, "skipped": skipped}));
    assert_eq!(
        (&skipped["reference"], &skipped["digest"], &skipped["by"]),
        (&json!(scene.image), &json!(b), &json!("admin"))
    );
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["skipped"], json!([skipped]));
    for query in ["", &format!("?digest={b}")] {
        let target = format!("/admin/containers/web/update{query}");
        let (status, answer) = program.ask("POST", &target);
        let error = "web: this image is skipped by admin";
        assert_eq!((status, answer), (409, refused(error)), "{query}");
    }
    assert_eq!(scene.pulls(), 0);

    let (status, answer) = skip("DELETE", &a);
    let error = format!("{}: the skipped digest is {b}, not {a}", scene.image);
    assert_eq!((status, answer), (409, refused(&error)));
    let (status, answer) = skip("DELETE", &b);
    let expected = json!({"image": scene.image, "skipped": null});
    assert_eq!((status, answer), (200, expected));
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["skipped"], json!([]));
    let events = status["history"].as_array().expect("a list").iter();
    let reasons: Vec<&Value> = events.map(|one| &one["reason"]).collect();
    assert_eq!(reasons, ["no longer skipped by admin", "skipped by admin"]);
}

#[test]
fn a_registry_that_is_silent_keeps_only_its_own_caller_waiting() {
    let scene = Scene::new();
    let (seen, asked) = std::sync::mpsc::channel();
    let seen = Mutex::new(seen);
    let silent = Server::tcp(move |_| {
        let _ = seen.lock().expect("no panic").send(());
        Answer::silence()
    });
    let image = format!("{}/acme/{{runtime}}:1", silent.host());
    let program = scene.start(&[
        ("IMAGEWATCH_RUNTIMES", "hermes"),
        ("IMAGEWATCH_IMAGE", &image),
    ]);
    std::thread::scope(|scope| {
        let skip = scope.spawn(|| program.ask("POST", "/admin/images/skip?image=hermes"));
        asked.recv().expect("the registry is asked");
        let (status, _) = program.ask("GET", "/admin/status");
        assert_eq!((status, skip.is_finished()), (200, false));
        let (status, answer) = skip.join().expect("no panic");
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(
            status == 503 && error.starts_with("not skipped: "),
            "{status} {answer}"
        );
    });
}

#[test]
fn a_roll_back_needs_an_earlier_image() {
    let scene = Scene::new();
    let program = scene.start(&[]);
    let (status, answer) = program.ask("POST", "/admin/containers/web/rollback");
    let error = "web: no update to the image that it runs is in the history, so its earlier image is not known";
    assert_eq!((status, answer), (409, refused(error)));
    let (status, answer) = program.ask("POST", "/admin/containers/web/rollback?only=maybe");
    assert_eq!(
        (status, answer),
        (400, refused("only must be true or false"))
    );
}

#[test]
fn an_earlier_image_that_cannot_be_had_any_more_is_no_way_back() {
    let scene = Scene::new();
    let updated = json!({"first": "2026-03-01T09:00:07Z", "last": "2026-03-01T09:00:07Z", "times": 1,
        "outcome": "recreated", "container": "web", "image": scene.image, "old": digest('0'),
        "new": digest('a')});
    let page = json!({"version": 1, "history": [updated], "rejected": []});
    scene.state.write("imagewatch.json", page.to_string());
    let program = scene.start_with_state();
    let (status, answer) = program.ask("POST", "/admin/containers/web/rollback");
    let error = answer["error"].as_str().expect("an error");
    assert!(
        status == 409
            && error.starts_with("web: its earlier image cannot be had any more: ")
            && error.contains("no such manifest"),
        "{status} {answer}"
    );
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["skipped"], json!([]), "nothing was begun");
}

#[test]
fn a_name_that_means_nothing_here_is_not_found() {
    let scene = Scene::new();
    let program = scene.start(&[]);
    let error = "no container is called wbe: did you mean web?";
    for (method, verb) in [
        ("POST", "update"),
        ("POST", "rollback"),
        ("POST", "hold"),
        ("DELETE", "hold"),
    ] {
        let (status, answer) = program.ask(method, &format!("/admin/containers/wbe/{verb}"));
        assert_eq!((status, answer), (404, refused(error)), "{method} {verb}");
    }
    let near = format!(
        "no followed image is called acme/ap: did you mean {}?",
        scene.image
    );
    for method in ["POST", "DELETE"] {
        let (status, answer) = program.ask(method, "/admin/images/skip?image=acme/ap");
        assert_eq!((status, answer), (404, refused(&near)), "{method}");
    }
    for path in ["/hold", "hold", "a/b/hold", "web/hold/", "web/", "web/eat"] {
        let (status, answer) = program.ask("POST", &format!("/admin/containers/{path}"));
        assert_eq!(status, 404, "{path}: {answer}");
    }
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(
        (&status["held"], &status["history"]),
        (&json!([]), &json!([]))
    );
}

#[test]
fn what_cannot_be_read_decides_nothing() {
    let scene = Scene::new();
    let program = scene.start(&[]);
    let image = &scene.image;
    for (method, target, error) in [
        (
            "POST",
            "/admin/containers/web/hold?until=7d",
            "unknown parameter: until".to_owned(),
        ),
        (
            "DELETE",
            "/admin/containers/web/hold?for=7d",
            "unknown parameter: for".to_owned(),
        ),
        (
            "POST",
            "/admin/containers/web/hold?for=1d&for=2d",
            "given more than once: for".to_owned(),
        ),
        (
            "POST",
            "/admin/containers/web/hold?for=soon",
            "for=soon: expected a time such as 12h or 7d".to_owned(),
        ),
        (
            "POST",
            "/admin/containers/web/hold?for=0",
            "for=0: expected a time such as 12h or 7d".to_owned(),
        ),
        (
            "POST",
            "/admin/containers/web/update?force=maybe",
            "force must be true or false".to_owned(),
        ),
        (
            "POST",
            "/admin/containers/web/rollback?wait=no",
            "wait must be true or false".to_owned(),
        ),
        (
            "POST",
            "/admin/containers/%zz/hold",
            "the path is not percent-encoded UTF-8".to_owned(),
        ),
        (
            "POST",
            "/admin/images/skip",
            "image names no image".to_owned(),
        ),
        (
            "POST",
            "/admin/images/skip?image=",
            "image names no image".to_owned(),
        ),
    ] {
        let (status, answer) = program.ask(method, target);
        assert_eq!((status, answer), (400, refused(&error)), "{target}");
    }
    for target in [
        format!("/admin/images/skip?image={image}&digest=latest"),
        "/admin/containers/web/update?digest=sha256:12".to_owned(),
        "/admin/images/skip?image=No%20Such".to_owned(),
    ] {
        let (status, answer) = program.ask("POST", &target);
        assert_eq!(status, 400, "{target}: {answer}");
        assert!(answer["error"].is_string(), "{answer}");
    }
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(
        (&status["held"], &status["skipped"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(scene.pulls(), 0);
}

#[test]
fn each_path_says_which_methods_it_has() {
    let scene = Scene::new();
    let program = scene.start(&[]);
    for (method, target, allow) in [
        ("GET", "/admin/containers/web/hold", "POST, DELETE"),
        ("DELETE", "/admin/containers/web/update", "POST"),
        ("GET", "/admin/containers/web/rollback", "POST"),
        ("GET", "/admin/images/skip", "POST, DELETE"),
        ("DELETE", "/admin/status", "GET, HEAD"),
    ] {
        let (status, found, answer) = ask_raw(&program, method, target);
        assert_eq!(
            (status, found.as_deref()),
            (405, Some(allow)),
            "{method} {target}"
        );
        assert_eq!(answer, refused("method not allowed"));
    }
}

#[test]
fn nobody_decides_without_the_token() {
    let scene = Scene::new();
    let program = scene.start(&[("ADMIN_TOKEN", TOKEN)]);
    let skip = format!("/admin/images/skip?image={}", scene.image);
    for (method, target) in [
        ("POST", "/admin/containers/web/hold"),
        ("DELETE", "/admin/containers/web/hold"),
        ("POST", "/admin/containers/web/update"),
        ("POST", "/admin/containers/web/rollback"),
        ("POST", "/admin/containers/nothing/hold"),
        ("POST", &skip),
        ("DELETE", &skip),
    ] {
        let (status, _, answer) = ask_raw(&program, method, target);
        assert_eq!(
            (status, answer),
            (401, refused("admin auth required")),
            "{target}"
        );
    }
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(
        (&status["held"], &status["skipped"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(scene.pulls(), 0);
}

#[test]
fn the_commands_ask_the_running_server() {
    let scene = Scene::new();
    let folder = scene.state.path().to_str().expect("UTF-8");
    let program = scene.start(&[("ADMIN_TOKEN", TOKEN), ("IMAGEWATCH_STATE", folder)]);
    let host = program.host();
    let run = |words: &[&str]| {
        let vars = [("IMAGEWATCH_LISTEN", host.as_str()), ("ADMIN_TOKEN", TOKEN)];
        command(words, &vars)
    };
    let done = |text: &str| (Some(0), format!("{text}\n"), String::new());
    let failed = |text: &str| (Some(1), String::new(), format!("imagewatch: {text}\n"));
    assert_eq!(run(&["hold", "web"]), done("web is held"));
    let (code, json, _) = run(&["hold", "/web", "--for", "12h", "--json"]);
    let answer: Value = serde_json::from_str(&json).expect("JSON");
    let until = answer["held"]["until"].as_str().expect("a time");
    assert_eq!(code, Some(0));
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["held"][0]["until"], until);
    let error = format!("web is held by admin until {until} (DELETE its hold first)");
    assert_eq!(run(&["rollback", "web"]), failed(&error));
    assert_eq!(run(&["release", "web"]), done("web is not held"));
    let error = "web: no update to the image that it runs is in the history, so its earlier image is not known";
    assert_eq!(run(&["rollback", "--only", "web"]), failed(error));
    let error = "no container is called wbe: did you mean web?";
    assert_eq!(run(&["hold", "wbe"]), failed(error));
    let skipped = format!(
        "{}: {} is skipped until the tag moves on",
        scene.image,
        digest('b')
    );
    assert_eq!(run(&["skip", &scene.image]), done(&skipped));
    let none = format!("{}: no image is skipped", scene.image);
    assert_eq!(run(&["skip", &scene.image, "--undo"]), done(&none));
    assert!(!program.log().contains(TOKEN));
}

#[test]
fn a_command_that_cannot_ask_says_why() {
    let scene = Scene::new();
    let program = scene.start(&[("ADMIN_TOKEN", TOKEN)]);
    let host = program.host();
    let server = ("IMAGEWATCH_LISTEN", host.as_str());
    for (vars, code, error) in [
        (
            &[server][..],
            1,
            "admin auth required (is ADMIN_TOKEN right?)",
        ),
        (
            &[server, ("ADMIN_TOKEN", "guess")],
            1,
            "invalid admin auth token (is ADMIN_TOKEN right?)",
        ),
        (
            &[("IMAGEWATCH_LISTEN", "off")],
            2,
            "IMAGEWATCH_LISTEN is off, so there is no server to ask",
        ),
    ] {
        let expected = (Some(code), String::new(), format!("imagewatch: {error}\n"));
        assert_eq!(command(&["hold", "web"], vars), expected);
    }
    for words in [
        &["hold"][..],
        &["hold", "web", "--for", "soon"],
        &["rollback", "web", "database"],
        &["skip", "--only", "web"],
    ] {
        let (code, text, complaint) = command(words, &[server]);
        assert_eq!((code, text.as_str()), (Some(2), ""), "{complaint}");
        let command = words[0];
        let expected = match words {
            [_, "--only", _] => {
                format!("imagewatch: {command} does not know --only: did you mean ")
            }
            _ => format!("imagewatch: usage: imagewatch {command} ["),
        };
        assert!(complaint.starts_with(&expected), "{complaint}");
        let next = format!(" (imagewatch {command} --help tells more)\n");
        assert!(complaint.ends_with(&next), "{complaint}");
    }
    drop(program);
    let vars = [server, ("ADMIN_TOKEN", TOKEN)];
    let (code, text, complaint) = command(&["release", "web"], &vars);
    assert_eq!((code, text.as_str()), (Some(1), ""), "{complaint}");
    assert!(
        complaint.ends_with(" (is the server running?)\n"),
        "{complaint}"
    );
    assert!(!complaint.contains(TOKEN));
    let (_, status) = scene.start(&[]).ask("GET", "/admin/status");
    assert_eq!(status["held"], json!([]));
}

#[test]
fn a_plan_tells_what_changes_and_nothing_that_its_owner_set() {
    let scene = Scene::new();
    let program = scene.start(&[]);
    let (status, allow, _) = ask_raw(&program, "POST", "/admin/containers/web/plan");
    assert_eq!((status, allow.as_deref()), (405, Some("GET, HEAD")));
    let (status, answer) = program.ask("GET", "/admin/containers/wbe/plan");
    let unknown = "no container is called wbe: did you mean web?";
    assert_eq!((status, answer), (404, refused(unknown)));
    let (status, answer) = program.ask("GET", "/admin/containers/web/plan?full=true");
    assert_eq!((status, answer), (400, refused("unknown parameter: full")));
    let (status, answer) = program.ask("GET", "/admin/containers/web/plan");
    assert_eq!(status, 200, "{answer}");
    let keys: Vec<&String> = answer.as_object().expect("an object").keys().collect();
    let expected = [
        "changes",
        "container",
        "files",
        "image",
        "reference",
        "skipped",
        "with",
    ];
    assert_eq!(keys, expected);
    assert_eq!(answer["container"], "web");
    assert_eq!(answer["image"]["now"], digest('a'));
    assert_eq!(scene.pulls(), 0);
}
