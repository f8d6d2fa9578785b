//! What is passed on of a request, and what is refused.

use super::served::ask;
use super::served::assert_refused;
use super::served::assert_served;
use super::served::serve_echo;
use super::served::status;
use super::served::with_headers;
use std::sync::atomic::Ordering;

#[test]
fn bad_framing_is_refused_and_never_handed_in() {
    let (served, count) = serve_echo();
    let cases = [
        (501, "TRACE / HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (501, "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (501, "get / HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (400, "G(T / HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (400, "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (400, "GET * HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (400, "GET /\u{e4} HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (400, "GET  / HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (400, "\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (
            414,
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(4096)),
        ),
        (
            431,
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(9000)),
        ),
        (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()),
        (505, "GET / HTTP/2.0\r\nHost: x\r\n\r\n".into()),
        (505, "GET / HTTP/1.2\r\nHost: x\r\n\r\n".into()),
        (400, "GET /\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\r\n\r\n".into()),
        (400, with_headers("Host: x\r\n")),
        (400, "GET / HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\nHost: x\n\n".into()),
        (400, "GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n".into()),
        (400, with_headers("Accept: a\r\n folded\r\n")),
        (400, with_headers("Accept : a\r\n")),
        (400, with_headers("Accept\r\n")),
        (400, with_headers("Accept: a\0b\r\n")),
        (400, with_headers("Ignored: a\u{1}b\r\n")),
        (400, with_headers("Accept: a\tb\r\n")),
        (400, with_headers("Authorization: \u{e4}\r\n")),
        (
            400,
            with_headers("Authorization: a\r\nAuthorization: b\r\n"),
        ),
        (431, with_headers(&"A: b\r\n".repeat(64))),
        (431, with_headers(&format!("A: {}\r\n", "b".repeat(8192)))),
        (411, with_headers("Transfer-Encoding: chunked\r\n")),
        (
            411,
            with_headers("Content-Length: 1\r\nTransfer-Encoding: identity\r\n"),
        ),
        (
            417,
            with_headers("Expect: 100-continue\r\nContent-Length: 1\r\n"),
        ),
        (
            400,
            with_headers("Content-Length: 1\r\nContent-Length: 1\r\n"),
        ),
        (
            400,
            with_headers("Content-Length: 0\r\nContent-Length: 1\r\n"),
        ),
        (400, with_headers("Content-Length: -1\r\n")),
        (400, with_headers("Content-Length: +1\r\n")),
        (400, with_headers("Content-Length: 1, 1\r\n")),
        (400, with_headers("Content-Length:\r\n")),
        (400, with_headers("Content-Length: 0x10\r\n")),
        (413, with_headers("Content-Length: 16385\r\n")),
        (413, with_headers("Content-Length: 8000000000000000000\r\n")),
        (
            413,
            with_headers("Content-Length: 99999999999999999999999999\r\n"),
        ),
    ];
    for (expected, request) in &cases {
        assert_refused(&ask(served.address, request), *expected, request);
    }
    assert_refused(
        &ask(served.address, b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n"),
        400,
        "\\xff",
    );
    assert_refused(
        &ask(served.address, b"\x16\x03\x01\x02\x00\x01"),
        400,
        "a TLS hello",
    );
    assert_eq!(count.load(Ordering::SeqCst), 0);
    assert_served(served.address);
}

#[test]
fn only_checked_parts_are_passed_on() {
    let (served, _) = serve_echo();
    let request = "PUT /a?b=%20 HTTP/1.1\r\nhOST: x:1\r\nAccept: a\r\nAccept: b\r\nX-Evil: 1\r\n\
                   Connection: keep-alive, Upgrade\r\nUpgrade: h2c\r\nOrigin:\r\nCookie: \u{e4}\r\n\
                   Authorization:  Bearer t \r\nContent-Type: text/plain\r\n\
                   Content-Length: 0004\r\n\r\nbodyGET /ok";
    let answer = ask(served.address, request);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nConnection: close\r\n"));
    let expected = "PUT /a?b=%20\nhOST: x:1\nAccept: a\nAccept: b\nOrigin: \n\
                    Authorization: Bearer t\nContent-Type: text/plain\nContent-Length: 4\n\
                    Connection: close\nbody";
    assert_eq!(body, expected);
}

#[test]
fn every_known_method_and_http_1_0_reach_the_handler() {
    let (served, _) = serve_echo();
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = ask(served.address, format!("{method} / HTTP/1.0\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\nConnection: close\r\n"));
        assert!(
            answer.contains(&format!("\r\n\r\n{method} /\n")),
            "{answer}"
        );
    }
}

#[test]
fn the_largest_request_fits() {
    let (served, _) = serve_echo();
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 16384\r\nAccept: \r\n\r\n";
    let accept = "a".repeat(8192 - head.len());
    let head = head.replace("Accept: ", &format!("Accept: {accept}"));
    let answer = ask(served.address, head + &"b".repeat(16384));
    assert_eq!(status(&answer), 200);
    assert!(answer.contains(&accept) && answer.contains(&"b".repeat(8000)));
}

#[test]
fn head_has_no_body_be_it_answered_or_refused() {
    let (served, _) = serve_echo();
    for (request, expected) in [
        ("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("HEAD / HTTP/1.1\r\n\r\n", 400),
    ] {
        let answer = ask(served.address, request);
        assert_eq!(status(&answer), expected);
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }
}
