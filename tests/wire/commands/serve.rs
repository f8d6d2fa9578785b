//! The real program, against an Engine and a registry that do as they are told.

use crate::support::Folder;
use crate::support::program::Program;
use crate::support::program::run;
use crate::support::pulled_image;
use crate::support::server::Answer;
use crate::support::server::Server;
use serde_json::Value;
use serde_json::json;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;

/// An Engine without containers, and the variable that names it.
struct Fake {
    server: Server,
    host: String,
    _folder: Folder,
}

fn engine() -> Fake {
    engine_showing(|target| Answer::json(200, &pulled_image("sha256:x", target)))
}

/// One that answers so when it is asked to show an image.
fn engine_showing(image: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Fake {
    let folder = Folder::new();
    let socket = folder.path().join("engine.sock");
    let server = Server::unix(&socket, move |seen| match seen.target.as_str() {
        "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
        "/v1.41/version" => Answer::json(200, &json!({"Version": "20.10.24"})),
        "/v1.41/containers/json?all=1" => Answer::json(200, &json!([])),
        other if other.contains("/images/create?") => {
            Answer::new(200, &[], "{\"status\":\"ok\"}\n")
        }
        other if other.contains("/images/") => image(other),
        other => panic!("unexpected: {other}"),
    });
    Fake {
        server,
        host: format!("unix://{}", socket.display()),
        _folder: folder,
    }
}

#[test]
fn the_endpoint_answers_exactly_as_promised() {
    let engine = engine();
    let token = ("ADMIN_TOKEN", "t0ken");
    let program = Program::start(&[("DOCKER_HOST", &engine.host), token]);
    assert_eq!(
        program.ask("GET", "/health"),
        (200, json!({"status": "ok"}))
    );
    let (status, report) = program.refresh("?runtime=hermes");
    assert_eq!(status, 200);
    assert_eq!(
        report,
        json!({"pulled": ["hermes"], "failed": [], "recreated": [], "unchanged": [],
               "rolled_back": [], "skipped": []})
    );
    let (status, answer) = program.refresh("?runtime=x");
    assert_eq!(
        (status, &answer["error"]),
        (400, &json!("unknown runtime: x"))
    );
    assert_eq!(answer["known_runtimes"].as_array().map(Vec::len), Some(8));
    assert_eq!(program.ask("GET", "/nothing").0, 404);
    let method = program.ask("GET", "/admin/workspace-images/refresh");
    assert_eq!(method, (405, json!({"error": "method not allowed"})));
}

#[test]
fn an_image_that_cannot_be_looked_at_after_its_pull_counts_as_failed() {
    let engine = engine_showing(|target| match target.contains("hermes") {
        true => Answer::json(500, &json!({"message": "it burns"})),
        false => Answer::json(200, &pulled_image("sha256:x", target)),
    });
    let program = Program::start(&[
        ("DOCKER_HOST", &engine.host),
        ("IMAGEWATCH_RUNTIMES", "hermes,crewai"),
    ]);
    for query in ["", "?recreate=false"] {
        let (status, report) = program.refresh(query);
        assert_eq!(status, 200);
        assert_eq!(report["failed"], json!(["hermes"]), "{report}");
        assert_eq!(report["pulled"], json!(["crewai"]), "{report}");
    }
    assert!(program.has_said("500 it burns"), "{}", program.log());
}

#[test]
fn without_the_token_nothing_but_health_is_answered() {
    let engine = engine();
    let program = Program::start(&[("DOCKER_HOST", &engine.host), ("ADMIN_TOKEN", "t0ken")]);
    let host = program.host();
    let ask = |head: &str| {
        let mut stream = TcpStream::connect(&host).expect("a connection");
        let request = format!("{head}\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let body = answer
            .split("\r\n\r\n")
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
        (
            status,
            serde_json::from_str::<Value>(&body).unwrap_or(Value::Null),
            answer,
        )
    };
    let (status, body, _) = ask("GET /health HTTP/1.1");
    assert_eq!((status.as_str(), body), ("200", json!({"status": "ok"})));
    let (status, body, answer) = ask("GET /admin/status HTTP/1.1");
    assert_eq!(
        (status.as_str(), body),
        ("401", json!({"error": "admin auth required"}))
    );
    assert!(answer.contains("WWW-Authenticate: Bearer"), "{answer}");
    let (status, body, _) = ask("GET /admin/status HTTP/1.1\r\nAuthorization: Bearer nope");
    assert_eq!(
        (status.as_str(), body),
        ("401", json!({"error": "invalid admin auth token"}))
    );
    let (status, _, answer) = ask("GET /health HTTP/1.0");
    assert_eq!(status, "200", "{answer}");
    assert!(!program.log().contains("t0ken"));
}

#[test]
fn health_tells_the_truth_about_the_engine() {
    let engine = engine();
    let program = Program::start(&[("DOCKER_HOST", &engine.host)]);
    assert_eq!(program.ask("GET", "/health").0, 200);
    let socket = engine.host.trim_start_matches("unix://").to_owned();
    drop(engine.server);
    let _ = std::fs::remove_file(&socket);
    let (_, answer) = crate::support::eventually("unhealthy", || {
        let answer = program.ask("GET", "/health");
        (answer.0 == 503).then_some(answer)
    });
    let reason = answer["error"].as_str().expect("a reason");
    assert!(
        reason.starts_with("engine: ") && reason.contains("is the Engine running"),
        "{reason}"
    );
    let (status, answer) = program.ask("GET", "/admin/status");
    assert_eq!(
        (status, &answer["engine"]["reachable"]),
        (200, &json!(false))
    );
}

#[test]
fn healthcheck_asks_the_running_server() {
    let engine = engine();
    let program = Program::start(&[("DOCKER_HOST", &engine.host)]);
    let host = program.host();
    let (code, _, complaint) = run(&["healthcheck"], &[("IMAGEWATCH_LISTEN", &host)]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
    drop(program);
    let (code, _, complaint) = run(&["healthcheck"], &[("IMAGEWATCH_LISTEN", &host)]);
    assert_eq!(code, Some(1));
    assert!(complaint.contains("is the server running?"), "{complaint}");
}

#[test]
fn bad_configuration_is_reported_whole_and_ends_with_2() {
    let vars = [
        ("IMAGEWATCH_INTERVAL", "5"),
        ("IMAGEWATCH_LISTEN", "0.0.0.0:8080"),
        ("ADMIN_TOKEN_FILE", "/no/such/file"),
    ];
    let (code, printed, complaint) = run(&[], &vars);
    assert_eq!((code, printed.as_str()), (Some(2), ""));
    let lines: Vec<&str> = complaint.lines().collect();
    assert_eq!(lines.len(), 2, "{complaint}");
    assert!(
        lines[0].starts_with("imagewatch: IMAGEWATCH_INTERVAL=\"5\": expected"),
        "{complaint}"
    );
    let (code, _, complaint) = run(&[], &[("IMAGEWATCH_LISTEN", "0.0.0.0:8080")]);
    assert_eq!(code, Some(2));
    assert!(complaint.contains("ADMIN_TOKEN"), "{complaint}");
}

#[test]
fn the_command_line_is_checked() {
    let (code, printed, _) = run(&["-V"], &[]);
    let version = concat!("imagewatch ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!((code, printed.as_str()), (Some(0), version));
    let (code, printed, _) = run(&["--help"], &[]);
    assert_eq!(code, Some(0));
    for row in imagewatch::config::VARIABLES {
        assert!(printed.contains(row.name), "{} is not in --help", row.name);
    }
    for (arguments, expected) in [
        (&["dance"][..], "\"dance\" is not a command: did you mean "),
        (
            &["dance", "--help"],
            "\"dance\" is not a command: did you mean ",
        ),
        (
            &["serve", "now"],
            "usage: imagewatch serve (imagewatch serve --help tells more)",
        ),
        (
            &["check", "--jsno"],
            "check does not know --jsno: did you mean --json?",
        ),
        (
            &["plan", "--ful", "web"],
            "plan does not know --ful: did you mean --full?",
        ),
        (
            &["plan", "web", "db"],
            "usage: imagewatch plan [--full] [--json] CONTAINER",
        ),
        (&["names", "web"], "usage: imagewatch names"),
    ] {
        let (code, printed, complaint) = run(arguments, &[]);
        assert_eq!((code, printed.as_str()), (Some(2), ""), "{complaint}");
        let expected = format!("imagewatch: {expected}");
        assert!(complaint.starts_with(&expected), "{complaint}");
    }
    for words in [
        &["hold", "--help"][..],
        &["hold", "web", "-h"],
        &["help", "hold"],
    ] {
        let (code, printed, complaint) = run(words, &[]);
        assert_eq!((code, complaint.as_str()), (Some(0), ""));
        assert!(printed.starts_with("Usage: imagewatch hold [--for TIME] [--json] CONTAINER\n"));
        assert!(!printed.contains("IMAGEWATCH_LISTEN"), "{printed}");
    }
}

#[test]
fn a_taken_port_and_a_bad_bundle_are_refused_at_the_start() {
    let engine = engine();
    let program = Program::start(&[("DOCKER_HOST", &engine.host)]);
    let host = program.host();
    let vars = [
        ("IMAGEWATCH_LISTEN", host.as_str()),
        ("DOCKER_HOST", &engine.host),
    ];
    let (code, _, complaint) = run(&[], &vars);
    assert_eq!(code, Some(1));
    assert!(complaint.contains("is another one running?"), "{complaint}");
    let folder = Folder::new();
    let empty = folder.write("ca.pem", "nothing in here\n");
    let vars = [
        ("SSL_CERT_FILE", empty.as_str()),
        ("DOCKER_HOST", &engine.host),
    ];
    let (code, _, complaint) = run(&[], &vars);
    assert_eq!(code, Some(2));
    assert!(complaint.contains("holds no certificate"), "{complaint}");
}

#[test]
fn log_lines_can_be_json() {
    let engine = engine();
    let vars = [
        ("DOCKER_HOST", engine.host.as_str()),
        ("IMAGEWATCH_LOG_FORMAT", "json"),
    ];
    let program = Program::spawn(&vars);
    let line = program.await_line("listening");
    let json: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(json["level"], "info");
}

#[test]
fn an_engine_that_is_not_there_does_not_keep_it_from_starting() {
    let registry = Server::tcp(|_| {
        let digest = format!("sha256:{}", "a".repeat(64));
        Answer::new(200, &[("Docker-Content-Digest", &digest)], "")
    });
    let image = format!("{}/acme/{{runtime}}", registry.host());
    let program = Program::start(&[
        ("DOCKER_HOST", "unix:///no/such/socket"),
        ("IMAGE_AUTO_REFRESH", "TRUE"),
        ("IMAGEWATCH_IMAGE", &image),
        // Nobody knows which of the built-in ones are here.
        ("IMAGEWATCH_RUNTIMES", "hermes,openclaw"),
        ("IMAGEWATCH_INTERVAL", "1s"),
    ]);
    program.await_line("image-auto-refresh: started (interval=1s, runtimes=2)");
    program.await_lines("openclaw: unchanged", 2);
    let log = program.log();
    let warned = |line: &&str| line.contains("WARN") && line.contains("is the Engine running");
    assert_eq!(log.lines().filter(warned).count(), 1, "said once:\n{log}");
    let (status, report) = program.refresh("?runtime=hermes");
    assert_eq!((status, &report["failed"]), (500, &Value::Null), "{report}");
    assert_eq!(report["partial_result"]["failed"], json!(["hermes"]));
    let heads = registry.lines();
    assert!(
        heads.iter().all(|line| line.starts_with("HEAD ")),
        "{heads:?}"
    );
    assert_eq!(registry.connections(), 1, "{heads:?}");
}

#[test]
fn a_round_in_which_nothing_happened_is_silent() {
    let engine = engine();
    let registry = Server::tcp(|_| {
        let digest = format!("sha256:{}", "a".repeat(64));
        Answer::new(200, &[("Docker-Content-Digest", &digest)], "")
    });
    let image = format!("{}/acme/{{runtime}}", registry.host());
    let program = Program::start(&[
        ("DOCKER_HOST", &engine.host),
        ("IMAGE_AUTO_REFRESH", "true"),
        ("IMAGEWATCH_IMAGE", &image),
        ("IMAGEWATCH_RUNTIMES", "hermes"),
        ("IMAGEWATCH_INTERVAL", "1s"),
        ("IMAGEWATCH_LOG", "info"),
    ]);
    let rounds = |count: usize| {
        crate::support::eventually("the rounds", || {
            (registry.lines().len() >= count).then_some(())
        });
    };
    program.await_line("watching 0 containers, 1 image; 1 is behind: hermes");
    let before = program.log();
    rounds(4);
    assert_eq!(program.log(), before);
    assert_eq!(before.lines().count(), 4, "{before}");
}
