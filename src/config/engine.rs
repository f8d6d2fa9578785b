//! Variables about the Engine: its address, and TLS to it as the Docker CLI reads it.

use super::vars::Vars;
use crate::engine::Endpoint;
use crate::http;
use crate::http::EngineTls;
use crate::process;
use std::path::Path;
use std::path::PathBuf;

const VERIFY: &str = "DOCKER_TLS_VERIFY";
const FOLDER: &str = "DOCKER_CERT_PATH";

/// The CLI's address of an Engine if TLS is asked for and no address is given.
const TLS_HOST: &str = "tcp://localhost:2376";

impl Vars {
    /// Reads the address of the Engine. The Docker CLI turns TLS on for any value of `DOCKER_TLS_VERIFY`, even `0`, and
    /// speaks plain text to a unix socket in every case.
    pub(super) fn engine(&mut self) -> Endpoint {
        let host = self.given("DOCKER_HOST");
        if host.is_none() && self.given("DOCKER_CONTEXT").is_some() {
            let words = "DOCKER_CONTEXT is not read: DOCKER_HOST says which Engine";
            self.warnings.push(words.to_owned());
        }
        let asks_for_tls = self.given(VERIFY).is_some();
        let value = match host {
            None if asks_for_tls => TLS_HOST.to_owned(),
            _ => self.text("DOCKER_HOST"),
        };
        match value.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => {
                self.warn_of_plain_socket();
                Endpoint::Unix(PathBuf::from(path))
            }
            Some(("tcp", address)) if is_authority(address.trim_end_matches('/')) => {
                let address = address.trim_end_matches('/').to_owned();
                if !asks_for_tls {
                    self.refuse_half_tls();
                    return Endpoint::Tcp(address);
                }
                match self.engine_tls() {
                    Some(tls) => Endpoint::Tls(address, tls),
                    None => Endpoint::Tcp(address),
                }
            }
            _ => {
                let shown = if value.contains('@') { "***" } else { &value };
                self.problem(
                    "DOCKER_HOST",
                    shown,
                    "unix:///path/to/socket or tcp://host:port",
                );
                Endpoint::Unix(PathBuf::new())
            }
        }
    }

    fn warn_of_plain_socket(&mut self) {
        for name in [VERIFY, "DOCKER_TLS", FOLDER] {
            if self.given(name).is_some() {
                let words = format!("{name} has no effect on a unix socket");
                self.warnings.push(words);
            }
        }
    }

    /// Refuses variables that look like TLS, but with which the Docker CLI speaks plain text, or verifies nothing.
    #[cold]
    fn refuse_half_tls(&mut self) {
        for (name, does) in [
            ("DOCKER_TLS", "asks for TLS that verifies nothing"),
            (FOLDER, "alone asks for no TLS"),
        ] {
            if let Some(value) = self.given(name) {
                let words = format!("{VERIFY}=1 besides, or it to be unset: it {does}");
                self.problem(name, &value, words);
            }
        }
    }

    /// Reads the files for TLS. As with the Docker CLI, `ca.pem` must be there, and the other two may both be missing.
    #[cold]
    fn engine_tls(&mut self) -> Option<EngineTls> {
        let in_home = |vars: &Self| vars.given("HOME").map(|home| format!("{home}/.docker"));
        let folder = self.given(FOLDER).or_else(|| self.given("DOCKER_CONFIG"));
        let folder = folder.or_else(|| in_home(self)).unwrap_or_default();
        match read_tls(Path::new(&folder)) {
            Ok(tls) => Some(tls),
            Err(trouble) => {
                let words = format!(
                    "a folder with ca.pem for the Engine's certificate, and cert.pem with key.pem if the Engine asks \
                     for them ({trouble})"
                );
                self.problem(FOLDER, &folder, words);
                None
            }
        }
    }
}

fn read_tls(folder: &Path) -> Result<EngineTls, String> {
    let read = |name: &str| {
        let outcome = std::fs::read(folder.join(name));
        outcome.map_err(|error| format!("{name}: {}", process::explain(&error)))
    };
    let trusted =
        http::certificates(&read("ca.pem")?).map_err(|words| format!("ca.pem {words}"))?;
    let is_there = |name: &str| folder.join(name).exists();
    let own = if is_there("cert.pem") || is_there("key.pem") {
        let (chain, key) = (read("cert.pem")?, read("key.pem")?);
        Some(http::client_certificate(&chain, &key)?)
    } else {
        None
    };
    Ok(EngineTls::new(folder.to_owned(), &trusted, own))
}

fn is_authority(text: &str) -> bool {
    match text.rsplit_once(':') {
        Some((host, port)) => {
            !host.is_empty()
                && !host.contains(['/', '@', ' ', '?', '#'])
                && port.parse::<u16>().is_ok_and(|port| port != 0)
        }
        None => false,
    }
}
