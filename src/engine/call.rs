//! One call to the Engine, how long each kind of them may take, and what some of them are told.

use crate::credentials::Secret;
use serde_json::Value;
use std::time::Duration;
use ureq::http::Method;

/// How long the Engine may take for a call. None is waited for any longer.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For a ping: it is answered at once, or the Engine is not well.
    pub ping: Duration,
    /// For reading and small changes. Busy Engines on small boxes take seconds.
    pub call: Duration,
    /// For creating, which copies a volume's first contents, and removing, which deletes a writable layer.
    pub heavy: Duration,
    /// How long a pull may be silent. There is no limit on the whole of it.
    pub silence: Duration,
    /// What the Engine itself adds to a stop: the kill after the owner's timeout, and the clean-up.
    pub stop_margin: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(5),
            call: Duration::from_secs(30),
            heavy: Duration::from_secs(120),
            silence: Duration::from_secs(300),
            stop_margin: Duration::from_secs(60),
        }
    }
}

/// One call, before the version is put in front of its path.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: Option<&'a Value>,
    pub(super) auth: Option<&'a Secret>,
    pub(super) deadline: Deadline,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, path: &'a str, deadline: Duration) -> Self {
        Self {
            method,
            path,
            body: None,
            auth: None,
            deadline: Deadline::Total(deadline),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum Deadline {
    /// For the whole exchange.
    Total(Duration),
    /// For each silence in it.
    Idle(Duration),
}

/// How a container is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Only if it is stopped, and its anonymous volumes stay: its successor uses them.
    KeepVolumes,
    /// Whatever it does; its volumes stay.
    Force,
    /// Whatever it does; anonymous volumes that nothing else uses go with it.
    ForceWithAnonymousVolumes,
}
