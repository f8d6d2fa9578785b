//! The other containers that a container needs in order to start. They are checked before anything is stopped: a
//! container that could not be started again is left running as it is.

use super::Outcome;
use super::Part;
use super::Swap;
use super::dependencies::Bond;
use super::dependencies::Dependency;
use super::dependencies::dependencies_of;
use super::helper::is_itself;
use super::helper::why_itself_stays;
use super::record::is_up;
use super::record::name_of_aside;
use super::successor::Moved;
use crate::engine::Container;
use crate::engine::State;
use crate::error::Error;
use crate::error::Result;

impl Swap<'_> {
    /// Why a swap of these parts must not begin, if so. Nothing is changed.
    #[must_use]
    #[cold]
    pub fn hindrance(&self, parts: &[Part]) -> Option<Outcome> {
        self.look_for_hindrance(parts).unwrap_or_else(|error| {
            let reason = error.to_string();
            Some(Outcome::NotBegun { reason })
        })
    }

    /// Why a container is not replaced, if so, because of itself or of a container that it needs.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    pub fn why_not(&self, container: &Container) -> Result<Option<String>> {
        if is_itself(container, self.engine)? {
            return Ok(why_itself_stays(container).map(str::to_owned));
        }
        let left_alone = self.left_alone(container)?;
        if left_alone.is_some() {
            return Ok(left_alone);
        }
        self.missing(&[container])
    }

    fn look_for_hindrance(&self, parts: &[Part]) -> Result<Option<Outcome>> {
        for part in parts {
            if let Some(reason) = self.left_alone(part.old)? {
                let name = part.old.name();
                let is_dependent = !std::ptr::eq(part, &parts[0]);
                let who = if is_dependent {
                    format!("{name}, which lives in it, cannot be recreated: ")
                } else {
                    String::new()
                };
                let reason = who + &reason;
                return Ok(Some(Outcome::Skipped { reason }));
            }
        }
        if let Some(running) = parts.iter().find(|part| is_up(part.old))
            && !is_up(parts[0].old)
        {
            return Ok(Some(Outcome::Skipped {
                reason: format!(
                    "it is stopped, but {}, which needs it, runs: start the one or stop the other",
                    running.old.name()
                ),
            }));
        }
        let missing = self.missing(&old_containers(parts))?;
        Ok(missing.map(|reason| Outcome::Waits { reason }))
    }

    /// The containers that these parts need and whose owner has replaced them. The old containers could not be started
    /// again, but their successors can.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    #[cold]
    pub fn joins(&self, parts: &[Part]) -> Result<Vec<Join>> {
        let mut joins: Vec<Join> = Vec::new();
        let together = old_containers(parts);
        for one in together.iter().filter(|one| is_up(one)) {
            for dependency in dependencies_of(one) {
                if together.iter().any(|other| dependency.is(other)) {
                    continue;
                }
                if let Need::Replaced(join) = self.need(&dependency, one)? {
                    joins.push(join);
                }
            }
        }
        Ok(joins)
    }

    /// The state of a container that `one` needs.
    #[cold]
    fn need(&self, dependency: &Dependency, one: &Container) -> Result<Need> {
        if let Some(found) = self.engine.find(dependency.target)? {
            return Ok(need(dependency, one, &found));
        }
        let id = dependency.target;
        let name = self.engine.last_name(id)?;
        let name = name.map(|name| name_of_aside(&name).unwrap_or(&name).to_owned());
        let holder = match &name {
            Some(name) => self.engine.find(name)?.filter(|found| found.name() == name),
            None => None,
        };
        let Some(holder) = holder else {
            let id = id.get(..12).unwrap_or(id);
            let who = name.map_or_else(
                || format!("container {id}"),
                |name| format!("container {name} ({id})"),
            );
            return Ok(Need::Missing(format!(
                "{who}, {}, was removed (recreate {}, so that it uses another one)",
                dependency.bond.in_words(),
                one.name()
            )));
        };
        Ok(match need(dependency, one, &holder) {
            Need::Met => Need::Replaced(Join::new(id, &holder)),
            other => other,
        })
    }

    /// A need of one of the running containers that is not met, in words.
    fn missing(&self, together: &[&Container]) -> Result<Option<String>> {
        for one in together.iter().filter(|one| is_up(one)) {
            for dependency in dependencies_of(one) {
                if together.iter().any(|other| dependency.is(other)) {
                    continue;
                }
                if let Need::Missing(trouble) = self.need(&dependency, one)? {
                    let name = one.name();
                    return Ok(Some(format!(
                        "{name} could not be started again: {trouble}"
                    )));
                }
            }
        }
        Ok(None)
    }

    /// Fails if a need is not met. The successors are created by now, and somebody may have changed that meanwhile.
    #[cold]
    pub(super) fn expect_needs(&self, parts: &[Part]) -> Result<()> {
        match self.missing(&old_containers(parts))? {
            None => Ok(()),
            Some(reason) => Err(Error::malformed(
                format!("swap of {}", parts[0].old.name()),
                reason,
            )),
        }
    }
}

fn old_containers<'p>(parts: &[Part<'p>]) -> Vec<&'p Container> {
    parts.iter().map(|part| part.old).collect()
}

/// The state of a container that another one needs.
#[derive(Debug)]
enum Need {
    /// The container is there and runs.
    Met,
    /// The owner has replaced the container.
    Replaced(Join),
    /// The container is not there, or does not run. The text says why.
    Missing(String),
}

/// A container that was replaced by its owner, and the one that has its name now.
#[derive(Debug)]
pub struct Join {
    old_id: String,
    new_id: String,
    name: String,
}

impl Join {
    fn new(old_id: &str, holder: &Container) -> Self {
        Self {
            old_id: old_id.to_owned(),
            new_id: holder.id().to_owned(),
            name: holder.name().to_owned(),
        }
    }

    /// The name that both containers had or have.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn moved(&self) -> Moved<'_> {
        Moved {
            old_id: &self.old_id,
            old_name: &self.name,
            new_id: &self.new_id,
            new_name: &self.name,
        }
    }
}

/// The state of a container that `one` needs, after it was `found`.
#[cold]
fn need(dependency: &Dependency, one: &Container, found: &Container) -> Need {
    let provider = found.name();
    if !matches!(found.state(), State::Running | State::Paused) {
        return Need::Missing(format!(
            "container {provider}, {}, is {} (start it)",
            dependency.bond.in_words(),
            found.state_name()
        ));
    }
    // A link means the container that had the name when the link was made, even if another one has that name now.
    if dependency.bond == Bond::Link && found.is_younger_than(one) {
        return Need::Replaced(Join::new(found.id(), found));
    }
    Need::Met
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_there_or_does_not_run_keeps_a_container_from_starting() {
        let of = |state: &str, created: &str| {
            Container::new(
                json!({"Id": "ab".repeat(32), "Name": "/vpn", "Created": created,
                                  "State": {"Status": state}}),
            )
        };
        let one = Container::new(json!({"Name": "/torrent", "Created": "2026-01-01T00:00:02.5Z"}));
        let (old, new) = ("2026-01-01T00:00:02Z", "2026-01-01T00:00:02.51Z");
        for (bond, found, expected) in [
            (Bond::Network, of("running", new), "met"),
            (Bond::Network, of("paused", old), "met"),
            (
                Bond::Ipc,
                of("exited", old),
                "vpn, whose IPC namespace it shares, is exited (start it)",
            ),
            (Bond::Processes, of("restarting", old), "is restarting"),
            (Bond::Link, of("running", old), "met"),
            (Bond::Link, of("running", new), "replaced: vpn"),
            (Bond::Link, of("created", old), "is created"),
        ] {
            let target = "ab".repeat(32);
            let dependency = Dependency {
                bond,
                target: &target,
            };
            let words = match need(&dependency, &one, &found) {
                Need::Met => "met".to_owned(),
                Need::Replaced(join) => format!("replaced: {}", join.name()),
                Need::Missing(words) => words,
            };
            assert!(words.contains(expected), "{bond:?}: {words}");
        }
    }
}
