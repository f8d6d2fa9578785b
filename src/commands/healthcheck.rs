//! `imagewatch healthcheck`: asks the running server. Images without a shell need this command for a HEALTHCHECK.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::time::Duration;

/// The server waits for the Engine up to 10 s: a ping and one more question, of 5 s each.
const DEADLINE: Duration = Duration::from_secs(12);
/// Far more than the one short line of a real answer.
const BODY_LIMIT: u64 = 16 * 1024;

/// Asks `/health` of the server that listens on `address`.
///
/// # Errors
/// Why the server does not count as healthy, on one line.
pub fn ask(address: SocketAddr) -> Result<(), String> {
    let address = reachable(address);
    let config = crate::http::agent_config().timeout_global(Some(DEADLINE));
    let agent = crate::http::agent(config.build());
    let url = format!("http://{address}/health");
    let answer = agent.get(&url).call();
    let answer = answer.map_err(|error| format!("GET {url}: {error} (is the server running?)"))?;
    if answer.status() == 200 {
        return Ok(());
    }
    let status = answer.status();
    let body = crate::http::read_body(&url, answer, BODY_LIMIT).unwrap_or_default();
    let words = String::from_utf8_lossy(&body);
    Err(format!(
        "GET {url}: {status}: {}",
        crate::error::one_line(&words)
    ))
}

/// Returns the loopback address for a server that listens on every address.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_asked_on_loopback() {
        for (listen, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("10.0.0.1:80", "10.0.0.1:80"),
        ] {
            let address = listen.parse().expect("address");
            assert_eq!(reachable(address).to_string(), expected);
        }
    }
}
