//! The Engine client, against an Engine that does as it is told.

use crate::support::Folder;
use crate::support::server::Answer;
use crate::support::server::Seen;
use crate::support::server::Server;
use imagewatch::engine::Deadlines;
use imagewatch::engine::Endpoint;
use imagewatch::engine::Engine;
use imagewatch::engine::Removal;
use imagewatch::error::Kind;
use serde_json::json;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

struct Fake {
    server: Server,
    engine: Engine,
    socket: PathBuf,
    _folder: Folder,
}

/// An Engine of this API version that answers everything but pings as `handler` says.
fn fake(version: &'static str, handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Fake {
    let folder = Folder::new();
    let socket = folder.path().join("engine.sock");
    let server = serve(&socket, version, handler);
    Fake {
        server,
        engine: Engine::new(&Endpoint::Unix(socket.clone())),
        socket,
        _folder: folder,
    }
}

fn serve(
    socket: &std::path::Path,
    version: &'static str,
    handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
) -> Server {
    Server::unix(socket, move |seen| match seen.target.as_str() {
        "/_ping" => Answer::new(200, &[("Api-Version", version)], "OK"),
        _ => handler(seen),
    })
}

fn message(status: u16, words: &str) -> Answer {
    Answer::json(status, &json!({"message": words}))
}

#[test]
fn the_newest_version_that_both_know_is_spoken() {
    for (offered, spoken) in [("1.41", "v1.41"), ("1.44", "v1.44"), ("1.55", "v1.51")] {
        let fake = fake(offered, |_| Answer::json(200, &json!([])));
        fake.engine.containers().expect("a list");
        fake.engine.containers().expect("a list");
        let list = format!("GET /{spoken}/containers/json?all=1");
        assert_eq!(
            fake.server.lines(),
            ["GET /_ping".to_owned(), list.clone(), list]
        );
        assert_eq!(fake.server.connections(), 1, "the connection is kept");
    }
}

#[test]
fn an_engine_that_was_upgraded_is_asked_again() {
    let fake = fake("1.44", |seen| {
        if seen.target.starts_with("/v1.41/") {
            return message(
                400,
                "client version 1.41 is too old. Minimum supported API version is 1.44",
            );
        }
        Answer::json(200, &json!([]))
    });
    let old = serve(&fake.socket, "1.41", |_| Answer::json(200, &json!([])));
    fake.engine.containers().expect("a list of the old Engine");
    old.end();
    let new = serve(&fake.socket, "1.44", |seen| {
        assert!(!seen.target.starts_with("/v1.51/"));
        if seen.target.starts_with("/v1.41/") {
            return message(
                400,
                "client version 1.41 is too old. Minimum supported API version is 1.44",
            );
        }
        Answer::json(200, &json!([]))
    });
    fake.engine.containers().expect("a list of the new Engine");
    let list = |version| format!("GET /v{version}/containers/json?all=1");
    assert_eq!(
        new.lines(),
        [list("1.41"), "GET /_ping".to_owned(), list("1.44")]
    );
}

#[test]
fn a_restarted_engine_is_met_with_a_fresh_connection() {
    let fake = fake("1.41", |_| Answer::json(200, &json!([])));
    fake.engine.containers().expect("a list");
    fake.server.end();
    std::fs::remove_file(&fake.socket).expect("a socket without a server");
    let error = fake.engine.containers().expect_err("nobody there");
    assert!(
        error.to_string().contains("is the Engine running"),
        "{error}"
    );
    let _server = serve(&fake.socket, "1.41", |_| Answer::json(200, &json!([])));
    fake.engine.containers().expect("a list of the new Engine");
}

#[test]
fn an_engine_that_goes_back_a_version_is_asked_again() {
    let list = |_: &Seen| Answer::json(200, &json!([]));
    let fake = fake("1.51", list);
    fake.engine.containers().expect("a list of the new Engine");
    fake.server.end();
    let old = serve(&fake.socket, "1.41", |seen| {
        if seen.target.starts_with("/v1.51/") {
            return message(
                400,
                "client version 1.51 is too new. Maximum supported API version is 1.41",
            );
        }
        Answer::new(204, &[], "")
    });
    fake.engine.start("abc").expect("started by the old Engine");
    let start = |version| format!("POST /v{version}/containers/abc/start");
    assert_eq!(
        old.lines(),
        [start("1.51"), "GET /_ping".to_owned(), start("1.41")]
    );
}

/// Its process is stopped, say. The kernel takes connections for it until its backlog is full.
#[test]
fn an_engine_that_takes_no_connections_costs_no_more_than_a_deadline() {
    let folder = Folder::new();
    let socket = folder.path().join("s");
    let frozen = UnixListener::bind(&socket).expect("a socket");
    let connected = Arc::new(AtomicUsize::new(0));
    let (count, path) = (Arc::clone(&connected), socket.clone());
    std::thread::spawn(move || {
        while UnixStream::connect(&path).is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut before = 0;
    crate::support::eventually("its backlog is full", || {
        let now = connected.load(Ordering::SeqCst);
        let is_full = now > 0 && now == before;
        before = now;
        is_full.then_some(())
    });
    let deadlines = Deadlines {
        ping: Duration::from_millis(100),
        ..Deadlines::default()
    };
    let engine = Engine::with_deadlines(&Endpoint::Unix(socket.clone()), deadlines);
    let begun = Instant::now();
    for _ in 0..20 {
        let error = engine.ping().expect_err("nobody there").to_string();
        assert!(error.contains("no answer in time"), "{error}");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    drop(frozen);
    let _server = serve(&socket, "1.41", |_| Answer::json(200, &json!([])));
    crate::support::eventually("it is met again", || engine.containers().ok());
}

#[test]
fn a_connection_that_is_closed_under_a_get_is_tried_once_more() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let fake = fake("1.41", move |_| {
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => Answer::Close,
            _ => Answer::json(200, &json!([])),
        }
    });
    fake.engine.containers().expect("a list");
    let posts = Arc::new(Mutex::new(0));
    let count = Arc::clone(&posts);
    let fake = self::fake("1.41", move |_| {
        *count.lock().expect("no panic") += 1;
        Answer::Close
    });
    let error = fake.engine.start("abc").expect_err("closed");
    assert!(error.is_ambiguous(), "{error}");
    assert_eq!(
        *posts.lock().expect("no panic"),
        1,
        "it may have happened: never sent twice"
    );
}

#[test]
fn a_pull_is_read_to_its_end_and_its_error_found() {
    let reference = "ghcr.io/acme/api:v1".parse().expect("valid");
    for (stream, expected) in [
        (
            "{\"status\":\"Pulling\"}\r\n{\"status\":\"Digest: sha256:x\"}\r\n",
            None,
        ),
        (
            "{\"status\":\"Pulling\"}\r\n{\"errorDetail\":{\"message\":\"no space\"},\"error\":\"no space\"}\r\n",
            Some("200 and then: no space"),
        ),
    ] {
        let fake = fake("1.41", move |_| Answer::new(200, &[], stream));
        let mut lines = 0;
        let outcome = fake
            .engine
            .pull(&reference, Some("linux/amd64"), None, |_| lines += 1);
        assert_eq!(
            fake.server.lines()[1],
            "POST /v1.41/images/create?fromImage=ghcr.io%2Facme%2Fapi&tag=v1&platform=linux%2Famd64"
        );
        match (outcome, expected) {
            (Ok(()), None) => assert_eq!(lines, 2),
            (Err(error), Some(words)) => {
                assert!(error.to_string().contains(words), "{error}");
                assert!(
                    error.to_string().starts_with("pull ghcr.io/acme/api:v1"),
                    "{error}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_pull_that_is_cut_off_is_an_error() {
    let reference = "ghcr.io/acme/api:v1".parse().expect("valid");
    let cut =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n{\"status\":\"Pulling\"}\r\n";
    let fake = fake("1.41", move |_| Answer::Raw(cut.as_bytes().to_vec()));
    let error = fake
        .engine
        .pull(&reference, None, None, |_| ())
        .expect_err("cut off");
    assert!(error.is_unreachable(), "{error:?}");
}

#[test]
fn a_pull_carries_the_login_and_no_error_does() {
    let fake = fake("1.41", |seen| {
        assert_eq!(seen.header("x-registry-auth"), Some("c2VjcmV0"));
        message(500, "unauthorized: authentication required")
    });
    let auth = imagewatch::secret::Secret::new("c2VjcmV0");
    let reference = "ghcr.io/acme/api".parse().expect("valid");
    let error = fake
        .engine
        .pull(&reference, None, Some(&auth), |_| ())
        .expect_err("refused");
    let words = format!("{error} {error:?}");
    assert!(
        words.contains("are the credentials for ghcr.io set and valid?"),
        "{words}"
    );
    assert!(!words.contains("c2VjcmV0"), "{words}");
}

#[test]
fn refusals_keep_the_engines_words_and_status() {
    let fake = fake("1.41", |_| message(409, "Conflict.\nThe name is taken"));
    let error = fake.engine.rename("abc", "web").expect_err("refused");
    assert!(error.is_conflict());
    let expected = format!(
        "POST unix://{} /containers/abc/rename: 409 to \"web\": Conflict. The name is taken",
        fake.socket.display()
    );
    assert_eq!(error.to_string(), expected);
    let error = fake
        .engine
        .remove("abc", Removal::KeepVolumes)
        .expect_err("refused");
    assert!(error.is_conflict());
    assert_eq!(
        fake.server.lines()[2],
        "DELETE /v1.41/containers/abc?force=0&v=0"
    );
}

#[test]
fn containers_are_listed_newest_first_whatever_the_engines_order() {
    let list = [("b", 10), ("d", 30), ("a", 10), ("c", 20)];
    let list = list.map(|(id, created)| json!({"Id": id, "Created": created}));
    let fake = fake("1.41", move |_| Answer::json(200, &json!(list)));
    let found = fake.engine.containers().expect("a list");
    let ids: Vec<_> = found.iter().map(|one| one.id()).collect();
    assert_eq!(ids, ["d", "c", "b", "a"]);
}

#[test]
fn a_busy_engine_may_take_longer_for_its_version_than_for_a_ping() {
    let fake = fake("1.41", |_| {
        std::thread::sleep(Duration::from_secs(6));
        Answer::json(200, &json!({"Version": "4.3.1", "Arch": "arm64"}))
    });
    assert_eq!(fake.engine.about().expect("an answer").arch, "arm64");
}

#[test]
fn the_hosts_name_is_told_or_not_and_the_engine_is_well_either_way() {
    for (answer, name) in [
        (
            Answer::json(200, &json!({"Name": "nas", "ID": "x"})),
            Some("nas"),
        ),
        (Answer::json(200, &json!({"ID": "x"})), None),
        (Answer::new(200, &[], "<html>"), None),
        (message(403, "Forbidden"), None),
        (Answer::Close, None),
        (Answer::silence(), None),
    ] {
        let mut fake = fake("1.41", move |seen| {
            assert_eq!(seen.line(), "GET /v1.41/info");
            answer.clone()
        });
        let deadlines = Deadlines {
            ping: Duration::from_millis(500),
            ..Deadlines::default()
        };
        fake.engine = Engine::with_deadlines(&Endpoint::Unix(fake.socket.clone()), deadlines);
        assert_eq!(fake.engine.host_name().as_deref(), name);
        assert_eq!(fake.engine.trouble(), None);
    }
}

#[test]
fn an_image_that_podman_does_not_know_for_a_moment_is_asked_for_again() {
    let unsure = "reading image \"95ce\": locating image with ID \"95ce\": image not known";
    for (answers, expected, asked) in [
        (
            vec![(500, unsure), (500, unsure), (200, "")],
            Ok("sha256:x"),
            3,
        ),
        (vec![(500, unsure)], Err(500), 4),
        (vec![(404, "no such image: image not known")], Err(404), 1),
        (vec![(500, "it burns")], Err(500), 1),
    ] {
        let count = AtomicUsize::new(0);
        let fake = fake("1.41", move |_| {
            let number = count.fetch_add(1, Ordering::SeqCst);
            match answers[number.min(answers.len() - 1)] {
                (200, _) => Answer::json(200, &json!({"Id": "sha256:x"})),
                (status, words) => message(status, words),
            }
        });
        let found = fake.engine.image("web");
        let found = found.as_ref().map(|image| image.id());
        assert_eq!(found.map_err(|error| error.status().unwrap_or(0)), expected);
        let path = "GET /v1.41/images/web/json".to_owned();
        let lines = fake.server.lines();
        assert_eq!(lines.iter().filter(|line| **line == path).count(), asked);
    }
}

#[test]
fn what_is_no_engine_is_said_to_be_none() {
    let folder = Folder::new();
    let socket = folder.path().join("s");
    let _server = Server::unix(&socket, |_| Answer::new(200, &[], "hello"));
    let error = Engine::new(&Endpoint::Unix(socket))
        .ping()
        .expect_err("no Engine");
    assert!(
        error.to_string().contains("is this a Docker Engine?"),
        "{error}"
    );
    let rubbish = fake("1.41", |_| Answer::new(200, &[], "<html>"));
    let error = rubbish.engine.containers().expect_err("rubbish");
    assert!(matches!(error.kind(), Kind::Malformed), "{error:?}");
}

#[test]
fn an_engine_over_tcp_is_spoken_to_alike() {
    let server = Server::tcp(|seen| match seen.target.as_str() {
        "/_ping" => Answer::new(200, &[("Api-Version", "1.45")], "OK"),
        _ => Answer::json(200, &json!([])),
    });
    let engine = Engine::new(&Endpoint::Tcp(server.host()));
    engine.containers().expect("a list");
    assert_eq!(
        server.lines(),
        ["GET /_ping", "GET /v1.45/containers/json?all=1"]
    );
}
