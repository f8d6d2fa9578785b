//! The HTTP API.

mod owner;
mod refresh;
