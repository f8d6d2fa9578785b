//! The rounds of the watcher.

mod outage;
mod rounds;
