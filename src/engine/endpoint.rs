//! The address at which an Engine listens.

use crate::http::EngineTls;
use std::fmt;
use std::path::PathBuf;

/// The address at which an Engine listens.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// `host:port`, usually a socket proxy.
    Tcp(String),
    /// `host:port` of an Engine that speaks TLS.
    Tls(String, EngineTls),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) | Self::Tls(address, _) => write!(f, "tcp://{address}"),
        }
    }
}
