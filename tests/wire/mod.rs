//! Over real sockets, against servers that do as they are told.

mod claim;
mod credentials;
mod engine;
mod guard;
mod history;
mod hostile;
mod jobs;
mod metrics;
mod notify;
mod page;
mod preflight;
mod quirks;
mod registry;
mod serve;
