//! Digests that are not followed at once, because their last try failed, or because the tag went back to them.

use crate::reference::Digest;

/// The most rounds to wait between two tries. With the default interval, that is an hour.
const MOST_ROUNDS: u32 = 12;

/// The waits of one reference.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// The digest that is tried ever less often. Docker Hub counts each pull, and each swap may be an outage.
    delayed: Option<Delayed>,
    /// The returns of the tag to images that were replaced lately. Each time, the tag has to stay there for longer.
    returns: Return,
}

#[derive(Debug)]
struct Delayed {
    digest: Digest,
    /// The number of rounds between the last two tries.
    waited: u32,
    /// The number of rounds to let pass before the next try.
    left: u32,
}

#[derive(Debug, Default)]
struct Return {
    /// The number of rounds that the tag had to stay the last time.
    waited: u32,
    /// The digest that the tag went back to, and the number of rounds until the tag is followed.
    awaited: Option<(Digest, u32)>,
}

/// The wait of a tag that went back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Awaited {
    /// The number of rounds until the tag is followed, if it stays.
    pub(super) rounds: u32,
    /// Whether the wait is longer than any earlier one.
    pub(super) is_news: bool,
}

impl Waits {
    /// Whether to let this round pass, because the last try of this digest failed. Counts the round.
    pub(super) fn skips_round(&mut self, digest: &Digest) -> bool {
        let delayed = self.delayed.as_mut();
        let Some(delayed) = delayed.filter(|one| one.digest == *digest && one.left > 0) else {
            return false;
        };
        delayed.left -= 1;
        true
    }

    /// Whether rounds have to pass before this digest is tried.
    pub(super) fn is_waiting(&self, digest: &Digest) -> bool {
        let delayed = self.delayed.as_ref();
        let awaited = self.returns.awaited.as_ref();
        delayed.is_some_and(|one| one.digest == *digest && one.left > 0)
            || awaited.is_some_and(|(awaited, left)| awaited == digest && *left > 0)
    }

    /// Puts a digest off after a failed try; tries become ever less frequent. Returns whether this is the first
    /// failure.
    pub(super) fn put_off(&mut self, digest: Digest) -> bool {
        let before = self.delayed.as_ref();
        let before = before.filter(|one| one.digest == digest);
        let waited = before.map(|before| MOST_ROUNDS.min(before.waited.max(1) * 2));
        let rounds = waited.unwrap_or(0);
        self.delayed = Some(Delayed {
            digest,
            waited: rounds,
            left: rounds,
        });
        waited.is_none()
    }

    /// Counts a round in which the tag points at a replaced image. Returns `None` once the tag has stayed long enough.
    pub(super) fn went_back(&mut self, digest: &Digest) -> Option<Awaited> {
        let one = &mut self.returns;
        match &mut one.awaited {
            Some((awaited, left)) if awaited == digest => {
                *left = left.saturating_sub(1);
                let awaited = Awaited {
                    rounds: *left,
                    is_news: false,
                };
                (*left > 0).then_some(awaited)
            }
            awaited => {
                let rounds = MOST_ROUNDS.min((one.waited * 2).max(1));
                let is_news = rounds != one.waited;
                one.waited = rounds;
                *awaited = Some((digest.clone(), rounds));
                Some(Awaited { rounds, is_news })
            }
        }
    }

    /// Ends the waits, because nothing is left to do for the digest.
    pub(super) fn done(&mut self) {
        self.delayed = None;
        self.came_again();
    }

    /// Ends the wait of a tag that points at its earlier digest again. Returns whether there was a wait.
    pub(super) fn came_again(&mut self) -> bool {
        self.returns.awaited.take().is_some()
    }

    /// Forgets the returns of a tag that points at an image that was not replaced here.
    pub(super) fn moved_on(&mut self) {
        self.returns = Return::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(of: char) -> Digest {
        let digest = format!("sha256:{}", of.to_string().repeat(64));
        digest.parse().expect("valid")
    }

    /// The number of rounds until the tag is followed.
    fn waits(waits: &mut Waits, to: char) -> u32 {
        let mut rounds = 0;
        while waits.went_back(&digest(to)).is_some() {
            rounds += 1;
        }
        waits.done();
        rounds
    }

    #[test]
    fn a_tag_that_goes_back_is_followed_after_ever_more_rounds() {
        let mut all = Waits::default();
        let rounds: Vec<u32> = "121212".chars().map(|to| waits(&mut all, to)).collect();
        assert_eq!(rounds, [1, 2, 4, 8, 12, 12]);
        all.moved_on();
        assert_eq!(waits(&mut all, '1'), 1, "it went on in between");
    }

    #[test]
    fn a_tag_that_does_not_stay_is_not_followed() {
        let mut all = Waits::default();
        for _ in 0..100 {
            assert!(all.went_back(&digest('1')).is_some());
            assert!(all.came_again());
            assert!(!all.came_again());
        }
        // A tag whose update failed is followed again.
        let mut all = Waits::default();
        assert!(all.went_back(&digest('1')).is_some());
        for _ in 0..3 {
            assert_eq!(all.went_back(&digest('1')), None);
        }
    }
}
