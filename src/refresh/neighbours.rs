//! The containers that need others, and those that are being swapped, as long as a refresh lasts.

use crate::engine::Container;
use crate::engine::Engine;
use crate::error::Error;
use crate::error::Result;
use crate::relations::needs_others;
use crate::swap;
use std::collections::HashSet;

/// Kept up with what the Engine lists, because a refresh may take long; each container is inspected once.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    known: HashSet<String>,
    needy: Vec<Container>,
    /// The ids of containers whose swap is not over.
    half_done: HashSet<String>,
    /// What the Engine could not tell, once: asking again for each container could cost a deadline each time.
    trouble: Option<Error>,
}

impl Neighbours {
    /// Looks for what came and went since the last time.
    ///
    /// # Errors
    /// When the Engine cannot be asked; from then on the same error.
    pub(super) fn look(&mut self, engine: &Engine) -> Result<()> {
        if let Some(trouble) = &self.trouble {
            return Err(trouble.clone());
        }
        let outcome = self.compare(engine);
        self.trouble = outcome.as_ref().err().cloned();
        outcome
    }

    fn compare(&mut self, engine: &Engine) -> Result<()> {
        let list = engine.containers()?;
        let there: HashSet<&str> = list.iter().map(|one| one.id()).collect();
        self.needy.retain(|one| there.contains(one.id()));
        self.known.retain(|id| there.contains(id.as_str()));
        self.half_done = swap::half_done(&list);
        for id in list.iter().map(|one| one.id()) {
            if self.known.contains(id) {
                continue;
            }
            if let Some(found) = engine.find(id)? {
                self.needy.extend(Some(found).filter(needs_others));
            }
            self.known.insert(id.to_owned());
        }
        Ok(())
    }

    /// Whether a swap of it was not over at the last look.
    pub(super) fn are_swapping(&self, container: &Container) -> bool {
        self.half_done.contains(container.id())
    }

    /// As they were when they were seen first.
    pub(super) fn needy(&self) -> &[Container] {
        &self.needy
    }
}
