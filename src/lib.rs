//! imagewatch keeps running containers on the newest image, and never loses one.
//!
//! This library exists for its own binary and its tests; there is no promise of stability.
//!
//! # The map
//!
//! Imports point down; `tests/architecture.rs` holds the modules to it.
//!
//! ```text
//!               main ── serve, check, once, plan, healthcheck    one for each command
//!          preflight  kit      bars         what a start lacks; who works for all; what a terminal shows
//!    admin ──► jobs ◄── watch                   mouth, queue and head: no I/O of their own
//!              notify ──► receiver             tells people, and nobody waits for it
//!    status history metrics                     the books: for people, Prometheus, the next start
//!              refresh ──► select, swap         hands: pull, choose, replace
//!                  rejections hooks cleanup     what they mind before and after
//!              swap ──► claim                   one at a time, and what is left half done
//!    replacement difference relations           what the successor looks like, who needs whom: pure
//!    registry          engine                   clients: no policy
//!          wire ► http                          what clients share: hosts, proxies, TLS; bodies
//!    config credentials report progress reference error time     words
//! ```
//!
//! # Life of a refresh
//!
//! 1. [`watch`]: a round is due. [`registry`] answers the digest behind each tag.
//! 2. First sight: remembered. Same as before: nothing. Moved: an order goes into [`jobs`], where
//!    those of the admin endpoint ([`admin`]) wait as well; equal ones become one run.
//! 3. [`refresh`], on the only thread that changes anything: the image is pulled ([`engine`]), the
//!    managed containers are listed ([`select`]), those on an older image are replaced one after
//!    the other ([`swap`]).
//! 4. What was done comes back as a [`report::Report`], to everybody who asked, and stands in
//!    [`status`]; each outcome also in [`history`], which a restart need not end. After a failure the watcher forgets the new digest, so that the next round tries
//!    again; an image that does not come up is rejected instead.
//!
//! # Logging
//!
//! See [`logging`]. A failure is either logged where it is handled or returned, never both.
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

pub mod admin;
pub mod bars;
pub mod check;
pub mod claim;
pub mod cleanup;
pub mod clerk;
pub mod config;
pub mod credentials;
pub mod debug;
pub mod difference;
pub mod engine;
pub mod error;
#[cfg(test)]
#[path = "../tests/fuzz/generator.rs"]
mod fuzz;
pub mod gate;
pub mod healthcheck;
pub mod history;
pub mod hooks;
mod http;
pub mod jobs;
pub mod kit;
pub mod logging;
pub mod metrics;
pub mod notify;
pub mod once;
pub mod pem;
pub mod plan;
pub mod preflight;
pub mod progress;
pub mod queue;
pub mod receiver;
pub mod reference;
pub mod refresh;
pub mod registry;
pub mod rejections;
pub mod relations;
pub mod replacement;
pub mod report;
pub mod select;
pub mod serve;
pub mod status;
pub mod stop;
pub mod swap;
pub mod time;
pub mod user;
pub mod watch;
mod wire;
