//! Commands run inside a container (Engine API, "Exec").

use super::Engine;
use super::logs::demultiplexed;
use super::request::Call;
use super::request::Deadline;
use super::segment;
use crate::error::Error;
use crate::error::Result;
use serde_json::json;
use std::io::Read;
use std::time::Duration;
use ureq::http::Method;

/// How many bytes of a command's output are kept, counted from its end.
const KEPT: usize = 4096;

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The exit code of the command.
    pub code: i64,
    /// The end of the command's output.
    pub output: String,
}

impl Engine {
    /// Runs a command line in a container's own shell, `sh`, and waits for its end
    /// (`POST /containers/{id}/exec`, `POST /exec/{id}/start`, `GET /exec/{id}/json`).
    ///
    /// # Errors
    /// When the Engine refuses, and when the command takes longer than `deadline`. Such a command is left
    /// running.
    #[cold]
    pub fn exec(&self, id: &str, command: &str, deadline: Duration) -> Result<Ran> {
        let body =
            json!({"Cmd": ["sh", "-c", command], "AttachStdout": true, "AttachStderr": true});
        let path = format!("/containers/{}/exec", segment(id));
        let created = self.post_json(&path, &body, self.deadlines.call)?;
        let exec = segment(created["Id"].as_str().unwrap_or_default());
        let path = format!("/exec/{exec}/start");
        let body = json!({"Detach": false, "Tty": false});
        let answer = self.call(&Call {
            body: Some(&body),
            deadline: Deadline::Total(deadline),
            ..Call::new(Method::POST, &path, deadline)
        })?;
        let mut reader = answer.into_body().into_reader();
        let (mut output, mut chunk) = (Vec::new(), [0; 1024]);
        loop {
            let read = reader.read(&mut chunk).map_err(|error| {
                Error::unreachable(self.named(&Method::POST, &path), error.to_string())
            })?;
            if read == 0 {
                break;
            }
            // The output is split into frames from its beginning, so only its end may be missing.
            if output.len() < 16 * KEPT {
                output.extend_from_slice(&chunk[..read]);
            }
        }
        let text = String::from_utf8_lossy(&demultiplexed(&output)).into_owned();
        let begin = text.len().saturating_sub(KEPT);
        let begin = (begin..text.len()).find(|&at| text.is_char_boundary(at));
        let seen = self.get(&format!("/exec/{exec}/json"), self.deadlines.call)?;
        Ok(Ran {
            code: seen["ExitCode"].as_i64().unwrap_or(-1),
            output: text[begin.unwrap_or(text.len())..].to_owned(),
        })
    }
}
