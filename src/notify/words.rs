//! The words of a message for each outcome: one row of a table. Pure.

use crate::journal::Outcome;

/// How much a message matters. The names are those of Apprise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A newer image runs, or a container runs again.
    Success,
    /// Something can wait.
    Info,
    /// Something did not work, and everything runs as before.
    Warning,
    /// A container is down.
    Failure,
}

impl Level {
    /// The name in JSON.
    pub(super) fn name(self) -> &'static str {
        ["success", "info", "warning", "failure"][self as usize]
    }
}

/// The words for one outcome. In `title` and `text`, a word in braces stands for a fact of the event
/// (`message.rs` knows them all).
pub(super) struct Words {
    /// The name in JSON, and in the option `events`.
    pub(super) name: &'static str,
    pub(super) level: Level,
    /// The emoji of ntfy, by its short code.
    pub(super) tag: &'static str,
    /// The container and the outcome.
    pub(super) title: &'static str,
    /// The image, the reason, and the next step.
    pub(super) text: &'static str,
}

/// A row for each outcome, in the order of [`Outcome::ALL`].
const ROWS: [(Outcome, Words); Outcome::ALL.len()] = [
    (
        Outcome::Recreated,
        Words {
            name: "updated",
            level: Level::Success,
            tag: "white_check_mark",
            title: "{name} updated{to}",
            text: "{image}: {old} → {new}{downtime}.",
        },
    ),
    (
        Outcome::RolledBack,
        Words {
            name: "rolled_back",
            level: Level::Warning,
            tag: "rewind",
            title: "{name} rolled back{from}",
            text: "{image}: {new} did not come up: {reason}. {name} runs {old} again. If the image is at fault, it is \
                   not tried again until its tag moves on. `imagewatch refresh --force {name}` tries it at once.",
        },
    ),
    (
        Outcome::PullFailed,
        Words {
            name: "failed",
            level: Level::Warning,
            tag: "warning",
            title: "{name} could not be pulled",
            text: "{reason}. Nothing was changed, and the next refresh tries again.",
        },
    ),
    (Outcome::Skipped, NOT_UPDATED),
    (Outcome::LeftAlone, NOT_UPDATED),
    (
        Outcome::Behind,
        Words {
            name: "behind",
            level: Level::Info,
            tag: "package",
            title: "{newest} is out for {name}",
            text: "{image}: {new} is out{running}. The update is left to you: `imagewatch refresh {name}`.",
        },
    ),
    (
        Outcome::Down,
        Words {
            name: "down",
            level: Level::Failure,
            tag: "rotating_light",
            title: "{name} is DOWN",
            text: "{image}: {reason}. imagewatch starts {name} as soon as the Engine lets it.",
        },
    ),
    (
        Outcome::Back,
        Words {
            name: "back",
            level: Level::Success,
            tag: "white_check_mark",
            title: "{name} is back",
            text: "{image}: the old container runs again.",
        },
    ),
    (
        Outcome::Newer,
        Words {
            name: "newer",
            level: Level::Info,
            tag: "package",
            title: "{newest} exists for {name}",
            text: "{image}: {new} exists, you run {old}. imagewatch follows it once you change the tag.",
        },
    ),
    (
        Outcome::Restored,
        Words {
            name: "restored",
            level: Level::Success,
            tag: "rewind",
            title: "{name} put back{to}",
            text: "{image}: {old} → {new}{downtime}: {reason}.",
        },
    ),
    (
        Outcome::Unsigned,
        Words {
            name: "unsigned",
            level: Level::Warning,
            tag: "lock",
            title: "{name} is unsigned",
            text: "{image}: {new} was not pulled, because it is {reason}. A signature that comes later is used in the \
                   next round.",
        },
    ),
    (
        Outcome::BadlySigned,
        Words {
            name: "badly_signed",
            level: Level::Warning,
            tag: "lock",
            title: "{name} is badly signed",
            text: "{image}: {new} was not pulled, because it is {reason}. A good signature that comes later is used in \
                   the next round.",
        },
    ),
    (
        Outcome::Decided,
        Words {
            name: "decided",
            level: Level::Info,
            tag: "pushpin",
            title: "{name}: {reason}",
            text: "{name}: {reason}.",
        },
    ),
];
/// The words for a container that could not be updated.
const NOT_UPDATED: Words = Words {
    name: "failed",
    level: Level::Warning,
    tag: "warning",
    title: "{name} could not be updated{to}",
    text: "{image}: {reason}. {name} was left as it is, and the next refresh tries again.",
};

/// The words for a container that was made again from the same image.
const AGAIN: Words = Words {
    name: "updated",
    level: Level::Success,
    tag: "white_check_mark",
    title: "{name} recreated",
    text: "{image}: {name} was made again from the same image{downtime}.",
};

/// The words for an outcome. `is_same` tells that old and new image are the same.
pub(super) fn words(outcome: Outcome, is_same: bool) -> &'static Words {
    match outcome {
        Outcome::Recreated if is_same => &AGAIN,
        outcome => &ROWS[outcome as usize].1,
    }
}

/// The name of an outcome in a message.
pub(super) fn name(outcome: Outcome) -> &'static str {
    words(outcome, false).name
}

/// The name of an event, from its name here or in the API: both `updated` and `recreated` are known.
pub(super) fn known(text: &str) -> Option<&'static str> {
    let mut all = names();
    let own = all.find(|name| text.eq_ignore_ascii_case(name));
    let of_api = || text.eq_ignore_ascii_case("recreated");
    own.or_else(|| of_api().then(|| name(Outcome::Recreated)))
}

/// The names of all events, each as often as it has outcomes.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    Outcome::ALL.iter().map(|(outcome, _)| name(*outcome))
}

/// Whether a message is sent at once even where messages are collected: a container is down, or no longer so.
pub(super) fn is_urgent(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Down | Outcome::Back)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_stands_in_the_place_of_its_outcome() {
        for ((outcome, _), (listed, _)) in ROWS.iter().zip(Outcome::ALL) {
            assert_eq!(*outcome, listed);
        }
    }

    #[test]
    fn events_are_known_by_their_names() {
        for (text, name) in [
            ("updated", Some("updated")),
            ("Recreated", Some("updated")),
            ("rolled_back", Some("rolled_back")),
            ("skipped", None),
            ("", None),
        ] {
            assert_eq!(known(text), name, "{text}");
        }
    }
}
