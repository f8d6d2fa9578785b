//! Rounds of the watcher.

mod versions;
