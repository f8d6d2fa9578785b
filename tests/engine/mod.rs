//! Against a real Engine and a real registry behind GHCR's manners.
//!
//! `LAB_ENGINE` is the Engine's socket; without it these tests say that they were left out.

mod command;
mod crash;
mod edge;
mod fault;
mod fidelity;
mod lab;
mod least;
mod moment;
mod newest;
mod outage;
mod owner;
mod plan;
mod private;
mod proxy;
mod refresh;
mod relations;
mod service;
mod soak;
mod story;
mod watch;
mod workspace;
