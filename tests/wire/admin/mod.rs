//! The HTTP API and the page.

mod attack;
mod check;
mod guard;
mod hook;
mod jobs;
mod owner;
mod page;
mod summary;
