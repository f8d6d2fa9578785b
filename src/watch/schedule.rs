//! The pauses between rounds, and the order of the look-ups in a round. Nothing here has a clock.

use std::hash::BuildHasher;
use std::hash::Hasher;
use std::hash::RandomState;
use std::time::Duration;

/// A round starts up to this many percent late, so that the hosts of a fleet do not ask at the same moment.
const JITTER_PERCENT: u32 = 5;

/// The second round comes early: after at least this many percent of the interval, and at most the whole.
const EARLIEST_PERCENT: u32 = 10;

/// The pauses between the rounds of one process.
///
/// The first round is at once, so a power cut lets the hosts of a fleet ask at the same moment. The second round comes
/// at a random moment of the interval, so that the hosts do not ask at the same moment ever after.
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
        let is_second = std::mem::take(&mut self.is_second_next);
        let (least, most) = if is_second {
            (EARLIEST_PERCENT, 100)
        } else {
            (100, 100 + JITTER_PERCENT)
        };
        let share = u32::try_from(random % 1000).unwrap_or(0);
        self.interval / 100_000 * (least * 1000 + share * (most - least))
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
        let interval = Duration::from_secs(100);
        let seconds = (0..1000).map(|number| Schedule::new(interval).pause(number).as_secs());
        let mut hosts = [0; 101];
        seconds.for_each(|second| hosts[usize::try_from(second).expect("small")] += 1);
        let (before, after) = hosts.split_at(10);
        assert!(before.iter().all(|count| *count == 0), "{hosts:?}");
        assert!(after.iter().all(|count| *count <= 12), "{hosts:?}");
    }

    #[test]
    fn look_ups_that_failed_come_last() {
        let order = in_order(1..=6, |number| number % 2 == 1);
        assert_eq!(order, [2, 4, 6, 1, 3, 5]);
    }
}
