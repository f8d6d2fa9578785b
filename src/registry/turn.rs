//! The turn of one host in a round: which of its look-ups are made, and when. Nothing here asks anybody or has a clock.

use super::host_memory::DEFAULT_PUT_OFF;
use super::host_memory::Hosts;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::reference::Digest;
use std::time::Duration;
use std::time::Instant;

/// After so many unanswered look-ups in a row, a host is not asked for the rest of the round.
const UNANSWERED: usize = 2;
/// After so many answers 5xx in a row, and no other answer, a host is put off for [`DEFAULT_PUT_OFF`].
const BROKEN: usize = 4;
/// So many look-ups of one host follow each other without a pause. Further look-ups are [`PACE`] apart, so
/// that hundreds of references do not look like an attack. Quay allows a few requests per second and address,
/// with bursts. Docker Hub allows some thousands per minute.
pub(super) const BURST: usize = 20;
/// The pause between look-ups after the first [`BURST`].
pub(super) const PACE: Duration = Duration::from_millis(50);
/// The same for a command that somebody waits for, and that comes from one box and not from a fleet.
pub(super) const PACE_BY_HAND: Duration = Duration::from_millis(10);

/// The look-ups of one host in one round, one after the other.
#[derive(Debug)]
pub struct Turn<'a> {
    hosts: &'a Hosts,
    host: &'a str,
    /// The number of look-ups that are over, with those of the other turn's part of the burst.
    over: usize,
    /// The number of look-ups in a row that were left unanswered.
    silent: usize,
    /// The number of answers 5xx in a row.
    broken: usize,
    /// Whether the host returned a digest.
    answered: bool,
}

impl<'a> Turn<'a> {
    /// Begins the turn of `host`, or one of so many that it has at the same time.
    #[must_use]
    pub const fn new(hosts: &'a Hosts, host: &'a str, turns: usize) -> Self {
        Self {
            hosts,
            host,
            over: BURST - BURST / turns,
            silent: 0,
            broken: 0,
            answered: false,
        }
    }

    pub(super) const fn host(&self) -> &'a str {
        self.host
    }

    /// Returns the pause before the next look-up.
    #[must_use]
    pub fn pause(&self, now: Instant) -> Duration {
        if self.over >= BURST && self.may_ask(now).is_ok() {
            PACE
        } else {
            Duration::ZERO
        }
    }

    /// Whether the next look-up may be made.
    ///
    /// # Errors
    /// [`Kind::GivenUp`] after some unanswered look-ups, because each further one would cost another deadline.
    /// [`Kind::PutOff`] while the host is put off.
    pub fn may_ask(&self, now: Instant) -> Result<()> {
        if self.silent >= UNANSWERED {
            return Err(Error::given_up(
                self.host,
                format!("it left {UNANSWERED} look-ups unanswered"),
            ));
        }
        self.hosts.check(self.host, now)
    }

    /// Notes the outcome of a look-up, and puts the host off if it wants that or is in trouble.
    pub fn note(&mut self, outcome: &Result<Digest>, now: Instant) {
        self.over += 1;
        if let Err(error) = outcome {
            self.hosts.put_off_if_asked(self.host, error, now);
        }
        (self.silent, self.broken) = match outcome.as_ref().map_err(Error::kind) {
            Err(Kind::GivenUp) => return,
            Err(Kind::Unreachable) => (self.silent + 1, 0),
            Err(Kind::Refused { status, .. }) if *status >= 500 => (0, self.broken + 1),
            _ => (0, 0),
        };
        self.answered |= outcome.is_ok();
        // If the host answers for other repositories, only this repository is in trouble.
        if self.broken >= BROKEN && !self.answered {
            let reason = "it is in trouble".to_owned();
            self.hosts.put_off(self.host, now, DEFAULT_PUT_OFF, reason);
        }
    }

    /// Ends the turn.
    pub fn end(self, now: Instant) {
        if self.answered && self.hosts.check(self.host, now).is_ok() {
            self.hosts.mark_recovered(self.host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "registry.example";

    fn refused(status: u16, retry_after: Option<Duration>) -> Result<Digest> {
        Err(Error::refused("HEAD x", status, "no", retry_after))
    }

    fn unreachable() -> Result<Digest> {
        Err(Error::unreachable("HEAD x", "no answer in time"))
    }

    fn found() -> Result<Digest> {
        format!("sha256:{}", "1".repeat(64)).parse()
    }

    #[test]
    fn a_host_is_left_alone_for_as_long_as_it_wants() {
        let seconds = Duration::from_secs;
        for (outcome, wait) in [
            (refused(429, None), 60),
            (refused(429, Some(seconds(7))), 7),
            (refused(503, Some(seconds(7))), 7),
            (refused(503, None), 0),
            (refused(404, None), 0),
            (found(), 0),
        ] {
            let (hosts, start) = (Hosts::default(), Instant::now());
            let mut turn = Turn::new(&hosts, HOST, 1);
            turn.note(&outcome, start);
            for after in 0..70 {
                let may_ask = turn.may_ask(start + seconds(after));
                assert_eq!(may_ask.is_ok(), after >= wait, "{outcome:?} {after}");
            }
        }
    }

    #[test]
    fn a_silent_host_is_given_up_and_a_broken_one_put_off() {
        let now = Instant::now();
        for (outcomes, may_ask) in [
            (vec![unreachable()], true),
            (vec![unreachable(), found(), unreachable()], true),
            (vec![unreachable(), unreachable()], false),
            (vec![refused(502, None); 3], true),
            (vec![refused(502, None); 4], false),
            ([vec![found()], vec![refused(502, None); 4]].concat(), true),
        ] {
            let hosts = Hosts::default();
            let mut turn = Turn::new(&hosts, HOST, 1);
            for outcome in &outcomes {
                turn.note(outcome, now);
            }
            assert_eq!(turn.may_ask(now).is_ok(), may_ask, "{outcomes:?}");
        }
    }

    #[test]
    fn a_host_that_was_given_up_is_asked_again_in_its_next_turn() {
        let (hosts, now) = (Hosts::default(), Instant::now());
        let mut turn = Turn::new(&hosts, HOST, 1);
        for _ in 0..2 {
            turn.note(&unreachable(), now);
        }
        for _ in 0..3 {
            let refusal = turn.may_ask(now).expect_err("given up");
            turn.note(&Err(refusal), now);
        }
        assert!(Turn::new(&hosts, HOST, 1).may_ask(now).is_ok());
    }

    #[test]
    fn many_look_ups_are_paced_and_few_are_not() {
        let (hosts, now) = (Hosts::default(), Instant::now());
        let mut turn = Turn::new(&hosts, HOST, 1);
        for number in 0..50 {
            assert_eq!(turn.pause(now).is_zero(), number < BURST, "{number}");
            turn.note(&found(), now);
        }
        turn.note(&refused(429, None), now);
        assert!(turn.pause(now).is_zero(), "nothing is asked any more");
    }
}
