//! Over real sockets, against servers that do as they are told.

mod credentials;
mod engine;
mod guard;
mod registry;
mod serve;
