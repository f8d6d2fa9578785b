//! The Engine calls that `docs/security.md` lists, and the socket proxy it shows.

use super::Document;
use super::code_spans;
use super::quoted;
use imagewatch::commands::CALLS;
use std::collections::BTreeSet;
use std::process::Command;

const SOURCES: [&str; 11] = [
    include_str!("../../src/engine/mod.rs"),
    include_str!("../../src/engine/about.rs"),
    include_str!("../../src/engine/archive.rs"),
    include_str!("../../src/engine/events.rs"),
    include_str!("../../src/engine/exec.rs"),
    include_str!("../../src/engine/images.rs"),
    include_str!("../../src/engine/logs.rs"),
    include_str!("../../src/engine/transport.rs"),
    include_str!("../../src/engine/container.rs"),
    include_str!("../../src/engine/origin.rs"),
    include_str!("../../src/engine/services.rs"),
];
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "HEAD"];

/// Without what is only for tests.
fn code() -> impl Iterator<Item = &'static str> {
    let code = SOURCES.iter().map(|text| text.split("#[cfg(test)]").next());
    code.map(Option::unwrap_or_default)
}

/// `/containers/{id}/json` of `/containers/{}/json?size=1`.
fn normal(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let segment = |segment: &str| match segment.starts_with('{') {
        true => "{id}".to_owned(),
        false => segment.to_owned(),
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// The paths the code asks for.
fn asked() -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for source in code() {
        let lines = source
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let source = lines.collect::<Vec<_>>().join("\n");
        for (_, text) in quoted(&source) {
            let is_path = text.starts_with("/_")
                || (text.starts_with('/')
                    && text[1..].starts_with(|c: char| c.is_ascii_lowercase()));
            // What puts the version in front.
            if is_path && text != "/v{}{}" {
                paths.insert(normal(text));
            }
        }
    }
    paths
}

/// The calls that the code's own documentation names.
fn documented() -> BTreeSet<(String, String)> {
    let comments = code().flat_map(str::lines).map(str::trim_start);
    let comments = comments.filter(|line| line.starts_with("//"));
    comments
        .flat_map(|line| code_spans(line).filter_map(call))
        .collect()
}

fn call(text: &str) -> Option<(String, String)> {
    let (method, path) = text.split_once(' ')?;
    (METHODS.contains(&method) && path.starts_with('/')).then(|| (method.to_owned(), normal(path)))
}

/// The calls that are listed for people.
pub(crate) fn listed() -> BTreeSet<(String, String)> {
    let document = Document::of("docs/security.md");
    document
        .rows()
        .filter(|cells| METHODS.contains(&cells[0]))
        .map(|cells| (cells[0].to_owned(), cells[1].trim_matches('`').to_owned()))
        .collect()
}

#[test]
fn each_call_of_the_code_is_listed_and_no_other() {
    let paths: BTreeSet<String> = documented().into_iter().map(|(_, path)| path).collect();
    assert_eq!(
        asked(),
        paths,
        "a path without `METHOD /path` in its method's comment"
    );
    assert_eq!(documented(), listed());
}

/// The pattern of the proxy of the example for a method.
pub(crate) fn proxy_pattern(method: &str) -> Option<String> {
    let document = Document::of("docs/security.md");
    let allow = format!("'-allow{method}=");
    let mut lines = document.text.lines();
    let (_, rest) = lines.find_map(|line| line.split_once(&*allow))?;
    Some(rest.strip_suffix('\'')?.to_owned())
}

/// Whether the proxy of the example lets a call through; its patterns hold from end to end.
fn is_let_through(method: &str, path: &str) -> bool {
    let Some(pattern) = proxy_pattern(method) else {
        return false;
    };
    let status = Command::new("bash")
        .args(["-c", r#"[[ $1 =~ ^$2$ ]]"#, "bash", path, &pattern])
        .status();
    status.expect("bash").success()
}

#[test]
fn the_preflight_knows_each_call_of_the_list() {
    let known: BTreeSet<(String, String)> =
        CALLS.iter().filter_map(|(rule, _, _)| call(rule)).collect();
    assert_eq!(known, listed());
}

#[test]
fn the_proxy_of_the_example_lets_through_what_is_needed_and_nothing_else() {
    let denied: Vec<String> = listed()
        .into_iter()
        .map(|(method, path)| (method, path.replace("{id}", "web-1.a_b")))
        .filter(|(method, path)| match &**path {
            "/_ping" => !is_let_through(method, path),
            _ => !is_let_through(method, &format!("/v1.51{path}")),
        })
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    // What the text says to add for those who use it.
    assert_eq!(
        denied,
        [
            "DELETE /images/web-1.a_b",
            "GET /exec/web-1.a_b/json",
            "GET /images/web-1.a_b/get",
            "GET /info",
            "GET /libpod/containers/web-1.a_b/json",
            "GET /libpod/images/web-1.a_b/json",
            "GET /services",
            "GET /services/web-1.a_b",
            "GET /tasks",
            "POST /containers/web-1.a_b/exec",
            "POST /exec/web-1.a_b/start",
            "POST /services/web-1.a_b/update",
        ]
    );
    assert!(is_let_through(
        "GET",
        "/v1.41/images/ghcr.io/acme/api:1/json"
    ));
    for (method, path) in [
        ("GET", "/v1.51/containers/web/export"),
        ("GET", "/v1.51/containers/web/json/../../../secrets"),
        ("GET", "/v1.51/images/x/get"),
        ("GET", "/secrets/_ping"),
        ("POST", "/v1.51/build"),
        ("POST", "/v1.51/images/load"),
        ("POST", "/v1.51/containers/web/attach"),
        ("PUT", "/v1.51/containers/web/json"),
        ("DELETE", "/v1.51/volumes/data"),
        ("DELETE", "/v1.51/containers/web/x"),
    ] {
        assert!(!is_let_through(method, path), "{method} {path}");
    }
}
