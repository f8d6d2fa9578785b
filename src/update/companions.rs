//! The companions of a container: the containers that are recreated or restarted with it.

use super::Refresher;
use super::neighbours::Neighbours;
use super::renew::HALF_DONE;
use super::round::Round;
use super::side_by_side::Shared;
use crate::engine::Container;
use crate::engine::Image;
use crate::engine::State;
use crate::error::Result;
use crate::reference::Reference;
use crate::swap::Part;
use crate::swap::dependents;
use crate::swap::restarts_with;

/// The companions of one container.
pub(super) struct Companions {
    /// The containers that live in it, each with the image for its successor. The swap recreates them too.
    pub(super) dependents: Vec<(Container, Image)>,
    /// The images that the tags of all these containers mean, the provider first. See [`Part::tagged`].
    tagged: Vec<Option<String>>,
    /// The running containers whose labels ask for a restart afterwards.
    pub(super) restarted: Vec<Container>,
    /// The reason not to begin the swap: an unknown dependent, or a half-done swap.
    pub(super) obstacle: Option<String>,
}

impl Companions {
    /// The parts of the swap that gives `provider` a new image.
    pub(super) fn parts<'p>(&'p self, provider: &'p Container, image: &'p Image) -> Vec<Part<'p>> {
        let dependents = self.dependents.iter().map(|(old, image)| (old, image));
        let all = std::iter::once((provider, image)).chain(dependents);
        let parts = all.zip(&self.tagged).map(|((old, image), tagged)| Part {
            old,
            image,
            tagged: tagged.clone(),
        });
        parts.collect()
    }
}

impl Refresher {
    /// Finds the companions of `provider` as they are now.
    ///
    /// # Errors
    /// When the Engine does not answer.
    #[cold]
    pub(super) fn companions(&self, provider: &Container, shared: &Shared) -> Result<Companions> {
        let mut neighbours = shared.neighbours();
        neighbours.look(&self.engine)?;
        let mut found = Vec::new();
        let mut tagged = vec![shared.round().tagged(provider)];
        for dependent in dependents(provider, neighbours.dependents()) {
            if let Some(dependent) = self.engine.find(dependent.id())? {
                let due = image_due_to(&dependent, &shared.round());
                tagged.push(due.as_ref().and(shared.round().tagged(&dependent)));
                let image = match due {
                    Some(image) => image,
                    None => self.engine.image(dependent.image_id())?,
                };
                found.push((dependent, image));
            }
        }
        let all = found.iter().map(|(dependent, _)| dependent);
        let all: Vec<&Container> = std::iter::once(provider).chain(all).collect();
        let wants =
            |one: &&Container| one.state() == State::Running && restarts_with(one, provider);
        Ok(Companions {
            obstacle: obstacle(&all, &neighbours),
            restarted: neighbours
                .dependents()
                .iter()
                .filter(wants)
                .cloned()
                .collect(),
            dependents: found,
            tagged,
        })
    }

    /// Restarts containers after `provider` was recreated, except for those that were recreated with it.
    #[cold]
    pub(super) fn restart(&self, all: &[Container], provider: &Container, parts: &[Part]) {
        let is_part = |one: &Container| parts.iter().any(|part| part.old.name() == one.name());
        for one in all.iter().filter(|one| !is_part(one)) {
            // The owner may have stopped the container meanwhile.
            let now = self.engine.find(one.id()).ok().flatten();
            if now.is_none_or(|now| now.state() != State::Running) {
                continue;
            }
            match self.engine.restart(one) {
                Ok(()) => log::info!(
                    "restarted container={} after {}",
                    one.name(),
                    provider.name()
                ),
                Err(error) => log::warn!("not restarted container={}: {error}", one.name()),
            }
        }
    }
}

/// Returns a newer image that is due for a dependent.
fn image_due_to(dependent: &Container, round: &Round) -> Option<Image> {
    let reference: Reference = dependent.image_name().parse().ok()?;
    // An image that was rejected, or that the owner's labels do not allow, is not due.
    let is_wanted = round.updates.contains(dependent.name());
    let due = round.work(&reference);
    // Only an outline is kept of an image that its containers run already.
    let due = due.filter(|work| work.ended.is_none() && is_wanted && work.image.has_settings());
    due.map(|work| work.image.clone())
}

/// Returns the reason not to begin a swap of these containers.
fn obstacle(all: &[&Container], neighbours: &Neighbours) -> Option<String> {
    let mut each = all.iter();
    let unknown = each.find_map(|one| neighbours.unknown_dependent(one));
    unknown.or_else(|| {
        let one = all.iter().find(|one| neighbours.is_in_swap(one))?;
        Some(format!("{}: {HALF_DONE}", one.name()))
    })
}
