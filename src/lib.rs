//! imagewatch keeps running containers on the newest image, and never loses one.
//!
//! This library exists for its own binary and its tests. Its API has no promise of stability.
//!
//! # The map
//!
//! The code is in twelve rooms on floors. A room imports only from floors below its own (`tests/architecture.rs`).
//!
//! ```text
//! 7  commands                     serve, check, refresh, plan, healthcheck, owner, and common parts
//! 6  watch   admin   config       rounds; HTTP API and page; variables
//! 5  update                       orders, queue, selection, pulls, updates
//! 4  swap                         one container replaced, and put back if needed
//! 3  engine  registry  notify     clients without policy; messages
//! 2  journal  policy  trust        record of events; whether an update is applied now; signatures
//!    http  credentials             connections; logins
//! 1  reference  provenance  labels  version  error  logging  secret  thread  text  time  process
//! ```
//!
//! # Life of a refresh
//!
//! 1. A round of [`watch`] is due. [`registry`] returns the digest behind each tag.
//! 2. The first digest of a tag is only remembered. If a tag has moved since, an order goes into the queue
//!    ([`update::Jobs`]). Orders of the admin endpoint ([`admin`]) wait there too. Equal orders become one run.
//! 3. One thread runs the orders ([`update::Worker`]), and no other thread changes containers. It pulls the image
//!    ([`engine`]) and lists the managed containers ([`update::Selection`]). Then it replaces those on an older image,
//!    one after the other ([`swap`]).
//! 4. Each caller gets the report ([`journal::Report`]), and the status shows it ([`journal::Board`]). The history keeps
//!    each outcome ([`journal::History`]).
//! 5. After a failure the watcher does not remember the new digest, so that the next round tries again. An image that
//!    does not come up is rejected instead.
//!
//! # Logging
//!
//! See [`logging`]. A failure is either logged where it is handled or returned, never both.
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

pub mod admin;
pub mod commands;
pub mod config;
pub mod credentials;
pub mod engine;
pub mod error;
#[cfg(test)]
#[path = "../tests/fuzz/generator.rs"]
mod fuzz;
pub mod http;
pub mod journal;
mod json;
pub mod labels;
pub mod logging;
pub mod notify;
mod pem;
pub mod policy;
mod process;
pub mod provenance;
pub mod reference;
pub mod registry;
pub mod secret;
pub mod service;
mod sort;
pub mod swap;
mod text;
pub mod thread;
pub mod time;
pub mod trust;
pub mod update;
pub mod version;
pub mod watch;
