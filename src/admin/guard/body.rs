//! The body of a request: read whole, and handed on with its length.
//!
//! Only a push hook may be chunked, or wait for a `100 Continue`.

use super::End;
use super::request::read_more;
use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

/// The longest body of a push hook. GitHub's are about 20 KiB.
pub(super) const MAX_HOOK: usize = 256 * 1024;
pub(super) const TOO_LONG: End = End::Refused(413, "the body is longer than 256 KiB");
const MALFORMED: End = End::Refused(400, "the body is not chunked as it should be");
/// The longest line with the size of a chunk.
const LONGEST_LINE: usize = 8;

/// How the body arrives.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Framing {
    pub(super) length: usize,
    pub(super) is_chunked: bool,
    /// Whether the client waits for a `100 Continue`.
    pub(super) is_awaited: bool,
}

impl Framing {
    /// Reads the body, which begins at `start`, and ends the request with it.
    pub(super) fn read(
        self,
        mut client: &TcpStream,
        received: &mut Vec<u8>,
        start: usize,
        deadline: Instant,
        request: &mut Vec<u8>,
    ) -> Result<(), End> {
        if self.is_awaited && received.len() == start {
            let answer = client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            answer.map_err(|_| End::Gone)?;
        }
        let mut chunks = Chunks::default();
        if self.is_chunked {
            while !chunks.take(&received[start..])? {
                read_more(client, received, deadline)?;
            }
        }
        while received.len() < start + self.length {
            read_more(client, received, deadline)?;
        }
        // Any further bytes are a pipelined request. They are not read, and are lost with the connection.
        let body = match self.is_chunked {
            true => &chunks.body,
            false => &received[start..start + self.length],
        };
        end_head(body.len(), request);
        request.extend_from_slice(body);
        Ok(())
    }
}

/// Ends the head of a request with the length of its body.
pub(super) fn end_head(length: usize, request: &mut Vec<u8>) {
    if length > 0 {
        request.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
    }
    request.extend_from_slice(b"Connection: close\r\n\r\n");
}

/// The chunks that have arrived (RFC 9112, "Chunked Transfer Coding"), without extensions and trailers.
#[derive(Default)]
struct Chunks {
    body: Vec<u8>,
    /// Where the next chunk begins.
    at: usize,
}

impl Chunks {
    /// Takes the whole chunks. Returns whether the last one has arrived.
    #[cold]
    fn take(&mut self, received: &[u8]) -> Result<bool, End> {
        if received.len() > 2 * MAX_HOOK {
            return Err(TOO_LONG);
        }
        loop {
            let rest = &received[self.at..];
            let line = &rest[..rest.len().min(LONGEST_LINE + 2)];
            let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
                return match line.len() {
                    short if short < LONGEST_LINE + 2 => Ok(false),
                    _ => Err(MALFORMED),
                };
            };
            let digits = std::str::from_utf8(&rest[..end]).unwrap_or_default();
            if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(MALFORMED);
            }
            let size = usize::from_str_radix(digits, 16).map_err(|_| MALFORMED)?;
            // Not as a sum, which eight digits can overflow on a 32-bit machine.
            if size > MAX_HOOK - self.body.len() {
                return Err(TOO_LONG);
            }
            let Some(chunk) = rest.get(end + 2..end + 2 + size + 2) else {
                return Ok(false);
            };
            let Some(chunk) = chunk.strip_suffix(b"\r\n") else {
                return Err(MALFORMED);
            };
            if size == 0 {
                return Ok(true);
            }
            self.body.extend_from_slice(chunk);
            self.at += end + 2 + size + 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, or the status of the refusal; nothing while some is missing.
    fn taken(received: &[u8]) -> Option<Result<Vec<u8>, u16>> {
        let mut chunks = Chunks::default();
        match chunks.take(received) {
            Ok(true) => Some(Ok(chunks.body)),
            Ok(false) => None,
            Err(End::Refused(status, _)) => Some(Err(status)),
            Err(End::Gone) => Some(Err(0)),
        }
    }

    #[test]
    fn chunks_are_joined_and_odd_ones_refused() {
        let long = format!("40000\r\n{}\r\n1\r\nx\r\n", "a".repeat(MAX_HOOK));
        let tiny = "1\r\na\r\n".repeat(100_000);
        for (received, expected) in [
            ("0\r\n\r\n", Some(Ok(""))),
            ("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET /", Some(Ok("abcde"))),
            ("A\r\n0123456789\r\n0\r\n\r\n", Some(Ok("0123456789"))),
            ("", None),
            ("3\r\nab", None),
            ("3\r\nabc\r\n0\r\n", None),
            ("3;a=b\r\nabc\r\n0\r\n\r\n", Some(Err(400))),
            ("3 \r\nabc\r\n0\r\n\r\n", Some(Err(400))),
            ("-3\r\nabc", Some(Err(400))),
            ("\r\n", Some(Err(400))),
            ("3\r\nabcd\r\n0\r\n\r\n", Some(Err(400))),
            ("0\r\nA: b\r\n\r\n", Some(Err(400))),
            ("000000003\r\nabc", Some(Err(400))),
            ("fffffff\r\n", Some(Err(413))),
            ("1\r\na\r\nffffffff\r\n", Some(Err(413))),
            (&long, Some(Err(413))),
            (&tiny, Some(Err(413))),
        ] {
            let expected =
                expected.map(|one: Result<&str, u16>| one.map(|text| text.as_bytes().to_vec()));
            assert_eq!(taken(received.as_bytes()), expected, "{:.40}", received);
        }
    }

    #[test]
    fn chunks_mean_the_same_in_one_piece_and_in_many() {
        const WORDS: &[&str] = &[
            "\r\n",
            "\r",
            "\n",
            "0",
            "0\r\n\r\n",
            "3\r\nabc\r\n",
            "a",
            "F",
            "ffffffff",
            ";x=y",
            "+1",
            "-1",
            " ",
            "é",
            "\0",
        ];
        crate::fuzz::fuzz("chunks", WORDS, |input| {
            let input = &input[..input.len().min(2048)];
            let whole = taken(input);
            if let Some(Ok(body)) = &whole {
                assert!(body.len() < input.len());
            }
            let (mut chunks, mut end) = (Chunks::default(), None);
            for length in 0..=input.len() {
                match chunks.take(&input[..length]) {
                    Ok(false) => continue,
                    Ok(true) => end = Some(Ok(std::mem::take(&mut chunks.body))),
                    Err(End::Refused(status, _)) => end = Some(Err(status)),
                    Err(End::Gone) => panic!("nobody was asked"),
                }
                break;
            }
            assert_eq!(end, whole);
        });
    }
}
