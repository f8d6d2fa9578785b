//! How many clients may be connected. Descriptors are the limit: the guard must leave some to the Engine
//! and the registries, or a flood of clients would stop the updates.

use std::time::Duration;

/// The most connections that may be reading, however many descriptors there are.
const MAX_READING: usize = 128;
/// The fewest connections that may be reading, so that a good client can get in beside a bad one.
const MIN_READING: usize = 2;
/// The most connections that may wait for an answer.
const MAX_WAITING: usize = 128;
/// One in so many waiting places is kept from refreshes, which take long. So other requests are answered
/// meanwhile.
const QUICK_SHARE: usize = 8;
/// Descriptors that the rest of the program has open in a busy moment.
const OTHERS: usize = 32;
/// Descriptors of a waiting connection: one for itself, one to the inner server, and two at the inner
/// server's end.
const WAITING_COSTS: usize = 4;
/// Protection from eviction, for each place. A flood of idle clients is limited to 2,000 a second, and good
/// clients still get in.
const AGE_PER_PLACE: Duration = Duration::from_micros(500);
/// The time that a good client on a busy machine needs for its first bytes, however few places there are.
const LEAST_AGE: Duration = Duration::from_millis(20);

/// How many clients may be connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) reading: usize,
    pub(super) waiting: usize,
}

impl Limits {
    /// The limits that fit this process.
    pub(super) fn of_process() -> Self {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Self::within(descriptors(&limits).unwrap_or(usize::MAX))
    }

    pub(super) fn within(descriptors: usize) -> Self {
        let free = descriptors.saturating_sub(OTHERS);
        let reading = (free / 3).clamp(MIN_READING, MAX_READING);
        let waiting = (free.saturating_sub(reading) / WAITING_COSTS).clamp(2, MAX_WAITING);
        Self { reading, waiting }
    }

    /// How many of the waiting connections may be slow requests.
    pub(super) fn slow(self) -> usize {
        self.waiting - (self.waiting / QUICK_SHARE).max(1)
    }

    /// The same limits with at most so many reading connections.
    pub(super) fn with_reading(self, most: usize) -> Self {
        let reading = self.reading.min(most).max(MIN_READING);
        Self { reading, ..self }
    }

    /// The most threads. A thread beyond the reading and waiting ones is about to end, and accept waits for it.
    pub(super) fn threads(self) -> usize {
        self.reading + self.waiting + 16
    }

    /// A younger connection is not evicted. So in a burst of good clients, the processor gets to each in time.
    pub(super) fn min_age(self) -> Duration {
        let age = AGE_PER_PLACE * u32::try_from(self.reading).unwrap_or(u32::MAX);
        age.max(LEAST_AGE)
    }
}

/// The soft limit of descriptors in `/proc/self/limits` (proc(5)).
fn descriptors(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_shrink_with_the_descriptors_and_are_never_zero() {
        for (line, reading, waiting) in [
            (
                "Max open files            1024                 4096                 files",
                128,
                128,
            ),
            (
                "Max open files            unlimited            unlimited            files",
                128,
                128,
            ),
            ("", 128, 128),
            (
                "Max open files            256                  256                  files",
                74,
                37,
            ),
            (
                "Max open files            64                   64                   files",
                10,
                5,
            ),
            (
                "Max open files            8                    8                    files",
                2,
                2,
            ),
        ] {
            let limits = format!(
                "Limit  Soft Limit  Hard Limit  Units\n{line}\nMax pending signals 1 1 signals\n"
            );
            let found = Limits::within(descriptors(&limits).unwrap_or(usize::MAX));
            assert_eq!(found, Limits { reading, waiting }, "{line}");
        }
        assert_eq!(Limits::within(1024).min_age(), Duration::from_millis(64));
        assert_eq!(Limits::within(64).min_age(), LEAST_AGE);
    }
}
