//! The record of events, and the metrics derived from it.

mod history;
mod metrics;

pub(crate) use history::Fake;
