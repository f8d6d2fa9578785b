//! The page as it is sent. What it does is in `browser`.

use crate::support::program::Program;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::SHA256;
use ring::digest::digest;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;

/// Bytes it may have.
const SIZE: usize = 40_000;

/// Head and body of the answer to a request that shows no token.
fn ask(program: &Program, method: &str, target: &str) -> (String, String) {
    let host = program.host();
    let mut stream = TcpStream::connect(&host).expect("a connection");
    let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

fn start() -> Program {
    Program::start(&[
        ("DOCKER_HOST", "unix:///no/such/socket"),
        ("ADMIN_TOKEN", "t0ken"),
    ])
}

/// What is in the only element of this name.
fn inside<'d>(document: &'d str, element: &str) -> &'d str {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    assert_eq!(document.matches(&format!("<{element}")).count(), 1);
    let (_, rest) = document.split_once(&open).expect("its beginning");
    rest.split_once(&close).expect("its end").0
}

#[test]
fn anybody_gets_the_page_and_nobody_gets_the_data() {
    let program = start();
    let (head, document) = ask(&program, "GET", "/");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let size = document.len();
    assert!(size <= SIZE, "{size} bytes are more than {SIZE}");
    for left_out in ["\n  ", "\n//", "\n\n"] {
        assert!(!document.contains(left_out), "{left_out:?} is sent");
    }
    let hash = |element| {
        let digest = digest(&SHA256, inside(&document, element).as_bytes());
        STANDARD.encode(digest)
    };
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("style"),
        hash("script")
    );
    for header in [
        "Content-Type: text/html; charset=utf-8",
        "Cache-Control: no-cache",
        "X-Content-Type-Options: nosniff",
        "X-Frame-Options: DENY",
        "Referrer-Policy: no-referrer",
        &format!("Content-Security-Policy: {policy}"),
    ] {
        assert_eq!(
            head.lines().filter(|line| *line == header).count(),
            1,
            "{header} in\n{head}"
        );
    }
    let (head_of_head, nothing) = ask(&program, "HEAD", "/");
    let headers = |head: &str| {
        let lines = head.lines().filter(|line| !line.starts_with("Date:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(headers(&head_of_head), headers(&head));
    assert_eq!(nothing, "");
    let (head, _) = ask(&program, "POST", "/");
    assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
    assert!(head.contains("Allow: GET, HEAD"), "{head}");
    let (head, body) = ask(&program, "GET", "/admin/status");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    assert_eq!(body, "{\"error\":\"admin auth required\"}\n");
}

#[test]
fn the_page_needs_nobody_else_and_makes_html_of_nothing() {
    let document = include_str!("../../../src/admin/page.html");
    for forbidden in [
        "http:",
        "https:",
        "//cdn",
        "@import",
        "url(",
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "Function(",
        " style=",
        " onclick=",
        " onload=",
        " onerror=",
        " onsubmit=",
        "javascript:",
        "localStorage",
        "cookie",
        " src=",
        "location",
    ] {
        let line = document.lines().find(|line| line.contains(forbidden));
        assert_eq!(line, None, "{forbidden}");
    }
}
