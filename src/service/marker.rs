//! The label that imagewatch puts on a service with an update. Only so can another process know whose update it is.

use crate::engine::Service;
use crate::json;
use crate::labels;
use crate::reference::Digest;
use crate::time::rfc3339;
use serde_json::Value;
use serde_json::json;
use std::time::SystemTime;

/// One update of a service by imagewatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The digest before the update, if there was one.
    pub from: Option<String>,
    /// The digest of the update.
    pub to: String,
    /// When the update was written.
    pub at: String,
}

impl Marker {
    pub(super) fn new(from: Option<&str>, to: &Digest) -> Self {
        Self {
            from: from.map(str::to_owned),
            to: to.to_string(),
            at: rfc3339(SystemTime::now()),
        }
    }

    /// The text of the label.
    pub(super) fn text(&self) -> String {
        let Self { from, to, at } = self;
        json::print(&json!({"v": 1, "from": from, "to": to, "at": at}))
    }

    /// The update that a service is in, or was in last. A service that its owner has changed since has none.
    #[must_use]
    pub fn of(service: &Service) -> Option<Self> {
        let marker = Self::read(service)?;
        (super::digest_of(service.image()) == Some(marker.to.as_str())).then_some(marker)
    }

    fn read(service: &Service) -> Option<Self> {
        let found: Value = json::parse(service.label(labels::UPDATE)?).ok()?;
        let text = |key: &str| found[key].as_str().map(str::to_owned);
        Some(Self {
            from: text("from"),
            to: text("to")?,
            at: text("at").unwrap_or_default(),
        })
    }

    /// The update that was rolled back, if Swarm's memory shows it: by the spec from before the roll-back.
    #[must_use]
    pub fn rolled_back(service: &Service) -> Option<Self> {
        if !service.state().starts_with("rollback_") {
            return None;
        }
        Self::of(&service.previous()?)
    }
}
