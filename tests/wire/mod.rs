//! Over real sockets, against servers that do as they are told.
//!
//! A folder or a file has the tests of one room of `src`; `hostile` is about several.

mod admin;
mod commands;
mod credentials;
mod cryptography;
mod engine;
mod hostile;
mod journal;
mod notify;
mod policy;
pub(crate) mod registry;
mod service;
mod swap;
mod update;
mod watch;
