//! The record of events, and everything derived from it: report, status, history, metrics.

mod decisions;
mod down;
mod event;
mod history;
mod metrics;
mod put_off;
mod refreshed;
mod rejections;
mod replicas;
mod report;
mod sightings;
mod standing;
mod status;
mod under_way;
mod verdict;
mod versions;
mod waiting;
mod watched;

pub use waiting::Waiting;

pub use versions::Versions;

pub use verdict::Found;
pub use verdict::Outcomes;
pub use verdict::Verdict;

pub use status::Board;
pub use status::Snapshot;
pub use status::WATCHER;
pub use status::Worst;
pub use watched::Watched;

pub use standing::Behind;
pub use standing::Judged;
pub use standing::Standing;
pub use standing::Survey;

pub use sightings::Sightings;

pub use refreshed::Refreshed;

pub use report::ONLY_NOTIFY;
pub use report::Reasoned;
pub use report::Report;
pub(crate) use report::add_names;
pub(crate) use report::add_reasons;

pub use rejections::Rejections;

pub use put_off::PutOff;

pub use metrics::FORMAT;
pub use metrics::HOOK_SENDERS;
pub use metrics::Metrics;
pub use metrics::VERIFICATIONS;
pub use replicas::Replicas;

pub use history::History;

pub use event::Event;
pub use event::Outcome;
pub use event::Step;
pub use event::steady;

pub use down::Down;

pub use decisions::All as AllDecisions;
pub use decisions::Decisions;
pub use decisions::Held;
pub use decisions::Skipped;
