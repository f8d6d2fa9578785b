//! One call to the Engine, its deadline, and its options.

use super::about::ApiVersion;
use crate::secret::Secret;
use serde_json::Value;
use std::time::Duration;
use ureq::http::Method;

/// How long the Engine may take for each kind of call. After that, the call fails.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For a ping. A healthy Engine answers it at once.
    pub ping: Duration,
    /// For reads and small changes. Busy Engines on small machines take seconds.
    pub call: Duration,
    /// For a creation, which copies a volume's first contents, and a removal, which deletes a writable layer.
    pub heavy: Duration,
    /// How long a pull may be silent. The whole pull has no limit.
    pub silence: Duration,
    /// The time that the Engine itself adds to a stop: the kill after the owner's timeout, and the clean-up.
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

/// One call. The API version is put in front of its path later.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: Option<&'a Value>,
    /// A tar, instead of a JSON body.
    pub(super) archive: Option<&'a [u8]>,
    pub(super) auth: Option<&'a Secret>,
    pub(super) deadline: Deadline,
    /// A version of the API, if not the agreed one.
    pub(super) version: Option<ApiVersion>,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, path: &'a str, deadline: Duration) -> Self {
        Self {
            method,
            path,
            body: None,
            archive: None,
            auth: None,
            deadline: Deadline::Total(deadline),
            version: None,
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum Deadline {
    /// For the whole exchange.
    Total(Duration),
    /// For each silence in the exchange.
    Idle(Duration),
}

/// How a container is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Only if the container is stopped. Its anonymous volumes stay, because its successor uses them.
    KeepVolumes,
    /// Even if the container runs. Its volumes stay.
    Force,
    /// Even if the container runs. Anonymous volumes that nothing else uses are removed with it.
    ForceWithAnonymousVolumes,
}
