//! `imagewatch healthcheck`: asks the running server. Images without a shell need this command for a HEALTHCHECK.

use super::server;
use std::net::SocketAddr;
use std::time::Duration;

/// The server waits for the Engine up to 10 s: a ping and one more question, of 5 s each.
const DEADLINE: Duration = Duration::from_secs(12);

/// Asks `/health` of the server that listens on `address`.
///
/// # Errors
/// Why the server does not count as healthy, on one line.
pub fn ask(address: SocketAddr) -> Result<(), String> {
    let answer = server::ask(address, "GET", "/health", None, DEADLINE)?;
    if answer.status == 200 {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&answer.body);
    Err(format!(
        "{}: {}: {}",
        answer.request,
        answer.status,
        crate::error::one_line(&words)
    ))
}
