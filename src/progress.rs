//! What a refresh is doing, step by step: for whoever waits for it, and for the books.

use serde::Serialize;

/// One step. As JSON it is a line of an `application/x-ndjson` answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// The work goes on, and there is no more to say of it.
    Alive,
    /// The Engine is asked to pull an image.
    Pulling {
        /// The reference.
        image: String,
    },
    /// It pulls; as often as the Engine says so.
    Layer {
        /// The reference.
        image: String,
        /// The layer's short id, or the tag.
        layer: String,
        /// The Engine's word, e.g. `Downloading`.
        status: String,
        /// Bytes of this layer that are done; 0 where the Engine does not say.
        current: u64,
        /// Bytes it has; 0 where the Engine does not say.
        total: u64,
    },
    /// The image is here.
    Pulled {
        /// The reference.
        image: String,
        /// How long that took.
        seconds: f64,
    },
    /// The image could not be pulled.
    PullFailed {
        /// The reference.
        image: String,
        /// Why, on one line.
        reason: String,
    },
    /// A container is behind, and its owner only wants to know.
    Behind {
        /// The container's name.
        container: String,
        /// The reference.
        image: String,
        /// The newest digest, or the id of the newest image that is here.
        new: String,
    },
    /// A swap has come this far.
    Swap {
        /// The container's name.
        container: String,
        /// `create`, `stop`, `start`, `accept`, `undo`.
        phase: &'static str,
    },
    /// A container runs a newer image now.
    Recreated {
        /// The container's name.
        container: String,
        /// The reference.
        image: String,
        /// The id of the image it ran.
        old: String,
        /// The id of the image it runs.
        new: String,
        /// How long it was not running; `None` if it had not been.
        downtime_seconds: Option<f64>,
    },
    /// A successor was not accepted; the old container runs again.
    RolledBack {
        /// The container's name.
        container: String,
        /// The reference.
        image: String,
        /// The id of the image it runs.
        old: String,
        /// The id of the image that was tried.
        new: String,
        /// Why, on one line.
        reason: String,
    },
    /// A container was not renewed though it is behind.
    Skipped {
        /// The container's name.
        container: String,
        /// The reference.
        image: String,
        /// The id of the image it should run.
        new: String,
        /// Why, on one line.
        reason: String,
        /// Whether another try may help: something failed.
        failed: bool,
    },
}
