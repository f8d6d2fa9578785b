//! Inspects many containers, some of which the Engine may be unable to show.

use super::Container;
use super::Engine;
use crate::error::Result;

/// After this many unanswered calls, the Engine itself counts as failed. Each of them costs a deadline.
const UNANSWERED: u32 = 2;

/// Inspects one container after the other.
#[derive(Debug)]
pub struct Inspector<'e> {
    engine: &'e Engine,
    unanswered: u32,
}

impl<'e> Inspector<'e> {
    /// An inspector without unanswered calls.
    #[must_use]
    pub fn of(engine: &'e Engine) -> Self {
        Self {
            engine,
            unanswered: 0,
        }
    }

    /// Finds a container. The inner error says why the Engine cannot show only this one.
    ///
    /// # Errors
    /// When the Engine itself does not answer.
    pub fn find(&mut self, id: &str) -> Result<Result<Option<Container>>> {
        let found = self.engine.find(id);
        if let Some(error) = found.as_ref().err().filter(|error| error.is_unreachable()) {
            self.unanswered += 1;
            if self.unanswered == UNANSWERED {
                return Err(error.clone());
            }
        }
        Ok(found)
    }
}
