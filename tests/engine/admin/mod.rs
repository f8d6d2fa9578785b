//! The HTTP API.

mod refresh;
