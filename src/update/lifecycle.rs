//! Runs commands inside a container, before and after its swap, as the owner's labels say.

use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Image;
use crate::engine::State;
use crate::engine::Summary;
use crate::error::one_line;
use crate::labels;
use crate::labels::Wishes;
use crate::time::print_duration;
use std::time::Duration;

/// The moment of a command: its name in messages, and its labels, ours and Watchtower's.
struct When {
    name: &'static str,
    command: [&'static str; 2],
    timeout: [&'static str; 2],
}

const BEFORE: When = When {
    name: "pre-update",
    command: [labels::PRE_UPDATE, labels::WATCHTOWER_PRE_UPDATE],
    timeout: [
        labels::PRE_UPDATE_TIMEOUT,
        labels::WATCHTOWER_PRE_UPDATE_TIMEOUT,
    ],
};
const AFTER: When = When {
    name: "post-update",
    command: [labels::POST_UPDATE, labels::WATCHTOWER_POST_UPDATE],
    timeout: [
        labels::POST_UPDATE_TIMEOUT,
        labels::WATCHTOWER_POST_UPDATE_TIMEOUT,
    ],
};
/// Watchtower's default.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The longest time a label can ask for, because other containers wait for their update meanwhile.
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
    fn of(container: &Container, when: &When) -> Option<Self> {
        let [own, theirs] = when.command.map(|name| container.label(name));
        let command = own.or(theirs)?.trim();
        // A timeout that cannot be read never gets here: `before` refuses such a container.
        let [own, theirs] = when.timeout.map(|name| container.label(name));
        let theirs = || theirs.and_then(labels::minutes);
        let timeout = own.and_then(labels::time).or_else(theirs);
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

    /// Runs the command.
    ///
    /// # Errors
    /// The reason not to update the container now.
    #[cold]
    fn run(&self, engine: &Engine, container: &Container, when: &When) -> Result<(), String> {
        let ran = engine
            .exec(container.id(), &self.command, self.timeout)
            .map_err(|error| {
                let when = when.name;
                let limit = print_duration(self.timeout);
                format!("its {when} command failed, or did not end within {limit}: {error}")
            })?;
        let when = when.name;
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

/// Runs the `pre-update` command of a running container, if a label gives one.
///
/// # Errors
/// The reason not to update the container now.
#[cold]
pub(crate) fn before(engine: &Engine, container: &Container) -> Result<(), String> {
    if let Some(reason) = Wishes::of(&mut container.labels()).unclear {
        return Err(format!("{}: {reason}", container.name()));
    }
    match Hook::of(container, &BEFORE) {
        Some(hook) if container.state() == State::Running => hook.run(engine, container, &BEFORE),
        _ => Ok(()),
    }
}

/// Runs the `post-update` command of a successor. A failure is only logged, because the successor is accepted.
#[cold]
pub(crate) fn after(engine: &Engine, container: &Container) {
    if container.state() != State::Running {
        return;
    }
    if let Some(hook) = Hook::of(container, &AFTER) {
        if let Err(reason) = hook.run(engine, container, &AFTER) {
            log::warn!("{}: {reason}", container.name());
        }
    }
}

/// Whether a successor of `old` from `image` may have a `post-update` command. Its labels come from both.
#[must_use]
pub(crate) fn may_follow(old: &Container, image: &Image) -> bool {
    let of_image = image.config().get("Labels");
    let image_has = |name: &str| of_image.is_some_and(|labels| labels.get(name).is_some());
    let has = |name: &str| old.label(name).is_some() || image_has(name);
    AFTER.command.into_iter().any(has)
}

/// Whether the labels in the list give any command.
#[must_use]
pub fn has_any(one: &Summary) -> bool {
    let has = |name: &str| {
        let command = one.label(name);
        command.is_some_and(|command| !command.trim().is_empty())
    };
    [BEFORE, AFTER]
        .iter()
        .any(|when| when.command.into_iter().any(has))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_of_ours_win_over_watchtowers() {
        let hook = |labels| {
            let container = Container::new(json!({"Config": {"Labels": labels}}));
            Hook::of(&container, &BEFORE).map(|hook| (hook.command, hook.timeout.as_secs()))
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
