//! How many clients there is room for, which is a matter of descriptors: the guard must leave some to
//! the Engine and the registries, or a flood of clients would stop the work.

use std::time::Duration;

/// The most that are read at a time, however many descriptors there are.
const MAX_READING: usize = 128;
/// One of them may be good.
const MIN_READING: usize = 2;
/// The most that wait for an answer.
const MAX_WAITING: usize = 128;
/// Of these, one in so many is not for refreshes, which take long: so that questions are answered meanwhile.
const QUICK_SHARE: usize = 8;
/// What the rest of the program has open, in a busy moment.
const OTHERS: usize = 32;
/// A connection that waits: itself, the way to the inner server, and there two for its other end.
const WAITING_COSTS: usize = 4;
/// Against idle clients that keep coming this leaves 2,000 a second, enough for good ones to get in.
const AGE_PER_SEAT: Duration = Duration::from_micros(500);
/// What a good client on a busy machine needs to say its first word, however few seats there are.
const LEAST_AGE: Duration = Duration::from_millis(20);

/// How many clients may be connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) reading: usize,
    pub(super) waiting: usize,
}

impl Room {
    /// As much as this process may have.
    pub(super) fn here() -> Self {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Self::within(descriptors(&limits).unwrap_or(usize::MAX))
    }

    pub(super) fn within(descriptors: usize) -> Self {
        let free = descriptors.saturating_sub(OTHERS);
        let reading = (free / 3).clamp(MIN_READING, MAX_READING);
        let waiting = (free.saturating_sub(reading) / WAITING_COSTS).clamp(2, MAX_WAITING);
        Self { reading, waiting }
    }

    /// How many of those that wait may be such that take long.
    pub(super) fn slow(self) -> usize {
        self.waiting - (self.waiting / QUICK_SHARE).max(1)
    }

    /// The same with no more than so many that are read.
    pub(super) fn with_reading(self, most: usize) -> Self {
        let reading = self.reading.min(most).max(MIN_READING);
        Self { reading, ..self }
    }

    /// Beyond reading and waiting there are only threads on their way out; accept waits for those.
    pub(super) fn threads(self) -> usize {
        self.reading + self.waiting + 16
    }

    /// Nobody younger is evicted: in a burst of good clients the processor gets to each in time.
    pub(super) fn min_age(self) -> Duration {
        let age = AGE_PER_SEAT * u32::try_from(self.reading).unwrap_or(u32::MAX);
        age.max(LEAST_AGE)
    }
}

/// The soft limit in `/proc/self/limits` (proc(5)).
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
    fn room_shrinks_with_the_descriptors_and_is_never_none() {
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
            let room = Room::within(descriptors(&limits).unwrap_or(usize::MAX));
            assert_eq!(room, Room { reading, waiting }, "{line}");
        }
        assert_eq!(Room::within(1024).min_age(), Duration::from_millis(64));
        assert_eq!(Room::within(64).min_age(), LEAST_AGE);
    }
}
