//! What the client is told: the inner server's answer as it comes, or a refusal of our own.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use tiny_http::StatusCode;

use super::inner::Inner;
use super::request::read_more;
use super::{End, timed_out};

/// The longest a single write may be stuck, and all writes of one answer together. Time between
/// writes is not counted: an answer may stream for as long as a refresh takes.
const WRITE_STEP: Duration = Duration::from_secs(5);
const WRITE_TOTAL: Duration = Duration::from_secs(30);
/// What a client may still send after the answer, so that closing does not reset it unread.
const LINGER_TIME: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 16 * 1024 * 1024;
const RELAY_BUFFER: usize = 4 * 1024;

/// Hands the request to the inner server and passes its answer on, piece by piece as it comes.
pub(super) fn relay(client: &TcpStream, inner: &Inner, request: &[u8]) -> Result<(), End> {
    let Ok(mut server) = inner.send(request) else {
        return Err(End::Refused(
            503,
            "the admin server is not available, try again",
        ));
    };
    let mut answer = Answer {
        client,
        patience: WRITE_TOTAL,
        begun: false,
    };
    let mut piece = vec![0; RELAY_BUFFER];
    loop {
        match server.read(&mut piece) {
            Ok(count) if count > 0 => answer.pass_on(&piece[..count]).map_err(|_| End::Gone)?,
            Err(error) if timed_out(&error) || error.kind() == ErrorKind::Interrupted => {
                // A reset shows here; looking for EOF instead would drop half-closed clients.
                if !matches!(client.take_error(), Ok(None)) {
                    return Err(End::Gone);
                }
            }
            _ if answer.begun => return Ok(()),
            _ => {
                return Err(End::Refused(
                    502,
                    "the admin server gave no answer, try again",
                ));
            }
        }
    }
}

/// The client's side of an answer, with the patience that is left for writing it.
struct Answer<'a> {
    client: &'a TcpStream,
    patience: Duration,
    begun: bool,
}

impl Answer<'_> {
    /// Passes a piece on, telling the client behind the status line that there is only this one
    /// answer: tiny_http does not say so itself, whatever it was asked.
    fn pass_on(&mut self, piece: &[u8]) -> io::Result<()> {
        match piece.iter().position(|byte| *byte == b'\n') {
            Some(end) if !self.begun => {
                self.begun = true;
                let (line, rest) = piece.split_at(end + 1);
                self.write(&[line, b"Connection: close\r\n", rest].concat())
            }
            _ => self.write(piece),
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            // No patience left is a zero timeout, which std refuses: an error, as it should be.
            self.client
                .set_write_timeout(Some(self.patience.min(WRITE_STEP)))?;
            let start = Instant::now();
            match self.client.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            self.patience = self.patience.saturating_sub(start.elapsed());
        }
        Ok(())
    }
}

/// Tells the client no. Whether it hears it is its own affair.
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
            patience: WRITE_STEP,
            begun: true,
        }
        .write(answer.as_bytes()),
    );
}

/// Reads on for a moment: closing with unread input resets the connection, and the client may
/// then lose an answer it has not read yet.
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
