//! How many tasks of a Swarm service run.

use serde::Serialize;

/// How many tasks of a Swarm service run, and how many should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replicas {
    /// The service's name.
    pub service: String,
    /// How many tasks run.
    pub running: u64,
    /// How many tasks should run.
    pub wanted: u64,
}
