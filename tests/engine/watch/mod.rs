//! The rounds of the watcher.

mod catalogue;
mod outage;
mod rounds;
