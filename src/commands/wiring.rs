//! Builds the values that every command works with from the configuration.

use crate::config::Config;
use crate::credentials::Credentials;
use crate::engine::Deadlines;
use crate::engine::Engine;
use crate::journal::History;
use crate::registry::Registry;
use crate::swap::Acceptance;
use crate::thread::Shutdown;
use crate::update::Catalogue;
use crate::update::Itself;
use crate::update::Origins;
use crate::update::Permissions;
use crate::update::Refresher;
use crate::update::Releases;
use crate::update::Selection;
use crate::update::Verified;
use std::sync::Arc;
use std::sync::Mutex;

/// The clients of the Engine and the registries, and the refresher that uses them.
pub(super) struct Wiring {
    /// The client of the Engine.
    pub engine: Arc<Engine>,
    /// The client of all registries.
    pub registry: Arc<Registry>,
    /// The refresher, shared by all threads.
    pub refresher: Arc<Refresher>,
    /// Closed when the program stops.
    pub shutdown: Arc<Shutdown>,
}

impl Wiring {
    /// Builds the values for a command at a terminal. No connection is made yet.
    #[must_use]
    pub(super) fn of(config: &Config, history: &Arc<History>) -> Self {
        Self::build(config, Deadlines::default(), history, Registry::by_hand)
    }

    /// Builds the values for the server, with its own deadlines for the Engine.
    #[must_use]
    pub(super) fn with_deadlines(
        config: &Config,
        deadlines: Deadlines,
        history: &Arc<History>,
    ) -> Self {
        Self::build(config, deadlines, history, |registry| registry)
    }

    fn build(
        config: &Config,
        deadlines: Deadlines,
        history: &Arc<History>,
        paced: fn(Registry) -> Registry,
    ) -> Self {
        let engine = Arc::new(Engine::with_deadlines(&config.engine, deadlines));
        let credentials = Credentials::new(config.ghcr.clone(), config.login_files.clone());
        let registry = Arc::new(paced(Registry::new(
            credentials.clone(),
            config.certificates.as_deref(),
            config.proxies.clone(),
            config.insecure_registries.clone(),
        )));
        let shutdown = Arc::new(Shutdown::default());
        let refresher = Refresher {
            engine: Arc::clone(&engine),
            registry: Arc::clone(&registry),
            origins: Origins::default(),
            credentials,
            catalogue: Catalogue::new(config.runtimes.clone(), config.built_in.clone()),
            selection: Selection::new(config.select, &config.prefix, &config.runtimes)
                .with_stopped(config.include_stopped)
                .with_mode(config.mode)
                .with_keys(config.trust.has_signers()),
            cleanup: config.cleanup,
            fetches_ahead: config.window_pull,
            keep: config.keep,
            earlier: Mutex::default(),
            recreate: config.recreate,
            acceptance: Acceptance {
                settle: config.settle,
                health_timeout: config.health_timeout,
            },
            parallel: config.parallel,
            platform: config.platform.clone(),
            shutdown: Arc::clone(&shutdown),
            rejected: Arc::clone(history.rejected()),
            history: Arc::clone(history),
            rules: config.rules.clone(),
            verified: Verified::new(Arc::clone(&config.trust)),
            releases: Releases::default(),
            replaced: Arc::default(),
            permissions: Permissions::default(),
            itself: Itself::default(),
            said: Mutex::default(),
            open_services: Mutex::default(),
            swarm_auth: config.swarm_auth,
        };
        Self {
            engine,
            registry,
            refresher: Arc::new(refresher),
            shutdown,
        }
    }
}
