//! Variables about peers: registries, proxies, receivers of messages, and the logins for them. The Engine has a file of
//! its own.

use super::host;
use super::vars::Vars;
use crate::credentials::GhcrLogin;
use crate::credentials::Source;
use crate::http;
use crate::http::Proxies;
use crate::notify::Receiver;
use crate::notify::Refusal;
use crate::process;
use crate::secret::Secret;
use std::path::PathBuf;
use ureq::tls::Certificate;

impl Vars {
    pub(super) fn insecure_registries(&mut self) -> Vec<String> {
        const NAME: &str = "IMAGEWATCH_INSECURE_REGISTRIES";
        let mut hosts = Vec::new();
        for item in self.list(NAME) {
            match host::parse(&item) {
                Some(host) => hosts.push(host),
                None => {
                    let shown = if item.contains('@') { "***" } else { &item };
                    self.problem(NAME, shown, host::EXPECTED);
                }
            }
        }
        hosts
    }

    pub(super) fn certificates(&mut self) -> Option<Vec<Certificate<'static>>> {
        const NAME: &str = "SSL_CERT_FILE";
        let path = self.given(NAME)?;
        let read = std::fs::read(&path).map_err(|error| process::explain(&error));
        match read.and_then(|bundle| http::certificates(&bundle)) {
            Ok(found) => Some(found),
            Err(trouble) => {
                self.problem(NAME, &path, format!("a PEM bundle ({trouble})"));
                None
            }
        }
    }

    /// Returns the source of a secret. A secret in a file can be read again later.
    fn source(&mut self, name: &str) -> Option<Source> {
        let text = self.secret(name)?;
        let file = self.given(&format!("{name}_FILE")).map(PathBuf::from);
        Some(file.map_or_else(|| Source::Given(Secret::new(text)), Source::File))
    }

    pub(super) fn ghcr(&mut self) -> Option<GhcrLogin> {
        match (self.source("GHCR_USER"), self.source("GHCR_TOKEN")) {
            (Some(user), Some(token)) => Some(GhcrLogin { user, token }),
            (None, None) => None,
            _ => {
                self.warnings.push(
                    "GHCR_USER and GHCR_TOKEN only count together: ghcr.io is asked anonymously"
                        .to_owned(),
                );
                None
            }
        }
    }

    /// Returns the files that `docker login` and `podman login` write (docker CLI; containers-auth.json(5)).
    pub(super) fn login_files(&self) -> Vec<PathBuf> {
        let folder = |name: &str| self.given(name).map(PathBuf::from);
        let in_home = |path: &str| folder("HOME").map(|home| home.join(path));
        let docker = folder("DOCKER_CONFIG").or_else(|| in_home(".docker"));
        let run = folder("XDG_RUNTIME_DIR");
        let config = folder("XDG_CONFIG_HOME").or_else(|| in_home(".config"));
        let podman = |folder: PathBuf| folder.join("containers/auth.json");
        [
            folder("REGISTRY_AUTH_FILE"),
            docker.map(|folder| folder.join("config.json")),
            run.map(podman),
            config.map(podman),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Reads the platform. Only for this variable, an empty value differs from an unset one: empty means "never force
    /// one".
    pub(super) fn platform(&mut self) -> Option<String> {
        const NAME: &str = "MOLECULE_IMAGE_PLATFORM";
        let Some(value) = self.values.get(NAME).cloned() else {
            let apple = cfg!(all(target_os = "macos", target_arch = "aarch64"));
            return apple.then(|| "linux/amd64".to_owned());
        };
        let value = value.trim().to_owned();
        let parts: Vec<&str> = value.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
        };
        if value.is_empty() {
            None
        } else if (2..=3).contains(&parts.len()) && parts.iter().all(word) {
            Some(value)
        } else {
            self.problem(NAME, &value, "os/architecture such as linux/amd64");
            None
        }
    }

    /// Reads the receivers of messages. The whole value is secret, so a problem names a URL by its number.
    pub(super) fn receivers(&mut self) -> Vec<Receiver> {
        const NAME: &str = "IMAGEWATCH_NOTIFY";
        let text = self.secret(NAME).unwrap_or_default();
        let mut receivers = Vec::new();
        for (index, url) in text.split_whitespace().enumerate() {
            match Receiver::parse(url) {
                Ok(found) => receivers.extend(found),
                Err(refusal) => {
                    let number = index + 1;
                    let words = if refusal == Refusal::NoService {
                        format!(
                            "URLs that begin with {refusal}, separated by spaces (URL {number} does not)"
                        )
                    } else {
                        format!("URL {number} as {refusal}")
                    };
                    self.problem(NAME, "***", words);
                }
            }
        }
        receivers
    }

    /// Reads the proxies. The lower-case name of a variable wins, as in most programs.
    pub(super) fn proxies(&mut self) -> Proxies {
        let pick = |vars: &Self, name: &str| {
            vars.given(&name.to_ascii_lowercase())
                .or_else(|| vars.given(name))
        };
        let mut proxy = |name: &str| {
            let value = pick(self, name)?;
            if ureq::Proxy::new(&value).is_err() || value.starts_with("socks") {
                self.problem(name, "***", "http://[user:password@]host:port");
            }
            Some(value)
        };
        let https = proxy("HTTPS_PROXY");
        let http = proxy("HTTP_PROXY");
        let exceptions = pick(self, "NO_PROXY").unwrap_or_default();
        Proxies {
            https,
            http,
            exceptions: exceptions
                .split([',', ' '])
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }
}
