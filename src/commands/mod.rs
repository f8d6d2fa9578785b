//! One module for each command, and the modules that commands share.

mod backend;
mod check;
mod dry_run;
mod healthcheck;
mod names;
mod owner;
mod plan;
mod preflight;
mod progress_bar;
mod recovery;
mod refresh;
mod serve;
mod server;
mod signals;
mod swap;
mod table;
mod usage;
mod wiring;

pub use serve::Running;
pub use serve::serve;

pub use dry_run::dry_run;
pub use refresh::Ended;
pub use refresh::Wish;
pub use refresh::refresh;

/// The command of imagewatch.helper. People do not use it.
pub use crate::swap::COMMAND as SWAP;
pub use swap::swap;

pub use preflight::CALLS;
pub use preflight::Need;

pub use plan::Form;
pub use plan::plan;

pub use healthcheck::ask;

pub use owner::Decision;
pub use owner::OwnersLine;

pub use check::check;

pub use names::names;

pub use usage::help;
pub use usage::help_of;
pub use usage::misused;
