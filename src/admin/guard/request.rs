//! One request: read whole within its limits, checked, and written anew.
//!
//! The check is strict where parsers differ: a request that two parsers could read in two ways is
//! refused. So the inner server never sees another request than the checked one.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Instant;

use super::body::{Framing, MAX_HOOK, TOO_LONG};
use super::{End, timed_out};
use crate::admin::route::HOOK;

const MAX_HEAD: usize = 8 * 1024;
const MAX_HEADERS: usize = 64;
const MAX_TARGET: usize = 4 * 1024;
const MAX_BODY: usize = 16 * 1024;

/// Reads one request, and returns the bytes for the inner server.
pub(super) fn read_request(
    client: &TcpStream,
    received: &mut Vec<u8>,
    deadline: Instant,
    has_hooks: bool,
) -> Result<Vec<u8>, End> {
    let mut seen = 0;
    let end = loop {
        read_more(client, received, deadline)?;
        let end = head_end(received, seen)?;
        if end.unwrap_or(received.len()) > MAX_HEAD {
            return Err(End::Refused(431, "the request head is longer than 8 KiB"));
        }
        if let Some(end) = end {
            break end;
        }
        seen = received.len();
    };
    let (mut request, framing) = rebuild(&received[..end], has_hooks)?;
    framing.read(client, received, end, deadline, &mut request)?;
    Ok(request)
}

/// Appends the next bytes of the client.
pub(super) fn read_more(
    mut client: &TcpStream,
    received: &mut Vec<u8>,
    deadline: Instant,
) -> Result<(), End> {
    let mut piece = [0; 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // A zero timeout would mean no timeout. std refuses it, so an error here means that the deadline
        // has passed.
        if client.set_read_timeout(Some(left)).is_err() {
            return Err(late(received));
        }
        match client.read(&mut piece) {
            Ok(0) if received.is_empty() => return Err(End::Gone),
            Ok(0) => return Err(End::Refused(400, "the request is not complete")),
            Ok(count) => {
                received.extend_from_slice(&piece[..count]);
                return Ok(());
            }
            Err(error) if timed_out(&error) => return Err(late(received)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(End::Gone),
        }
    }
}

/// The end of a late connection. A connection without a single byte (a probe, a browser's spare one) gets no
/// answer.
fn late(received: &[u8]) -> End {
    if received.is_empty() {
        End::Gone
    } else {
        End::Refused(408, "the request took too long")
    }
}

/// Returns where the head ends, if its end has arrived. Only the bytes from `seen` on are new.
fn head_end(received: &[u8], seen: usize) -> Result<Option<usize>, End> {
    for at in seen..received.len() {
        let after_cr = at > 0 && received[at - 1] == b'\r';
        // Only CR LF ends a line. A parser that accepts a bare CR or LF would see another request.
        if received[at] == 0 || (received[at] == b'\n') != after_cr {
            return Err(End::Refused(
                400,
                "the request head has a bare CR or LF or a NUL",
            ));
        }
        if received[..=at].ends_with(b"\r\n\r\n") {
            return Ok(Some(at + 1));
        }
    }
    Ok(None)
}

/// Checks the head and writes it anew. Returns the new head, without its end, and the framing of the body.
///
/// Only known headers are copied, byte for byte; the rest of the head is dropped.
fn rebuild(head: &[u8], has_hooks: bool) -> Result<(Vec<u8>, Framing), End> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Err(End::Refused(431, "there are more than 64 headers"));
        }
        Err(httparse::Error::Version) => {
            return Err(End::Refused(
                505,
                "only HTTP/1.0 and HTTP/1.1 are supported",
            ));
        }
        _ => return Err(End::Refused(400, "the request is malformed")),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(End::Refused(400, "the request is malformed"));
    };
    check_line(method, target)?;
    let mut request = format!("{method} {target} HTTP/1.{minor}\r\n").into_bytes();
    let is_hook = has_hooks && method == "POST" && target.split('?').next() == Some(HOOK);
    let framing = copy_headers(parsed.headers, minor, is_hook, &mut request)?;
    Ok((request, framing))
}

/// Checks the request line. A known method that is wrong for its path passes, so that the handler can
/// answer with `Allow`.
fn check_line(method: &str, target: &str) -> Result<(), End> {
    if !matches!(
        method,
        "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS"
    ) {
        return Err(End::Refused(501, "the method is not known"));
    }
    if target.len() > MAX_TARGET {
        return Err(End::Refused(414, "the target is longer than 4 KiB"));
    }
    if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(End::Refused(
            400,
            "the target is not a path of printable ASCII",
        ));
    }
    Ok(())
}

/// Copies the headers that the handler may see, and returns the framing of the body. A push hook has more freedom.
fn copy_headers(
    headers: &[httparse::Header<'_>],
    minor: u8,
    is_hook: bool,
    request: &mut Vec<u8>,
) -> Result<Framing, End> {
    let mut seen: Vec<String> = Vec::new();
    let mut framing = Framing::default();
    for header in headers {
        let name = header.name.to_ascii_lowercase();
        match name.as_str() {
            "transfer-encoding" if is_hook && header.value.eq_ignore_ascii_case(b"chunked") => {
                framing.is_chunked = true;
            }
            "expect" if is_hook && header.value.eq_ignore_ascii_case(b"100-continue") => {
                framing.is_awaited = true;
            }
            "transfer-encoding" => {
                return Err(End::Refused(
                    411,
                    "send Content-Length, not Transfer-Encoding",
                ));
            }
            "expect" => return Err(End::Refused(417, "Expect is not supported")),
            "content-length" => framing.length = content_length(header.value, is_hook)?,
            "accept" | "authorization" | "content-type" | "host" | "origin" => {
                copy_header(header, request)?
            }
            "x-hub-signature-256"
            | "x-gitea-signature"
            | "x-forgejo-signature"
            | "x-gitlab-token"
                if is_hook =>
            {
                copy_header(header, request)?
            }
            _ => continue,
        }
        // With two headers of one name, guard and handler could trust different ones. Only Accept is a list.
        if name != "accept" && seen.contains(&name) {
            return Err(End::Refused(
                400,
                "a header that is allowed once is there twice",
            ));
        }
        seen.push(name);
    }
    if minor == 1 && !seen.iter().any(|name| name == "host") {
        return Err(End::Refused(400, "the Host header is missing"));
    }
    if framing.is_chunked && seen.iter().any(|name| name == "content-length") {
        return Err(End::Refused(400, "the body has two framings"));
    }
    Ok(framing)
}

/// Copies one header. tiny_http closes the connection on non-ASCII without an answer, so the guard refuses
/// such a header.
fn copy_header(header: &httparse::Header<'_>, request: &mut Vec<u8>) -> Result<(), End> {
    if !header.value.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return Err(End::Refused(400, "a header value is not printable ASCII"));
    }
    for part in [header.name.as_bytes(), b": ", header.value, b"\r\n"] {
        request.extend_from_slice(part);
    }
    Ok(())
}

fn content_length(value: &[u8], is_hook: bool) -> Result<usize, End> {
    let digits = std::str::from_utf8(value).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(End::Refused(400, "Content-Length is not a number"));
    }
    // The text is all digits, so a number that does not parse is too large.
    digits
        .parse()
        .ok()
        .filter(|length| *length <= if is_hook { MAX_HOOK } else { MAX_BODY })
        .ok_or(match is_hook {
            true => TOO_LONG,
            false => End::Refused(413, "the body is longer than 16 KiB"),
        })
}

#[cfg(test)]
mod tests {
    use super::super::body::end_head;
    use super::*;

    /// A copied request is whole and has one meaning: read again, the request is the same.
    #[test]
    fn nothing_is_passed_on_that_could_be_read_in_two_ways() {
        const WORDS: &[&str] = &[
            "GET ",
            "POST ",
            "/",
            "?",
            "*",
            "http://x/",
            " HTTP/1.1",
            " HTTP/1.0",
            "HTTP/2.0",
            "\r\n",
            "\r\n\r\n",
            "\n",
            "\r",
            "\0",
            "\t",
            " ",
            ":",
            ",",
            "Host: x\r\n",
            "Host:\r\n",
            "Content-Length: 1\r\n",
            "Content-Length: 16384\r\n",
            "Content-Length: 16385\r\n",
            "Content-Length:+1\r\n",
            "99999999999999999999",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding : x\r\n",
            "Expect: 100-continue\r\n",
            "Authorization: Bearer t\r\n",
            "Accept: a\r\n",
            "Origin: null\r\n",
            "A: b\r\n",
            "é",
        ];
        crate::fuzz::fuzz("request", WORDS, |input| {
            let at_once = end(input, input.len());
            assert_eq!(at_once, end(input, 1), "however it comes in");
            let Some(head) = at_once.map(|end| &input[..end]) else {
                return;
            };
            let (mut request, framing) = match rebuild(head, false) {
                Ok(rebuilt) => rebuilt,
                Err(End::Refused(status, reason)) => {
                    assert!((400..=505).contains(&status) && !reason.contains(['"', '\\']));
                    return;
                }
                Err(End::Gone) => panic!("nobody was asked"),
            };
            assert!(framing.length <= MAX_BODY);
            end_head(framing.length, &mut request);
            assert_eq!(
                end(&request, request.len()),
                Some(request.len()),
                "one head"
            );
            let (mut again, same) = rebuild(&request, false)
                .ok()
                .expect("fine before, fine now");
            end_head(same.length, &mut again);
            assert_eq!((again, same), (request, framing));
        });
    }

    /// The end of a head that comes in pieces of this size. `None` also if the head is refused.
    fn end(input: &[u8], piece: usize) -> Option<usize> {
        let mut seen = 0;
        while seen < input.len() {
            let received = (seen + piece).min(input.len());
            if let Some(end) = head_end(&input[..received], seen).ok()? {
                return Some(end);
            }
            seen = received;
        }
        None
    }
}
