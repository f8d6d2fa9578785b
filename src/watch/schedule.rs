//! The pauses between rounds, and the order of the look-ups in a round. Nothing here has a clock.

use std::hash::BuildHasher;
use std::hash::Hasher;
use std::hash::RandomState;
use std::time::Duration;

/// A round starts up to this many percent late, so that the hosts of a fleet do not ask at the same moment.
const JITTER_PERCENT: u32 = 5;

/// The second round comes early, by up to this many percent of the interval, and by up to [`EARLY_AT_MOST`].
const EARLY_PERCENT: u32 = 90;
/// An hour is enough to spread a fleet. With an interval of a day, the time of day stays about the same.
const EARLY_AT_MOST: Duration = Duration::from_secs(3600);
/// A shorter interval is somebody's test and no fleet's, so its rounds come exactly one interval apart.
const SHORT: Duration = Duration::from_secs(60);

/// The pauses between the rounds of one process.
///
/// The first round is at once, so after a power cut all hosts of a fleet ask at the same moment. The second round comes
/// at a random moment of the interval, so that the hosts do not stay together.
#[derive(Debug)]
pub struct Schedule {
    interval: Duration,
    is_second_next: bool,
}

impl Schedule {
    /// Rounds come one `interval` after each other.
    #[must_use]
    pub const fn new(interval: Duration) -> Self {
        Self {
            interval,
            is_second_next: true,
        }
    }

    /// Returns the pause before the next round. Any number will do for `random`.
    pub fn pause(&mut self, random: u64) -> Duration {
        let share = u32::try_from(random % 1000).unwrap_or(0);
        if std::mem::take(&mut self.is_second_next) && self.interval >= SHORT {
            let early = self.interval / 100 * EARLY_PERCENT;
            return self.interval - early.min(EARLY_AT_MOST) / 1000 * share;
        }
        self.interval + self.interval / 100_000 * share * JITTER_PERCENT
    }
}

/// Returns a random number.
#[must_use]
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Returns the look-ups of a round in their order. Those that failed come last, so that they do not keep others of
/// their host waiting in each round. Those that were not made come first.
pub fn in_order<T>(all: impl IntoIterator<Item = T>, has_failed: impl Fn(&T) -> bool) -> Vec<T> {
    let (failed, mut order): (Vec<T>, Vec<T>) = all.into_iter().partition(has_failed);
    order.extend(failed);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_small_and_never_early() {
        let interval = Duration::from_secs(100);
        let mut schedule = Schedule::new(interval);
        let _ = schedule.pause(random());
        for _ in 0..100 {
            let wait = schedule.pause(random());
            assert!(wait >= interval && wait <= Duration::from_secs(105));
        }
    }

    #[test]
    fn hosts_that_start_at_the_same_moment_do_not_stay_together() {
        let mut rounds = [0; 11];
        for number in 0..1000 {
            let wait = Schedule::new(Duration::from_secs(1000)).pause(number);
            assert!(wait <= Duration::from_secs(1000));
            rounds[usize::try_from(wait.as_secs() / 100).expect("small")] += 1;
        }
        assert_eq!(rounds[0], 0, "the first and the second round are apart");
        let even = |count: &i32| (100..=115).contains(count);
        assert!(rounds[1..10].iter().all(even), "{rounds:?}");
    }

    #[test]
    fn the_rounds_of_a_short_interval_are_one_interval_apart() {
        let interval = Duration::from_secs(59);
        for number in 0..1000 {
            assert!(Schedule::new(interval).pause(number) >= interval);
        }
    }

    #[test]
    fn a_long_interval_keeps_about_its_time_of_day() {
        let day = Duration::from_secs(24 * 3600);
        for _ in 0..100 {
            let wait = Schedule::new(day).pause(random());
            assert!(wait <= day && wait >= day - EARLY_AT_MOST);
        }
    }

    #[test]
    fn look_ups_that_failed_come_last() {
        let order = in_order(1..=6, |number| number % 2 == 1);
        assert_eq!(order, [2, 4, 6, 1, 3, 5]);
    }
}
