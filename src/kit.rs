//! What every command works with, put together from the configuration.

use crate::config::Config;
use crate::credentials::Credentials;
use crate::engine::Deadlines;
use crate::engine::Engine;
use crate::gate::Gate;
use crate::refresh::Refresher;
use crate::refresh::Target;
use crate::registry::Registry;
use crate::rejections::Rejections;
use crate::select::Selection;
use crate::swap::Acceptance;
use std::sync::Arc;

/// The clients of Engine and registries, and who works with them.
pub struct Kit {
    /// The Engine.
    pub engine: Arc<Engine>,
    /// The registries.
    pub registry: Arc<Registry>,
    /// Does refreshes.
    pub refresher: Arc<Refresher>,
    /// Closed when the program stops.
    pub gate: Arc<Gate>,
}

impl Kit {
    /// Nothing is reached yet.
    #[must_use]
    pub fn of(config: &Config, rejected: Arc<Rejections>) -> Self {
        Self::with_deadlines(config, Deadlines::default(), rejected)
    }

    /// The same with an Engine that may take longer, or not as long, as usual.
    #[must_use]
    pub fn with_deadlines(
        config: &Config,
        deadlines: Deadlines,
        rejected: Arc<Rejections>,
    ) -> Self {
        let engine = Arc::new(Engine::with_deadlines(&config.engine, deadlines));
        let credentials = Credentials::new(config.ghcr.clone(), config.login_files.clone());
        let registry = Registry::new(
            credentials.clone(),
            config.certificates.as_deref(),
            config.proxies.clone(),
            config.insecure_registries.clone(),
        );
        let gate = Arc::new(Gate::default());
        let refresher = Refresher {
            engine: Arc::clone(&engine),
            credentials,
            catalogue: config.runtimes.iter().map(Target::from).collect(),
            selection: Selection::new(config.select, &config.prefix, &config.runtimes),
            cleanup: config.cleanup,
            recreate: config.recreate,
            acceptance: Acceptance {
                settle: config.settle,
                health_timeout: config.health_timeout,
            },
            platform: config.platform.clone(),
            gate: Arc::clone(&gate),
            rejected,
        };
        Self {
            engine,
            registry: Arc::new(registry),
            refresher: Arc::new(refresher),
            gate,
        }
    }
}
