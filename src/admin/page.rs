//! The status as a page for people: one document, the same for everybody, with no data in it.
//!
//! What it shows it reads from `/admin/status`, with the token it asks for. The policy it is sent
//! with lets it run its own script, talk to us, and nothing else; so even a name that were taken
//! for HTML could neither act nor tell anybody.

use crate::debug::debug;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::SHA256;
use ring::digest::digest;
use std::sync::LazyLock;
use tiny_http::Header;
use tiny_http::Request;
use tiny_http::Response;

const DOCUMENT: &str = include_str!("page.html");

/// The Content-Security-Policy (CSP Level 3). The hashes are taken from the document itself, so they
/// cannot go stale.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("style"),
        hash("script")
    )
});

/// Sends the page. A client that is gone is none of our business.
pub(super) fn respond(request: Request) {
    let mut response = Response::from_data(DOCUMENT);
    for (name, value) in [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "no-cache"),
        ("Content-Security-Policy", &POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "no-referrer"),
    ] {
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    if let Err(error) = request.respond(response) {
        debug(format_args!("the page was not taken: {error}"));
    }
}

/// What the policy calls the only element of this name. Without one it would be the hash of
/// nothing, which lets nothing run.
fn hash(element: &str) -> String {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let inside = DOCUMENT
        .split_once(&open)
        .and_then(|(_, rest)| rest.split_once(&close))
        .map_or("", |(inside, _)| inside);
    let digest = digest(&SHA256, inside.as_bytes());
    format!("sha256-{}", STANDARD.encode(digest))
}
