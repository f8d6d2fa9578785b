//! Pushes that registries told of, and when their repositories are looked up because of them.
//!
//! A push may be told many times, and its digest and its signature may come later. So the first look-up waits for some
//! quiet, and two more follow.

use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// The look-ups after the last event of a repository.
const LOOK_UPS: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(20),
    Duration::from_secs(60),
];
/// The first look-up comes at the latest so long after the first event.
const LONGEST: Duration = Duration::from_secs(30);
/// The least time between two look-ups of a repository.
const LEAST: Duration = Duration::from_secs(5);

/// The repositories that something was pushed to.
#[derive(Debug, Default)]
pub struct Pushes {
    list: Mutex<Vec<Push>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Push {
    /// The name with the registry, without a tag.
    repository: String,
    first: Instant,
    last: Instant,
    /// When the last look-up began.
    looked_up: Option<Instant>,
    /// The number of look-ups since the last event.
    over: usize,
}

impl Push {
    /// When the next look-up is due, if another one comes.
    fn due(&self) -> Option<Instant> {
        let mut due = self.last + *LOOK_UPS.get(self.over)?;
        if self.over == 0 {
            due = due.min(self.first + LONGEST);
        }
        Some(self.looked_up.map_or(due, |last| due.max(last + LEAST)))
    }
}

impl Pushes {
    /// Notes a push to a followed repository.
    #[cold]
    pub fn add(&self, repository: &str, now: Instant) {
        let mut list = self.lock();
        match list.iter_mut().find(|push| push.repository == repository) {
            Some(push) => {
                if push.over > 0 {
                    (push.over, push.first) = (0, now);
                }
                push.last = now;
            }
            None => list.push(Push {
                repository: repository.to_owned(),
                first: now,
                last: now,
                looked_up: None,
                over: 0,
            }),
        }
        self.changed.notify_all();
    }

    /// Adds the repositories that are due now to `due`. Each of them counts as looked up. Returns when the next one is due,
    /// at the latest `until`. A repository stays in the list, which so is as long as the list of those that are followed.
    fn take(list: &mut [Push], now: Instant, mut until: Instant, due: &mut Vec<String>) -> Instant {
        for push in list {
            if push.due().is_some_and(|at| at <= now) {
                due.push(push.repository.clone());
                push.over += 1;
                push.looked_up = Some(now);
            }
            if let Some(at) = push.due() {
                until = until.min(at);
            }
        }
        until
    }

    /// Waits until some repositories are due, and returns them. Returns none at the time `until`.
    pub fn wait(&self, until: Instant) -> Vec<String> {
        let (mut list, mut due) = (self.lock(), Vec::new());
        loop {
            let now = Instant::now();
            let next = Self::take(&mut list, now, until, &mut due);
            if !due.is_empty() || now >= until {
                return due;
            }
            let woken = self.changed.wait_timeout(list, next - now);
            list = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Push>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds at which a repository is looked up, if events come at these seconds.
    fn look_ups(events: &[u64]) -> Vec<u64> {
        let (pushes, start) = (Pushes::default(), Instant::now());
        let mut found = Vec::new();
        for second in 0..400 {
            let now = start + Duration::from_secs(second);
            for _ in events.iter().filter(|event| **event == second) {
                pushes.add("a.b/c", now);
            }
            let mut due = Vec::new();
            Pushes::take(&mut pushes.lock(), now, now, &mut due);
            if !due.is_empty() {
                found.push(second);
            }
        }
        found
    }

    #[test]
    fn a_push_is_looked_up_three_times_and_a_flood_every_thirty_seconds() {
        assert_eq!(look_ups(&[0]), [5, 20, 60]);
        assert_eq!(look_ups(&[0, 0, 0, 3]), [8, 23, 63]);
        assert_eq!(look_ups(&[0, 6]), [5, 11, 26, 66]);
        assert_eq!(look_ups(&[0, 100]), [5, 20, 60, 105, 120, 160]);
        let flood: Vec<u64> = (0..65).collect();
        assert_eq!(look_ups(&flood), [30, 61, 69, 84, 124]);
    }

    #[test]
    fn waiting_ends_at_its_time_or_with_a_push() {
        let pushes = Pushes::default();
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(pushes.wait(soon).is_empty());
        assert!(Instant::now() >= soon);
        let long_ago = Instant::now().checked_sub(LONGEST);
        if let Some(long_ago) = long_ago {
            pushes.add("a.b/c", long_ago);
            let late = Instant::now() + Duration::from_secs(3600);
            assert_eq!(pushes.wait(late), ["a.b/c"]);
        }
    }
}
