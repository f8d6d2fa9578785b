//! Requests of a command to the running server on this box.

use crate::secret::Secret;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::time::Duration;
use ureq::http::Request;
use ureq::http::StatusCode;

/// Far more than a real answer has.
const BODY_LIMIT: u64 = 1024 * 1024;

/// The answer of the server.
pub(super) struct Answer {
    /// Method and URL, for messages.
    pub(super) request: String,
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

/// Sends one request to the server that listens on `address`.
///
/// # Errors
/// Why there is no answer, on one line.
#[cold]
pub(super) fn ask(
    address: SocketAddr,
    method: &str,
    target: &str,
    token: Option<&Secret>,
    deadline: Duration,
) -> Result<Answer, String> {
    let url = format!("http://{}{target}", reachable(address));
    let request = format!("{method} {url}");
    let config = crate::http::agent_config().timeout_global(Some(deadline));
    let mut asked = Request::builder().method(method).uri(url);
    if let Some(token) = token {
        asked = asked.header("Authorization", format!("Bearer {}", token.reveal()));
    }
    let agent = crate::http::agent(config.build());
    let answer = if method == "POST" {
        // The server wants to know that there is no body.
        asked.body("").map(|asked| agent.run(asked))
    } else {
        asked.body(()).map(|asked| agent.run(asked))
    };
    let answer = answer.map_err(|error| format!("{request}: {error}"))?;
    let answer = answer.map_err(|error| {
        let hint = match error {
            ureq::Error::Timeout(_) => "is it busy? its log tells",
            _ => "is the server running?",
        };
        format!("{request}: {error} ({hint})")
    })?;
    let status = answer.status();
    let body = crate::http::read_body(&request, answer, BODY_LIMIT).unwrap_or_default();
    Ok(Answer {
        request,
        status,
        body,
    })
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
