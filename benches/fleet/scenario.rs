//! The scenarios: what happens to the fleet and to the registry, and when.

use super::random::Random;
use super::time::HOUR;
use super::time::INTERVAL;
use super::time::MINUTE;

/// The fleet runs for so long before anything is counted.
pub const WARM_UP: u64 = 15 * MINUTE;

/// The kind of a registry's bad hour.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It does not answer.
    Silent,
    /// It answers 503.
    Broken,
    /// It answers 429, with the words that it always uses.
    Throttled,
    /// It answers 429, with a `Retry-After` that ends at the same moment for all.
    ThrottledUntilEnd,
}

/// A registry's bad hour.
#[derive(Clone, Copy)]
pub struct Trouble {
    pub from: u64,
    pub until: u64,
    pub kind: Kind,
}

pub struct Scenario {
    pub name: &'static str,
    /// When counting begins.
    pub begin: u64,
    pub end: u64,
    /// When all instances are restarted, within one second.
    pub restart: Option<u64>,
    pub trouble: Option<Trouble>,
    /// When a tag moves: each tag in turn.
    pub moves: Vec<u64>,
}

impl Scenario {
    fn new(name: &'static str, length: u64) -> Self {
        Self {
            name,
            begin: WARM_UP,
            end: WARM_UP + length,
            restart: None,
            trouble: None,
            moves: Vec::new(),
        }
    }

    /// A quiet time, in which a tag moves every half an hour.
    pub fn quiet(name: &'static str, length: u64, random: &mut Random) -> Self {
        let mut one = Self::new(name, length);
        one.move_tags(random, 30 * MINUTE);
        one
    }

    /// The power comes back everywhere in the same second.
    pub fn power_cut(random: &mut Random) -> Self {
        let mut one = Self::new("power cut", 2 * HOUR);
        one.restart = Some(one.begin);
        // Two tags move just before, and just after.
        one.moves = vec![one.begin - 10_000_000, one.begin + 30_000_000];
        one.move_tags(random, 5 * MINUTE);
        one
    }

    /// The registry has a bad hour.
    pub fn trouble(name: &'static str, kind: Kind, random: &mut Random) -> Self {
        let mut one = Self::new(name, 3 * HOUR);
        let from = one.begin + 30 * MINUTE;
        let until = from + HOUR;
        one.trouble = Some(Trouble { from, until, kind });
        one.move_tags(random, 5 * MINUTE);
        one
    }

    /// The power comes back in the middle of an outage.
    pub fn power_cut_in_outage(random: &mut Random) -> Self {
        let name = "power cut, outage";
        let mut one = Self::trouble(name, Kind::Silent, random);
        one.restart = Some(one.begin + HOUR);
        one
    }

    /// Moves a tag about once in `every`. The last moves are early enough to be followed.
    fn move_tags(&mut self, random: &mut Random, every: u64) {
        let mut at = self.begin;
        while at + 3 * INTERVAL < self.end {
            self.moves.push(at + random.within(0..every));
            at += every;
        }
        self.moves.sort_unstable();
    }

    pub fn trouble_at(&self, now: u64) -> Option<Trouble> {
        self.trouble
            .filter(|trouble| (trouble.from..trouble.until).contains(&now))
    }

    /// The moment from which a move at `at`, which was followed at `now`, could be followed for good.
    pub fn visible_from(&self, at: u64, now: u64) -> u64 {
        match self.trouble {
            // A bad hour that began soon after the move kept some instances from following.
            Some(one) if one.until > at && one.from < now && one.from < at + 2 * INTERVAL => {
                one.until.clamp(at, now)
            }
            _ => at,
        }
    }

    /// The seconds in which a herd would show: all but the first minute after a restart, because the first round
    /// of an instance is at once.
    pub fn is_judged(&self, now: u64) -> bool {
        let first = self.restart.map(|at| at..at + MINUTE);
        now >= self.begin && first.is_none_or(|first| !first.contains(&now))
    }
}
