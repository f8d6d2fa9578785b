//! What each registry does in its own way, by its own name: TLS, tokens from elsewhere, odd
//! challenges, redirects. Every test lists all requests of two rounds, and nothing else may come.

use crate::support::Folder;
use crate::support::connect_proxy;
use crate::support::server::Answer;
use crate::support::server::Seen;
use crate::support::server::Server;
use crate::support::tls::Authority;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imagewatch::credentials::Credentials;
use imagewatch::credentials::GhcrLogin;
use imagewatch::credentials::Source;
use imagewatch::http::Proxies;
use imagewatch::http::certificates;
use imagewatch::registry::Registry;
use imagewatch::secret::Secret;
use serde_json::Value;
use serde_json::json;

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const MANIFEST: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

/// Hosts of the world, all at one port of this box.
pub(crate) struct World {
    pub(crate) server: Server,
    registry: Registry,
    _folder: Folder,
}

impl World {
    /// `answer` gets `HOST METHOD TARGET` and the `Authorization`, if there is one.
    pub(crate) fn new(
        hosts: &[&str],
        logins: &Value,
        answer: impl Fn(&str, Option<&str>, &Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::listing(&[], hosts, logins, answer)
    }

    /// The same where the owner listed some hosts as insecure.
    pub(crate) fn listing(
        listed: &[&str],
        hosts: &[&str],
        logins: &Value,
        answer: impl Fn(&str, Option<&str>, &Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let authority = Authority::new();
        let server = Server::tls(&authority.issue(hosts), move |seen| {
            let line = line(seen);
            answer(&line, seen.header("authorization"), seen)
        });
        let folder = Folder::new();
        let file = folder.write("config.json", json!({ "auths": logins }).to_string());
        let certificates = certificates(authority.pem().as_bytes()).expect("a bundle");
        let proxies = Proxies {
            https: Some(format!("http://{}", connect_proxy(server.port()))),
            http: None,
            exceptions: Vec::new(),
        };
        let credentials = Credentials::new(None, vec![file.into()]);
        Self {
            registry: Registry::new(
                credentials,
                Some(&certificates),
                proxies,
                listed.iter().map(ToString::to_string).collect(),
            ),
            server,
            _folder: folder,
        }
    }

    pub(crate) fn look_up(&self, reference: &str) -> Result<String, String> {
        let reference = reference.parse().expect("a reference");
        let found = self.registry.digest(&reference);
        found
            .map(|digest| digest.to_string())
            .map_err(|error| error.to_string())
    }

    /// Two rounds, which have to find the digest, and the requests of each.
    #[track_caller]
    pub(crate) fn two_rounds(&self, reference: &str) -> (Vec<String>, Vec<String>) {
        let mut rounds = Vec::new();
        for _ in 0..2 {
            let before = self.server.seen().len();
            let found = self.look_up(reference);
            assert_eq!(found, Ok(DIGEST.to_owned()), "{:#?}", self.lines());
            rounds.push(self.lines().split_off(before));
        }
        let second = rounds.pop().expect("two");
        (rounds.pop().expect("two"), second)
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.server.seen().iter().map(line).collect()
    }
}

fn line(seen: &Seen) -> String {
    format!("{} {}", seen.header("host").unwrap_or("?"), seen.line())
}

pub(crate) fn found() -> Answer {
    Answer::new(200, &[("Docker-Content-Digest", DIGEST)], "")
}

pub(crate) fn challenge(values: &[&str]) -> Answer {
    let headers: Vec<(&str, &str)> = values.iter().map(|v| ("WWW-Authenticate", *v)).collect();
    Answer::new(401, &headers, "")
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

pub(crate) fn login(user: &str, password: &str) -> Value {
    json!({"auth": STANDARD.encode(format!("{user}:{password}"))})
}

#[test]
fn docker_hub_has_other_hosts_than_its_name_and_one_key_for_its_login() {
    let logins = json!({"https://index.docker.io/v1/": login("me", "pat")});
    let hosts = ["registry-1.docker.io", "auth.docker.io"];
    let world = World::new(&hosts, &logins, |line, shown, _| match (line, shown) {
        ("registry-1.docker.io HEAD /v2/library/nginx/manifests/latest", Some("Bearer hub")) => {
            found()
        }
        ("registry-1.docker.io HEAD /v2/library/nginx/manifests/latest", None) => challenge(&[
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull""#,
        ]),
        (_, Some(shown)) if line.starts_with("auth.docker.io GET /token?") => {
            assert_eq!(shown, basic("me", "pat"));
            Answer::json(
                200,
                &json!({"token": "hub", "access_token": "hub", "expires_in": 300,
                                      "issued_at": "2026-01-01T00:00:00Z"}),
            )
        }
        other => panic!("{other:?}"),
    });
    let head = "registry-1.docker.io HEAD /v2/library/nginx/manifests/latest";
    let token =
        "auth.docker.io GET /token?service=registry.docker.io&scope=repository:library/nginx:pull";
    let (first, second) = world.two_rounds("nginx");
    assert_eq!(first, [head, token, head]);
    assert_eq!(second, [head]);
}

#[test]
fn docker_hubs_pull_limit_is_told_in_its_own_words() {
    let world = World::new(&["registry-1.docker.io"], &json!({}), |_, _, _| {
        let words = json!({"message": "You have reached your pull rate limit."});
        Answer::json(429, &words)
    });
    // HEAD has no body, so the status alone has to do.
    let error = world.look_up("nginx").expect_err("429");
    assert!(
        error.contains("429") && error.contains("too many requests"),
        "{error}"
    );
    assert_eq!(world.registry.put_offs()[0].host, "registry-1.docker.io");
}

#[test]
fn ghcr_asks_for_microseconds_and_gets_a_second() {
    let world = World::new(&["ghcr.io"], &json!({}), |_, _, _| {
        Answer::new(429, &[("Retry-After", "880.092\u{b5}s")], "")
    });
    let error = world.look_up("ghcr.io/acme/api").expect_err("429");
    assert!(error.contains("429"), "{error}");
    let put_off = world.look_up("ghcr.io/acme/api").expect_err("put off");
    assert!(put_off.contains("put off until"), "{put_off}");
    let left = world.registry.put_offs();
    assert_eq!(left.len(), 1, "{left:?}");
    crate::support::eventually("the second is over", || {
        world.registry.put_offs().is_empty().then_some(())
    });
}

#[test]
fn ghcr_refuses_an_expired_token_even_for_public_images() {
    let logins = json!({"ghcr.io": login("me", "expired")});
    let world = World::new(&["ghcr.io"], &logins, |line, shown, _| {
        let is_token = line.starts_with("ghcr.io GET /token?");
        match shown {
            Some(shown) if shown == basic("me", "expired") && is_token => {
                let denied = json!({"errors": [{"code": "DENIED", "message": "denied: denied"}]});
                Answer::json(403, &denied)
            }
            None if is_token => Answer::json(200, &json!({"token": "anonymous"})),
            Some("Bearer anonymous") => found(),
            None => challenge(&[
                r#"Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:user/image:pull""#,
            ]),
            Some(other) => panic!("{other}"),
        }
    });
    let head = "ghcr.io HEAD /v2/acme/api/manifests/latest";
    let token = "ghcr.io GET /token?service=ghcr.io&scope=repository:acme/api:pull";
    let (first, second) = world.two_rounds("ghcr.io/acme/api");
    assert_eq!(first, [head, token, token, head]);
    assert_eq!(second, [head]);
}

#[test]
fn quay_has_its_token_endpoint_below_v2_and_sends_only_token() {
    let logins = json!({"quay.io": login("acme+robot", "pat")});
    let world = World::new(&["quay.io"], &logins, |line, shown, _| match shown {
        Some("Bearer jwt") => found(),
        Some(shown) if line.starts_with("quay.io GET /v2/auth?") => {
            assert_eq!(shown, basic("acme+robot", "pat"));
            Answer::json(200, &json!({"token": "jwt"}))
        }
        None => challenge(&[
            r#"Bearer realm="https://quay.io/v2/auth",service="quay.io",scope="repository:acme/api:pull""#,
        ]),
        Some(other) => panic!("{other}"),
    });
    let head = "quay.io HEAD /v2/acme/api/manifests/latest";
    let (first, second) = world.two_rounds("quay.io/acme/api");
    let token = "quay.io GET /v2/auth?service=quay.io&scope=repository:acme/api:pull";
    assert_eq!(first, [head, token, head]);
    assert_eq!(second, [head]);
}

#[test]
fn gitlab_gives_tokens_out_at_another_host() {
    let logins = json!({"registry.gitlab.com": login("deploy", "pat")});
    let hosts = ["registry.gitlab.com", "gitlab.com"];
    let world = World::new(&hosts, &logins, |line, shown, _| match shown {
        Some("Bearer jwt") => found(),
        Some(shown) if line.starts_with("gitlab.com GET /jwt/auth?") => {
            assert_eq!(shown, basic("deploy", "pat"));
            Answer::json(200, &json!({"token": "jwt"}))
        }
        None => challenge(&[
            r#"Bearer realm="https://gitlab.com/jwt/auth",service="container_registry",scope="repository:acme/group/api:pull",error="invalid_token""#,
        ]),
        Some(other) => panic!("{other}"),
    });
    let head = "registry.gitlab.com HEAD /v2/acme/group/api/manifests/1.2";
    let token =
        "gitlab.com GET /jwt/auth?service=container_registry&scope=repository:acme/group/api:pull";
    let (first, second) = world.two_rounds("registry.gitlab.com/acme/group/api:1.2");
    assert_eq!(first, [head, token, head]);
    assert_eq!(second, [head]);
}

#[test]
fn gitlab_is_not_shown_a_refused_login_again() {
    let logins = json!({"registry.gitlab.com": login("deploy", "wrong")});
    let hosts = ["registry.gitlab.com", "gitlab.com"];
    let world = World::new(&hosts, &logins, |line, shown, _| {
        if line.starts_with("gitlab.com GET /jwt/auth?") && shown.is_some() {
            let denied = json!({"errors": [{"code": "UNAUTHORIZED", "message": "HTTP Basic: Access denied"}]});
            return Answer::json(401, &denied);
        }
        if line.starts_with("gitlab.com GET /jwt/auth?") {
            return Answer::json(200, &json!({"token": "nobody"}));
        }
        challenge(&[r#"Bearer realm="https://gitlab.com/jwt/auth",service="container_registry""#])
    });
    for _ in 0..5 {
        let error = world
            .look_up("registry.gitlab.com/acme/api")
            .expect_err("401");
        assert!(error.contains("401"), "{error}");
    }
    let seen = world.server.seen();
    let shown = seen.iter().filter(|seen| {
        seen.header("authorization")
            .is_some_and(|shown| shown.starts_with("Basic "))
    });
    assert_eq!(shown.count(), 1, "{:#?}", world.lines());
}

#[test]
fn gitea_challenges_twice_and_names_no_service() {
    let world = World::new(
        &["codeberg.org"],
        &json!({}),
        |line, shown, _| match shown {
            Some("Bearer ghost") => found(),
            None if line == "codeberg.org GET /v2/token?scope=repository:acme/api:pull" => {
                Answer::json(200, &json!({"token": "ghost"}))
            }
            None => challenge(&[
                r#"Basic realm="Gitea Package API""#,
                r#"Bearer realm="https://codeberg.org/v2/token""#,
            ]),
            Some(other) => panic!("{other}"),
        },
    );
    let head = "codeberg.org HEAD /v2/acme/api/manifests/latest";
    let token = "codeberg.org GET /v2/token?scope=repository:acme/api:pull";
    let (first, second) = world.two_rounds("codeberg.org/acme/api");
    assert_eq!(first, [head, token, head]);
    assert_eq!(second, [head]);
}

#[test]
fn a_harbor_robots_name_has_a_dollar() {
    let logins = json!({"harbor.example": login("robot$acme+ci", "pat")});
    let world = World::new(&["harbor.example"], &logins, |line, shown, _| match shown {
        Some("Bearer jwt") => found(),
        Some(shown) if line.starts_with("harbor.example GET /service/token?") => {
            assert_eq!(shown, basic("robot$acme+ci", "pat"));
            Answer::json(
                200,
                &json!({"token": "jwt", "expires_in": 1800,
                                      "issued_at": "2026-01-01T00:00:00Z"}),
            )
        }
        None => challenge(&[
            r#"Bearer realm="https://harbor.example/service/token",service="harbor-registry",scope="repository:acme/api:pull""#,
        ]),
        Some(other) => panic!("{other}"),
    });
    let head = "harbor.example HEAD /v2/acme/api/manifests/latest";
    let token =
        "harbor.example GET /service/token?service=harbor-registry&scope=repository:acme/api:pull";
    let (first, second) = world.two_rounds("harbor.example/acme/api");
    assert_eq!(first, [head, token, head]);
    assert_eq!(second, [head]);
}

#[test]
fn ecr_wants_basic_and_after_its_first_challenge_gets_it_at_once() {
    const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    let logins = json!({HOST: login("AWS", "twelve-hours")});
    let world = World::new(&[HOST], &logins, |_, shown, _| match shown {
        Some(shown) if shown == basic("AWS", "twelve-hours") => found(),
        None => challenge(&[
            r#"Basic realm="https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr.amazonaws.com""#,
        ]),
        Some(other) => panic!("{other}"),
    });
    let head = format!("{HOST} HEAD /v2/acme/api/manifests/latest");
    let (first, second) = world.two_rounds(&format!("{HOST}/acme/api"));
    assert_eq!(first, [head.clone(), head.clone()]);
    assert_eq!(second, [head]);
}

#[test]
fn a_registry_whose_head_says_no_digest_is_asked_by_get_from_then_on() {
    let world = World::new(&["public.ecr.aws"], &json!({}), |line, _, _| {
        if line.starts_with("public.ecr.aws HEAD ") {
            return Answer::new(200, &[("Content-Length", "34")], "");
        }
        Answer::new(200, &[], MANIFEST)
    });
    let expected = crate::support::images::sha256(MANIFEST.as_bytes());
    for _ in 0..3 {
        assert_eq!(
            world.look_up("public.ecr.aws/acme/api"),
            Ok(expected.clone())
        );
    }
    let path = "/v2/acme/api/manifests/latest";
    let get = format!("public.ecr.aws GET {path}");
    let head = format!("public.ecr.aws HEAD {path}");
    assert_eq!(world.lines(), [head, get.clone(), get.clone(), get]);
}

#[test]
fn artifact_registry_takes_a_json_key_for_a_password_and_one_repository_a_token() {
    const HOST: &str = "europe-docker.pkg.dev";
    const KEY: &str = r#"{"type": "service_account", "private_key": "a:b\n"}"#;
    let logins = json!({HOST: login("_json_key", KEY)});
    let world = World::new(&[HOST], &logins, |line, shown, _| {
        if line.starts_with("europe-docker.pkg.dev GET /v2/token?") {
            assert_eq!(shown, Some(&*basic("_json_key", KEY)));
            let (_, scope) = line.split_once("scope=").expect("a scope");
            return Answer::json(200, &json!({"token": scope.replace([':', '/'], "-")}));
        }
        let repository = line.split(['/', ' ']).nth(5).unwrap_or_default().to_owned();
        match shown {
            Some(shown) if shown.contains(&format!("-{repository}-")) => found(),
            None | Some(_) => challenge(&[
                r#"Bearer realm="https://europe-docker.pkg.dev/v2/token",service="europe-docker.pkg.dev",scope="repository:acme/a:pull""#,
            ]),
        }
    });
    for repository in ["a", "b"] {
        let found = world.look_up(&format!("{HOST}/acme/{repository}"));
        assert_eq!(found, Ok(DIGEST.to_owned()), "{:#?}", world.lines());
    }
    let tokens = world
        .lines()
        .iter()
        .filter(|line| line.contains("/v2/token?"))
        .count();
    assert_eq!(tokens, 2, "{:#?}", world.lines());
    // Of the second no challenge was needed.
    assert_eq!(world.lines().len(), 5, "{:#?}", world.lines());
}

#[test]
fn acr_exchanges_a_refresh_token() {
    const HOST: &str = "acme.azurecr.io";
    let user = "00000000-0000-0000-0000-000000000000";
    let mut entry = login(user, "");
    entry["identitytoken"] = json!("refresh");
    let world = World::new(
        &[HOST],
        &json!({HOST: entry}),
        |line, shown, seen| match shown {
            Some("Bearer access") => found(),
            None if line == "acme.azurecr.io POST /oauth2/token" => {
                let form = String::from_utf8_lossy(&seen.body).into_owned();
                assert_eq!(
                    form,
                    "grant_type=refresh_token&client_id=imagewatch&service=acme.azurecr.io\
                 &scope=repository%3Aapi%3Apull&refresh_token=refresh"
                );
                Answer::json(200, &json!({"access_token": "access"}))
            }
            None => challenge(&[
                r#"Bearer realm="https://acme.azurecr.io/oauth2/token",service="acme.azurecr.io",scope="repository:api:pull""#,
            ]),
            Some(other) => panic!("{other}"),
        },
    );
    let head = "acme.azurecr.io HEAD /v2/api/manifests/latest";
    let (first, second) = world.two_rounds("acme.azurecr.io/api");
    assert_eq!(first, [head, "acme.azurecr.io POST /oauth2/token", head]);
    assert_eq!(second, [head]);
}

#[test]
fn lscr_names_the_realm_of_ghcr_and_leads_there_without_the_login() {
    let logins = json!({"lscr.io": login("me", "pat")});
    let world = World::new(&["lscr.io", "ghcr.io"], &logins, |line, shown, _| {
        match (line, shown) {
            ("lscr.io HEAD /v2/linuxserver/plex/manifests/latest", _) => {
                assert_eq!(shown, None, "nobody asked for it");
                let target = "https://ghcr.io/v2/linuxserver/plex/manifests/latest";
                Answer::new(307, &[("Location", target)], "")
            }
            ("ghcr.io HEAD /v2/linuxserver/plex/manifests/latest", Some("Bearer anonymous")) => {
                found()
            }
            ("ghcr.io HEAD /v2/linuxserver/plex/manifests/latest", None) => {
                challenge(&[r#"Bearer realm="https://ghcr.io/token",service="ghcr.io""#])
            }
            ("ghcr.io GET /token?service=ghcr.io&scope=repository:linuxserver/plex:pull", None) => {
                Answer::json(200, &json!({"token": "anonymous"}))
            }
            other => panic!("{other:?}"),
        }
    });
    let lscr = "lscr.io HEAD /v2/linuxserver/plex/manifests/latest";
    let ghcr = "ghcr.io HEAD /v2/linuxserver/plex/manifests/latest";
    let token = "ghcr.io GET /token?service=ghcr.io&scope=repository:linuxserver/plex:pull";
    let (first, second) = world.two_rounds("lscr.io/linuxserver/plex");
    assert_eq!(first, [lscr, ghcr, token, ghcr]);
    assert_eq!(second, [lscr, ghcr]);
}

#[test]
fn docker_registry_with_htpasswd_may_quote_its_realm_oddly() {
    let logins = json!({"https://registry.example/v1/": login("me", "p:w")});
    let world = World::new(&["registry.example"], &logins, |_, shown, _| match shown {
        Some(shown) if shown == basic("me", "p:w") => found(),
        None => challenge(&[r#"Basic realm="the \"old\", one""#]),
        Some(other) => panic!("{other}"),
    });
    let head = "registry.example HEAD /v2/acme/api/manifests/latest";
    let (first, second) = world.two_rounds("registry.example/acme/api");
    assert_eq!(first, [head, head]);
    assert_eq!(second, [head]);
}

#[test]
fn a_registry_out_there_cannot_send_us_into_our_own_network() {
    for target in [
        "http://169.254.169.254/latest/meta-data",
        "https://127.0.0.1:1/v2/",
        "https://10.0.0.1/v2/",
        "https://[::1]/v2/",
        "https://localhost/v2/",
        "https://2852039166/v2/",
        "https://[::ffff:192.168.1.1]/v2/",
        "http://registry.example/v2/",
        "file:///etc/passwd",
    ] {
        let location = target.to_owned();
        let by_redirect = World::new(&["registry.example"], &json!({}), move |_, _, _| {
            Answer::new(302, &[("Location", &location)], "")
        });
        let realm = format!("Bearer realm=\"{target}\",service=\"s\"");
        let by_realm = World::new(&["registry.example"], &json!({}), move |_, _, _| {
            challenge(&[&realm])
        });
        for world in [by_redirect, by_realm] {
            let error = world
                .look_up("registry.example/acme/api")
                .expect_err(target);
            assert!(error.contains("refused"), "{target}: {error}");
            assert_eq!(world.lines().len(), 1, "{target}: {:#?}", world.lines());
        }
    }
}

#[test]
fn a_rotated_token_file_is_read_again_without_a_restart() {
    let authority = Authority::new();
    let server = Server::tls(&authority.issue(&["ghcr.io"]), |seen| {
        let shown = seen.header("authorization");
        if seen.target.starts_with("/token") {
            return match shown {
                Some(shown) if shown == basic("me", "second") => {
                    Answer::json(200, &json!({"token": "good"}))
                }
                Some(_) => Answer::json(403, &json!({"errors": [{"message": "denied"}]})),
                None => Answer::json(401, &json!({"errors": [{"message": "private"}]})),
            };
        }
        match shown {
            Some("Bearer good") => found(),
            _ => challenge(&[r#"Bearer realm="https://ghcr.io/token",service="ghcr.io""#]),
        }
    });
    let folder = Folder::new();
    let token = folder.write("token", "first\n");
    let login = GhcrLogin {
        user: Source::Given(Secret::new("me")),
        token: Source::File(token.into()),
    };
    let certificates = certificates(authority.pem().as_bytes()).expect("a bundle");
    let proxies = Proxies {
        https: Some(format!("http://{}", connect_proxy(server.port()))),
        http: None,
        exceptions: Vec::new(),
    };
    let credentials = Credentials::new(Some(login), Vec::new());
    let registry = Registry::new(credentials, Some(&certificates), proxies, Vec::new());
    let reference = "ghcr.io/acme/api".parse().expect("a reference");
    for _ in 0..3 {
        assert!(registry.digest(&reference).is_err());
    }
    folder.write("token", "second\n");
    let found = registry.digest(&reference).expect("the new token is used");
    assert_eq!(found.as_str(), DIGEST);
    let shown = server.seen();
    let wrong = shown
        .iter()
        .filter(|seen| seen.header("authorization") == Some(&*basic("me", "first")));
    assert_eq!(wrong.count(), 1, "{:#?}", server.lines());
}

#[test]
fn plain_http_is_only_spoken_to_hosts_that_are_listed() {
    let server = Server::tcp(|_| found());
    let proxy = format!("http://{}", connect_proxy(server.port()));
    let registry = |insecure: &[&str]| {
        let proxies = Proxies {
            https: Some(proxy.clone()),
            http: Some(proxy.clone()),
            exceptions: Vec::new(),
        };
        let insecure = insecure.iter().map(|host| (*host).to_owned()).collect();
        Registry::new(Credentials::default(), None, proxies, insecure)
    };
    let reference = "registry.lan:5000/acme/api".parse().expect("a reference");
    assert!(registry(&[]).digest(&reference).is_err());
    assert!(registry(&["other.lan:5000"]).digest(&reference).is_err());
    assert!(server.lines().is_empty(), "{:?}", server.lines());
    for listed in ["registry.lan:5000", "registry.lan"] {
        let found = registry(&[listed]).digest(&reference);
        assert!(found.is_ok(), "{found:?}");
    }
}
