//! What has been told already: one message per container, digest and outcome, however often a
//! round comes to the same end.

use super::event::Event;
use crate::progress::Outcome;
use crate::progress::Step;
use crate::progress::steady;

/// What was told last; the oldest is forgotten first.
#[derive(Default)]
pub(super) struct Memory(Vec<Told>);

/// Far more than there are containers on a box.
const MOST: usize = 1024;

#[derive(PartialEq, Eq)]
struct Told {
    outcome: Outcome,
    /// The container; of a pull, the image.
    subject: String,
    /// The digest or id; of a pull, why it failed.
    what: String,
}

impl Memory {
    /// The event in this step, unless it has been told.
    ///
    /// What ends well is a new beginning: a pull that fails again after one that did not, or a
    /// container that goes back to an image and on again, is news.
    pub(super) fn news(&mut self, step: &Step) -> Option<Event> {
        if let Step::Pulled { image, .. } = step {
            self.0.retain(|told| told.subject != *image);
        }
        let event = Event::of(step)?;
        let subject = event.container.as_ref().unwrap_or(&event.image);
        let why = || event.reason.as_deref().map(steady);
        let what = event.new.clone().or_else(why);
        let told = Told {
            outcome: event.outcome,
            subject: subject.clone(),
            what: what.unwrap_or_default(),
        };
        if self.0.contains(&told) {
            return None;
        }
        if event.outcome == Outcome::Recreated {
            self.0.retain(|other| other.subject != told.subject);
        }
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push(told);
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updated(new: &str) -> Step {
        Step::Recreated {
            container: "web".into(),
            image: "i".into(),
            old: "o".into(),
            new: new.into(),
            downtime_seconds: None,
        }
    }

    fn rolled_back(new: &str) -> Step {
        Step::RolledBack {
            container: "web".into(),
            image: "i".into(),
            old: "o".into(),
            new: new.into(),
            reason: "r".into(),
        }
    }

    fn pull_failed(reason: &str) -> Step {
        Step::PullFailed {
            image: "i".into(),
            reason: reason.into(),
        }
    }

    fn pulled() -> Step {
        Step::Pulled {
            image: "i".into(),
            seconds: 1.0,
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
    fn it_remembers_no_more_than_it_should() {
        let mut memory = Memory::default();
        for number in 0..2 * MOST {
            assert!(memory.news(&rolled_back(&number.to_string())).is_some());
        }
        assert_eq!(memory.0.len(), MOST);
    }
}
