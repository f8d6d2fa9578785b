//! The proxy for a URL. `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` mean the same as for Go programs, and so
//! for Docker itself. ureq's own reading of `NO_PROXY` knows no domains, networks or ports.

use super::url::host_name;
use super::url::is_loopback;
use crate::error::one_line;
use std::fmt;
use std::net::IpAddr;
use ureq::Proxy;
use ureq::http::Uri;

/// The proxies for registries and receivers of messages, as the owner gave them.
#[derive(Clone, Default)]
pub struct Proxies {
    /// The proxy for `https://`.
    pub https: Option<String>,
    /// The proxy for `http://`.
    pub http: Option<String>,
    /// The hosts that are reached without a proxy.
    pub exceptions: Vec<String>,
}

impl fmt::Debug for Proxies {
    /// A proxy's URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Proxies(https: {}, http: {})",
            self.https.is_some(),
            self.http.is_some()
        )
    }
}

/// The proxy for `uri`, if there is one. A loopback host is never reached through a proxy.
pub(super) fn for_uri(proxies: &Proxies, uri: &Uri) -> Option<Proxy> {
    let (_, proxy) = choose(proxies, uri)?;
    Proxy::new(proxy).ok()
}

/// The proxy for `uri`, printed for people without its login: `http://proxy:3128 (HTTPS_PROXY)`.
pub(super) fn shown(proxies: &Proxies, uri: &Uri) -> Option<String> {
    let (variable, proxy) = choose(proxies, uri)?;
    let (scheme, rest) = proxy.split_once("://").unwrap_or(("http", proxy));
    let host = rest.split('/').next().unwrap_or(rest);
    let (_, host) = host.rsplit_once('@').unwrap_or(("", host));
    Some(one_line(&format!("{scheme}://{host} ({variable})")))
}

/// The variable that decides for `uri`, and its value.
fn choose<'a>(proxies: &'a Proxies, uri: &Uri) -> Option<(&'static str, &'a str)> {
    let (variable, proxy, default_port) = match uri.scheme_str() {
        Some("https") => ("HTTPS_PROXY", &proxies.https, 443),
        _ => ("HTTP_PROXY", &proxies.http, 80),
    };
    let proxy = proxy.as_deref()?;
    let name = host_name(uri.host()?);
    let port = uri.port_u16().unwrap_or(default_port);
    let excepted = |item: &String| matches(item, name, port);
    let is_direct = is_loopback(name) || proxies.exceptions.iter().any(excepted);
    (!is_direct).then_some((variable, proxy))
}

/// Whether an item of `NO_PROXY` means this host. An item is `*`, `host`, `.domain`, `host:port`, an address,
/// or a network such as `10.0.0.0/8`. A host also means every name below it.
fn matches(item: &str, name: &str, port: u16) -> bool {
    if item == "*" {
        return true;
    }
    if let (Some((network, bits)), Ok(address)) = (item.split_once('/'), name.parse()) {
        return in_network(network, bits, address).unwrap_or(false);
    }
    let (item, wanted_port) = match item.rsplit_once(':') {
        Some((host, digits)) if !host.contains(':') || host.ends_with(']') => {
            (host, digits.parse::<u16>().ok())
        }
        _ => (item, None),
    };
    if wanted_port.is_some_and(|wanted| wanted != port) {
        return false;
    }
    let item = item.trim_matches(['[', ']']).to_ascii_lowercase();
    let domain = item.trim_start_matches("*").trim_start_matches('.');
    let name = name.to_ascii_lowercase();
    let below = name
        .strip_suffix(domain)
        .is_some_and(|rest| rest.ends_with('.'));
    !domain.is_empty() && (below || (name == domain && !item.starts_with(['.', '*'])))
}

fn in_network(network: &str, bits: &str, address: IpAddr) -> Option<bool> {
    let bits: u32 = bits.parse().ok()?;
    let (network, address, width) = match (network.parse().ok()?, address) {
        (IpAddr::V4(n), IpAddr::V4(a)) => (u128::from(n.to_bits()), u128::from(a.to_bits()), 32),
        (IpAddr::V6(n), IpAddr::V6(a)) => (n.to_bits(), a.to_bits(), 128),
        _ => return Some(false),
    };
    let shift = u32::checked_sub(width, bits)?;
    Some(shift == 128 || network >> shift == address >> shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_read_as_docker_reads_them() {
        for (item, name, port, expected) in [
            ("*", "ghcr.io", 443, true),
            ("ghcr.io", "ghcr.io", 443, true),
            ("ghcr.io", "pkg.ghcr.io", 443, true),
            ("ghcr.io", "notghcr.io", 443, false),
            (".ghcr.io", "pkg.ghcr.io", 443, true),
            (".ghcr.io", "ghcr.io", 443, false),
            ("*.ghcr.io", "pkg.ghcr.io", 443, true),
            ("GHCR.io", "ghcr.IO", 443, true),
            ("ghcr.io:443", "ghcr.io", 443, true),
            ("ghcr.io:80", "ghcr.io", 443, false),
            ("10.0.0.0/8", "10.1.2.3", 443, true),
            ("10.0.0.0/8", "11.1.2.3", 443, false),
            ("10.0.0.0/8", "ghcr.io", 443, false),
            ("0.0.0.0/0", "11.1.2.3", 443, true),
            ("fd00::/8", "fd12::1", 443, true),
            ("::/0", "fd12::1", 443, true),
            ("10.0.0.0/99", "10.1.2.3", 443, false),
            ("10.1.2.3", "10.1.2.3", 443, true),
            ("[fd12::1]:443", "fd12::1", 443, true),
            ("", "ghcr.io", 443, false),
        ] {
            assert_eq!(matches(item, name, port), expected, "{item} {name}:{port}");
        }
    }

    #[test]
    fn each_scheme_has_its_proxy_and_loopback_none() {
        let proxies = Proxies {
            https: Some("http://proxy.example:3128".into()),
            http: None,
            exceptions: vec!["quay.io".into()],
        };
        let has = |uri: &str| for_uri(&proxies, &uri.parse().expect("URL")).is_some();
        assert!(has("https://ghcr.io/v2/"));
        assert!(!has("http://ghcr.io/v2/"));
        assert!(!has("https://quay.io/v2/"));
        assert!(!has("https://127.0.0.1:5000/v2/"));
    }

    #[test]
    fn a_proxy_is_shown_without_its_login() {
        for (proxy, expected) in [
            (
                "http://proxy.example:3128",
                "http://proxy.example:3128 (HTTPS_PROXY)",
            ),
            (
                "http://me:pw@proxy.example:3128/",
                "http://proxy.example:3128 (HTTPS_PROXY)",
            ),
            ("me:p@w@proxy.example", "http://proxy.example (HTTPS_PROXY)"),
            (
                "http://[fd00::1]:3128",
                "http://[fd00::1]:3128 (HTTPS_PROXY)",
            ),
        ] {
            let proxies = Proxies {
                https: Some(proxy.into()),
                http: None,
                exceptions: Vec::new(),
            };
            let uri = "https://ghcr.io/v2/".parse().expect("URL");
            assert_eq!(shown(&proxies, &uri).as_deref(), Some(expected));
        }
    }
}
