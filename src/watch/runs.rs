//! Remembers the containers of each reference between rounds. A reference is surveyed again when its containers
//! change, and not in each round.

use crate::reference::Reference;
use crate::update::Seen;
use std::collections::HashMap;
use std::collections::HashSet;

/// The containers of all references.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// The containers at the last look. `None` before the first look.
    last: Option<HashMap<Reference, Vec<Run>>>,
    /// References whose containers changed since the last survey.
    changed: HashSet<Reference>,
    /// The names of containers that started since the first look, and of containers in mode notify that are behind.
    /// They stay here until they are updated or reported.
    started: HashMap<Reference, HashSet<String>>,
}

/// The facts that decide whether a container is behind.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    id: String,
    image_id: String,
    is_running: bool,
    has_lost_tag: bool,
}

impl Runs {
    /// Compares the containers with those of the last look.
    pub(super) fn look(&mut self, seen: &[Seen]) {
        let mut now: HashMap<Reference, Vec<Run>> = HashMap::new();
        let last = self.last.take();
        let before: HashSet<&str> = last
            .iter()
            .flat_map(HashMap::values)
            .flatten()
            .filter(|run| run.is_running)
            .map(|run| run.id.as_str())
            .collect();
        for one in seen {
            let Ok(reference) = &one.made_from else {
                continue;
            };
            let is_running = matches!(&*one.state, "running" | "restarting" | "paused");
            if last.is_some() && is_running && !before.contains(one.id.as_str()) {
                let started = self.started.entry(reference.clone()).or_default();
                started.insert(one.name.clone());
            }
            now.entry(reference.clone()).or_default().push(Run {
                id: one.id.clone(),
                image_id: one.image_id.clone(),
                is_running,
                has_lost_tag: one.has_lost_tag,
            });
        }
        if let Some(last) = &last {
            let all = last.keys().chain(now.keys());
            let changed = all.filter(|reference| last.get(reference) != now.get(reference));
            self.changed.extend(changed.cloned());
        }
        self.last = Some(now);
    }

    pub(super) fn retain(&mut self, is_watched: impl Fn(&Reference) -> bool) {
        self.changed.retain(|reference| is_watched(reference));
        self.started.retain(|reference, _| is_watched(reference));
    }

    /// Whether the last survey of a reference is out of date.
    pub(super) fn have_changed(&self, reference: &Reference) -> bool {
        self.changed.contains(reference)
    }

    /// Whether a container started, and was not updated or reported yet.
    pub(super) fn has_started(&self, reference: &Reference, name: &str) -> bool {
        let started = self.started.get(reference);
        started.is_some_and(|started| started.contains(name))
    }

    /// Marks a container as if it had started now.
    pub(super) fn mark(&mut self, reference: &Reference, name: &str) {
        let started = self.started.entry(reference.clone()).or_default();
        started.insert(name.to_owned());
        self.changed.insert(reference.clone());
    }

    /// Ends a refresh of all containers of a reference. A container that was down meanwhile was passed over, and
    /// looks at the next look as if it had always run. So each container counts as started then.
    pub(super) fn refreshed(&mut self, reference: &Reference) {
        self.done(reference);
        let last = self.last.as_mut().and_then(|last| last.get_mut(reference));
        for run in last.into_iter().flatten() {
            run.is_running = false;
        }
    }

    /// Ends the work on all containers of a reference.
    pub(super) fn done(&mut self, reference: &Reference) {
        self.changed.remove(reference);
        self.started.remove(reference);
    }
}
