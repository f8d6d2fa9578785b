//! An answer of the admin endpoint, and how it is sent.

use crate::json;
use crate::logging::debug;
use serde::Serialize;
use serde_json::json;
use std::fmt::Display;
use tiny_http::Header;
use tiny_http::Request;
use tiny_http::Response;

/// An answer before it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// The value of `Content-Type`.
    pub(super) kind: &'static str,
    pub(super) body: String,
    /// The methods that this path allows, for a 405.
    pub(super) allow: Option<&'static str>,
    /// The path of the job, for a 202.
    pub(super) location: Option<String>,
    /// Seconds until the caller should try again, for a 429.
    pub(super) retry_after: Option<&'static str>,
}

impl Reply {
    /// A JSON answer. Keys keep the order in which they are declared.
    pub(super) fn new(status: u16, body: &impl Serialize) -> Self {
        Self {
            status,
            kind: "application/json",
            body: json::print(body),
            allow: None,
            location: None,
            retry_after: None,
        }
    }

    /// An answer with status 200 that is not JSON.
    pub(super) fn text(kind: &'static str, body: &str) -> Self {
        Self {
            status: 200,
            kind,
            body: body.trim_end().to_owned(),
            allow: None,
            location: None,
            retry_after: None,
        }
    }

    /// The answer to an order that the update of the own container would cut short.
    pub(super) fn updating_itself() -> Self {
        Self {
            retry_after: Some("10"),
            ..Self::error(503, &"imagewatch is updating itself")
        }
    }

    pub(super) fn error(status: u16, reason: &dyn Display) -> Self {
        Self::new(status, &json!({ "error": reason.to_string() }))
    }
}

/// Sends the answer. If the client has left, only the debug log says so.
pub(super) fn respond(request: Request, reply: Reply) {
    let mut body = reply.body;
    body.push('\n');
    let mut response = Response::from_string(body).with_status_code(reply.status);
    let headers = [
        ("Content-Type", reply.kind),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ];
    let allow = reply.allow.map(|methods| ("Allow", methods));
    let location = reply.location.as_deref().map(|path| ("Location", path));
    let retry = reply.retry_after.map(|seconds| ("Retry-After", seconds));
    let challenge = (reply.status == 401).then_some(("WWW-Authenticate", "Bearer"));
    for (name, value) in headers
        .into_iter()
        .chain(allow)
        .chain(location)
        .chain(retry)
        .chain(challenge)
    {
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    if let Err(error) = request.respond(response) {
        debug(format_args!("a client did not take its answer: {error}"));
    }
}
