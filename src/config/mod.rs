//! Every variable: its name, its default and its meaning. The only reader of the environment.
//!
//! Strings come in, and a [`Config`] of ready types goes out. No other part of the program sees a variable. All
//! problems are found in one pass, so that an operator can mend them together.

mod engine;
mod filter;
mod host;
mod peers;
mod policy;
mod terminal;
mod trust;
mod value;
mod vars;

pub use terminal::has_colours;

use crate::credentials::GhcrLogin;
use crate::engine::Endpoint;
use crate::http::Proxies;
use crate::labels::Consent;
use crate::logging::LogFormat;
use crate::notify::Receiver;
use crate::policy::Rules;
use crate::reference::Target;
use crate::secret::Secret;
use crate::time::Zone;
use crate::time::print_duration;
use crate::trust::Trust;
use crate::update::Recreate;
use crate::update::Select;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::Certificate;

/// One row of the table of variables.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// The name in the environment.
    pub name: &'static str,
    /// The value that an unset variable has. Empty means none.
    pub default: &'static str,
    /// The meaning, as `--help` prints it.
    pub meaning: &'static str,
    /// Whether `NAME_FILE` may hold the path of a file with the value.
    pub secret: bool,
}

/// Every variable that this version reads. `--help` prints the table, and tests compare the pages with it.
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
        "IMAGEWATCH_MODE",
        "update",
        "notify: containers are not updated, and their owners are told, unless their label says update",
    ),
    plain(
        "IMAGEWATCH_MIN_AGE",
        "0",
        "how long a tag must have pointed at an image before it is applied",
    ),
    plain(
        "IMAGEWATCH_WINDOW",
        "",
        "when updates may be applied, e.g. Mon-Fri 02:00-05:00, Sat 00:00-24:00",
    ),
    plain(
        "IMAGEWATCH_WINDOW_PULL",
        "false",
        "true pulls images before their window opens",
    ),
    plain(
        "TZ",
        "",
        "time zone of the window and of shown times: a name or a POSIX rule",
    ),
    plain(
        "IMAGEWATCH_INCLUDE_STOPPED",
        "false",
        "true also recreates containers that are stopped, which stay stopped",
    ),
    plain(
        "IMAGEWATCH_PARALLEL",
        "8",
        "how many containers may wait to be accepted at the same time",
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
        "IMAGEWATCH_KEEP",
        "1",
        "how many earlier images of a reference stay for a roll-back by hand",
    ),
    plain(
        "IMAGEWATCH_LISTEN",
        "127.0.0.1:8080",
        "address of the admin endpoint; off for none",
    ),
    secret(
        "IMAGEWATCH_VERIFY",
        "PEM public keys, one of which must have signed an image before it is pulled",
    ),
    plain(
        "IMAGEWATCH_VERIFY_FOR",
        "",
        "beginnings of the names that need a signature, e.g. ghcr.io/acme/; all if unset",
    ),
    plain(
        "IMAGEWATCH_VERIFY_IDENTITY",
        "",
        "only in imagewatch:keyless: workflows of GitHub Actions that may have signed an image instead",
    ),
    plain(
        "IMAGEWATCH_TRUSTED_ROOT",
        "",
        "only in imagewatch:keyless: a trusted_root.json instead of sigstore's",
    ),
    secret("ADMIN_TOKEN", "bearer token of the admin endpoint"),
    secret(
        "IMAGEWATCH_READ_TOKEN",
        "a second bearer token, for reading status, summary and metrics only",
    ),
    secret(
        "IMAGEWATCH_HOOK_SECRET",
        "switches push hooks on; what their senders sign with, or send",
    ),
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
        "DOCKER_TLS_VERIFY",
        "",
        "any value asks for TLS to the Engine, tcp://localhost:2376 if DOCKER_HOST is unset",
    ),
    plain(
        "DOCKER_CERT_PATH",
        "",
        "folder of ca.pem, cert.pem and key.pem for TLS to the Engine; DOCKER_CONFIG if unset",
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
    plain(
        "IMAGEWATCH_LOG",
        "info",
        "error, warn, info, debug, or an env_logger filter",
    ),
    plain("IMAGEWATCH_LOG_FORMAT", "text", "text or json"),
    plain(
        "IMAGEWATCH_SWARM_AUTH",
        "false",
        "true hands logins to Swarm with the update of a service",
    ),
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

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whether the watcher runs.
    pub auto_refresh: bool,
    /// Time between rounds.
    pub interval: Duration,
    /// The runtimes with their references, in the order of the variable.
    pub runtimes: Vec<Target>,
    /// The references of the runtimes as a pattern with `*`, unless the owner named the runtimes.
    pub built_in: Option<String>,
    /// The prefix of a workspace container's name.
    pub prefix: String,
    /// The choice of managed containers.
    pub select: Select,
    /// Whether an older container is swapped, or only removed.
    pub recreate: Recreate,
    /// Whether the first round also updates containers that are behind already.
    pub catch_up: bool,
    /// The consent of a container whose labels give none.
    pub mode: Consent,
    /// Minimum age and window of containers whose labels hold none.
    pub rules: Rules,
    /// Whether images are pulled before their window opens.
    pub window_pull: bool,
    /// Which images need a signature.
    pub trust: Arc<Trust>,
    /// The time zone of the window and of shown times.
    pub zone: Zone,
    /// How many containers may wait to be accepted at the same time, at least 1.
    pub parallel: usize,
    /// Whether stopped containers are recreated too.
    pub include_stopped: bool,
    /// How long a container without HEALTHCHECK must stay up.
    pub settle: Duration,
    /// Longest wait for `healthy`; `None` derives it from the HEALTHCHECK.
    pub health_timeout: Option<Duration>,
    /// Whether a replaced image is removed when nothing uses it.
    pub cleanup: bool,
    /// How many earlier images of a reference stay.
    pub keep: usize,
    /// The admin endpoint's address. `None` means that the endpoint is off.
    pub listen: Option<SocketAddr>,
    /// The bearer token that callers of the admin endpoint must send.
    pub admin_token: Option<Secret>,
    /// The bearer token of callers that only read.
    pub read_token: Option<Secret>,
    /// The secret of push hooks. `None` means that they are off.
    pub hook_secret: Option<Secret>,
    /// Login for ghcr.io.
    pub ghcr: Option<GhcrLogin>,
    /// The receivers of messages.
    pub receivers: Vec<Receiver>,
    /// Files with logins for registries. An earlier file comes before a later one.
    pub login_files: Vec<PathBuf>,
    /// Whether logins go to Swarm with the update of a service.
    pub swarm_auth: bool,
    /// The address of the Engine.
    pub engine: Endpoint,
    /// Platform for pull and create.
    pub platform: Option<String>,
    /// Registry hosts that are reached over plain HTTP.
    pub insecure_registries: Vec<String>,
    /// Certificates to trust besides the built-in ones.
    pub certificates: Option<Vec<Certificate<'static>>>,
    /// Proxies for registries and receivers of messages.
    pub proxies: Proxies,
    /// The folder in which history and rejected images are kept.
    pub state: Option<PathBuf>,
    /// The filter of the log, as `env_logger` reads it.
    pub log_filter: String,
    /// The format of log lines.
    pub log_format: LogFormat,
}

impl Config {
    /// The effective configuration on one line, without secrets.
    #[must_use]
    pub fn summary(&self) -> String {
        let names: Vec<&str> = self.runtimes.iter().map(|r| r.name.as_str()).collect();
        let mut rules = String::new();
        if self.rules != Rules::default() {
            let age = print_duration(self.rules.min_age);
            rules = format!(" min_age={age} zone={}", self.zone.name());
        }
        let given = |set: bool| if set { "set" } else { "none" };
        format!(
            "engine={} listen={} token={} ghcr={} notify={} prefix={} recreate={} settle={} runtimes={}{rules}",
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
    /// The name of the variable.
    pub variable: String,
    /// The value as given, or `***` for a secret.
    pub value: String,
    /// A description of usable values.
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

    /// The same from any set of variables. The second part of the result holds warnings.
    ///
    /// # Errors
    /// Every variable whose value cannot be used.
    pub fn from_vars(
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(Self, Vec<String>), Vec<Problem>> {
        vars::read(vars)
    }
}
