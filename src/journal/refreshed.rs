//! One finished refresh, as the status shows it.

use super::report::Report;
use super::status::Worst;
use serde::Serialize;
use serde::Serializer;
use std::sync::Arc;

/// One finished refresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refreshed {
    /// When the refresh began (RFC 3339).
    pub started: String,
    /// When the refresh ended (RFC 3339).
    pub finished: String,
    /// The origin of the refresh: `watcher`, `admin` or `hook`.
    pub asked_by: &'static str,
    /// The worst outcome of its images.
    pub outcome: Worst,
    /// The report of the refresh. It may have thousands of names.
    #[serde(serialize_with = "as_report")]
    pub report: Arc<Report>,
    /// The reason why the containers could not be listed, or why the refresh ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

fn as_report<S: Serializer>(report: &Arc<Report>, serializer: S) -> Result<S::Ok, S::Error> {
    report.as_ref().serialize(serializer)
}
