//! The start of a thread. The standard library's code for it is compiled for each closure, at 1.5 KB each. For a boxed
//! one it is compiled once.

use std::io::Result;
use std::thread::Builder;
use std::thread::Scope;

/// A piece of work. It delivers its own result.
pub(super) type Task<'t> = Box<dyn FnOnce() + Send + 't>;

/// Starts a thread with a stack of the usual size.
///
/// # Errors
/// If no thread can be started.
pub fn start(name: &str, task: Task<'static>) -> Result<()> {
    let builder = Builder::new().name(name.to_owned());
    builder.spawn(task).map(drop)
}

/// Starts a thread with a stack of `stack` bytes.
///
/// # Errors
/// If no thread can be started.
pub fn start_small(name: &str, stack: usize, task: Task<'static>) -> Result<()> {
    let builder = Builder::new().name(name.to_owned()).stack_size(stack);
    builder.spawn(task).map(drop)
}

/// Starts a thread that ends before its scope does.
///
/// # Errors
/// If no thread can be started.
pub fn start_within<'s>(scope: &'s Scope<'s, '_>, name: &str, task: Task<'s>) -> Result<()> {
    let builder = Builder::new().name(name.to_owned());
    builder.spawn_scoped(scope, task).map(drop)
}
