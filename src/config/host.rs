//! Reads a host in `IMAGEWATCH_INSECURE_REGISTRIES`, in each form that people use.

use std::net::Ipv6Addr;

/// The description of usable values.
pub(super) const EXPECTED: &str =
    "hosts as they stand in references, HOST or HOST:PORT, separated by commas; no networks";

/// Returns `host[:port]` in the form that references have. Returns `None` if the text is no host.
pub(super) fn parse(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    // Many people write a scheme or a slash in Docker's own list of insecure registries.
    let bare = lower.strip_prefix("http://").unwrap_or(&lower);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    let (host, port) = match bare.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            let port = match rest {
                "" => None,
                rest => Some(rest.strip_prefix(':')?),
            };
            (None, port)
        }
        None => match bare.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(bare), None),
        },
    };
    let is_host = |host: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        !host.is_empty() && host.bytes().all(fits)
    };
    let is_port = |port: &str| {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        digits && port.parse::<u16>().is_ok_and(|port| port != 0)
    };
    (host.is_none_or(is_host) && port.is_none_or(is_port)).then(|| bare.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_in_any_form_that_means_one() {
        for (text, expected) in [
            ("reg.lan:5000", Some("reg.lan:5000")),
            ("reg.lan", Some("reg.lan")),
            ("REG.Lan", Some("reg.lan")),
            ("http://reg.lan:5000", Some("reg.lan:5000")),
            ("HTTP://reg.lan/", Some("reg.lan")),
            ("10.0.0.1:5000", Some("10.0.0.1:5000")),
            ("[::1]:5000", Some("[::1]:5000")),
            ("[fd00::1]", Some("[fd00::1]")),
            ("https://reg.lan", None),
            ("10.0.0.0/8", None),
            ("fd00::/8", None),
            ("[fd00::]/8", None),
            ("::1", None),
            ("[reg.lan]", None),
            ("*.lan", None),
            ("reg.lan/acme", None),
            ("me:secret@reg.lan", None),
            ("reg.lan:0", None),
            ("reg.lan:+80", None),
            ("reg.lan:port", None),
            ("reg lan", None),
            ("http://", None),
            ("tcp://reg.lan", None),
        ] {
            assert_eq!(parse(text).as_deref(), expected, "{text:?}");
        }
    }
}
