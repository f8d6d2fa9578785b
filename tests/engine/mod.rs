//! Against a real Engine and a real registry behind GHCR's manners.
//!
//! A folder has the tests of one room of `src`. The files beside the folders test the whole program.
//!
//! `LAB_ENGINE` is the Engine's socket; without it these tests say that they were left out.

mod admin;
mod commands;
mod first_evening;
mod itself;
mod lab;
mod policy;
mod private_registry;
mod program_in_container;
mod service;
mod soak;
mod socket_proxy;
mod storm;
mod swap;
mod tls;
mod unprivileged;
mod update;
mod watch;
