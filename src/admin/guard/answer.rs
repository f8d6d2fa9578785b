//! The answer that a client gets: the inner server's answer as it comes, or a refusal of the guard.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use tiny_http::StatusCode;

use super::backend::Backend;
use super::request::read_more;
use super::{End, timed_out};

/// The longest that a single write may be stuck.
const WRITE_STEP: Duration = Duration::from_secs(5);
/// The longest that all writes of one answer may be stuck together. Time between writes is not counted,
/// because an answer may stream for as long as a refresh takes.
const WRITE_TOTAL: Duration = Duration::from_secs(30);
/// How long, and how much, the guard still reads after the answer. Closing with unread input would reset
/// the connection, and the answer could be lost.
const LINGER_TIME: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 16 * 1024 * 1024;
const RELAY_BUFFER: usize = 4 * 1024;

/// Sends the request to the inner server, and relays its answer piece by piece.
pub(super) fn relay(client: &TcpStream, backend: &Backend, request: &[u8]) -> Result<(), End> {
    let Ok(mut server) = backend.send(request) else {
        return Err(End::Refused(
            503,
            "the admin server is not available, try again",
        ));
    };
    let mut answer = Answer {
        client,
        time_left: WRITE_TOTAL,
        has_begun: false,
    };
    let mut piece = vec![0; RELAY_BUFFER];
    loop {
        match server.read(&mut piece) {
            Ok(count) if count > 0 => answer.relay_piece(&piece[..count]).map_err(|_| End::Gone)?,
            Err(error) if timed_out(&error) || error.kind() == ErrorKind::Interrupted => {
                // A reset is an error of the socket. A check for EOF would drop half-closed clients.
                if !matches!(client.take_error(), Ok(None)) {
                    return Err(End::Gone);
                }
            }
            _ if answer.has_begun => return Ok(()),
            _ => {
                return Err(End::Refused(
                    502,
                    "the admin server gave no answer, try again",
                ));
            }
        }
    }
}

/// An answer on its way to the client, with the time that is left for stuck writes.
struct Answer<'a> {
    client: &'a TcpStream,
    time_left: Duration,
    has_begun: bool,
}

impl Answer<'_> {
    /// Writes one piece. After the status line, adds `Connection: close`, because each connection carries
    /// one answer. tiny_http never sends that header, even if the request asks for it.
    fn relay_piece(&mut self, piece: &[u8]) -> io::Result<()> {
        match piece.iter().position(|byte| *byte == b'\n') {
            Some(end) if !self.has_begun => {
                self.has_begun = true;
                let (line, rest) = piece.split_at(end + 1);
                self.write(&[line, b"Connection: close\r\n", rest].concat())
            }
            _ => self.write(piece),
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            // With no time left, the timeout is zero. std refuses a zero timeout, and that error ends the
            // answer as it should.
            self.client
                .set_write_timeout(Some(self.time_left.min(WRITE_STEP)))?;
            let start = Instant::now();
            match self.client.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            self.time_left = self.time_left.saturating_sub(start.elapsed());
        }
        Ok(())
    }
}

/// Sends a refusal. A failed write is ignored, because the connection ends anyway.
pub(super) fn refuse(client: &TcpStream, status: u16, reason: &str, to_head: bool) {
    let phrase = StatusCode(status).default_reason_phrase();
    let body = format!("{{\"error\":\"{reason}\"}}");
    let mut answer = format!(
        "HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    if !to_head {
        answer.push_str(&body);
    }
    drop(
        Answer {
            client,
            time_left: WRITE_STEP,
            has_begun: true,
        }
        .write(answer.as_bytes()),
    );
}

/// Reads on for a moment. Closing with unread input would reset the connection, and the client could lose
/// an answer that it has not read yet.
pub(super) fn linger(client: &TcpStream) {
    let deadline = Instant::now() + LINGER_TIME;
    let mut rest = Vec::new();
    let mut total = 0;
    drop(client.shutdown(Shutdown::Write));
    while total < LINGER_BYTES && read_more(client, &mut rest, deadline).is_ok() {
        total += rest.len();
        rest.clear();
    }
}
