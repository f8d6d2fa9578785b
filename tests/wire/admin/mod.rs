//! The HTTP API and the page.

mod attack;
mod check;
mod guard;
mod jobs;
mod owner;
mod page;
mod summary;
