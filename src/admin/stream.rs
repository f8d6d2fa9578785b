//! An answer that grows while a refresh goes on: one JSON document a line, the report last.

use super::refresh_reply;
use super::route::NDJSON;
use crate::debug::debug;
use crate::jobs::Answer;
use crate::jobs::Listener;
use crate::progress::Step;
use crate::queue::Inlet;
use crate::queue::queue;
use std::io;
use std::io::Write;
use tiny_http::HTTPVersion;
use tiny_http::Request;

/// Lines that may wait for a slow client. Beyond that it misses steps, and never the report.
const WAITING: usize = 256;
const STACK: usize = 64 * 1024;

/// The refresh's side of it, which never blocks: a client that is slow or gone stops nothing.
pub(super) struct Stream {
    lines: Inlet<String>,
    /// What was said last of each layer's kind of step, so that not every byte is a line.
    last: Option<Step>,
}

impl Stream {
    /// Begins the answer, on a thread of its own.
    ///
    /// # Errors
    /// When there is no thread to be had; the request is answered 500 then, by being dropped.
    pub(super) fn begin(request: Request) -> io::Result<Self> {
        let (lines, outlet) = queue::<String>();
        let name = "admin-stream".to_owned();
        let thread = std::thread::Builder::new().name(name).stack_size(STACK);
        thread.spawn(move || {
            let chunked = *request.http_version() >= HTTPVersion(1, 1);
            let mut client = Client {
                writer: request.into_writer(),
                chunked,
            };
            let mut outcome = client.begin();
            while let (Ok(()), Some(line)) = (&outcome, outlet.pop()) {
                outcome = client.write(&line);
            }
            if let Err(error) = outcome.and_then(|()| client.end()) {
                debug(format_args!("a client no longer follows: {error}"));
            }
        })?;
        Ok(Self { lines, last: None })
    }
}

impl Listener for Stream {
    fn step(&mut self, step: &Step) {
        // The Engine repeats itself.
        if matches!(step, Step::Alive) || self.last.as_ref() == Some(step) {
            return;
        }
        if let Ok(mut line) = serde_json::to_string(step) {
            line.push('\n');
            let _ = self.lines.push_within(WAITING, line);
        }
        self.last = Some(step.clone());
    }

    fn end(self: Box<Self>, answer: &Answer) {
        self.lines.push(refresh_reply(answer).body + "\n");
    }
}

/// The client's side.
struct Client {
    writer: Box<dyn Write + Send>,
    /// HTTP/1.0 knows no chunks; there the answer ends with the connection.
    chunked: bool,
}

impl Client {
    fn begin(&mut self) -> io::Result<()> {
        let coding = if self.chunked {
            "Transfer-Encoding: chunked\r\n"
        } else {
            ""
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {NDJSON}\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\n{coding}\r\n"
        );
        self.send(&head)
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.chunked {
            self.send(&format!("{:x}\r\n{line}\r\n", line.len()))
        } else {
            self.send(line)
        }
    }

    fn end(&mut self) -> io::Result<()> {
        if self.chunked {
            self.send("0\r\n\r\n")
        } else {
            Ok(())
        }
    }

    fn send(&mut self, text: &str) -> io::Result<()> {
        self.writer.write_all(text.as_bytes())?;
        self.writer.flush()
    }
}
