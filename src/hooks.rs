//! Commands that an owner wants run inside a container before and after it is replaced.

use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::State;
use crate::engine::Summary;
use crate::error::one_line;
use crate::time::parse_duration;
use crate::time::print_duration;
use std::time::Duration;

const BEFORE: &str = "pre-update";
const AFTER: &str = "post-update";
const OURS: &str = "imagewatch";
const WATCHTOWERS: &str = "com.centurylinklabs.watchtower.lifecycle";
/// Watchtower's default.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Nobody is waited for longer: other containers are due as well.
const LONGEST: Duration = Duration::from_secs(3600);
/// "Not now" (EX_TEMPFAIL of sysexits(3), as with Watchtower).
const BUSY: i64 = 75;

/// A command line for the container's shell.
#[derive(Debug, PartialEq, Eq)]
struct Hook {
    command: String,
    timeout: Duration,
}

impl Hook {
    fn of(container: &Container, when: &str) -> Option<Self> {
        let own = |name: &str| container.label(&format!("{OURS}.{name}"));
        let theirs = |name: &str| container.label(&format!("{WATCHTOWERS}.{name}"));
        let command = own(when).or_else(|| theirs(when))?.trim();
        let limit = format!("{when}-timeout");
        let minutes = |text: &str| {
            let minutes: u64 = text.trim().parse().ok()?;
            Some(Duration::from_secs(minutes.saturating_mul(60)))
        };
        let timeout = own(&limit)
            .and_then(|text| parse_duration(text.trim()))
            .or_else(|| theirs(&limit).and_then(minutes));
        let timeout = match timeout {
            None => TIMEOUT,
            Some(Duration::ZERO) => LONGEST,
            Some(timeout) => timeout.min(LONGEST),
        };
        (!command.is_empty()).then(|| Self {
            command: command.to_owned(),
            timeout,
        })
    }

    /// # Errors
    /// Why the container is not to be touched.
    fn run(&self, engine: &Engine, container: &Container, when: &str) -> Result<(), String> {
        let ran = engine
            .exec(container.id(), &self.command, self.timeout)
            .map_err(|error| {
                let limit = print_duration(self.timeout);
                format!("its {when} command failed, or did not end within {limit}: {error}")
            })?;
        if ran.code == 0 {
            return Ok(());
        }
        if ran.code == BUSY {
            return Err(format!("busy: its {when} command says so (exit {BUSY})"));
        }
        let words = match one_line(&ran.output) {
            words if words.is_empty() => String::new(),
            words => format!(": {words}"),
        };
        Err(format!(
            "its {when} command exited with {}{words}",
            ran.code
        ))
    }
}

/// Asks a container, if it runs and its owner wants that, whether it may be replaced now.
///
/// # Errors
/// Why not.
pub fn before(engine: &Engine, container: &Container) -> Result<(), String> {
    match Hook::of(container, BEFORE) {
        Some(hook) if container.state() == State::Running => hook.run(engine, container, BEFORE),
        _ => Ok(()),
    }
}

/// Tells a container that it is the successor. That it is accepted stands, whatever comes of this.
pub fn after(engine: &Engine, container: &Container) {
    if container.state() != State::Running {
        return;
    }
    if let Some(hook) = Hook::of(container, AFTER) {
        if let Err(reason) = hook.run(engine, container, AFTER) {
            log::warn!("{}: {reason}", container.name());
        }
    }
}

/// Whether its owner wants a command run at all, as far as the list tells.
#[must_use]
pub fn has_any(one: &Summary) -> bool {
    let has = |name: String| {
        one.label(&name)
            .is_some_and(|command| !command.trim().is_empty())
    };
    [BEFORE, AFTER]
        .iter()
        .any(|when| has(format!("{OURS}.{when}")) || has(format!("{WATCHTOWERS}.{when}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_of_ours_win_over_watchtowers() {
        let hook = |labels| {
            let container = Container::new(json!({"Config": {"Labels": labels}}));
            Hook::of(&container, BEFORE).map(|hook| (hook.command, hook.timeout.as_secs()))
        };
        let theirs = "com.centurylinklabs.watchtower.lifecycle.pre-update";
        let limit = "com.centurylinklabs.watchtower.lifecycle.pre-update-timeout";
        let expect = |command: &str, secs| Some((command.to_owned(), secs));
        assert_eq!(hook(json!({})), None);
        assert_eq!(hook(json!({"imagewatch.pre-update": " "})), None);
        assert_eq!(hook(json!({"imagewatch.post-update": "/x"})), None);
        assert_eq!(
            hook(json!({"imagewatch.pre-update": "/x"})),
            expect("/x", 60)
        );
        assert_eq!(
            hook(json!({"imagewatch.pre-update": "/x", "imagewatch.pre-update-timeout": "5s"})),
            expect("/x", 5)
        );
        assert_eq!(hook(json!({theirs: "/y", limit: "3"})), expect("/y", 180));
        assert_eq!(hook(json!({theirs: "/y", limit: "0"})), expect("/y", 3600));
        assert_eq!(
            hook(json!({"imagewatch.pre-update": "/x", theirs: "/y"})),
            expect("/x", 60)
        );
    }
}
