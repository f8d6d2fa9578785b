//! The memory of sent messages. Each container, digest and outcome gets one message, even if every round has
//! the same outcome.

use super::message::Message;
use crate::journal::Outcome;
use crate::journal::Step;
use crate::journal::steady;

/// The last messages. The oldest one is forgotten first.
#[derive(Default)]
pub(super) struct Memory(Vec<Sent>);

/// The most messages that are remembered: far more than a box has containers.
const MOST: usize = 1024;

#[derive(PartialEq, Eq)]
struct Sent {
    outcome: Outcome,
    /// The container; for a pull, the image.
    subject: String,
    /// The digest or id; for a pull, the reason of the failure; for a newer version, its tag.
    what: String,
}

impl Memory {
    /// Makes a message from the event of a step, unless that event was sent already.
    ///
    /// A success is a new beginning for its subject. So a pull that fails again after a success is news. A
    /// container that goes down once more, or returns to an earlier image, is news too.
    pub(super) fn news(&mut self, step: &Step) -> Option<Message> {
        if let Step::Pulled { image, .. } = step {
            self.0.retain(|sent| sent.subject != *image);
        }
        let event = step.event().filter(|event| event.is_news())?;
        if event.outcome == Outcome::Decided {
            // A decision is made once, by a person. Rounds do not repeat it.
            return Some(Message::new(event.clone()));
        }
        let why = || event.reason.as_deref().map(steady);
        let what = event.new.clone().or_else(why);
        let what = what
            .or_else(|| event.new_version.clone())
            .unwrap_or_default();
        let sent = Sent {
            outcome: event.outcome,
            subject: event.subject().to_owned(),
            what,
        };
        if self.0.contains(&sent) {
            return None;
        }
        if matches!(
            event.outcome,
            Outcome::Recreated | Outcome::Restored | Outcome::Down | Outcome::Back
        ) {
            self.0.retain(|other| other.subject != sent.subject);
        }
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push(sent);
        Some(Message::new(event.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Event;

    fn updated(new: &str) -> Step {
        Step::Outcome(Event::of(Outcome::Recreated, "web", "i").from_to("o", new))
    }

    fn rolled_back(new: &str) -> Step {
        let event = Event::of(Outcome::RolledBack, "web", "i").from_to("o", new);
        Step::Outcome(event.because("r"))
    }

    fn pull_failed(reason: &str) -> Step {
        Step::Outcome(Event::pull_failed("i", reason))
    }

    fn pulled() -> Step {
        Step::Pulled {
            image: "i".into(),
            seconds: 1.0,
        }
    }

    #[test]
    fn what_changes_nothing_is_not_told() {
        let left_alone = Event::of(Outcome::LeftAlone, "web", "i").because("busy");
        let pulling = Step::Pulling { image: "i".into() };
        for step in [Step::Alive, pulling, Step::Outcome(left_alone)] {
            assert!(Memory::default().news(&step).is_none(), "{step:?}");
        }
    }

    #[test]
    fn the_same_is_told_once_until_something_else_came_of_it() {
        let mut memory = Memory::default();
        for (step, is_news) in [
            (rolled_back("1"), true),
            (rolled_back("1"), false),
            (rolled_back("2"), true),
            (rolled_back("1"), false),
            (updated("3"), true),
            (updated("3"), false),
            (updated("2"), true),
            (updated("3"), true),
            (rolled_back("1"), true),
        ] {
            assert_eq!(memory.news(&step).is_some(), is_news, "{step:?}");
        }
    }

    #[test]
    fn a_pull_is_told_once_per_reason_until_one_succeeds() {
        let mut memory = Memory::default();
        for (step, is_news) in [
            (pull_failed("a"), true),
            (pull_failed("b"), true),
            (pull_failed("a"), false),
            (pull_failed("x:40001"), true),
            (pull_failed("x:50002"), false),
            (pulled(), false),
            (pull_failed("a"), true),
        ] {
            assert_eq!(memory.news(&step).is_some(), is_news, "{step:?}");
        }
    }

    #[test]
    fn a_newer_version_is_told_once() {
        let mut memory = Memory::default();
        for (newest, is_news) in [("1.4.1", true), ("1.4.1", false), ("1.4.2", true)] {
            let step = Step::Outcome(Event::newer("i", "1.3.9", newest));
            assert_eq!(memory.news(&step).is_some(), is_news, "{newest}");
        }
    }

    #[test]
    fn each_decision_is_told() {
        let mut memory = Memory::default();
        for reason in ["skipped", "no longer skipped", "skipped"] {
            let event = Event::of(Outcome::Decided, "web", "").to("1");
            let step = Step::Outcome(event.because(reason));
            assert!(memory.news(&step).is_some(), "{reason}");
        }
    }

    #[test]
    fn it_remembers_no_more_than_it_should() {
        let mut memory = Memory::default();
        for number in 0..2 * MOST {
            assert!(memory.news(&rolled_back(&number.to_string())).is_some());
        }
        assert_eq!(memory.0.len(), MOST);
    }
}
