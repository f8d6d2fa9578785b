//! The commands, and how they read the command line and the environment.

mod preflight;
mod serve;
mod spelling;
