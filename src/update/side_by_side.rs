//! Updates several containers at the same time, as far as they share nothing.
//!
//! Containers of one image are updated one after the other, because the first roll-back ends the updates to that image.
//! So are containers of which one depends on the other. All others only wait for each other's exchange
//! ([`Turns`]), and not until the other successor is accepted.

use super::Refresher;
use super::managed::Managed;
use super::neighbours::Neighbours;
use super::round::Round;
use crate::engine::Container;
use crate::journal::Step;
use crate::swap::Lock;
use crate::swap::Turns;
use crate::swap::dependencies_among;
use crate::swap::namespaces_of;
use crate::thread::start_within;
use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// Everything that the updates of one refresh share.
pub(super) struct Shared<'s, 'r, 'o> {
    round: Mutex<&'s mut Round<'r, 'o>>,
    neighbours: Mutex<Neighbours>,
    pub(super) turns: Turns,
    pub(super) on: &'s (dyn Fn(&Step) + Sync),
}

impl<'s, 'r, 'o> Shared<'s, 'r, 'o> {
    pub(super) fn new(round: &'s mut Round<'r, 'o>, neighbours: Neighbours) -> Self {
        Self {
            on: round.on,
            round: Mutex::new(round),
            neighbours: Mutex::new(neighbours),
            turns: Turns::default(),
        }
    }

    /// The round, for a moment. No call to an Engine or to a container may be made meanwhile.
    pub(super) fn round(&self) -> MutexGuard<'_, &'s mut Round<'r, 'o>> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn neighbours(&self) -> MutexGuard<'_, Neighbours> {
        self.neighbours
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The containers that wait for their update.
struct Waiting<'l> {
    /// Each with the number of its group.
    all: VecDeque<(usize, Managed)>,
    /// The groups of which a container is being updated.
    busy: Vec<usize>,
    lock: Option<Lock<'l>>,
}

/// Hands out the containers, one at a time of each group.
struct Queue<'l> {
    waiting: Mutex<Waiting<'l>>,
    changed: Condvar,
}

/// A container that is being updated. Its group goes on when this is dropped.
struct Taken<'q, 'l> {
    queue: &'q Queue<'l>,
    group: usize,
    container: Managed,
}

impl Drop for Taken<'_, '_> {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting();
        waiting.busy.retain(|group| *group != self.group);
        self.queue.changed.notify_all();
    }
}

impl<'l> Queue<'l> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<'l>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next container whose group is free. Waits for a group. Returns nothing once no container is left.
    /// `renew` renews the lock, while no container is being updated.
    fn take(
        &self,
        is_over: impl Fn(&Lock, &Managed) -> bool,
        renew: impl Fn(&mut Option<Lock<'l>>, &Managed),
    ) -> Option<Taken<'_, 'l>> {
        let mut waiting = self.waiting();
        loop {
            let busy = &waiting.busy;
            let is_free = |(group, _): &(usize, Managed)| !busy.contains(group);
            let place = waiting.all.iter().position(is_free);
            if waiting.all.is_empty() {
                return None;
            }
            if let Some(place) = place {
                let Waiting { all, busy, lock } = &mut *waiting;
                let next = &all[place].1;
                let is_over = lock.as_ref().is_some_and(|lock| is_over(lock, next));
                if is_over && busy.is_empty() {
                    renew(lock, next);
                }
                if !is_over || busy.is_empty() {
                    let (group, container) = all.remove(place)?;
                    busy.push(group);
                    return Some(Taken {
                        queue: self,
                        group,
                        container,
                    });
                }
            }
            let woken = self.changed.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Refresher {
    /// Updates these containers, which are in the order of their dependencies. The lock is renewed when its time is
    /// over.
    #[cold]
    pub(super) fn update_side_by_side<'l>(
        &'l self,
        all: Vec<Managed>,
        lock: Option<Lock<'l>>,
        shared: &Shared,
    ) {
        let groups = groups(&all, shared.neighbours().dependents());
        let round = shared.round();
        let due = all.iter().zip(&groups);
        let due = due.filter(|(one, _)| round.image_due(one).is_some());
        let due: HashSet<usize> = due.map(|(_, group)| *group).collect();
        drop(round);
        let queue = Queue {
            waiting: Mutex::new(Waiting {
                all: groups.into_iter().zip(all).collect(),
                busy: Vec::new(),
                lock,
            }),
            changed: Condvar::new(),
        };
        let is_over = |lock: &Lock, one: &Managed| {
            let is_due = shared.round().image_due(one).is_some();
            is_due && lock.is_over()
        };
        let renew = |lock: &mut Option<Lock<'l>>, one: &Managed| {
            let image = shared.round().image_due(one).cloned();
            drop(lock.take());
            let Some(image) = image else { return };
            match self.lock(&image, std::slice::from_ref(one), shared.on) {
                Ok(held) => *lock = Some(held),
                Err(reason) => shared.round().put_off(&reason),
            }
        };
        let work = || {
            while let Some(taken) = queue.take(is_over, renew) {
                self.update_one(&taken.container, shared);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..due.len().min(self.parallel) {
                // Without another thread, this one does all the work.
                let _ = start_within(scope, "update", Box::new(work));
            }
            work();
        });
    }
}

/// Returns the number of each container's group. Containers of one group share an image or a namespace, or one depends
/// on the other. `others` are containers that depend on any container.
#[cold]
fn groups(all: &[Managed], others: &[Container]) -> Vec<usize> {
    let known: HashSet<&str> = all.iter().map(|one| one.container.id()).collect();
    let managed = all.iter().map(|one| &one.container);
    let others = others.iter().filter(|one| !known.contains(one.id()));
    let nodes: Vec<&Container> = managed.chain(others).collect();
    let needed = dependencies_among(&nodes);
    let mut groups = Groups((0..nodes.len()).collect());
    let mut shared: HashMap<String, usize> = HashMap::new();
    for (place, node) in nodes.iter().enumerate() {
        let image = all.get(place).map(|one| one.reference.to_string());
        let namespaces = namespaces_of(node).map(str::to_owned);
        for key in image.into_iter().chain(namespaces) {
            groups.merge(*shared.entry(key).or_insert(place), place);
        }
        for &needed in &needed[place] {
            groups.merge(needed, place);
        }
    }
    (0..all.len()).map(|place| groups.of(place)).collect()
}

/// For each container, by its place, another one of its group, or itself: one of each group.
struct Groups(Vec<usize>);

impl Groups {
    fn of(&mut self, place: usize) -> usize {
        let mut place = place;
        while self.0[place] != place {
            // Each walk halves the way of the next one.
            self.0[place] = self.0[self.0[place]];
            place = self.0[place];
        }
        place
    }

    fn merge(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        self.0[other] = one;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Consent;
    use serde_json::Value;
    use serde_json::json;
    use std::time::Instant;

    fn container(name: &str, host: &Value, labels: &Value) -> Container {
        let id = format!("{name:0>64}");
        let config = json!({"Labels": labels});
        Container::new(json!({"Id": id, "Name": name, "HostConfig": host, "Config": config}))
    }

    #[test]
    fn who_shares_an_image_a_namespace_or_a_dependency_is_in_one_group() {
        let plain = |name: &str| container(name, &json!({}), &json!({}));
        let within = |name: &str, of: &str| {
            let host = json!({"NetworkMode": format!("container:{of}")});
            container(name, &host, &json!({}))
        };
        let after = |name: &str, of: &str| {
            let labels = json!({"com.centurylinklabs.watchtower.depends-on": of});
            container(name, &json!({}), &labels)
        };
        for (all, others, expected) in [
            (
                vec![("x", plain("a")), ("y", plain("b"))],
                vec![],
                vec![0, 1],
            ),
            (
                vec![("x", plain("a")), ("x", plain("b"))],
                vec![],
                vec![0, 0],
            ),
            (
                vec![("x", plain("a")), ("y", within("b", "a"))],
                vec![],
                vec![0, 0],
            ),
            (
                vec![("x", plain("a")), ("y", after("b", "a"))],
                vec![],
                vec![0, 0],
            ),
            (
                vec![("x", after("a", "z")), ("y", after("b", "z"))],
                vec![],
                vec![0, 1],
            ),
            // In the namespace of a container that is not updated.
            (
                vec![("x", within("a", "z")), ("y", within("b", "z"))],
                vec![],
                vec![0, 0],
            ),
            // By way of a container that is not managed.
            (
                vec![
                    ("x", plain("a")),
                    ("y", within("b", "c")),
                    ("z", plain("d")),
                ],
                vec![within("c", "a")],
                vec![0, 0, 2],
            ),
            (
                vec![
                    ("x", plain("a")),
                    ("y", plain("b")),
                    ("x", within("c", "b")),
                ],
                vec![],
                vec![0, 0, 0],
            ),
        ] {
            let managed = |(image, container): (&str, Container)| Managed {
                container,
                seen: Instant::now(),
                reference: image.parse().expect("valid"),
                consent: Consent::Update,
                rules: crate::policy::OwnRules::default(),
                left_alone: None,
                stays_stopped: false,
            };
            let all: Vec<Managed> = all.into_iter().map(managed).collect();
            let mut seen = Vec::new();
            let found: Vec<usize> = (groups(&all, &others).into_iter())
                .map(|group| {
                    let known = seen.iter().position(|one| *one == group);
                    known.unwrap_or_else(|| {
                        seen.push(group);
                        seen.len() - 1
                    })
                })
                .collect();
            let mut numbers = Vec::new();
            let expected: Vec<usize> = (expected.into_iter())
                .map(|group| {
                    let known = numbers.iter().position(|one| *one == group);
                    known.unwrap_or_else(|| {
                        numbers.push(group);
                        numbers.len() - 1
                    })
                })
                .collect();
            let names: Vec<&str> = all.iter().map(|one| one.container.name()).collect();
            assert_eq!(found, expected, "{names:?}");
        }
    }
}
