//! A thread that answers questions one after the other, for askers that must not wait themselves.

use crate::queue::Inlet;
use crate::queue::queue;

/// Questions that may wait; more are refused.
const WAITING: usize = 32;

/// What is handed over: it sees to its answer by itself.
pub type Question = Box<dyn FnOnce() + Send>;

/// Takes questions. Cheap to clone.
#[derive(Clone)]
pub struct Clerk {
    inlet: Inlet<Question>,
}

impl Clerk {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(name: &str) -> std::io::Result<Self> {
        let (inlet, outlet) = queue::<Question>();
        let work = move || {
            while let Some(question) = outlet.pop() {
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(question)).is_err() {
                    log::error!("a question was left without an answer by a bug");
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(work)?;
        Ok(Self { inlet })
    }

    /// Hands over a question; gives it back if too many are waiting.
    ///
    /// # Errors
    /// The question.
    pub fn ask(&self, question: Question) -> Result<(), Question> {
        self.inlet.push_within(WAITING, question)
    }
}

impl std::fmt::Debug for Clerk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clerk")
    }
}
