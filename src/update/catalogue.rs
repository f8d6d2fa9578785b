//! The runtimes: images whose references are known without a container.

use super::select::Seen;
use crate::engine::Engine;
use crate::engine::Image;
use crate::logging::debug;
use crate::reference::Reference;
use crate::reference::Target;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::PoisonError;

/// The runtimes. Those that the owner named are always watched. Built-in ones are watched once this box has a container
/// or an image of theirs, because most boxes have none.
#[derive(Debug)]
pub struct Catalogue {
    runtimes: Vec<Target>,
    /// The references of built-in runtimes, as the Engine's filter writes them.
    pattern: Option<String>,
    /// The images of built-in runtimes that the Engine listed when it was last asked.
    images: Mutex<HashSet<Reference>>,
}

impl Catalogue {
    /// Makes a catalogue. `pattern` matches the references of built-in runtimes, with `*` for the name of a runtime.
    /// Without it, the owner named the runtimes.
    #[must_use]
    pub fn new(runtimes: Vec<Target>, pattern: Option<String>) -> Self {
        Self {
            runtimes,
            pattern,
            images: Mutex::default(),
        }
    }

    /// Every runtime.
    #[must_use]
    pub fn all(&self) -> &[Target] {
        &self.runtimes
    }

    /// The runtimes that are watched whatever is on the box.
    #[must_use]
    pub fn named(&self) -> &[Target] {
        match self.pattern {
            None => &self.runtimes,
            Some(_) => &[],
        }
    }

    /// The runtime with this reference.
    pub(super) fn find(&self, reference: &Reference) -> Option<&Target> {
        let mut runtimes = self.runtimes.iter();
        runtimes.find(|runtime| runtime.reference == *reference)
    }

    /// The runtimes that are watched on a box with these containers.
    pub(super) fn watched(&self, seen: &[Seen], engine: &Engine) -> Vec<Target> {
        let Some(pattern) = &self.pattern else {
            return self.runtimes.clone();
        };
        // Nobody waits for the lock while the Engine is asked.
        let found = engine.images_like(pattern);
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Ok(found) => {
                let tags = found.iter().flat_map(Image::tags);
                *images = tags.filter_map(|tag| tag.parse().ok()).collect();
            }
            // A runtime that is forgotten for a moment would lose the digest that was seen.
            Err(error) => debug(format_args!("the runtimes on this box: {error}")),
        }
        let runs = |reference: &Reference| {
            let mut made_from = seen.iter().filter_map(|one| one.made_from.as_ref().ok());
            made_from.any(|one| one == reference)
        };
        let is_here =
            |runtime: &&Target| images.contains(&runtime.reference) || runs(&runtime.reference);
        self.runtimes.iter().filter(is_here).cloned().collect()
    }
}
