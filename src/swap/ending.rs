//! The cause of the end of a container's run: the container itself, its owner, or an Engine that went down.
//!
//! Docker shows the cause in its events. A run that ended by itself has only `die`. A run that somebody ended through
//! the Engine also has `kill`, and after `docker stop` also `stop` (20.10 and 28.5). An Engine that was restarted has
//! forgotten all events, `die` too. Podman records with the container, a moment later, that a user stopped it.

use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Event;
use crate::error::Result;

/// The exit codes of a program that was asked to end, or was killed: 0, INT, QUIT, KILL, TERM.
const AS_IF_ASKED: [i64; 5] = [0, 130, 131, 137, 143];

/// The cause of the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Itself,
    /// The container itself, unless the Engine says otherwise in a moment.
    ItselfSoFar,
    /// Somebody stopped or killed the container through the Engine.
    Owner,
    /// The Engine was down in between, so it has no record of the end.
    Engine,
    /// The Engine remembers the start, so it was not down, and has not told of the end yet.
    NotToldYet,
    /// The Engine refuses to show its events.
    Unknown,
}

impl Ending {
    /// The cause for a container that does not run.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub(super) fn of(engine: &Engine, container: &Container) -> Result<Self> {
        if engine.about()?.is_podman() {
            let libpod = engine.podman_container(container.id())?;
            let is_stopped = libpod["State"]["StoppedByUser"] == true;
            return Ok(if is_stopped {
                Self::Owner
            } else {
                Self::ItselfSoFar
            });
        }
        match engine.events_of_last_run(container) {
            // A daemon that was killed leaves containers running. When it comes back it ends them as an owner would,
            // but has no event of their start.
            Ok(events)
                if Self::told_by(&events) == Self::Owner
                    && !events.iter().any(|event| event.action == "start")
                    && engine.remembers_all_events(container)? =>
            {
                Ok(Self::Engine)
            }
            Ok(events) => Ok(Self::told_by(&events)),
            Err(error) if !error.is_refusal() => Err(error),
            Err(_) if AS_IF_ASKED.contains(&container.exit_code()) => Ok(Self::Unknown),
            Err(_) => Ok(Self::Itself),
        }
    }

    /// The cause according to the events.
    fn told_by(events: &[Event]) -> Self {
        let has = |action: &str| events.iter().any(|event| event.action == action);
        if !has("die") && has("start") {
            Self::NotToldYet
        } else if !has("die") {
            Self::Engine
        } else if events.iter().any(Event::ends) {
            Self::Owner
        } else {
            Self::Itself
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_tell_who_ended_it() {
        use Ending::*;
        for (events, expected) in [
            (&["die"][..], Itself),
            (&["kill 15", "stop", "die"], Owner),
            // Docker 20.10.
            (&["kill 15", "die", "stop"], Owner),
            (&["kill 15", "kill 9", "stop", "die"], Owner),
            (&["kill 9", "die"], Owner),
            // The event does not name the signal.
            (&["kill", "die"], Owner),
            // `docker kill --signal HUP` makes many programs read their configuration again.
            (&["kill 1", "die"], Itself),
            (&[], Engine),
            // The last event before the Engine went down.
            (&["kill 15"], Engine),
            // A busy machine: the end is shown before it is told.
            (&["start"], NotToldYet),
            (&["start", "kill 15"], NotToldYet),
            (&["start", "kill 15", "die"], Owner),
            (&["start", "die"], Itself),
        ] {
            let event = |text: &&str| {
                let (action, signal) = text.split_once(' ').unwrap_or((text, ""));
                Event {
                    action: action.to_owned(),
                    signal: signal.parse().ok(),
                }
            };
            let all: Vec<Event> = events.iter().map(event).collect();
            assert_eq!(Ending::told_by(&all), expected, "{events:?}");
        }
    }
}
