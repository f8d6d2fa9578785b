//! Names on the command line and in the API, and words in the environment: right ones in any spelling,
//! wrong ones refused with a hint.

use crate::support::Folder;
use crate::support::program::Program;
use crate::support::program::run;
use crate::support::server::Answer;
use crate::support::server::Server;
use serde_json::Value;
use serde_json::json;

const ID: &str = "db00000000000000000000000000000000000000000000000000000000000000";

/// An Engine with one container, `web`, made from `nginx`; its id begins with `db`.
struct Fake {
    server: Server,
    host: String,
    _folder: Folder,
}

impl Fake {
    fn new() -> Self {
        let folder = Folder::new();
        let socket = folder.path().join("engine.sock");
        let server = Server::unix(&socket, |seen| match seen.target.as_str() {
            "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
            "/v1.41/version" => Answer::json(200, &json!({"Version": "20.10.24"})),
            "/v1.41/containers/json?all=1" => Answer::json(200, &json!([summary()])),
            other if other.contains("/containers/") => {
                let name = other.trim_start_matches("/v1.41/containers/");
                let name = name.trim_end_matches("/json");
                // As the Engine does: a name, or the beginning of an id.
                match name == "web" || ID.starts_with(name) {
                    true => Answer::json(200, &container()),
                    false => Answer::json(404, &json!({"message": "No such container"})),
                }
            }
            other if other.contains("/images/create?") => {
                Answer::new(200, &[], "{\"status\":\"ok\"}\n")
            }
            other if other.contains("/images/") => Answer::json(200, &json!({"Id": "sha256:x"})),
            other => panic!("unexpected: {other}"),
        });
        Self {
            host: format!("unix://{}", socket.display()),
            server,
            _folder: folder,
        }
    }

    fn pulls(&self) -> usize {
        let lines = self.server.lines();
        lines
            .iter()
            .filter(|line| line.contains("/images/create"))
            .count()
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        run(arguments, &[("DOCKER_HOST", &self.host)])
    }
}

fn summary() -> Value {
    json!({"Id": ID, "Names": ["/web"], "Image": "nginx", "ImageID": "sha256:x", "State": "running",
           "Labels": {"imagewatch.enable": "1"}})
}

fn container() -> Value {
    json!({"Id": ID, "Name": "/web", "Image": "sha256:x",
           "Config": {"Image": "nginx", "Labels": {"imagewatch.enable": "1"}},
           "State": {"Status": "running"}, "HostConfig": {}})
}

#[test]
fn a_name_that_means_nothing_here_pulls_nothing_and_names_the_nearest() {
    let fake = Fake::new();
    for (name, near) in [
        ("wbe", "did you mean web"),
        ("claude-cod", "did you mean claude-code? "),
        ("ngnix", "did you mean docker.io/library/nginx:latest? "),
        ("nginx:1", "docker.io/library/nginx:latest"),
        ("docker.io/acme/nothing", "did you mean "),
        // The beginning of an id that nobody meant.
        ("db", "did you mean web"),
        ("No Such", "did you mean "),
        ("/", "did you mean "),
    ] {
        for arguments in [
            &["refresh", name][..],
            &["refresh", "--dry-run", "web", name],
        ] {
            let (code, text, complaint) = fake.run(arguments);
            assert_eq!(
                (code, text.as_str()),
                (Some(1), ""),
                "{arguments:?}: {complaint}"
            );
            assert!(complaint.contains(near), "{name}: {complaint}");
            assert!(
                complaint.contains(&format!("{name:?} is no runtime")),
                "{complaint}"
            );
            assert_eq!(complaint.lines().count(), 1, "{complaint}");
        }
    }
    assert_eq!(fake.pulls(), 0);
    let (code, text, complaint) = fake.run(&["refresh", "--pull", "ngnix", "--no-recreate"]);
    assert_eq!(
        (code, text.as_str()),
        (Some(0), "pulled: ngnix\n"),
        "{complaint}"
    );
    let names = (
        Some(0),
        "web\ndocker.io/library/nginx:latest\n".to_owned(),
        String::new(),
    );
    assert_eq!(fake.run(&["names"]), names);
    let (code, _, complaint) = fake.run(&["plan", "wbe"]);
    assert_eq!(code, Some(1));
    assert!(complaint.contains("did you mean web?"), "{complaint}");
}

#[test]
fn a_container_has_its_name_with_or_without_the_engines_slash() {
    let fake = Fake::new();
    for name in [
        "web",
        "/web",
        &ID[..12],
        ID,
        "nginx",
        "docker.io/library/nginx:latest",
    ] {
        let (code, text, complaint) = fake.run(&["refresh", name]);
        assert_eq!(code, Some(0), "{name}: {complaint}");
        assert!(text.contains("unchanged: web\n"), "{name}: {text}");
    }
    for name in ["web", "/web"] {
        let (_, text, _) = fake.run(&["plan", name, "--full"]);
        assert!(text.contains("\nPOST /containers/create\n"), "{text}");
        let (code, text, complaint) = fake.run(&["plan", name]);
        assert_eq!(code, Some(0), "{complaint}");
        assert!(!text.contains("POST /containers/create"), "{text}");
        assert!(
            text.starts_with("web: docker.io/library/nginx:latest"),
            "{text}"
        );
    }
}

#[test]
fn an_image_that_nothing_here_runs_is_not_found() {
    let fake = Fake::new();
    let program = Program::start(&[("DOCKER_HOST", &fake.host)]);
    for query in ["image=ngnix", "image=nginx,ngnix", "image=ngnix&wait=false"] {
        let (status, answer) = program.ask("POST", &format!("/v1/update?{query}"));
        let error = "no managed container was made from docker.io/library/ngnix: \
                     did you mean docker.io/library/nginx:latest?";
        assert_eq!((status, answer), (404, json!({"error": error})), "{query}");
    }
    let (status, _) = program.ask("POST", "/v1/update?image=nginx:1.25");
    assert_eq!(status, 404);
    assert_eq!(fake.pulls(), 0);
    for query in [
        "?image=nginx",
        "?image=docker.io/library/nginx:latest",
        "?image=",
        "",
    ] {
        let (status, report) = program.ask("POST", &format!("/v1/update{query}"));
        assert_eq!(status, 200, "{query}: {report}");
        assert_eq!(report["unchanged"], json!(["web"]), "{query}: {report}");
    }
}

#[test]
fn words_in_the_environment_are_read_or_refused_and_never_dropped() {
    let fake = Fake::new();
    let host = ("DOCKER_HOST", &*fake.host);
    for (name, value) in [
        ("IMAGEWATCH_LOG", "verbose"),
        ("IMAGEWATCH_LOG", "imagewatch=loud"),
        ("IMAGE_AUTO_REFRESH", "ja"),
        ("IMAGEWATCH_CLEANUP", "ture"),
        ("IMAGEWATCH_INSECURE_REGISTRIES", "10.0.0.0/8"),
    ] {
        for command in ["serve", "check"] {
            let (code, text, complaint) = run(&[command], &[host, (name, value)]);
            assert_eq!((code, text.as_str()), (Some(2), ""), "{complaint}");
            let expected = format!("imagewatch: {name}={value:?}: expected ");
            assert!(complaint.starts_with(&expected), "{complaint}");
        }
    }
    let tls = [
        ("DOCKER_HOST", "tcp://127.0.0.1:9"),
        ("DOCKER_TLS_VERIFY", "1"),
        ("DOCKER_CERT_PATH", "/nowhere"),
    ];
    let (code, _, complaint) = run(&["check"], &tls);
    assert_eq!(code, Some(2));
    assert!(
        complaint.contains("DOCKER_CERT_PATH=\"/nowhere\": expected a folder with ca.pem"),
        "{complaint}"
    );
    // A start that fails says why, whatever the filter names.
    for filter in ["WARNING", "rustls=debug", "imagewatch=error"] {
        let state = ("IMAGEWATCH_LISTEN", "192.0.2.1:1");
        let vars = [
            host,
            ("IMAGEWATCH_LOG", filter),
            state,
            ("ADMIN_TOKEN", "t"),
        ];
        let (code, _, log) = run(&["serve"], &vars);
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains("ERROR cannot start: "), "{filter}: {log}");
    }
}

#[test]
fn what_was_left_of_watchtower_is_one_line() {
    let fake = Fake::new();
    let vars = [
        ("DOCKER_HOST", &*fake.host),
        ("IMAGE_AUTO_REFRESH", "1"),
        ("IMAGEWATCH_RUNTIMES", "none"),
        ("IMAGEWATCH_SELECT", "workspaces"),
        ("WATCHTOWER_CLEANUP", "true"),
        ("WATCHTOWER_SCHEDULE", "0 0 4 * * *"),
    ];
    let program = Program::start(&vars);
    program.await_line("image-auto-refresh: started (");
    let log = program.log();
    let mut lines = log.lines().filter(|line| line.contains("WATCHTOWER_"));
    let line = lines.next().expect("a warning");
    assert!(
        line.contains("WARN  WATCHTOWER_CLEANUP, WATCHTOWER_SCHEDULE: "),
        "{line}"
    );
    assert!(line.contains("docs/from-watchtower.md"), "{line}");
    assert_eq!(lines.next(), None);
}
