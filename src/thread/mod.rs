//! Threads: a queue between threads, a thread that runs tasks, and the shutdown.

mod executor;
mod queue;
mod shutdown;

pub use executor::Executor;

pub use shutdown::Shutdown;

pub use queue::Inlet;
pub use queue::Outlet;
pub use queue::queue;
