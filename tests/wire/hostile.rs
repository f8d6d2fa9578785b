//! Registries and Engines that mean harm: whatever they answer is one error on one line, soon, in
//! bounded memory, and nobody else's business.

use crate::support::Folder;
use crate::support::eventually;
use crate::support::program::Program;
use crate::support::server::Answer;
use crate::support::server::Seen;
use crate::support::server::Server;
use imagewatch::credentials::Credentials;
use imagewatch::engine::Endpoint;
use imagewatch::engine::Engine;
use imagewatch::error::Error;
use imagewatch::http::Proxies;
use imagewatch::reference::Digest;
use imagewatch::reference::Reference;
use imagewatch::registry::Registry;
use serde_json::json;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;
use std::time::Instant;

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// Any answer that does not make us wait is dealt with in less, on a busy machine too.
const SOON: Duration = Duration::from_secs(9);
/// Longest line an error may be.
const LINE: usize = 1_500;

#[track_caller]
fn assert_one_line(error: &Error, what: &str) {
    let text = error.to_string();
    assert!(
        text.len() <= LINE && !text.contains(char::is_control),
        "{what}: {} bytes: {:?}",
        text.len(),
        text.chars().take(LINE).collect::<String>()
    );
}

fn found() -> Answer {
    Answer::new(200, &[("Docker-Content-Digest", DIGEST)], "{}")
}

fn reference(server: &Server) -> Reference {
    let text = format!("{}/acme/api:latest", server.host());
    text.parse().expect("valid")
}

fn registry() -> Registry {
    Registry::new(Credentials::default(), None, Proxies::default(), Vec::new())
}

fn endless(head: &str, again: impl Into<Vec<u8>>, pause: Duration) -> Answer {
    Answer::Endless(head.as_bytes().to_vec(), again.into(), pause)
}

/// What goes before a body without a length: that ends with the connection.
const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";

/// Answers that are not to be believed, whatever was asked.
fn harmful() -> Vec<(&'static str, Answer)> {
    let raw = |text: &str| Answer::Raw(text.as_bytes().to_vec());
    let now = Duration::ZERO;
    let megabyte = "x".repeat(1024 * 1024);
    let deep = "[".repeat(100_000);
    let objects = "{\"errors\":[{\"message\":".repeat(5_000);
    vec![
        (
            "endless headers",
            endless("HTTP/1.1 200 OK\r\n", "A: b\r\n".repeat(1000), now),
        ),
        (
            "endless header",
            endless("HTTP/1.1 200 OK\r\nA: ", "b".repeat(10_000), now),
        ),
        (
            "a header of 1 MB",
            Answer::new(200, &[("A", &megabyte)], "{}"),
        ),
        (
            "a challenge of 10 MB",
            Answer::new(401, &[("WWW-Authenticate", &megabyte.repeat(10))], ""),
        ),
        (
            "an endless challenge list",
            Answer::new(401, &[("WWW-Authenticate", &"Basic,".repeat(2_000))], ""),
        ),
        ("an endless body", endless(OK, vec![b' '; 64 * 1024], now)),
        (
            "an endless refusal",
            endless("HTTP/1.1 500 No\r\n\r\n", vec![b'\n'; 64 * 1024], now),
        ),
        (
            "a negative length",
            raw("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}"),
        ),
        (
            "a length beyond numbers",
            raw("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}"),
        ),
        (
            "a length beyond memory",
            raw("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n{}"),
        ),
        (
            "two lengths",
            raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"),
        ),
        (
            "a chunk beyond numbers",
            raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n{}"),
        ),
        (
            "a chunk beyond memory",
            raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7FFFFFFFFFFFFFFF\r\n{}"),
        ),
        (
            "a negative chunk",
            raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n{}"),
        ),
        (
            "an endless chunk size",
            endless(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "0".repeat(10_000),
                now,
            ),
        ),
        (
            "a body said to be compressed",
            Answer::new(200, &[("Content-Encoding", "gzip")], vec![0x1f; 1000]),
        ),
        (
            "NUL in a header",
            raw("HTTP/1.1 200 OK\r\nDocker-Content-Digest: sha256:\0\r\n\r\n\0"),
        ),
        (
            "no UTF-8",
            Answer::Raw(
                b"HTTP/1.1 418 \xff\xfe\r\nWWW-Authenticate: \xff\r\n\r\n\xff\xfe\0\x1b[2J\n\n"
                    .to_vec(),
            ),
        ),
        ("a status beyond all", raw("HTTP/1.1 99999 X\r\n\r\n")),
        ("deep nesting", Answer::new(200, &[], deep.clone())),
        (
            "deep nesting in an object",
            Answer::new(200, &[], format!("{{\"token\":{deep}")),
        ),
        ("a deep refusal", Answer::new(400, &[], objects)),
        (
            "a refusal full of control characters",
            Answer::new(403, &[], "{\"message\":\"a\\u001b[31m\\n\\u0000b\"}"),
        ),
        (
            "a digest of rubbish",
            Answer::new(
                200,
                &[("Docker-Content-Digest", "sha256:../../etc/passwd")],
                "",
            ),
        ),
        (
            "a redirect to a long place",
            Answer::new(
                307,
                &[("Location", &format!("ftp://x/{}", &megabyte[..15_000]))],
                "",
            ),
        ),
        ("a redirect without a place", Answer::new(307, &[], "")),
        (
            "an upgrade",
            raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"),
        ),
    ]
}

#[test]
fn a_hostile_registry_gets_one_line_and_stops_no_other() {
    let good = Server::tcp(|_| found());
    for (what, answer) in harmful() {
        for harmful_at in ["HEAD /v2/acme", "GET /v2/acme", "GET /token"] {
            let realm: Arc<OnceLock<String>> = Arc::default();
            let (answer, at) = (answer.clone(), Arc::clone(&realm));
            let bad = Server::tcp(move |seen| {
                if seen.line().starts_with(harmful_at) {
                    return answer.clone();
                }
                if harmful_at == "GET /token" {
                    return Answer::new(401, &[("WWW-Authenticate", at.get().expect("set"))], "");
                }
                Answer::new(200, &[], "")
            });
            let value = format!("Bearer realm=\"http://{}/token\"", bad.host());
            realm.set(value).expect("once");
            let begun = Instant::now();
            let mut outcomes: Vec<(String, Result<Digest, Error>)> = Vec::new();
            registry().digests(
                &[reference(&bad), reference(&good)],
                |reference, outcome| {
                    outcomes.push((reference.registry().to_owned(), outcome));
                },
            );
            let what = format!("{what} at {harmful_at}");
            assert!(begun.elapsed() < SOON, "{what}: {:?}", begun.elapsed());
            assert_eq!(outcomes.len(), 2, "{what}");
            for (host, outcome) in outcomes {
                match outcome {
                    Ok(digest) => {
                        assert_eq!((host, digest.as_str()), (good.host(), DIGEST), "{what}")
                    }
                    Err(error) => {
                        assert_eq!(host, bad.host(), "{what}: {error}");
                        assert_one_line(&error, &what);
                    }
                }
            }
        }
    }
}

/// Takes the 20 s a look-up may, as a whole; all of them side by side.
#[test]
fn an_answer_that_trickles_in_ends_with_its_deadline() {
    let slowly = Duration::from_millis(500);
    let by_head = Server::tcp(move |_| endless("HTTP/1.1 200 OK\r\n", "A: b\r\n", slowly));
    let by_get = Server::tcp(move |seen| match seen.method.as_str() {
        "HEAD" => Answer::new(200, &[], ""),
        _ => endless(OK, " ", slowly),
    });
    let by_refusal = Server::tcp(move |_| endless("HTTP/1.1 403 No\r\n\r\n", "\n", slowly));
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let by_interim = Server::tcp(move |_| endless("", interim, slowly));
    let good = Server::tcp(|_| found());
    let all = [&by_head, &by_get, &by_refusal, &by_interim, &good].map(reference);
    let begun = Instant::now();
    let mut good_after = None;
    registry().digests(&all, |reference, outcome| match outcome {
        Ok(_) => good_after = Some((reference.registry().to_owned(), begun.elapsed())),
        Err(error) => assert_one_line(&error, reference.registry()),
    });
    let (host, after) = good_after.expect("the good one");
    assert!(host == good.host() && after < SOON, "{host} {after:?}");
    // A GET after a HEAD is an exchange of its own.
    assert!(
        begun.elapsed() < Duration::from_secs(35),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn two_hosts_that_send_us_to_and_fro_learn_nothing() {
    let other: Arc<OnceLock<String>> = Arc::default();
    let home: Arc<OnceLock<String>> = Arc::default();
    let to = |place: &Arc<OnceLock<String>>| {
        let place = Arc::clone(place);
        move || {
            format!(
                "http://{}/v2/acme/api/manifests/latest",
                place.get().expect("set")
            )
        }
    };
    let (to_other, to_home) = (to(&other), to(&home));
    let first = Server::tcp(move |seen| match seen.header("authorization") {
        Some("Basic bWU6cHc=") => Answer::new(307, &[("Location", &to_other())], ""),
        _ => Answer::new(401, &[("WWW-Authenticate", "Basic realm=\"x\"")], ""),
    });
    let second = Server::tcp(move |_| Answer::new(307, &[("Location", &to_home())], ""));
    other.set(second.host()).expect("once");
    home.set(first.host()).expect("once");
    let folder = Folder::new();
    let auths = json!({"auths": {first.host(): {"auth": "bWU6cHc="}}});
    let file = folder.write("config.json", auths.to_string());
    let credentials = Credentials::new(None, vec![file.into()]);
    let registry = Registry::new(credentials, None, Proxies::default(), Vec::new());
    let error = registry.digest(&reference(&first)).expect_err("a loop");
    assert_one_line(&error, "a loop");
    assert!(
        !format!("{error} {error:?}").contains("bWU6cHc="),
        "{error}"
    );
    let shown = |seen: &Seen| seen.header("authorization").is_some();
    assert!(!second.seen().iter().any(shown), "{:#?}", second.seen());
    assert!(first.lines().len() + second.lines().len() < 20);
}

#[test]
fn a_hostile_engine_gets_one_line() {
    let long = format!("[\"{}\"]", "x\\n".repeat(100_000));
    let mut cases = harmful();
    cases.extend([
        ("a list of a long text", Answer::new(200, &[], long)),
        ("a list of numbers", Answer::new(200, &[], "[1,2]")),
        ("an object", Answer::new(200, &[], "{\"message\":[]}")),
        (
            "wrong types",
            Answer::new(200, &[], "[{\"Id\":7,\"Names\":\"x\",\"Labels\":[]}]"),
        ),
        (
            "an id that is missing",
            Answer::new(200, &[], "[{\"Names\":[\"/a\"]}]"),
        ),
    ]);
    for (what, answer) in cases {
        let folder = Folder::new();
        let socket = folder.path().join("s");
        let _server = Server::unix(&socket, move |seen| match seen.target.as_str() {
            "/_ping" => Answer::new(200, &[("Api-Version", "1.47")], "OK"),
            _ => answer.clone(),
        });
        let engine = Engine::new(&Endpoint::Unix(socket));
        let begun = Instant::now();
        let reference = "ghcr.io/acme/api".parse().expect("valid");
        let list = engine.containers().map(drop);
        let inspect = engine.container("abc").map(drop);
        let created = engine.create("web", None, &json!({})).map(drop);
        // A stream may be as long as it likes.
        let pull = if what.starts_with("an endless body") {
            Ok(())
        } else {
            engine.pull(&reference, None, None, |_| ())
        };
        assert!(begun.elapsed() < 2 * SOON, "{what}: {:?}", begun.elapsed());
        for outcome in [list, inspect, created, pull] {
            if let Err(error) = outcome {
                assert_one_line(&error, what);
            }
        }
    }
}

#[test]
fn an_inspect_without_end_is_not_read_to_it() {
    let folder = Folder::new();
    let socket = folder.path().join("s");
    let _server = Server::unix(&socket, |seen| match seen.target.as_str() {
        "/_ping" => Answer::new(200, &[("Api-Version", "1.47")], "OK"),
        _ => endless(OK, vec![b' '; 64 * 1024], Duration::ZERO),
    });
    let engine = Engine::new(&Endpoint::Unix(socket));
    let error = engine.container("abc").expect_err("too long").to_string();
    assert!(error.contains("longer than 4194304 bytes"), "{error}");
}

/// The manifest takes 4 MB on the way, and as values in memory another 50.
#[test]
fn a_manifest_made_to_fill_memory_does_not() {
    let manifest = format!("{{\"x\":[{}0]}}", "[],".repeat(1_390_000));
    let bad = Server::tcp(move |seen| match seen.method.as_str() {
        "HEAD" => Answer::new(200, &[], ""),
        _ => Answer::new(200, &[], manifest.clone()),
    });
    let image = format!("{}/acme/api:latest", bad.host());
    let folder = Folder::new();
    let socket = folder.path().join("s");
    let list = json!([{"Id": "a".repeat(64), "Names": ["/web"], "Image": image, "State": "running",
                       "ImageID": DIGEST, "Labels": {"imagewatch.enable": "true"}}]);
    let _engine = Server::unix(&socket, move |seen| match seen.target.as_str() {
        "/_ping" => Answer::new(200, &[("Api-Version", "1.47")], "OK"),
        target if target.contains("/containers/json") => Answer::json(200, &list),
        _ => Answer::json(404, &json!({"message": "no such thing"})),
    });
    let host = format!("unix://{}", socket.display());
    let program = Program::start(&[("DOCKER_HOST", &host), ("IMAGE_AUTO_REFRESH", "true")]);
    eventually("the manifest is refused", || {
        program.has_said("nor a manifest").then_some(())
    });
    let peak = program.peak();
    assert!(peak < 40 * 1024 * 1024, "{peak} bytes");
}
