//! The containers that a swap left down: neither the successor nor the old container could be started. Log,
//! messages, `/health` and the status all use this list, and there is no other.

use super::event::Outcome;
use super::event::Step;
use crate::error::headline;
use crate::time::rfc3339;
use serde::Serialize;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::SystemTime;

/// A container that is down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DownContainer {
    /// The container's name.
    pub name: String,
    /// The obstacle to its start, on one line.
    pub reason: String,
    /// When it was first found down (RFC 3339).
    pub since: String,
}

/// The list of containers that are down.
#[derive(Debug, Default)]
pub struct Down(Mutex<Vec<DownContainer>>);

impl Down {
    /// Brings the list up to date with a step, and returns whether the step is news. Each failed try to start a
    /// container reports again that it is down, and only the first report is news.
    pub fn record(&self, step: &Step) -> bool {
        let Some(event) = step.event() else {
            return true;
        };
        let reason = || {
            headline(event.reason.as_deref().unwrap_or_default())
                .0
                .to_owned()
        };
        let mut all = self.lock();
        let known = all.iter().position(|one| one.name == event.subject());
        match (event.outcome, known) {
            (Outcome::Down, Some(known)) => {
                all[known].reason = reason();
                false
            }
            (Outcome::Down, None) => {
                all.push(DownContainer {
                    name: event.subject().to_owned(),
                    reason: reason(),
                    since: rfc3339(SystemTime::now()),
                });
                true
            }
            (Outcome::Back, Some(known)) => {
                all.remove(known);
                event.log();
                true
            }
            (Outcome::Back, None) => false,
            (Outcome::Recreated | Outcome::Restored, Some(known)) => {
                all.remove(known);
                true
            }
            // A container that is down was reported already.
            (Outcome::Skipped | Outcome::LeftAlone, known) => known.is_none(),
            _ => true,
        }
    }

    /// Forgets all containers except these. The owners of the other containers have started or removed them.
    pub fn keep_only(&self, names: &[&str]) {
        self.lock().retain(|one| {
            let is_kept = names.contains(&&*one.name);
            if !is_kept {
                log::info!(
                    "{}: no longer down, somebody else took care of it",
                    one.name
                );
            }
            is_kept
        });
    }

    /// The containers that are down now.
    #[must_use]
    pub fn list(&self) -> Vec<DownContainer> {
        self.lock().clone()
    }

    /// One text that names the containers that are down; `None` if there are none.
    #[must_use]
    pub fn in_words(&self) -> Option<String> {
        let all = self.lock();
        let words = all
            .iter()
            .map(|one| format!("container {} is down: {}", one.name, one.reason));
        let words: Vec<String> = words.collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<DownContainer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Event;

    #[test]
    fn each_is_said_to_be_down_and_back_once() {
        let down = Down::default();
        let step =
            |outcome, reason: &str| Step::Outcome(Event::of(outcome, "web", "i").because(reason));
        let falls = |reason: &str| step(Outcome::Down, reason);
        let back = Step::Outcome(Event::of(Outcome::Back, "web", "i"));
        let skipped = step(Outcome::Skipped, "not settled");
        for (step, is_news) in [
            (&back, false),
            (&skipped, true),
            (&falls("a"), true),
            (&falls("b"), false),
            (&skipped, false),
            (&back, true),
            (&back, false),
            (&falls("a;\nit said:\nno"), true),
        ] {
            assert_eq!(down.record(step), is_news, "{step:?}");
        }
        let words = down.in_words();
        assert_eq!(words.as_deref(), Some("container web is down: a"));
        down.keep_only(&["web"]);
        assert_eq!(down.list().len(), 1);
        down.keep_only(&[]);
        assert_eq!(down.in_words(), None);
    }
}
