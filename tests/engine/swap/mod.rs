//! One container replaced by its successor, and put back if needed.

mod acceptance;
pub(crate) mod dependencies;
mod every_moment;
mod fault;
mod files;
mod itself;
mod kill;
mod kill_among_others;
mod kill_itself;
mod left_down;
mod needs;
mod not_running;
mod power_cut_itself;
mod prune;
mod prune_itself;
mod start_failure;
mod successor;
pub(crate) mod workspace;
