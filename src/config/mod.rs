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
mod variables;
mod vars;

pub use terminal::has_colours;
pub use variables::VARIABLES;
pub use variables::Variable;

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
