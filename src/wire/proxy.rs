//! Which proxy a URL is asked through: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` as Go programs,
//! and so Docker itself, read them. ureq's own reading of these variables knows neither domains
//! nor networks nor ports in `NO_PROXY`.

use super::host_name;
use super::is_loopback;
use crate::config::Proxies;
use std::net::IpAddr;
use ureq::Proxy;
use ureq::http::Uri;

/// The proxy for `uri`, if there is to be one. Loopback hosts never have one.
pub(super) fn for_uri(proxies: &Proxies, uri: &Uri) -> Option<Proxy> {
    let (proxy, default_port) = match uri.scheme_str() {
        Some("https") => (&proxies.https, 443),
        _ => (&proxies.http, 80),
    };
    let proxy = proxy.as_deref()?;
    let name = host_name(uri.host()?);
    let port = uri.port_u16().unwrap_or(default_port);
    let excepted = |item: &String| matches(item, name, port);
    if is_loopback(name) || proxies.exceptions.iter().any(excepted) {
        return None;
    }
    Proxy::new(proxy).ok()
}

/// `*`, `host`, `.domain`, `host:port`, an address or a network such as `10.0.0.0/8`. A host also
/// stands for everything below it.
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
}
