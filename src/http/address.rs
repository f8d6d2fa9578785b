//! The place of an address, as far as trust is concerned: this box, a local network, or the internet.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

/// The place of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The internet.
    Public,
    /// A network of the owner: private, unique local, or the shared range that VPNs use.
    Private,
    /// This link only. Clouds have their metadata service there, which knows secrets.
    LinkLocal,
    /// This box.
    Loopback,
}

impl Place {
    /// The place of an address.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(ip) => of_v4(ip),
            IpAddr::V6(ip) => of_v6(ip),
        }
    }

    /// The place of a host that is an address or `localhost`; `None` if the host is another name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let bare = name.split('%').next().unwrap_or(name);
        let (_, last) = name.rsplit_once('.').unwrap_or(("", name));
        if last.eq_ignore_ascii_case("localhost") {
            Some(Self::Loopback)
        } else if let Ok(address) = bare.parse() {
            Some(Self::of(address))
        } else {
            // The system's resolver reads `2130706433` and `0x7f.1` as addresses. Only an attacker writes
            // them so.
            let is_number = last.starts_with(|c: char| c.is_ascii_digit())
                && last
                    .bytes()
                    .all(|b| b.is_ascii_hexdigit() || b == b'x' || b == b'X');
            is_number.then_some(Self::LinkLocal)
        }
    }
}

fn of_v4(ip: Ipv4Addr) -> Place {
    let [first, second, ..] = ip.octets();
    let is_shared = first == 100 && second & 0b1100_0000 == 64;
    if ip.is_loopback() || first == 0 {
        Place::Loopback
    } else if ip.is_link_local() {
        Place::LinkLocal
    } else if ip.is_private() || is_shared {
        Place::Private
    } else {
        Place::Public
    }
}

fn of_v6(ip: Ipv6Addr) -> Place {
    const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];
    if ip.is_loopback() || ip.is_unspecified() {
        return Place::Loopback;
    }
    let is_translated = ip.segments().starts_with(&NAT64);
    let [.., a, b, c, d] = ip.octets();
    let inner = is_translated.then_some(Ipv4Addr::new(a, b, c, d));
    if let Some(inner) = inner.or_else(|| ip.to_ipv4()) {
        of_v4(inner)
    } else if ip.is_unicast_link_local() {
        Place::LinkLocal
    } else if ip.is_unique_local() {
        Place::Private
    } else {
        Place::Public
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_box_and_its_network_are_known() {
        for (name, expected) in [
            ("localhost", Some(Place::Loopback)),
            ("LocalHost.", Some(Place::Loopback)),
            ("a.localhost", Some(Place::Loopback)),
            ("127.8.9.1", Some(Place::Loopback)),
            ("0.0.0.0", Some(Place::Loopback)),
            ("0.1.2.3", Some(Place::Loopback)),
            ("::", Some(Place::Loopback)),
            ("::1", Some(Place::Loopback)),
            ("::ffff:127.0.0.1", Some(Place::Loopback)),
            ("169.254.169.254", Some(Place::LinkLocal)),
            ("169.254.169.254.", Some(Place::LinkLocal)),
            ("::169.254.169.254", Some(Place::LinkLocal)),
            ("64:ff9b::a9fe:a9fe", Some(Place::LinkLocal)),
            ("fe80::1", Some(Place::LinkLocal)),
            ("fe80::1%eth0", Some(Place::LinkLocal)),
            ("2852039166", Some(Place::LinkLocal)),
            ("0xa9fea9fe", Some(Place::LinkLocal)),
            ("0x7f.1", Some(Place::LinkLocal)),
            ("0177.0.0.01", Some(Place::LinkLocal)),
            ("10.0.0.1", Some(Place::Private)),
            ("172.31.0.1", Some(Place::Private)),
            ("192.168.1.1", Some(Place::Private)),
            ("100.64.0.1", Some(Place::Private)),
            ("100.127.0.1", Some(Place::Private)),
            ("fd00::1", Some(Place::Private)),
            ("::ffff:10.1.1.1", Some(Place::Private)),
            ("8.8.8.8", Some(Place::Public)),
            ("100.128.0.1", Some(Place::Public)),
            ("172.32.0.1", Some(Place::Public)),
            ("2606:4700::1", Some(Place::Public)),
            ("64:ff9b::808:808", Some(Place::Public)),
            ("ghcr.io", None),
            ("registry", None),
            ("1.registry", None),
            ("0x.example", None),
            ("beef", None),
            ("", None),
        ] {
            assert_eq!(Place::of_name(name), expected, "{name}");
        }
    }
}
