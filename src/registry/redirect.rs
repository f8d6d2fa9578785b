//! Redirects. A registry names the next URL, but must not send imagewatch to hosts that it may not reach
//! itself.

use crate::error::Error;
use crate::error::Result;
use crate::error::one_line;
use crate::http::Client;
use crate::http::Place;
use crate::http::authority;
use crate::http::host_name;
use crate::http::parse_uri;
use crate::http::redacted;
use std::net::IpAddr;
use std::net::ToSocketAddrs;
use ureq::Body;
use ureq::http::Method;
use ureq::http::Response;
use ureq::http::Uri;

/// Checks and returns the URL that `from` names in its answer to `request`.
pub(super) fn follow(client: &Client, from: &Uri, target: &str, request: &str) -> Result<Uri> {
    let to = parse_uri(&Method::GET, target).map_err(|_| {
        Error::malformed(
            request,
            format!(
                "{} leads to a text that is not a URL: refused",
                authority(from)
            ),
        )
    })?;
    check(client, from, &to, request)?;
    Ok(to)
}

/// Refuses to go from TLS to plain HTTP, or from a public registry into this box's own network. A registry
/// chooses where the next request goes, and must not gain access that way.
fn check(client: &Client, from: &Uri, to: &Uri, request: &str) -> Result<()> {
    let (from_host, to_host) = (authority(from), authority(to));
    let reason = if to.scheme_str() != Some("https") && to.scheme_str() != Some("http") {
        "to something that is not HTTP"
    } else if to.scheme_str() == Some("http")
        && from.scheme_str() == Some("https")
        && !client.may_be_plain(&to_host)
    {
        "from https to http"
    } else if !may_lead(client, &from_host, &to_host, resolve) {
        "into the local network"
    } else {
        return Ok(());
    };
    // There is no hint for a link-local address: the owner must not list a cloud's metadata service.
    let hint = match Place::of_name(host_name(&to_host)) {
        Some(Place::LinkLocal) => String::new(),
        _ => format!(
            " (if that is right, add {} to IMAGEWATCH_INSECURE_REGISTRIES)",
            one_line(&to_host)
        ),
    };
    Err(Error::malformed(
        request,
        format!(
            "{from_host} leads {reason}, to {}: refused{hint}",
            redacted(to)
        ),
    ))
}

/// Whether one host may redirect to another, by the place of each. A redirect to a name is allowed, because
/// the registry does not decide which address the name has. A redirect to a local address is allowed from a
/// registry in the local network, and from or to a host that the owner listed.
fn may_lead(
    client: &Client,
    from: &str,
    to: &str,
    resolve: impl FnOnce(&str) -> Vec<IpAddr>,
) -> bool {
    let place = Place::of_name(host_name(to)).unwrap_or(Place::Public);
    if place == Place::Public || client.is_listed(to) {
        return true;
    }
    let from_places = match Place::of_name(host_name(from)) {
        Some(place) => vec![place],
        None => resolve(host_name(from))
            .into_iter()
            .map(Place::of)
            .collect(),
    };
    match place {
        Place::Public => true,
        Place::Private => {
            from_places.iter().any(|from| *from != Place::Public) || client.is_listed(from)
        }
        Place::Loopback => from_places.contains(&Place::Loopback) || client.is_listed(from),
        // A cloud has its metadata service there, and nobody has a registry there.
        Place::LinkLocal => {
            !from_places.is_empty() && from_places.iter().all(|from| *from == Place::LinkLocal)
        }
    }
}

/// The addresses of a name, as this box resolves it; empty if the name is unknown.
fn resolve(name: &str) -> Vec<IpAddr> {
    let found = (name, 0).to_socket_addrs();
    found.map_or_else(|_| Vec::new(), |all| all.map(|one| one.ip()).collect())
}

/// The target of a 3xx answer, as an absolute URL.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Proxies;

    #[test]
    fn only_who_is_in_the_local_network_leads_into_it() {
        let listed = ["listed.lan", "10.0.0.9:8443"].map(str::to_owned);
        let client = Client::new(None, Proxies::default(), listed.to_vec());
        let addresses = |name: &str| -> Vec<IpAddr> {
            let all: &[&str] = match name {
                "harbor.lan" => &["192.168.1.5"],
                "dual.lan" => &["2001:db8::5", "10.0.0.5"],
                "this.box" => &["127.0.1.1"],
                "link.lan" => &["169.254.1.1"],
                "sly.example" => &["169.254.169.254", "203.0.113.7"],
                "ghcr.io" => &["203.0.113.7"],
                _ => &[],
            };
            all.iter()
                .map(|one| one.parse().expect("an address"))
                .collect()
        };
        for (from, to, expected) in [
            // Harbor with an address for a hostname.
            ("harbor.lan", "192.168.1.5", true),
            ("harbor.lan:8443", "192.168.1.5:8443", true),
            ("harbor.lan", "10.7.7.7", true),
            ("dual.lan", "10.0.0.5", true),
            ("192.168.1.5", "10.0.0.1", true),
            ("this.box", "192.168.1.5", true),
            ("127.0.0.1:5000", "192.168.1.5", true),
            ("127.0.0.1:5000", "[::1]:5001", true),
            ("localhost:5000", "127.0.0.1:5001", true),
            ("this.box", "127.0.0.1", true),
            ("link.lan", "169.254.1.2", true),
            // Hosts that the owner listed.
            ("listed.lan", "127.0.0.1", true),
            ("listed.lan:5000", "192.168.1.5", true),
            ("ghcr.io", "10.0.0.9:8443", true),
            ("ghcr.io", "listed.lan", true),
            ("ghcr.io", "10.0.0.9", false),
            ("listed.lan", "169.254.169.254", false),
            // From the internet, and to addresses where nobody has a registry.
            ("ghcr.io", "192.168.1.5", false),
            ("ghcr.io", "127.0.0.1", false),
            ("ghcr.io", "[::ffff:10.0.0.1]", false),
            ("ghcr.io", "2852039166", false),
            ("not.known", "192.168.1.5", false),
            ("203.0.113.7", "192.168.1.5", false),
            ("harbor.lan", "127.0.0.1", false),
            ("harbor.lan", "169.254.169.254", false),
            ("192.168.1.5", "localhost", false),
            ("127.0.0.1:5000", "169.254.169.254", false),
            ("sly.example", "169.254.169.254", false),
            // Out of the local network, and to names.
            ("harbor.lan", "203.0.113.7", true),
            ("ghcr.io", "auth.example", true),
        ] {
            let found = may_lead(&client, from, to, addresses);
            assert_eq!(found, expected, "{from} → {to}");
        }
    }
}
