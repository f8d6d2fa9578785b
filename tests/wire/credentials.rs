//! Who we say we are: logins from files and helpers, and what happens when they are refused.

use crate::support::Folder;
use crate::support::program::Program;
use crate::support::server::Answer;
use crate::support::server::Server;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imagewatch::credentials::Credentials;
use imagewatch::http::Proxies;
use imagewatch::reference::Reference;
use imagewatch::registry::Registry;
use serde_json::Value;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// `me:pw`.
const BASIC: &str = "Basic bWU6cHc=";

fn found() -> Answer {
    let digest = format!("sha256:{}", "a".repeat(64));
    Answer::new(200, &[("Docker-Content-Digest", &digest)], "")
}

fn challenge(value: &str) -> Answer {
    Answer::new(401, &[("WWW-Authenticate", value)], "")
}

/// A client, and the folder of its login file.
fn client(auths: &Value) -> (Registry, Folder) {
    let folder = Folder::new();
    folder.write("config.json", auths.to_string());
    let credentials = Credentials::new(None, vec![folder.path().join("config.json")]);
    let registry = Registry::new(credentials, None, Proxies::default(), Vec::new());
    (registry, folder)
}

fn image(server: &Server, repository: &str) -> Reference {
    let text = format!("{}/{repository}:latest", server.host());
    text.parse().expect("a reference")
}

/// How many requests showed a login.
fn logins(server: &Server) -> usize {
    let seen = server.seen();
    let shown = seen
        .iter()
        .filter(|seen| seen.header("authorization") == Some(BASIC));
    shown.count()
}

/// A registry whose challenge needs to name itself.
fn server(
    handler: impl Fn(&crate::support::server::Seen, &str) -> Answer + Send + Sync + 'static,
) -> Server {
    let own = Arc::new(Mutex::new(String::new()));
    let for_handler = Arc::clone(&own);
    let server = Server::tcp(move |seen| {
        let realm = for_handler.lock().expect("no panic").clone();
        handler(seen, &realm)
    });
    *own.lock().expect("no panic") = format!(
        "Bearer realm=\"http://{}/token\",service=\"s\"",
        server.host()
    );
    server
}

#[test]
fn an_expired_login_is_not_in_the_way_of_a_public_image() {
    let server = server(|seen, bearer| match seen.header("authorization") {
        Some(BASIC) if seen.target.starts_with("/token") => Answer::json(
            403,
            &json!({"errors": [{"code": "DENIED", "message": "denied"}]}),
        ),
        None if seen.target.starts_with("/token") => Answer::json(200, &json!({"token": "good"})),
        Some("Bearer good") => found(),
        None => challenge(bearer),
        Some(other) => panic!("{other}"),
    });
    let (registry, _folder) = client(&json!({"auths": {server.host(): {"auth": "bWU6cHc="}}}));
    for _ in 0..3 {
        let found = registry.digest(&image(&server, "acme/api"));
        assert!(found.is_ok(), "{found:?}");
    }
    assert_eq!(logins(&server), 1, "{:?}", server.lines());
}

#[test]
fn a_login_is_shown_byte_for_byte_as_the_file_has_it() {
    // `me:pässwörd` in Latin-1, in lines as `base64` breaks them.
    let latin = "bWU6cORzc3f2cmQ=";
    let server = Server::tcp(move |seen| match seen.header("authorization") {
        None => challenge("Basic realm=\"x\""),
        Some(shown) if shown == format!("Basic {latin}") => found(),
        Some(other) => panic!("{other}"),
    });
    for auth in [latin, "bWU6cORz\r\nc3f2cmQ=\r\n", "bWU6cORzc3f2cmQ"] {
        let (registry, _folder) = client(&json!({"auths": {server.host(): {"auth": auth}}}));
        let found = registry.digest(&image(&server, "acme/api"));
        assert!(found.is_ok(), "{auth:?}: {found:?}");
    }
}

#[test]
fn a_login_that_is_not_known_is_shown_once_for_all_images_of_that_registry() {
    let server = Server::tcp(|_| challenge("Basic realm=\"x\""));
    let (registry, _folder) = client(&json!({"auths": {server.host(): {"auth": "bWU6cHc="}}}));
    for repository in ["acme/a", "acme/b", "acme/c"] {
        let error = registry.digest(&image(&server, repository));
        let error = error.expect_err("refused").to_string();
        assert!(error.contains("are they expired?"), "{error}");
    }
    assert_eq!(logins(&server), 1, "{:?}", server.lines());
}

#[test]
fn a_login_that_may_not_read_one_repository_is_used_for_the_others() {
    let server = server(|seen, bearer| {
        let is_closed = seen.target.contains("closed");
        match seen.header("authorization") {
            Some(BASIC) if seen.target.starts_with("/token") => {
                Answer::json(200, &json!({"token": "mine"}))
            }
            None if seen.target.starts_with("/token") => Answer::json(200, &json!({"token": "no"})),
            Some("Bearer mine") if !is_closed => found(),
            _ => challenge(&format!("{bearer},error=\"insufficient_scope\"")),
        }
    });
    let (registry, _folder) = client(&json!({"auths": {server.host(): {"auth": "bWU6cHc="}}}));
    for _ in 0..2 {
        assert!(registry.digest(&image(&server, "acme/closed")).is_err());
        for repository in ["acme/a", "acme/b"] {
            let found = registry.digest(&image(&server, repository));
            assert!(found.is_ok(), "{found:?}");
        }
    }
}

#[test]
fn a_token_that_nobody_was_given_is_not_used_for_a_login() {
    let server = server(|seen, bearer| match seen.header("authorization") {
        Some(BASIC) if seen.target.starts_with("/token") => {
            Answer::json(200, &json!({"token": "mine"}))
        }
        None if seen.target.starts_with("/token") => Answer::json(200, &json!({"token": "nobody"})),
        Some("Bearer mine") => found(),
        Some("Bearer nobody") => Answer::new(403, &[], ""),
        None => challenge(bearer),
        Some(other) => panic!("{other}"),
    });
    let (registry, folder) = client(&json!({}));
    assert!(registry.digest(&image(&server, "acme/api")).is_err());
    let auths = json!({"auths": {server.host(): {"auth": "bWU6cHc="}}});
    folder.write("config.json", auths.to_string());
    let found = registry.digest(&image(&server, "acme/api"));
    assert!(found.is_ok(), "{found:?} {:?}", server.lines());
}

#[test]
fn a_refused_login_is_left_aside_whatever_another_one_does() {
    let server = Server::tcp(|seen| match seen.header("authorization") {
        // `you:pw`.
        Some("Basic eW91OnB3") => found(),
        _ => challenge("Basic realm=\"x\""),
    });
    let host = server.host();
    let (registry, _folder) = client(&json!({"auths": {
        format!("{host}/acme"): {"auth": "bWU6cHc="},
        format!("{host}/other"): {"auth": "eW91OnB3"},
    }}));
    for _ in 0..3 {
        assert!(registry.digest(&image(&server, "acme/api")).is_err());
        let found = registry.digest(&image(&server, "other/api"));
        assert!(found.is_ok(), "{found:?}");
    }
    assert_eq!(logins(&server), 1, "{:?}", server.lines());
}

#[test]
fn what_a_registry_wants_may_change() {
    let is_moved = Arc::new(AtomicUsize::new(0));
    let for_handler = Arc::clone(&is_moved);
    let server = server(move |seen, bearer| {
        let when = for_handler.load(Ordering::SeqCst);
        match seen.header("authorization") {
            None if seen.target.starts_with("/token") => {
                Answer::json(200, &json!({"token": format!("t{when}")}))
            }
            Some(shown) if shown == format!("Bearer t{when}") => found(),
            _ if when == 0 => challenge("Basic realm=\"portal\""),
            // Where nobody listens.
            _ if when == 1 => challenge("Bearer realm=\"http://127.0.0.1:1/token\",service=\"s\""),
            _ => challenge(bearer),
        }
    });
    let (registry, _folder) = client(&json!({}));
    let look = || registry.digest(&image(&server, "acme/api"));
    assert!(look().is_err());
    is_moved.store(2, Ordering::SeqCst);
    let found = look();
    assert!(found.is_ok(), "from Basic to Bearer: {found:?}");
    is_moved.store(1, Ordering::SeqCst);
    assert!(look().is_err());
    is_moved.store(3, Ordering::SeqCst);
    let _ = look();
    let found = look();
    assert!(found.is_ok(), "from one realm to another: {found:?}");
}

#[test]
fn what_was_sent_is_not_told_on() {
    let server = server(|seen, bearer| match seen.header("authorization") {
        Some(shown) if seen.target.starts_with("/token") => Answer::new(400, &[], shown.to_owned()),
        None => challenge(bearer),
        Some(other) => panic!("{other}"),
    });
    // `me:hunter2`.
    let auths = json!({"auths": {server.host(): {"auth": "bWU6aHVudGVyMg=="}}});
    let (registry, _folder) = client(&auths);
    let error = registry.digest(&image(&server, "acme/api"));
    let error = error.expect_err("refused").to_string();
    assert!(error.contains("Basic ***"), "{error}");
}

#[test]
fn an_identity_token_is_exchanged_by_post() {
    let server = server(|seen, bearer| match seen.header("authorization") {
        None if seen.line() == "POST /token" => {
            let form = String::from_utf8_lossy(&seen.body).into_owned();
            assert_eq!(
                form,
                "grant_type=refresh_token&client_id=imagewatch&service=s\
                 &scope=repository%3Aacme%2Fapi%3Apull&refresh_token=re%26fresh"
            );
            Answer::json(200, &json!({"access_token": "good"}))
        }
        Some("Bearer good") => found(),
        None => challenge(bearer),
        Some(other) => panic!("{other}"),
    });
    let (registry, _folder) =
        client(&json!({"auths": {server.host(): {"identitytoken": "re&fresh"}}}));
    let found = registry.digest(&image(&server, "acme/api"));
    assert!(found.is_ok(), "{found:?}");
}

#[test]
fn two_namespaces_of_a_host_have_their_own_logins() {
    let server = Server::tcp(
        |seen| match (seen.target.as_str(), seen.header("authorization")) {
            (_, None) => challenge("Basic realm=\"x\""),
            ("/v2/acme/api/manifests/latest", Some(BASIC)) => found(),
            // `you:pw`.
            ("/v2/other/api/manifests/latest", Some("Basic eW91OnB3")) => found(),
            other => panic!("{other:?}"),
        },
    );
    let host = server.host();
    let (registry, _folder) = client(&json!({"auths": {
        format!("{host}/acme"): {"auth": "bWU6cHc="},
        format!("{host}/other"): {"auth": "eW91OnB3"},
    }}));
    for repository in ["acme/api", "other/api"] {
        let found = registry.digest(&image(&server, repository));
        assert!(found.is_ok(), "{found:?}");
    }
}

/// A registry that takes only the last login that it was told.
fn changing() -> (Server, Arc<Mutex<String>>) {
    let wanted = Arc::new(Mutex::new(BASIC.to_owned()));
    let for_handler = Arc::clone(&wanted);
    let server = Server::tcp(move |seen| {
        let wanted = for_handler.lock().expect("no panic").clone();
        match seen.header("authorization") {
            Some(shown) if shown == wanted => found(),
            _ => challenge("Basic realm=\"x\""),
        }
    });
    (server, wanted)
}

/// Changes the password of `me` at the registry and in the login file.
fn rotate(server: &Server, folder: &Folder, wanted: &Mutex<String>, password: &str) {
    let auth = STANDARD.encode(format!("me:{password}"));
    let file = json!({"auths": {server.host(): {"auth": auth}}});
    folder.write("config.json", file.to_string());
    *wanted.lock().expect("no panic") = format!("Basic {auth}");
}

#[test]
fn a_login_file_that_changes_is_read_again_in_the_next_round_and_after_a_refusal() {
    let (server, wanted) = changing();
    let (registry, folder) = client(&json!({}));
    let images: Vec<_> = (0..4)
        .map(|number| image(&server, &format!("acme/app{number}")))
        .collect();
    rotate(&server, &folder, &wanted, "p0");
    let mut refusals = Vec::new();
    for round in 0..6 {
        // Every second round, the password changes in the middle.
        let (mut done, before) = (0, server.lines().len());
        registry.digests(&images, |reference, outcome| {
            assert!(outcome.is_ok(), "{reference}: {outcome:?}");
            done += 1;
            if round % 2 == 1 && done == 2 {
                rotate(&server, &folder, &wanted, &format!("p{round}"));
            }
        });
        refusals.push(server.lines().len() - before - images.len());
        if round % 2 == 0 {
            rotate(&server, &folder, &wanted, &format!("q{round}"));
        }
    }
    // The first question of all, and the first one after each change in mid-round.
    assert_eq!(refusals, [1, 1, 0, 1, 0, 1]);
}

#[test]
fn a_login_file_may_come_and_go_and_is_broken_only_for_a_while() {
    let (server, wanted) = changing();
    let (registry, folder) = client(&json!({}));
    let image = image(&server, "acme/api");
    let path = folder.path().join("config.json");
    std::fs::remove_file(&path).expect("removed");
    assert!(registry.digest(&image).is_err(), "there is no file");
    rotate(&server, &folder, &wanted, "one");
    assert!(registry.digest(&image).is_ok());
    folder.write("config.json", "{");
    assert!(registry.digest(&image).is_err(), "the file is broken");
    rotate(&server, &folder, &wanted, "two");
    assert!(registry.digest(&image).is_ok());
    // As Kubernetes replaces a secret: another file under the same name, of the same size.
    let next = folder.write("next", std::fs::read(&path).expect("read"));
    rotate(&server, &folder, &wanted, "new");
    std::fs::rename(&path, folder.path().join("new")).expect("renamed");
    std::fs::rename(next, &path).expect("renamed");
    assert!(
        registry.digest(&image).is_err(),
        "the file has the old login"
    );
    std::fs::rename(folder.path().join("new"), &path).expect("renamed");
    assert!(registry.digest(&image).is_ok());
}

#[test]
fn a_stale_token_hides_the_real_challenge_at_harbor() {
    let round = Arc::new(AtomicUsize::new(1));
    let for_handler = Arc::clone(&round);
    let server = server(move |seen, bearer| {
        let good = format!("t{}", for_handler.load(Ordering::SeqCst));
        match seen.header("authorization") {
            None if seen.target.starts_with("/token") => Answer::json(200, &json!({"token": good})),
            Some(shown) if shown == format!("Bearer {good}") => found(),
            Some(_) => challenge("Basic realm=\"harbor\""),
            None => challenge(bearer),
        }
    });
    let (registry, _folder) = client(&json!({}));
    for number in 1..=3 {
        round.store(number, Ordering::SeqCst);
        let found = registry.digest(&image(&server, "acme/api"));
        assert!(found.is_ok(), "{found:?} {:?}", server.lines());
    }
}

#[test]
fn without_a_challenge_the_root_is_asked_for_one() {
    let server = server(|seen, bearer| match seen.header("authorization") {
        None if seen.target.starts_with("/token") => Answer::json(200, &json!({"token": "good"})),
        Some("Bearer good") => found(),
        None if seen.line() == "GET /v2/" => challenge(bearer),
        None => Answer::new(401, &[], ""),
        Some(other) => panic!("{other}"),
    });
    let (registry, _folder) = client(&json!({}));
    let found = registry.digest(&image(&server, "acme/api"));
    assert!(found.is_ok(), "{found:?}");
}

#[test]
fn a_realm_may_be_relative() {
    let server = Server::tcp(|seen| match seen.header("authorization") {
        None if seen.target.starts_with("/token") => Answer::json(200, &json!({"token": "good"})),
        Some("Bearer good") => found(),
        None => challenge("Bearer realm=\"/token\""),
        Some(other) => panic!("{other}"),
    });
    let found = client(&json!({})).0.digest(&image(&server, "acme/api"));
    assert!(found.is_ok(), "{found:?}");
}

/// The program with a login file and helpers in one folder, watching `acme/api` there.
fn watch(server: &Server, folder: &Folder) -> Program {
    let path = folder.path().to_str().expect("text");
    let reference = format!("{}/acme/{{runtime}}", server.host());
    Program::start(&[
        ("PATH", path),
        ("DOCKER_CONFIG", path),
        ("DOCKER_HOST", "unix:///no/such/socket"),
        ("IMAGEWATCH_RUNTIMES", "api"),
        ("IMAGEWATCH_IMAGE", &reference),
        ("IMAGEWATCH_INTERVAL", "1s"),
        ("IMAGE_AUTO_REFRESH", "true"),
    ])
}

fn helper(folder: &Folder, script: &str) {
    folder.write("docker-credential-test", format!("#!/bin/sh\n{script}\n"));
    let path = folder.path().join("docker-credential-test");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, mode).expect("executable");
}

fn basic_server() -> Server {
    Server::tcp(|seen| match seen.header("authorization") {
        Some(BASIC) => found(),
        _ => challenge("Basic realm=\"x\""),
    })
}

#[test]
fn a_helper_is_asked_and_its_answer_kept() {
    let (server, folder) = (basic_server(), Folder::new());
    let log = folder.path().join("asked");
    let script = format!(
        "read key; echo \"$1 $key\" >> {}; echo '{{\"Username\":\"me\",\"Secret\":\"pw\"}}'",
        log.display()
    );
    helper(&folder, &script);
    folder.write("config.json", json!({"credsStore": "test"}).to_string());
    let program = watch(&server, &folder);
    program.await_line("api: seeded");
    program.await_lines("api: unchanged", 2);
    let asked = std::fs::read_to_string(log).expect("it was run");
    assert_eq!(asked, format!("get {}\n", server.host()));
}

#[test]
fn a_helper_that_fails_or_is_missing_is_named_once_and_without_its_words() {
    let (server, folder) = (basic_server(), Folder::new());
    let log = folder.path().join("asked");
    helper(
        &folder,
        &format!("echo x >> {}; echo s3cret; exit 3", log.display()),
    );
    let helpers = json!({server.host(): "test"});
    folder.write("config.json", json!({"credHelpers": helpers}).to_string());
    let program = watch(&server, &folder);
    let line = program.await_line("docker-credential-test");
    assert!(
        line.contains("config.json") && line.contains("exit status: 3"),
        "{line}"
    );
    program.await_lines("set credentials", 2);
    let asked = std::fs::read_to_string(log).expect("it was run");
    assert_eq!(asked, "x\n", "its failure is remembered");
    folder.write("config.json", json!({"credsStore": "gone"}).to_string());
    let line = program.await_line("docker-credential-gone");
    assert!(line.contains("install it here"), "{line}");
    program.await_lines("401", 3);
    assert!(!program.log().contains("s3cret"), "{}", program.log());
    let said = program.log().matches("docker-credential-gone").count();
    assert_eq!(said, 1, "{}", program.log());
}
