//! The status in a few numbers, for dashboards.

use super::Admin;
use super::reply::Reply;
use super::status::Shown;
use crate::journal::Standing;
use crate::journal::Watched;
use serde_json::json;
use std::collections::HashMap;

/// How many containers are in each state. Each container counts once.
#[derive(Default)]
struct Numbers {
    current: usize,
    outdated: usize,
    waiting: usize,
    rejected: usize,
    failed: usize,
}

impl Numbers {
    /// Counts a container, as the status shows it. A container that nothing is known about is not counted.
    fn count(&mut self, container: &Shown, references: &HashMap<&str, &Watched>) {
        let Some(entry) = references.get(container.image.as_str()) else {
            return;
        };
        let has_failed = entry.last_error.is_some()
            && matches!(entry.state, Standing::Current | Standing::Unknown);
        let number = match container.behind {
            _ if has_failed => &mut self.failed,
            Some(true) if container.waiting.is_some() => &mut self.waiting,
            Some(true) if entry.state == Standing::Rejected => &mut self.rejected,
            Some(true) => &mut self.outdated,
            Some(false) => &mut self.current,
            None => return,
        };
        *number += 1;
    }
}

impl Admin {
    pub(super) fn summary(&self) -> Reply {
        let snapshot = self.board.snapshot();
        let containers = match self.containers(&snapshot, &[]) {
            Ok(containers) => containers,
            Err(error) => return Reply::error(503, &error),
        };
        let mut numbers = Numbers::default();
        let checks = snapshot.references.iter();
        let named = checks
            .clone()
            .map(|entry| (entry.reference.as_str(), entry));
        let references: HashMap<&str, &Watched> = named.collect();
        for one in &containers {
            numbers.count(one, &references);
        }
        let summary = json!({
            "containers": containers.len(),
            "current": numbers.current,
            "outdated": numbers.outdated,
            "waiting": numbers.waiting,
            "rejected": numbers.rejected,
            "failed": numbers.failed,
            "down": self.down.list().len(),
            "last_check": checks.filter_map(|entry| entry.last_check.as_deref()).max(),
        });
        Reply::new(200, &summary)
    }
}
