//! Tests whether a call is allowed by the Engine, and by a proxy in front of the Engine. The call has no effect,
//! because it names an object that cannot exist.

use super::Engine;
use super::request::Call;
use crate::error::Result;
use serde_json::json;
use ureq::http::Method;

/// No container, network or image has this name: names, also of repositories, begin with a letter or a digit. The
/// patterns of proxies allow these letters all the same.
const NOBODY: &str = "_imagewatch.preflight";

/// This call never ends unless it names an end.
const EVENTS: &str = "/events";

impl Engine {
    /// Makes a call, given as `docs/security.md` lists it. An answer that the name is unknown shows that the call
    /// reached the Engine.
    ///
    /// # Errors
    /// When the call is forbidden, or when the answer does not tell.
    pub fn try_out(&self, rule: &str) -> Result<()> {
        let (method, path) = rule.split_once(' ').unwrap_or(("GET", rule));
        let mut path = path.replace("{id}", NOBODY);
        let mut body = None;
        if path.ends_with("/create") {
            // The Engine refuses to pull such a name before it asks a registry. It also refuses to create a
            // container from such an image or under such a name.
            path.push_str(&format!("?fromImage={NOBODY}&name={NOBODY}"));
            body = Some(json!({ "Image": NOBODY }));
        } else if path == "/services" || path == "/tasks" {
            // No service has such a name, so the answer is short.
            path.push_str(&format!(
                "?filters=%7B%22name%22:%7B%22{NOBODY}%22:true%7D%7D"
            ));
        } else if path == EVENTS {
            // No event happened in the first second of 1970, so the answer ends at once.
            path.push_str("?since=1&until=1");
        }
        let method = match method {
            "POST" => Method::POST,
            "DELETE" => Method::DELETE,
            "HEAD" => Method::HEAD,
            "PUT" => Method::PUT,
            _ => Method::GET,
        };
        let call = Call {
            body: body.as_ref(),
            ..Call::new(method, &path, self.deadlines.call)
        };
        match self.finish(&call) {
            Err(error) if error.status().is_some() && !error.is_denied() => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}
