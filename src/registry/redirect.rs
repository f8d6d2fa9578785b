//! Where a registry may lead us: it decides where we send requests, and must not gain by it.

use crate::error::Error;
use crate::error::Result;
use crate::wire::Wire;
use crate::wire::authority;
use crate::wire::host_name;
use crate::wire::is_local_address;
use crate::wire::parse_uri;
use crate::wire::redacted;
use ureq::Body;
use ureq::http::Method;
use ureq::http::Response;
use ureq::http::Uri;

/// The URL that `from` names in an answer to `request`, if it may lead us there.
pub(super) fn follow(wire: &Wire, from: &Uri, target: &str, request: &str) -> Result<Uri> {
    let to = parse_uri(&Method::GET, target).map_err(|_| Error::Malformed {
        request: request.to_owned(),
        reason: format!("{} leads to what is not a URL: refused", authority(from)),
    })?;
    check(wire, from, &to, request)?;
    Ok(to)
}

/// Refuses to be led from TLS to plain HTTP, or from a public registry into this box's own
/// network: a registry decides where we send requests, and must not gain by it.
fn check(wire: &Wire, from: &Uri, to: &Uri, request: &str) -> Result<()> {
    let (from_host, to_host) = (authority(from), authority(to));
    let reason = if to.scheme_str() != Some("https") && to.scheme_str() != Some("http") {
        "to something that is not HTTP"
    } else if to.scheme_str() == Some("http")
        && from.scheme_str() == Some("https")
        && !wire.may_be_plain(&to_host)
    {
        "from https to http"
    } else if is_local_address(host_name(&to_host))
        && !is_local_address(host_name(&from_host))
        && !wire.may_be_plain(&from_host)
    {
        "into the local network"
    } else {
        return Ok(());
    };
    Err(Error::Malformed {
        request: request.to_owned(),
        reason: format!("{from_host} leads {reason}, to {}: refused", redacted(to)),
    })
}

/// Where a 3xx answer leads, as an absolute URL.
pub(super) fn target(from: &Uri, answer: &Response<Body>) -> Option<String> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = answer.headers().get("location")?.to_str().ok()?;
    if location.starts_with('/') && !location.starts_with("//") {
        let scheme = from.scheme_str().unwrap_or("https");
        return Some(format!("{scheme}://{}{location}", authority(from)));
    }
    Some(location.to_owned())
}

/// The repository in `/v2/REPOSITORY/manifests/TAG`.
pub(super) fn repository_in(path: &str) -> Option<&str> {
    let (repository, _) = path.strip_prefix("/v2/")?.rsplit_once("/manifests/")?;
    Some(repository)
}

pub(super) fn path_and_query(uri: &Uri) -> String {
    uri.path_and_query().map_or("/", |p| p.as_str()).to_owned()
}
