//! Every variable: its name, its default, what it means. The only reader of the environment.
//!
//! Strings come in, a [`Config`] of ready types goes out; nothing else in the program sees a
//! variable. All problems are found in one go, so that nobody mends them one start at a time.

mod vars;

use crate::credentials::GhcrLogin;
use crate::credentials::Secret;
use crate::receiver::Receiver;
use crate::reference::Reference;
use crate::time::print_duration;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use ureq::tls::Certificate;

/// One row of the table of variables.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// The name in the environment.
    pub name: &'static str,
    /// What holds when it is unset; empty for "nothing".
    pub default: &'static str,
    /// What it does, for `--help`.
    pub meaning: &'static str,
    /// Whether `NAME_FILE` may hold the path of a file with the value.
    pub secret: bool,
}

/// Every variable this version reads. `--help` prints it, and tests hold the documents to it.
pub const VARIABLES: &[Variable] = &[
    plain("IMAGE_AUTO_REFRESH", "false", "true starts the watcher"),
    plain(
        "IMAGEWATCH_INTERVAL",
        "5m",
        "time between rounds, at least 1s",
    ),
    plain(
        "IMAGEWATCH_RUNTIMES",
        "claude-code,langgraph,crewai,autogen,deepagents,hermes,gemini-cli,openclaw",
        "the runtimes; none for no catalogue",
    ),
    plain(
        "IMAGEWATCH_IMAGE",
        "ghcr.io/molecule-ai/workspace-template-{runtime}:latest",
        "reference of a runtime's image",
    ),
    plain(
        "IMAGEWATCH_PREFIX",
        "ws-",
        "a workspace container's name starts with this",
    ),
    plain(
        "IMAGEWATCH_SELECT",
        "workspaces,labelled",
        "which containers are managed: workspaces, labelled, all",
    ),
    plain(
        "IMAGEWATCH_RECREATE",
        "swap",
        "swap recreates in place; remove only force-removes",
    ),
    plain(
        "IMAGEWATCH_CATCH_UP",
        "false",
        "true also refreshes what is behind at the first look",
    ),
    plain(
        "IMAGEWATCH_SETTLE",
        "10s",
        "how long a container without HEALTHCHECK must stay up",
    ),
    plain(
        "IMAGEWATCH_HEALTH_TIMEOUT",
        "0",
        "longest wait for healthy; 0 derives it from the HEALTHCHECK",
    ),
    plain(
        "IMAGEWATCH_CLEANUP",
        "false",
        "true removes the replaced image when nothing uses it",
    ),
    plain(
        "IMAGEWATCH_LISTEN",
        "127.0.0.1:8080",
        "address of the admin endpoint; off for none",
    ),
    secret("ADMIN_TOKEN", "bearer token of the admin endpoint"),
    secret("GHCR_USER", "user name for ghcr.io"),
    secret("GHCR_TOKEN", "access token for ghcr.io"),
    secret(
        "IMAGEWATCH_NOTIFY",
        "URLs that get a message per outcome, separated by spaces",
    ),
    plain(
        "REGISTRY_AUTH_FILE",
        "",
        "Podman's auth.json, if it is not where it usually is",
    ),
    plain("DOCKER_CONFIG", "~/.docker", "folder of config.json"),
    plain(
        "DOCKER_HOST",
        "unix:///var/run/docker.sock",
        "the Engine: unix://PATH or tcp://HOST:PORT",
    ),
    plain(
        "MOLECULE_IMAGE_PLATFORM",
        "",
        "platform for pull and create, e.g. linux/amd64",
    ),
    plain(
        "IMAGEWATCH_INSECURE_REGISTRIES",
        "",
        "hosts spoken to over plain HTTP",
    ),
    plain(
        "SSL_CERT_FILE",
        "",
        "PEM bundle of certificates to trust besides the built-in ones",
    ),
    plain("HTTPS_PROXY", "", "proxy for https"),
    plain("HTTP_PROXY", "", "proxy for plain HTTP"),
    plain("NO_PROXY", "", "hosts, domains and networks without proxy"),
    plain(
        "IMAGEWATCH_STATE",
        "",
        "folder in which history and rejected images survive a restart",
    ),
    plain("IMAGEWATCH_LOG", "info", "log filter"),
    plain("IMAGEWATCH_LOG_FORMAT", "text", "text or json"),
];

const fn plain(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable {
        name,
        default,
        meaning,
        secret: false,
    }
}

const fn secret(name: &'static str, meaning: &'static str) -> Variable {
    Variable {
        name,
        default: "",
        meaning,
        secret: true,
    }
}

/// A runtime and the image it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Short name, e.g. `claude-code`.
    pub name: String,
    /// The image.
    pub reference: Reference,
}

/// Which containers are managed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Select {
    /// Those whose name has the prefix and whose image is a runtime's.
    pub workspaces: bool,
    /// Those with the label `imagewatch.enable=true`.
    pub labelled: bool,
    /// Every one that is not opted out.
    pub all: bool,
}

/// What happens to a container that runs an older image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recreate {
    /// It is replaced in place.
    Swap,
    /// It is force-removed; the platform provisions it again by itself.
    Remove,
}

/// Where the Engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// `host:port`, usually a socket proxy.
    Tcp(String),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// The proxies for registries and receivers of messages, as given.
#[derive(Clone, Default)]
pub struct Proxies {
    /// For `https://`.
    pub https: Option<String>,
    /// For `http://`.
    pub http: Option<String>,
    /// Where none is used.
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

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whether the watcher runs.
    pub auto_refresh: bool,
    /// Time between rounds.
    pub interval: Duration,
    /// The catalogue, in the order given.
    pub runtimes: Vec<Runtime>,
    /// What a workspace container's name starts with.
    pub prefix: String,
    /// Which containers are managed.
    pub select: Select,
    /// How they are renewed.
    pub recreate: Recreate,
    /// Whether the first look also refreshes what is behind.
    pub catch_up: bool,
    /// How long a container without HEALTHCHECK must stay up.
    pub settle: Duration,
    /// Longest wait for `healthy`; `None` derives it from the HEALTHCHECK.
    pub health_timeout: Option<Duration>,
    /// Whether a replaced image is removed when nothing uses it.
    pub cleanup: bool,
    /// The admin endpoint's address.
    pub listen: Option<SocketAddr>,
    /// What callers of the admin endpoint must show.
    pub admin_token: Option<Secret>,
    /// Login for ghcr.io.
    pub ghcr: Option<GhcrLogin>,
    /// Who gets messages.
    pub receivers: Vec<Receiver>,
    /// Files with logins for all registries, the first to be asked first.
    pub login_files: Vec<PathBuf>,
    /// The Engine.
    pub engine: Endpoint,
    /// Platform for pull and create.
    pub platform: Option<String>,
    /// Hosts spoken to over plain HTTP.
    pub insecure_registries: Vec<String>,
    /// Certificates to trust besides the built-in ones.
    pub certificates: Option<Vec<Certificate<'static>>>,
    /// Proxies for registries and receivers of messages.
    pub proxies: Proxies,
    /// The folder in which history and rejected images are kept.
    pub state: Option<PathBuf>,
    /// `env_logger` filter.
    pub log_filter: String,
    /// How log lines look.
    pub log_format: LogFormat,
}

impl Config {
    /// The effective configuration on one line, without secrets.
    #[must_use]
    pub fn summary(&self) -> String {
        let names: Vec<&str> = self.runtimes.iter().map(|r| r.name.as_str()).collect();
        let given = |set: bool| if set { "set" } else { "none" };
        format!(
            "engine={} listen={} token={} ghcr={} notify={} prefix={} recreate={} settle={} runtimes={}",
            self.engine,
            self.listen
                .map_or("off".to_owned(), |address| address.to_string()),
            given(self.admin_token.is_some()),
            given(self.ghcr.is_some()),
            self.receivers.len(),
            self.prefix,
            match self.recreate {
                Recreate::Swap => "swap",
                Recreate::Remove => "remove",
            },
            print_duration(self.settle),
            names.join(",")
        )
    }
}

/// A variable whose value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The variable.
    pub variable: String,
    /// The value as seen; `***` for a secret.
    pub value: String,
    /// What was expected.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            variable,
            value,
            expected,
        } = self;
        write!(f, "{variable}={value:?}: expected {expected}")
    }
}

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// Every variable whose value cannot be used.
    pub fn from_env() -> Result<(Self, Vec<String>), Vec<Problem>> {
        Self::from_vars(std::env::vars_os())
    }

    /// The same from any set of variables. The second part of the answer are warnings.
    ///
    /// # Errors
    /// Every variable whose value cannot be used.
    pub fn from_vars(
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(Self, Vec<String>), Vec<Problem>> {
        vars::read(vars)
    }
}
