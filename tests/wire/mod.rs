//! Over real sockets, against servers that do as they are told.

mod attack;
mod claim;
mod credentials;
mod engine;
mod guard;
mod hang;
mod history;
mod hostile;
mod jobs;
mod metrics;
mod notify;
mod outage;
mod page;
mod preflight;
mod quirks;
mod registry;
mod serve;
