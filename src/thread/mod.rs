//! Threads: a queue between threads, a thread that runs tasks, and the shutdown.

mod executor;
mod queue;
mod shutdown;
mod start;

pub use executor::Executor;

pub use shutdown::Shutdown;

pub use start::start;
pub use start::start_small;
pub use start::start_within;

pub use queue::Inlet;
pub use queue::Outlet;
pub use queue::queue;
