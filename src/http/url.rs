//! URLs: read from text, printed without secrets, and their hosts.

use crate::error::Error;
use crate::error::Result;
use crate::error::one_line;
use std::net::IpAddr;
use ureq::http::Method;
use ureq::http::Uri;

/// Parses a URL that imagewatch or a peer made.
pub(crate) fn parse_uri(method: &Method, text: &str) -> Result<Uri> {
    let uri = text.parse::<Uri>().ok();
    uri.filter(|uri| uri.authority().is_some() && uri.scheme().is_some())
        .ok_or_else(|| {
            Error::malformed(
                method.to_string(),
                format!("not a URL: {:?}", one_line(text)),
            )
        })
}

/// Prints a URL for a log line: without user info, and with only those query values that are no secrets.
/// A peer may have made the URL, so it is cut to the length of a line.
pub(crate) fn redacted(uri: &Uri) -> String {
    let mut text = format!(
        "{}://{}{}",
        uri.scheme_str().unwrap_or_default(),
        authority(uri),
        uri.path()
    );
    let public = |pair: &&str| {
        let key = pair.split('=').next().unwrap_or_default();
        matches!(key, "scope" | "service" | "client_id")
    };
    let query: Vec<&str> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(public)
        .collect();
    if !query.is_empty() {
        text.push('?');
        text.push_str(&query.join("&"));
    }
    one_line(&text)
}

/// Returns `host[:port]`, without user info.
pub(crate) fn authority(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    host.to_owned()
}

/// Returns the host without port and brackets.
pub(crate) fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    host.split(':').next().unwrap_or(host)
}

pub(crate) fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_printed_without_secrets() {
        let uri: Uri = "https://me:pw@a.b:1/token?service=s&token=secret&scope=x"
            .parse()
            .expect("URL");
        assert_eq!(redacted(&uri), "https://a.b:1/token?service=s&scope=x");
    }

    #[test]
    fn a_long_url_is_cut_to_a_line() {
        let long = format!("https://a.b/{}", "x".repeat(10_000));
        assert!(redacted(&long.parse().expect("URL")).len() < 400);
    }

    #[test]
    fn names_are_cut_from_ports_and_brackets() {
        assert_eq!(host_name("[::1]:5000"), "::1");
        assert_eq!(host_name("a.b:5000"), "a.b");
        assert_eq!(host_name("a.b"), "a.b");
    }
}
