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

/// The page, packed by `build.rs`.
const PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/page.packed"));
/// About the size of the page.
const SIZE: usize = 40_000;
/// The length of the shortest repetition.
const SHORTEST: usize = 4;

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

/// The page, from the first request for it on.
static DOCUMENT: LazyLock<Vec<u8>> = LazyLock::new(unpack);

/// Unpacks the page. `build.rs` describes the form.
#[cold]
fn unpack() -> Vec<u8> {
    let mut text: Vec<u8> = Vec::with_capacity(SIZE);
    let mut rest = PACKED;
    while let [control, more @ ..] = rest {
        let length = usize::from(*control & 127);
        rest = match (control < &128, more) {
            (false, [low, high, more @ ..]) => {
                let from = text.len() - usize::from(u16::from_le_bytes([*low, *high]));
                for place in from..from + length + SHORTEST {
                    text.push(text[place]);
                }
                more
            }
            _ => {
                let (plain, more) = more.split_at(length + 1);
                text.extend(plain);
                more
            }
        };
    }
    text
}

/// Sends the page. If the client has left, only the debug log says so.
pub(super) fn respond(request: Request) {
    // Its length is known, so it needs no chunks.
    let mut response = Response::from_data(DOCUMENT.as_slice()).with_chunked_threshold(usize::MAX);
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
    let document = String::from_utf8_lossy(&DOCUMENT);
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let inside = document
        .split_once(&open)
        .and_then(|(_, rest)| rest.split_once(&close))
        .map_or("", |(inside, _)| inside);
    let digest = digest(&SHA256, inside.as_bytes());
    format!("sha256-{}", STANDARD.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_unpacked_as_it_was() {
        let document = String::from_utf8(unpack()).expect("UTF-8");
        let mut kept = document.lines();
        let mut lines = include_str!("page.html").lines().map(str::trim);
        let is_style = |line: &str| line == "<style>";
        // The style sheet is one long line.
        for line in lines.by_ref().take_while(|line| !is_style(line)) {
            assert_eq!(kept.next(), Some(line));
        }
        assert_eq!(kept.next(), Some("<style>"));
        let style = kept.next().expect("the style sheet");
        assert!(
            style.starts_with(":root {") || style.starts_with(":root{"),
            "{style}"
        );
        let lines = lines.skip_while(|line| *line != "</head>");
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with("//")) {
            assert_eq!(kept.next(), Some(line));
        }
        assert_eq!(kept.next(), None);
        assert!(PACKED.len() * 2 < document.len(), "{} bytes", PACKED.len());
    }
}
