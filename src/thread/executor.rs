//! A thread that runs tasks one after the other, for callers that must not wait themselves.

use super::queue::Inlet;
use super::queue::queue;
use super::start::Task;
use super::start::start;

/// Tasks that may wait. Further tasks are refused.
const WAITING: usize = 32;

/// The handle of the thread. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    inlet: Inlet<Task<'static>>,
}

impl Executor {
    /// Starts the thread.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(name: &str) -> std::io::Result<Self> {
        let (inlet, outlet) = queue::<Task<'static>>();
        let work = move || {
            while let Some(task) = outlet.pop() {
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(task)).is_err() {
                    log::error!("a bug ended a task (please report this)");
                }
            }
        };
        start(name, Box::new(work))?;
        Ok(Self { inlet })
    }

    /// Hands over a task.
    ///
    /// # Errors
    /// Gives the task back if too many tasks are waiting.
    pub fn ask(&self, task: Task<'static>) -> Result<(), Task<'static>> {
        self.inlet.push_within(WAITING, task)
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Executor")
    }
}
