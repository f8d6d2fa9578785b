//! Where a token is asked for, and for what: a registry's challenge says both.

use crate::support::server::Answer;
use crate::support::server::Server;
use crate::wire::registry::each_registry::World;
use crate::wire::registry::each_registry::challenge;
use crate::wire::registry::each_registry::found;
use crate::wire::registry::each_registry::login;
use imagewatch::credentials::Credentials;
use imagewatch::http::Proxies;
use imagewatch::registry::Registry;
use serde_json::json;
use std::net::TcpListener;

const BEARER: &str = r#"Bearer realm="https://mirror.example/token",service="s""#;

/// A mirror that knows `acme/api` as `hub/acme/api`, as one behind a rewriting proxy does.
fn mirror() -> World {
    World::new(&["mirror.example"], &json!({}), |line, shown, _| {
        let line = line.strip_prefix("mirror.example ").expect("no other host");
        let scopes = line.strip_prefix("GET /token?service=s&");
        if let Some(scopes) = scopes {
            assert_eq!(shown, None);
            return Answer::json(
                200,
                &json!({"token": scopes.replace(['&', '=', ':', '/'], "_")}),
            );
        }
        let repository = line.strip_prefix("HEAD /v2/acme/").expect("a look-up");
        let (name, _) = repository.split_once('/').expect("a manifest");
        let needed = format!("scope_repository_hub_acme_{name}_pull_");
        match shown {
            Some(token) if token.contains(&needed) => found(),
            _ => challenge(&[&format!(
                r#"{BEARER},scope="repository:hub/acme/{name}:pull""#
            )]),
        }
    })
}

#[test]
fn a_token_is_asked_for_what_the_challenge_names_besides_our_repository() {
    let world = mirror();
    let head = |name: &str| format!("mirror.example HEAD /v2/acme/{name}/manifests/latest");
    let both = |name: &str| {
        let scopes =
            format!("scope=repository:hub/acme/{name}:pull&scope=repository:acme/{name}:pull");
        format!("mirror.example GET /token?service=s&{scopes}")
    };
    let (first, second) = world.two_rounds("mirror.example/acme/api");
    assert_eq!(first, [head("api"), both("api"), head("api")]);
    assert_eq!(second, [head("api")]);
    // What one repository needs is neither asked for nor shown for another.
    let (first, second) = world.two_rounds("mirror.example/acme/web");
    let narrow = "mirror.example GET /token?service=s&scope=repository:acme/web:pull".to_owned();
    assert_eq!(first, [narrow, head("web"), both("web"), head("web")]);
    assert_eq!(second, [head("web")]);
    for seen in world.server.seen() {
        if let Some(token) = seen.header("authorization") {
            let (of_api, of_web) = (token.contains("acme_api"), token.contains("acme_web"));
            assert_eq!(
                (of_api, of_web),
                (seen.target.contains("api"), seen.target.contains("web"))
            );
        }
    }
    let (first, _) = world.two_rounds("mirror.example/acme/api");
    assert_eq!(first, [head("api")], "both tokens are kept");
}

#[test]
fn several_scopes_become_as_many_parameters_and_one_field_of_a_form() {
    let asked = r#"scope="repository:a/b:pull repository:acme/api:pull,push",scope=c"#;
    let anonymous = World::new(
        &["mirror.example"],
        &json!({}),
        move |line, shown, _| match (line, shown) {
            (
                "mirror.example GET /token?service=s&scope=repository:a/b:pull&scope=repository:acme/api:pull%2Cpush&scope=c",
                None,
            ) => Answer::json(200, &json!({"token": "good"})),
            (_, Some("Bearer good")) => found(),
            (_, None) if line.contains("HEAD") => challenge(&[&format!("{BEARER},{asked}")]),
            other => panic!("{other:?}"),
        },
    );
    anonymous.two_rounds("mirror.example/acme/api");
    let mut entry = login("00000000-0000-0000-0000-000000000000", "");
    entry["identitytoken"] = json!("refresh");
    let logins = json!({"mirror.example": entry});
    let exchanged = World::new(
        &["mirror.example"],
        &logins,
        move |line, shown, seen| match (line, shown) {
            ("mirror.example POST /token", None) => {
                let form = String::from_utf8_lossy(&seen.body).into_owned();
                let scope =
                    "&scope=repository%3Aa%2Fb%3Apull%20repository%3Aacme%2Fapi%3Apull%2Cpush%20c&";
                assert!(form.contains(scope), "{form}");
                Answer::json(200, &json!({"access_token": "good"}))
            }
            (_, Some("Bearer good")) => found(),
            (_, None) => challenge(&[&format!("{BEARER},{asked}")]),
            other => panic!("{other:?}"),
        },
    );
    exchanged.two_rounds("mirror.example/acme/api");
}

#[test]
fn a_registry_that_wants_ever_more_is_asked_once_more_and_no_further() {
    let number = std::sync::atomic::AtomicUsize::new(0);
    let world = World::new(&["mirror.example"], &json!({}), move |line, _, _| {
        if line.contains("/token") {
            return Answer::json(200, &json!({"token": "never-enough"}));
        }
        let number = number.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        challenge(&[&format!(r#"{BEARER},scope="more:{number}:*""#)])
    });
    for _ in 0..2 {
        let before = world.lines().len();
        let error = world
            .look_up("mirror.example/acme/api")
            .expect_err("refused");
        assert!(error.contains("401"), "{error}");
        let lines = world.lines().split_off(before);
        assert!(lines.len() <= 4, "{lines:#?}");
    }
}

#[test]
fn a_registry_in_the_local_network_may_send_us_about_in_it() {
    let found_by = |listed: &[&str], registry: &str, target: &str| {
        let hosts = ["192.168.1.5", "10.0.0.5", "registry.example"];
        let realm = format!(r#"Bearer realm="https://{target}/service/token",service="harbor""#);
        let location = format!("https://{target}/v2/moved/manifests/latest");
        let answer = move |line: &str, shown: Option<&str>, _: &_| match shown {
            _ if line.contains("/service/token") => Answer::json(200, &json!({"token": "good"})),
            _ if line.contains("/v2/moved/") => found(),
            _ if line.contains("/v2/away/") => Answer::new(307, &[("Location", &location)], ""),
            Some("Bearer good") => found(),
            _ => challenge(&[&realm]),
        };
        let world = World::listing(listed, &hosts, &json!({}), answer);
        let by_realm = world.look_up(&format!("{registry}/acme/api"));
        let by_redirect = world.look_up(&format!("{registry}/away"));
        for outcome in [&by_realm, &by_redirect] {
            let is_refused = |error: &String| {
                error.contains("leads into the local network")
                    && error.contains(&format!("add {target} to IMAGEWATCH_INSECURE_REGISTRIES"))
                        != target.starts_with("169.254.")
            };
            assert!(outcome.as_ref().err().is_none_or(is_refused), "{outcome:?}");
        }
        (by_realm.is_ok(), by_redirect.is_ok())
    };
    for (listed, registry, target, expected) in [
        // Harbor whose `hostname` is an address.
        (&[][..], "192.168.1.5", "192.168.1.5", true),
        (&[], "192.168.1.5", "10.0.0.5", true),
        (&["10.0.0.5"], "registry.example", "10.0.0.5", true),
        (&[], "registry.example", "10.0.0.5", false),
        (&[], "192.168.1.5", "127.0.0.1", false),
        (&[], "192.168.1.5", "169.254.169.254", false),
    ] {
        let found = found_by(listed, registry, target);
        assert_eq!(
            found,
            (expected, expected),
            "{registry} → {target}, {listed:?}"
        );
    }
}

#[test]
fn a_proxy_that_does_not_work_is_named_without_its_login() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let dead = closed.local_addr().expect("an address").to_string();
    drop(closed);
    let refusing = Server::tcp(|_| Answer::new(502, &[], "no way out"));
    let rubbish = Server::tcp(|_| Answer::Raw(b"SSH-2.0-x\r\n\r\n".to_vec()));
    let reference = "ghcr.io/acme/api".parse().expect("a reference");
    for proxy in [dead, refusing.host(), rubbish.host()] {
        let proxies = Proxies {
            https: Some(format!("http://me:hunter2@{proxy}")),
            http: None,
            exceptions: Vec::new(),
        };
        let registry = Registry::new(Credentials::default(), None, proxies, Vec::new());
        let error = registry.digest(&reference).expect_err("no way there");
        assert!(error.is_ambiguous());
        let error = error.to_string();
        let expected = format!(", through the proxy http://{proxy} (HTTPS_PROXY)");
        assert!(
            error.starts_with("HEAD https://ghcr.io/") && error.ends_with(&expected),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }
}
