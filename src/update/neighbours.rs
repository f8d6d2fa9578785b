//! Keeps the list of dependents, and of half-done swaps, during one refresh.

use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Inspector;
use crate::engine::Summary;
use crate::error::Error;
use crate::error::Result;
use crate::swap;
use crate::swap::LOCK_NAME;
use crate::swap::may_live_in;
use crate::swap::needs_others;
use std::collections::HashSet;
use std::time::Duration;
use std::time::Instant;

/// What is known of a container for less than this is not asked for again.
pub(super) const FRESH: Duration = Duration::from_secs(1);

/// The containers around the one that is updated. A refresh may take long, so each look compares with the
/// Engine's list. Each container is inspected once.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    /// The ids of containers that were inspected.
    known: HashSet<String>,
    /// The outlines of containers that need others.
    dependents: Vec<Container>,
    /// The ids of containers whose swap is not over.
    half_done: HashSet<String>,
    /// Containers that the Engine failed to inspect, each with the error.
    unknown: Vec<(Summary, Error)>,
    /// The last list, kept while `unknown` is not empty.
    list: Vec<Summary>,
    /// The list that the refresh made under the lock, and its time. The first look uses this list.
    first: Option<(Vec<Summary>, Instant)>,
    /// The first failure. Another question for each container could cost a deadline each time.
    trouble: Option<Error>,
}

impl Neighbours {
    /// Starts with a list that was made just now, and the containers on it that were inspected already.
    pub(super) fn new<'c>(
        list: Vec<Summary>,
        inspected: impl Iterator<Item = &'c Container>,
    ) -> Self {
        let mut neighbours = Self {
            first: Some((list, Instant::now())),
            ..Self::default()
        };
        for one in inspected {
            neighbours.known.insert(one.id().to_owned());
            neighbours
                .dependents
                .extend(needs_others(one).then(|| one.outline()));
        }
        neighbours
    }

    /// Looks for containers that came or went since the last look.
    ///
    /// # Errors
    /// When the Engine does not answer. Each later look returns the same error.
    pub(super) fn look(&mut self, engine: &Engine) -> Result<()> {
        if let Some(trouble) = &self.trouble {
            return Err(trouble.clone());
        }
        let outcome = self.compare(engine);
        self.trouble = outcome.as_ref().err().cloned();
        outcome
    }

    fn compare(&mut self, engine: &Engine) -> Result<()> {
        let list = match self.first.take() {
            Some((list, made)) if made.elapsed() < FRESH => list,
            _ => engine.containers()?,
        };
        // The owner replaced the container during a swap; the leftover of that swap depends on nothing.
        let there = list.iter().filter(|one| !swap::is_left_over(&list, one));
        let there: HashSet<&str> = there.map(Summary::id).collect();
        self.dependents.retain(|one| there.contains(one.id()));
        self.known.retain(|id| there.contains(id.as_str()));
        self.half_done = swap::half_done(&list);
        self.unknown.retain(|(one, _)| there.contains(one.id()));
        let mut inspector = Inspector::of(engine);
        let others = list.iter().filter(|one| one.name() != LOCK_NAME);
        for one in others.filter(|one| there.contains(one.id())) {
            let id = one.id();
            if self.known.contains(id) {
                continue;
            }
            match inspector.find(id)? {
                Ok(found) => {
                    let found = found.filter(needs_others);
                    self.dependents
                        .extend(found.as_ref().map(Container::outline));
                }
                // A container that is being removed needs nothing any more.
                Err(_) if one.is_gone() => {}
                Err(error) => self.unknown.push((one.clone(), error)),
            }
            self.known.insert(id.to_owned());
        }
        self.list = if self.unknown.is_empty() {
            Vec::new()
        } else {
            list
        };
        Ok(())
    }

    /// Returns the reason not to replace a container, if a container that the Engine cannot inspect may depend on it.
    pub(super) fn unknown_dependent(&self, provider: &Container) -> Option<String> {
        let entry = self.list.iter().find(|one| one.id() == provider.id());
        let mut unknown = self
            .unknown
            .iter()
            .filter(|(one, _)| one.id() != provider.id());
        let (one, error) = unknown.find(|(one, _)| may_live_in(one, provider, entry))?;
        Some(format!(
            "{} may live in {}, and cannot be looked at: {error}",
            one.name(),
            provider.name()
        ))
    }

    /// Whether a swap of the container was not over at the last look.
    pub(super) fn is_in_swap(&self, container: &Container) -> bool {
        self.half_done.contains(container.id())
    }

    /// Returns the outlines of the containers that depend on others, as they were at their inspection.
    pub(super) fn dependents(&self) -> &[Container] {
        &self.dependents
    }
}
