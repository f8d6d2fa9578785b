//! What every command works with, put together from the configuration.

use crate::config::Config;
use crate::credentials::Credentials;
use crate::engine::Deadlines;
use crate::engine::Engine;
use crate::gate::Gate;
use crate::refresh::Refresher;
use crate::refresh::Target;
use crate::registry;
use crate::registry::Registry;
use crate::rejections::Rejections;
use crate::select::Selection;
use crate::swap::Acceptance;
use crate::user;
use std::sync::Arc;
use ureq::tls::Certificate;

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
    /// Trusted besides the built-in roots.
    pub certificates: Option<Vec<Certificate<'static>>>,
}

impl Kit {
    /// Nothing is reached yet.
    ///
    /// # Errors
    /// Why a file that the configuration names cannot be used, on one line.
    pub fn of(config: &Config, rejected: Arc<Rejections>) -> Result<Self, String> {
        Self::with_deadlines(config, Deadlines::default(), rejected)
    }

    /// The same with an Engine that may take longer, or not as long, as usual.
    ///
    /// # Errors
    /// See [`Kit::of`].
    pub fn with_deadlines(
        config: &Config,
        deadlines: Deadlines,
        rejected: Arc<Rejections>,
    ) -> Result<Self, String> {
        let engine = Arc::new(Engine::with_deadlines(&config.engine, deadlines));
        let credentials = Credentials::new(config.ghcr.clone(), config.login_files.clone());
        let certificates = match &config.certificates {
            None => None,
            Some(path) => {
                let name = path.display();
                let pem = std::fs::read(path)
                    .map_err(|error| format!("SSL_CERT_FILE={name}: {}", user::explain(&error)))?;
                let found = registry::certificates(&pem)
                    .map_err(|reason| format!("SSL_CERT_FILE={name}: {reason}"))?;
                Some(found)
            }
        };
        let registry = Registry::new(
            credentials.clone(),
            certificates.as_deref(),
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
        Ok(Self {
            engine,
            registry: Arc::new(registry),
            refresher: Arc::new(refresher),
            gate,
            certificates,
        })
    }
}
