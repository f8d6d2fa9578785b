//! The status as a page for people: one document, the same for everybody, without any data.
//!
//! The page asks for the token, and reads its data from `/admin/status`. Its Content-Security-Policy
//! allows only its own script and requests to imagewatch. So even if a name were taken for HTML, that
//! HTML could neither run code nor send data away.

use crate::logging::debug;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::SHA256;
use ring::digest::digest;
use std::sync::LazyLock;
use tiny_http::Header;
use tiny_http::Request;
use tiny_http::Response;

/// The page, made small by `build.rs`.
const DOCUMENT: &str = include_str!(concat!(env!("OUT_DIR"), "/page.html"));

/// The Content-Security-Policy (CSP Level 3). The hashes are computed from the document itself, so they
/// always fit it.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("style"),
        hash("script")
    )
});

/// Sends the page. If the client has left, only the debug log says so.
pub(super) fn respond(request: Request) {
    // Its length is known, so it needs no chunks.
    let mut response = Response::from_data(DOCUMENT).with_chunked_threshold(usize::MAX);
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
        debug(format_args!("a client did not take the page: {error}"));
    }
}

/// Returns the policy's source for the only element of this name. Without such an element this is the
/// hash of an empty text, which allows nothing.
fn hash(element: &str) -> String {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let inside = DOCUMENT
        .split_once(&open)
        .and_then(|(_, rest)| rest.split_once(&close))
        .map_or("", |(inside, _)| inside);
    let digest = digest(&SHA256, inside.as_bytes());
    format!("sha256-{}", STANDARD.encode(digest))
}
