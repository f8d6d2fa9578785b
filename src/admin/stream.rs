//! An answer that grows while a refresh goes on: one JSON document per line, the report last.

use super::refresh::reply_to;
use super::route::NDJSON;
use crate::journal::Step;
use crate::logging::debug;
use crate::thread::Inlet;
use crate::thread::queue;
use crate::thread::start_small;
use crate::update::Answer;
use crate::update::Listener;
use std::io;
use std::io::Write;
use tiny_http::HTTPVersion;
use tiny_http::Request;

/// Lines that may wait for a slow client. Beyond this limit the client misses steps, but never the report.
const WAITING: usize = 256;
const STACK: usize = 64 * 1024;

/// The refresh's end of the stream. It never blocks, so a slow or lost client delays no refresh.
pub(super) struct Stream {
    lines: Inlet<String>,
    /// The last step that was written. The Engine repeats steps, and a repeated step is no new line.
    last: Option<Step>,
}

impl Stream {
    /// Begins the answer, on a thread of its own.
    ///
    /// # Errors
    /// If no thread can be started. The request is then dropped, which answers 500.
    pub(super) fn begin(request: Request) -> io::Result<Self> {
        let (lines, outlet) = queue::<String>();
        let task = Box::new(move || {
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
                debug(format_args!("a client no longer reads its stream: {error}"));
            }
        });
        start_small("admin-stream", STACK, task)?;
        Ok(Self { lines, last: None })
    }
}

impl Listener for Stream {
    #[cold]
    fn step(&mut self, step: &Step) {
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
        self.lines.push(reply_to(answer).body + "\n");
    }
}

/// The client's end of the stream.
struct Client {
    writer: Box<dyn Write + Send>,
    /// HTTP/1.0 has no chunks; there the end of the connection ends the answer.
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
