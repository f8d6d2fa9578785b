//! What a start finds missing: Engine calls that will be needed and are not let through, and login
//! files that cannot be read. Each is named once, in one warning.
//!
//! Nothing is changed by it, and nothing fails because of it: it runs on the thread that would make
//! these calls, as soon as there is an Engine to ask.

use crate::config::Recreate;
use crate::debug::debug;
use crate::engine::ApiVersion;
use crate::engine::STOP_SIGNAL_LABEL;
use crate::engine::Summary;
use crate::error::Error;
use crate::error::Result;
use crate::hooks;
use crate::refresh::Refresher;
use crate::relations;

/// Tries of an Engine that answers, and then no longer does.
const TRIES: u32 = 3;

/// When a call is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Always.
    Always,
    /// To replace a container in place.
    Swap,
    /// For further networks, before the Engine takes them at a creation.
    Networks,
    /// With `IMAGEWATCH_CLEANUP`.
    Cleanup,
    /// A container wants to be restarted with another.
    Restart,
    /// A container wants another stop signal, and a stop takes none.
    Signal,
    /// A container has commands to be run in it.
    Commands,
    /// The Engine is Podman.
    Podman,
}

/// Every call: as `docs/security.md` lists it, when it is needed, and to do what.
pub const CALLS: [(&str, Need, &str); 23] = [
    (PING, Need::Always, "speak with the Engine"),
    (VERSION, Need::Always, "ask which Engine it is"),
    (LIST, Need::Always, "list containers"),
    (
        "GET /containers/{id}/json",
        Need::Always,
        "inspect a container",
    ),
    (
        "GET /containers/{id}/logs",
        Need::Swap,
        "read why a successor failed",
    ),
    ("GET /images/{id}/json", Need::Always, "inspect an image"),
    ("POST /images/create", Need::Always, "pull an image"),
    (
        "POST /containers/create",
        Need::Always,
        "create a successor, or the claim",
    ),
    (
        "POST /containers/{id}/start",
        Need::Swap,
        "start a container",
    ),
    ("POST /containers/{id}/stop", Need::Swap, "stop a container"),
    (
        "POST /containers/{id}/rename",
        Need::Swap,
        "rename a container",
    ),
    (
        "POST /containers/{id}/update",
        Need::Swap,
        "change a restart policy",
    ),
    (
        "DELETE /containers/{id}",
        Need::Always,
        "remove what was replaced, or the claim",
    ),
    (
        "POST /networks/{id}/connect",
        Need::Networks,
        "join further networks",
    ),
    (
        "POST /containers/{id}/restart",
        Need::Restart,
        "restart what depends on another",
    ),
    (
        "POST /containers/{id}/kill",
        Need::Signal,
        "send the stop signal of a label",
    ),
    (
        "POST /containers/{id}/wait",
        Need::Signal,
        "wait for a container's end",
    ),
    (
        "DELETE /images/{id}",
        Need::Cleanup,
        "remove a replaced image",
    ),
    (
        "POST /containers/{id}/exec",
        Need::Commands,
        "run the commands of labels",
    ),
    (
        "POST /exec/{id}/start",
        Need::Commands,
        "run the commands of labels",
    ),
    (
        "GET /exec/{id}/json",
        Need::Commands,
        "run the commands of labels",
    ),
    (
        "GET /libpod/containers/{id}/json",
        Need::Podman,
        "see all of a container",
    ),
    (
        "GET /libpod/images/{id}/json",
        Need::Podman,
        "see an image's health check",
    ),
];
const PING: &str = "GET /_ping";
const VERSION: &str = "GET /version";
const LIST: &str = "GET /containers/json";

/// The preflight of one start.
#[derive(Debug, Default)]
pub struct Preflight {
    tries: u32,
    /// What was found missing, and said.
    missing: Vec<&'static str>,
}

/// What the first calls tell of which others are needed.
#[derive(Debug, Default)]
struct Found {
    api: Option<ApiVersion>,
    is_podman: bool,
    restarts: bool,
    signals: bool,
    commands: bool,
}

impl Preflight {
    /// Does it, as far as it was not done. Answers whether it has to be called again.
    pub fn is_needed_again(&mut self, refresher: &Refresher) -> bool {
        if self.tries == TRIES {
            return false;
        }
        refresher.credentials.look_over();
        match self.look(refresher) {
            Ok(()) => {
                self.tries = TRIES;
                match self.missing.len() {
                    0 => debug(format_args!("preflight: done, may do all it needs")),
                    count => debug(format_args!(
                        "preflight: done, permissions missing: {count}"
                    )),
                }
            }
            Err(error) => debug(format_args!("preflight: not done yet: {error}")),
        }
        self.tries < TRIES
    }

    /// # Errors
    /// When the Engine is away, or an answer makes no sense.
    fn look(&mut self, refresher: &Refresher) -> Result<()> {
        let engine = &refresher.engine;
        let mut found = Found::default();
        for (rule, need, what) in CALLS {
            if !found.is_needed(need, refresher) {
                continue;
            }
            let outcome = match rule {
                PING => engine.api().map(|api| found.api = Some(api)),
                VERSION => engine
                    .about()
                    .map(|about| found.is_podman = about.is_podman()),
                LIST => engine.containers().map(|list| found.note(&list, refresher)),
                rule => engine.try_out(rule),
            };
            match outcome {
                Ok(()) => {}
                Err(error) if error.is_denied() => self.say(rule, what, &error),
                Err(error) => {
                    self.tries += u32::from(rule != PING);
                    return Err(error);
                }
            }
            if found.api.is_none() {
                // Each path has the version in it.
                return Ok(());
            }
        }
        Ok(())
    }

    fn say(&mut self, rule: &'static str, what: &str, error: &Error) {
        if self.missing.contains(&rule) {
            return;
        }
        self.missing.push(rule);
        let words = error.to_string();
        // An Engine forbids a pull or a network itself, but not this one.
        let hint = if words.contains(rule) {
            String::new()
        } else {
            format!(" (allow {rule})")
        };
        log::warn!("preflight: no permission to {what}: {words}{hint}");
    }
}

impl Found {
    fn note(&mut self, list: &[Summary], refresher: &Refresher) {
        self.restarts = list.iter().any(relations::may_restart_with_others);
        let selection = &refresher.selection;
        let managed = || list.iter().filter(|one| selection.may_be_managed(one));
        self.signals = managed().any(|one| one.label(STOP_SIGNAL_LABEL).is_some());
        self.commands = managed().any(hooks::has_any);
    }

    fn is_needed(&self, need: Need, refresher: &Refresher) -> bool {
        let swaps = refresher.recreate == Recreate::Swap;
        let is_before = |version| self.api.is_some_and(|api| api < version);
        match need {
            Need::Always => true,
            Need::Swap => swaps,
            Need::Networks => swaps && is_before(ApiVersion::MANY_NETWORKS),
            Need::Cleanup => refresher.cleanup,
            Need::Restart => self.restarts,
            Need::Signal => self.signals && (self.is_podman || is_before(ApiVersion::STOP_SIGNAL)),
            Need::Commands => self.commands,
            Need::Podman => swaps && self.is_podman,
        }
    }
}
