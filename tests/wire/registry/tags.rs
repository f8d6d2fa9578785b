//! The list of a repository's tags, from registries good and bad.

use crate::support::server::Answer;
use crate::support::server::Server;
use imagewatch::credentials::Credentials;
use imagewatch::error::Error;
use imagewatch::http::Proxies;
use imagewatch::reference::Reference;
use imagewatch::registry::Registry;
use serde_json::json;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

const FIRST: &str = "GET /v2/acme/api/tags/list?n=1000";

fn reference(server: &Server) -> Reference {
    let name = format!("{}/acme/api:1.3.9", server.host());
    name.parse().expect("valid")
}

fn tags(server: &Server) -> Result<Vec<String>, Error> {
    let registry = Registry::new(Credentials::default(), None, Proxies::default(), Vec::new());
    let mut tags = Vec::new();
    registry
        .tags(&reference(server), &mut |tag| tags.push(tag.to_owned()))
        .map(|()| tags)
}

fn page(tags: &[&str], next: Option<&str>) -> Answer {
    let body = json!({"name": "acme/api", "tags": tags}).to_string();
    let link = next.map(|next| format!("<{next}>; rel=\"next\""));
    let headers: Vec<(&str, &str)> = link.iter().map(|link| ("Link", link.as_str())).collect();
    Answer::new(200, &headers, body)
}

#[test]
fn every_page_is_read_with_one_token_on_one_connection() {
    let server = Server::tcp(|seen| {
        let host = seen.header("host").expect("a host");
        match (seen.target.as_str(), seen.header("authorization")) {
            ("/token?service=s&scope=repository:acme/api:pull", None) => {
                Answer::json(200, &json!({"token": "good"}))
            }
            ("/v2/acme/api/tags/list?n=1000", Some("Bearer good")) => {
                page(&["1", "2"], Some("/v2/acme/api/tags/list?last=2&n=2"))
            }
            ("/v2/acme/api/tags/list?last=2&n=2", Some("Bearer good")) => {
                let next = format!("http://{host}/v2/acme/api/tags/list?last=3&n=2");
                page(&["3"], Some(&next))
            }
            ("/v2/acme/api/tags/list?last=3&n=2", Some("Bearer good")) => page(&["4"], None),
            (_, None) => {
                let value = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
                Answer::new(401, &[("WWW-Authenticate", &value)], "")
            }
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(tags(&server).expect("a list"), ["1", "2", "3", "4"]);
    assert_eq!(server.lines().len(), 5);
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_repository_without_tags_has_an_empty_list() {
    let server = Server::tcp(|_| Answer::json(200, &json!({"name": "acme/api", "tags": null})));
    assert_eq!(tags(&server).expect("a list"), [""; 0]);
}

#[test]
fn the_next_page_is_never_on_another_host() {
    let other = Server::tcp(|seen| panic!("{}", seen.line()));
    for target in [
        format!("http://{}/v2/acme/api/tags/list?last=1", other.host()),
        format!("//{}/v2/acme/api/tags/list", other.host()),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let server = Server::tcp(move |_| page(&["1"], Some(&target)));
        let error = tags(&server).expect_err("refused").to_string();
        assert!(error.contains("not on the same host: refused"), "{error}");
        assert_eq!(server.lines(), [FIRST]);
    }
}

#[test]
fn a_list_without_an_end_is_left() {
    let same = Server::tcp(|_| page(&["1"], Some("/v2/acme/api/tags/list?n=1000")));
    let error = tags(&same).expect_err("refused").to_string();
    assert!(error.contains("the same page"), "{error}");
    assert_eq!(same.lines(), [FIRST]);

    let circle = Server::tcp(|seen| {
        let is_one = seen.target.ends_with("one");
        page(&["1"], Some(if is_one { "/v2/two" } else { "/v2/one" }))
    });
    assert_eq!(tags(&circle).expect("a list").len(), 20);
    assert_eq!(circle.lines().len(), 20);

    let number = AtomicUsize::new(0);
    let many = Server::tcp(move |_| {
        let next = format!("/v2/{}", number.fetch_add(1, Ordering::SeqCst));
        page(&["1"; 3000], Some(&next))
    });
    assert_eq!(tags(&many).expect("a list").len(), 10_000);
    assert_eq!(many.lines().len(), 4);
}

#[test]
fn a_page_has_a_limit() {
    for (length, is_read) in [(1024 * 1024 - 1, true), (1024 * 1024 + 1, false)] {
        let server = Server::tcp(move |_| {
            let mut body = json!({"tags": ["1"]}).to_string();
            body.push_str(&" ".repeat(length - body.len()));
            Answer::new(200, &[], body)
        });
        let outcome = tags(&server);
        assert_eq!(outcome.is_ok(), is_read, "{length}: {outcome:?}");
    }
}

#[test]
fn what_is_no_list_is_an_error_with_its_reason() {
    for (answer, expected) in [
        (Answer::new(401, &[], ""), "401"),
        (Answer::new(404, &[], ""), "404"),
        (Answer::new(405, &[], ""), "405"),
        (Answer::new(429, &[("Retry-After", "60")], ""), "429"),
        (Answer::new(200, &[], "<html>"), "not a list of tags"),
        (Answer::new(200, &[], "[\"1\"]"), "not a list of tags"),
        (
            Answer::new(200, &[], "{\"tags\":[\"1\""),
            "not a list of tags",
        ),
        (Answer::new(204, &[], ""), "204"),
        (Answer::Close, "GET "),
    ] {
        let server = Server::tcp(move |_| answer.clone());
        let error = tags(&server).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("/v2/acme/api/tags/list"), "{error}");
    }
}

#[test]
fn a_host_that_wants_a_pause_gets_it() {
    let server = Server::tcp(|_| Answer::new(429, &[("Retry-After", "60")], ""));
    let registry = Registry::new(Credentials::default(), None, Proxies::default(), Vec::new());
    for _ in 0..2 {
        let outcome = registry.tags(&reference(&server), &mut |_| {});
        assert!(outcome.is_err());
    }
    assert_eq!(server.lines(), [FIRST]);
}
