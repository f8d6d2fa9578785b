//! A thread that runs tasks one after the other, for callers that must not wait themselves.

use super::queue::Inlet;
use super::queue::queue;

/// Tasks that may wait. Further tasks are refused.
const WAITING: usize = 32;

/// A piece of work. It delivers its own result.
pub(super) type Task = Box<dyn FnOnce() + Send>;

/// The handle of the thread. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    inlet: Inlet<Task>,
}

impl Executor {
    /// Starts the thread.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(name: &str) -> std::io::Result<Self> {
        let (inlet, outlet) = queue::<Task>();
        let work = move || {
            while let Some(task) = outlet.pop() {
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(task)).is_err() {
                    log::error!("a bug ended a task (please report this)");
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(work)?;
        Ok(Self { inlet })
    }

    /// Hands over a task.
    ///
    /// # Errors
    /// Gives the task back if too many tasks are waiting.
    pub fn ask(&self, task: Task) -> Result<(), Task> {
        self.inlet.push_within(WAITING, task)
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Executor")
    }
}
