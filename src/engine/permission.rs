//! Whether a call is let through, by the Engine and by whoever stands before it, found out without
//! doing anything: it is made about what cannot exist.

use super::Engine;
use super::call::Call;
use crate::error::Error;
use crate::error::Result;
use serde_json::json;
use ureq::http::Method;

/// No container, network or image is called so: names, and those of repositories, begin with a letter
/// or a digit. What a proxy lets through by a pattern has these letters nonetheless.
const NOBODY: &str = "_imagewatch.preflight";

impl Engine {
    /// Makes a call, given as `docs/security.md` lists it. That the Engine knows nobody of that name
    /// shows that it was asked.
    ///
    /// # Errors
    /// When the call is forbidden, or it cannot be known whether it is.
    pub fn try_out(&self, rule: &str) -> Result<()> {
        let (method, path) = rule.split_once(' ').unwrap_or(("GET", rule));
        let mut path = path.replace("{id}", NOBODY);
        let mut body = None;
        if path.ends_with("/create") {
            // A pull of such a name is refused before any registry is asked, and a container neither
            // made from such an image nor called so.
            path.push_str(&format!("?fromImage={NOBODY}&name={NOBODY}"));
            body = Some(json!({ "Image": NOBODY }));
        }
        let method = match method {
            "POST" => Method::POST,
            "DELETE" => Method::DELETE,
            _ => Method::GET,
        };
        let call = Call {
            body: body.as_ref(),
            ..Call::new(method, &path, self.deadlines.call)
        };
        match self.finish(&call) {
            Err(error @ Error::Refused { .. }) if !error.is_denied() => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}
