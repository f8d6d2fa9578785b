//! Checks at the start which Engine calls are forbidden although imagewatch will need them, and which login files
//! cannot be read. Each gets one warning.
//!
//! The preflight changes nothing, and a failure stops nothing. It runs on the thread that makes these calls, as
//! soon as the Engine answers.

use crate::engine::ApiVersion;
use crate::engine::Summary;
use crate::error::Error;
use crate::error::Result;
use crate::labels;
use crate::logging::debug;
use crate::swap;
use crate::update;
use crate::update::Recreate;
use crate::update::Refresher;

/// How often the preflight is tried if the Engine answers the ping but fails later.
const TRIES: u32 = 3;

/// The condition under which a call is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Every configuration needs the call.
    Always,
    /// Swaps need the call.
    Swap,
    /// Swaps need the call for further networks, if the Engine does not accept several at a creation.
    Networks,
    /// `IMAGEWATCH_CLEANUP` needs the call.
    Cleanup,
    /// A container has a label that restarts it together with another one.
    Restart,
    /// A container has a label with a stop signal, and the Engine's stop call accepts none.
    Signal,
    /// A container has labels with commands.
    Commands,
    /// Swaps on Podman need the call.
    Podman,
    /// Swaps on any Engine but Podman need the call.
    Docker,
    /// The Engine is a manager of a swarm.
    Swarm,
    /// Nothing depends on the call, or its refusal looks like no swarm. Without it, an image whose origin is in doubt is left alone, others are inspected,
    /// and messages name the host by the container's id.
    Doubt,
}

/// Every call: its name in `docs/security.md`, its condition, and its purpose in a warning.
pub const CALLS: [(&str, Need, &str); 36] = [
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
    (
        "GET /events",
        Need::Docker,
        "tell an owner's stop of a successor from its failure",
    ),
    (
        "GET /containers/{id}/changes",
        Need::Swap,
        "see which files are in a container's layer",
    ),
    (
        "GET /containers/{id}/archive",
        Need::Swap,
        "read a file that an owner put into a container",
    ),
    (
        "PUT /containers/{id}/archive",
        Need::Swap,
        "put such a file into a successor",
    ),
    (
        "HEAD /containers/{id}/archive",
        Need::Swap,
        "see when a file of a container was made",
    ),
    ("GET /images/{id}/json", Need::Always, "inspect an image"),
    ("POST /images/create", Need::Always, "pull an image"),
    (
        "POST /images/{id}/tag",
        Need::Always,
        "give a tag to the image that was pulled, and back after a roll-back",
    ),
    (
        "POST /containers/create",
        Need::Always,
        "create a successor, or the lock",
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
        "remove a replaced container, or the lock",
    ),
    (
        "POST /networks/{id}/connect",
        Need::Networks,
        "join further networks",
    ),
    (
        "POST /containers/{id}/restart",
        Need::Restart,
        "restart the dependents of a container",
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
        "see all settings of a container",
    ),
    (
        "GET /libpod/images/{id}/json",
        Need::Podman,
        "see an image's health check",
    ),
    (
        "GET /images/{id}/get",
        Need::Doubt,
        "see the origin of an image",
    ),
    ("GET /services", Need::Doubt, "list services"),
    ("GET /services/{id}", Need::Swarm, "inspect a service"),
    (
        "GET /tasks",
        Need::Swarm,
        "see how an update of a service goes",
    ),
    (
        "POST /services/{id}/update",
        Need::Swarm,
        "update a service",
    ),
    ("GET /images/json", Need::Doubt, "list the images"),
    ("GET /info", Need::Doubt, "ask for the host's name"),
];
const PING: &str = "GET /_ping";
const VERSION: &str = "GET /version";
const LIST: &str = "GET /containers/json";

/// The preflight of one start.
#[derive(Debug, Default)]
pub(crate) struct Preflight {
    tries: u32,
    /// The forbidden calls that have had their warning.
    missing: Vec<&'static str>,
}

/// The answers of the first calls, which decide about the conditions of the others.
#[derive(Debug, Default)]
struct Found {
    api: Option<ApiVersion>,
    is_podman: bool,
    restarts: bool,
    signals: bool,
    commands: bool,
}

impl Preflight {
    /// Does the preflight, unless it is done. Returns whether to call again a moment later.
    pub(crate) fn is_needed_again(&mut self, refresher: &Refresher) -> bool {
        if self.tries == TRIES {
            return false;
        }
        refresher.credentials.look_over();
        match self.try_calls(refresher) {
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

    /// Tries every call that is needed.
    ///
    /// # Errors
    /// When the Engine is away, or an answer makes no sense.
    fn try_calls(&mut self, refresher: &Refresher) -> Result<()> {
        let engine = &refresher.engine;
        let mut found = Found::default();
        for (rule, need, what) in CALLS {
            if !found.is_needed(need, refresher) {
                continue;
            }
            let outcome = match rule {
                PING => engine.api().map(|api| found.api = Some(api)),
                VERSION => engine
                    .ask_about()
                    .map(|about| found.is_podman = about.is_podman()),
                LIST => engine.containers().map(|list| found.read(&list, refresher)),
                rule => engine.try_out(rule),
            };
            match outcome {
                Ok(()) => {}
                Err(error) if error.is_denied() => self.warn(rule, what, &error),
                Err(error) => {
                    self.tries += u32::from(rule != PING);
                    return Err(error);
                }
            }
            if found.api.is_none() {
                // Each other path begins with the API version.
                return Ok(());
            }
        }
        Ok(())
    }

    fn warn(&mut self, rule: &'static str, what: &str, error: &Error) {
        if self.missing.contains(&rule) {
            return;
        }
        self.missing.push(rule);
        let words = error.to_string();
        // The Engine's refusal may name the call already.
        let hint = if words.contains(rule) {
            String::new()
        } else {
            format!(" (allow {rule})")
        };
        log::warn!("preflight: no permission to {what}: {words}{hint}");
    }
}

impl Found {
    fn read(&mut self, list: &[Summary], refresher: &Refresher) {
        self.restarts = list.iter().any(swap::may_restart_with_others);
        let selection = &refresher.selection;
        let managed = || list.iter().filter(|one| selection.may_be_managed(one));
        self.signals = managed().any(|one| one.label(labels::WATCHTOWER_STOP_SIGNAL).is_some());
        self.commands = managed().any(update::has_any);
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
            Need::Docker => swaps && !self.is_podman,
            Need::Swarm => refresher.engine.is_manager(),
            // The case may never come, so no warning asks for the permission.
            Need::Doubt => false,
        }
    }
}
