//! The look-up of a digest, against registries good and bad.

use crate::support::server::Answer;
use crate::support::server::Seen;
use crate::support::server::Server;
use crate::support::tls::Authority;
use imagewatch::credentials::Credentials;
use imagewatch::credentials::GhcrLogin;
use imagewatch::credentials::Source;
use imagewatch::error::Error;
use imagewatch::error::Kind;
use imagewatch::http::Proxies;
use imagewatch::http::certificates;
use imagewatch::reference::Digest;
use imagewatch::reference::Reference;
use imagewatch::registry::Registry;
use imagewatch::secret::Secret;
use serde_json::json;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

const HEAD: &str = "HEAD /v2/acme/api/manifests/latest";
const GET: &str = "GET /v2/acme/api/manifests/latest";

fn digest(of: char) -> String {
    format!("sha256:{}", of.to_string().repeat(64))
}

fn found(of: char) -> Answer {
    Answer::new(200, &[("Docker-Content-Digest", &digest(of))], "{}")
}

fn reference(server: &Server) -> Reference {
    format!("{}/acme/api:latest", server.host())
        .parse()
        .expect("valid")
}

fn registry() -> Registry {
    Registry::new(Credentials::default(), None, Proxies::default(), Vec::new())
}

/// What a look-up of `acme/api:latest` says.
fn look_up(server: &Server) -> Result<String, String> {
    let found = registry().digest(&reference(server));
    found
        .map(|digest| digest.to_string())
        .map_err(|error| error.to_string())
}

/// A registry that wants a token, which its own `/token` gives out as `answer` says.
fn with_token(answer: Answer) -> Server {
    let realm = Arc::new(Mutex::new(String::new()));
    let for_handler = Arc::clone(&realm);
    let server = Server::tcp(move |seen| match seen.header("authorization") {
        _ if seen.target.starts_with("/token") => answer.clone(),
        Some("Bearer good") => found('a'),
        _ => {
            let realm = for_handler.lock().expect("no panic");
            let value = format!("Bearer realm=\"{realm}\",service=\"s\"");
            Answer::new(401, &[("WWW-Authenticate", &value)], "")
        }
    });
    *realm.lock().expect("no panic") = format!("http://{}/token", server.host());
    server
}

#[test]
fn one_head_with_all_four_types_is_enough() {
    let server = Server::tcp(|_| found('a'));
    let registry = registry();
    for _ in 0..3 {
        let found = registry.digest(&reference(&server)).expect("a digest");
        assert_eq!(found.as_str(), digest('a'));
    }
    assert_eq!(server.lines(), [HEAD; 3]);
    assert_eq!(server.connections(), 1, "the connection is kept");
    let seen = &server.seen()[0];
    let accept = seen.header("accept").expect("a header");
    for kind in [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ] {
        assert!(accept.contains(kind), "{accept}");
    }
    assert!(
        seen.header("user-agent")
            .expect("a header")
            .starts_with("imagewatch/")
    );
    assert_eq!(seen.header("authorization"), None);
}

#[test]
fn a_quiet_round_is_one_head_for_each_image_on_one_connection() {
    let server = Server::tcp(|_| found('a'));
    let parse = |n: u32| {
        format!("{}/acme/app{n}", server.host())
            .parse()
            .expect("valid")
    };
    let references: Vec<Reference> = (0..20).map(parse).collect();
    let registry = registry();
    for round in 1..=3 {
        let mut found = 0;
        registry.digests(&references, |_, outcome| {
            found += usize::from(outcome.is_ok())
        });
        assert_eq!(found, references.len());
        assert_eq!(server.lines().len(), round * references.len());
    }
    assert!(server.lines().iter().all(|line| line.starts_with("HEAD ")));
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_long_round_is_paced_and_less_so_by_hand() {
    let server = Server::tcp(|_| found('a'));
    let parse = |n: u32| {
        format!("{}/acme/app{n}", server.host())
            .parse()
            .expect("valid")
    };
    let references: Vec<Reference> = (0..45).map(parse).collect();
    let time = |registry: Registry, count: usize| {
        let begun = Instant::now();
        registry.digests(&references[..count], |_, outcome| assert!(outcome.is_ok()));
        begun.elapsed()
    };
    let pauses = 25;
    let of_a_server = time(registry(), 45);
    assert!(of_a_server >= pauses * Duration::from_millis(50));
    let by_hand = time(registry().by_hand(), 45);
    assert!(by_hand >= pauses * Duration::from_millis(10));
    assert!(by_hand < of_a_server, "{by_hand:?} of {of_a_server:?}");
}

#[test]
fn a_pinned_reference_is_not_asked_for() {
    let server = Server::tcp(|_| found('a'));
    let pinned = format!("{}/acme/api@{}", server.host(), digest('b'));
    let found = registry().digest(&pinned.parse().expect("valid"));
    assert_eq!(found.map(|digest| digest.to_string()), Ok(digest('b')));
    assert!(server.lines().is_empty());
}

#[test]
fn a_token_is_fetched_once_and_kept_until_it_is_refused() {
    let server = with_token(Answer::json(200, &json!({"token": "good"})));
    let registry = registry();
    for _ in 0..3 {
        registry.digest(&reference(&server)).expect("a digest");
    }
    let token = "GET /token?service=s&scope=repository:acme/api:pull";
    assert_eq!(server.lines(), [HEAD, token, HEAD, HEAD, HEAD]);
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_token_lasts_a_minute_whatever_it_says() {
    let tokens = Arc::new(Mutex::new(0));
    let for_handler = Arc::clone(&tokens);
    let server = Server::tcp(move |seen| {
        if seen.target.starts_with("/token") {
            *for_handler.lock().expect("no panic") += 1;
            return Answer::json(200, &json!({"access_token": "good", "expires_in": 1}));
        }
        let realm = format!("http://{}/token", seen.header("host").expect("a host"));
        match seen.header("authorization") {
            Some("Bearer good") => found('a'),
            _ => Answer::new(
                401,
                &[("WWW-Authenticate", &format!("Bearer realm=\"{realm}\""))],
                "",
            ),
        }
    });
    let registry = registry();
    registry.digest(&reference(&server)).expect("a digest");
    registry.digest(&reference(&server)).expect("a digest");
    assert_eq!(
        *tokens.lock().expect("no panic"),
        1,
        "a minute is the least a token lasts"
    );
}

#[test]
fn basic_is_answered_with_the_login_and_only_after_a_challenge() {
    let server = Server::tcp(|seen| match seen.header("authorization") {
        Some("Basic bWU6cHc=") => found('a'),
        None => Answer::new(401, &[("WWW-Authenticate", "Basic realm=\"Dev\"")], ""),
        Some(other) => panic!("{other}"),
    });
    let folder = crate::support::Folder::new();
    let auths = json!({"auths": {server.host(): {"auth": "bWU6cHc="}}});
    folder.write("config.json", auths.to_string());
    let credentials = Credentials::new(None, vec![folder.path().join("config.json")]);
    let registry = Registry::new(credentials, None, Proxies::default(), Vec::new());
    registry.digest(&reference(&server)).expect("a digest");
    registry.digest(&reference(&server)).expect("a digest");
    assert_eq!(server.lines(), [HEAD; 3], "the challenge is remembered");
}

#[test]
fn without_the_header_the_manifests_bytes_are_hashed() {
    let manifest = r#"{"schemaVersion":2}"#;
    for head in [200, 405] {
        let server = Server::tcp(move |seen| match seen.line().as_str() {
            HEAD => Answer::new(head, &[], ""),
            GET => Answer::new(200, &[], manifest),
            other => panic!("{other}"),
        });
        let expected = crate::support::images::sha256(manifest.as_bytes());
        assert_eq!(look_up(&server), Ok(expected), "{head}");
        assert_eq!(server.lines(), [HEAD, GET]);
    }
}

#[test]
fn every_bad_answer_gives_one_clear_error() {
    let reply = |status, headers: &[(&str, &str)], body: &str| Answer::new(status, headers, body);
    let bearer = "Bearer realm=\"http://127.0.0.1:1/token\"";
    let cases: Vec<(Answer, &str)> = vec![
        (reply(404, &[], ""), "404 Not Found (does the tag exist?"),
        (reply(403, &[], ""), "403 Forbidden (set credentials"),
        (reply(401, &[], ""), "401 Unauthorized (set credentials"),
        (
            reply(401, &[("WWW-Authenticate", "Negotiate")], ""),
            "401 Unauthorized",
        ),
        (
            reply(401, &[("WWW-Authenticate", bearer)], ""),
            "Connection refused",
        ),
        (reply(429, &[], ""), "429 Too Many Requests"),
        (reply(500, &[], ""), "500 Internal Server Error"),
        (reply(502, &[], "<html>"), "502 Bad Gateway"),
        (
            reply(200, &[("Docker-Content-Digest", "sha256:zz")], ""),
            "nor a manifest",
        ),
        (reply(200, &[], "<html>login</html>"), "nor a manifest"),
        (reply(200, &[], "[1]"), "nor a manifest"),
        (
            reply(302, &[("Location", "/v2/acme/api/manifests/latest")], ""),
            "redirects",
        ),
        (reply(302, &[("Location", "gopher://x/")], ""), "not HTTP"),
        (reply(302, &[("Location", ":")], ""), "not a URL"),
        (
            Answer::Raw(b"rubbish\r\n\r\n".to_vec()),
            "not an HTTP answer",
        ),
        (Answer::Raw(b"HTTP/1.1 200 OK\r\nA".to_vec()), "latest: "),
        (Answer::Close, "latest: "),
    ];
    for (answer, expected) in cases {
        let for_handler = answer.clone();
        let server = Server::tcp(move |_| for_handler.clone());
        let error = look_up(&server).expect_err(expected);
        assert!(error.contains(expected), "{answer:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn every_bad_token_answer_gives_one_clear_error() {
    let huge = format!("{{\"token\":\"{}\"}}", "x".repeat(100_000));
    for (answer, expected) in [
        (
            Answer::json(200, &json!({})),
            "neither token nor access_token",
        ),
        (
            Answer::new(200, &[], "<html>"),
            "not the JSON of a token answer",
        ),
        (Answer::new(200, &[], huge), "longer than 65536 bytes"),
        (
            Answer::json(200, &json!({"token": "a\u{7}b"})),
            "no header may hold",
        ),
        (
            Answer::json(
                403,
                &json!({"errors": [{"code": "DENIED", "message": "denied"}]}),
            ),
            "403 DENIED: denied (set credentials",
        ),
        (
            Answer::json(200, &json!({"token": "useless"})),
            "401 Unauthorized",
        ),
        (Answer::Close, "/token"),
    ] {
        let server = with_token(answer);
        let error = look_up(&server).expect_err(expected);
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(server.lines().len() <= 4, "{:?}", server.lines());
    }
}

#[test]
fn a_huge_manifest_is_not_read_to_its_end() {
    let server = Server::tcp(|seen| match seen.method.as_str() {
        "HEAD" => Answer::new(200, &[], ""),
        _ => Answer::new(200, &[], vec![b' '; 5 * 1024 * 1024]),
    });
    let error = look_up(&server).expect_err("too long");
    assert!(error.contains("longer than 4194304 bytes"), "{error}");
}

#[test]
fn too_many_requests_put_the_host_off_and_no_other() {
    let busy = Server::tcp(|_| Answer::new(429, &[("Retry-After", "120")], ""));
    let calm = Server::tcp(|_| found('a'));
    let registry = registry();
    let first = registry.digest(&reference(&busy)).expect_err("429");
    assert_eq!(first.status(), Some(429));
    let second = registry.digest(&reference(&busy)).expect_err("put off");
    assert!(matches!(second.kind(), Kind::PutOff { .. }), "{second}");
    assert!(second.to_string().contains("put off until 20"), "{second}");
    assert!(registry.digest(&reference(&calm)).is_ok());
    assert_eq!(busy.lines().len(), 1);
}

#[test]
fn a_host_in_trouble_is_put_off_but_not_for_a_single_bad_image() {
    let server = Server::tcp(|seen| {
        if seen.target.contains("/bad") {
            Answer::new(500, &[], "")
        } else {
            found('a')
        }
    });
    let look = |names: &[&str]| {
        let parse = |name: &&str| format!("{}/{name}", server.host()).parse().expect("valid");
        let references: Vec<Reference> = names.iter().map(parse).collect();
        let mut seen = Vec::new();
        registry().digests(&references, |_, outcome| {
            seen.push(match outcome {
                Ok(_) => "found",
                Err(error) if matches!(error.kind(), Kind::PutOff { .. }) => "put off",
                Err(_) => "failed",
            });
        });
        seen
    };
    assert_eq!(
        look(&["bad1", "a", "bad2", "b"]),
        ["failed", "found", "failed", "found"]
    );
    assert_eq!(
        look(&["a", "bad1", "bad2", "b", "c"]),
        ["found", "failed", "failed", "found", "found"]
    );
    assert_eq!(
        look(&["bad1", "bad2", "bad3", "bad4", "bad5", "a"]),
        ["failed", "failed", "failed", "failed", "put off", "put off"]
    );
}

#[test]
fn a_silent_host_costs_two_deadlines_and_holds_up_no_other() {
    let silent = Server::tcp(|_| Answer::silence());
    let quick = Server::tcp(|_| found('a'));
    let mut references: Vec<Reference> = (0..5)
        .map(|n| {
            format!("{}/acme/api:{n}", silent.host())
                .parse()
                .expect("valid")
        })
        .collect();
    references.push(reference(&quick));
    let begun = Instant::now();
    let mut outcomes: Vec<(String, Result<Digest, Error>, Duration)> = Vec::new();
    registry().digests(&references, |reference, outcome| {
        outcomes.push((reference.registry().to_owned(), outcome, begun.elapsed()));
    });
    assert_eq!(outcomes.len(), 6);
    let (host, outcome, when) = &outcomes[0];
    assert_eq!(*host, quick.host());
    assert!(
        outcome.is_ok() && *when < Duration::from_secs(5),
        "{when:?}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(35),
        "{:?}",
        begun.elapsed()
    );
    let words: Vec<String> = outcomes[1..]
        .iter()
        .map(|(_, outcome, _)| outcome.as_ref().expect_err("silence").to_string())
        .collect();
    assert!(words[0].contains("no answer in time"), "{words:?}");
    assert!(words[2].contains("left 2 look-ups unanswered"), "{words:?}");
}

#[test]
fn a_redirect_to_another_host_gets_neither_login_nor_token() {
    let storage = Server::tcp(|_| found('b'));
    let target = format!("http://{}/elsewhere", storage.host());
    let server = Server::tcp(move |seen| match seen.header("authorization") {
        Some("Basic bWU6cHc=") => Answer::new(307, &[("Location", &target)], ""),
        _ => Answer::new(401, &[("WWW-Authenticate", "Basic realm=\"x\"")], ""),
    });
    let folder = crate::support::Folder::new();
    let auths = json!({"auths": {server.host(): {"auth": "bWU6cHc="}}});
    folder.write("config.json", auths.to_string());
    let credentials = Credentials::new(None, vec![folder.path().join("config.json")]);
    let registry = Registry::new(credentials, None, Proxies::default(), Vec::new());
    let found = registry.digest(&reference(&server)).expect("a digest");
    assert_eq!(found.as_str(), digest('b'));
    assert_eq!(storage.lines(), ["HEAD /elsewhere"]);
    assert_eq!(storage.seen()[0].header("authorization"), None);
}

#[test]
fn a_private_authority_is_trusted_besides_the_known_ones() {
    let authority = Authority::new();
    let server = Server::tls(&authority.issue(&["127.0.0.1"]), |_| found('a'));
    let certificates = certificates(authority.pem().as_bytes()).expect("a bundle");
    let registry = Registry::new(
        Credentials::default(),
        Some(&certificates),
        Proxies::default(),
        Vec::new(),
    );
    for _ in 0..2 {
        registry.digest(&reference(&server)).expect("a digest");
    }
    assert_eq!(server.lines(), [HEAD; 2]);
    let error = look_up(&server).expect_err("nobody knows this authority");
    assert!(
        error.contains("UnknownIssuer") && error.contains("SSL_CERT_FILE"),
        "{error}"
    );
}

#[test]
fn ghcr_is_reached_by_name_through_a_proxy_with_its_own_login() {
    let authority = Authority::new();
    let ghcr = Server::tls(&authority.issue(&["ghcr.io"]), |seen: &Seen| {
        match (seen.target.as_str(), seen.header("authorization")) {
            ("/token?service=ghcr.io&scope=repository:acme/api:pull", Some("Basic bWU6cGF0")) => {
                Answer::json(200, &json!({"token": "good"}))
            }
            ("/v2/acme/api/manifests/latest", Some("Bearer good")) => found('c'),
            ("/v2/acme/api/manifests/latest", None) => {
                let value = "Bearer realm=\"https://ghcr.io/token\",service=\"ghcr.io\",\
                             scope=\"repository:user/image:pull\"";
                Answer::new(401, &[("WWW-Authenticate", value)], "")
            }
            other => panic!("{other:?}"),
        }
    });
    let proxy = crate::support::connect_proxy(ghcr.port());
    let certificates = certificates(authority.pem().as_bytes()).expect("a bundle");
    let given = |text: &str| Source::Given(Secret::new(text));
    let login = GhcrLogin {
        user: given("me"),
        token: given("pat"),
    };
    let proxies = Proxies {
        https: Some(format!("http://{proxy}")),
        http: None,
        exceptions: Vec::new(),
    };
    let credentials = Credentials::new(Some(login), Vec::new());
    let registry = Registry::new(credentials, Some(&certificates), proxies, Vec::new());
    let reference = "ghcr.io/acme/api".parse().expect("valid");
    for _ in 0..2 {
        let found = registry.digest(&reference).expect("a digest");
        assert_eq!(found.as_str(), digest('c'));
    }
    assert_eq!(ghcr.lines().len(), 4);
    assert_eq!(ghcr.connections(), 1, "one TLS session");
}

/// A far registry answers each of two connections while the other one waits.
#[test]
fn many_look_ups_that_somebody_waits_for_are_spread_over_two_connections() {
    const COUNT: u32 = 60;
    const LATENCY: Duration = Duration::from_millis(40);
    let server = Server::tcp(|_| {
        std::thread::sleep(LATENCY);
        found('a')
    });
    let reference = |number| format!("{}/acme/api{number}:latest", server.host());
    let references: Vec<Reference> = (0..COUNT)
        .map(|number| reference(number).parse().expect("valid"))
        .collect();
    let mut names = Vec::new();
    let begun = Instant::now();
    registry().by_hand().digests(&references, |one, outcome| {
        assert_eq!(outcome.expect("a digest").to_string(), digest('a'));
        names.push(one.to_string());
    });
    let elapsed = begun.elapsed();
    println!("{COUNT} look-ups took {elapsed:.1?}");
    names.sort();
    let mut expected: Vec<String> = references.iter().map(Reference::to_string).collect();
    expected.sort();
    assert_eq!(names, expected);
    assert_eq!(server.connections(), 2);
    assert!(
        elapsed < LATENCY * COUNT,
        "as long as one connection: {elapsed:?}"
    );
    // Few of them are no reason for a second connection.
    registry()
        .by_hand()
        .digests(&references[..20], |_, outcome| {
            outcome.expect("a digest");
        });
    assert_eq!(server.connections(), 3);
}
